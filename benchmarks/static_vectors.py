"""Print what clusters by a static embedding model cost and are worth, beside those by hashed words.

Usage: python benchmarks/static_vectors.py MODEL [CORPORA [FOLDER]]

MODEL is a folder with a model of model2vec. CORPORA has folders reference and domains with Parquet files, each of which
is a domain: by default the one beside this project. With FOLDER, which keeps pools and runs, pool b of quality_pools.py
is also selected from with either kind of vectors, and what is kept is measured as in retention.py.
"""

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from purify import tell
from quality_pools import POOLS, SEED, mix
from retention import CORPORA, DEFAULT, Recipes, about, arm_rows, measured
from timing import batches_in, least_of_five, parquet_in

from curate.distill.budget.models import CLUSTER_TEXTS
from curate.distill.scoring import static_vectors, vectors
from curate.distill.scoring.clusters import assign, clusters_of
from curate.distill.scoring.static_vectors import open_static
from curate.distill.scoring.vectors import Settings, projection_of
from curate.kernels.projection import Vectors

EACH = 1000  # texts of a domain, at most
SEEDS = range(1, 6)
Numbers = npt.NDArray[np.int64]


def main(model: str, corpora: Path, folder: Path | None) -> None:
    """Print the tables."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    texts, domains = labelled(corpora)
    print(f"{len(texts):,} texts of {domains.max() + 1} domains, {texts.nbytes / 1e6:.0f} MB; {model}")
    static, projection = open_static(model, None), projection_of(texts, Settings(), 1)
    kinds: dict[str, Callable[[], Vectors]] = {
        "hashed": lambda: vectors.vectors_of(projection, texts),
        "static": lambda: static_vectors.vectors_of(static, texts),
    }
    read = {"hashed": 1.0, "static": pc.utf8_slice_codeunits(texts, 0, static.most).nbytes / texts.nbytes}
    tell("Clusters by domain", cluster_rows(texts, domains, kinds, read))
    if folder is not None:
        place = mix(corpora, folder / f"seed-{SEED}", "b", POOLS["b"], SEED)
        recipes = recipes_with(model)
        found = measured(place, folder / f"seed-{SEED}" / "vectors-b", "ngram", SEED, recipes)
        tell(f"Pool b, seed {SEED}: {about(place)}", arm_rows(found, recipes))


def recipes_with(model: str) -> Recipes:
    """The recipes that are compared, beside the input and the budget."""
    uses: dict[str, dict[str, Any]] = {
        "diversity 0.3": {"weights": {"quality": 0.7, "diversity": 0.3}},
        "cluster_cap 2%": {"cluster_cap": "2%"},
    }
    kinds: dict[str, Any] = {"hashed": "hashed", "static": {"static": model}}
    return {DEFAULT: {}} | {
        f"{use}, {kind}": {"distill": {**fields, "vectors": made_by}}
        for kind, made_by in kinds.items() for use, fields in uses.items()
    }  # fmt: skip


def labelled(corpora: Path) -> tuple[pa.Array, Numbers]:
    """Texts drawn by seed, and the number of the file that each is from."""
    parts = []
    for path in parquet_in([corpora / "reference", corpora / "domains"]):
        texts = pa.concat_arrays(batches_in([path]))
        texts = texts.filter(pc.fill_null(pc.greater(pc.utf8_length(texts), 0), False))
        order = np.random.default_rng(SEED).permutation(len(texts))[:EACH]
        parts.append(texts.take(pa.array(np.sort(order))))
    return pa.concat_arrays(parts), np.repeat(np.arange(len(parts)), [len(part) for part in parts])


def cluster_rows(
    texts: pa.Array, domains: Numbers, kinds: dict[str, Callable[[], Vectors]], read: dict[str, float]
) -> Iterable[Sequence[object]]:
    """How fast vectors are made, and how much their clusters tell of the domain, mean of seeds."""
    counts = [int(domains.max()) + 1, len(texts) // CLUSTER_TEXTS]
    yield "vectors", "dimensions", "MB per CPU second", "of the text is read", *(f"NMI, {n} clusters" for n in counts)
    for kind, make in kinds.items():
        found = make()
        told = [float(np.mean([agreement(found, domains, count, seed) for seed in SEEDS])) for count in counts]
        speed = f"{texts.nbytes / 1e6 / least_of_five(make):.0f}"
        yield kind, found.shape[1], speed, f"{read[kind]:.0%}", *told


def agreement(found: Vectors, domains: Numbers, count: int, seed: int) -> float:
    """Normalised mutual information of clusters and domains, from 0 to 1 (arithmetic mean of the entropies)."""
    own = pc.fill_null(assign(clusters_of(found, count, seed), found)["cluster"], count).to_numpy()
    table = np.zeros((count + 1, int(domains.max()) + 1))
    np.add.at(table, (own, domains), 1)
    of_clusters, of_domains, both = (entropy(t) for t in (table.sum(axis=1), table.sum(axis=0), table.ravel()))
    return 2 * (of_clusters + of_domains - both) / (of_clusters + of_domains)


def entropy(counts: npt.NDArray[np.float64]) -> float:
    """Of shares that go with counts, in nats."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


if __name__ == "__main__":
    given = sys.argv[1:]
    if not given:
        sys.exit(f"{__doc__}")
    main(given[0], Path(given[1]) if len(given) > 1 else CORPORA, Path(given[2]) if len(given) > 2 else None)
