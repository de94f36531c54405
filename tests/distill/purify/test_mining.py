"""How much bad text a corpus has, and which of its documents are trained on as bad."""

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.distill.purify.mining import mined_documents
from curate.distill.purify.mixture import bad_share
from curate.distill.purify.rounds import Material, purify
from curate.distill.purify.selection import MiningFacts, mining_lines, select_bad
from curate.recipe.tier2 import Tier2


def mixed_scores(random, documents, share):
    """Scores of a corpus with that share of bad documents, and of good texts. Some bad ones score like good ones."""
    bad = random.random(documents) < share
    return np.where(bad, random.beta(4, 2, documents), random.beta(2, 5, documents)), random.beta(2, 5, 1500)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 0.9])
def test_the_share_of_bad_documents_is_estimated_and_bounded_from_below(share):
    random = np.random.default_rng(1)
    found = [bad_share(*mixed_scores(random, 3000, share)) for _ in range(40)]
    assert np.mean([one.share for one in found]) == pytest.approx(share, abs=0.1)
    assert np.mean([one.at_least <= share for one in found]) >= 0.9
    assert np.mean([one.at_least for one in found]) > share - 0.25


def test_a_corpus_of_good_documents_alone_has_hardly_any_bad_ones_for_certain():
    random = np.random.default_rng(2)
    found = [bad_share(*mixed_scores(random, 3000, 0.0)) for _ in range(40)]
    assert max(one.at_least for one in found) == 0
    assert np.mean([one.share for one in found]) < 0.05
    assert bad_share(np.zeros(0), np.zeros(9)).share == 0


def candidates_of(texts, known=()):
    return pa.table(
        {
            "doc_id": [f"{k:04d}" for k in range(len(texts))],
            "text": pa.array(texts, pa.large_string()),
            "role": ["testing" if k < len(texts) // 10 else "training" for k in range(len(texts))],
            "uniform": np.ones(len(texts), bool),
            "worst": np.ones(len(texts), bool),
            "known": np.array([k in known for k in range(len(texts))], bool),
        }
    )


def test_what_scores_above_nearly_all_good_texts_is_mined_but_for_texts_of_the_reference():
    p_bad = np.r_[np.full(50, 0.995), np.linspace(0, 0.98, 50)]
    candidates = candidates_of([f"text {k}" for k in range(100)], known={3})
    selected, facts = select_bad(candidates, p_bad, np.linspace(0, 1, 1000), limit=100)
    assert selected["doc_id"].to_pylist() == [f"{k:04d}" for k in range(50) if k != 3]
    assert (facts.by, facts.candidates, facts.selected) == ("attacks", 100, 49)
    assert facts.bad_share == pytest.approx(0.5, abs=0.05)
    assert facts.bad_share_at_least < facts.bad_share
    assert facts.selected_bad == pytest.approx(1 - 0.5 * 0.01 / 0.5, abs=0.002)


def test_with_few_documents_that_read_like_bad_text_attacks_carry_the_training(corpus):
    texts = pq.read_table(corpus / "reference.parquet")["text"].to_pylist()
    half = len(texts) // 2
    roles = np.array(["training", "testing"], object)[(np.arange(half) % 5 == 0).astype(int)]
    good = pa.table({"doc_id": [f"g{k}" for k in range(half)], "text": texts[:half], "role": roles})
    section = Tier2(attacks=12, rounds=1, held_out="repetition")
    result = purify(good, candidates_of(texts[half:]), section, None, seed=1)
    facts = result.facts
    assert (facts.mining.by, facts.mined, facts.auc_of_mined) == ("attacks", 0, None)
    assert facts.attacks > 50
    assert facts.mining.bad_share_at_least < 0.1
    assert set(result.model.families) == set(facts_of_families(result))
    assert any("too few to learn from" in line for line in mining_lines(facts.mining, facts.mined))


def facts_of_families(result):
    """The families of bad attacks that were trained on."""
    rows = result.rounds.to_pylist()
    return {row["family"] for row in rows if row["round"] == 1 and row["bad"] and row["trained"]}


def test_without_attacks_the_documents_with_the_least_coarse_score_are_mined(corpus):
    texts = pq.read_table(corpus / "reference.parquet")["text"].to_pylist()
    half = len(texts) // 2
    roles = np.array(["training", "testing"], object)[(np.arange(half) % 5 == 0).astype(int)]
    good = pa.table({"doc_id": [f"g{k}" for k in range(half)], "text": texts[:half], "role": roles})
    section = Tier2(families=[], held_out=None, rounds=1)
    facts = purify(good, candidates_of([f"{text} free pills" for text in texts[half:]]), section, None, 1).facts
    assert facts.mining.by == "coarse_score"
    assert facts.mining.bad_share is None
    assert facts.mined > 40
    assert mining_lines(facts.mining, facts.mined) == []


def test_too_few_mined_texts_are_replaced_by_none():
    texts = [f"text {k}" for k in range(200)]
    table = candidates_of(texts).select(["doc_id", "text", "role"])
    material = Material(good=table, mined=table, testing_good=table, testing_mined=table)
    facts = MiningFacts(
        by="attacks", candidates=200, selected=30, bad_share=0.1, bad_share_at_least=0.1, selected_bad=0.8
    )
    few = material.with_mined(candidates_of(texts[:40]), facts)
    assert (len(few.mined), len(few.testing_mined), few.mined_bad) == (0, 0, 1.0)
    many = material.with_mined(candidates_of(texts), facts)
    assert (len(many.mined), len(many.testing_mined), many.mined_bad) == (180, 20, 0.8)


def test_candidates_are_drawn_from_all_documents_and_from_the_worst_quarter_equal_texts_once():
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE texts AS SELECT range AS n FROM range(2000)")
        connection.execute(
            """CREATE TABLE judged AS SELECT 0::INTEGER AS file_no, 0::INTEGER AS position, n AS row,
                hash(n // 2) AS raw_hash_low, 1000 AS raw_n_bytes, ((n // 2) % 100 / 100)::FLOAT AS coarse_score,
                []::VARCHAR[] AS input_reasons FROM texts"""
        )
        ranges = ["row < 700", "row >= 700"]
        drawn = mined_documents(Tier2(mined=100), 1, lambda: ranges, connection)
        again = mined_documents(Tier2(mined=100), 1, lambda: ["row >= 700", "row < 700"], connection)
        other = mined_documents(Tier2(mined=100), 2, lambda: ranges, connection)
    assert drawn.equals(again)
    assert not drawn.equals(other)
    rows = drawn.to_pylist()
    assert [row["row"] for row in rows] == sorted(row["row"] for row in rows)
    assert len({row["row"] // 2 for row in rows}) == len(rows)
    assert sum(row["uniform"] for row in rows) == sum(row["worst"] for row in rows) == 100
    assert all(row["row"] // 2 % 100 < 26 for row in rows if row["worst"])
    assert max(row["row"] // 2 % 100 for row in rows if row["uniform"]) > 80
    assert all(row["uniform"] or row["worst"] for row in rows)
