"""The pools of benchmarks/retention.py: what the proxy is asked about stands nowhere else."""

from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.paths import ROOT

BENCHMARKS = ROOT / "benchmarks"
WORDS = [a + b for a in ("ba", "do", "ki", "lu", "me", "so") for b in ("ran", "tel", "vis", "mon", "gar", "pid")]


@pytest.fixture
def pools(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import quality_pools

    return quality_pools


def prose(draw, sentences=6):
    """Sentences that no other text has."""
    return " ".join(" ".join(draw.choices(WORDS, k=12)).capitalize() + "." for _ in range(sentences))


@pytest.fixture
def corpora(tmp_path):
    """Two domains of 100 texts and 100 pages; some texts stand twice, and some pages quote a text of law."""
    draw = Random(3)
    law, news = ([prose(draw) for _ in range(100)] for _ in range(2))
    pages = ["\n".join([prose(draw) for _ in range(4)] + law[k : k + 1] * (k < 20)) for k in range(100)]
    for file, texts in (("reference/law", law + law[:10]), ("reference/news", news), ("web/pages", pages)):
        path = tmp_path / "corpora" / f"{file}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = {"id": [str(k) for k in range(len(texts))], "text": texts, "license": ["CC0"] * len(texts)}
        pq.write_table(pa.table(rows), path)
    return tmp_path / "corpora"


def mixed(pools, corpora, folder, seed=1, planted=0.0):
    pool = pools.Pool(planted, 10**6, (pools.Noise("web/pages"),), ("sentence_shuffle",), 20_000, 0.1, 5_000)
    output = pools.mix(corpora, folder, "x", pool, seed)
    return {part: pq.read_table(output / part).to_pylist() for part in ("pool", "reference", "heldout")}


def test_no_text_stands_in_two_parts(pools, corpora, tmp_path):
    parts = mixed(pools, corpora, tmp_path / "out")
    planted = [row["text"] for row in parts["pool"] if row["planted"]]
    good = planted + [row["text"] for part in ("reference", "heldout") for row in parts[part]]
    assert len(set(good)) == len(good)
    assert len(planted) > 60
    assert {row["source"] for row in parts["heldout"]} == {"law", "news"}
    everything = "\n".join(row["text"] for part in ("pool", "reference") for row in parts[part])
    assert not any(row["text"] in everything for row in parts["heldout"])


def test_noise_is_not_planted_and_the_recipe_need_not_know(pools, corpora, tmp_path):
    rows = mixed(pools, corpora, tmp_path / "out")["pool"]
    kinds = {(row["source"], row["planted"]) for row in rows}
    assert kinds == {("law", True), ("news", True), ("pages", False), ("attacked", False), ("shuffled", False)}
    assert len({row["id"] for row in rows}) == len(rows)


def test_opposite_halves_are_planted(pools, corpora, tmp_path):
    one, other = (mixed(pools, corpora, tmp_path / str(begin), planted=begin)["pool"] for begin in (0.0, 0.5))
    first, second = ({row["text"] for row in rows if row["planted"]} for rows in (one, other))
    assert first.isdisjoint(second)
    assert len(first | second) == 200


def test_a_seed_makes_the_same_pool_again_and_another_one_another(pools, corpora, tmp_path):
    one, same, other = (mixed(pools, corpora, tmp_path / str(k), seed) for k, seed in enumerate((1, 1, 2)))
    assert one == same
    assert one["heldout"] != other["heldout"]
