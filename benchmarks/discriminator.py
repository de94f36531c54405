"""Print how fast the discriminator is trained and scores, in MB of text per CPU second.

Usage: python benchmarks/discriminator.py GOOD BAD

GOOD and BAD are Parquet files or folders of them with a column `text`. A model is trained on all of it.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
from timing import batches_in, least_of_five

from curate.distill.scoring.discriminator import Settings, explain, groups_of, score, train
from curate.distill.scoring.linear_model import Texts, fit_lanes, read_texts
from curate.distill.scoring.surface import scaling_of, surface
from curate.kernels.hashed_ngrams import hashed_ngrams

T = TypeVar("T")


def main(good: str, bad: str) -> None:
    """Print the table."""
    sides = [batches_in([Path(place)]) for place in (good, bad)]
    texts = pa.concat_arrays([text for side in sides for text in side])
    is_bad = np.repeat([False, True], [sum(map(len, side)) for side in sides])
    megabytes = texts.nbytes / 1e6
    settings = Settings()
    print(f"{len(texts):,} texts, {megabytes:.0f} MB\n\n| step | MB per CPU second |\n|---|---|")

    def tell(step: str, work: Callable[[], T]) -> None:
        print(f"| {step} | {megabytes / least_of_five(work):.0f} |", flush=True)

    batches = [batch for side in sides for batch in side]
    tell("hashed n-grams", lambda: [hashed_ngrams(batch, settings.bits) for batch in batches])
    ngrams = [hashed_ngrams(batch, settings.bits) for batch in batches]
    tell("surface features", lambda: [surface(*pair) for pair in zip(batches, ngrams, strict=True)])
    tell("both: reading texts", lambda: read_texts(texts, settings.bits))
    read = read_texts(texts, settings.bits)
    tell(f"fitting {settings.folds} folds, {settings.passes} passes", lambda: fitted(read, is_bad, settings))
    families = np.where(is_bad, "mined", "good")

    def training() -> object:
        return train(texts, is_bad, np.ones(len(texts)), groups_of(texts), families, settings, 1)

    tell("training", training)
    model = train(texts, is_bad, np.ones(len(texts)), groups_of(texts), families, settings, 1)
    tell("scoring, nearest family too", lambda: [score(model, batch) for batch in batches])
    some = texts.slice(0, 100).to_pylist()
    milliseconds = least_of_five(lambda: [explain(model, text, 20) for text in some]) * 10
    print(f"\nReasons for one text: {milliseconds:.1f} ms.")


def fitted(read: Texts, is_bad: np.ndarray, settings: Settings) -> object:
    """The models of all folds, from texts that are read."""
    rows = read.rows(scaling_of(read.surface[~is_bad]), settings.looks)
    targets = np.repeat(np.where(is_bad, 1.0, -1.0)[:, None], settings.folds, axis=1)
    return fit_lanes(rows, targets, np.full(targets.shape, settings.cost), settings, settings.bits, 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
