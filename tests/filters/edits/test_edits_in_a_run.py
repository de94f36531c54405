"""Edits from the first map to the output: signals read the edited text, and the original stays reachable."""

import json

import pyarrow.parquet as pq
import pytest
from support.commands import carry_out, command
from support.corpora import PROSE, write_shard
from support.recipes import write_recipe
from support.runs import digests, documents

from curate.errors import RecipeError
from curate.ledger.ledger import read_ledger
from curate.ledger.run import connect

GOOD = "It is a truth that all of the people have to be told, and it is with us to this day. So it is. And so on."


def page(k, menu="Home", end=""):
    """A page of prose between lines that C4 cuts."""
    script = "Please turn on JavaScript to see this page."
    return f"{menu} {k}\n\n{PROSE}\n{GOOD}{end}\nShare this page\n{PROSE}[{k}]\n{script}\n"


def pages(folder, n=40):
    texts = [page(k) if k % 4 else None if k == 0 else f"{PROSE}\n{GOOD} {k}.\n{PROSE}" for k in range(n)]
    write_shard(folder / "a.parquet", texts[: n // 2], url=[f"http://x.org/{k}" for k in range(n // 2)])
    write_shard(folder / "b.parquet", texts[n // 2 :], url=[f"http://y.org/{k}" for k in range(n - n // 2)])
    return texts


def query(run, sql):
    with connect(run) as connection:
        return connection.execute(sql).fetchall()


def edited(text):
    """What C4 leaves of a page, in Python's words."""
    lines = [
        line for line in text.split("\n") if not line.strip() or (line.strip()[-1] in ".]" and "Script" not in line)
    ]
    if text.startswith("Home"):
        lines = lines[1:]  # the blank line behind the menu
    kept = "\n".join(lines).rstrip("\n") + "\n" * text.endswith("\n")
    return kept[: kept.rindex("[")] + kept[kept.rindex("]") + 1 :] if "[" in kept else kept


def test_the_output_carries_the_edited_text_and_the_ledger_every_cut(tmp_path):
    texts = pages(tmp_path / "in")
    recipe, run = write_recipe(
        tmp_path, tmp_path / "in", shard_size=6000, tier1={"rules": ["c4"]}, dedup={"exact": False}
    )
    assert carry_out(recipe)["shards"] > 2
    expected = [edited(text) for text in texts if text is not None]
    assert pq.read_table(run / "data")["text"].to_pylist() == expected
    assert [size for (size,) in documents(run, "n_bytes", "kept")] == [len(text.encode()) for text in expected]
    n = sum(text is not None and text.startswith("Home") for text in texts)
    reasons = query(run, "SELECT reason, stage, count(*), count(replacement) FROM edits GROUP BY ALL ORDER BY reason")
    assert reasons == [
        ("citation_mark", "input", n, 0),
        ("line_with_javascript", "input", n, 0),
        ("line_without_terminal_punctuation", "input", 2 * n, 0),
    ]
    raw = query(run, "SELECT input.text FROM corpus ORDER BY file, row")
    assert [text for (text,) in raw] == texts
    shown = query(
        run,
        "SELECT input.text, e.start, e.end FROM edits e JOIN corpus USING (doc_id) "
        "WHERE e.reason = 'line_with_javascript'",
    )
    assert {text.encode()[start:end] for text, start, end in shown} == {
        b"Please turn on JavaScript to see this page.\n"
    }
    shares = documents(run, "cut_word_ratio, 1 - n_words / raw_n_words", "raw_n_words > 0")
    assert all(a == pytest.approx(b, abs=1e-6) for a, b in shares)
    assert max(a for a, _ in shares) > 0.05


@pytest.mark.slow  # test_same_bytes.py has edits and workers
def test_edits_are_the_same_bytes_for_one_worker_and_for_two(tmp_path):
    pages(tmp_path / "in", 400)
    runs = []
    for workers in (1, 2):
        recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": ["c4", "refinedweb", "fineweb"]})
        where = f"output={run}-{workers}"
        done = command("run", recipe, "--set", where, "--set", "allow_empty=true", "--quiet", "--workers", workers)
        assert done.returncode == 0, done.stderr
        runs.append(run.with_name(f"run-{workers}"))
    first, second = (
        digests(run) | {p.name: p.read_bytes() for p in (run / "ledger" / "edits").iterdir()} for run in runs
    )
    assert any("-" in name and name.endswith(".parquet") for name in first)
    changed = {name for name in first if first[name] != second.get(name)}
    assert (set(first), changed) == (set(second), set())


def test_null_and_broken_texts_are_not_edited(tmp_path):
    import pyarrow as pa

    broken = pa.Array.from_buffers(
        pa.string(), 3, [None, *pa.array([b"menu\n\xff", b"menu", page(1).encode()], pa.binary()).buffers()[1:]]
    )
    write_shard(tmp_path / "in" / "a.parquet", broken)
    write_shard(tmp_path / "in" / "b.parquet", pa.array([None, ""], pa.string()))
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": ["c4"]})
    carry_out(recipe)
    assert query(run, "SELECT DISTINCT file_no, row FROM edits ORDER BY 1, 2") == [(0, 1), (0, 2)]
    assert documents(run, "reason, n_words") == [
        ("invalid_utf8", None),
        ("empty_text", 0),
        (None, documents(run, "n_words", "kept")[0][0]),
        ("empty_text", None),
        ("empty_text", 0),
    ]


def test_copies_that_differ_only_in_what_is_cut_are_duplicates(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [page(1, end="."), page(1, "Start", end=".")])
    recipe, run = write_recipe(tmp_path, tmp_path / "in", dedup={"keep": "first"}, tier1={"rules": ["c4"]})
    carry_out(recipe)
    assert documents(run, "reason") == [(None,), ("exact_duplicate",)]


def test_thresholds_switch_line_rules_off_and_move_them_by_reason(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [f"Three words here.\nno mark at its end\n{PROSE}\n{GOOD}"])
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": ["c4"]})
    carry_out(recipe)
    assert {reason for (reason,) in query(run, "SELECT reason FROM edits")} == {
        "line_too_short",
        "line_without_terminal_punctuation",
    }
    carry_out(recipe, "tier1.thresholds.line_without_terminal_punctuation=null", "tier1.thresholds.line_too_short=3")
    assert query(run, "SELECT reason FROM edits") == []
    manifest = json.loads((run / "manifest.json").read_text())
    bounds = {"line_too_short": 3, "line_without_terminal_punctuation": None}
    assert manifest["edits"][0]["name"] == "c4_lines"
    assert bounds.items() <= manifest["edits"][0]["bounds"].items()


def test_an_editor_whose_rules_are_all_off_is_no_part_of_the_run(tmp_path):
    pages(tmp_path / "in")
    off = {rule: None for rule in ("line_in_capitals", "line_of_numbers", "line_is_counter", "line_of_one_word")}
    tier1 = {"rules": ["refinedweb"], "thresholds": {**off, "navigation": None}}
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1=tier1)
    carry_out(recipe)
    assert not (run / "ledger" / "edits").exists()
    assert documents(run, "max(cut_word_ratio)", "true GROUP BY file, row")[1] == (0,)


@pytest.mark.parametrize(
    ("thresholds", "error"),
    [
        ({"line_with_policy": 3}, "line_with_policy has no threshold to move; null switches it off"),
        ({"line_too_short": 2.5}, "line_too_short takes a whole number from 0 to 2147483647, or null, got 2.5"),
        ({"line_too_short": -1}, "line_too_short takes a whole number from 0 to 2147483647, or null, got -1"),
        ({"line_with_long_word": 2**31}, "line_with_long_word takes a whole number"),
        ({"line_to_short": 3}, "no rule has the reason 'line_to_short'; did you mean 'line_too_short'?"),
    ],
)
def test_a_threshold_that_no_line_rule_has_is_refused(tmp_path, thresholds, error):
    write_shard(tmp_path / "in" / "a.parquet", ["a"])
    recipe, _ = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": ["c4"], "thresholds": thresholds})
    with pytest.raises(RecipeError, match=error.replace("?", r"\?")):
        carry_out(recipe)


def test_switching_edits_on_measures_the_edited_text_again_and_the_raw_text_not(tmp_path):
    pages(tmp_path / "in")
    raw_rule = {"reason": "brackets", "signal": "raw_n_curly_brackets", "max": 0}
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": [raw_rule]})
    carry_out(recipe)
    before = {part.group: part.path for part in read_ledger(run).parts}
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": [raw_rule, "refinedweb"]})
    carry_out(recipe, "tier1.thresholds.too_many_words_cut=null")
    after = {part.group: part.path for part in read_ledger(run).parts}
    same = {group for group in before if before[group] == after[group]}
    assert same & {"documents", "raw", "words", "lines", "sentences", "characters"} == {"documents", "raw"}


def test_the_address_rules_read_the_url(tmp_path):
    urls = [
        "http://x.org/a",
        "http://por.org/xxx/1",
        "http://a.org/gr-oup.sex",
        "http://sex.org",
        "http://Sex.org/?Escort",
        None,
    ]
    write_shard(tmp_path / "in" / "a.parquet", [f"{PROSE} {k}" for k in range(len(urls))], url=urls)
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": ["refinedweb_urls"]})
    carry_out(recipe)
    assert documents(run, "reason") == [
        (None,), ("adult_word_in_url",), ("adult_part_in_url",), (None,), ("weak_adult_words_in_url",), (None,),
    ]  # fmt: skip


def test_every_set_runs_and_dclm_cuts_addresses(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [f"{PROSE} See https://x.org/a, and so on.\n\n\n\n{GOOD}"])
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": ["dclm", "fineweb"]})
    carry_out(recipe)
    [text] = pq.read_table(run / "data")["text"].to_pylist()
    assert text == f"{PROSE} See, and so on.\n\n{GOOD}"
