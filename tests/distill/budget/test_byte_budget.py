"""A budget in bytes of text: met, nested and parted in bytes, and exchanged for one in tokens."""

import json

import pytest
from support.commands import carry_out, command
from support.recipes import distilling
from support.runs import documents, table

from curate.errors import RecipeError
from curate.inspect.what_if import propose, redecide
from curate.recipe.load import load_recipe, parse_recipe

BYTES = {
    "keep_tokens": None,
    "keep_bytes": "20%",
    "ladder": ["10%"],
    "quotas": {"by": ["source"], "temperature": 0.0},
    "novelty": 0,
}


@pytest.fixture(scope="module")
def in_bytes(corpus, tmp_path_factory):
    path, run = distilling(corpus, tmp_path_factory.mktemp("bytes"), BYTES)
    return run, json.loads(command("run", path, "--json").stdout)


def test_every_rung_meets_its_bytes_and_holds_the_one_below(in_bytes):
    run, _ = in_bytes
    [(size,)] = table(run, "SELECT sum(n_bytes) FROM decisions")
    rungs = table(run, "SELECT rung, unit, budget, documents, tokens, bytes FROM rungs ORDER BY rung")
    assert [(unit, budget) for _, unit, budget, *_ in rungs] == [("bytes", int(size * share)) for share in (0.1, 0.2)]
    for rung, _, budget, count, tokens, taken in rungs:
        kept = table(run, f"SELECT count(*), sum(n_tokens), sum(n_bytes) FROM decisions WHERE kept AND rung <= {rung}")
        assert kept == [(count, tokens, taken)]
        [(shortest,)] = table(run, f"SELECT min(n_bytes) FROM decisions WHERE stage = 'distil' OR rung > {rung}")
        assert taken <= budget
        assert budget - taken <= 0.001 * budget or shortest > budget - taken


def test_quotas_part_bytes(in_bytes):
    run, _ = in_bytes
    rows = table(run, "SELECT stratum, unit, available, quota, tokens, bytes FROM quotas WHERE rung = 2")
    [(budget,)] = table(run, "SELECT budget FROM rungs WHERE rung = 2")
    assert {unit for _, unit, *_ in rows} == {"bytes"}
    assert sum(quota for _, _, _, quota, _, _ in rows) == budget
    open_ = [quota for _, _, available, quota, _, _ in rows if quota < available]
    assert len(open_) > 1
    assert max(open_) - min(open_) <= 1
    kept = (
        "SELECT input.source, sum(d.n_tokens), sum(d.n_bytes) FROM decisions d JOIN corpus USING (doc_id) {} GROUP BY 1"
    )
    by_source = {source: sizes for source, *sizes in table(run, kept.format("WHERE d.kept"))}
    assert {stratum: sizes for stratum, _, _, _, *sizes in rows if sizes[1]} == by_source


def test_the_closing_figures_have_bytes(in_bytes):
    run, summary = in_bytes
    [(size, kept)] = table(run, "SELECT sum(n_bytes), sum(n_bytes) FILTER (kept) FROM decisions")
    assert (summary["bytes_in"], summary["bytes_out"]) == (size, kept)
    assert kept == pytest.approx(0.2 * size, rel=0.002)
    for stage in summary["stages"]:
        gone = sum(amount["bytes"] for amount in stage["dropped"].values())
        assert stage["bytes_in"] - gone == stage["bytes_out"]
    totals = json.loads((run / "manifest.json").read_text())["totals"]
    assert (totals["bytes_in"], totals["bytes_out"]) == (size, kept)


def test_what_if_exchanges_tokens_for_bytes_as_a_run_does(in_bytes, corpus, tmp_path):
    run, _ = in_bytes
    changes = ["distill.keep_tokens=20%"]
    with redecide(propose(run, changes, quiet=True), 2) as database:
        predicted = database.execute("SELECT doc_id, kept, stage, reason FROM after ORDER BY doc_id").fetchall()
    path, other = distilling(corpus, tmp_path, BYTES)
    carry_out(path, *changes)
    assert predicted == sorted(documents(other, "doc_id, kept, stage, reason"))
    assert predicted != sorted(documents(run, "doc_id, kept, stage, reason"))
    [(unit, tokens)] = table(
        other, "SELECT unit, tokens / (SELECT sum(n_tokens) FROM documents) FROM rungs WHERE rung = 2"
    )
    assert (unit, tokens) == ("tokens", pytest.approx(0.2, rel=0.002))
    shown = command("compare", run, other, "--json")
    assert json.loads(shown.stdout)["changed"]["distill.keep_bytes"] == {"before": 0.2, "after": None}


def budget_of(**fields):
    section = parse_recipe({"name": "x", "input": {"paths": ["a"]}, "distill": fields}, "x").distill
    return section.unit, section.budget, section.ladder


def test_a_budget_is_a_share_or_a_size_in_one_unit():
    assert budget_of(keep_bytes="15%") == ("bytes", 0.15, [])
    assert budget_of(keep_bytes="2GB", ladder=["5%", "500MB", "1GiB"]) == ("bytes", 2e9, [0.05, 5e8, 2**30])
    assert budget_of(keep_bytes=2_000_000, keep_tokens=None) == ("bytes", 2_000_000, [])
    assert budget_of(keep_tokens="2B", ladder=["20M"]) == ("tokens", 2e9, [2e7])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"keep_tokens": "15%", "keep_bytes": "15%"}, "keep_tokens and keep_bytes are both given"),
        ({"keep_tokens": None}, "keep_tokens is null; give it, or keep_bytes"),
        ({"keep_bytes": "2B"}, "'2B' is a number of tokens, and keep_bytes counts bytes; write 15% or 500MB"),
        ({"keep_tokens": "2GB"}, "'2GB' is a size in bytes, and keep_tokens counts tokens; write 15% or 20M"),
        ({"keep_bytes": "2GB", "ladder": ["20M"]}, "ladder.0: '20M' is a number of tokens"),
        ({"keep_tokens": "20%", "ladder": ["20MB"]}, "ladder.0: '20MB' is a size in bytes"),
        ({"keep_bytes": "half"}, "neither a share nor a size in bytes; write 15%, 500MB or 2GB"),
        (
            {"keep_bytes": 15},
            "keep_bytes: 15 bytes; did you mean 15%? (a budget under 1,000 bytes needs allow_small: true)",
        ),
        ({"keep_bytes": "5%", "ladder": ["10%"]}, "ladder: 10% is more than keep_bytes, 5%"),
        ({"keep_bytes": "2kB", "ladder": ["3kB"]}, "ladder: 3,000 bytes is more than keep_bytes, 2,000 bytes"),
        ({"keep_bites": "5%"}, "did you mean 'keep_bytes'?"),
    ],
)
def test_a_wrong_budget_is_one_line(fields, message):
    with pytest.raises(RecipeError) as error:
        budget_of(**fields)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_set_exchanges_one_budget_for_the_other(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("{name: x, input: {paths: [a]}, distill: {keep_tokens: 20%, ladder: [5%, 2000]}}")
    with pytest.raises(RecipeError, match=r"rungs of distill\.ladder are numbers of tokens; change them first"):
        load_recipe(recipe, ["distill.keep_bytes=10%"])
    changed = load_recipe(recipe, ["distill.ladder=[5%]", "distill.keep_bytes=10%"]).distill
    assert (changed.keep_tokens, changed.keep_bytes, changed.ladder) == (None, 0.1, [0.05])
    back = load_recipe(recipe, ["distill.ladder=[5%]", "distill.keep_bytes=10%", "distill.keep_tokens=30%"]).distill
    assert (back.keep_tokens, back.keep_bytes) == (0.3, None)
    assert load_recipe(recipe, ["distill.keep_tokens=30%"]).distill.ladder == [0.05, 2000]
