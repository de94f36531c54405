"""report.html says what the index holds."""

import base64
import hashlib
import html
import json
import re
import shutil

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from support.commands import carry_out, command
from support.corpora import PROSE, SAMPLE, write_shard
from support.pages import counted, numbers, read
from support.recipes import write_recipe

from curate.errors import EmptyOutputError, RunError
from curate.ledger.run import connect
from curate.report.examples import drawn
from curate.report.histograms import BINS, Spread, axis_of
from curate.report.page import write_report
from curate.who.statistics import wilson

FEW = [{"reason": "few", "signal": "n_words", "min": 50, "source": "x"}]


@pytest.fixture(scope="module")
def page_of_demo(demo, tmp_path_factory):
    return write_report(demo, tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(scope="module")
def counts_of_demo(demo):
    return counted(demo)


def rows_of(run, query):
    with connect(run) as connection:
        return connection.execute(query).fetchall()


def test_stages_and_reasons_are_those_of_the_index(demo, page_of_demo):
    tables = read(page_of_demo)
    counts = ", ".join(f"{unit}_in, {unit}_in - {unit}_out, {unit}_out" for unit in ("documents", "tokens"))
    stages = rows_of(
        demo, f"SELECT {counts}, bytes_out FROM stages WHERE stage NOT IN ('lines', 'purify', 'distil') ORDER BY number"
    )
    shown = [numbers(row) for row in tables.found["Documents, tokens and bytes of text by stage"][1:]]
    assert shown == [list(row) for row in stages]
    query = """SELECT d.reason, count(*), sum(n_tokens),
            (SELECT count_if(list_contains(reasons, d.reason)) FROM dropped), count_if(len(reasons) = 1)
        FROM dropped d GROUP BY 1 ORDER BY 2 DESC, 1"""
    reasons = [[row[0], *numbers(row)] for row in tables.found["What each reason takes away"][1:]]
    assert reasons == [list(row) for row in rows_of(demo, query)]


def test_every_histogram_counts_every_document_once(demo, counts_of_demo):
    data = counts_of_demo
    names = [name for (name,) in rows_of(demo, "SELECT signal FROM scorecard")]
    assert len(names) > 30
    assert sorted(data["signals"]) == sorted(names)
    for name, shown in data["signals"].items():
        [(there, kept)] = rows_of(demo, f'SELECT count("{name}"), count("{name}") FILTER (kept) FROM documents')
        assert (sum(shown["all"]), sum(shown["kept"])) == (there, kept), name
        assert all(a >= b for a, b in zip(shown["all"], shown["kept"], strict=True))


@pytest.mark.parametrize("name", ["n_words", "n_stop_words", "alpha_word_ratio", "perplexity", "ellipsis_word_ratio"])
def test_a_histogram_counts_what_numpy_counts(demo, counts_of_demo, name):
    shown = counts_of_demo["signals"][name]
    values = [value for (value,) in rows_of(demo, f"SELECT {name}::DOUBLE FROM signals WHERE {name} IS NOT NULL")]
    inner = ([0.0] if shown["zero"] else []) + list(shown["edges"][1:-1])
    places = np.searchsorted(inner, values, side="left")
    assert shown["all"] == np.bincount(places, minlength=len(inner) + 1).tolist()


def test_thresholds_stand_where_a_value_is_kept_on_one_side_and_dropped_on_the_other(counts_of_demo):
    signals = counts_of_demo["signals"]
    assert signals["n_stop_words"]["marks"] == [{"at": 2, "line": 1.5}]
    assert [mark["line"] for mark in signals["n_words"]["marks"]] == [49.5, 100000.5]
    assert [mark["line"] for mark in signals["mean_word_length"]["marks"]] == [3, 10]
    assert len(signals["perplexity"]["marks"]) == 2


def test_signals_that_rules_name_come_first_and_then_what_moved_most(page_of_demo):
    text = page_of_demo.read_text("utf-8")
    names = re.findall(r'aria-label="Histogram of (\w+):', text)
    assert names[:3] == ["n_stop_words", "n_words", "alpha_word_ratio"]
    moved = [name for name in names if name in ("stop_word_ratio", "n_bytes", "alpha_ratio", "spaceless_ratio")]
    assert moved == ["stop_word_ratio", "n_bytes", "alpha_ratio", "spaceless_ratio"]  # the last hardly moved
    shown, more, still = re.split(r'<details class="rest"', text.split('id="signals"')[1])
    assert (shown.count("Histogram of"), "Histogram of spaceless_ratio" in still) == (9, True)
    assert re.search(r"<summary>(\d+) more signals that moved", more)[1] == str(more.count("Histogram of"))


def test_an_axis_has_bins_in_which_the_values_can_be_told_apart():
    assert axis_of(Spread(True, 0, 8, 1, (0, 8)), [2]).edges == tuple(k - 0.5 for k in range(10))
    even = axis_of(Spread(False, 0, 1, 0.01, (0.1, 0.9)), [])
    assert (even.scale, len(even.edges), even.edges[-1]) == ("linear", BINS + 1, 1)
    wide = axis_of(Spread(True, 0, 1_000_000, 1, (3, 900)), [50])
    assert (wide.scale, wide.zero, wide.bounds[0], wide.edges[0]) == ("log", True, 0, 0.5)
    assert all(int(a) < int(b) for a, b in zip(wide.edges, wide.edges[1:], strict=False))
    assert axis_of(Spread(False, -9, 50_000, 1, (-1, 1)), []).scale == "linear"
    assert axis_of(Spread(False, 0, 1, 0.1, (0.1, 0.9)), [1.2, 500]).edges[-1] == 1.2  # 500 would hide all else


FLOATS = st.floats(-1e9, 1e9, width=32)


@given(st.booleans(), st.lists(FLOATS, min_size=2, max_size=9, unique=True), st.lists(FLOATS, max_size=2))
@example(False, [0.0, 1.0], [])
@example(True, [0.0, 1e9, 2.0], [50])
def test_whatever_the_values_an_axis_has_rising_bins_and_a_place_for_each(whole, values, marks):
    values = sorted({float(int(value)) for value in values}) if whole else sorted(values)
    assume(values[0] < values[-1])
    above = [value for value in values if value > 0]
    middle = (float(np.quantile(values, 0.05)), float(np.quantile(values, 0.95)))
    axis = axis_of(Spread(whole, values[0], values[-1], min(above, default=None), middle), marks)
    assert list(axis.edges) == sorted(set(axis.edges))
    assert axis.bounds == sorted(set(axis.bounds))
    assert len(axis.names(whole)) == len(axis.bounds) + 1 <= BINS + 2
    assert axis.zero or axis.edges[0] <= values[0] or axis.scale == "log"
    assert values[-1] <= axis.edges[-1]


def test_groups_have_their_drop_rate_and_the_rule_that_drops_most_of_them(demo, page_of_demo, counts_of_demo):
    tables, data = read(page_of_demo), counts_of_demo
    assert [one["title"] for one in data["dropped"]] == [
        "file", "language", "input.source", "site", "region", "site_kind", "length_bucket",
    ]  # fmt: skip
    shown = {row[0]: row for row in tables.found["Dropped by input.source"][1:]}
    for source, count, dropped, reason in rows_of(
        demo,
        "SELECT input.source, count(*), count_if(NOT kept), mode(reason) FROM corpus GROUP BY 1 HAVING count(*) >= 20",
    ):
        assert numbers(shown[source]) == [count, dropped]
        assert reason in shown[source] or dropped == 0
    above = [name for name, row in shown.items() if "▲ more" in row]
    assert sorted(above) == [
        "self-instruct seed task",
        "sms_spam_collection",
        "synthetic gibberish",
        "synthetic keyword spam",
    ]
    totals = [sum(numbers(row)[k] for row in shown.values() if not row[0].startswith("other")) for k in (0, 1)]
    other = next(numbers(row) for name, row in shown.items() if name.startswith("other"))
    assert [a + b for a, b in zip(totals, other, strict=True)] == [1309, 627]


def test_domains_are_told_from_addresses_and_strata_from_the_recipe(tmp_path):
    urls = ["https://www.a.example/1", "http://joe@a.example:80/2", "https://b.example", None] * 25
    write_shard(tmp_path / "in" / "a.parquet", [f"{PROSE} {k}" for k in range(100)], URL=urls, lang=["x", "y"] * 50)
    source = {"paths": [str(tmp_path / "in")], "strata": ["lang", "missing?"]}
    rule = {"reason": "mine", "when": "input.lang = 'x' AND input.URL LIKE '%a.example%'"}
    recipe, run = write_recipe(tmp_path, "", input=source, tier1={"rules": [rule]})
    carry_out(recipe)
    tables, data = read(write_report(run)), counted(run)
    domains = {(row[0], *row[2:4]) for row in tables.found["Dropped by site"][1:]}
    assert domains == {("a.example", "50", "25"), ("b.example", "25", "0"), ("none", "25", "0")}
    assert data["strata"]["columns"] == ["input.lang", "length_bucket"]
    assert [row["names"][0] for row in data["strata"]["rows"]] == ["x", "y"]
    assert [(row["documents"], row["kept"]) for row in data["strata"]["rows"]] == [(50, 25), (50, 50)]


def test_wilson_intervals_are_those_published():
    published = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (hits, total), interval in published.items():  # Newcombe 1998, Statistics in Medicine 17: 857-872, table I
        assert wilson(hits, total) == pytest.approx(interval, abs=5e-5)
    assert wilson(20, 20) == pytest.approx((1 - 0.1611, 1), abs=5e-5)


def test_clusters_are_counted_by_size_and_the_largest_named_by_their_survivor(demo, page_of_demo, counts_of_demo):
    tables, data = read(page_of_demo), counts_of_demo
    sizes = rows_of(
        demo, "SELECT n, count(*) FROM (SELECT count(*) AS n FROM clusters GROUP BY survivor) GROUP BY n ORDER BY n"
    )
    assert [(row["low"], row["clusters"]) for row in data["clusters"]] == sizes
    largest = rows_of(demo, "SELECT survivor, count(*) FROM clusters GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 20")
    assert [(row[0], int(row[1])) for row in tables.found["The largest clusters"][1:]] == largest


def test_large_clusters_share_a_bar_with_those_up_to_twice_their_size(tmp_path):
    texts = [f"{PROSE} {k}" for k, copies in enumerate((2, 8, 9, 16, 17)) for _ in range(copies)]
    write_shard(tmp_path / "in" / "a.parquet", texts)
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    sizes = [(row["low"], row["high"], row["clusters"], row["documents"]) for row in counted(run)["clusters"]]
    assert sizes == [(2, 2, 1, 2), (8, 8, 1, 8), (9, 16, 2, 25), (17, 32, 1, 17)]


def test_the_scorecard_is_that_of_the_index(demo, page_of_demo):
    tables = read(page_of_demo)
    shown = {row[0]: row[1:4] for row in tables.found["Every signal before and after"][1:]}
    rows = rows_of(demo, "SELECT signal, psi, mean_before, mean_after FROM scorecard")
    assert list(shown) == [name for name, *_ in rows]
    for name, *values in rows:
        assert [float(cell.replace(",", "")) for cell in shown[name]] == pytest.approx(values, rel=1e-3)


def test_documents_are_drawn_by_the_seed_and_spread_over_the_reasons(demo):
    with connect(demo) as connection:
        kept, dropped = drawn(connection, 17)
        assert (kept, dropped) == drawn(connection, 17)
        assert kept != drawn(connection, 18)[0]
        reasons = connection.execute("SELECT DISTINCT reason FROM dropped").fetchall()
    assert (len(kept), len(dropped)) == (30, 60)
    assert {row["reasons"][0] for row in dropped} == {reason for (reason,) in reasons}


def test_a_dropped_document_stands_with_what_was_measured_and_its_bound(page_of_demo):
    text = html.unescape(re.sub(r"<[^>]*>", "", page_of_demo.read_text("utf-8").split('id="documents"')[1]))
    assert re.search(r"too_few_words n_words \d+ < 50", text)
    assert re.search(r"words_too_long mean_word_length 1\d\.\d+ > 10, spaceless_ratio [\d.]+, if coalesce", text)
    assert re.search(r"perplexity_too_high perplexity [\d,.]+ > [\d,.]+", text)
    assert re.search(r"near_duplicate copy of qs-\d{5}, similarity (1|0\.[89]\d*) >= 0\.8", text)
    assert re.search(r"exact_duplicate copy of qs-\d{5}", text)
    assert re.search(r"other_language language \w+, dropped when language NOT IN \('en'\)", text)


def test_the_band_of_a_stratum_of_an_input_column_is_shown_too(tmp_path):
    files = [str(next(SAMPLE.glob("*.parquet")))]
    recipe, run = write_recipe(tmp_path, "", input={"paths": files, "strata": ["license"]},
                               tier1={"perplexity": {"band": [20, 80], "min_documents": 40}})  # fmt: skip
    carry_out(recipe)
    text = html.unescape(write_report(run).read_text("utf-8"))
    assert re.search(r"perplexity [\d,.]+ [<>] [\d,.]+", text)
    tables = read(run / "report.html")
    assert tables.found["Bands of perplexity, by stratum"][0][:3] == ["input.license", "language", "length_bucket"]


def test_no_personal_data_is_copied_even_where_an_excerpt_ends_in_the_middle_of_it(tmp_path):
    address = "jane.roe.of.the.long.name@mail.gmail.com"
    begins = [PROSE * 3 + "x" * k for k in range(0, 40, 2)]
    texts = [f"{begin[-(600 - k) :]} {address} +1 212 736 5000" for k, begin in enumerate(begins)]
    write_shard(tmp_path / "in" / "a.parquet", texts)
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    text = write_report(run).read_text("utf-8")
    assert "&lt;EMAIL&gt;" in text
    assert "jane" not in text
    assert "736" not in re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)


def test_what_a_run_lacks_is_left_out(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [PROSE * k for k in range(1, 6)])
    recipe, run = write_recipe(tmp_path, tmp_path / "in", dedup={"exact": False})
    carry_out(recipe)
    tables = read(write_report(run))
    assert {"summary", "flow", "signals", "strata", "scorecard", "documents", "facts"} <= tables.ids
    assert not {"reasons", "clusters", "dropped"} & tables.ids
    assert [row[0] for row in tables.found["Documents, tokens and bytes of text by stage"][1:]] == ["input", "rules"]
    assert "Bands of perplexity, by stratum" not in tables.found


def test_an_index_without_the_tables_that_may_be_missing_is_reported(tmp_path):
    recipe, run = write_recipe(tmp_path, SAMPLE, tier1={"rules": ["gopher"]})
    carry_out(recipe)
    import duckdb

    with duckdb.connect(run / "run.duckdb") as connection:
        connection.execute("DROP TABLE scorecard; DROP VIEW clusters; DROP TABLE stages; DROP VIEW corpus")
    tables, data = read(write_report(run)), counted(run)
    assert not {"scorecard", "clusters"} & tables.ids
    assert data["signals"]["n_words"]["marks"]
    assert data["flow"][1]["dropped"]["too_few_words"]["documents"] == 225


def test_a_run_that_kept_nothing_is_reported(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [f"word {k}" for k in range(30)])
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": FEW})
    with pytest.raises(EmptyOutputError):
        carry_out(recipe)
    assert not (run / "manifest.json").exists()
    text = write_report(run).read_text("utf-8")
    assert "This run kept no document." in text
    assert "n_words 2 &lt; 50" in text
    assert numbers(read(run / "report.html").found["What each reason takes away"][1])[0] == 30


def test_where_inputs_are_gone_the_page_says_so_and_shows_the_rest(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [PROSE * k for k in range(1, 41)], source=["x", "y"] * 20)
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    (tmp_path / "in" / "a.parquet").unlink()
    tables = read(write_report(run))
    text = html.unescape((run / "report.html").read_text("utf-8"))
    assert re.search(r"Not all texts can be shown: \S+a\.parquet: No such file or directory; it was there", text)
    assert re.search(r"The input’s own columns are left out: \S+a\.parquet: No such file or directory", text)
    assert {"reasons", "signals", "strata"} & tables.ids == {"signals", "strata"}


def test_an_input_that_was_changed_is_not_shown_as_what_was_measured(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [f"{PROSE} {k}" for k in range(40)], source=["x"] * 40)
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    write_shard(tmp_path / "in" / "a.parquet", [f"other {k}" for k in range(41)], source=["y"] * 41)
    text = html.unescape(write_report(run).read_text("utf-8"))
    assert "a.parquet: is not the file that was measured; run again" in text
    assert "other 7" not in text


def test_a_source_that_is_no_utf8_leaves_the_input_s_columns_out(tmp_path):
    raw = pa.array([b"caf\xe9"] * 30)
    source = pa.StringArray.from_buffers(30, *raw.buffers()[1:], raw.buffers()[0])
    write_shard(tmp_path / "in" / "a.parquet", [PROSE * k for k in range(1, 31)], source=source)
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    text = html.unescape(write_report(run).read_text("utf-8"))
    assert re.search(r"The input’s own columns are left out: Invalid Input Error: Invalid string encoding", text)


def test_tokens_of_repeated_lines_are_taken_away_from_documents_that_stay(tmp_path):
    texts = [f"{' '.join(f'{word}{k}' for word in PROSE.split())}\nhome menu about contact" for k in range(30)]
    write_shard(tmp_path / "in" / "a.parquet", texts)
    recipe, run = write_recipe(tmp_path, tmp_path / "in", dedup={"lines": {"max_repeats": 20}})
    carry_out(recipe)
    tables, data = read(write_report(run)), counted(run)
    [(cut,)] = rows_of(run, "SELECT sum(n_tokens_cut) FROM decisions")
    stage, *cells = tables.found["Documents, tokens and bytes of text by stage"][-1]
    assert stage == f"lines cut {cut} tokens out of 30 documents that stay"
    assert (cells[1], cells[5]) == ("0", f"{cut}")
    assert data["flow"][-1]["cut"] == {"documents": 30, "tokens": cut, "bytes": 30 * len("\nhome menu about contact")}


def test_chats_json_lines_and_files_in_quarantine_are_reported(tmp_path):
    chat = json.dumps({"chat": [{"role": "user", "content": "Why is the sky blue, and what is blue?"}], "source": "s"})
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text("".join(chat.replace("Why", f"Why {k}") + "\n" for k in range(25)))
    (tmp_path / "in" / "b.parquet").write_bytes(b"no parquet <b>")
    source = {"paths": [str(tmp_path / "in")], "messages": "chat"}
    recipe, run = write_recipe(
        tmp_path, "", input=source, on_error="quarantine", tier1={"rules": FEW}, allow_empty=True
    )
    carry_out(recipe)
    tables, data = read(write_report(run)), counted(run)
    text = html.unescape((run / "report.html").read_text("utf-8"))
    assert "Why 7 is the sky blue" in text
    assert "1 of 2 input files could not be read and is in quarantine" in text
    [caption] = [name for name in tables.found if name and name.startswith("2 files")]
    assert tables.found[caption][1][0] == "b.parquet"
    assert "not a whole Parquet file" in tables.found[caption][1][3]
    assert [one["title"] for one in data["dropped"]] == ["file", "input.source", "length_bucket"]
    assert data["dropped"][1]["groups"][0][0]["value"] == "s"


def test_the_command_writes_where_it_is_told_and_refuses_what_is_no_run(demo, tmp_path):
    done = command("report", demo, "--output", tmp_path / "new" / "page.html")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'new' / 'page.html'}\n")
    assert (tmp_path / "new" / "page.html").read_text("utf-8").startswith("<!doctype html>")
    done = command("report", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {tmp_path}: no run.duckdb: not a run directory; ")
    with pytest.raises(RunError):
        write_report(tmp_path)
    assert list(tmp_path.glob("*.html")) == []


def test_only_the_page_s_own_script_may_run(page_of_demo):
    text = page_of_demo.read_text("utf-8")
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    [digest] = re.findall(r"'sha256-([\w+/]+=)'", policy)
    [script] = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() == digest
    assert "unsafe" not in policy.replace("style-src 'unsafe-inline'", "")
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", text)
    assert len(text) < 1_000_000


def test_a_run_of_an_earlier_version_is_refused_in_one_line(demo, tmp_path):
    run = shutil.copytree(demo, tmp_path / "run")
    with duckdb.connect(str(run / "run.duckdb")) as database:
        database.execute("ALTER TABLE decisions DROP COLUMN n_bytes_cut")
    with pytest.raises(RunError, match=r"was decided by an earlier version of curate; run its recipe again"):
        write_report(run)
