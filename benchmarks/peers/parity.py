"""Compare the verdicts of our rule sets with those of datatrove's filters, document by document.

Usage: python benchmarks/peers/parity.py [--documents N] [--sets SET ...] [--examples N] [CORPUS ...]

CORPUS is a Parquet file or a folder of such files with a column `text`; default: the packaged sample. N documents
(default: 2,000) are taken in turn from all files, in the order of the files' names. The first call installs datatrove
into benchmarks/peers/.venv-datatrove.

Each filter, with its defaults, is compared with the set that follows the same paper and with the set named after
datatrove, where there is one. Each set is carried out by `curate run`, each filter runs on its own on the raw text. Two
tables are printed: how many verdicts agree; and the reasons of both sides where they differ. Then come examples: names
and counts, no text.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from common import FILTER_OF, PYTHON, THEIRS, curate_run, known_sets, make_environment, select, write_recipe

import curate.sample
from curate.ledger.run import connect

ENOUGH_WORDS = 50  # as gopher asks for: the other filters are made for what it leaves


@dataclass(frozen=True)
class Comparison:
    """Verdicts of one set and its filter; a reason is None where the document is kept."""

    documents: list[dict[str, Any]]  # name, what both count, and `ours` and `theirs`: the reasons

    def count(self, ours: bool, theirs: bool) -> int:
        """Documents that each side keeps (True) or drops."""
        return sum((d["ours"] is None, d["theirs"] is None) == (ours, theirs) for d in self.documents)

    def agreement(self, words: int = 0) -> float:
        """Share of documents with one verdict, among those of at least so many words."""
        same = [(d["ours"] is None) == (d["theirs"] is None) for d in self.documents if d["n_words"] >= words]
        return sum(same) / len(same)

    def differences(self) -> dict[tuple[str, str], list[dict[str, Any]]]:
        """Documents with two verdicts by the reasons of both sides, the most frequent first."""
        found = [d for d in self.documents if (d["ours"] is None) != (d["theirs"] is None)]
        kinds = Counter((d["ours"] or "kept", d["theirs"] or "kept") for d in found)
        return {
            kind: [d for d in found if (d["ours"] or "kept", d["theirs"] or "kept") == kind]
            for kind, _ in sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
        }


def main(corpora: Sequence[Path], number: int, sets: Sequence[str], examples: int) -> None:
    """Print the tables."""
    compared = compare(select(corpora, number), known_sets(sets or FILTER_OF))
    columns = ["set", "filter", "documents", "both keep", "both drop", "only curate drops", "only datatrove drops"]
    columns += ["agreement", f"of {ENOUGH_WORDS} words and more"]
    print(f"| {' | '.join(columns)} |")
    print("|---" * len(columns) + "|")
    for (name, filtering), found in compared.items():
        counts = [found.count(*keeps) for keeps in ((True, True), (False, False), (False, True), (True, False))]
        cells = [f"{count:,}" for count in [len(found.documents), *counts]]
        cells += [f"{found.agreement(words):.1%}" for words in (0, ENOUGH_WORDS)]
        print(f"| `{name}` | `{filtering}` | {' | '.join(cells)} |")
    print("\n| set | curate | datatrove | documents |\n|---|---|---|---|")
    for (name, _), found in compared.items():
        for (ours, theirs), differing in found.differences().items():
            print(f"| `{name}` | `{ours}` | `{theirs}` | {len(differing):,} |")
    for (name, _), found in compared.items():
        for (ours, theirs), differing in found.differences().items():
            for document in differing[:examples]:
                facts = {k: v for k, v in document.items() if k not in ("ours", "theirs")}
                print(f"\n{name}: curate {ours}, datatrove {theirs}: {facts}", end="")
    print()


def compare(documents: pa.Table, names: Sequence[str]) -> dict[tuple[str, str], Comparison]:
    """Verdicts of both sides on `documents` (name, text), by our set and the filter it is compared with."""
    make_environment("datatrove")
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        path, out = scratch / "documents.parquet", scratch / "theirs.parquet"
        pq.write_table(documents, path)
        subprocess.run([str(PYTHON), str(THEIRS), "verdicts", str(path), str(out), *names], check=True)
        theirs = pq.read_table(out).to_pylist()
        for name in names:
            for ours in known_sets([name, f"datatrove_{name}"]):
                recipe = write_recipe(scratch / "recipe.yaml", path, [ours], scratch / ours)
                found[ours, FILTER_OF[name]] = Comparison([
                    {**our, "theirs": their[name], "datatrove": {k: their[k] for k in COUNTS}}
                    for our, their in zip(our_verdicts(recipe), theirs, strict=True)
                ])  # fmt: skip
    return found


COUNTS = ("n_words", "mean_word_length", "alpha_word_ratio")


def our_verdicts(recipe: Path) -> list[dict[str, Any]]:
    """By document, in order: why the recipe drops it (`ours`), its name, and what was counted."""
    subprocess.run(curate_run(recipe), check=True, stdout=subprocess.DEVNULL)
    columns = ("ours", "name", "n_characters", *COUNTS)
    query = f"SELECT reason, input.name, {', '.join(columns[2:])} FROM corpus ORDER BY row"
    with connect(Path(json.loads(recipe.read_text())["output"])) as connection:
        return [dict(zip(columns, row, strict=True)) for row in connection.execute(query).fetchall()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="*", type=Path, metavar="CORPUS")
    parser.add_argument("--documents", type=int, default=2000, metavar="N")
    parser.add_argument("--sets", nargs="+", default=[], choices=list(FILTER_OF), metavar="SET")
    parser.add_argument("--examples", type=int, default=1, metavar="N", help="of each kind of difference")
    given = parser.parse_args()
    sys.exit(main(given.corpora or [Path(curate.sample.__path__[0])], given.documents, given.sets, given.examples))
