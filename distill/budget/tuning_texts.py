"""The texts by which settings of a budget are chosen: words of a sample of the corpus, and of texts kept aside."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.distill.draws import mixed
from curate.distill.scoring.linear_model import groups_of
from curate.distill.scoring.model_file import load_arrays, save_arrays
from curate.kernels.ngram_model import Lines, word_lines

PURPOSE = "tune"
ASIDE_SHARE = 0.2  # of the texts of a domain, at most
ASIDE_CHARACTERS = 15_000  # of a text, from its start
ASIDE_TEXTS = 60  # of a domain, at most
MOST_WORDS = 8_000_000  # of the sample of the corpus
VERSION: dict[str, object] = {"format": 1, "kind": "tuning texts"}

Flags = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TuningTexts:
    """Words of documents of the corpus, and of texts of the reference that no score was trained on."""

    file_no: Integers  # of the documents
    row: Integers
    corpus: Lines
    domains: tuple[str, ...]
    domain: Integers  # index of the domain of each text kept aside
    aside: Lines


def is_aside(good: pa.Array, domains: list[str], seed: int) -> Flags:
    """Which good texts are kept aside: of each domain those with the least random keys, none of fewer than five."""
    keys = mixed(groups_of(good), seed, PURPOSE)
    names = np.asarray(domains, dtype=object)
    aside = np.zeros(len(good), bool)
    for name in set(domains):
        rows = np.flatnonzero(names == name)
        most = min(ASIDE_TEXTS, int(ASIDE_SHARE * len(rows)))
        aside[rows[np.lexsort((rows, keys[rows]))][:most]] = True
    return aside


def tuning_texts(documents: pa.Table, aside: pa.Array, domains: list[str], seed: int) -> TuningTexts:
    """Hash the words of documents of the corpus (file_no, row, text), as many as MOST_WORDS allows, and of `aside`."""
    texts = documents["text"].combine_chunks().cast(pa.large_string())
    lines = word_lines(texts)
    order = np.argsort(mixed(groups_of(texts), seed, PURPOSE), kind="stable")
    fits = np.cumsum(np.diff(lines.offsets)[order]) <= MOST_WORDS
    rows = np.sort(order[fits])
    names, numbers = np.unique(np.asarray(domains, dtype=object).astype(str), return_inverse=True)
    return TuningTexts(
        file_no=documents["file_no"].to_numpy().astype(np.int64)[rows],
        row=documents["row"].to_numpy().astype(np.int64)[rows],
        corpus=_taken(lines, rows),
        domains=tuple(map(str, names)),
        domain=numbers.astype(np.int64),
        aside=word_lines(pc.utf8_slice_codeunits(aside.cast(pa.large_string()), 0, ASIDE_CHARACTERS)),
    )


def _taken(lines: Lines, rows: Integers) -> Lines:
    sizes = np.diff(lines.offsets)[rows]
    offsets = np.append(0, np.cumsum(sizes)).astype(np.int64)
    places = np.arange(offsets[-1]) + np.repeat(lines.offsets[:-1][rows] - offsets[:-1], sizes)
    return Lines(offsets, lines.words[places])


def save(texts: TuningTexts, path: Path) -> None:
    """Commit the texts as one file."""
    arrays: dict[str, npt.NDArray[Any]] = {
        "file_no": texts.file_no,
        "row": texts.row,
        "corpus_offsets": texts.corpus.offsets,
        "corpus_words": texts.corpus.words,
        "domain": texts.domain,
        "aside_offsets": texts.aside.offsets,
        "aside_words": texts.aside.words,
    }
    save_arrays(path, arrays, {**VERSION, "domains": list(texts.domains)})


def load(path: Path) -> TuningTexts:
    """Load the texts of a file.

    Errors: InputError for a file that is not one, or is damaged.
    """
    arrays, about = load_arrays(path, "a file of texts to tune by", VERSION)
    return TuningTexts(
        file_no=arrays["file_no"],
        row=arrays["row"],
        corpus=Lines(arrays["corpus_offsets"], arrays["corpus_words"]),
        domains=tuple(about["domains"]),
        domain=arrays["domain"],
        aside=Lines(arrays["aside_offsets"], arrays["aside_words"]),
    )
