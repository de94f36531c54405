"""Settings of a budget that a run chooses by texts of the reference that are kept aside."""

import json
import re

import numpy as np
import pyarrow as pa
import pytest
import yaml
from support.commands import carry_out, command
from support.recipes import distilling
from support.runs import digests, table

from curate.distill.budget.scores import check_distill, quality_scores_of
from curate.distill.budget.tuning import Settings, Trial, _search
from curate.distill.budget.tuning_texts import ASIDE_SHARE, TuningTexts, is_aside, load, save, tuning_texts
from curate.errors import RecipeError
from curate.inspect.what_if import propose, redecide
from curate.kernels.ngram_model import Lines
from curate.recipe.load import load_recipe, parse_recipe


def tuned_recipe(corpus, folder, **distill):
    """A recipe that tunes its budget, and its run."""
    path, run = distilling(corpus, folder)
    recipe = yaml.safe_load(path.read_text("utf-8"))
    recipe["distill"] = {"keep_tokens": "15%", "tune": "reference", **distill}
    path.write_text(yaml.safe_dump(recipe), "utf-8")
    return path, run


@pytest.fixture(scope="module")
def tuned(corpus, tmp_path_factory):
    path, run = tuned_recipe(corpus, tmp_path_factory.mktemp("tuned"))
    return path, run, command("run", path)


def verdicts(run, *changes):
    """The documents that a what-if keeps."""
    with redecide(propose(run, list(changes), quiet=True), 2) as database:
        return database.execute("SELECT doc_id FROM after WHERE kept ORDER BY 1").fetchall()


def test_a_run_keeps_what_it_chose_and_says_so(tuned):
    path, run, done = tuned
    trials = table(run, "SELECT temperature, least_likeness, novelty, scores, bits_per_word, chosen FROM tuning")
    bits = [row[4] for row in trials]
    [chosen] = [row for row in trials if row[5]]
    assert len(trials) > 5
    assert chosen[4] <= bits[0]
    assert chosen[4] <= min(bits) * 1.001
    facts, told = json.loads((run / "manifest.json").read_text("utf-8"))["distil"], " ".join(done.stderr.split())
    assert f"tune tried {len(trials)} settings on {facts['kept_aside']} texts of the reference" in told
    scores = yaml.safe_load(chosen[3])
    assert facts["scores"] == scores
    default = yaml.safe_load(trials[0][3])
    assert facts["quality"] == (scores if scores != default else quality_scores_of(load_recipe(path)))
    assert [row["chosen"] for row in facts["tuning"]] == [row[5] for row in trials]
    assert 0 < facts["kept_aside"] < facts["discriminator"]["good"]


def test_a_report_shows_what_was_tried(tuned, tmp_path):
    _, run, _ = tuned
    assert command("report", run, "--output", tmp_path / "report.html").returncode == 0
    page = (tmp_path / "report.html").read_text("utf-8")
    for (bits,) in table(run, "SELECT bits_per_word FROM tuning"):
        assert f"{bits:.3f}" in page
    assert len(re.findall(r"<th scope=.row.>\d+ \(chosen\)", page)) == 1


def test_why_explains_quality_by_the_scores_that_were_chosen(tuned):
    _, run, _ = tuned
    quality = json.loads((run / "manifest.json").read_text("utf-8"))["distil"]["quality"]
    [(doc_id,)] = table(run, "SELECT doc_id FROM kept ORDER BY doc_id LIMIT 1")
    parts = json.loads(command("why", run, doc_id, "--json").stdout)["quality_parts"]
    assert {part["score"]: part["weight"] for part in parts} == quality


def test_what_if_tunes_as_the_run_did_and_again_for_another_budget(tuned):
    _, run, _ = tuned
    kept = table(run, "SELECT doc_id FROM documents WHERE kept ORDER BY 1")
    [(temperature, least, novelty, scores)] = table(
        run, "SELECT temperature, least_likeness, novelty, scores FROM tuning WHERE chosen"
    )
    written = [
        f"distill.quotas.temperature={temperature}",
        f"distill.quotas.least_likeness={'null' if least is None else least}",
        f"distill.novelty={novelty}",
        f"distill.scores={scores}",
    ]
    assert verdicts(run) == kept
    assert verdicts(run, *written) == kept
    assert len(verdicts(run, "distill.keep_tokens=30%")) > len(kept)


@pytest.mark.slow  # that what-if tunes as the run did shows most of it
def test_tuning_again_gives_the_same_bytes(tuned, corpus, tmp_path):
    _, run, _ = tuned
    path, other = tuned_recipe(corpus, tmp_path)
    carry_out(path)
    assert digests(run) == digests(other)


def test_search_changes_what_lowers_bits_and_keeps_what_chance_does_not_beat():
    best = Settings(0.0, -3.0, 0.6, (("discriminator", 1.0),))

    def evaluate(settings):
        apart = sum(
            getattr(settings, name) != getattr(best, name) for name in ("temperature", "least_likeness", "novelty")
        )
        return Trial(settings, 1, 1, 9.0 + 0.1 * apart - 0.0001 * (settings.novelty == 0.4))

    first = Settings(0.25, 0.0, 0.4, (("discriminator", 1.0),))
    options = {"novelty": (0.6, 0.4), "temperature": (0.0, 0.25), "least_likeness": (0.0, -3.0, None)}
    found = _search(first, options, evaluate)
    assert found.settings == best
    assert len({trial.settings for trial in found.trials}) == len(found.trials)
    assert (
        _search(best, {"novelty": (0.4,)}, lambda s: Trial(s, 1, 1, 9 - 0.0001 * (s.novelty == 0.4))).settings == best
    )


def test_of_each_kind_at_most_a_fifth_is_kept_aside_whatever_else_the_reference_has():
    texts = [f"text {k}" for k in range(60)]
    domains = ["law"] * 40 + ["news"] * 16 + ["rare"] * 4
    aside = is_aside(pa.array(texts), domains, 1)
    assert [int(aside[rows].sum()) for rows in (slice(0, 40), slice(40, 56), slice(56, 60))] == [8, 3, 0]
    assert ASIDE_SHARE == 0.2
    assert is_aside(pa.array(texts[:40]), domains[:40], 1).tolist() == aside[:40].tolist()


def test_tuning_texts_come_back_from_their_file(tmp_path):
    documents = pa.table({"file_no": [0, 0, 2], "row": [1, 5, 3], "text": ["a b", "", "c d e"]})
    texts = tuning_texts(documents, pa.array(["one two", "three"]), ["news", "law"], 1)
    save(texts, tmp_path / "texts.npz")
    back = load(tmp_path / "texts.npz")
    assert back.domains == ("law", "news")
    assert back.domain.tolist() == [1, 0]
    assert back.row.tolist() == [1, 5, 3]
    assert back.corpus.offsets.tolist() == [0, 2, 2, 5]
    assert isinstance(back, TuningTexts)
    assert isinstance(back.aside, Lines)
    assert np.array_equal(back.aside.words, texts.aside.words)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"distill": {"tune": "reference"}}, "distill.tune: needs reference texts"),
        ({"distill": {"tune": "reference", "curve": {}}, "reference": ["r.parquet"]}, "does not go with curve"),
        ({"distill": {"tune": "evaluate"}, "reference": ["r.parquet"]}, "tune"),
    ],
)
def test_a_recipe_that_cannot_be_tuned_is_refused(fields, message):
    with pytest.raises(RecipeError, match=message):
        check_distill(parse_recipe({"name": "x", "input": {"paths": ["in"]}, **fields}, "test"))
