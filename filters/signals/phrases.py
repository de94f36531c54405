"""Phrases that show what a text is, counted after edits."""

import pyarrow as pa

from curate import kernels
from curate.filters.registry import Columns, signal


@signal(group="phrases", writes={"n_curly_brackets": pa.int64(), "n_lorem_ipsum": pa.int64()})
def phrase_count(texts: pa.Array) -> Columns:
    """The marks of code and of placeholder text (C4, Raffel et al. 2020, 2.2), in what edits leave.

    n_curly_brackets  "{" in the text
    n_lorem_ipsum     "lorem ipsum" in the text, in upper or lower case
    """
    phrases = kernels.count_phrases(texts, ["{", "lorem ipsum"])
    return {"n_curly_brackets": phrases["{"], "n_lorem_ipsum": phrases["lorem ipsum"]}
