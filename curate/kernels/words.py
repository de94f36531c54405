"""Words as rules count them, and the stop words among them."""

import numpy as np
import pyarrow as pa

from curate.kernels.arrow import count_columns, text_views
from curate.kernels.jit import inline, kernel
from curate.kernels.unicode import ASCII_CLASS, DIGIT, LETTER, SPACE, class_of, decode
from curate.kernels.unicode import SPACELESS as LETTER_OF_SPACELESS

GOPHER_STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
FUNCTION_WORDS = (
    *GOPHER_STOP_WORDS,
    *("a an in is are was were it he she they we you i his her its their our your my this these those there which who"
      " what when where how not no nor but or if than then as at by for from on into over under about after before"
      " between because so such can could will would should may might must do does did has had been being more most"
      " some any all each other only also just very up out one").split(),
)  # fmt: skip
NAMES = ("words", "word_characters", "spaced_words", "spaced_characters", "alpha_words", "longest_word",
         "stop_words", "distinct_stop_words", "hashes", "ellipses")  # fmt: skip

NONE, MARKS, ORDINARY, SPACELESS = range(4)
ASCII_LETTER = np.array([chr(byte).isascii() and chr(byte).isalpha() for byte in range(256)])
LONGEST_STOP_WORD = max(map(len, FUNCTION_WORDS))

_SLOT_BITS = 11


def _pack(word: str) -> int:
    return int.from_bytes(word.encode(), "big")


def _perfect_hash() -> tuple[np.uint64, np.ndarray, np.ndarray]:
    """A multiplier under which no two function words share a slot, the packed word in each slot, and its bit.

    The bit is the word's place among Gopher's eight; the other function words have none.
    """
    packed = np.array([_pack(word) for word in FUNCTION_WORDS], dtype=np.uint64)
    candidates = np.random.default_rng(0).integers(1 << 63, 1 << 64, 1000, dtype=np.uint64) | np.uint64(1)
    slots_of = (packed * candidates[:, None]) >> np.uint64(64 - _SLOT_BITS)
    best = max(range(1000), key=lambda k: len(np.unique(slots_of[k])))
    multiplier, slots = candidates[best], slots_of[best]
    assert len(np.unique(slots)) == len(packed), "two function words share a slot: raise _SLOT_BITS"
    keys, bits = np.zeros(1 << _SLOT_BITS, dtype=np.uint64), np.zeros(1 << _SLOT_BITS, dtype=np.int64)
    keys[slots] = packed
    bits[slots[: len(GOPHER_STOP_WORDS)]] = 1 << np.arange(len(GOPHER_STOP_WORDS))
    return multiplier, keys, bits


STOP_MULTIPLIER, STOP_KEYS, STOP_BITS = _perfect_hash()


def count_words(texts: pa.Array) -> dict[str, pa.Array]:
    """Words per text, a word being a run of non-space characters; in scripts without spaces each letter is a word.

    A spaceless letter takes the marks and punctuation around it along, so that "「你好」。" is two words.

    In:     string or large_string, sliced or not, nulls allowed.
    Out:    int64 columns, null where the text is null: words; word_characters (characters that are not spaces);
            spaced_words and spaced_characters (of words other than spaceless letters); alpha_words (with at least one
            letter); longest_word (characters); stop_words (English function words, case and outer punctuation aside);
            distinct_stop_words (how many of Gopher's eight occur); hashes ("#"); ellipses ("..." or "…").
    Cost:   one pass over the bytes; allocates only the result.
    Oracle: regular expressions over each text (tests/test_kernels.py).
    """
    return count_columns(texts, NAMES, _count(*text_views(texts)))


@inline
def _stop_word(key):  # type: ignore[no-untyped-def]
    """Whether a packed word is a stop word, and its bit."""
    slot = np.int64((key * STOP_MULTIPLIER) >> np.uint64(64 - _SLOT_BITS))
    hit = np.int64(STOP_KEYS[slot] == key)
    return hit, STOP_BITS[slot] * hit


@kernel
def _count(offsets, data):  # type: ignore[no-untyped-def]
    # Most words are ASCII letters and then a space: they take the short way. Otherwise the text is read in steps, a
    # run of ASCII letters or one other character. A word is NONE until something of it was read, MARKS while it has
    # only marks and punctuation, then ORDINARY or a SPACELESS letter. `key` packs its ASCII letters in lower case;
    # `broken` says that it is no stop word whatever its key: letters after punctuation ("don't"), a digit, or a letter
    # beyond ASCII.
    n = len(offsets) - 1
    counts = np.zeros((n, 10), dtype=np.int64)
    for row in range(n):
        i, end = offsets[row], offsets[row + 1]
        words = characters = spaced = spaced_characters = alpha = longest = stops = hashes = ellipses = dots = 0
        seen_stops = np.int64(0)
        word = NONE
        length = key_length = 0
        has_letter = broken = tail = False
        key = np.uint64(0)
        while True:
            step = NONE
            size = taken = 1
            run = i
            run_key = np.uint64(0)
            while run < end and ASCII_LETTER[data[run]]:
                run_key = run_key << np.uint64(8) | np.uint64(data[run] | 0x20)
                run += 1
            letters = run - i
            if letters and word == NONE and run < end and data[run] == 0x20:
                words += 1
                spaced += 1
                alpha += 1
                characters += letters
                spaced_characters += letters
                longest = max(longest, letters)
                hit, bit = _stop_word(run_key if letters <= LONGEST_STOP_WORD else np.uint64(0))
                stops += hit
                seen_stops |= bit
                dots = 0
                i = run + 1
                continue
            if letters:
                step = ORDINARY
                size = taken = letters
                dots = 0
            elif i < end:
                code = np.int64(data[i])
                if code < 0x80:
                    bits = np.int64(ASCII_CLASS[code])
                    hashes += code == 0x23
                    dots = dots + 1 if code == 0x2E else 0
                    if dots == 3:
                        ellipses += 1
                        dots = 0
                else:
                    code, size = decode(data, i, end)
                    bits = np.int64(class_of(code))
                    ellipses += code == 0x2026
                    dots = 0
                if bits & SPACE == 0:
                    step = MARKS
                    if bits & LETTER_OF_SPACELESS:
                        step = SPACELESS
                    elif bits & (LETTER | DIGIT):
                        step = ORDINARY
            if word and (step == NONE or (step == SPACELESS and word >= ORDINARY) or (step == ORDINARY and word == SPACELESS)):
                words += 1
                characters += length
                alpha += has_letter
                longest = max(longest, length)
                if word != SPACELESS:
                    spaced += 1
                    spaced_characters += length
                    if not broken and 0 < key_length <= LONGEST_STOP_WORD:
                        hit, bit = _stop_word(key)
                        stops += hit
                        seen_stops |= bit
                word = NONE
                length = key_length = 0
                has_letter = broken = tail = False
                key = np.uint64(0)
            if i >= end:
                break
            if step != NONE:
                word = max(word, step)
                length += taken
                if letters:
                    has_letter = True
                    broken |= tail
                    key_length += letters
                    key = run_key
                elif step == MARKS:
                    tail |= key_length > 0
                else:
                    has_letter |= bits & LETTER != 0
                    broken = True
            i += size
        out = counts[row]
        out[0], out[1], out[2], out[3], out[4], out[5] = words, characters, spaced, spaced_characters, alpha, longest
        out[6] = stops
        while seen_stops:
            out[7] += seen_stops & 1
            seen_stops >>= 1
        out[8], out[9] = hashes, ellipses
    return counts
