"""`curate who`, table `who` and the manifest's entry: counts of the decisions, each group against the rest."""

import json

import pytest
from support.commands import carry_out, command
from support.corpora import PROSE, write_shard
from support.recipes import write_recipe
from support.runs import manifest_json

from curate.errors import CurateError
from curate.inspect.who import who_of_run
from curate.ledger.run import connect
from curate.who.statistics import Table, common_difference, wilson

DROPS_X = {"reason": "mine", "when": "input.kind = 'x'"}


def corpus(tmp_path, rows, **sections):
    """A run over documents (words, kind, url): those of kind x are dropped."""
    texts = [f"{' '.join(PROSE.split() * 40)[: 6 * words]} {k}" for k, (words, _, _) in enumerate(rows)]
    kinds, urls = [row[1] for row in rows], [row[2] for row in rows]
    write_shard(tmp_path / "in" / "a.parquet", texts, kind=kinds, url=urls, source=["s"] * len(rows))
    source = {"paths": [str(tmp_path / "in")], "strata": ["kind"]}
    recipe, run = write_recipe(tmp_path, "", input=source, tier1={"rules": [DROPS_X]}, **sections)
    carry_out(recipe)
    return run


def rates(result, dimension, stage="all"):
    [of_dimension] = [one for one in result.dimensions if one.name == dimension]
    return {rate.value: rate for rate in of_dimension.rates if rate.stage == stage}


def table(run, query):
    with connect(run) as connection:
        return connection.execute(query).fetchall()


def test_rates_are_those_of_the_decisions_at_every_stage(demo):
    result = who_of_run(demo).result
    order = ["input", "rules", "exact", "near", "bands", "lines", "purify", "distil"]
    documents = table(demo, "SELECT input.source, stage, n_tokens FROM corpus")
    for stage in ("all", "rules", "exact", "near"):
        first = 0 if stage == "all" else order.index(stage)
        for source, rate in rates(result, "input.source", stage).items():
            reach = [(s, t) for of, s, t in documents if of == source and (s is None or order.index(s) >= first)]
            gone = [(s, t) for s, t in reach if s is not None and stage in ("all", s)]
            assert (rate.documents, rate.dropped) == (len(reach), len(gone))
            assert (rate.tokens, rate.tokens_dropped) == (sum(t for _, t in reach), sum(t for _, t in gone))
            assert (rate.low, rate.high) == wilson(len(gone), len(reach))
            others = [s for of, s, _ in documents if of != source and (s is None or order.index(s) >= first)]
            hit = sum(s is not None and stage in ("all", s) for s in others)
            assert rate.rest_share == pytest.approx(hit / len(others))


def test_within_holds_length_fixed(demo):
    rate = rates(who_of_run(demo, ["input.source"]).result, "input.source")["sms_spam_collection"]
    strata = table(
        demo,
        """SELECT count_if(s AND NOT kept), count_if(s), count_if(NOT s AND NOT kept), count_if(NOT s)
        FROM (SELECT input.source = 'sms_spam_collection' AS s, kept, length_bucket FROM corpus)
        GROUP BY length_bucket""",
    )
    assert rate.within == pytest.approx(common_difference([Table(*row) for row in strata]))
    assert abs(rate.within.value) < abs(rate.difference.value)


def test_addresses_tell_region_and_kind(tmp_path):
    addresses = {
        "https://www.uni.de/a": (".de", "other"),
        "http://x.ac.uk:80/": (".uk", "education"),
        "https://a.gouv.fr": (".fr", "government"),
        "//b.gov/x": ("no country", "government"),
        "https://c.io/": ("no country", "other"),
        "d.co.jp/1?u=e.edu": (".jp", "company"),
        "https://joe@f.org": ("no country", "organisation"),
        "http://пример.xn--p1ai/": (".ru", "other"),
        "http://10.0.0.1/a": ("no country", "other"),
        "not an address": (None, None),
        None: (None, None),
    }
    run = corpus(tmp_path, [(30, "y", url) for url in addresses for _ in range(20)])
    result = who_of_run(run, ["region,site_kind"]).result
    expected = {" × ".join(part or "(none)" for part in parts) for parts in addresses.values()}
    assert rates(result, "region × site_kind").keys() == expected
    assert rates(who_of_run(run, ["site"]).result, "site").keys() >= {"uni.de", "x.ac.uk", "<IP_ADDRESS>", None}


def test_a_group_dropped_less_overall_and_more_in_every_stratum_is_named(tmp_path):
    # the site a.de has mostly long documents, of which few are dropped; of the short ones all of its own are
    rows = [(30, "x", "https://a.de")] * 60 + [(30, "x" if k % 2 else "y", "https://b.fr") for k in range(600)]
    rows += [(400, "x" if k % 10 == 0 else "y", "https://a.de") for k in range(600)] + [(400, "y", "https://b.fr")] * 60
    run = corpus(tmp_path, rows)
    rate = rates(who_of_run(run, ["site"]).result, "site")["a.de"]
    assert (rate.mark, rate.within_mark) == ("less", "more")
    assert rate.difference.value < 0 < rate.within.low
    done = command("who", str(run), "--by", "site")
    assert "site a.de: dropped less overall, more within strata" in done.stdout


def test_small_groups_are_not_shown_and_no_stage_that_few_reach(tmp_path):
    rows = [(30, "x", "https://a.de")] * 30 + [(30, "y", "https://a.de")] * 19 + [(30, "y", "https://b.fr")] * 19
    run = corpus(tmp_path, rows)
    result = who_of_run(run).result
    assert rates(result, "site").keys() == {"a.de"}
    [of_site] = [one for one in result.dimensions if one.name == "site"]
    assert (of_site.other.groups, of_site.other.documents) == (1, 19)
    assert rates(result, "site", "exact") == {}


def test_combinations_have_a_group_for_each_pair(demo):
    result = who_of_run(demo, ["language,length_bucket"]).result
    shown = rates(result, "language × length_bucket")
    expected = dict(
        table(
            demo, "SELECT length_bucket, count(*) FROM documents WHERE language = 'en' GROUP BY 1 HAVING count(*) >= 20"
        )
    )
    assert {name: rate.documents for name, rate in shown.items() if name.startswith("en")} == {
        f"en × {bucket}": count for bucket, count in expected.items()
    }
    assert [list(one.within) for one in result.dimensions] == [["input.source"]]


def test_the_command_prints_every_dimension_and_json_every_stage(demo):
    done = command("who", str(demo))
    assert done.returncode == 0, done.stderr
    for name in ("file", "language", "input.source", "site", "region", "site_kind", "length_bucket", "Holm"):
        assert name in done.stdout
    printed = json.loads(command("who", str(demo), "--json").stdout)
    assert printed["documents"] == 1309
    stages = {rate["stage"] for one in printed["dimensions"] for rate in one["rates"]}
    assert stages == {"all", "rules", "exact", "near", "bands"}
    at_rules = command("who", str(demo), "--by", "length_bucket", "--stage", "rules")
    assert "length_bucket, at rules" in at_rules.stdout
    assert "no group" in command("who", str(demo), "--stage", "distil").stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--by", "langage"], "--by: the run has no 'langage'; did you mean 'language'?"),
        (["--by", "mentions"], "--by: the run has no 'mentions': add `who: true` to its recipe and run it again"),
        (["--by", "language,language"], "--by language,language: names the same twice"),
        (["--stage", "rule"], "--stage: no stage 'rule'; did you mean 'rules'?"),
    ],
)
def test_what_the_run_has_not_is_said(demo, options, message):
    done = command("who", str(demo), *options)
    assert (done.returncode, done.stderr.strip().startswith(f"Error: {message}")) == (1, True), done.stderr


def test_where_the_files_are_gone_the_ledger_s_columns_are_used(tmp_path):
    run = corpus(tmp_path, [(30, "xy"[k % 2], "https://a.de") for k in range(80)])
    (tmp_path / "in" / "a.parquet").unlink()
    of_run = who_of_run(run)
    assert "a.parquet" in of_run.unread
    assert [one.name for one in of_run.result.dimensions] == ["file", "input.kind", "length_bucket"]
    assert rates(of_run.result, "input.kind")["x"].share == 1
    assert "the input's own columns are left out" in command("who", str(run)).stdout


def test_table_and_manifest_have_what_the_ledger_tells(demo):
    rows = table(demo, "SELECT dimension, value, stage, documents, dropped, mark FROM who ORDER BY ALL")
    live = who_of_run(demo, ["language", "length_bucket"]).result
    expected = [
        (rate.dimension, rate.value, rate.stage, rate.documents, rate.dropped)
        for one in live.dimensions
        for rate in one.rates
    ]
    assert sorted(map(str, expected)) == sorted(str(row[:5]) for row in rows)
    entry = manifest_json(demo)["who"]
    assert (entry["correction"], entry["least_documents"]) == ("holm", 20)
    listed = {(rate["dimension"], rate["value"], rate["stage"]) for rate in entry["rates"]}
    assert listed == {row[:3] for row in rows if row[2] == "all" or row[5]}


def test_no_such_dimension_is_an_error_that_lists_them(demo):
    with pytest.raises(CurateError, match=r"known: file, input.source, language"):
        who_of_run(demo, ["zzz"])


NAMES = {"muslims": "Muslims", "women": "women", None: "trees"}


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """A run with `who: true`: texts that name groups, of which those of kind x are dropped; and its recipe."""
    folder = tmp_path_factory.mktemp("audited")
    texts = [f"{PROSE} The {name} of town {k}." for name in NAMES.values() for k in range(40)]
    kinds = ["x" if k < 20 or 40 <= k < 45 else "y" for k in range(120)]
    columns = {"kind": kinds, "source": ["s"] * 120, "URL": ["https://a.de/1", "https://b.gov"] * 60}
    write_shard(folder / "in" / "a.parquet", texts, **columns)
    source = {"paths": [str(folder / "in")], "strata": ["kind"]}
    recipe, run = write_recipe(
        folder, "", input=source, tier1={"rules": [DROPS_X]}, who=True, dedup={"exact": False, "keep_signatures": True}
    )
    carry_out(recipe)
    return recipe, run


def test_with_who_texts_are_read_for_register_and_mentions_and_the_ledger_has_the_addresses(audited):
    _, run = audited
    rows = table(run, "SELECT dimension, value, documents, dropped FROM who WHERE stage = 'all'")
    shown = {(dimension, value): (documents, dropped) for dimension, value, documents, dropped in rows}
    assert shown["mentions", "muslims"] == (40, 20)
    assert shown["mentions", "women"] == (40, 5)
    assert shown["region", ".de"][0] == shown["site_kind", "government"][0] == 60
    assert {"register", "site", "input.source", "length_bucket"} <= {dimension for dimension, _ in shown}
    assert table(run, "SELECT count(*) FROM documents WHERE list_contains(mentions, 'muslims')") == [(40,)]
    [rate] = [r for r in manifest_json(run)["who"]["rates"] if (r["value"], r["stage"]) == ("muslims", "all")]
    assert (rate["mark"], rate["rest_share"]) == ("more", 5 / 80)


def test_mentions_are_compared_with_all_documents_that_do_not_name_the_group(audited):
    rate = rates(who_of_run(audited[1], ["mentions"]).result, "mentions")["muslims"]
    assert (rate.share, rate.rest_share) == (0.5, 5 / 80)
    both = rates(who_of_run(audited[1], ["mentions,region"]).result, "mentions × region")
    assert both["muslims × .de"].documents == 20


def test_documents_without_a_register_are_in_no_combination_with_it(tmp_path):
    german = "Die Frauen gingen gestern ohne Eile durch den alten Wald zum Fluss, wo das Boot noch am Ufer lag"
    texts = [f"{german}, zum {k}. Mal." for k in range(30)] + [f"{PROSE} The women of town {k}." for k in range(30)]
    write_shard(tmp_path / "in" / "a.parquet", texts)
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": []}, who=True, dedup={"exact": False})
    carry_out(recipe)
    assert table(run, "SELECT register IS NULL, count(*) FROM documents GROUP BY 1 ORDER BY 1") == [
        (False, 30),
        (True, 30),
    ]
    shown = rates(who_of_run(run, ["mentions,register"]).result, "mentions × register")
    assert {name: rate.documents for name, rate in shown.items()} == {"women × formal": 30}


def test_without_who_no_text_is_read_for_it(demo):
    assert manifest_json(demo)["signal_groups"].keys().isdisjoint({"register", "mentions"})


def test_what_if_lists_the_groups_that_a_rule_moves_otherwise_than_the_rest(audited):
    _, run = audited
    printed = json.loads(command("what-if", str(run), "--set", "tier1.rules=[]", "--json").stdout)
    moved = {(row["dimension"], row["value"]): row for row in printed["who"]}
    assert ("input.source", "s") not in moved
    row = moved["mentions", "muslims"]
    assert (row["share_before"], row["share_after"], row["gained"], row["lost"]) == (0.5, 0, 20, 0)
    assert (row["rest_before"], row["rest_after"]) == (pytest.approx(5 / 80), 0)
    assert "mentions muslims" in command("what-if", str(run), "--set", "tier1.rules=[]").stdout
    nothing = json.loads(command("what-if", str(run), "--set", "allow_empty=true", "--json").stdout)
    assert nothing["who"] == []


def test_compare_lists_them_too(audited, tmp_path):
    recipe, run = audited
    carry_out(recipe, f"output={tmp_path / 'other'}", "tier1.rules=[]")
    printed = json.loads(command("compare", str(run), str(tmp_path / "other"), "--json").stdout)
    assert ("mentions", "muslims") in {(row["dimension"], row["value"]) for row in printed["who"]}


def test_to_ask_what_if_with_mentions_needs_a_run_that_has_them(demo):
    done = command("what-if", str(demo), "--set", "who.mentions=true", "--set", "who.register=false")
    assert done.returncode == 1
    assert "only `curate run` can tell" in done.stderr


@pytest.mark.parametrize(
    ("value", "message"),
    [("who.mention=true", "who has no field 'mention'; did you mean 'mentions'?"), ("who=some", "who")],
)
def test_wrong_values_of_who_are_one_line(audited, value, message):
    done = command("run", str(audited[0]), "--set", value)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
