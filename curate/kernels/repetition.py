"""Measure repetition within a text: lines, paragraphs and word n-grams that occurred earlier.

Units are compared by 64-bit keys. The key of a word or line is its bytes if there are at most eight, otherwise their
hash. The key of a paragraph is a hash of the keys of its lines. The key of an n-gram is the pair of table slots of its
two (n - 1)-grams, which needs no further hash. An n-gram can only be repeated if both its (n - 1)-grams are, so each
order examines only what the previous order left. In real text that is soon nothing.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.kernels.arrow import Bytes, Counts, Offsets, count_columns, plain_text, text_views
from curate.kernels.jit import inline, kernel, load_u64, part, trailing_zeros
from curate.kernels.lines import continuations, line_end, strip
from curate.kernels.unicode import ASCII_CLASS, DIGIT, DIVIDER, LETTER, SPACE, class_of, decode
from curate.kernels.unicode import SPACELESS as LETTER_OF_SPACELESS

Keys = npt.NDArray[np.uint64]
Ends = npt.NDArray[np.int64]  # cumulative characters: the end of unit k is at index k + 1
Numbers = npt.NDArray[np.int32]
Table = npt.NDArray[np.uint64]  # hash table with rows (key, stamp << 32 | count)

TOP_ORDERS = (2, 3, 4)
DUPLICATE_ORDERS = (5, 6, 7, 8, 9, 10)
NGRAM_NAMES = ("word_characters", *(f"top_{n}gram_characters" for n in TOP_ORDERS),
               *(f"duplicate_{n}gram_characters" for n in DUPLICATE_ORDERS))  # fmt: skip
LINE_NAMES = ("lines", "duplicate_lines", "paragraphs", "duplicate_paragraphs",
              "line_characters", "duplicate_line_characters", "duplicate_paragraph_characters")  # fmt: skip
LAST_TOP, LAST_ORDER = TOP_ORDERS[-1], DUPLICATE_ORDERS[-1]

NONE, MARKS, ORDINARY, SPACELESS = range(4)
IS_SPACE = np.array([bits & SPACE != 0 for bits in ASCII_CLASS] + [False] * 128)
EIGHT_TOP_BITS, EIGHT_LOW_SEVEN, ABOVE_SPACE = (np.uint64(0x0101010101010101 * byte) for byte in (0x80, 0x7F, 0x5F))
MULTIPLIER, SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
HALF = np.uint64(32)
SEEN = np.uint64(1 << 31)  # flag above the bits of any count
SMALL = 10  # bits of the smallest table: 16 kB, which fits into the L1 cache


def count_ngrams(texts: pa.Array) -> dict[str, pa.Array]:
    """Count the characters in repeated word n-grams, with the words of `count_words`, compared byte for byte.

    In:     string or large_string, sliced or not, nulls allowed.
    Out:    int64 columns, null where the text is null: word_characters (characters that are not spaces);
            top_2gram_characters to top_4gram_characters (in all occurrences of the most frequent n-gram; in case of a
            tie, of the one that covers most; 0 if no n-gram is repeated); duplicate_5gram_characters to
            duplicate_10gram_characters (in all n-grams that occurred earlier, overlapping or not). Spaces between
            words do not belong to an n-gram, and each character counts once.
    Cost:   one pass over the bytes, then about two lookups per word in real text, ten at most; the memory grows with
            the number of distinct words and repeated n-grams, up to about 90 bytes per word.
    Oracle: sets and counters of tuples of words (tests/filters/signals/test_repetition.py).
    """
    texts = plain_text(texts)
    return count_columns(texts, NGRAM_NAMES, _count_ngrams(*text_views(texts)))


def count_repeated_lines(texts: pa.Array) -> dict[str, pa.Array]:
    """Count lines and paragraphs that occurred earlier in their text, both as in `count_lines`.

    Lines are compared stripped. Paragraphs are equal if they have equal lines in the same order.

    In:     string or large_string, sliced or not, nulls allowed.
    Out:    int64 columns, null where the text is null: lines; duplicate_lines; paragraphs; duplicate_paragraphs;
            line_characters, duplicate_line_characters and duplicate_paragraph_characters (of all lines, of lines that
            occurred earlier, and of lines in paragraphs that occurred earlier).
    Cost:   one pass over the bytes, and one lookup per line and paragraph.
    Oracle: sets of stripped lines and of tuples of them (tests/filters/signals/test_repetition.py).
    """
    texts = plain_text(texts)
    return count_columns(texts, LINE_NAMES, _count_lines(*text_views(texts)))


@kernel
def _count_ngrams(offsets: Offsets, data: Bytes) -> Counts:
    n = len(offsets) - 1
    counts = np.zeros((n, 10), dtype=np.int64)
    # Words start at least two bytes apart: a space separates them, or one is a letter of three bytes.
    room = _longest(offsets) // 2 + 2
    keys = np.empty(room, dtype=np.uint64)
    ends = np.zeros(room + 1, dtype=np.int64)
    places = np.empty(room, dtype=np.int32)
    slots = np.empty(room, dtype=np.int32)
    table = np.zeros((1 << SMALL, 2), dtype=np.uint64)
    mark = np.uint64(0)
    for row in range(n):
        left = _split(data, offsets[row], offsets[row + 1], keys, ends, places)
        counts[row, 0] = ends[left]
        order = 1
        while left:
            table, mark, top = _tally(keys, left, slots, table, mark)
            if top == 1:
                break
            if 1 < order <= LAST_TOP:
                counts[row, order - 1] = _most_frequent(slots, places, left, table, mark, top, order, ends)
            elif order > LAST_TOP:
                counts[row, order - 1] = _later(slots, places, left, table, mark, order, ends)[1]
            if order == LAST_ORDER:
                break
            left = _join(keys, slots, places, left, table, mark)
            order += 1
    return counts


@kernel
def _count_lines(offsets: Offsets, data: Bytes) -> Counts:
    n = len(offsets) - 1
    counts = np.zeros((n, 7), dtype=np.int64)
    room = _longest(offsets) // 2 + 2
    keys, paragraph_keys = np.empty(room, dtype=np.uint64), np.empty(room, dtype=np.uint64)
    ends, paragraph_ends = np.zeros(room + 1, dtype=np.int64), np.zeros(room + 1, dtype=np.int64)
    slots = np.empty(room, dtype=np.int32)
    places = np.empty(room, dtype=np.int32)
    table = np.zeros((1 << SMALL, 2), dtype=np.uint64)
    mark = np.uint64(0)
    for row in range(n):
        start, end = offsets[row], offsets[row + 1]
        lines = paragraphs = characters = np.int64(0)
        after_blank = True
        while start < end:
            stop = line_end(data, start, end)
            begin, finish, _, _ = strip(data, start, stop)
            start = stop + 1
            if begin >= finish:
                after_blank = True
                continue
            characters += finish - begin - continuations(data, begin, finish)
            # Mix in the length because a line, unlike a word, may contain the space that terminates a short key.
            key = _key(data, begin, finish) ^ np.uint64(finish - begin) * SECOND
            keys[lines] = key
            places[lines] = lines
            lines += 1
            ends[lines] = characters
            if after_blank:
                paragraph_keys[paragraphs] = SECOND
                paragraphs += 1
                after_blank = False
            paragraph_keys[paragraphs - 1] = _mix(paragraph_keys[paragraphs - 1] ^ key)
            paragraph_ends[paragraphs] = characters
        counts[row, 0] = lines
        counts[row, 2] = paragraphs
        counts[row, 4] = characters
        if lines:
            table, mark, _ = _tally(keys, lines, slots, table, mark)
            counts[row, 1], counts[row, 5] = _later(slots, places, lines, table, mark, 1, ends)
            table, mark, _ = _tally(paragraph_keys, paragraphs, slots, table, mark)
            counts[row, 3], counts[row, 6] = _later(slots, places, paragraphs, table, mark, 1, paragraph_ends)
    return counts


@inline
def _longest(offsets: Offsets) -> int:
    """The size of the longest text in bytes."""
    longest = np.int64(0)
    for row in range(len(offsets) - 1):
        longest = max(longest, offsets[row + 1] - offsets[row])
    return longest


# Keys


@inline
def _mix(number: int) -> int:
    """Mix the bits of a number: a bijection in which each input bit affects many output bits."""
    product = number * MULTIPLIER
    return product ^ product >> HALF


@inline
def _key(data: Bytes, begin: int, end: int) -> int:
    """Up to eight bytes themselves, with a space after them if there are fewer; otherwise a 64-bit hash."""
    length = end - begin
    if length <= 8:
        key = np.uint64(0)
        for k in range(length):
            key |= np.uint64(data[begin + k]) << np.uint64(8 * k)
        return key if length == 8 else key | np.uint64(0x20) << np.uint64(8 * length)
    key = np.uint64(length) * SECOND
    while begin + 8 < end:
        key = _mix(key ^ load_u64(data, begin))
        begin += 8
    return _mix(key ^ load_u64(data, end - 8))


@inline
def _stops(eight: int) -> int:
    """Set the top bit of each of eight bytes that is not printable ASCII: white space, control or non-ASCII."""
    return ~(((eight & EIGHT_LOW_SEVEN) + ABOVE_SPACE) & ~eight) & EIGHT_TOP_BITS


@part
def _split(data: Bytes, i: int, end: int, keys: Keys, ends: Ends, places: Numbers) -> int:
    """Write the key, the end in characters and the index of each word; return the number of words."""
    words = characters = np.int64(0)
    size = len(data)
    while i < end:
        if IS_SPACE[data[i]]:
            i += 1
            continue
        stop = i
        stops = np.uint64(0)
        while stops == np.uint64(0) and stop < end and stop + 8 <= size:
            stops = _stops(load_u64(data, stop))
            stop = min(stop + trailing_zeros(stops) // 8, end)
        if stop < end and not IS_SPACE[data[stop]]:  # not ASCII, or fewer than eight bytes left in the buffer
            i, words, characters = _any_run(data, i, end, keys, ends, places, words, characters)
            continue
        length = stop - i
        if length < 8:
            shift = np.uint64(8 * length)
            keys[words] = load_u64(data, i) & (np.uint64(1) << shift) - np.uint64(1) | np.uint64(0x20) << shift
        else:
            keys[words] = _key(data, i, stop)
        places[words] = words
        words += 1
        characters += length
        ends[words] = characters
        i = stop + 1
    return words


@part
def _any_run(
    data: Bytes, i: int, end: int, keys: Keys, ends: Ends, places: Numbers, words: int, characters: int
) -> tuple[int, int, int]:
    """Split a run of non-space characters as `count_words` does; return its end and the new totals."""
    # `word` is NONE before a word begins, MARKS while it has only marks and punctuation, then ORDINARY or SPACELESS.
    word = NONE
    begin = i
    while True:
        step = NONE
        size = 1
        if i < end:
            code, size = decode(data, i, end)
            bits = np.int64(class_of(code))
            if bits & (SPACE | DIVIDER) == 0:
                step = MARKS
                if bits & LETTER_OF_SPACELESS:
                    step = SPACELESS
                elif bits & (LETTER | DIGIT):
                    step = ORDINARY
        new_letter = step == SPACELESS and word >= ORDINARY
        if word != NONE and (step == NONE or new_letter or (step == ORDINARY and word == SPACELESS)):
            keys[words] = _key(data, begin, i)
            places[words] = words
            words += 1
            ends[words] = characters
            word = NONE
            begin = i
        if step == NONE:
            return i + size, words, characters
        i += size
        word = max(word, step)
        characters += 1


# Counting equal keys


@kernel
def _tally(keys: Keys, n: int, slots: Numbers, table: Table, mark: int) -> tuple[Table, int, int]:
    """Count equal keys, and write the table row of each key to `slots`.

    Returns the table (a larger one if it was too small), the mark, and the highest count. Entries of this call are
    above the mark, and entries of earlier calls below it, so the table is never cleared.
    """
    bits = SMALL
    while 1 << bits < n:
        bits += 1
    while True:
        if 1 << bits > len(table):
            table = np.zeros((1 << bits, 2), dtype=np.uint64)
        mark += np.uint64(1) << HALF
        top = _fill(keys, n, slots, table, bits, mark)
        if top:
            return table, mark, top
        bits += 1  # too full; starting small pays off because most texts repeat their words


@part
def _fill(keys: Keys, n: int, slots: Numbers, table: Table, bits: int, mark: int) -> int:
    """`_tally` in the first 2 ** bits rows; return the highest count, or 0 if the rows are more than half full."""
    shift = np.uint64(64 - bits)
    last = np.int64((1 << bits) - 1)
    free = np.int64(1 << bits >> 1)
    top = mark
    for k in range(n):
        key = keys[k]
        slot = np.int64((_mix(key) * SECOND) >> shift)
        entry = table[slot, 1]
        fresh = entry < mark
        while not (fresh | (table[slot, 0] == key)):
            slot = slot + 1 & last
            entry = table[slot, 1]
            fresh = entry < mark
        entry = (mark if fresh else entry) + np.uint64(1)
        table[slot, 0] = key
        table[slot, 1] = entry
        slots[k] = slot
        top = max(top, entry)
        free -= fresh
        if free < 0:
            return np.int64(0)
    return np.int64(top - mark)


@part
def _join(keys: Keys, slots: Numbers, places: Numbers, n: int, table: Table, mark: int) -> int:
    """Replace n-grams by the (n + 1)-grams whose two n-grams are both repeated; return their number.

    Branch-free, because the outcome is hard to predict. Writes `keys` and `places` in place.
    """
    joined = np.int64(0)
    slot, place, repeated = np.int64(0), np.int64(-2), False
    for k in range(n):
        next_slot, next_place = np.int64(slots[k]), np.int64(places[k])
        next_repeated = table[next_slot, 1] & ~SEEN > mark + np.uint64(1)
        keys[joined] = np.uint64(slot) << HALF | np.uint64(next_slot)
        places[joined] = place
        joined += repeated & next_repeated & (next_place == place + 1)
        slot, place, repeated = next_slot, next_place, next_repeated
    return joined


@part
def _most_frequent(
    slots: Numbers, places: Numbers, n: int, table: Table, mark: int, top: int, order: int, ends: Ends
) -> int:
    """Characters in the n-gram that occurs `top` times; in case of a tie, in the one that covers most."""
    most = np.int64(0)
    wanted = mark + np.uint64(top)
    for k in range(n):
        slot = slots[k]
        entry = table[slot, 1] & ~SEEN
        if entry != wanted:
            continue
        begin = np.int64(places[k])
        covered, reached = np.int64(0), np.int64(0)
        if table[slot, 1] & SEEN:  # the key is no longer needed: it was overwritten with end << 32 | covered
            covered, reached = np.int64(table[slot, 0] & (SEEN * 2 - 1)), np.int64(table[slot, 0] >> HALF)
        covered += ends[begin + order] - ends[max(begin, reached)]
        table[slot, 0] = np.uint64(begin + order) << HALF | np.uint64(covered)
        table[slot, 1] = entry | SEEN
        most = max(most, covered)
    return most


@part
def _later(slots: Numbers, places: Numbers, n: int, table: Table, mark: int, order: int, ends: Ends) -> tuple[int, int]:
    """The number of n-grams that occurred earlier, and the characters in them, each counted once."""
    later = covered = reached = np.int64(0)
    for k in range(n):
        slot = slots[k]
        entry = table[slot, 1]
        if entry & SEEN:
            begin = np.int64(places[k])
            covered += ends[begin + order] - ends[max(begin, reached)]
            reached = begin + order
            later += 1
        else:
            table[slot, 1] = entry | SEEN
    return later, covered
