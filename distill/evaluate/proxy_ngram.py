"""The cheap proxy of an evaluation: an n-gram model of BPE tokens, which is trained by curate and asked through KenLM.

A line is a whole document, from its first token to its end. All arms have one vocabulary: a token that an arm never
saw has the probability of an unknown one there, and none is out of the vocabulary in one arm and within it in another.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from curate.distill.evaluate.tokens import Encoded, Integers
from curate.filters.language.kenlm_binary import write_binary
from curate.filters.language.kneser_ney import count_numbers, estimate, estimate_levels
from curate.kernels.arrow import Bytes, Offsets
from curate.kernels.lm_ngrams import BEGIN, END, SPECIAL, Numbers
from curate.sql import literal, open_database
from curate.storage.files import ASIDE

LIBRARIES = ("ufal.kenlm",)
BATCH_TOKENS = 1 << 20
LOG2_OF_10 = float(np.log2(10))


@dataclass(frozen=True)
class NgramProxy:
    """What decides the result of an n-gram model."""

    order: int = 4  # 2 or more


def ngram_bits(
    corpus: Encoded, chosen: Integers, heldout: Encoded, vocabulary: int, proxy: NgramProxy, folder: Path,
    threads: int = 2, memory_mb: int = 2000,
) -> npt.NDArray[np.float64]:  # fmt: skip
    """Bits of each held-out text by a model of `proxy.order` trained on some texts of the corpus.

    In:     `chosen` are places in the corpus, `vocabulary` the number of tokens of both encodings.
    Out:    minus the binary logarithm of the probability of a text and its end.
    Cost:   see docs/evaluate.md; the model lies in `folder` while it is asked.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix=ASIDE, dir=folder) as work,
        open_database(Path(work) / "counts.duckdb") as found,
    ):
        found.execute(f"SET preserve_insertion_order = false; SET threads = {threads}; "
                      f"SET memory_limit = '{memory_mb}MB'; SET temp_directory = {literal(work)}")  # fmt: skip
        batches = corpus.batches(chosen, BATCH_TOKENS)
        count_numbers(found, (_lines(batch) for batch in batches), proxy.order)
        levels = estimate_levels(found, [0] * proxy.order, words=len(SPECIAL) + vocabulary)
        model = Path(work) / "model.binary"
        write_binary(model, _words(vocabulary), [level.kept for level in levels], estimate(found, levels))
        return _asked(model, heldout)


def _lines(texts: Encoded) -> Numbers:
    """Texts as lines of numbers of words: the token t is word t + 3."""
    sizes = texts.n_tokens
    out = np.empty(len(texts.numbers) + 2 * len(texts), np.int32)
    begins = texts.bounds[:-1] + 2 * np.arange(len(texts))
    places = np.arange(len(texts.numbers)) + np.repeat(2 * np.arange(len(texts)) + 1, sizes)
    out[begins], out[begins + sizes + 1] = BEGIN, END
    out[places] = texts.numbers.astype(np.int32) + len(SPECIAL)
    return out


def _words(vocabulary: int) -> tuple[Offsets, Bytes]:
    """Offsets and letters of all words: those that every model has, and the numbers of tokens."""
    words = [*SPECIAL, *map(str, range(vocabulary))]
    bounds = np.concatenate([[0], np.cumsum([len(word) for word in words])]).astype(np.int64)
    return bounds, np.frombuffer("".join(words).encode(), np.uint8)


def _asked(model: Path, texts: Encoded) -> npt.NDArray[np.float64]:
    import kenlm

    config = kenlm.Config()
    config.load_method = kenlm.LoadMethod.LAZY
    config.show_progress = False
    score = kenlm.Model(str(model), config).score
    return np.fromiter((-LOG2_OF_10 * score(line) for line in _sentences(texts)), np.float64, len(texts))


def _sentences(texts: Encoded) -> Iterator[str]:
    """Texts as KenLM reads them."""
    for start, stop in zip(texts.bounds[:-1].tolist(), texts.bounds[1:].tolist(), strict=True):
        yield " ".join(map(str, texts.numbers[start:stop].tolist()))
