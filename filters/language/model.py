"""N-gram language models in KenLM's formats: what they are, and what they say of texts.

A model is an ARPA file or a binary one of KenLM. What it says is only true of text in the form that it
was trained on, so the form is part of the model: `curate lm train` writes it into the file.
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
from curate.filters.language.packed import PACKAGED, unpacked
from curate.kernels.lm_words import lm_lines
from curate.kernels.priors import Vocabulary, count_priors, vocabulary_of

LIBRARIES = ("ufal.kenlm",)
BINARY = b"mmap lm http://kheafield.com/code"
UNIGRAM_COUNT = 108  # where a binary file tells how many words it has
UNKNOWN = "<unk>"
MARKS = (UNKNOWN, "<s>", "</s>")

Logs = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LanguageModel:
    """A model of which only the content counts, and not where it lies."""

    path: str = field(repr=False)
    content: str  # hash of its bytes
    form: str  # of the text that it reads
    identity: str = field(
        repr=False
    )  # size and time of its file: one that changes during a run is no longer this model
    language: str | None  # of the documents that it is for; None: all
    packaged: bool = field(default=False, repr=False)  # with this program: each machine unpacks it for itself


class Scores(NamedTuple):
    """What a model says of texts, an entry each."""

    logs: Logs  # log10 of the probability of the text: of all its lines, with their ends
    lines: Counts
    tokens: Counts
    unknown: Counts  # tokens that the model does not know
    priors: Logs  # sum of the log10 of the unigram probability of the tokens that it knows
    squares: Logs  # sum of the squares of these


def scores(texts: pa.Array, model: LanguageModel) -> Scores:
    """What a model says of each text; null counts as empty."""
    score, vocabulary = _opened(*_place(model))
    lines, owners = lines_in_form(texts, model.form, model.path)
    each = lines.dictionary_encode()  # menus and footers stand in many texts: half of the lines of web pages are copies
    once = each.dictionary.cast(pa.large_binary()).to_pylist()
    of_lines = np.fromiter(map(score, once), np.float64, len(once))[each.indices.to_numpy()]
    count = np.bincount(owners.to_numpy(), minlength=len(texts))
    logs = np.bincount(owners.to_numpy(), of_lines, len(texts)).astype(np.float64)
    priors = count_priors(lines, owners, len(texts), vocabulary)
    return Scores(logs, count, priors.tokens, priors.unknown, priors.sums, priors.squares)


def warm(texts: pa.Array) -> None:
    """Compile the kernels, as far as no model is needed."""
    found = lm_lines(texts)
    count_priors(
        found.lines, found.owners, len(texts), vocabulary_of(pa.array(["warm"], pa.large_string()), np.zeros(1))
    )


def identity_of(path: str) -> str:
    """Size and time of a model's file."""
    status = os.stat(path)
    return f"{status.st_size}-{status.st_mtime_ns}"


@cache
def _place(model: LanguageModel) -> tuple[str, str]:
    """Where a model lies on this machine, and what its file must be."""
    if not model.packaged:
        return model.path, model.identity
    path = str(unpacked(PACKAGED))
    return path, identity_of(path)


@cache
def _opened(path: str, identity: str) -> tuple[Any, Vocabulary]:
    """The function that scores a line, and the model's vocabulary.

    Errors: RecipeError where the file is not the one that was planned with.

    A binary model is mapped into memory as it is read, and all processes share it; an ARPA file takes its size in each.
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
    known = list(vocabulary_words(path))
    if UNKNOWN not in known:
        raise ValueError(f"it has no {UNKNOWN}, so that unknown words would be impossible")
    words = pa.array([word for word in known if word not in MARKS], pa.large_string())
    alone = np.array([model.score(word, bos=False, eos=False) for word in words.to_pylist()])
    return model.score, vocabulary_of(words, alone)


def check(path: str, where: str) -> None:
    """Open a model, so that one that cannot be read is told of before any text is.

    Errors: RecipeError.
    """
    try:
        _opened(path, identity_of(path))
    except (OSError, RuntimeError, ValueError) as error:
        problem = re.sub(
            r"^.*? threw \w+( because `[^']*')?\W*", "", " ".join(str(error).split())
        )  # places in KenLM's code
        raise RecipeError(
            f"{where}: {path}: KenLM cannot read it; give an ARPA file or one of build_binary ({shortened(problem)})"
        ) from None


def form_of(path: str) -> str | None:
    """The form that a model tells: in the comments of an ARPA file, or in FILE.json beside a binary one."""
    with Path(path).open("rb") as file:
        if file.read(len(BINARY)) != BINARY:
            file.seek(0)
            heads = takewhile(lambda line: line.startswith(b"#") or not line.strip(), file)
            facts = dict(line[1:].decode(errors="replace").strip().partition(": ")[::2] for line in heads)
            return facts.get("form")
    with suppress(OSError, ValueError):
        facts = json.loads(Path(f"{path}.json").read_text("utf-8"))
        return str(facts["form"]) if isinstance(facts, dict) and "form" in facts else None
    return None


def vocabulary_words(path: str) -> Iterator[str]:
    """The words of a model, those that mark unknown words and the ends of lines too.

    Errors: ValueError for a binary file that was written without its words.
    """
    with Path(path).open("rb") as file:
        if file.read(len(BINARY)) == BINARY:
            yield from _words_of_binary(Path(path))
            return
        file.seek(0)
        inside = False
        for line in file:
            if line.startswith(b"\\"):
                if inside:
                    return
                inside = line.startswith(b"\\1-grams:")
            elif inside and line.strip():
                yield line.split(b"\t")[1].strip().decode()


def _words_of_binary(path: Path) -> Iterator[str]:
    """KenLM puts the words behind everything else, in the order of their numbers, of which `<unk>` has 0."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = data.rfind(UNKNOWN.encode() + b"\0")
        if start < 0:
            raise ValueError("it holds no words; build_binary writes them unless told otherwise")
        words = data[start:].split(b"\0")[:-1]
        [count] = struct.unpack_from("<Q", data, UNIGRAM_COUNT)
        if len(words) != count:
            raise ValueError(f"it holds {len(words)} of its {count} words: it was cut off")
        yield from (word.decode() for word in words)
