"""Compare the verdicts of our rule sets with those of datatrove's filters, document by document.

Usage: python benchmarks/peers/parity.py [--documents N] [--sets SET ...] [--examples N] [CORPUS ...]

CORPUS is a Parquet file or a folder of such files with a column `text`; default: the packaged sample. N documents
(default: 2,000) are taken in turn from all files, in the order of the files' names. The first call installs datatrove
into benchmarks/peers/.venv.

Each set is carried out by `curate run`, each filter runs on its own on the raw text. Two tables are printed: how many
verdicts agree, with our set as published and made to judge as datatrove does (see THEIR_BOUNDS); and the reasons of
both sides where verdicts differ. Then come examples: names and counts, no text.
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
from curate.inspect import connect
from curate.rules import named_set

# What makes a set judge as datatrove does, where that has another bound on a signal (None switches its rule off)
# or another notion of a word: `input.alpha_word_ratio` is what datatrove counts, punctuation marks being words too.
THEIR_BOUNDS: dict[str, dict[str, float | None]] = {
    "gopher": {"alpha_word_ratio": None},
    "c4": {"n_sentences": 5},
    "fineweb": {"duplicate_line_character_ratio": 0.01},
}
THEIR_RULES = {"gopher": [{"reason": "too_few_alpha_tokens", "when": "input.alpha_word_ratio < 0.8"}]}
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
    compared = compare(select(corpora, number), known_sets(sets))
    columns = ["set", "judged", "documents", "both keep", "both drop", "only curate drops", "only datatrove drops"]
    columns += ["agreement", f"of {ENOUGH_WORDS} words and more"]
    print(f"| {' | '.join(columns)} |")
    print("|---" * len(columns) + "|")
    for (name, how), found in compared.items():
        counts = [found.count(*keeps) for keeps in ((True, True), (False, False), (False, True), (True, False))]
        cells = [f"{count:,}" for count in [len(found.documents), *counts]]
        cells += [f"{found.agreement(words):.1%}" for words in (0, ENOUGH_WORDS)]
        print(f"| `{name}` | {how} | {' | '.join(cells)} |")
    print("\n| set | judged | curate | datatrove | documents |\n|---|---|---|---|---|")
    for (name, how), found in compared.items():
        for (ours, theirs), differing in found.differences().items():
            print(f"| `{name}` | {how} | `{ours}` | `{theirs}` | {len(differing):,} |")
    for (name, how), found in compared.items():
        for (ours, theirs), differing in found.differences().items():
            for document in differing[:examples]:
                facts = {k: v for k, v in document.items() if k not in ("ours", "theirs")}
                print(f"\n{name} {how}: curate {ours}, datatrove {theirs}: {facts}", end="")
    print()


def compare(documents: pa.Table, names: Sequence[str]) -> dict[tuple[str, str], Comparison]:
    """Verdicts of both sides on `documents` (name, text), by set and by how ours judges: as published, as datatrove."""
    make_environment()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        path, out = scratch / "documents.parquet", scratch / "theirs.parquet"
        pq.write_table(documents, path)
        subprocess.run([str(PYTHON), str(THEIRS), "verdicts", str(path), str(out), *names], check=True)
        counts = pq.read_table(out)
        theirs = counts.to_pylist()
        pq.write_table(documents.append_column("alpha_word_ratio", counts["alpha_word_ratio"]), path)
        for name in names:
            bounds = THEIR_BOUNDS.get(name, {})
            theirs_too = {r.reason: bounds[r.rule.signal] for r in named_set(name) if r.rule.signal in bounds}
            for how, thresholds in (("as published", {}), ("as datatrove", theirs_too)):
                if how == "as published" or thresholds:
                    rules = [name, *(THEIR_RULES.get(name, []) if thresholds else [])]
                    recipe = write_recipe(scratch / "recipe.yaml", path, rules, thresholds, scratch / f"{name} {how}")
                    found[name, how] = Comparison([
                        {**ours, "theirs": their[name], "datatrove": {k: their[k] for k in COUNTS}}
                        for ours, their in zip(our_verdicts(recipe), theirs, strict=True)
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
