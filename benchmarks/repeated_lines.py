"""Measure how much boilerplate `dedup.lines` cuts, and how much else, on pages whose clean text is known.

Usage: python benchmarks/repeated_lines.py FILE [LABEL CLEAN]

FILE is a Parquet file with the columns `id`, `text` and `label`: pages with the label LABEL (default: noisy) and what
is good of them with the label CLEAN (default: clean), under the same id up to a bar. Words of a page that its clean
text lacks, each as often as it does, are its boilerplate. Precision: of the words that are cut, those. Recall: of
those, the words that are cut. All pages count as of one site.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

REPEATS = (2, 5, 10, 20, 50, 100)


def main(path: str, label: str = "noisy", clean: str = "clean") -> None:
    """Print a line for each bound."""
    rows = pq.read_table(path, columns=["id", "text", "label"]).to_pylist()
    known = {row["id"].split("|")[0]: words(row["text"]) for row in rows if row["label"] == clean}
    pages = [row for row in rows if row["label"] == label and row["id"].split("|")[0] in known]
    print(f"{len(pages):,} pages\n\n| max_repeats | pages cut | words cut | precision | recall | pages dropped |")
    print("|---|---|---|---|---|---|")
    for repeats in REPEATS:
        print(f"| {repeats} | {' | '.join(cells(path, label, repeats, pages, known))} |")


def cells(
    path: str, label: str, repeats: int, pages: list[dict[str, str]], known: dict[str, Counter[str]]
) -> list[str]:
    """What a run with a bound cuts."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / "recipe.yaml"
        recipe.write_text(json.dumps({
            "name": "lines", "output": f"{folder}/run", "input": {"paths": [path], "id": "id"},
            "tier1": {"rules": [{"reason": "other", "when": f"input.label != '{label}'"}]},
            "dedup": {"exact": False, "lines": {"max_repeats": repeats, "max_cut": 1}},
        }))  # fmt: skip
        subprocess.run([sys.executable, "-m", "curate", "run", str(recipe), "--quiet"], check=True, stdout=2)
        left = {
            row["id"]: row["text"] for row in pq.read_table(f"{folder}/run/data", columns=["id", "text"]).to_pylist()
        }
    cut = right = boilerplate = touched = 0
    for page in pages:
        all_of_it, good = words(page["text"]), known[page["id"].split("|")[0]]
        gone, noise = all_of_it - words(left.get(page["id"], "")), all_of_it - good
        cut, boilerplate, right = cut + gone.total(), boilerplate + noise.total(), right + (gone & noise).total()
        touched += gone.total() > 0
    dropped = sum(page["id"] not in left for page in pages)
    return [f"{touched:,}", f"{cut:,}", f"{right / max(1, cut):.3f}", f"{right / boilerplate:.3f}", f"{dropped:,}"]


def words(text: str) -> Counter[str]:
    """Words in lower case, without punctuation, which the clean texts write otherwise."""
    return Counter(re.findall(r"\w+", text.lower()))


if __name__ == "__main__":
    main(*sys.argv[1:])
