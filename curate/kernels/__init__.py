"""Loops over Arrow buffers. Public functions speak Arrow; the private halves are numba over NumPy views."""

from curate.kernels.arrow import divide
from curate.kernels.characters import count_characters
from curate.kernels.jit import code_digest
from curate.kernels.lines import count_lines
from curate.kernels.normalise import normalised
from curate.kernels.repetition import count_ngrams, count_repeated_lines
from curate.kernels.words import count_words

__all__ = [
    "code_digest",
    "count_characters",
    "count_lines",
    "count_ngrams",
    "count_repeated_lines",
    "count_words",
    "divide",
    "normalised",
]
