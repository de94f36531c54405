"""`curate sample` draws the same documents for a seed, and marks in them what they were dropped for."""

import json
import re

import pyarrow as pa
import pytest
from support.commands import carry_out, command
from support.corpora import PROSE, write_shard
from support.recipes import write_recipe

from curate.display import json_text
from curate.errors import CurateError
from curate.inspect.evidence import Evidence
from curate.inspect.sample import Selection, draw
from curate.inspect.spans import FINDERS
from curate.ledger.run import connect

MAIL = "jane.doe@gmail.com"
QUESTION = "what is the sum of all the numbers from one to one hundred when each is doubled"


def numbered(k, n=70):
    """A text of n words that no other number shares."""
    return " ".join(f"the tree{k * 1000 + i} and hill{k * 1000 + i}" for i in range(n // 4)) + "."


def told(run, *arguments, **environment):
    done = command("sample", run, *arguments, **environment)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def drawn(run, **selection):
    return json.loads(json_text(draw(run, Selection(**selection))))


def marked_in(one):
    return [one["excerpt"][start:end] for start, end in one["spans"]]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    line = "A line that stands here again and again, word for word."
    texts = {
        "lines": "\n".join([numbered(1), *[line] * 6, numbered(2)]),
        "bullets": "\n".join(f"- item {k} of the list that we have" for k in range(12)),
        "ellipses": "\n".join(f"{numbered(30 + k, 9)[:-1]}..." for k in range(9)),
        "ngrams": " ".join(f"{numbered(60 + k, 8)[:-1]} buy now cheap pills" for k in range(40)),
        "cursed": f"{numbered(3)} Darn it, {numbered(4)}",
        "code": f"{numbered(5)} ISBN 0-306 and ISBN 99-1 {numbered(6)}",
        "listed": numbered(7),
        "question": f"Écoutez: {numbered(8)} {QUESTION} {numbered(9)}",
        "cut": f"{numbered(10)}\nHOME AND MENU LINE\n{numbered(11)}",
        "mostly_cut": f"{numbered(12, 60)}\n" + "A MENU OF MANY THINGS\n" * 3,
        "mail": f"{numbered(13)} Write to {MAIL} or to {MAIL.replace('jane', 'joan')}.",
        "evil": f"\x1b[31m\u202e[red] short, {MAIL}",
        "good": numbered(14),
        "copy": numbered(14),
    }
    urls = pa.array([f"https://{'bad.org' if name == 'listed' else 'a.org'}/{name}" for name in texts])
    write_shard(folder / "in" / "a.parquet", list(texts.values()), name=pa.array(list(texts)), url=urls)
    (folder / "darn.txt").write_text("darn it\n")
    (folder / "sites.txt").write_text("bad.org\n")
    (folder / "bench.jsonl").write_text(json.dumps({"question": QUESTION}) + "\n")
    block = [
        {"reason": "bad_words", "words": str(folder / "darn.txt")},
        {"reason": "isbn", "regex": r"ISBN [0-9-]+", "max": 1},
        {"reason": "bad_site", "urls": str(folder / "sites.txt")},
    ]
    mails = {"reason": "many_mails", "when": "raw_n_emails > 1"}
    tier1 = {
        "rules": ["gopher", "gopher_repetition", "refinedweb", mails],
        "thresholds": {"too_much_text_in_duplicate_10grams": None},
        "block": block,
        "decontaminate": {"against": [str(folder / "bench.jsonl")]},
    }
    recipe, run = write_recipe(folder, folder / "in", seed=3, tier1=tier1)
    recipe.write_text(recipe.read_text().replace("input:\n", "input:\n  id: name\n"))
    carry_out(recipe)
    return run


def of(run, doc_id, **wanted):
    [one] = drawn(run, where=f"doc_id = '{doc_id}'", **wanted)
    return one


def test_the_same_seed_draws_the_same_and_another_one_others(demo):
    ids = [[one["doc_id"] for one in drawn(demo, n=8, seed=seed)] for seed in (None, 17, 17, 18)]
    assert ids[0] == ids[1] == ids[2] != ids[3]  # the demo's recipe has the seed 17
    assert ids[0][:3] == [one["doc_id"] for one in drawn(demo, n=3)]
    assert sorted(ids[0]) != ids[0]


def test_reason_stage_kept_and_a_condition_choose_what_is_drawn_from(demo):
    assert all("too_many_hashes" in one["reasons"] for one in drawn(demo, reason="too_many_hashes", n=50))
    assert len(drawn(demo, reason="too_many_hashes", n=50)) == 42
    assert {one["stage"] for one in drawn(demo, stage="near", n=5)} == {"near"}
    assert {one["kept"] for one in drawn(demo, n=99)} == {False}
    assert {one["kept"] for one in drawn(demo, kept=True, n=5)} == {True}
    with connect(demo) as connection:
        query = "SELECT doc_id FROM corpus WHERE input.label = 'pii'"
        labelled = {doc_id for (doc_id,) in connection.execute(query).fetchall()}
    assert {one["doc_id"] for one in drawn(demo, where="input.label = 'pii'", n=99)} == labelled
    assert {one["kept"] for one in drawn(demo, where="input.label = 'pii'", n=99)} == {True, False}


def test_kept_documents_may_be_drawn_by_what_was_cut_and_not_by_a_stage(run):
    assert [one["doc_id"] for one in drawn(run, kept=True, reason="line_in_capitals")] == ["cut"]
    with pytest.raises(CurateError, match="no stage has dropped what is kept"):
        drawn(run, kept=True, stage="rules")


def test_each_document_is_headed_by_its_place_its_reason_and_the_value_against_the_bound(run):
    text = told(run, "--where", "doc_id = 'bullets'", "--reason", "too_many_bullet_lines")
    assert re.search(r"^bullets  a\.parquet:1, \d+ tokens$", text, re.MULTILINE)
    assert re.search(r"too_many_bullet_lines +bullet_line_ratio 1 > 0\.9 +gopher, Rae et al", text)
    assert text.count("«- item") == 12


def test_repeating_lines_and_ngrams_are_marked(run):
    one = of(run, "lines", reason="too_much_text_in_duplicate_lines")
    assert marked_in(one) == ["A line that stands here again and again, word for word."] * 5
    one = of(run, "ngrams", reason="too_much_text_in_top_4gram", full=True)
    assert marked_in(one) == ["buy now cheap pills"] * 40
    one = of(run, "ellipses", reason="too_many_ellipsis_lines")
    assert len(marked_in(one)) == 9


def test_what_lists_of_ones_own_name_is_marked(run):
    assert marked_in(of(run, "cursed")) == ["Darn it"]
    assert marked_in(of(run, "code")) == ["ISBN 0-306", "ISBN 99-1"]
    assert of(run, "listed")["spans"] == []


def test_a_list_that_is_gone_is_told(run):
    path = run.parent / "darn.txt"
    path.rename(run.parent / "gone.txt")
    try:
        one = of(run, "cursed")
    finally:
        (run.parent / "gone.txt").rename(path)
    assert (one["spans"], one["problem"]) == ([], f"nothing is marked: tier1.block: bad_words: {path}: no such file")


def test_passages_of_evaluation_sets_are_marked(run):
    assert marked_in(of(run, "question")) == [QUESTION]


def test_cuts_are_marked_in_the_raw_text_by_their_reason_and_where_too_much_was_cut(run):
    [one] = [one for one in drawn(run, reason="line_in_capitals", n=9) if one["doc_id"] == "cut"]
    assert marked_in(one) == ["HOME AND MENU LINE\n"]
    assert "cut as line_in_capitals" in told(run, "--reason", "line_in_capitals", "--where", "doc_id = 'cut'")
    one = of(run, "mostly_cut", reason="too_many_words_cut")
    assert "".join(marked_in(one)) == "A MENU OF MANY THINGS\n" * 3


def test_personal_data_is_shown_as_placeholders_that_are_marked(run):
    one = of(run, "mail")
    assert one["reason"] == "many_mails"
    assert marked_in(one) == ["<EMAIL>", "<EMAIL>"]
    everything = json.dumps(drawn(run, where="true", full=True)) + told(run, "--where", "true", "--full")
    assert not re.search("jane|joan|gmail", everything)


def test_a_copy_names_its_survivor_and_a_short_text_has_nothing_to_mark(run):
    assert "a copy of good" in told(run, "--stage", "exact")
    one = of(run, "evil", reason="too_few_words")
    assert one["spans"] == []
    assert [fired["told"] for fired in one["fired"]] == ["n_words 3 < 50"]


def test_perplexity_is_told_with_its_band(demo):
    text = told(demo, "--reason", "perplexity_too_high", "-n", "1")
    assert re.search(r"perplexity [\d.,]+ > [\d.,]+", text)
    assert re.search(r"perplexity is outside of [\d.]+ to [\d.,]+, the band of \d+ documents of ", text)


def test_an_excerpt_is_about_1200_characters_around_what_is_marked_and_full_is_all(run):
    short, whole = of(run, "ngrams", reason="too_much_text_in_top_4gram"), of(run, "ngrams", full=True)
    assert len(short["excerpt"]) < 1400 < len(whole["excerpt"])
    assert short["spans"]
    assert "more marked places …]" in short["excerpt"]


def test_what_is_drawn_of_kept_documents_is_the_text_that_goes_out(run):
    one = of(run, "good")
    assert (one["kept"], one["reason"], one["excerpt"]) == (True, None, numbered(14))
    cut = of(run, "cut")
    assert "MENU" not in cut["excerpt"] or not cut["kept"]


def test_json_has_what_is_printed_with_places_that_fit(run):
    for one in json.loads(told(run, "--where", "true", "--json")):
        assert {"doc_id", "file", "row", "reason", "fired", "excerpt", "spans"} <= set(one)
        assert all(0 <= start < end <= len(one["excerpt"]) for start, end in one["spans"])


def test_a_reason_that_none_has_is_answered_with_those_there_are(run, demo):
    done = command("sample", demo, "--reason", "too_many_hashs")
    assert (done.returncode, done.stdout) == (1, "")
    meant = "did you mean too_many_hashes (42)?"
    assert done.stderr == f"Error: {demo}: no document has the reason 'too_many_hashs'; {meant}\n"
    with pytest.raises(CurateError, match=r"no document has the reason 'xyz' \(known: .*bad_words \(1\)"):
        drawn(run, reason="xyz")
    assert told(run, "--reason", "too_large") == f"{run}: no document is like that\n"
    assert told(run, "--reason", "too_large", "--json") == "[]\n"
    with pytest.raises(CurateError, match="no stage 'nar'; did you mean 'near'"):
        drawn(run, stage="nar")
    with pytest.raises(CurateError, match="no stage 'distill'; did you mean 'distil'"):
        drawn(run, stage="distill")


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("n_words <", "Parser Error"),
        ("nope = 1", 'Referenced column "nope" not found'),
        ("true) ; DROP TABLE inputs; --", "one query is expected|Parser Error"),
        ("input.nope = 1", "nope"),
    ],
)
def test_a_condition_that_is_none_is_one_line(run, where, told):
    done = command("sample", run, "--where", where)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert re.search(told, done.stderr)


def test_where_the_input_is_gone_the_documents_are_told_without_their_texts(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [PROSE * 2, "short"])
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": ["gopher"]})
    carry_out(recipe)
    (tmp_path / "in" / "a.parquet").unlink()
    [one] = drawn(run)
    assert (one["excerpt"], one["fired"][0]["told"]) == (None, "n_words 1 < 50")
    assert "a.parquet: No such file or directory" in told(run)


def test_texts_and_ids_are_shown_literally_and_cannot_command_the_terminal(run, tmp_path):
    text = told(run, "--where", "doc_id = 'evil'")
    assert "␛[31m⟨202E⟩[red] short, <EMAIL>" in text
    assert "\x1b" not in text
    coloured = told(run, "--where", "doc_id = 'evil'", FORCE_COLOR="1")
    assert "\u202e" not in coloured
    assert "[red] short" in coloured
    write_shard(tmp_path / "in" / "a.parquet", ["short"], name=pa.array(["[red]x\x1b[2J"]))
    recipe, other = write_recipe(tmp_path, tmp_path / "in", allow_empty=True, tier1={"rules": ["gopher"]})
    recipe.write_text(recipe.read_text().replace("input:\n", "input:\n  id: name\n"))
    carry_out(recipe)
    assert "[red]x␛[2J" in told(other)


def test_marks_are_colours_in_a_terminal_and_signs_elsewhere(run):
    arguments = ("--where", "doc_id = 'cursed'")
    assert "«Darn it»" in told(run, *arguments)
    coloured = told(run, *arguments, FORCE_COLOR="1", NO_COLOR="")
    assert "«" not in coloured
    assert re.search(r"\x1b\[[\d;]*43mDarn it\x1b\[0m", coloured)
    assert "«Darn it»" in told(run, *arguments, FORCE_COLOR="1", NO_COLOR="1")


def test_another_finder_needs_one_line():
    assert all(callable(finder) for finder in FINDERS.values())
    assert FINDERS["hash_word_ratio"]("a # b ##", Evidence("x", "rules", {})) == [(2, 3), (6, 7), (7, 8)]
