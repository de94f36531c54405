"""Score texts with n-gram language models in KenLM's formats: ARPA and binary.

Scores are only meaningful for text in the form that a model was trained on. So the form is part of the model, and
`curate lm train` writes it into the file.
"""

import json
import mmap
import os
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.errors import RecipeError, shortened
from curate.filters.language.forms import lines_in_form
from curate.filters.language.kenlm_binary import check_header
from curate.filters.language.packed import PACKAGED, cached_binary
from curate.kernels.lm_words import lm_lines
from curate.kernels.priors import Vocabulary, count_priors, vocabulary_of

LIBRARIES = ("ufal.kenlm",)
BINARY = b"mmap lm http://kheafield.com/code"
UNIGRAM_COUNT = 108  # offset of the number of words in a binary file
UNKNOWN = "<unk>"
MARKERS = (UNKNOWN, "<s>", "</s>")

Logs = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LanguageModel:
    """A language model. Its identity is its content, not its path."""

    path: str = field(repr=False)
    content: str  # hash of its bytes
    form: str  # of the text that it reads
    identity: str = field(repr=False)  # size and time of its file, to notice changes during a run
    language: str | None  # of the documents to score; None: all
    packaged: bool = field(default=False, repr=False)  # with this program; unpacked separately on each machine


class Scores(NamedTuple):
    """A model's scores, one entry per text."""

    logs: Logs  # log10 of the probability of all lines, with their ends
    lines: Counts
    tokens: Counts
    unknown: Counts  # tokens that the model does not know
    priors: Logs  # sum of log10 unigram probabilities of known tokens
    squares: Logs  # sum of the squares of these


def scores(texts: pa.Array, model: LanguageModel) -> Scores:
    """Score each text; null counts as empty."""
    score, vocabulary = _load_model(*_file(model))
    lines, owners = lines_in_form(texts, model.form, model.path)
    encoded = lines.dictionary_encode()  # half of the lines of web pages are copies, such as menus and footers
    distinct_lines = encoded.dictionary.cast(pa.large_binary()).to_pylist()
    line_logs = np.fromiter(map(score, distinct_lines), np.float64, len(distinct_lines))[encoded.indices.to_numpy()]
    n_lines = np.bincount(owners.to_numpy(), minlength=len(texts))
    logs = np.bincount(owners.to_numpy(), line_logs, len(texts)).astype(np.float64)
    priors = count_priors(lines, owners, len(texts), vocabulary)
    return Scores(logs, n_lines, priors.tokens, priors.unknown, priors.sums, priors.squares)


def warm(texts: pa.Array) -> None:
    """Compile the kernels that need no model."""
    result = lm_lines(texts)
    count_priors(
        result.lines, result.owners, len(texts), vocabulary_of(pa.array(["warm"], pa.large_string()), np.zeros(1))
    )


def identity_of(path: str) -> str:
    """The size and time of a model's file."""
    status = os.stat(path)
    return f"{status.st_size}-{status.st_mtime_ns}"


@cache
def _file(model: LanguageModel) -> tuple[str, str]:
    """The path of a model on this machine, and the identity that its file must have."""
    if not model.packaged:
        return model.path, model.identity
    path = str(cached_binary(PACKAGED))
    return path, identity_of(path)


@cache
def _load_model(path: str, identity: str) -> tuple[Any, Vocabulary]:
    """Load a model: the function that scores a line, and the vocabulary.

    A binary model is mapped into memory and shared by all processes. An ARPA file is loaded by each process.

    Errors: RecipeError where the file has changed since the run was planned.
    """
    import kenlm

    check_header(Path(path))
    if identity_of(path) != identity:
        raise RecipeError(f"tier1.perplexity.model: {path}: changed during the run; run again")
    config = kenlm.Config()
    config.load_method = kenlm.LoadMethod.LAZY
    config.show_progress = False
    config.arpa_complain = kenlm.ARPALoadComplain.NONE
    model = kenlm.Model(path, config)
    vocabulary = list(vocabulary_words(path))
    if UNKNOWN not in vocabulary:
        raise ValueError(f"it has no {UNKNOWN}, so that unknown words would be impossible")
    words = pa.array([word for word in vocabulary if word not in MARKERS], pa.large_string())
    unigram_logs = np.array([model.score(word, bos=False, eos=False) for word in words.to_pylist()])
    return model.score, vocabulary_of(words, unigram_logs)


def check(path: str, field: str) -> None:
    """Check that a model can be loaded, before any text is read.

    Errors: RecipeError.
    """
    try:
        _load_model(path, identity_of(path))
    except (OSError, RuntimeError, ValueError) as error:
        line = " ".join(str(error).split())
        problem = re.sub(r"^.*? threw \w+( because `[^']*')?\W*", "", line)  # without the location in KenLM's code
        raise RecipeError(
            f"{field}: {path}: KenLM cannot read it; give an ARPA file or one of build_binary ({shortened(problem)})"
        ) from None


def form_of(path: str) -> str | None:
    """The form of a model: from the comments of an ARPA file, or from FILE.json next to a binary file."""
    with Path(path).open("rb") as file:
        if file.read(len(BINARY)) != BINARY:
            file.seek(0)
            comments = takewhile(lambda line: line.startswith(b"#") or not line.strip(), file)
            facts = dict(line[1:].decode(errors="replace").strip().partition(": ")[::2] for line in comments)
            return facts.get("form")
    with suppress(OSError, ValueError):
        facts = json.loads(Path(f"{path}.json").read_text("utf-8"))
        return str(facts["form"]) if isinstance(facts, dict) and "form" in facts else None
    return None


def vocabulary_words(path: str) -> Iterator[str]:
    """The words of a model, including the markers of unknown words and line ends.

    Errors: ValueError for a binary file without words.
    """
    with Path(path).open("rb") as file:
        if file.read(len(BINARY)) == BINARY:
            yield from _words_of_binary(Path(path))
            return
        file.seek(0)
        in_unigrams = False
        for line in file:
            if line.startswith(b"\\"):
                if in_unigrams:
                    return
                in_unigrams = line.startswith(b"\\1-grams:")
            elif in_unigrams and line.strip():
                yield line.split(b"\t")[1].strip().decode()


def _words_of_binary(path: Path) -> Iterator[str]:
    """The words of a binary file. They are at its end, in the order of their ids; `<unk>` has id 0."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = data.rfind(UNKNOWN.encode() + b"\0")
        if start < 0:
            raise ValueError("it holds no words; build_binary writes them unless told otherwise")
        words = data[start:].split(b"\0")[:-1]
        [count] = struct.unpack_from("<Q", data, UNIGRAM_COUNT)
        if len(words) != count:
            raise ValueError(f"it holds {len(words)} of its {count} words: it was cut off")
        yield from (word.decode() for word in words)
