r"""MinHash signatures over word shingles, bit-identical to datasketch's scheme `affine32`.

A word is a lower-cased `\w+`; in scripts without spaces each letter is a word. A shingle is a run of consecutive words,
joined by one space. A text with fewer words than that is a single shingle; a text without words has none. Shingles are
hashed with xxh3_64, and signatures use the low 32 bits.
"""

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.kernels.arrow import Bytes, Offsets, plain_text, read_only, text_views
from curate.kernels.jit import inline, kernel
from curate.kernels.unicode import ASCII_CLASS, SPACELESS, WORD, class_of, decode, encode, lower_of
from curate.kernels.xxh3 import xxh3_64

Values = npt.NDArray[np.uint32]  # one row per text, one column per permutation
Hashes = npt.NDArray[np.uint64]
Words = npt.NDArray[np.int64]  # number of words of each text, or IN_CONTEXT

SEED = 1  # datasketch's default, so that signatures are comparable with those that it makes by default
GROWTH = 2  # lower case takes at most twice the bytes, and so does Chinese with a space after each letter
# The output byte for an input byte: its lower case, BLANK between words, OTHER where the byte alone does not decide.
BLANK, OTHER = 0x20, 0xFF
STREAM = np.full(256, OTHER, dtype=np.uint8)
STREAM[:128] = np.where(ASCII_CLASS & WORD, np.frombuffer(bytes(range(128)).lower(), np.uint8), BLANK)
# Capitals whose lower case depends on context, has several letters, or is not covered by `lower_of`.
CAPITALS = np.array([ord(c) for c in "\u0130\u03a3\u1fbb\u1fc9\u1fcb\u1fdb\u1feb\u1ff9\u1ffb\u2126\u212a\u212b"])
IN_CONTEXT = -1
SHIFT, SECOND_SHIFT = np.uint32(16), np.uint32(13)
MULTIPLIER, SECOND_MULTIPLIER = np.uint32(0x85EBCA6B), np.uint32(0xC2B2AE35)
UNROLL = 4


def minhash(texts: pa.Array, permutations: int, shingle: int) -> pa.Array:
    """Compute the MinHash signature of each text's set of shingles of `shingle` words.

    In:     string or large_string, sliced or not, nulls allowed.
    Out:    fixed_size_binary of 4 * permutations bytes, the values as little-endian uint32; null for null and for
            texts without words.
    Cost:   two passes over the bytes, and one multiplication per word and permutation; memory for the longest text.
    Oracle: `datasketch.MinHash(permutations, scheme="affine32", hashfunc=low 32 bits of xxh3_64)` over the words that
            `re` finds in the lower-cased text (tests/kernels/test_minhash.py).
    """
    texts = plain_text(texts)
    factors, terms = _permutations(permutations)
    values, words = _signatures(*text_views(texts), shingle, factors, terms)
    context = np.flatnonzero(words == IN_CONTEXT)
    if len(context):
        again = text_views(lowered(texts, context))
        values[context], words[context] = _signatures(*again, shingle, factors, terms)
    return binary_rows(values, words == 0)


def shingle_sets(texts: pa.Array, shingle: int) -> pa.Array:
    """Hash (xxh3_64) each text's shingles of `shingle` words; hashes are sorted and distinct.

    In:     string or large_string, sliced or not, nulls allowed.
    Out:    large_list of uint64; empty for null and for texts without words.
    Cost:   two passes over the bytes and a sort; memory for all hashes.
    Oracle: sets of `xxhash.xxh3_64_intdigest` (tests/kernels/test_minhash.py).
    """
    texts = plain_text(texts)
    offsets, hashes, words = _sets(*text_views(texts), shingle)
    context = np.flatnonzero(words == IN_CONTEXT)
    if len(context):  # rare, so simply recompute all texts
        everything = np.arange(len(texts))
        offsets, hashes, words = _sets(*text_views(lowered(texts, everything)), shingle)
    return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(hashes))


def band_keys(signatures: pa.Array, bands: int, rows: int) -> list[pa.Array]:
    """Compute the LSH key of each band of `rows` values: documents with equal keys agree in all values of the band.

    In:     fixed_size_binary without nulls, sliced or not.
    Out:    for each band an array of uint64, as long as `signatures`.
    Oracle: `xxhash.xxh3_64_intdigest` over slices (tests/kernels/test_minhash.py).
    """
    keys = _keys(read_only(values_of(signatures).view(np.uint8)), bands, 4 * rows)
    return [pa.array(keys[k]) for k in range(bands)]


def agreeing(first: Values, second: Values) -> Offsets:
    """Count, row by row, the values in which the signatures of two tables of the same shape agree."""
    return _agreeing(read_only(first), read_only(second))


def jaccard(first: pa.Array, second: pa.Array) -> pa.Array:
    """Jaccard similarity (float32) of pairs of sets: |intersection| / |union|; 0 for two empty sets.

    In:     two arrays of large_list of uint64 of equal length, each list sorted and without repeats.
    """
    views = [(read_only(a.offsets.to_numpy().astype(np.int64)), a.values.to_numpy()) for a in (first, second)]
    return pa.array(_jaccard(*views[0], *views[1]))


def values_of(signatures: pa.Array) -> Values:
    """View signatures as a matrix of values, one row per signature."""
    width = signatures.type.byte_width
    data = np.frombuffer(signatures.buffers()[1] or b"", np.uint8)
    data = data[signatures.offset * width : (signatures.offset + len(signatures)) * width]
    return data.view("<u4").reshape(len(signatures), width // 4)


def binary_rows(values: Values, is_null: npt.NDArray[np.bool_]) -> pa.Array:
    """Pack each row of values into fixed_size_binary."""
    rows = pa.py_buffer(np.ascontiguousarray(values, dtype="<u4"))
    validity = pa.py_buffer(np.packbits(~is_null, bitorder="little")) if is_null.any() else None
    return pa.Array.from_buffers(pa.binary(4 * values.shape[1]), len(values), [validity, rows])


@cache
def _permutations(count: int) -> tuple[Values, Values]:
    """Odd factors, and terms, of the permutations h -> factor * h + term modulo 2^32, as datasketch draws them."""
    draw = np.random.RandomState(SEED)
    factors = draw.randint(0, 1 << 31, count, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    return factors, draw.randint(0, 1 << 32, count, dtype=np.uint32)


def lowered(texts: pa.Array, rows: npt.NDArray[Any]) -> pa.Array:
    """Lower-case the texts at `rows` with `str.lower`, which takes the context of a capital into account."""
    chosen = texts.take(pa.array(rows)).cast(pa.large_binary()).to_pylist()
    return pa.array(["" if raw is None else raw.decode(errors="replace").lower() for raw in chosen], pa.large_string())


@kernel
def split_words(data: Bytes, i: int, end: int, out: Bytes, starts: Offsets) -> int:
    """Write the words of data[i:end] to `out`, each followed by a blank, and their offsets to `starts`.

    Returns the number n of words; starts[n] is the end of `out`. Returns IN_CONTEXT if the lower case of a capital
    depends on its context.
    """
    size = n = inside = np.int64(0)
    while i < end:
        byte = STREAM[data[i]]
        if byte != OTHER:  # branch-free, because word ends are too frequent to be predicted
            word = np.int64(byte != BLANK)
            out[size] = byte
            starts[n] = size
            n += word & ~inside
            size += word | inside
            inside = word
            i += 1
            continue
        code, length = decode(data, i, end)
        i += length
        bits = np.int64(class_of(code))
        for capital in CAPITALS:
            if code == capital:
                return np.int64(IN_CONTEXT)
        if inside and (bits & WORD == 0 or bits & SPACELESS):
            out[size] = BLANK
            size += 1
            inside = np.int64(0)
        if bits & WORD:
            if not inside:
                starts[n] = size
                n += 1
            size = encode(out, size, lower_of(code))
            inside = np.int64(1)
            if bits & SPACELESS:
                out[size] = BLANK
                size += 1
                inside = np.int64(0)
    if inside:
        out[size] = BLANK
        size += 1
    starts[n] = size
    return n


@kernel
def room(offsets: Offsets) -> int:
    """The size of the longest text in bytes."""
    longest = np.int64(0)
    for row in range(len(offsets) - 1):
        longest = max(longest, offsets[row + 1] - offsets[row])
    return longest


@inline
def _shingle_hash(place: int, starts: Offsets, first: int, n: int, shingle: int) -> int:
    """The hash of the shingle that begins with word `first` of `n`; `place` is the memory address of the words."""
    begin = starts[first]
    return xxh3_64(place + begin, starts[min(first + shingle, n)] - 1 - begin)


@inline
def _mixed(h: int) -> int:
    """The 32-bit finalizer of MurmurHash3."""
    h = np.uint32(h ^ (h >> SHIFT))
    h = np.uint32(h * MULTIPLIER)
    h = np.uint32(h ^ (h >> SECOND_SHIFT))
    h = np.uint32(h * SECOND_MULTIPLIER)
    return np.uint32(h ^ (h >> SHIFT))


@kernel
def _signatures(offsets: Offsets, data: Bytes, shingle: int, factors: Values, terms: Values) -> tuple[Values, Words]:
    count = len(offsets) - 1
    signatures = np.full((count, len(factors)), 0xFFFFFFFF, dtype=np.uint32)
    words = np.zeros(count, dtype=np.int64)
    longest = room(offsets)
    out = np.empty(GROWTH * longest + 8, dtype=np.uint8)
    starts = np.empty(longest // 2 + 3, dtype=np.int64)
    hashes = np.empty(longest // 2 + 3 + UNROLL, dtype=np.uint32)
    for row in range(count):
        words[row] = n = split_words(data, offsets[row], offsets[row + 1], out, starts)
        if n <= 0:
            continue
        shingles = max(n - shingle + 1, 1)
        for k in range(shingles):
            hashes[k] = _mixed(np.uint32(_shingle_hash(out.ctypes.data, starts, k, n, shingle)))
        for k in range(shingles, shingles + UNROLL):
            hashes[k] = hashes[0]
        signature = signatures[row]
        for k in range(0, shingles, UNROLL):  # several hashes per pass, to load and store the signature less often
            _lower_to(signature, factors, terms, hashes[k], hashes[k + 1], hashes[k + 2], hashes[k + 3])
    return signatures, words


@kernel
def _lower_to(signature: Hashes, factors: Values, terms: Values, a: int, b: int, c: int, d: int) -> None:
    """Update each value to the minimum of itself and four hashes under its permutation."""
    for k in range(len(signature)):
        factor, term = factors[k], terms[k]
        first, second = np.uint32(a * factor + term), np.uint32(b * factor + term)
        third, fourth = np.uint32(c * factor + term), np.uint32(d * factor + term)
        signature[k] = min(min(signature[k], min(first, second)), min(third, fourth))


@kernel
def _sets(offsets: Offsets, data: Bytes, shingle: int) -> tuple[Offsets, Hashes, Words]:
    count = len(offsets) - 1
    bounds = np.zeros(count + 1, dtype=np.int64)
    words = np.zeros(count, dtype=np.int64)
    longest = room(offsets)
    out = np.empty(GROWTH * longest + 8, dtype=np.uint8)
    starts = np.empty(longest // 2 + 3, dtype=np.int64)
    hashes = np.empty(longest // 2 + 3, dtype=np.uint64)
    places = np.empty(2 * len(hashes) + 2, dtype=np.int64)
    found = np.empty((offsets[count] - offsets[0]) // 2 + count + 1, dtype=np.uint64)
    for row in range(count):
        words[row] = n = split_words(data, offsets[row], offsets[row + 1], out, starts)
        shingles = max(n - shingle + 1, 1) if n > 0 else np.int64(0)
        for k in range(shingles):
            hashes[k] = _shingle_hash(out.ctypes.data, starts, k, n, shingle)
        bounds[row + 1] = bounds[row] + _sorted_once(hashes[:shingles], places, found[bounds[row] :])
    return bounds, found[: bounds[count]].copy(), words


@kernel
def _sorted_once(hashes: Hashes, places: Offsets, out: Hashes) -> int:
    """Write the sorted, distinct hashes to `out` and return their number.

    Hashes are uniform, so a bucket sort by their highest bits leaves little work to the insertion sort after it.
    """
    bits = np.int64(1)
    while 1 << bits < len(hashes):
        bits += 1
    shift = np.uint64(64 - bits)
    places[: (1 << bits) + 1] = 0
    for h in hashes:
        places[np.int64(h >> shift) + 1] += 1
    for k in range(1 << bits):
        places[k + 1] += places[k]
    for h in hashes:
        out[places[np.int64(h >> shift)]] = h
        places[np.int64(h >> shift)] += 1
    size = np.int64(0)
    for k in range(len(hashes)):
        h, at = out[k], size
        while at > 0 and out[at - 1] > h:
            at -= 1
        if at > 0 and out[at - 1] == h:
            continue
        for j in range(size, at, -1):
            out[j] = out[j - 1]
        out[at] = h
        size += 1
    return size


@kernel
def _keys(values: Bytes, bands: int, width: int) -> Hashes:
    keys = np.empty((bands, len(values)), dtype=np.uint64)
    for row in range(len(values)):
        for band in range(bands):
            keys[band, row] = xxh3_64(values.ctypes.data + row * values.shape[1] + band * width, width)
    return keys


@kernel
def _agreeing(first: Values, second: Values) -> Offsets:
    found = np.zeros(len(first), dtype=np.int64)
    for row in range(len(first)):
        a, b = first[row], second[row]
        same = np.int64(0)
        for k in range(len(a)):
            same += a[k] == b[k]
        found[row] = same
    return found


@kernel
def _jaccard(offsets_a: Offsets, a: Hashes, offsets_b: Offsets, b: Hashes) -> npt.NDArray[np.float32]:
    similarity = np.zeros(len(offsets_a) - 1, dtype=np.float32)
    for row in range(len(similarity)):
        i, end_a, j, end_b = offsets_a[row], offsets_a[row + 1], offsets_b[row], offsets_b[row + 1]
        either = end_a - i + end_b - j
        shared = np.int64(0)
        while i < end_a and j < end_b:
            x, y = a[i], b[j]
            shared += x == y
            i += x <= y
            j += y <= x
        if either:
            similarity[row] = shared / (either - shared)
    return similarity
