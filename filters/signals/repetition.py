"""Repetition: repeated lines and paragraphs, and repeated n-grams of words."""

import pyarrow as pa

from curate import kernels
from curate.filters.registry import Columns, signal
from curate.kernels import divide
from curate.kernels.repetition import DUPLICATE_ORDERS, TOP_ORDERS


@signal(
    group="repeated_lines",
    writes={
        "duplicate_line_ratio": pa.float32(),
        "duplicate_paragraph_ratio": pa.float32(),
        "duplicate_line_character_ratio": pa.float32(),
        "duplicate_paragraph_character_ratio": pa.float32(),
    },
)
def repeated_lines(texts: pa.Array) -> Columns:
    """Lines and paragraphs that stood before in the document (Gopher, Rae et al. 2021, A1.1; FineWeb).

    Lines and paragraphs are those of the group `lines`, compared byte for byte with the outer white space of each line
    set aside. The first of several equal ones is no duplicate. Characters are those of the lines, blank lines, line
    ends and outer white space aside.

    duplicate_line_ratio                 lines that stood before per line; null without lines
    duplicate_paragraph_ratio            paragraphs that stood before per paragraph; null without lines
    duplicate_line_character_ratio       characters in lines that stood before per character in lines; null without
                                         lines
    duplicate_paragraph_character_ratio  characters in paragraphs that stood before per character in lines; null without
                                         lines
    """
    count = kernels.count_repeated_lines(texts)
    characters = count["line_characters"]
    return {
        "duplicate_line_ratio": divide(count["duplicate_lines"], count["lines"]),
        "duplicate_paragraph_ratio": divide(count["duplicate_paragraphs"], count["paragraphs"]),
        "duplicate_line_character_ratio": divide(count["duplicate_line_characters"], characters),
        "duplicate_paragraph_character_ratio": divide(count["duplicate_paragraph_characters"], characters),
    }


@signal(
    group="ngrams",
    writes={
        **{f"top_{n}gram_character_ratio": pa.float32() for n in TOP_ORDERS},
        **{f"duplicate_{n}gram_character_ratio": pa.float32() for n in DUPLICATE_ORDERS},
    },
)
def repeated_ngrams(texts: pa.Array) -> Columns:
    """Shares of the text within repeated n-grams: n words that follow each other (Gopher, Rae et al. 2021, A1.1).

    Words are those of the group `words`, a letter each in scripts without spaces, compared byte for byte: case and
    punctuation count, the white space between words does not. Characters are those of words, each counted once however
    many n-grams it is in.

    top_2gram_character_ratio          characters in the most frequent 2-gram, at all its places, per character in
                                       words; 0 if no 2-gram stands twice, null without words
    top_3gram_character_ratio          the same for 3-grams
    top_4gram_character_ratio          the same for 4-grams
    duplicate_5gram_character_ratio    characters in 5-grams that stood before per character in words; null without
                                       words
    duplicate_6gram_character_ratio    the same for 6-grams
    duplicate_7gram_character_ratio    the same for 7-grams
    duplicate_8gram_character_ratio    the same for 8-grams
    duplicate_9gram_character_ratio    the same for 9-grams
    duplicate_10gram_character_ratio   the same for 10-grams
    """
    count = kernels.count_ngrams(texts)
    names = [f"top_{n}gram" for n in TOP_ORDERS] + [f"duplicate_{n}gram" for n in DUPLICATE_ORDERS]
    return {f"{name}_character_ratio": divide(count[f"{name}_characters"], count["word_characters"]) for name in names}
