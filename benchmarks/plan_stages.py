"""Compare what `curate plan` forecasts with what `curate run` takes, where stages train models.

Usage: python benchmarks/plan_stages.py CORPORA [NAME ...]

CORPORA is the folder beside this project. By name: the packaged sample, `web`, `domains`, each with a second tier of
two rounds, a budget and tracking, against half of each file of good texts; the other half is held out. CPU seconds are
those of all processes, user and system: they hold on a machine that has other work too, where time on the clock does
not.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from plan_accuracy import curate_json

INPUTS = {"sample": "quickstart_sample/*.parquet", "web": "web/web_pages.parquet", "domains": "domains/*.parquet"}
GOOD = {"sample": ["encyclopedic", "medical"], "web": ["encyclopedic"], "domains": ["technical_docs"]}
STAGES = ("purify", "distil", "track")


def main(arguments: list[str]) -> None:
    """Print the table."""
    corpora, names = Path(arguments[0]).resolve(), arguments[1:] or list(INPUTS)
    print("| corpus | text, MB | forecast, CPU s | of which tier 2 | budget | tracking | run, CPU s | off by |")
    print("|---|---|---|---|---|---|---|---|")
    for name in names:
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "recipe.yaml"
            path.write_text(json.dumps(recipe(corpora, name, Path(scratch))))
            plan, _ = curate_json("plan", path)
            _, (actual, _) = curate_json("run", path)
        print(row(name, plan, actual), flush=True)


def recipe(corpora: Path, name: str, folder: Path) -> dict[str, Any]:
    """All stages that train something, over one of the corpora."""
    for kind in GOOD[name]:
        good = pq.read_table(corpora / "reference" / f"{kind}.parquet")
        pq.write_table(good.slice(0, len(good) // 2), folder / f"reference-{kind}.parquet")
        pq.write_table(good.slice(len(good) // 2), folder / f"heldout-{kind}.parquet")
    return {
        "name": name,
        "output": str(folder / "run"),
        "input": {"paths": [str(corpora / INPUTS[name])]},
        "reference": [str(folder / "reference-*.parquet")],
        "tier1": {"rules": ["gopher"]},
        "dedup": {"near": {}},
        "tier2": {"rounds": 2},
        "distill": {"keep_tokens": "15%"},
        "evaluate": {"heldout": [str(folder / "heldout-*.parquet")], "track": True},
    }


def row(name: str, plan: dict[str, Any], actual: float) -> str:
    """A line of the table."""
    seconds = plan["cpu_seconds"]
    cells = [f"{plan['input']['text_bytes'] / 1e6:,.0f}", f"{sum(seconds.values()):,.0f}"]
    cells += [*(f"{seconds[stage]:,.0f}" for stage in STAGES), f"{actual:,.0f}"]
    return f"| {name} | {' | '.join(cells)} | {round(sum(seconds.values()) / actual - 1, 2) + 0.0:+.0%} |"


if __name__ == "__main__":
    main(sys.argv[1:])
