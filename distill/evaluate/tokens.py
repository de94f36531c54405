"""Texts as token ids: one byte-level BPE for all arms of an evaluation, and the texts that it encoded."""

from collections.abc import Iterator
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
TRAINING_BYTES = 10_000_000  # of text that a tokenizer is trained on, approximately
TokenIds = npt.NDArray[np.uint16]  # a vocabulary has at most 65,536 tokens
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class Encoded:
    """Texts as token ids, concatenated."""

    ids: TokenIds
    bounds: Integers  # start of each text, and the end of the last
    n_bytes: Integers  # UTF-8 bytes of each text

    def __len__(self) -> int:
        return len(self.n_bytes)

    @property
    def n_tokens(self) -> Integers:
        """Tokens of each text."""
        return np.diff(self.bounds)

    def batches(self, chosen: Integers, tokens: int) -> Iterator["Encoded"]:
        """The chosen texts, in that order, in batches of about `tokens` tokens and at least one text."""
        sizes = np.cumsum(self.n_tokens[chosen])
        start = 0
        while start < len(chosen):
            tokens_yielded = sizes[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(sizes, tokens_yielded + tokens, "right")))
            yield self.take(chosen[start:stop])
            start = stop

    def take(self, chosen: Integers) -> "Encoded":
        """The chosen texts, in that order."""
        sizes = self.n_tokens[chosen]
        bounds = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        positions = np.arange(bounds[-1]) + np.repeat(self.bounds[chosen] - bounds[:-1], sizes)
        return Encoded(self.ids[positions], bounds, self.n_bytes[chosen])


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class EncodedCorpus:
    """All texts that models are trained on, and the held-out ones, encoded by one tokenizer."""

    pool: Encoded
    heldout: Encoded
    vocabulary: int  # tokens of the tokenizer


def train_tokenizer(texts: pa.Array, vocabulary: int) -> "Tokenizer":
    """Train a byte-level BPE of at most `vocabulary` tokens; it encodes every text, so no token is unknown.

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
    """Encode texts as token ids; null counts as empty.

    Cost: about 3 MB per CPU second, on all cores unless TOKENIZERS_PARALLELISM is false.
    """
    ids: list[TokenIds] = []
    for start in range(0, len(texts), ENCODE_ROWS):
        batch = [text or "" for text in texts.slice(start, ENCODE_ROWS).to_pylist()]
        encodings = tokenizer.encode_batch_fast(batch, add_special_tokens=False)
        ids += [np.array(encoding.ids, np.uint16) for encoding in encodings]
    sizes = [len(text_ids) for text_ids in ids]
    bounds = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    n_bytes = np.asarray(pc.fill_null(pc.binary_length(texts), 0), np.int64)
    return Encoded(np.concatenate([np.zeros(0, np.uint16), *ids]), bounds, n_bytes)
