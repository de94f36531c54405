"""`what-if`: the verdicts of another recipe from the ledger alone, the same that a run would give."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.commands import carry_out, command
from support.corpora import EXCERPT, PROSE, SAMPLE, write_shard
from support.recipes import write_recipe
from support.runs import digests
from support.soak import ALL, repeats

from curate.display import json_text
from curate.errors import RecipeError, RunError
from curate.inspect.compare import what_if
from curate.inspect.what_if import propose, redecide, save_recipe
from curate.ledger.run import connect
from curate.recipe.load import load_recipe

FOOTER = "All rights reserved by the owners of this page, whoever they may be."
VERDICT = "doc_id, kept, stage, reason, n_tokens, duplicate_of"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Half of the packaged sample, in which every third document has lines that others have too, and an address."""
    folder = tmp_path_factory.mktemp("corpus")
    for path in sorted(SAMPLE.glob("*.parquet"))[: None if ALL else 2]:
        table = pq.read_table(path)
        texts = [
            f"{text}\n{FOOTER}\n{'Read more of this here.' if k % 2 else 'Sign in to say something.'}"
            if k % 3 == 0
            else text
            for k, text in enumerate(table["text"].to_pylist())
        ]
        urls = [f"https://site{k % 4}.example.org/{k}" for k in range(len(table))]
        table = table.set_column(table.schema.get_field_index("text"), "text", pa.array(texts))
        table = table.set_column(table.schema.get_field_index("url"), "url", pa.array(urls))
        pq.write_table(table, folder / path.name)
    return folder


@pytest.fixture(scope="module")
def run(corpus, tmp_path_factory):
    """A run that uses every stage; its recipe and directory."""
    folder = tmp_path_factory.mktemp("what-if")
    (folder / "words.txt").write_text("free\nmoney\n")
    recipe, run = write_recipe(
        folder,
        corpus,
        input={"paths": [str(corpus)], "id": "id", "strata": ["source"]},
        tier1={
            "rules": ["gopher", {"reason": "starts_low", "when": "input.url LIKE '%site3%' AND n_words < 60"}],
            "language": {"keep": ["en"], "min_confidence": 0.4},
            "perplexity": {"band": [2, 98], "min_documents": 50},
            "pii": "redact",
            "decontaminate": {"against": [str(EXCERPT)]},
            "block": [{"reason": "spam_words", "words": str(folder / "words.txt"), "max": 3}],
        },
        dedup={"near": {}, "lines": {"max_repeats": 40, "max_cut": 0.5}},
    )
    carry_out(recipe)
    return recipe, run


def as_json(result):
    """A result as JSON."""
    return json.loads(json_text(result))


def verdicts_asked(run, *changes, with_texts=True):
    proposal = propose(run, changes)
    with redecide(proposal, 2, with_texts) as connection:
        rows = connection.execute(f"SELECT {VERDICT} FROM after ORDER BY doc_id").fetchall()
    return rows, proposal.texts


def verdicts_of(run):
    with connect(run) as connection:
        return connection.execute(f"SELECT {VERDICT} FROM decisions ORDER BY doc_id").fetchall()


@pytest.mark.parametrize(
    "changes",
    [
        [
            "tier1.thresholds={too_few_words: 20, too_few_stop_words: null, too_few_alpha_words: 0.5}",
            "tier1.language.min_confidence=0.9",
            "dedup.near={threshold: 0.9, verify: signature}",
            "dedup.lines=null",
        ],
        [
            "tier1.rules=[{reason: long, signal: n_words, max: 900, if: \"input.source <> 'x'\"}]",
            "tier1.block=[]",
            "input.max_document_bytes=4000",
            "tier1.perplexity={band: [10, 70], by: [length_bucket], min_documents: 5}",
            "dedup.near.threshold=0.6",
            "dedup.keep=first",
        ],
        [
            "tier1.length_penalty={low: 300, high: 1000}",
            "dedup.exact=false",
            "dedup.near.verify=exact",
            "dedup.keep=longest",
            "dedup.lines.max_repeats=10",
        ],
        *repeats(
            ["tier1.thresholds={too_few_words: 20, too_few_stop_words: null, too_few_alpha_words: 0.5}"],
            ["tier1.rules=[{reason: long, signal: n_words, max: 900, if: \"input.source <> 'x'\"}]", "tier1.block=[]"],
            ["tier1.language.min_confidence=0.9", "input.max_document_bytes=4000"],
            ["tier1.perplexity={band: [10, 70], by: [length_bucket], min_documents: 5}"],
            ["tier1.length_penalty={low: 300, high: 1000}", "dedup.exact=false"],
            ["dedup.near.threshold=0.6"],
            ["dedup.near={threshold: 0.9, verify: signature}", "dedup.lines=null"],
            ["dedup.near.verify=exact", "dedup.keep=longest"],
            ["dedup.lines.max_repeats=10", "dedup.keep=first"],
            ["tier1.decontaminate=null"],
            ["tier1.perplexity=null", "tier1.language=null"],
            ["dedup.near=null"],
            ["dedup.lines.max_cut=0.1", "tier1.thresholds.too_few_words=5"],
        ),
    ],
    ids=", ".join,
)
def test_the_verdicts_are_those_of_a_run(run, tmp_path, changes):
    recipe, directory = run
    carry_out(recipe, *changes, f"output={tmp_path / 'other'}")
    verdicts, _ = verdicts_asked(directory, *changes)
    assert verdicts == verdicts_of(tmp_path / "other")


def test_nothing_of_the_run_changes(run):
    before = digests(run[1])
    done = command("what-if", run[1], "--set", "dedup.near.threshold=0.7", "--set", "dedup.lines.max_repeats=5")
    assert done.returncode == 0, done.stderr
    assert digests(run[1]) == before


def test_texts_are_read_only_of_documents_that_the_ledger_leaves_in_doubt(run):
    _, texts = verdicts_asked(run[1], "tier1.perplexity.band=[5, 95]")
    assert texts.read == 0
    _, texts = verdicts_asked(run[1], "dedup.near.threshold=0.6")
    with connect(run[1]) as connection:
        [[compared]] = connection.execute(
            "SELECT count(*) FROM duplicate_pairs WHERE reason = 'near_duplicate'"
        ).fetchall()
    assert 0 < texts.read < compared


def test_without_texts_estimates_hold_and_are_told(run, corpus, tmp_path):
    with_texts, _ = verdicts_asked(run[1], "dedup.near.threshold=0.6")
    without, texts = verdicts_asked(run[1], "dedup.near.threshold=0.6", with_texts=False)
    assert texts.read == 0 < texts.estimated
    assert 0 < sum(a != b for a, b in zip(with_texts, without, strict=True)) < 60
    done = command("what-if", run[1], "--set", "dedup.near.threshold=0.6", "--no-text")
    assert f"{texts.estimated} documents in doubt, judged by estimates: no text was read" in done.stdout
    moved = tmp_path / "moved"
    corpus.rename(moved)
    try:
        done = command("what-if", run[1], "--set", "dedup.near.threshold=0.6", "--json")
    finally:
        moved.rename(corpus)
    told = json.loads(done.stdout)["texts"]
    assert told["read"] == 0 < told["estimated"]
    assert "No such file or directory; it was there when the run measured it" in told["why"]


def test_rules_need_no_input_and_no_index(run, corpus, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run[1], copy)
    (copy / "run.duckdb").unlink()
    changes = ("tier1.thresholds.too_few_words=20", "dedup.near=null", "dedup.lines=null")
    expected, _ = verdicts_asked(run[1], *changes)
    moved = tmp_path / "moved"
    corpus.rename(moved)
    try:
        found, texts = verdicts_asked(copy, *changes)
    finally:
        moved.rename(corpus)
    assert found == expected
    assert texts.read == texts.estimated == 0


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("tier1.pii=off", "tier1.pii: changes what is measured; only `curate run` can tell"),
        ("tier1.rules=[c4]", "tier1.rules: changes what is measured; only `curate run` can tell"),
        ("tier1.rules=[fineweb]", "tier1.rules: needs measurements of group repeated_lines, which the ledger lacks"),
        ("dedup.near.shingle=3", "dedup.near.shingle: changes what is measured"),
        ("tier1.perplexity.model={en: default}", "tier1.perplexity.model: changes what is measured"),
        ("input.text=body", "input.text: changes what is measured"),
        ("input.strata=[license]", "the ledger does not hold the input's column 'license'"),
        ("tier1.thresholds.too_few_wrods=3", "no rule has the reason 'too_few_wrods'; did you mean 'too_few_words'?"),
        ("tier1.block=[{reason: x, regex: a}]", "tier1.block: x: changes what is measured"),
    ],
)
def test_what_only_a_run_can_tell_is_refused(run, change, problem):
    with pytest.raises(RecipeError, match=problem.replace("?", r"\?")):
        propose(run[1], [change])


def test_a_folder_without_verdicts_is_refused(tmp_path):
    with pytest.raises(RunError, match="no verdicts: not a run directory"):
        propose(tmp_path, ["seed=1"])


@pytest.fixture
def small(tmp_path):
    """Twelve documents of 10 to 120 words, of which those under 50 are dropped."""
    texts = [" ".join([PROSE.split()[(k * 7 + word) % 40] for word in range(10 * (k + 1))]) for k in range(12)]
    ids, sources = [f"d{k}" for k in range(12)], ["a", "b"] * 6
    write_shard(tmp_path / "in" / "a.parquet", texts, id=pa.array(ids), source=pa.array(sources))
    rule = {"reason": "too_few_words", "signal": "n_words", "min": 50}
    recipe, run = write_recipe(
        tmp_path,
        tmp_path / "in",
        input={"paths": [str(tmp_path / "in")], "id": "id", "strata": ["source"]},
        tier1={"rules": [rule]},
    )
    carry_out(recipe)
    return recipe, run


def test_gains_and_losses_are_told_by_reason_and_stratum(small):
    told = as_json(what_if(propose(small[1], ["tier1.thresholds.too_few_words=20", "input.max_document_bytes=500"]), 2))
    with connect(small[1]) as connection:
        sizes = dict(connection.execute("SELECT doc_id, n_tokens FROM documents").fetchall())
        large = [
            doc_id for (doc_id,) in connection.execute("SELECT doc_id FROM documents WHERE n_bytes > 500").fetchall()
        ]
    assert told["changed"]["tier1.thresholds.too_few_words"] == {"before": 50, "after": 20}
    gained = ["d1", "d2", "d3"]
    assert told["totals"]["gained_documents"] == 3
    assert told["totals"]["gained_tokens"] == sum(sizes[name] for name in gained)
    assert told["totals"]["lost_documents"] == len(large) > 0
    assert {row["doc_id"]: row["evidence"] for row in told["examples"]["gained"]} == {
        "d1": "n_words 20 < 50",
        "d2": "n_words 30 < 50",
        "d3": "n_words 40 < 50",
    }
    [words] = [row for row in told["reasons"] if row["reason"] == "too_few_words"]
    assert (words["documents_before"], words["documents_after"], words["documents_gained"]) == (4, 1, 3)
    [size] = [row for row in told["reasons"] if row["reason"] == "too_large"]
    assert (size["documents_before"], size["documents_after"], size["documents_lost"]) == (0, len(large), len(large))
    assert size["tokens_lost"] == sum(sizes[name] for name in large)
    by_source = {row["value"]: row for row in told["strata"]["input.source"]}
    assert (by_source["a"]["gained"], by_source["b"]["gained"]) == (1, 2)


def test_a_saved_recipe_makes_what_was_asked_so(small, tmp_path):
    saved = tmp_path / "saved.yaml"
    change = "tier1.thresholds.too_few_words=20"
    done = command("what-if", small[1], "--set", change, "--save", saved)
    assert done.returncode == 0, done.stderr
    assert load_recipe(saved).resolved() == load_recipe(small[0], [change]).resolved()
    expected, _ = verdicts_asked(small[1], change)
    assert command("run", saved).returncode == 0
    assert verdicts_of(small[1]) == expected
    again = command("what-if", small[1], "--set", change, "--save", saved)
    assert again.returncode == 1
    assert again.stderr == f"Error: --save {saved}: is there already; choose another name\n"


def test_a_run_that_kept_nothing_is_asked_what_would_be_kept(small):
    failed = command("run", small[0], "--set", "tier1.thresholds.too_few_words=500")
    assert failed.returncode == 1
    told = as_json(what_if(propose(small[1], ["tier1.thresholds.too_few_words=60"]), 2))
    assert (told["totals"]["kept_before_documents"], told["totals"]["kept_after_documents"]) == (0, 7)


def test_every_document_that_differs_can_be_written(small, tmp_path):
    for name in ("out.parquet", "out.csv", "out.jsonl", "out.json"):
        done = command("what-if", small[1], "--set", "tier1.thresholds.too_few_words=20", "--output", tmp_path / name)
        assert done.returncode == 0, done.stderr
        with connect(small[1]) as connection:
            rows = connection.execute(f"SELECT doc_id, kept_before, reason_before FROM '{tmp_path / name}'").fetchall()
        assert rows == [(f"d{k}", False, "too_few_words") for k in (1, 2, 3)]
    done = command("what-if", small[1], "--set", "seed=1", "--output", tmp_path / "out.txt")
    assert "its name ends in none of .parquet, .csv, .jsonl, .json" in done.stderr


def test_two_runs_are_compared_document_by_document(small, tmp_path):
    other = tmp_path / "other"
    carry_out(small[0], "tier1.thresholds.too_few_words=80", f"output={other}")
    done = command("compare", small[1], other, "--json")
    told = json.loads(done.stdout)
    assert told["changed"] == {"tier1.thresholds.too_few_words": {"before": 50, "after": 80}}
    assert {row["doc_id"] for row in told["examples"]["lost"]} == {"d4", "d5", "d6"}
    assert told["in_both"] == 12
    shown = command("compare", small[1], other).stdout
    assert f"before: {small[1]}; after: {other}; 12 documents in both" in shown
    same = command("compare", small[1], small[1]).stdout
    assert "the recipes are the same" in same
    assert "every verdict is the same: 8 documents kept" in same


def test_runs_of_other_documents_are_not_compared_but_a_grown_corpus_is(small, tmp_path):
    write_shard(tmp_path / "in" / "b.parquet", [PROSE * 3], id=pa.array(["new"]), source=pa.array(["a"]))
    grown = tmp_path / "grown"
    carry_out(small[0], f"output={grown}")
    told = json.loads(command("compare", small[1], grown, "--json").stdout)
    assert [row["doc_id"] for row in told["examples"]["gained"]] == ["new"]
    assert told["in_both"] == 12
    write_shard(tmp_path / "else" / "a.parquet", [PROSE], id=pa.array(["z"]), source=pa.array(["a"]))
    elsewhere = tmp_path / "elsewhere"
    carry_out(small[0], f"input.paths=[{tmp_path / 'else'}]", "tier1.rules=[]", f"output={elsewhere}")
    done = command("compare", small[1], elsewhere)
    assert done.returncode == 1
    assert "have no doc_id in common; are they of one corpus, with one input.id?" in done.stderr


@pytest.mark.parametrize("group", ["words", "decisions"])
def test_a_damaged_ledger_is_told_in_one_line(small, group):
    [path] = [path for path in (small[1] / "ledger").rglob("*.parquet") if group in str(path)]
    (small[1] / "run.duckdb").unlink()
    raw = bytearray(path.read_bytes())
    raw[4 : len(raw) // 2] = b"?" * (len(raw) // 2 - 4)
    path.write_bytes(bytes(raw))
    for arguments in (("what-if", small[1], "--set", "seed=3"), ("compare", small[1], small[1])):
        done = command(*arguments)
        assert done.returncode == 1, done.stderr[-300:]
        assert done.stderr.startswith(f"Error: {small[1]}: its ledger cannot be read ("), done.stderr[-300:]
        assert len(done.stderr.splitlines()) == 1
    path.unlink()
    done = command("what-if", small[1], "--set", "seed=3")
    assert done.stderr == f"Error: {small[1]}/{path.relative_to(small[1])}: missing; run again\n"


def test_chats_and_earlier_runs_are_decided_as_a_run_does(tmp_path):
    words = PROSE.split()

    def chat(k):
        said = " ".join(words[(k // 2 * 5 + place) % len(words)] + str(k // 2) for place in range(80)) + " x" * (k % 2)
        return [{"role": "user", "content": said}, {"role": "assistant", "content": f"{PROSE} {k // 2}"}]

    write_shard(tmp_path / "in" / "a.parquet", ["-"] * 60, messages=pa.array([chat(k) for k in range(60)]))
    write_shard(tmp_path / "old" / "a.parquet", ["-"] * 12, messages=pa.array([chat(k) for k in range(12)]))
    recipe, run = write_recipe(
        tmp_path, tmp_path / "in", input={"paths": [str(tmp_path / "in")], "messages": "messages"}, dedup={"near": {}}
    )
    old = tmp_path / "old-run"
    carry_out(recipe, "name=old", f"input.paths=[{tmp_path / 'old'}]", f"output={old}")
    carry_out(recipe)
    for k, changes in enumerate([[f"dedup.against=[{old}]"], ["dedup.near.threshold=0.99"], ["dedup.near=null"]]):
        other = tmp_path / f"other-{k}"
        carry_out(recipe, *changes, f"output={other}")
        found, _ = verdicts_asked(run, *changes)
        assert found == verdicts_of(other) != verdicts_of(run)


def two_sources(folder):
    """Forty documents of two sources, some on a site; a recipe without strata, and its run directory."""
    texts = [" ".join(PROSE.split()[k % 7 : k % 7 + 20 + k]) for k in range(40)]
    urls = [f"https://{'bad' if k % 5 == 0 else 'good'}.example.org/{k}" for k in range(40)]
    names = ["a" if k % 2 else "b" for k in range(40)]
    write_shard(folder / "in" / "a.parquet", texts, source=pa.array(names), url=pa.array(urls))
    band = {"band": [20, 80], "by": ["length_bucket"], "min_documents": 5}
    return write_recipe(folder, folder / "in", tier1={"perplexity": band}, dedup={"exact": False})


def test_columns_that_the_ledger_lacks_are_not_taken_for_columns_that_the_input_lacks(tmp_path):
    recipe, run = two_sources(tmp_path)
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "urls.txt").write_text("https://bad.example.org/0\n")
    carry_out(recipe, f"exclude=[{tmp_path / 'empty.txt'}]")
    for change in ("input.strata=['source?']", f"exclude=[{tmp_path / 'urls.txt'}]"):
        with pytest.raises(RecipeError, match=r"the ledger does not hold the input's column '(source|url)'"):
            propose(run, [change])
    found, _ = verdicts_asked(run, "input.strata=['nowhere?']")
    assert found == verdicts_of(run)
    with pytest.raises(RecipeError, match="the input has no column 'nowhere'"):
        propose(run, ["input.strata=[nowhere]"])


def test_what_other_recipes_measured_of_some_files_takes_no_document_away(tmp_path):
    recipe, run = two_sources(tmp_path)
    carry_out(recipe, "input.strata=[source]")
    write_shard(tmp_path / "in" / "b.parquet", [f"{PROSE} {k}" for k in range(9)])
    carry_out(recipe)
    for k, change in enumerate(("tier1.perplexity.band=[5, 95]", "tier1.rules=[gopher]")):
        found, _ = verdicts_asked(run, change)
        assert len(found) == 49
        carry_out(recipe, change, f"output={tmp_path / str(k)}", "allow_empty=true")
        assert found == verdicts_of(tmp_path / str(k))


def test_lists_and_sets_that_changed_since_are_told(tmp_path):
    words, questions = tmp_path / "words.txt", tmp_path / "questions.jsonl"
    words.write_text("fox\n")
    questions.write_text(json.dumps({"question": "how many stories are told by the fire to children here?"}) + "\n")
    recipe, run = two_sources(tmp_path)
    block = f"tier1.block=[{{reason: foxes, words: {words}}}]"
    carry_out(recipe, block, f"tier1.decontaminate={{against: [{questions}]}}")
    assert what_if(propose(run, ["tier1.perplexity.band=[5, 95]"]), 2).notes == []
    words.write_text("dog\n")
    questions.write_text(json.dumps({"question": "what have the people of the town seen with their own eyes?"}) + "\n")
    told = command("what-if", run, "--set", "tier1.perplexity.band=[5, 95]").stdout
    assert "`curate run` would measure again: group block\n" in told
    assert "`curate run` would measure again: evaluation sets of tier1.decontaminate\n" in told
    words.unlink()
    told = what_if(propose(run, ["tier1.perplexity.band=[5, 95]"]), 2).notes
    assert told == [f"`curate run` would measure again: tier1.block: foxes: {words}: no such file"]


def test_where_a_run_would_stop_is_told(tmp_path):
    recipe, run = two_sources(tmp_path)
    (tmp_path / "in" / "broken.parquet").write_bytes(b"no Parquet")
    carry_out(recipe, "on_error=quarantine")
    changes = ["on_error=stop", "tier1.rules=[{reason: all, signal: n_words, min: 999}]"]
    told = what_if(propose(run, changes), 2).notes
    assert told[0].startswith("`curate run` would stop at broken.parquet: ")
    assert told[1] == "`curate run` would end with an error: nothing is kept, and allow_empty is false"


def test_lists_are_found_from_another_folder(tmp_path):
    (tmp_path / "words.txt").write_text("fox\n")
    recipe, run = two_sources(tmp_path)
    block = "tier1.block=[{reason: foxes, words: words.txt}]"
    assert command("run", recipe, "--set", block, "--set", "allow_empty=true", cwd=tmp_path).returncode == 0
    done = command("what-if", run, "--set", "allow_empty=false", "--json")
    assert json.loads(done.stdout)["notes"] == []


def test_personal_data_in_strata_is_not_shown(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [PROSE] * 30, author=pa.array(["bob.smith@corp.com"] * 30))
    source = {"paths": [str(tmp_path / "in")], "strata": ["author"]}
    recipe, run = write_recipe(tmp_path, tmp_path / "in", input=source)
    carry_out(recipe)
    done = command("what-if", run, "--set", "dedup.exact=false")
    assert "<EMAIL>" in done.stdout
    assert "bob.smith" not in done.stdout + command("compare", run, run, "--json").stdout


def test_a_saved_recipe_of_any_section_loads_and_is_refused_before_work(small, tmp_path):
    saved = tmp_path / "saved.yaml"
    changes = ["tier1.pii={action: 'off', kinds: [email]}", "dedup.near=null"]
    proposal = propose(small[1], changes)
    save_recipe(proposal, saved)
    assert load_recipe(saved).resolved() == proposal.recipe.resolved()
    done = command("what-if", small[1], "--set", "seed=1", "--save", saved)
    assert (done.returncode, done.stdout) == (1, "")
