"""Repetition within a text: lines, paragraphs and n-grams of words that stood before.

Equal things get equal numbers, and then only numbers are compared. A word, line or paragraph is numbered by its bytes:
up to eight bytes stand for themselves, more are hashed to 64 bits. An n-gram is numbered by the numbers of the two
(n - 1)-grams in it, which takes no further hash. And it can only be repeated where both of these are, so that each
order has only to look at what the order before left, which in real text soon is nothing.
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
Ends = npt.NDArray[np.int64]  # of unit k in characters, all before it included, at k + 1
Numbers = npt.NDArray[np.int32]
Table = npt.NDArray[np.uint64]  # rows (key, stamp << 32 | count)

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
SEEN = np.uint64(1 << 31)  # a bit above every count
SMALL = 10  # bits of the smallest table: 16 kB, which the nearest cache holds


def count_ngrams(texts: pa.Array) -> dict[str, pa.Array]:
    """Characters within repeated n-grams of words, as `count_words` finds words; equal means equal byte for byte.

    In:     string or large_string, sliced or not, nulls allowed.
    Out:    int64 columns, null where the text is null: word_characters (characters that are not spaces);
            top_2gram_characters to top_4gram_characters (within any place of the n-gram that stands there most often;
            of several, the one that covers most; 0 where none stands twice); duplicate_5gram_characters to
            duplicate_10gram_characters (within any n-gram that stood before, overlapping it or not). Spaces between
            words are no characters of an n-gram, and each character counts once.
    Cost:   a pass over the bytes, then about two look-ups a word in real text, and ten at most; the memory grows with
            the number of different words and repeated n-grams, up to some 90 bytes a word.
    Oracle: sets and counters of tuples of words (tests/filters/signals/test_repetition.py).
    """
    texts = plain_text(texts)
    return count_columns(texts, NGRAM_NAMES, _count_ngrams(*text_views(texts)))


def count_repeated_lines(texts: pa.Array) -> dict[str, pa.Array]:
    """Lines and paragraphs that stood before in their text; both are those of `count_lines`.

    Outer white space of a line is set aside. Paragraphs are equal when they have equal lines in the same order.

    In:     string or large_string, sliced or not, nulls allowed.
    Out:    int64 columns, null where the text is null: lines; duplicate_lines; paragraphs; duplicate_paragraphs;
            line_characters, duplicate_line_characters and duplicate_paragraph_characters (of all lines, of those that
            stood before and of those in paragraphs that stood before).
    Cost:   a pass over the bytes, and a look-up a line and a paragraph.
    Oracle: sets of stripped lines and of tuples of them (tests/filters/signals/test_repetition.py).
    """
    texts = plain_text(texts)
    return count_columns(texts, LINE_NAMES, _count_lines(*text_views(texts)))


@kernel
def _count_ngrams(offsets: Offsets, data: Bytes) -> Counts:
    n = len(offsets) - 1
    counts = np.zeros((n, 10), dtype=np.int64)
    # No two words lie closer than two bytes: there is a space between them, or one is a letter of three.
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
            # With the length, because a line, unlike a word, may hold the space that ends a short key.
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
    """Bytes of the longest text."""
    longest = np.int64(0)
    for row in range(len(offsets) - 1):
        longest = max(longest, offsets[row + 1] - offsets[row])
    return longest


# Keys


@inline
def _mix(number: int) -> int:
    """A number that differs in all its bits wherever `number` differs in one; no two have the same."""
    product = number * MULTIPLIER
    return product ^ product >> HALF


@inline
def _key(data: Bytes, begin: int, end: int) -> int:
    """Up to eight bytes themselves, a space after the last; a 64-bit hash of more."""
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
    """The top bit of each of eight bytes that is no printable ASCII character: white space, control or beyond ASCII."""
    return ~(((eight & EIGHT_LOW_SEVEN) + ABOVE_SPACE) & ~eight) & EIGHT_TOP_BITS


@part
def _split(data: Bytes, i: int, end: int, keys: Keys, ends: Ends, places: Numbers) -> int:
    """Write the key, the end in characters and the number of each word; return how many there are."""
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
        if stop < end and not IS_SPACE[data[stop]]:  # something else than ASCII, or no eight bytes are left to read
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
    """Split a run of non-space characters as `count_words` does; where it ends, and the words and characters so far."""
    # A word is NONE until something of it was read, MARKS while it has only marks and punctuation, then ORDINARY or a
    # SPACELESS letter.
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
    """Count equal keys; write to `slots` the row of the table that each has.

    Return the table (a larger one where this was too small), the mark above which its entries are of this count, and
    the greatest count. The table is never cleared: what an earlier count left lies below the mark.
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
        bits += 1  # too full: most texts repeat their words and do with less than two rows for each


@part
def _fill(keys: Keys, n: int, slots: Numbers, table: Table, bits: int, mark: int) -> int:
    """`_tally` in the first 2 ** bits rows: the greatest count, or 0 when more than half of the rows are taken."""
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
    """From all n-grams make the (n + 1)-grams whose two n-grams are both repeated: keys and places; how many there are.

    Without branches, because which ones are is hard to foretell.
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
    """Characters within the n-gram that stands there `top` times; of several, within the one that covers most."""
    most = np.int64(0)
    wanted = mark + np.uint64(top)
    for k in range(n):
        slot = slots[k]
        entry = table[slot, 1] & ~SEEN
        if entry != wanted:
            continue
        begin = np.int64(places[k])
        covered, reached = np.int64(0), np.int64(0)
        if table[slot, 1] & SEEN:  # its key is not needed any more: how far it was covered stands there
            covered, reached = np.int64(table[slot, 0] & (SEEN * 2 - 1)), np.int64(table[slot, 0] >> HALF)
        covered += ends[begin + order] - ends[max(begin, reached)]
        table[slot, 0] = np.uint64(begin + order) << HALF | np.uint64(covered)
        table[slot, 1] = entry | SEEN
        most = max(most, covered)
    return most


@part
def _later(slots: Numbers, places: Numbers, n: int, table: Table, mark: int, order: int, ends: Ends) -> tuple[int, int]:
    """How many n-grams stood before, and the characters within them, each counted once."""
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
