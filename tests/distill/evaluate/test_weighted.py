"""Weights in an evaluation: the output read by them, beside itself read once and the flat cut of the same budget."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from support.commands import carry_out
from support.evaluation import evaluated, planted_recipe
from support.exports import kept
from support.runs import table

from curate.distill.draws import times_read
from curate.distill.evaluate.arms import Output, arms_of, draw_sample, pool_of
from curate.distill.evaluate.measure import with_controls
from curate.distill.evaluate.tokens import Encoded
from curate.ledger.run import open_finished

CURVE = {"keep_tokens": "40%", "curve": {"max_repeats": 3}, "quotas": None, "novelty": 0}


@pytest.fixture(scope="module")
def weighted(planted, tmp_path_factory):
    reference = [str(planted / "reference.parquet")]
    folder = tmp_path_factory.mktemp("weighted")
    path, run = planted_recipe(planted, folder, tier1={"rules": []}, reference=reference, distill=CURVE)
    carry_out(path)
    return run, evaluated(run)


def test_the_output_is_read_by_its_weights_beside_once_and_beside_the_flat_cut(weighted):
    run, found = weighted
    arms = {row["arm"]: row for row in found["arms"] if row["domain"] is None}
    rows = kept(run)
    doc_ids, weights = (pa.array([row[name] for row in rows]) for name in ("doc_id", "weight"))
    times = times_read(doc_ids, weights)
    assert arms["ours"]["documents"] == len(rows)
    assert arms["weighted"]["documents"] == times.sum() > 0
    for arm in ("weighted", "without curve"):
        control = arms[arms[arm]["control"]]
        assert control["tokens"] == pytest.approx(arms[arm]["tokens"], rel=0.02)
    [(budget, read)] = table(run, "SELECT budget, read_tokens FROM rungs")  # by the run's tokenizer, they are alike
    assert read == pytest.approx(budget, rel=0.02)
    assert arms["without curve"]["tokens"] == pytest.approx(arms["weighted"]["tokens"], rel=0.3)
    assert arms["weighted"]["retained"] > arms["weighted"]["control_retained"]
    assert table(run, "SELECT count(*) FROM retention WHERE arm = 'weighted'") == [(3,)]


def test_weights_of_one_make_no_arm(selected):
    _, _, found = selected
    assert "weighted" not in {row["arm"] for row in found["arms"]}


def test_copies_are_far_apart_and_as_many_as_drawn(weighted):
    run, _ = weighted
    decided = open_finished(run)
    sample = draw_sample(run, 0, 1 << 30)
    texts = pool_of(decided, sample, {"ours": run})
    output = texts.outputs["ours"]
    sizes = np.full(len(texts.texts), 10)
    pool = Encoded(np.zeros(sizes.sum(), np.uint16), np.append(0, np.cumsum(sizes)), sizes)
    [chosen] = arms_of(decided, sample, texts, pool, 2)["weighted"]
    assert Counter(chosen.tolist()) == {
        text: n for text, n in zip(output.texts.tolist(), output.times.tolist(), strict=True) if n
    }
    once = len(set(chosen.tolist()))
    assert len(set(chosen[:once].tolist())) == once


def test_an_output_that_is_read_twice_comes_twice():
    output = Output(np.arange(3), np.array([4, 5, 6]), np.array([2, 0, 3]))
    assert output.by_weight().tolist() == [4, 6, 4, 6, 6]
    assert Output(np.arange(0), np.arange(0), np.arange(0)).by_weight().tolist() == []


def test_a_control_of_more_tokens_than_there_are_reads_all_and_some_again():
    sizes = np.full(10, 7)
    pool = Encoded(np.zeros(70, np.uint16), np.append(0, np.cumsum(sizes)), sizes)
    arm = np.repeat(np.arange(10), 2)[:16]
    found = with_controls(pool, np.arange(10, dtype=np.uint64), np.arange(10), {"weighted": [arm]}, 2, 1)
    for draw in found.draws[found.controls["weighted"]]:
        assert len(draw) == 16
        assert set(Counter(draw.tolist()).values()) == {1, 2}
