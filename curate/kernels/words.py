"""Count words as the filters' rules define them, and the stop words among them."""

import numpy as np
import pyarrow as pa

from curate.kernels.arrow import Bytes, Counts, Offsets, count_columns, plain_text, text_views
from curate.kernels.jit import inline, kernel, load_u64, part
from curate.kernels.unicode import ASCII_CLASS, DIGIT, DIVIDER, LETTER, SPACE, class_of, decode
from curate.kernels.unicode import SPACELESS as LETTER_OF_SPACELESS

GOPHER_STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
_MORE_FUNCTION_WORDS = """
a an in is are was were it he she they we you i his her its their our your my this these those there which who what
when where how not no nor but or if than then as at by for from on into over under about after before between
because so such can could will would should may might must do does did has had been being more most some any all
each other only also just very up out one
"""
FUNCTION_WORDS = (
    *GOPHER_STOP_WORDS,
    *_MORE_FUNCTION_WORDS.split(),
)
NAMES = ("words", "word_characters", "alpha_words", "longest_word",
         "stop_words", "distinct_stop_words", "hashes", "ellipses")  # fmt: skip

NONE, MARKS, ORDINARY, SPACELESS = range(4)
BLOCK = 2048
# What a byte adds to the packed counters of a run: 1 unless it is ASCII space, OTHER if it is not an ASCII letter
# either, DOT for a full stop, MIXED if the run must be read character by character ("#" and non-ASCII). Each counter
# has twelve bits, which a block cannot overflow.
FIELD = 12
OTHER, DOT, MIXED = (1 << FIELD * k for k in (1, 2, 3))
KIND = np.full(256, MIXED | OTHER | 1, dtype=np.int64)
KIND[:128] = np.where(ASCII_CLASS & SPACE, 0, np.where(ASCII_CLASS & LETTER, 1, OTHER | 1))
KIND[ord(".")] |= DOT
KIND[ord("#")] |= MIXED
LONGEST_STOP_WORD = max(map(len, FUNCTION_WORDS))
LOWER_CASE = np.uint64(0x2020202020202020)
SEVEN_BYTES = np.uint64(2**56 - 1)

_SLOT_BITS = 10


def _pack(word: str) -> int:
    return int.from_bytes(word.encode(), "little")


def _perfect_hash() -> tuple[np.uint64, np.ndarray]:
    """A perfect hash of the function words: the multiplier, and the packed word in each slot.

    A word takes at most seven bytes; the eighth byte has one bit for each of Gopher's eight stop words.
    """
    packed = np.array([_pack(word) for word in FUNCTION_WORDS], dtype=np.uint64)
    candidates = np.random.default_rng(0).integers(1 << 63, 1 << 64, 1000, dtype=np.uint64) | np.uint64(1)
    slots_of = (packed * candidates[:, None]) >> np.uint64(64 - _SLOT_BITS)
    best = max(range(1000), key=lambda k: len(np.unique(slots_of[k])))
    multiplier, slots = candidates[best], slots_of[best]
    assert len(np.unique(slots)) == len(packed), "two function words share a slot: raise _SLOT_BITS"
    table = np.full(1 << _SLOT_BITS, np.uint64(2**64 - 1))  # the mark of an empty slot: no word packs to it
    table[slots] = packed
    table[slots[: len(GOPHER_STOP_WORDS)]] |= np.uint64(1) << np.arange(
        56, 56 + len(GOPHER_STOP_WORDS), dtype=np.uint64
    )
    return multiplier, table


STOP_MULTIPLIER, STOP_TABLE = _perfect_hash()


def count_words(texts: pa.Array) -> dict[str, pa.Array]:
    """Count words per text: runs of non-space characters, or single letters in scripts without spaces.

    Marks and punctuation around a letter of such a script belong to its word, so that "「你好」。" is two words. The
    Tibetan tsheg and the Ethiopic wordspace separate words as spaces do.

    In:     string or large_string, sliced or not, nulls allowed.
    Out:    int64 columns, null where the text is null: words; word_characters (characters within words);
            alpha_words (with at least one letter); longest_word (characters); stop_words (English function words,
            ignoring case and outer punctuation); distinct_stop_words (how many of Gopher's eight occur); hashes ("#");
            ellipses ("..." or "…").
    Cost:   one pass over the bytes; allocates only the result.
    Oracle: regular expressions over each text (tests/kernels/test_kernels.py).
    """
    texts = plain_text(texts)
    return count_columns(texts, NAMES, _count(*text_views(texts)))


@inline
def _stop_word(key: int) -> tuple[int, int]:
    """Whether a packed word is a stop word, and its bit among Gopher's eight."""
    entry = STOP_TABLE[np.int64((key * STOP_MULTIPLIER) >> np.uint64(64 - _SLOT_BITS))]
    hit = np.int64(entry & SEVEN_BYTES == key)
    return hit, np.int64(entry >> np.uint64(56)) * hit


@kernel
def _count(offsets: Offsets, data: Bytes) -> Counts:
    # Two steps per block of bytes, because a mispredicted branch at each word end would dominate the cost. The first is
    # branch-free and records the bounds of runs of non-space bytes and their packed counters. The second handles each
    # run; nearly all are a plain word.
    n = len(offsets) - 1
    counts = np.zeros((n, 8), dtype=np.int64)
    bounds = np.empty(BLOCK + 2, dtype=np.int64)
    contents = np.empty(BLOCK + 2, dtype=np.int64)
    for row in range(n):
        i, end = offsets[row], offsets[row + 1]
        words = characters = alpha = longest = stops = np.int64(0)
        out = counts[row]
        seen = np.int64(0)
        while i < end:
            stop = min(i + BLOCK, end)
            found = content = inside = np.int64(0)
            for k in range(i, stop):
                kind = KIND[data[k]]
                bounds[found] = k
                contents[found] = content
                found += (kind & 1) ^ inside
                inside = kind & 1
                content += kind
            following = stop
            if inside and stop < end and found > 1:  # the last run crosses the block's end: leave it to the next block
                found -= 1
                following = bounds[found]
            elif inside and stop < end:  # a single run fills the block: read it character by character
                while following < end and KIND[data[following]] & 1:
                    following += 1
                content = MIXED
            if found & 1:
                bounds[found] = following
                contents[found] = content
                found += 1
            for k in range(0, found, 2):
                begin, finish = bounds[k], bounds[k + 1]
                content = contents[k + 1] - contents[k]
                length = finish - begin
                others = content >> FIELD & (1 << FIELD) - 1
                mark = np.int64((others == 1) & (KIND[data[finish - 1]] != 1))  # a single mark, at the end: "end,"
                if content < 3 * DOT and others == mark and begin >= 8:  # the eight bytes before its end are readable
                    letters = length - mark
                    alpha += letters > 0
                    shift = np.uint64(64 - 8 * min(max(letters, 1), 8))
                    key = (load_u64(data, finish - mark - 8) | LOWER_CASE) >> shift
                    hit, bit = _stop_word(key if letters else np.uint64(0))
                elif content < 3 * DOT:
                    alpha += others < length
                    hit, bit = _stop_word(_letters(data, begin, finish))
                else:
                    seen |= _any_run(data, begin, finish, out)
                    continue
                words += 1
                characters += length
                longest = max(longest, length)
                stops += hit
                seen |= bit
            i = following
        out[0] += words
        out[1] += characters
        out[2] += alpha
        out[3] = max(out[3], longest)
        out[4] += stops
        while seen:
            out[5] += seen & 1
            seen >>= 1
    return counts


@inline
def _letters(data: Bytes, begin: int, end: int) -> int:
    """Pack the letters of an ASCII word, as in "(the),"; 0 if they are not contiguous or there is a digit."""
    key = np.uint64(0)
    letters = np.uint64(0)
    ended = False
    for k in range(begin, end):
        if KIND[data[k]] == 1:
            if ended or letters == LONGEST_STOP_WORD:
                return np.uint64(0)
            key |= np.uint64(data[k] | 0x20) << (np.uint64(8) * letters)
            letters += np.uint64(1)
        elif 0x30 <= data[k] <= 0x39:
            return np.uint64(0)
        else:
            ended = letters > 0
    return key


@part
def _any_run(data: Bytes, i: int, end: int, out: Counts) -> int:
    """Count the words in a run of bytes without ASCII space; return the bits of Gopher's stop words in it."""
    # `word` is NONE before a word begins, MARKS while it has only marks and punctuation, then ORDINARY or SPACELESS.
    # `key` packs its ASCII letters in lower case. `broken` rules out a stop word whatever the key: the word has letters
    # after punctuation ("don't"), a digit, or a non-ASCII letter.
    seen = np.int64(0)
    word = NONE
    length = key_length = dots = 0
    has_letter = broken = tail = False
    key = np.uint64(0)
    while True:
        step = NONE
        size = 1
        code = bits = np.int64(0)
        if i < end:
            code, size = decode(data, i, end)
            bits = np.int64(class_of(code))
            out[6] += code == 0x23
            dots = dots + 1 if code == 0x2E else 0
            if dots == 3:
                out[7] += 1
                dots = 0
            out[7] += code == 0x2026
            if bits & (SPACE | DIVIDER) == 0:
                step = MARKS
                if bits & LETTER_OF_SPACELESS:
                    step = SPACELESS
                elif bits & (LETTER | DIGIT):
                    step = ORDINARY
        new_letter = step == SPACELESS and word >= ORDINARY
        if word != NONE and (step == NONE or new_letter or (step == ORDINARY and word == SPACELESS)):
            out[0] += 1
            out[1] += length
            out[2] += has_letter
            out[3] = max(out[3], length)
            if word != SPACELESS and not broken and 0 < key_length <= LONGEST_STOP_WORD:
                hit, bit = _stop_word(key)
                out[4] += hit
                seen |= bit
            word = NONE
            length = key_length = 0
            has_letter = broken = tail = False
            key = np.uint64(0)
        if i >= end:
            return seen
        i += size
        if step == NONE:
            continue
        word = max(word, step)
        length += 1
        has_letter |= bits & LETTER != 0
        if step == MARKS:
            tail |= key_length > 0
        elif code < 0x80 and bits & LETTER:
            broken |= tail
            key |= np.uint64(code | 0x20) << np.uint64(8 * min(key_length, 7))
            key_length += 1
        else:
            broken = True
