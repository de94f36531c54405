"""The cheap proxy of an evaluation: an n-gram model of BPE tokens, trained by curate and queried through KenLM.

A line is a whole document, from its first token to its end. All arms share one vocabulary: a token that an arm never
saw has the probability of an unknown token there, so no token is in the vocabulary of one arm only.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from curate.distill.evaluate.tokens import Encoded, EncodedCorpus, Integers
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
    """Settings of an n-gram model, all that its result depends on; it reads each text once."""

    name: ClassVar[str] = "ngram"
    budget: ClassVar[str] = "epochs"

    order: int = 4  # 2 or more

    def about(self, vocabulary: int) -> str:
        """What the models are, in words."""
        return f"n-grams of order {self.order}"


def ngram_bits(
    corpus: EncodedCorpus, chosen: Integers, proxy: NgramProxy, folder: Path, threads: int = 2, memory_mb: int = 2000
) -> npt.NDArray[np.float64]:
    """Bits of each held-out text by a model of `proxy.order`, trained on the chosen texts of the pool.

    Out:    minus the binary logarithm of the probability of a text and its end.
    Cost:   see docs/evaluate.md; the model is in `folder` while it is queried.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix=ASIDE, dir=folder) as work,
        open_database(Path(work) / "counts.duckdb") as connection,
    ):
        connection.execute(
            f"SET preserve_insertion_order = false; SET threads = {threads}; SET memory_limit = '{memory_mb}MB'; "
            f"SET temp_directory = {literal(work)}"
        )
        batches = corpus.pool.batches(chosen, BATCH_TOKENS)
        count_numbers(connection, (_lines(batch) for batch in batches), proxy.order)
        levels = estimate_levels(connection, [0] * proxy.order, words=len(SPECIAL) + corpus.vocabulary)
        model = Path(work) / "model.binary"
        ngrams = [level.kept for level in levels]
        write_binary(model, _words(corpus.vocabulary), ngrams, estimate(connection, levels))
        return _score(model, corpus.heldout)


def _lines(texts: Encoded) -> Numbers:
    """Texts as lines of word ids; token t is word t + 3."""
    sizes = texts.n_tokens
    out = np.empty(len(texts.ids) + 2 * len(texts), np.int32)
    begins = texts.bounds[:-1] + 2 * np.arange(len(texts))
    positions = np.arange(len(texts.ids)) + np.repeat(2 * np.arange(len(texts)) + 1, sizes)
    out[begins], out[begins + sizes + 1] = BEGIN, END
    out[positions] = texts.ids.astype(np.int32) + len(SPECIAL)
    return out


def _words(vocabulary: int) -> tuple[Offsets, Bytes]:
    """Offsets and bytes of all words: the special ones of every model, then the token ids in decimal."""
    words = [*SPECIAL, *map(str, range(vocabulary))]
    bounds = np.concatenate([[0], np.cumsum([len(word) for word in words])]).astype(np.int64)
    return bounds, np.frombuffer("".join(words).encode(), np.uint8)


def _score(model: Path, texts: Encoded) -> npt.NDArray[np.float64]:
    import kenlm

    config = kenlm.Config()
    config.load_method = kenlm.LoadMethod.LAZY
    config.show_progress = False
    score = kenlm.Model(str(model), config).score
    return np.fromiter((-LOG2_OF_10 * score(line) for line in _sentences(texts)), np.float64, len(texts))


def _sentences(texts: Encoded) -> Iterator[str]:
    """Texts in the words of the model, separated by spaces."""
    for start, stop in zip(texts.bounds[:-1].tolist(), texts.bounds[1:].tolist(), strict=True):
        yield " ".join(map(str, texts.ids[start:stop].tolist()))
