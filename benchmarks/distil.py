"""Print how fast the scores and the vectors of a budget are made, in MB of text per CPU second, as Markdown.

Usage: python benchmarks/distil.py GOOD CORPUS

GOOD and CORPUS are Parquet files or folders of them with a column `text`. Each file of GOOD is a domain.
"""

import sys
from collections.abc import Callable

import pyarrow as pa
from timing import batches_in, least_of_five, parquet_in

from curate.distill.scoring.clusters import assign, clusters_of
from curate.distill.scoring.importance import Settings, contrast_of, corpus_of, distribution_of, importance
from curate.distill.scoring.likeness import judge_texts, train_likeness
from curate.distill.scoring.linear_model import Settings as ModelSettings
from curate.distill.scoring.linear_model import groups_of
from curate.distill.scoring.vectors import Settings as VectorSettings
from curate.distill.scoring.vectors import projection_of, vectors_of

SAMPLE = 20_000  # documents that vectors are learnt from
CLUSTERS = 128


def main(good: str, corpus: str) -> None:
    """Print the table."""
    files = {path.stem: batches_in([path]) for path in parquet_in([good])}
    domains = [name for name, batches in files.items() for batch in batches for _ in range(len(batch))]
    texts = pa.concat_arrays([batch for batches in files.values() for batch in batches])
    others = pa.concat_arrays(batches_in([corpus]))
    both = pa.concat_arrays([texts, others])
    print(f"{len(both):,} texts, {both.nbytes / 1e6:.0f} MB, {len(files)} domains")
    print("\n| step | MB per CPU second |\n|---|---|")

    def tell(step: str, read: pa.Array, work: Callable[[], object]) -> None:
        print(f"| {step} | {read.nbytes / 1e6 / least_of_five(work):.0f} |", flush=True)

    settings, groups = Settings(), groups_of(both)
    tell("counting good texts", texts, lambda: distribution_of(texts, domains, groups_of(texts), settings))
    target = distribution_of(texts, domains, groups_of(texts), settings)
    contrast = contrast_of(target, corpus_of(others, groups_of(others), settings))
    tell("importance and domain", both, lambda: importance(contrast, both))

    def training() -> object:
        return train_likeness(texts, domains, others, groups, ModelSettings(), 1)

    tell("training likeness", both, training)
    model = train_likeness(texts, domains, others, groups, ModelSettings(), 1)
    tell("likeness", both, lambda: judge_texts(None, model, both))
    tell("importance, domain and likeness from one reading", both, lambda: judge_texts(contrast, model, both))
    some = both.slice(0, SAMPLE)
    tell("learning vectors", some, lambda: projection_of(some, VectorSettings(), 1))
    projection = projection_of(some, VectorSettings(), 1)
    tell("vectors", both, lambda: vectors_of(projection, both))
    vectors = vectors_of(projection, both)
    seconds = least_of_five(lambda: clusters_of(vectors[:SAMPLE], CLUSTERS, 1))
    clusters = clusters_of(vectors[:SAMPLE], CLUSTERS, 1)
    each = least_of_five(lambda: assign(clusters, vectors)) / len(vectors)
    print(
        f"\n{CLUSTERS} clusters of {min(SAMPLE, len(vectors)):,} vectors: {seconds:.1f} s; the cluster of another: ",
        end="",
    )
    print(f"{each * 1e6:.1f} µs.")


if __name__ == "__main__":
    main(*sys.argv[1:])
