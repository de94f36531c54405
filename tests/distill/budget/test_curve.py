"""Graded weights: curves that meet their targets, rise with quality and read no document too often; in runs."""

import json
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.budgets import corpora
from support.commands import carry_out, command
from support.recipes import distilling, write_recipe
from support.runs import documents, table
from support.soak import examples

from curate.distill.budget.curve import LEAST, POWER, Curves, curve, fit_weights
from curate.distill.budget.ranks import Histogram
from curate.distill.budget.scores import check_distill
from curate.distill.budget.select import find_redundant
from curate.errors import RecipeError
from curate.inspect.what_if import propose, redecide
from curate.recipe.load import parse_recipe

FINE = 20_000  # classes of a stratum whose sums are those of integrals


def of_one_stratum(tokens, target, max_repeats):
    tokens = np.asarray(tokens, np.int64)
    return fit_weights(np.zeros(len(tokens), np.int64), tokens, np.array([target]), max_repeats)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 500)), min_size=1, max_size=300),
    st.lists(st.floats(0, 9), min_size=4, max_size=4),
    st.floats(1, 8),
)
@examples(300)
def test_weights_meet_each_target_rise_with_quality_and_keep_to_the_bound(classes, ratios, max_repeats):
    classes = sorted(classes, key=lambda pair: pair[0])
    strata, tokens = (np.array(column, np.int64) for column in zip(*classes, strict=True))
    totals = np.bincount(strata, tokens, 4)
    targets = np.floor(totals * ratios).astype(np.int64)
    weights = fit_weights(strata, tokens, targets, max_repeats)
    for stratum in np.unique(strata):
        own, sizes = weights[strata == stratum], tokens[strata == stratum]
        target = min(targets[stratum], max_repeats * totals[stratum])
        assert (np.diff(own) >= 0).all()
        assert ((own == 0) | (own >= LEAST)).all()
        assert own.max() <= max_repeats
        read = (own * sizes).sum()
        lost = LEAST * sizes[own == 0].max(initial=0)  # the class that is just below the least weight
        assert read <= target * (1 + 1e-9)
        assert target - read <= lost + 1e-6 * target + 1e-6


@pytest.mark.parametrize(("ratio", "max_repeats"), [(0.15, 7), (0.15, 2), (0.6, 7), (1.0, 7), (2.5, 4), (6.9, 7)])
def test_fine_classes_have_the_curve_of_the_formula(ratio, max_repeats):
    weights = of_one_stratum(np.ones(FINE), int(ratio * FINE), max_repeats)
    x = (np.arange(FINE) + 0.5) / FINE
    kept = weights > 0
    assert weights.sum() == pytest.approx(ratio * FINE, rel=1e-3)
    assert weights[-1] == pytest.approx(max_repeats, rel=0.01)
    design = np.column_stack([np.ones(kept.sum()), np.log(x[kept]), x[kept]])  # log f = log C + p log x + λ x
    found, *_ = np.linalg.lstsq(design, np.log(weights[kept]), rcond=None)
    assert np.allclose(design @ found, np.log(weights[kept]), atol=1e-6)
    _, power, rate = found
    assert -1e-6 <= power <= POWER + 1e-6
    assert rate >= -1e-6
    assert power == pytest.approx(POWER, abs=1e-4) or rate == pytest.approx(0, abs=1e-4)  # λ only at the largest p


def test_no_curve_that_keeps_to_the_bound_has_a_larger_power():
    ratio, bound = 2.5, 4.0
    weights = of_one_stratum(np.ones(FINE), int(ratio * FINE), bound)
    x = (np.arange(FINE) + 0.5) / FINE
    power = np.log(weights[FINE // 2] / weights[-1]) / np.log(x[FINE // 2] / x[-1])
    assert ratio * (power + 1) == pytest.approx(bound, rel=1e-3)  # f(1) = ratio (p + 1) with λ = 0
    for larger in (power + 0.05, power + 1):
        steeper = x**larger / (x**larger).mean() * ratio  # any λ > 0 is steeper still
        assert steeper[-1] > bound


def test_steeper_curves_are_lower_everywhere():
    x = np.linspace(0.01, 1, 50)
    curves = np.array([curve(x, np.full(50, s)) for s in (0.0, 0.5, 2.0, 2.5, 10.0, 1e6)])
    assert (curves[0] == 1).all()
    assert (np.diff(curves, axis=0) <= 0).all()
    assert (curves[:, -1] == 1).all()


def test_what_no_repeats_can_fill_is_read_as_often_as_the_bound_says():
    assert of_one_stratum([10, 10, 10], 1000, 3.0).tolist() == [3.0, 3.0, 3.0]
    assert of_one_stratum([10, 10, 10], 0, 3.0).tolist() == [0.0, 0.0, 0.0]


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 999).map(lambda k: k / 999), st.integers(1, 90)),
        min_size=1,
        max_size=200,
    )
)
@examples(100)
def test_a_histogram_weighs_documents_as_sorting_them_does(rows):
    strata, keys, tokens = (np.array(column) for column in zip(*rows, strict=True))
    strata, tokens = strata.astype(np.int32), tokens.astype(np.int64)
    histogram = Histogram(3)
    for begin in range(0, len(keys), 7):
        here = slice(begin, begin + 7)
        histogram.add(histogram.keys_of(keys[here], strata[here]), tokens[here])
    histogram.merge()
    of_class = (histogram.keys >> np.uint64(histogram.value_bits - histogram.shift)).astype(np.int64)
    targets = np.bincount(strata, tokens, 3).astype(np.int64) // 2
    weights = fit_weights(of_class, histogram.counts, targets, 4.0).astype(np.float32)
    found = Curves(histogram=histogram, strata=of_class, weights=weights)
    classes, inverse = np.unique(np.rec.fromarrays([strata, keys]), return_inverse=True)
    slow = fit_weights(classes["f0"].astype(np.int64), np.bincount(inverse, tokens).astype(np.int64), targets, 4.0)
    assert np.allclose(found.weights_of({"key": keys, "stratum": strata}), slow[inverse], rtol=1e-5)
    read = np.bincount(strata, found.weights_of({"key": keys, "stratum": strata}) * tokens, 3)
    assert (read <= targets + 1).all()


@given(corpora(), st.sampled_from([0.3, 0.6, 1.0]))
@examples(200)
def test_redundant_are_those_with_too_little_new_to_better_ones(corpus, novelty):
    candidates, sets = corpus
    available = np.bincount(candidates.strata, candidates.sizes, 4).astype(np.int64)
    found = find_redundant(lambda is_open: iter([candidates]), len(sets), 3, available, novelty)
    seen: set[int] = set()
    for i in sorted(range(len(sets)), key=lambda i: (-candidates.keys[i], i)):
        own = {max(1, one) for one in sets[i]}
        is_redundant = sum(max(1, one) not in seen for one in sets[i]) < novelty * (1 - len(seen) / 2**32) * len(
            sets[i]
        )
        assert found[i] == is_redundant
        seen |= set() if is_redundant else own


def test_a_stratum_whose_best_document_is_redundant_has_weights(tmp_path):
    words = [f"w{k}" for k in range(300)]
    texts = [" ".join(words[(7 * i + 3 * k * (i % 5 + 1)) % 300] for k in range(120)) for i in range(90)]
    rows = {
        "id": [str(k) for k in range(91)],
        "text": [*texts, " ".join(text[:200] for text in texts)],
        "source": ["a"] * 90 + ["z"],
    }
    pq.write_table(pa.table(rows), tmp_path / "in.parquet")
    distill = {"keep_tokens": "40%", "curve": {}, "quotas": {"by": ["source"]}, "novelty": 0.9}
    path, run = write_recipe(
        tmp_path, tmp_path / "in.parquet", distill=distill,
        input={"paths": [str(tmp_path / "in.parquet")], "id": "id", "strata": ["source"]}, dedup={"near": None},
    )  # fmt: skip
    carry_out(path)
    assert documents(run, "reason, weight", "doc_id = '90'") == [("redundant", None)]
    assert min(weight for (weight,) in documents(run, "weight", "kept")) >= LEAST


@pytest.fixture(scope="module")
def weighted(corpus, tmp_path_factory):
    path, run = distilling(
        corpus, tmp_path_factory.mktemp("weighted"), {"keep_tokens": "40%", "curve": {"max_repeats": 4}}
    )
    carry_out(path)
    return path, run


def test_a_run_reads_its_budget_by_weights(weighted):
    _, run = weighted
    [(budget, tokens, read)] = table(run, "SELECT budget, tokens, read_tokens FROM rungs")
    [(own, by_weight, most, least)] = table(
        run, "SELECT sum(n_tokens), sum(n_tokens * weight), max(weight), min(weight) FROM kept"
    )
    assert tokens == own
    assert by_weight == pytest.approx(read, rel=1e-4)
    assert by_weight == pytest.approx(budget, rel=0.01)
    assert most <= 4
    assert least >= LEAST


def test_weights_rise_with_what_the_budget_is_filled_by_within_a_stratum(weighted):
    _, run = weighted
    rows = documents(run, "if(likeness < 0, NULL, domain), likeness, weight", "kept")
    for stratum in {row[0] for row in rows}:
        own = sorted((likeness, weight) for name, likeness, weight in rows if name == stratum)
        assert all(lower[1] <= upper[1] for lower, upper in pairwise(own) if lower[0] < upper[0])


def test_what_is_dropped_has_no_weight_and_a_reason(weighted):
    _, run = weighted
    dropped = documents(run, "reason, weight, rung", "stage = 'distil'")
    assert {reason for reason, _, _ in dropped} <= {"over_budget", "redundant"}
    assert {(weight, rung) for _, weight, rung in dropped} == {(None, None)}


def test_what_if_answers_as_a_run_does(weighted, corpus, tmp_path):
    _, run = weighted
    changes = ["distill.keep_tokens=30%", "distill.curve.max_repeats=2", "distill.novelty=0"]
    with redecide(propose(run, changes, quiet=True), 2) as database:
        told = database.execute("SELECT doc_id, weight FROM after WHERE kept ORDER BY doc_id").fetchall()
    _, decided = distilling(corpus, tmp_path, {"keep_tokens": "30%", "curve": {"max_repeats": 2}, "novelty": 0})
    carry_out(tmp_path / "recipe.yaml")
    assert told == sorted(documents(decided, "doc_id, weight", "kept"))


def test_what_if_tells_the_tokens_that_are_read(weighted):
    _, run = weighted
    [(read,)] = table(run, "SELECT read_tokens FROM rungs")
    done = command("what-if", run, "--set", "distill.keep_tokens=20%", "--json", "--quiet")
    totals = json.loads(done.stdout)["totals"]
    assert totals["read_tokens_before"] == pytest.approx(read, rel=1e-3)
    assert totals["read_tokens_after"] == pytest.approx(read / 2, rel=0.02)
    printed = command("what-if", run, "--set", "distill.keep_tokens=20%", "--quiet").stdout
    assert f"read by weights: {totals['read_tokens_before']:,} → {totals['read_tokens_after']:,} tokens" in printed


def test_strata_of_their_own_without_quotas(corpus, tmp_path):
    distill = {"keep_tokens": "30%", "novelty": 0, "quotas": None, "curve": {"by": ["source"]}}
    path, run = distilling(corpus, tmp_path, distill)
    carry_out(path)
    rows = table(run, "SELECT stratum, available, quota, read_tokens FROM quotas")
    assert len(rows) > 1
    shares = [quota / available for _, available, quota, _ in rows if available > 10_000]
    assert max(shares) - min(shares) < 0.001  # each stratum is read as often as any other


@pytest.mark.parametrize(
    ("distill", "message"),
    [
        ({"curve": {}, "ladder": ["5%"]}, "ladder: does not go with curve"),
        ({"curve": {}, "temperature": 0.5}, "temperature: does not go with curve"),
        ({"curve": {}, "cluster_cap": "2%"}, "cluster_cap: does not go with curve"),
        ({"curve": {"by": ["language"]}}, r"curve.by: is \[language\], and the targets .* by \[domain\]"),
        ({"curve": {"max_repeats": 0.5}}, "max_repeats"),
        ({"curve": {"by": ["sauce"]}, "quotas": None}, "distill.curve.by: sauce is not in input.strata"),
    ],
)  # fmt: skip
def test_wrong_values_are_told(distill, message, tmp_path, corpus):
    fields = {"name": "t", "input": {"paths": [str(corpus / "corpus.parquet")]}, "distill": distill}
    with pytest.raises(RecipeError, match=message):
        check_distill(parse_recipe(fields, "t.yaml"))
