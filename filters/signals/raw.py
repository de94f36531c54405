"""Signals of the raw text, before edits."""

import pyarrow as pa

from curate import kernels
from curate.filters.registry import Columns, signal


@signal(
    group="raw",
    writes={"raw_n_words": pa.int64(), "raw_n_curly_brackets": pa.int64(), "raw_n_lorem_ipsum": pa.int64()},
    raw=True,
)
def raw_shape(texts: pa.Array) -> Columns:
    """Words, and the marks of code and of placeholder text (C4, Raffel et al. 2020, 2.2).

    raw_n_words           words of the raw text
    raw_n_curly_brackets  "{" in the raw text
    raw_n_lorem_ipsum     "lorem ipsum" in the raw text, in upper or lower case
    """
    phrases = kernels.count_phrases(texts, ["{", "lorem ipsum"])
    return {
        "raw_n_words": kernels.number_of_words(texts),
        "raw_n_curly_brackets": phrases["{"],
        "raw_n_lorem_ipsum": phrases["lorem ipsum"],
    }
