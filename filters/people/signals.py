"""Register of English texts, and mentions of groups of people, by words of lists. Measured for `who` alone."""

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import yaml

from curate import kernels
from curate.filters.registry import Columns, signal
from curate.kernels.words_of_list import WordTable

PARTS = ("curate.filters.people",)  # the lists
FOLDER = Path(__file__).parent
LEAST_MARKERS = 5  # of a text whose formality is measured
ENGLISH = 0.15  # of the words are function words of English: others share in, an, a, me and on with it
DIALECT = 0.02  # of the words: such a text is of register dialect
COLLOQUIAL, FORMAL = 0.03, 0.85  # of the words; of the markers
REGISTERS = pa.array(["formal", "neutral", "colloquial", "dialect"])

Counts = npt.NDArray[np.int64]


@cache
def group_names() -> tuple[str, ...]:
    """The groups of people, in the order of the list."""
    return tuple(_lists("groups"))


@cache
def _lists(name: str) -> dict[str, list[str]]:
    """The words of each label of a list; where there are several languages, of all of them."""
    lists = yaml.safe_load((FOLDER / f"{name}.yaml").read_text("utf-8"))
    return {
        label: [
            word.strip()
            for line in (words.values() if isinstance(words, dict) else [words])
            for word in line.split(",")
        ]
        for label, words in lists.items()
    }


@cache
def _table(name: str) -> WordTable:
    lists = _lists(name)
    return kernels.labelled_table({word: k for k, words in enumerate(lists.values(), 1) for word in words})


def _count(texts: pa.Array, name: str) -> Counts:
    return kernels.count_labelled_words(texts, _table(name), len(_lists(name)))


@signal(
    group="register",
    writes={
        "formality": pa.float32(),
        "colloquial_ratio": pa.float32(),
        "n_dialect_words": pa.int64(),
        "register": pa.string(),
    },
)
def register(texts: pa.Array) -> Columns:
    """The register of a text in English, by closed classes of words (after Heylighen and Dewaele 2002, Biber 1988).

    formality         articles and prepositions, as a share of them, pronouns of the first and second person,
                      contractions and colloquial words; null with fewer than five of all, and where less than 15%
                      of the words are function words of English
    colloquial_ratio  contractions and colloquial words per word; null without words
    n_dialect_words   words, spellings and phrases of African American English
    register          dialect: a word of fifty is of dialect; colloquial: three of a hundred are; formal: formality
                      of 0.85 and more; else neutral; null where formality is and it is not dialect
    """
    formal, involved, contraction, colloquial, dialect = _count(texts, "register").T
    null = texts.is_null().to_numpy(zero_copy_only=False)
    counted = kernels.count_words(texts)
    words, function_words = counted["words"], counted["stop_words"].fill_null(0).to_numpy()
    n_words = words.fill_null(0).to_numpy()
    spoken = contraction + colloquial
    markers = formal + involved + spoken
    few = (markers < LEAST_MARKERS) | (function_words < ENGLISH * n_words)
    share = formal / np.maximum(markers, 1)
    kind = np.select(
        [dialect > DIALECT * n_words, spoken >= COLLOQUIAL * n_words, share >= FORMAL], [3, 2, 0], default=1
    ).astype(np.int8)
    registers = pa.DictionaryArray.from_arrays(pa.array(kind, mask=null | (few & (kind != 3))), REGISTERS)
    return {
        "formality": pa.array(share.astype(np.float32), mask=null | few),
        "colloquial_ratio": kernels.divide(pa.array(spoken, mask=null), words),
        "n_dialect_words": pa.array(dialect, mask=null),
        "register": registers.dictionary_decode(),
    }


@signal(group="mentions", writes={"mentions": pa.list_(pa.string()), "n_mentions": pa.int64()})
def mentions(texts: pa.Array) -> Columns:
    """Groups of people that a text names, by words of English, German, French and Spanish.

    mentions    the groups, in the order of the list
    n_mentions  how many times any of them is named
    """
    counts = _count(texts, "groups")
    null = texts.is_null()
    rows, groups = np.nonzero(counts)
    ends = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(counts)))]).astype(np.int32)
    names = pa.array(group_names()).take(pa.array(groups))
    listed = pa.ListArray.from_arrays(pa.array(ends), names, mask=null)
    return {"mentions": listed, "n_mentions": pa.array(counts.sum(1), mask=null.to_numpy(zero_copy_only=False))}
