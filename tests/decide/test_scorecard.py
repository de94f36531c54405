"""The scorecard, and coarse_score."""

import json
import math

import numpy as np
import pytest
from support.commands import carry_out, command
from support.corpora import PROSE, SAMPLE, write_shard
from support.recipes import write_recipe
from support.runs import documents

from curate.decide import scorecard
from curate.decide.scorecard import stability
from curate.filters.coarse_score import FORM
from curate.ledger.run import connect


def rows_of(run):
    with connect(run) as connection:
        found = connection.execute("SELECT * FROM scorecard").to_arrow_table()
    return {row["signal"]: row for row in found.to_pylist()}


def test_means_quantiles_and_drift_of_every_signal(tmp_path):
    recipe, run = write_recipe(tmp_path, SAMPLE, tier1={"rules": ["gopher"]})
    summary = carry_out(recipe)
    rows = rows_of(run)
    values = documents(run, "n_words, stop_word_ratio, kept")
    for k, name in enumerate(("n_words", "stop_word_ratio")):
        for when, some in (("before", values), ("after", [row for row in values if row[2]])):
            known = np.array([row[k] for row in some if row[k] is not None], dtype=float)
            assert rows[name][f"mean_{when}"] == pytest.approx(known.mean(), rel=1e-5)
            for quantile in (5, 50, 95):
                assert rows[name][f"p{quantile}_{when}"] == pytest.approx(np.percentile(known, quantile), rel=1e-5)
    assert rows["n_words"]["psi"] > 0.25 > rows["uppercase_ratio"]["psi"] > 0
    assert not [name for name in rows if "hash_h" in name or name in ("row", "file_no")]
    assert json.loads((run / "manifest.json").read_text())["scorecard"] == list(rows.values())
    assert [row["signal"] for row in summary["drift"]] == sorted(rows, key=lambda name: -rows[name]["psi"])[:5]


def test_the_population_stability_index():
    before = np.repeat(np.arange(10.0), 100)
    assert stability(before, before[::7]) == pytest.approx(0, abs=0.01)
    half = before[before < 5]
    expected = 5 * (0.2 - 0.1) * math.log(2) + 5 * (1e-4 - 0.1) * math.log(1e-4 / 0.1)
    assert stability(before, half) == pytest.approx(expected)
    assert stability(np.array([1.0, np.nan]), np.array([1.0, np.nan])) == 0
    assert stability(np.array([np.nan]), np.array([np.nan])) == 0


def test_of_a_large_corpus_a_sample_is_looked_at_and_always_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(scorecard, "SAMPLE", 300)
    recipe, run = write_recipe(tmp_path, SAMPLE)
    carry_out(recipe)
    sampled = rows_of(run)
    with connect(run) as connection:
        [(mean, count)] = connection.execute("SELECT avg(n_words), count(*) FROM signals").fetchall()
    assert sampled["n_words"]["mean_before"] == pytest.approx(mean, rel=0.2)
    assert sampled["n_words"]["mean_before"] != pytest.approx(mean, rel=1e-6)
    assert count == 1309


def test_the_score_is_the_mean_of_its_parts(tmp_path):
    texts = [PROSE * 3, "BUY NOW $$$ +++", "x", PROSE.replace(". ", ".\n") * 40, "one two three " * 400]
    write_shard(tmp_path / "in.parquet", texts)
    recipe, run = write_recipe(tmp_path, tmp_path / "in.parquet")
    carry_out(recipe)
    found = documents(run, "coarse_score, n_words, stop_word_ratio, terminal_line_ratio, alpha_word_ratio, "
                      "short_line_ratio, mean_line_length, uppercase_ratio, symbol_ratio")  # fmt: skip
    logs = ("length", "line_length")
    for score, *values in found:
        parts = []
        for part, value in zip(FORM, values, strict=True):
            if part.name in logs and value is not None:
                value = math.log(max(value, 1))
            share = 0 if value is None else (value - part.worst) / (part.best - part.worst)
            parts.append(min(1, max(0, share)))
        assert score == pytest.approx(sum(parts) / len(parts), abs=1e-6)
    scores = [row[0] for row in found]
    assert scores[3] > scores[0] > scores[4] > scores[1]


def test_the_penalty_for_length_is_smooth(tmp_path):
    lengths = [10, 49, 50, 99, 100, 101, 400, 401, 800, 4000]
    write_shard(tmp_path / "in.parquet", [" ".join(["word"] * length) for length in lengths])
    recipe, run = write_recipe(tmp_path, tmp_path / "in.parquet", dedup={"exact": False})
    carry_out(recipe)
    plain = [score for (score,) in documents(run, "coarse_score")]
    carry_out(recipe, "tier1.length_penalty={low: 100, high: 400}")
    factors = [score / old for (score,), old in zip(documents(run, "coarse_score"), plain, strict=True)]
    outside = [max(1, 100 / n) * max(1, n / 400) for n in lengths]
    assert factors == pytest.approx([math.exp(-(math.log(x) ** 2) / 2) for x in outside], rel=1e-4)
    assert factors[4:7] == pytest.approx([1, 1, 1])


def test_a_signal_that_nothing_has_is_not_shown(tmp_path):
    write_shard(tmp_path / "in.parquet", ["x", "y", None])  # without a model's language no perplexity, and short words
    recipe, run = write_recipe(tmp_path, tmp_path / "in.parquet", tier1={"perplexity": {}, "language": {"keep": None}})
    done = command("run", recipe, "--set", "tier1.thresholds.uncertain_language=null")
    assert done.returncode == 0, done.stderr
    assert [row["psi"] for row in rows_of(run).values()]
