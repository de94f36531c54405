"""The scripts behind docs/retention.md, on a pool of pages in one made-up language and good texts in two others."""

from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.paths import ROOT

STOP = ["the", "of", "and", "to", "that", "with", "be", "have"]
WORDS = [a + b for a in ("ba", "do", "ki", "lu", "me", "so") for b in ("ran", "tel", "vis", "mon", "gar", "pid")]
JUNK = ["xx", "yo", "zu", "kk", *WORDS[5:9]]


def prose(draw, words, sentences=6):
    return " ".join(" ".join(draw.choices(words, k=12)).capitalize() + "." for _ in range(sentences))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with pool 1 of seed 2."""
    root, draw = tmp_path_factory.mktemp("retention"), Random(3)
    files = {
        "reference/law": [prose(draw, STOP + WORDS[18:]) for _ in range(200)],
        "reference/news": [prose(draw, STOP + WORDS[:18]) for _ in range(200)],
        "web/pages": ["\n".join(prose(draw, JUNK, 2) for _ in range(4)) for _ in range(300)],
    }
    for name, texts in files.items():
        path = root / "corpora" / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = {"id": [str(k) for k in range(len(texts))], "text": texts, "license": ["CC0"] * len(texts)}
        pq.write_table(pa.table(rows), path)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        import quality_pools as pools

        pool = pools.Pool(about="", noise=(pools.Source("web/pages"),), families=("sentence_shuffle",), attacked=20_000)
        pools.mix(root / "corpora", root / "seed-2", "1", pool, 2)
        yield root


def test_what_a_budget_keeps_beats_random_documents_on_the_pool_and_at_every_budget(folder, monkeypatch, capsys):
    import retention_curve as curve
    import retention_pools as pools

    pools.main(folder, 2, ["1", "nowhere"])
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| 1 ")]
    assert [row[1] for row in rows] == [*pools.ARMS, "planted alone"]
    retained, by_chance = float(rows[0][4]), float(rows[0][8])
    assert retained > by_chance
    monkeypatch.setattr(curve, "SHARES", (0.15, 0.5))
    points = {(point.arm, point.budget): point for point in curve.points_of(folder, 2, "1")}
    assert len(points) == 5 * 2
    assert points["ours", 0.15].retained == pytest.approx(retained, abs=5e-4)
    assert points["random", 0.15].retained < points["random", 0.5].retained < 1
    assert points["random", 0.15].gap_closed is None


def test_n_grams_alone_are_measured_without_torch_on_all_arms_of_one_size(folder, monkeypatch, capsys):
    import retention_ladder as ladder

    monkeypatch.setattr(ladder, "find_spec", lambda name: None)
    ladder.main(folder, 2, "1", 60)
    told = capsys.readouterr().out
    rows = {line.split(" | ")[0].strip("| "): line.split(" | ") for line in told.splitlines() if line.startswith("| ")}
    assert {"ours", "random", "full", "planted alone", "without novelty", "without a reference"} <= set(rows)
    assert float(rows["ours"][2]) < float(rows["random"][2])
