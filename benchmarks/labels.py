"""Measure how well scores, and `quality` that combines them, tell good documents from bad ones of many kinds.

Usage: python benchmarks/labels.py CORPORA FOLDER HALF SEED [SEED…]

CORPORA is a folder with the Parquet files that label_sets.py names. FOLDER keeps what was measured, so that a second call
goes on from there. HALF is `tuning` or `testing`: settings may be chosen on the first only.

For each share of good documents, and for each reference, a corpus is mixed and `curate run` trains its models on it.
Then all documents of the sets are scored, those of the corpus by models that did not see them, and ranked among the
documents of the corpus. ROC-AUC: how often a good document of a set has the higher value. Without a reference there is
neither a discriminator nor p_bad. No model is trained on attacks of the families that are in sets.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from label_sets import HALF_OF, Labelled, labelled
from purify import tell

from curate.distill.attacks.registry import families

Values = npt.NDArray[np.float64]
SHARES = (0.1, 0.3, 0.6, 0.9)
REFERENCES = ("none", "seven kinds", "same kinds")
MAX_FALSE_DROP = 0.02
BATCH = 512
LEAST = 6  # documents of a side of a set
PARTS = ("discriminator", "importance", "purify", "coarse_score", "language_model", "token_prior")
BOUNDS = (0.0, -0.01, -0.02, -0.05, -0.1)


@dataclass(frozen=True)
class Scored:
    """The scores of all documents of a half; those of the corpus rank them."""

    of: Labelled
    share: float
    reference: str
    corpus: npt.NDArray[np.int64]
    values: Mapping[str, Values]  # of parts, the higher the better; nan where there is none
    left: npt.NDArray[np.bool_]  # by tier 2


def main(corpora: Path, folder: Path, half: str, seeds: Sequence[int]) -> None:
    """Print the tables."""
    found = [scored for seed in seeds for scored in measured(corpora, folder, half, seed)]
    for reference in REFERENCES:
        some = [scored for scored in found if scored.reference == reference]
        tell(f"{half}, reference: {reference}; means over {len(some)} corpora", set_rows(some))
    tell(f"{half}: quality against the best part of each set and corpus", shortfall_rows(found))


def recipe_of(place: Path, of: Labelled, half: str, reference: str, seed: int) -> dict[str, object]:
    """The fields of the recipe that trains on a corpus."""
    fields: dict[str, object] = {
        "name": "labels", "seed": seed, "output": str(place / "run"), "input": {"paths": [str(place / "in.parquet")]},
        "tier1": {"rules": []}, "dedup": {"exact": False}, "distill": {},
    }  # fmt: skip
    if reference != "none":
        trained = [family for family in families() if family not in HALF_OF[half].families]
        tier2 = {"families": trained, "held_out": None, "attacks": 50, "rounds": 2, "max_false_drop": MAX_FALSE_DROP}
        fields |= {"reference": [str(of.references[reference] / "*.parquet")], "tier2": tier2}
    return fields


def measured(corpora: Path, folder: Path, half: str, seed: int) -> Iterator[Scored]:
    """The scores of all documents by the models of each corpus; what is in the folder is not measured again."""
    of = labelled(corpora, folder, half, seed)
    place = folder / f"{half}-{seed}"
    signals = kept(place / "signals.npz", lambda: signals_of(texts_of(of)))
    for reference in REFERENCES:
        for share in SHARES:
            name = f"{share}-{reference.replace(' ', '_')}"
            arrays = kept(place / f"{name}.npz", lambda: score(of, half, reference, share, seed, place / name))  # noqa: B023
            corpus, bound = arrays.pop("corpus"), arrays.pop("bound", None)
            left = np.ones(len(of.documents), bool) if bound is None else arrays["p_bad"] <= bound
            yield Scored(of, share, reference, corpus, parts_of(arrays, signals, corpus), left)


def kept(path: Path, make) -> dict[str, npt.NDArray]:  # noqa: ANN001
    """The arrays in a file, which is made if it is missing."""
    if not path.exists():
        np.savez(path, **make())
    with np.load(path) as arrays:
        return dict(arrays)
