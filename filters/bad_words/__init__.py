"""Words of the "List of Dirty, Naughty, Obscene, and Otherwise Bad Words", in English; see NOTICE.md beside it."""

import hashlib
from functools import cache
from pathlib import Path

import pyarrow as pa

from curate import kernels
from curate.filters.registry import Columns, signal

# The list is part of the code: another one has another hash here, and so another group digest.
LIST_SHA256 = "af851ecef1d5f212caba17339b12ac39cc2fef7d78c74876f67237644fcee8bd"


@cache
def english_list() -> tuple[str, ...]:
    """The words and phrases, in lower case."""
    raw = (Path(__file__).parent / "en.txt").read_bytes()
    if hashlib.sha256(raw).hexdigest() != LIST_SHA256:
        raise ValueError("filters/bad_words/en.txt is another list than LIST_SHA256 says")
    return tuple(sorted({line.strip().lower() for line in raw.decode().splitlines() if line.strip()}))


@signal(group="raw_bad_words", writes={"raw_n_bad_words": pa.int64()}, raw=True)
def bad_words(texts: pa.Array) -> Columns:
    """Words of the English list that C4 drops pages by (Raffel et al. 2020, 2.2).

    raw_n_bad_words  places in the raw text where a word or phrase of the list of bad words stands
    """
    return {"raw_n_bad_words": kernels.count_listed_words(texts, english_list())}
