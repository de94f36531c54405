"""Models in KenLM's binary format 5 with probing tables: mapped into memory at once, and shared by all processes.

The file has the bytes that KenLM's build_binary makes of the same model as an ARPA file:

    header     magic, numbers that tell the byte order, order, kind of tables, n-grams per order
    words      version, their number, table of (MurmurHash64A, number)
    1-grams    by number: log p, log backoff
    n-grams    a table of (hash, log p, log backoff) per order, and of (hash, log p) for the highest
    letters    of all words, each with a zero behind it

Logarithms have the digits that they have in an ARPA file, so that both give the same scores to the last bit.
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
SANITY = struct.pack("<56sfffIIIQ", MAGIC, 0.0, 1.0, -0.5, 1, 0xFFFFFFFF, 0, 1)
PROBING = 0  # the kind of tables, and their version
ROOM = np.float32(1.5)  # places per entry
VOCABULARY_HEADER = 8
FIXED = struct.Struct("<B3xfI?3xI")  # order, room, kind of tables, whether words are there, version of the tables
PROBING_KINDS = (0, 1)  # the second with rest costs; the others are tries
KINDS, MOST_ORDER, MOST_ROOM = range(6), 6, 100.0  # that KenLM knows, as it is built for Python


def write_binary(path: Path, vocabulary: tuple[Offsets, Bytes], counts: Sequence[int], grams: Iterable[Grams]) -> None:
    """Write a model with `counts` n-grams per order, whose n-grams come order by order."""
    header = _header(counts)
    sizes = [
        len(header) + VOCABULARY_HEADER,
        4 * WORD * _places(counts[0]),
        4 * UNIGRAM * (counts[0] + 1),
        *(4 * MIDDLE * _places(count) for count in counts[1:-1]),
        4 * LONGEST * _places(counts[-1]),
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
    for some in grams:
        p, backoff = _bits(some.log_p), _bits(some.log_backoff)
        backoff = np.where(backoff == 0, SIGN, backoff)
        if some.order == 1:
            _set_unigrams(tables[0].reshape(-1, UNIGRAM), some.columns[0], p, backoff)
            continue
        width = MIDDLE if some.order < len(counts) else LONGEST
        insert_ngrams(tables[some.order - 1], width, tables[some.order - 2], np.stack(some.columns), p, backoff)
    mapped.flush()


def check_header(path: Path) -> None:
    """Refuse a binary model whose header no build_binary writes: KenLM dies of some, with a signal.

    Errors: ValueError.
    """
    with path.open("rb") as file:
        start = file.read(len(SANITY) + FIXED.size)
        if not start.startswith(MAGIC[:-2]):
            return
        if len(start) < len(SANITY) + FIXED.size:
            raise ValueError("it was cut off within its header")
        order, room, kind, _, _ = FIXED.unpack_from(start, len(SANITY))
        if not 2 <= order <= MOST_ORDER or kind not in KINDS or not 1 < room <= MOST_ROOM:
            raise ValueError(f"its header is damaged: order {order}, kind {kind}, {room:.3g} places an entry")
        counts = file.read(8 * order)
    most = 8 * path.stat().st_size  # a table of KenLM's has no entry of less than a bit
    if len(counts) < 8 * order or not _plausible(struct.unpack(f"<{order}Q", counts), kind, most):
        raise ValueError("its header is damaged: it counts no n-grams, or more than its file has room for")
    if kind == PROBING:
        _check_words(path, order, np.float32(room), int.from_bytes(counts[:8], "little"))


def _plausible(counts: Sequence[int], kind: int, most: int) -> bool:
    """Whether a model may have this many n-grams per order.

    Short lines and pruning leave none of the higher orders, whose tables in a probing model have one empty place.
    """
    higher = counts[1:] if kind not in PROBING_KINDS else ()
    return counts[0] > 0 and all(higher) and max(counts) <= most


def _check_words(path: Path, order: int, room: np.float32, count: int) -> None:
    """Refuse a number of a word beyond those that there are, which KenLM would look up.

    Errors: ValueError.
    """
    start = len(_header([0] * order)) + VOCABULARY_HEADER
    places = max(count + 1, int(room * np.float32(count)))
    if path.stat().st_size < start + 4 * WORD * places:
        return  # KenLM itself tells that it was cut off
    words = np.memmap(path, dtype="<u4", mode="r", offset=start, shape=(places, WORD))
    if int(words[:, -1].max()) > count:
        raise ValueError(f"its table of words is damaged: it has {count} words, and numbers beyond")


def _header(counts: Sequence[int]) -> bytes:
    """The header: 3 zeros fill up the order, and the flag that words are there, to 4 bytes."""
    has_words = True
    fixed = FIXED.pack(len(counts), ROOM, PROBING, has_words, PROBING)
    whole = SANITY + fixed + struct.pack(f"<{len(counts)}Q", *counts)
    return whole.ljust(-(-len(whole) // 8) * 8, b"\0")


def _places(entries: int) -> int:
    """Places of a table, computed as KenLM does: in 32-bit floats."""
    return max(entries + 1, int(ROOM * np.float32(entries)))


def _bits(logarithms: Reals | None) -> Table:
    """Logarithms as an ARPA file has them, as the bits of 32-bit floats."""
    if logarithms is None:
        return np.zeros(0, dtype=np.uint32)
    written = np.rint(logarithms * SCALE) / SCALE + 0.0  # -0 becomes 0
    bits: Table = written.astype(np.float32).view(np.uint32)
    return bits


def _set_unigrams(table: Table, words: npt.NDArray[np.int32], p: Table, backoff: Table) -> None:
    table[words, 0], table[words, 1] = p, backoff
