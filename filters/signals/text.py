"""Characters and words."""

import pyarrow as pa
import pyarrow.compute as pc

from curate import kernels
from curate.filters.registry import Columns, signal
from curate.kernels import divide


@signal(
    group="characters",
    writes={
        "n_bytes": pa.int64(),
        "n_characters": pa.int64(),
        "n_tokens": pa.int64(),
        "alpha_ratio": pa.float32(),
        "digit_ratio": pa.float32(),
        "uppercase_ratio": pa.float32(),
        "whitespace_ratio": pa.float32(),
        "punctuation_ratio": pa.float32(),
        "symbol_ratio": pa.float32(),
        "non_ascii_ratio": pa.float32(),
        "spaceless_ratio": pa.float32(),
        "n_broken_characters": pa.int64(),
    },
)
def character_shape(texts: pa.Array) -> Columns:
    """Characters (code points) per document, and the shares of their kinds.

    n_bytes              bytes of UTF-8
    n_characters         code points
    n_tokens             estimate of a byte-pair tokenizer's tokens, by bytes and script (see `estimate_tokens`)
    alpha_ratio          letters per character
    digit_ratio          decimal digits per character
    uppercase_ratio      upper-case letters per letter; null without letters
    whitespace_ratio     white space per character
    punctuation_ratio    punctuation per character
    symbol_ratio         symbols (Unicode S*: currency, mathematics, emoji …) per character
    non_ascii_ratio      characters beyond ASCII per character
    spaceless_ratio      letters of scripts written without spaces (Han, Kana, Thai …) per letter; null without letters
    n_broken_characters  control characters and U+FFFD, the marks of a wrong decoding
    """
    count = kernels.count_characters(texts)
    characters, letters = count["characters"], count["letters"]
    return {
        "n_bytes": count["bytes"],
        "n_characters": characters,
        "n_tokens": estimate_tokens(count),
        "alpha_ratio": divide(letters, characters),
        "digit_ratio": divide(count["digits"], characters),
        "uppercase_ratio": divide(count["uppercase"], letters),
        "whitespace_ratio": divide(count["spaces"], characters),
        "punctuation_ratio": divide(count["punctuation"], characters),
        "symbol_ratio": divide(count["symbols"], characters),
        "non_ascii_ratio": divide(count["non_ascii"], characters),
        "spaceless_ratio": divide(count["spaceless"], letters),
        "n_broken_characters": pc.add(count["controls"], count["replacements"]),
    }


# Hundredths of a token per character of each kind, fitted by benchmarks/token_estimate.py.
TOKENS = {"ascii_letters": 20, "digits": 94, "ascii_marks": 84, "spaces": 21, "spaceless": 66, "other_scripts": 47}


def estimate_tokens(count: dict[str, pa.Array]) -> pa.Array:
    """Estimate the tokens of a byte-pair tokenizer with about 100,000 entries from character counts; rounded up."""
    hundredths = None
    for kind, characters in token_kinds(count).items():
        part = pc.multiply(characters, TOKENS[kind])
        hundredths = part if hundredths is None else pc.add(hundredths, part)
    return pc.divide(pc.add(hundredths, 99), 100)


def token_kinds(count: dict[str, pa.Array]) -> dict[str, pa.Array]:
    """Character counts by kinds with different token rates. Only digits and spaces beyond ASCII are counted twice."""
    ascii_characters = pc.subtract(count["characters"], count["non_ascii"])
    marks = pc.subtract(
        pc.subtract(pc.subtract(ascii_characters, count["ascii_letters"]), count["digits"]), count["spaces"]
    )
    return {
        "ascii_letters": count["ascii_letters"],
        "digits": count["digits"],
        "ascii_marks": pc.max_element_wise(marks, 0, skip_nulls=False),
        "spaces": count["spaces"],
        "spaceless": count["spaceless"],
        "other_scripts": pc.subtract(count["non_ascii"], count["spaceless"]),
    }


@signal(
    group="words",
    writes={
        "n_words": pa.int64(),
        "mean_word_length": pa.float32(),
        "max_word_length": pa.int64(),
        "alpha_word_ratio": pa.float32(),
        "n_stop_words": pa.int64(),
        "stop_word_ratio": pa.float32(),
        "hash_word_ratio": pa.float32(),
        "ellipsis_word_ratio": pa.float32(),
    },
)
def word_shape(texts: pa.Array) -> Columns:
    """Words per document and their shape (Gopher, Rae et al. 2021, A1.1).

    n_words              words: runs of non-space characters; a letter each in scripts without spaces
    mean_word_length     characters per word; null without words
    max_word_length      characters of the longest word
    alpha_word_ratio     words with at least one letter per word; null without words
    n_stop_words         how many of the, be, to, of, and, that, have, with occur, upper case and punctuation aside
    stop_word_ratio      English function words per word (a fixed list of about a hundred); null without words
    hash_word_ratio      "#" per word; null without words
    ellipsis_word_ratio  "..." or "…" per word; null without words
    """
    count = kernels.count_words(texts)
    words = count["words"]
    return {
        "n_words": words,
        "mean_word_length": divide(count["word_characters"], words),
        "max_word_length": count["longest_word"],
        "alpha_word_ratio": divide(count["alpha_words"], words),
        "n_stop_words": count["distinct_stop_words"],
        "stop_word_ratio": divide(count["stop_words"], words),
        "hash_word_ratio": divide(count["hashes"], words),
        "ellipsis_word_ratio": divide(count["ellipses"], words),
    }
