"""Texts as numbers of tokens: one byte-level BPE for all arms of an evaluation, and the texts that it encoded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LIBRARIES = ("tokenizers",)
ENCODE_ROWS = 512
MOST_TOKENS = 1 << 16  # of a vocabulary, so that a token takes two bytes
TRAINING_BYTES = 10_000_000  # of text that a tokenizer is trained on, about
BYTES = 256  # the least vocabulary: every text can be written with it

Numbers = npt.NDArray[np.uint16]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Encoded:
    """Texts, end to end, each as the numbers of its tokens."""

    numbers: Numbers
    bounds: Integers  # where each text begins, and where the last one ends
    n_bytes: Integers  # of UTF-8, of each text

    def __len__(self) -> int:
        return len(self.n_bytes)

    @property
    def n_tokens(self) -> Integers:
        """Tokens of each text."""
        return np.diff(self.bounds)

    def batches(self, chosen: Integers, tokens: int) -> Iterator["Encoded"]:
        """Some of the texts, in the order given, about `tokens` tokens at a time and one text at least."""
        sizes = np.cumsum(self.n_tokens[chosen])
        start = 0
        while start < len(chosen):
            before = sizes[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(sizes, before + tokens, "right")))
            yield self.take(chosen[start:stop])
            start = stop

    def take(self, chosen: Integers) -> "Encoded":
        """Some of the texts, in the order given."""
        sizes = self.n_tokens[chosen]
        bounds = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        places = np.arange(bounds[-1]) + np.repeat(self.bounds[chosen] - bounds[:-1], sizes)
        return Encoded(self.numbers[places], bounds, self.n_bytes[chosen])


def train_tokenizer(texts: pa.Array, vocabulary: int) -> "Tokenizer":
    """A byte-level BPE of at most so many tokens: it can write every text, so that none has unknown tokens.

    Cost: about 4 s for TRAINING_BYTES.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts.drop_null().to_pylist(), trainer)
    return tokenizer


def encode(tokenizer: "Tokenizer", texts: pa.Array | pa.ChunkedArray) -> Encoded:
    """Texts as numbers of tokens; null counts as empty.

    Cost: about 3 MB per CPU second, on all cores unless TOKENIZERS_PARALLELISM is false.
    """
    numbers: list[Numbers] = []
    sizes: list[int] = []
    for start in range(0, len(texts), ENCODE_ROWS):
        some = [text or "" for text in texts.slice(start, ENCODE_ROWS).to_pylist()]
        found = tokenizer.encode_batch_fast(some, add_special_tokens=False)
        ids = [one.ids for one in found]
        sizes += map(len, ids)
        numbers += [np.array(one, np.uint16) for one in ids]
    bounds = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    n_bytes = np.asarray(pc.fill_null(pc.binary_length(texts), 0), np.int64)
    return Encoded(np.concatenate([np.zeros(0, np.uint16), *numbers]), bounds, n_bytes)


def joined(parts: Sequence[Encoded]) -> Encoded:
    """Texts of several encodings, one behind the other."""
    bounds = np.concatenate([[0], np.cumsum(np.concatenate([part.n_tokens for part in parts]))]).astype(np.int64)
    return Encoded(
        np.concatenate([part.numbers for part in parts]), bounds, np.concatenate([part.n_bytes for part in parts])
    )
