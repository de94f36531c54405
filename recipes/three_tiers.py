"""Part the packaged sample as recipes/three-tiers.yaml reads it: a corpus with little about finance, and other texts.

    python recipes/three_tiers.py            # into three-tiers/
    python recipes/three_tiers.py FOLDER

Good documents, which the sample's labels tell, go to one part each; two in three pages with speeches go to none:

    corpus.parquet      what is curated: all that is not good, and some of what is
    reference.parquet   good documents of all kinds, for tier 2 and the budget
    seeds.parquet       speeches on finance, such as are wanted
    heldout/            a file for each kind that the result is judged by: finance.parquet, other.parquet
"""

import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import curate.sample

TURNS = {  # where the documents of a source go, in turn; None: nowhere, so that there is little about finance
    "federalreserve_speech": ("seeds", "heldout/finance", "seeds", "corpus", "seeds", "reference"),
    "federalreserve.gov full-page text": ("corpus", None, None),
}
OTHERS = ("corpus", "reference", "heldout/other", "corpus", "reference", "corpus")


def main(folder: Path) -> None:
    """Write the parts and tell how many documents each has."""
    table = pa.concat_tables(
        [pq.read_table(path) for path in sorted(Path(curate.sample.__path__[0]).glob("*.parquet"))]
    )
    seen = Counter[str]()
    parts = []
    for source, label in zip(table["source"].to_pylist(), table["label"].to_pylist(), strict=True):
        turns = TURNS.get(source, OTHERS) if label in ("good", "boilerplate_mixed") else ("corpus",)
        parts.append(turns[seen[source] % len(turns)])
        seen[source] += len(turns) > 1
    for name in sorted(set(parts) - {None}):
        path = folder / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.filter(pa.array([part == name for part in parts])), path)
        sys.stdout.write(f"{path}: {parts.count(name):,} documents\n")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "three-tiers"))
