"""`curate why` tells what a run knows of a document, and nothing that it does not."""

import json
import re
import shutil
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.commands import carry_out, command
from support.corpora import PROSE, write_shard
from support.recipes import write_recipe
from support.soak import examples

from curate.display import json_text
from curate.errors import CurateError, EmptyOutputError
from curate.inspect.evidence import Evidence, evidence_from, rules_by_reason
from curate.inspect.text_diff import changes, collapsed
from curate.inspect.why import explain
from curate.ledger.run import connect
from curate.recipe.load import parse_recipe

MAIL = "jane.doe@gmail.com"
WORDS = [f"{a}{b}" for a in ("green", "stone", "river", "cloud", "amber") for b in ("house", "field", "wood", "way")]
QUESTION = "what is the sum of all the numbers from one to one hundred when each is doubled"


def prose(k, n=120):
    """A text of n words that no other number shares."""
    return (
        " ".join(f"{WORDS[(k * 7 + i * (k + 3)) % 20]}{k if i % 4 == 0 else ''} the" for i in range(n // 2)) + " and."
    )


def told(run, *arguments, **environment):
    done = command("why", run, *arguments, **environment)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def story_of(run, address):
    """The story of a document as JSON."""
    return json.loads(json_text(explain(run, address)))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run in which something of everything happened; documents are named by their column `name`."""
    folder = tmp_path_factory.mktemp("why")
    copy = prose(50)
    texts = {
        "short": "The few words of this.",
        "proprietary": prose(1, 60),
        "good": prose(2) + f"\nWrite to {MAIL} for more.",
        "survivor": copy + f" Write to {MAIL} today.",
        "near": copy.replace("the and.", "the end and.") + " Write to joe.roe@yahoo.com today.",
        "copy": copy + f" Write to {MAIL} today.",
        "titled": copy.title() + f" Write to {MAIL} today.",
        "question": f"{prose(4)} {QUESTION} {prose(5)}",
        "cursed": f"{prose(6)} darn it {prose(7)} Darn!",
        "menu": f"{prose(8)}\nHOME AND MENU LINE\n{prose(9)}",
        "evil": f"\x1b[31m\u202e[red]{prose(10)}",
        **{f"more{k}": prose(20 + k) for k in range(12)},
    }
    names = pa.array(list(texts))
    licenses = pa.array(["proprietary" if name == "proprietary" else "cc0" for name in texts])
    urls = pa.array([f"https://a.org/{name}?{MAIL}" for name in texts])
    write_shard(folder / "in" / "a.parquet", list(texts.values()), name=names, license=licenses, url=urls)
    write_shard(
        folder / "in" / "b.parquet", [prose(90 + k) for k in range(9)], name=pa.array([f"b{k}" for k in range(9)])
    )
    (folder / "darn.txt").write_text("darn\n")
    (folder / "bench.jsonl").write_text(json.dumps({"question": QUESTION}) + "\n")
    own = {"reason": "not_free", "when": "input.license = 'proprietary' AND n_words > 10", "source": "our lawyers"}
    recipe, run = write_recipe(
        folder,
        folder / "in",
        seed=3,
        tier1={
            "rules": [own, "gopher", "refinedweb"],
            "pii": "redact",
            "block": [{"reason": "bad_words", "words": str(folder / "darn.txt"), "max": 1}],
            "decontaminate": {"against": [str(folder / "bench.jsonl")]},
        },
        dedup={"near": {"threshold": 0.7}, "keep": "first"},
        shard_size=6000,
    )
    with open(recipe) as file:
        text = file.read()
    recipe.write_text(text.replace("input:\n", "input:\n  id: name\n"))
    carry_out(recipe)
    return run


def test_each_rule_that_fired_is_told_with_its_value_its_bound_its_set_and_its_source(run):
    assert re.search(r"too_few_words +n_words 5 < 50 +gopher, Rae et al\. 2021, A1\.1", told(run, "short"))
    [one, *_] = story_of(run, "short")["fired"]
    assert (one["reason"], one["values"], one["mark"], one["bound"]) == ("too_few_words", {"n_words": 5}, "<", 50)
    assert (one["rule_set"], one["source"], one["stage"]) == ("gopher", "Rae et al. 2021, A1.1", "rules")


def test_a_condition_is_told_with_the_values_that_it_names_also_of_the_input(run):
    [one] = story_of(run, "proprietary")["fired"]
    assert one["values"] == {"n_words": 61, "input.license": "proprietary"}
    assert (one["rule_set"], one["source"], one["condition"][:15]) == ("recipe", "our lawyers", "input.license =")
    assert "n_words 61, input.license proprietary, when input.license = 'proprietary'" in told(run, "proprietary")


def test_values_of_the_input_are_told_without_personal_data(tmp_path):
    rule = {"reason": "from_jane", "when": "input.author LIKE '%gmail%'"}
    write_shard(tmp_path / "in" / "a.parquet", [PROSE, PROSE + "b"], author=pa.array([MAIL, "nobody"]))
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": [rule]})
    carry_out(recipe)
    assert "input.author <EMAIL>, when input.author LIKE" in told(run, "a.parquet:0")
    assert story_of(run, "a.parquet:0")["fired"][0]["values"] == {"input.author": "<EMAIL>"}


def test_of_many_values_those_that_are_nothing_are_left_out(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [PROSE, f"{PROSE} {MAIL}"])
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"pii": "drop"})
    carry_out(recipe)
    text = told(run, "a.parquet:1")
    assert re.search(r"personal_data +raw_n_emails 1, when raw_n_emails \+", text)
    assert "raw_n_ssns 0" not in text


def test_a_list_of_ones_own_is_told_with_what_was_counted(run):
    [one] = story_of(run, "cursed")["fired"]
    assert (one["values"], one["rule_set"]) == ({"block_bad_words": 2}, "block")


def test_what_fired_needs_only_a_recipe_and_a_row():
    recipe = parse_recipe({"name": "x", "input": {"paths": ["x"]}, "tier1": {"rules": ["gopher"]}}, "x")
    row = {"stage": "rules", "reasons": ["too_many_hashes"], "hash_word_ratio": 0.10000000894069672}
    [one] = evidence_from(recipe, rules_by_reason(recipe), row)
    assert isinstance(one, Evidence)
    assert str(one) == "hash_word_ratio 0.100000009 > 0.1"  # with the digits that tell them apart
    kept = {"stage": None, "reasons": [], "hash_word_ratio": 0.5}
    assert evidence_from(recipe, rules_by_reason(recipe), kept) == []
    large = {"stage": "input", "reasons": ["too_large"], "raw_n_bytes": 20_000_000, "duplicate_of": None}
    assert [str(one) for one in evidence_from(recipe, {}, large)] == ["raw_n_bytes 20,000,000 > 10,000,000"]


def test_nothing_of_later_stages_is_made_up(run):
    story = story_of(run, "short")
    assert {one["stage"] for one in story["fired"]} == {"rules"}
    assert story["duplicate"] is story["band"] is story["output"] is None
    assert "p_bad" not in json.dumps(story)


def test_the_origin_has_size_language_and_where_the_input_says_it_is_from_without_personal_data(run):
    origin = story_of(run, "good")["origin"]
    assert origin["url"] == "https://a.org/good?<EMAIL>"
    assert origin["license"] == "cc0"
    assert origin["bytes"] == len((prose(2) + f"\nWrite to {MAIL} for more.").encode())
    assert "name" not in origin


def test_a_near_copy_is_told_with_its_survivor_its_similarity_and_a_masked_diff(run):
    story = story_of(run, "near")
    assert story["duplicate"]["duplicate_of"] == "survivor"
    assert 0.7 <= story["duplicate"]["similarity"] < 1
    assert story["duplicate"]["exact"] is True
    assert ["deleted", "end "] in [list(change) for change in story["duplicate"]["diff"]]
    text = told(run, "near")
    assert "[-end -]" in text
    assert "Write to <EMAIL> today." in text
    assert not re.search("jane|joe.roe|yahoo|gmail", text + json.dumps(story))


def test_an_equal_copy_says_so_and_one_in_other_case_shows_the_case(run):
    assert "both texts are equal" in told(run, "copy")
    assert story_of(run, "titled")["reason"] == "normalised_duplicate"
    deleted = [text for kind, text in story_of(run, "titled")["duplicate"]["diff"] if kind == "deleted"]
    assert "The" in "".join(deleted).split()


def test_copies_that_differ_in_personal_data_alone_are_not_called_equal(demo):
    text = told(demo, "qs-01217")
    assert "both texts are equal but for the personal data in them" in text


def test_a_survivor_lists_the_copies_that_were_dropped_for_it(run):
    copies = story_of(run, "survivor")["copies"]
    assert copies["count"] == 3
    assert {one["doc_id"] for one in copies["documents"]} == {"near", "copy", "titled"}
    assert "dropped for this one: 3 copies" in told(run, "survivor")


def test_contamination_is_told_with_benchmark_item_and_passage(run):
    [passage] = story_of(run, "question")["contamination"]
    assert (passage["item"], passage["passage"]) == (0, QUESTION)
    assert re.search(r"bench\.jsonl, item 0: \d+ n-grams?", told(run, "question"))


def test_edits_are_shown_in_context_with_their_reason_and_personal_data_as_placeholders(run):
    edits = {edit["reason"]: edit for edit in story_of(run, "menu")["edits"]}
    assert edits["line_in_capitals"]["cut"] == "HOME AND MENU LINE\n"
    assert edits["line_in_capitals"]["before"].endswith("and.\n")
    [email] = story_of(run, "good")["edits"]
    assert (email["cut"], email["replacement"]) == ("<EMAIL>", "<EMAIL>")
    assert "Write to [-<EMAIL>-]{+<EMAIL>+} for more." in told(run, "good")


def test_the_place_in_the_output_is_that_of_the_real_row(run):
    with connect(run) as connection:
        kept = connection.execute("SELECT doc_id FROM kept").fetchall()
    assert len(sorted((run / "data").iterdir())) > 2
    for (doc_id,) in kept:
        place = story_of(run, doc_id)["output"]
        assert place["written"]
        assert pq.read_table(run / place["file"])["doc_id"][place["row"]].as_py() == doc_id


def test_percentiles_are_of_the_stratum_and_unusual_ones_are_marked(demo):
    story = story_of(demo, "qs-00261")["signals"]
    assert story["stratum"] == {"language": "en", "length_bucket": "300-999"}
    with connect(demo) as connection:
        values = connection.execute(
            "SELECT digit_ratio FROM documents WHERE language = 'en' AND length_bucket = '300-999'"
        ).fetchall()
    found = {one["signal"]: one for one in story["measured"]}
    own = found["digit_ratio"]["value"]
    below, same = sum(v < own for (v,) in values), sum(v == own for (v,) in values)
    assert found["digit_ratio"]["percentile"] == round(100 * (below + same / 2) / len(values), 2)
    assert story["documents"] == len(values)
    assert {one["signal"] for one in story["measured"] if one["unusual"]} >= {"digit_ratio", "short_line_ratio"}
    assert not found["n_words"]["unusual"]
    shown = told(demo, "qs-00261")
    assert re.search(r"digit_ratio +0\.611 +99\.9%", shown)
    assert "whitespace_ratio" not in shown
    assert "whitespace_ratio" in told(demo, "qs-00261", "--signals")


def test_a_small_stratum_gives_way_to_the_wider_one_and_no_strata_to_the_whole_corpus(run, demo):
    assert story_of(run, "good")["signals"]["stratum"] == {}
    with connect(demo) as connection:
        [(doc_id,)] = connection.execute(
            "SELECT doc_id FROM documents WHERE language = 'de' ORDER BY doc_id LIMIT 1"
        ).fetchall()
    assert story_of(demo, doc_id)["signals"]["stratum"] == {}


def test_a_band_is_told_with_its_stratum_and_the_wider_one_where_that_has_none(demo):
    story = story_of(demo, "qs-00642")
    assert story["band"]["stratum"] == {"language": "en", "length_bucket": "300-999"}
    assert "perplexity 930.9 > 866" in told(demo, "qs-00642")
    with connect(demo) as connection:
        [(doc_id, low, high)] = connection.execute(
            "SELECT doc_id, b.low, b.high FROM kept k, bands b WHERE k.length_bucket = '1000-2999' "
            "AND k.language = 'en' AND perplexity IS NOT NULL AND b.depth = 1 ORDER BY doc_id LIMIT 1"
        ).fetchall()
    band = story_of(demo, doc_id)["band"]
    assert (band["stratum"], band["low"], band["high"]) == ({"language": "en"}, low, high)


def test_a_place_is_printed_as_it_is_typed_and_every_path_to_a_file_leads_to_its_documents(run, monkeypatch):
    printed = told(run, "near")
    assert "near  a.parquet:4\n" in printed
    assert "  survivor  a.parquet:3; similarity" in printed
    with connect(run) as connection:
        [(location,)] = connection.execute("SELECT location FROM inputs WHERE file = 'a.parquet'").fetchall()
    file = Path(location)
    monkeypatch.chdir(file.parent)
    for path in ("a.parquet", file, "./a.parquet", f"../{file.parent.name}/a.parquet"):
        assert story_of(run, f"{path}:4")["doc_id"] == "near"
    with pytest.raises(CurateError, match=r"no document '/elsewhere/a\.parquet:4'"):
        story_of(run, "/elsewhere/a.parquet:4")


def test_a_row_of_the_output_is_the_document_that_was_written_there(run):
    output = story_of(run, "good")["output"]
    place = f"{output['file']}:{output['row']}"
    assert f"\n  {place}\n" in told(run, "good")
    for address in (place, run / place):
        assert story_of(run, str(address))["doc_id"] == "good"


def test_an_input_is_not_mistaken_for_a_file_of_the_output_with_the_end_of_its_path(tmp_path, monkeypatch):
    name = "data/train-00000-of-00001.parquet"
    write_shard(tmp_path / "hf" / "en" / name, [prose(1), prose(2)], name=["en0", "en1"])
    write_shard(tmp_path / "hf" / "fr" / name, [prose(3), prose(4)], name=["fr0", "fr1"])
    recipe, run = write_recipe(tmp_path, tmp_path / "hf")
    recipe.write_text(recipe.read_text().replace("input:\n", "input:\n  id: name\n"))
    carry_out(recipe)
    monkeypatch.chdir(tmp_path)
    for path in (f"fr/{name}", f"hf/fr/{name}", tmp_path / "hf" / "fr" / name):
        assert story_of(run, f"{path}:1")["doc_id"] == "fr1"
    for path in (name, f"run/{name}", run / name):
        assert story_of(run, f"{path}:1")["doc_id"] == "en1"
    with pytest.raises(CurateError, match="no document"):
        story_of(run, f"exports/{name}:1")
    monkeypatch.chdir(tmp_path / "hf" / "fr")
    with pytest.raises(CurateError) as caught:
        story_of(run, f"{name}:1")
    both = f"fr/{name}:1 of the input or {run / name}:1 of the output"
    assert str(caught.value) == f"{run}: {name} leads to more than one file; write {both}"


def test_documents_are_found_by_file_and_row(run, demo):
    assert story_of(run, "a.parquet:2")["doc_id"] == "good"
    with pytest.raises(CurateError, match=r"a\.parquet has rows 0 to 22, not 99$"):
        story_of(run, "a.parquet:99")
    with pytest.raises(CurateError, match=r"no document 'qs-0066'; did you mean 'qs-00066'\?"):
        story_of(demo, "qs-0066")
    done = command("why", run, "nobody at all")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Error: {run}: no document 'nobody at all'; find ids with: curate sql ")
    assert done.stderr.count("\n") == 1


@pytest.fixture
def hashed(tmp_path):
    """A run whose ids are hashes."""
    write_shard(tmp_path / "in" / "a.parquet", [prose(1), prose(2), prose(2), "short"])
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": ["gopher"]})
    carry_out(recipe)
    return run


def test_eight_letters_of_a_hash_are_enough_where_no_other_begins_so(hashed):
    with connect(hashed) as connection:
        ids = [i for (i,) in connection.execute("SELECT doc_id FROM documents ORDER BY row").fetchall()]
    assert story_of(hashed, ids[0][:8])["doc_id"] == ids[0]
    assert story_of(hashed, ids[1])["doc_id"] == ids[1]
    with pytest.raises(CurateError, match=f"more than one document begins with '{ids[1][:8]}': {ids[1]}, {ids[1]}#2;"):
        story_of(hashed, ids[1][:8])
    with pytest.raises(CurateError, match="no document"):
        story_of(hashed, ids[0][:7])


def test_where_the_input_is_gone_all_but_the_texts_is_told(hashed):
    (hashed.parent / "in" / "a.parquet").rename(hashed.parent / "in" / "gone")
    story = story_of(hashed, "a.parquet:2")
    assert story["reason"] == "exact_duplicate"
    assert story["duplicate"]["diff"] is None
    assert story["signals"]["documents"] == 4
    text = told(hashed, "a.parquet:2")
    assert "its text is not shown: " in text
    assert "a.parquet: No such file or directory; it was there when the run measured it" in text


def test_a_run_that_kept_nothing_is_told_of_too(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", ["short", "shorter"])
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": ["gopher"]})
    with pytest.raises(EmptyOutputError):
        carry_out(recipe)
    assert not (run / "manifest.json").exists()
    assert "too_few_words  n_words 1 < 50" in re.sub(" +", " ", told(run, "a.parquet:0")).replace(" n_w", "  n_w")


def test_a_run_that_was_moved_is_told_of_from_anywhere(run, tmp_path):
    shutil.copytree(run, tmp_path / "moved here")
    assert "too_few_words" in told(tmp_path / "moved here", "short", cwd=tmp_path)
    assert json.loads(told("moved here", "near", "--json", cwd=tmp_path))["duplicate"]["diff"]


def test_repeated_lines_are_told_with_the_share_that_was_cut(tmp_path):
    menu = "\n".join(f"A menu line that stands everywhere, number {k}." for k in range(30))
    write_shard(tmp_path / "in" / "a.parquet", [f"{menu}\n{k} little." for k in range(9)])
    lines = {"max_repeats": 5, "max_cut": 0.5}
    recipe, run = write_recipe(tmp_path, tmp_path / "in", dedup={"exact": False, "lines": lines}, allow_empty=True)
    carry_out(recipe)
    story = story_of(run, "a.parquet:3")
    [one] = story["fired"]
    assert (one["reason"], one["mark"], one["bound"]) == ("too_much_boilerplate", ">", 0.5)
    assert 0.95 < one["values"]["cut_share"] < 1
    assert len(story["edits"]) == 30
    assert story["edits"][0]["stage"] == "lines"


def test_copies_of_an_earlier_run_name_it(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [prose(1), prose(2)])
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    changes = ("name=later", f"output={tmp_path / 'later'}", f"dedup.against=[{tmp_path / 'run'}]", "allow_empty=true")
    carry_out(recipe, *changes)
    story = story_of(tmp_path / "later", "a.parquet:0")
    assert story["duplicate"]["duplicate_of"].startswith("test:")
    text = told(tmp_path / "later", "a.parquet:0")
    assert "a document of an earlier run: its text is not read here" in text


def test_what_stands_in_texts_and_names_never_reaches_the_terminal_as_a_command(run):
    text = told(run, "near", FORCE_COLOR="1") + told(run, "evil", "--json") + told(run, "evil")
    assert "\u202e" not in text
    assert set(re.findall(r"\x1b(?!\[[\d;]*m)", text)) == set()
    assert "\x1b" not in told(run, "evil")
    assert "\x1b[" in told(run, "near", FORCE_COLOR="1")


def test_ids_and_strata_are_shown_literally(tmp_path):
    names, sources = ["[red]a", "[b]\x1b[2J", "c"], ["[i]\x1b[3J"] * 3
    write_shard(tmp_path / "in" / "a.parquet", [prose(1), prose(1), prose(2)], name=names, source=sources)
    perplexity = {"band": [0, 100], "min_documents": 1}
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"perplexity": perplexity})
    recipe.write_text(recipe.read_text().replace("input:\n", "input:\n  id: name\n  strata: [source]\n"))
    carry_out(recipe)
    text = told(run, "[red]a") + told(run, "[red]a", FORCE_COLOR="1")
    assert text.count("input.source [i]␛[3J") == 2
    assert "[b]␛[2J" in text
    assert not re.search(r"\x1b\[\dJ", text)


def test_what_was_deleted_and_inserted_is_told_by_colour_or_by_signs(run):
    coloured = told(run, "near", FORCE_COLOR="1", NO_COLOR="")
    assert "[-end -]" not in coloured
    assert "[-end -]" in told(run, "near")
    assert "[-end -]" in told(run, "near", FORCE_COLOR="1", NO_COLOR="1")


@examples(200)
@given(st.text("ab \n.é", max_size=40), st.text("ab \n.é", max_size=40))
def test_a_diff_has_all_of_both_texts(old, new):
    found = changes(old, new)
    assert "".join(text for kind, text in found if kind != "inserted") == old
    assert "".join(text for kind, text in found if kind != "deleted") == new
    assert all(a[0] != b[0] for a, b in pairwise(found))


def test_a_diff_of_long_texts_is_made_by_lines_and_blocks_and_keeps_all(tmp_path):
    old = "\n".join(f"line {k} of many words that are the same" for k in range(2000))
    new = old.replace("line 1000 ", "row 1000 ").replace("line 7 ", "")
    found = changes(old, new)
    assert [change for change in found if change[0] != "same"] == [
        ("deleted", "line 7 "),
        ("deleted", "line"),
        ("inserted", "row"),
    ]
    assert sum(len(text) for _, text in collapsed(found)) < 1000
    assert changes("a " * 9000, "b " * 9000)[0] == ("deleted", ("a " * 9000).rstrip())
