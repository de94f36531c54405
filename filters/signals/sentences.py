"""Sentences."""

import pyarrow as pa

from curate import kernels
from curate.filters.registry import Columns, signal


@signal(group="sentences", writes={"n_sentences": pa.int64()})
def sentence_count(texts: pa.Array) -> Columns:
    """Sentences per document (C4, Raffel et al. 2020, 2.2).

    n_sentences  stretches with a letter or digit, up to a mark that ends a sentence or the end of a line
    """
    return {"n_sentences": kernels.count_sentences(texts)}
