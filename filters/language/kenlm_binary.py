"""Write and check models in KenLM's binary format 5 with probing tables, which processes share by memory mapping.

The file is byte for byte what KenLM's build_binary makes of the same model in ARPA format:

    header     magic, numbers that show the byte order, order, kind of tables, n-grams per order
    words      version, number of words, table of (MurmurHash64A, id)
    1-grams    by id: log p, log backoff
    n-grams    a table of (hash, log p, log backoff) per order, and of (hash, log p) for the highest
    letters    of all words, each terminated by a zero

Logarithms are rounded as in an ARPA file, so that both formats give exactly the same scores.
"""

import struct
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from curate.filters.language.kneser_ney import Grams
from curate.kernels.arrow import Bytes, Offsets
from curate.kernels.lm_binary import LONGEST, MIDDLE, SIGN, UNIGRAM, WORD, Table, insert_ngrams, insert_words
from curate.kernels.lm_ngrams import SCALE, Reals

MAGIC = b"mmap lm http://kheafield.com/code format version 5\n\0\0"
SANITY = MAGIC.ljust(56, b"\0") + struct.pack("<fff", 0.0, 1.0, -0.5) + struct.pack("<IIIQ", 1, 0xFFFFFFFF, 0, 1)
PROBING = 0  # the kind of tables, and their version
TABLE_FACTOR = np.float32(1.5)  # slots per entry
VOCABULARY_HEADER = 8
PARAMETERS = struct.Struct("<B3xfI?3xI")  # order, table factor, kind of tables, whether there are words, table version
PROBING_KINDS = (0, 1)  # 1 has rest costs; the other kinds are tries
KINDS, MAX_ORDER, MAX_TABLE_FACTOR = range(6), 6, 100.0  # supported by KenLM as built for Python


def write_binary(path: Path, vocabulary: tuple[Offsets, Bytes], counts: Sequence[int], grams: Iterable[Grams]) -> None:
    """Write a model with `counts` n-grams per order. `grams` are sorted by order."""
    header = _header(counts)
    sizes = [
        len(header) + VOCABULARY_HEADER,
        4 * WORD * _table_size(counts[0]),
        4 * UNIGRAM * (counts[0] + 1),
        *(4 * MIDDLE * _table_size(count) for count in counts[1:-1]),
        4 * LONGEST * _table_size(counts[-1]),
    ]
    bounds, letters = vocabulary
    with path.open("wb") as file:
        file.truncate(sum(sizes))
        file.write(header + struct.pack("<II", 0, counts[0]))
        file.seek(0, 2)
        for first, last in pairwise(bounds.tolist()):
            file.write(letters[first:last].tobytes() + b"\0")
    mapped = np.memmap(path, dtype=np.uint32, mode="r+", shape=(sum(sizes) // 4,))
    _, words, *tables = (np.asarray(mapped[a // 4 : b // 4]) for a, b in pairwise([0, *accumulate(sizes)]))
    insert_words(words, bounds, letters)
    for batch in grams:
        p, backoff = _bits(batch.log_p), _bits(batch.log_backoff)
        backoff = np.where(backoff == 0, SIGN, backoff)
        if batch.order == 1:
            _set_unigrams(tables[0].reshape(-1, UNIGRAM), batch.columns[0], p, backoff)
            continue
        width = MIDDLE if batch.order < len(counts) else LONGEST
        insert_ngrams(tables[batch.order - 1], width, tables[batch.order - 2], np.stack(batch.columns), p, backoff)
    mapped.flush()


def check_header(path: Path) -> None:
    """Check the header of a binary model, because KenLM crashes on some damaged ones.

    Errors: ValueError.
    """
    with path.open("rb") as file:
        start = file.read(len(SANITY) + PARAMETERS.size)
        if not start.startswith(MAGIC[:-2]):
            return
        if len(start) < len(SANITY) + PARAMETERS.size:
            raise ValueError("it was cut off within its header")
        order, factor, kind, _, _ = PARAMETERS.unpack_from(start, len(SANITY))
        if not 2 <= order <= MAX_ORDER or kind not in KINDS or not 1 < factor <= MAX_TABLE_FACTOR:
            raise ValueError(f"its header is damaged: order {order}, kind {kind}, {factor:.3g} places an entry")
        counts = file.read(8 * order)
    max_count = 8 * path.stat().st_size  # every entry takes at least a bit
    if len(counts) < 8 * order or not _is_plausible(struct.unpack(f"<{order}Q", counts), kind, max_count):
        raise ValueError("its header is damaged: it counts no n-grams, or more than its file has room for")
    if kind == PROBING:
        _check_words(path, order, np.float32(factor), int.from_bytes(counts[:8], "little"))


def _is_plausible(counts: Sequence[int], kind: int, max_count: int) -> bool:
    """Whether a model may have this many n-grams per order.

    A probing model may lack n-grams of higher orders, after pruning or training on short lines. A trie may not.
    """
    higher_orders = counts[1:] if kind not in PROBING_KINDS else ()
    return counts[0] > 0 and all(higher_orders) and max(counts) <= max_count


def _check_words(path: Path, order: int, factor: np.float32, count: int) -> None:
    """Check that the ids in the table of words are in range, because KenLM would read out of bounds.

    Errors: ValueError.
    """
    start = len(_header([0] * order)) + VOCABULARY_HEADER
    n_slots = max(count + 1, int(factor * np.float32(count)))
    if path.stat().st_size < start + 4 * WORD * n_slots:
        return  # truncated, which KenLM reports
    words = np.memmap(path, dtype="<u4", mode="r", offset=start, shape=(n_slots, WORD))
    if int(words[:, -1].max()) > count:
        raise ValueError(f"its table of words is damaged: it has {count} words, and numbers beyond")


def _header(counts: Sequence[int]) -> bytes:
    """The header of a model with these counts, padded to 8 bytes."""
    has_words = True
    parameters = PARAMETERS.pack(len(counts), TABLE_FACTOR, PROBING, has_words, PROBING)
    header = SANITY + parameters + struct.pack(f"<{len(counts)}Q", *counts)
    return header.ljust(-(-len(header) // 8) * 8, b"\0")


def _table_size(entries: int) -> int:
    """The number of slots of a table, computed like KenLM in 32-bit floats."""
    return max(entries + 1, int(TABLE_FACTOR * np.float32(entries)))


def _bits(logarithms: Reals | None) -> Table:
    """The bits of logarithms as 32-bit floats, rounded as in an ARPA file."""
    if logarithms is None:
        return np.zeros(0, dtype=np.uint32)
    rounded = np.rint(logarithms * SCALE) / SCALE + 0.0  # -0 becomes 0
    bits: Table = rounded.astype(np.float32).view(np.uint32)
    return bits


def _set_unigrams(table: Table, words: npt.NDArray[np.int32], p: Table, backoff: Table) -> None:
    table[words, 0], table[words, 1] = p, backoff
