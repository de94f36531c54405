"""Whatever shows, checks, cleans or hands on a run knows of the documents that a model wrote for it."""

import json
import shutil
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from support.commands import carry_out, command
from support.pages import counted, numbers, opened, read, unfold
from support.recipes import write_recipe
from support.runs import digests, manifest_json
from support.stand_in import StandIn, running
from support.thin_domain import TARGET, writing

from curate.cli.output.difference import print_difference
from curate.cli.output.document import print_story
from curate.cli.output.run import print_plan
from curate.cli.output.tables import print_summary
from curate.engine.base import InProcess
from curate.errors import CurateError, RecipeError
from curate.inspect.compare import compare, what_if
from curate.inspect.sample import Selection, draw
from curate.inspect.what_if import propose
from curate.inspect.why import explain
from curate.ledger.run import connect
from curate.manifests.cards.card import card
from curate.manifests.cards.croissant import croissant
from curate.manifests.cards.openlineage import events
from curate.manifests.export.sources import open_source
from curate.manifests.schema.reading import read_manifest, read_run_facts
from curate.manifests.verify import verify
from curate.pipeline.facts import RunSummary
from curate.pipeline.forecast.forecast import estimate
from curate.pipeline.gc import collect
from curate.progress import unwritten_log
from curate.recipe.load import load_recipe
from curate.report.page import write_report


@pytest.fixture
def copied(augmented, tmp_path):
    """A copy of the run, to be changed."""
    path, run, _, _ = augmented
    return path, shutil.copytree(run, tmp_path / "copied")


@pytest.fixture(scope="module")
def page(augmented, tmp_path_factory):
    return write_report(augmented[1], tmp_path_factory.mktemp("report") / "report.html")


def value(run, query):
    with connect(run) as connection:
        return connection.execute(query).fetchone()[0]


def output(run):
    return pa.concat_tables([pq.read_table(path) for path in sorted((run / "data").glob("*.parquet"))])


def test_exports_have_written_documents_with_their_columns(augmented, tmp_path):
    _, run, _, _ = augmented
    source = open_source(run)
    assert (source.doc_id, source.n_tokens) == ("doc_id", "n_tokens")
    done = command("export", run, "--to", "jsonl,hf", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [line for path in tmp_path.rglob("*.jsonl") for line in path.read_text().splitlines()]
    ids = output(run)["doc_id"].to_pylist()
    assert sorted(json.loads(line)["doc_id"] for line in lines) == sorted(ids)
    exported = pa.concat_tables([pq.read_table(path) for path in sorted((tmp_path / "hf").rglob("*.parquet"))])
    assert exported.select(["doc_id", "synthetic", "source_doc_id"]).equals(
        output(run).select(["doc_id", "synthetic", "source_doc_id"])
    )


def test_a_written_document_is_in_the_same_split_as_its_original(augmented, tmp_path):
    _, run, _, _ = augmented
    done = command("export", run, "--to", "hf", "--out", tmp_path, "--validation", "20%")
    assert done.returncode == 0, done.stderr
    names = ("train", "validation")
    tables = {name: [pq.read_table(path) for path in tmp_path.rglob(f"{name}-*.parquet")] for name in names}
    held = pa.concat_tables(tables["validation"])
    ids, known = held["doc_id"].to_pylist(), set(output(run)["doc_id"].to_pylist())
    assert any(held["synthetic"].to_pylist())
    assert {one for one in held["source_doc_id"].to_pylist() if one in known} <= set(ids)
    train = pa.concat_tables(tables["train"])
    assert not set(train["source_doc_id"].to_pylist()) & set(ids)


@contextmanager
def flipped(path):
    """A file with one other bit in its middle."""
    data = path.read_bytes()
    place = len(data) // 2
    path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    yield
    path.write_bytes(data)


def test_one_flipped_bit_of_what_was_written_is_found(copied):
    _, run = copied
    judged = "synthetic/judged"
    names = [
        "synthetic/synthetic.parquet", "synthetic/domains.parquet", "synthetic/augmented.json",
        f"{judged}/manifest.json",
        next((run / judged / "data").glob("*.parquet")).relative_to(run).as_posix(),
        next((run / judged / "ledger").rglob("*.parquet")).relative_to(run).as_posix(),
    ]  # fmt: skip
    for name in names:
        with flipped(run / name):
            assert name in " ".join(verify(run, 2, unwritten_log(True))), name
    assert verify(run, 2, unwritten_log(True)) == []


def test_gc_keeps_what_was_written_and_who_is_of_a_domain(copied):
    _, run = copied
    before = digests(run)
    assert [kind for kind in collect(run, True, False).kinds if "domain" in kind.folder] == []
    assert digests(run) == before
    assert value(run, "SELECT count(*) FROM domain_documents") > 0


def test_members_that_are_lost_are_told_again_and_nothing_changes(augmented, tmp_path):
    path, run, _, _ = augmented
    copied = shutil.copytree(run, tmp_path / "copied")
    before = digests(run / "data")
    lost = next((copied / "ledger").rglob("domain_members/*.parquet"))
    lost.unlink()
    again = StandIn(writing)
    with running(again) as url:
        carry_out(path, f"output={copied}", f"teacher.vllm.urls=[{url}]")
    assert digests(copied / "data") == before
    assert again.bodies == []
    assert value(copied, "SELECT count(*) FROM domain_documents") == value(run, "SELECT count(*) FROM domain_documents")


def test_why_tells_after_what_and_how_an_accepted_text_was_written(augmented, capsys):
    _, run, _, _ = augmented
    doc_id = value(run, "SELECT max(doc_id) FROM synthetic WHERE accepted")
    story = explain(run, doc_id[:12])
    assert (story.doc_id, story.kept, story.fired) == (doc_id, True, [])
    table = output(run)
    row = table.filter(pc.equal(table["doc_id"], doc_id)).to_pylist()[0]
    assert story.source.doc_id == row["source_doc_id"]
    place = pq.read_table(run / story.output.file).slice(story.output.row, 1).to_pylist()[0]
    assert place["doc_id"] == doc_id
    assert story.made.model == "tiny"
    assert {gate.measure for gate in story.gates} >= {"n_new_facts", "copy_share", "length_ratio"}
    assert " ".join(story.text.split())[:40] in " ".join(row["text"].split())
    assert explain(run, row["source_doc_id"]).written_from.accepted >= 1
    print_story(story, False)
    told = capsys.readouterr().out
    assert f"after {row['source_doc_id']}" in told
    assert "by tiny, no adapter, prompt augment_" in told


def test_why_tells_which_gate_a_candidate_failed_and_shows_no_personal_data(augmented):
    _, run, _, _ = augmented
    doc_id = value(run, "SELECT min(doc_id) FROM synthetic WHERE reason = 'new_facts'")
    story = explain(run, doc_id)
    assert (story.kept, story.reason, story.output) == (False, "new_facts", None)
    assert "new_facts" in [evidence.reason for evidence in story.fired]
    assert story.new_facts == ["1837"]
    assert story.original in story.text or story.original != story.text
    with_ssn = "SELECT list(s.doc_id) FROM synthetic s JOIN corpus c ON c.doc_id = source_doc_id "
    stories = [explain(run, doc_id) for doc_id in value(run, f"{with_ssn} WHERE input.text LIKE '%SSN%'")[:2]]
    assert stories
    assert all("<SSN>" in story.original or "SSN" not in story.original for story in stories)


def test_sample_tells_where_written_documents_are_drawn_from(augmented):
    _, run, _, _ = augmented
    for wanted in (Selection(stage="augment"), Selection(reason="too_much_copied")):
        with pytest.raises(CurateError, match=r"written documents are drawn with: curate sample .*/judged"):
            draw(run, wanted)
    assert draw(run / "synthetic" / "judged", Selection(reason="too_much_copied", n=1))[0].pieces


def test_what_if_and_compare_say_what_becomes_of_written_documents(augmented, demo, capsys):
    _, run, _, _ = augmented
    found = what_if(propose(run, ["tier1.thresholds.too_few_words=30"], quiet=True), 2)
    assert found.difference.totals.gained_documents > 0
    assert any(note.startswith("written documents stay as they are here") for note in found.notes)
    with pytest.raises(RecipeError, match="tier3: changes what is measured"):
        propose(run, ["tier3.max_share=0.2"])
    print_difference(compare(demo, run))
    made = manifest_json(run)["synthetic"]
    told = f"0 → {made['documents']:,} documents, 0 → {made['tokens']:,} tokens"
    assert f"written by a model, beside what is kept: {told}" in capsys.readouterr().out


def test_plan_says_that_the_third_tier_is_no_part_of_it(augmented, capsys):
    path, _, _, _ = augmented
    print_plan(estimate(load_recipe(path), InProcess(), 1, quiet=True))
    assert "Nor is the third tier" in capsys.readouterr().out


def test_the_closing_table_has_written_documents_and_what_is_wanting_still(augmented, capsys):
    _, run, _, summary = augmented
    print_summary(RunSummary(**summary))
    told = capsys.readouterr().out
    made = manifest_json(run)["synthetic"]
    [row] = [line.split() for line in told.splitlines() if "written by a model" in line]
    share = f"+{made['documents'] / summary['documents_in']:.1%}"
    assert row[:7] == ["augment", "written", "by", "a", "model", f"+{made['documents']:,}", share]
    left = TARGET - value(run, "SELECT tokens FROM domains") - made["tokens"]
    assert f"finance: {left:,} of {TARGET:,} tokens are wanting still" in told


def test_card_croissant_and_lineage_say_how_much_is_synthetic_and_who_wrote_it(augmented):
    _, run, _, _ = augmented
    manifest = read_manifest(run)
    made = manifest.synthetic.model_dump()
    sentence = (
        f"{made['documents']:,} of these documents, with {made['tokens']:,} tokens, are synthetic: tiny wrote them"
    )
    written = card(manifest)
    assert sentence in written
    assert "Prompts: `augment_questions`, `augment_rewrite`" in written
    assert f"| augment | written by a model, comes in | {made['documents']:,} |" in written
    described = croissant(manifest)
    assert sentence in described["description"]
    last = described["prov:wasGeneratedBy"][-1]["disambiguatingDescription"]
    assert last.endswith(f"{made['documents']:,} written by tiny")
    facet = events(manifest, read_run_facts(run), str(run))[-1]["run"]["facets"]["curate_decisions"]
    assert facet["synthetic"]["documents"] == facet["stages"][-1]["written"]["documents"] == made["documents"]


def test_a_later_run_does_not_keep_again_what_was_written_for_an_earlier_one(augmented, tmp_path):
    _, run, _, _ = augmented
    table = output(run).select(["text", "synthetic", "doc_id"]).rename_columns(["text", "made", "id"])
    rejected = value(run, "SELECT max(doc_id) FROM synthetic WHERE reason = 'new_facts'")
    candidates = pq.read_table(run / "synthetic" / "candidates.parquet")
    one = candidates.filter(pc.equal(candidates["written_doc_id"], rejected))["text"].to_pylist()
    other = pa.table({"text": one, "made": [True], "id": ["rejected"]}, schema=table.schema)
    pq.write_table(pa.concat_tables([table.filter(table["made"]), other]), tmp_path / "later.parquet")
    dedup = {"near": None, "against": [str(run)]}
    path, later = write_recipe(tmp_path, tmp_path / "later.parquet", dedup=dedup, name="later")
    carry_out(path)
    assert value(later, "SELECT list(text_id) FROM (SELECT input.id AS text_id FROM corpus WHERE kept)") == ["rejected"]
    assert set(value(later, "SELECT list(reason) FROM dropped")) == {"exact_duplicate_of_earlier_run"}
    assert value(later, "SELECT count(DISTINCT duplicate_of) FROM dropped WHERE duplicate_of LIKE 'test:%'") > 0
    assert [entry["name"] for entry in manifest_json(later)["against"]] == ["test"]


def test_the_report_counts_written_documents_and_tells_of_domains(augmented, page):
    _, run, _, _ = augmented
    tables, data = read(page), counted(run)
    manifest = manifest_json(run)
    made, totals = manifest["synthetic"], manifest["totals"]
    last = tables.found["Documents, tokens and bytes of text by stage"][-1]
    assert numbers(last)[:3] == [totals["documents_out"] - made["documents"], 0, totals["documents_out"]]
    written = data["flow"][-1]["written"]
    assert (written["documents"], written["tokens"]) == (made["documents"], made["tokens"])
    assert written["bytes"] == value(run, "SELECT sum(n_bytes) FROM synthetic WHERE accepted")
    [domain] = data["domains"]
    assert domain["written"] == made["tokens"]
    assert domain["tokens"] + domain["written"] + domain["wanting_still"] == TARGET
    gates = tables.found[f"What gates dropped of {made['written']['candidates']} candidates"][1:]
    assert sum(numbers(row)[0] for row in gates) == made["written"]["candidates"]
    text = page.read_text("utf-8")
    assert f"{totals['documents_out'] - made['documents']:,} kept of {totals['documents_in']:,}, " in text
    dropped = totals["documents_in"] - totals["documents_out"] + made["documents"]
    assert f"Of all documents {100 * dropped / totals['documents_in']:.1f}% are dropped" in text


def test_a_report_without_domains_has_no_such_section(demo, tmp_path):
    tables = read(write_report(demo, tmp_path / "report.html"))
    assert "domains" not in tables.ids
    assert counted(demo)["domains"] == []


def test_a_browser_draws_domains_and_shows_texts_beside_their_originals(browser, page):
    with opened(browser, page, viewport={"width": 390, "height": 844}) as shown:
        unfold(shown)
        assert shown.said == []
        bars = "section[aria-labelledby=domains] tbody .track i"
        kinds = shown.evaluate(f"[...document.querySelectorAll('{bars}')].map((one) => one.className)")
        assert kinds[:4] == ["kept", "written", "all", "at"]
        assert shown.locator(".flow .reasons", has_text="written by a model").count() == 1
        pairs = "[...document.querySelectorAll('.pair')].map((one) => one.querySelectorAll('blockquote').length)"
        assert shown.evaluate(pairs) == [2] * len(shown.evaluate(pairs)) != []
        assert shown.evaluate("document.documentElement.scrollWidth") <= 390
