"""Loops over Arrow buffers. Public functions speak Arrow; the private halves are numba over NumPy views.

Start in `words.py`. Imports nothing of `curate` but the cache folder.
"""

from curate.kernels.arrow import divide
from curate.kernels.c4 import c4_cuts
from curate.kernels.characters import count_characters
from curate.kernels.lines import count_lines
from curate.kernels.mojibake import count_mojibake
from curate.kernels.normalise import normalised
from curate.kernels.personal import personal_candidates
from curate.kernels.phrases import count_phrases
from curate.kernels.pieces import count_pieces
from curate.kernels.refinedweb import address_cuts, refinedweb_cuts
from curate.kernels.repetition import count_ngrams, count_repeated_lines
from curate.kernels.sentences import count_sentences
from curate.kernels.some_words import number_of_words
from curate.kernels.whole_lines import count_whole_lines
from curate.kernels.words import count_words
from curate.kernels.words_of_list import count_labelled_words, count_listed_words, labelled_table, word_table

__all__ = [
    "address_cuts",
    "c4_cuts",
    "count_characters",
    "count_labelled_words",
    "count_lines",
    "count_listed_words",
    "count_mojibake",
    "count_ngrams",
    "count_phrases",
    "count_pieces",
    "count_repeated_lines",
    "count_sentences",
    "count_whole_lines",
    "count_words",
    "divide",
    "labelled_table",
    "normalised",
    "number_of_words",
    "personal_candidates",
    "refinedweb_cuts",
    "word_table",
]
