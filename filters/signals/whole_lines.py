"""Lines including the white space at their ends."""

import pyarrow as pa

from curate import kernels
from curate.filters.registry import Columns, signal
from curate.kernels import divide


@signal(
    group="whole_lines",
    writes={
        "terminal_whole_line_ratio": pa.float32(),
        "short_whole_line_ratio": pa.float32(),
        "duplicate_whole_line_character_ratio": pa.float32(),
    },
)
def whole_line_shape(texts: pa.Array) -> Columns:
    """Lines that are not blank, judged with the white space at their ends.

    terminal_whole_line_ratio             lines whose last character ends sentences per line: no space behind it, and no
                                          quote; null without lines
    short_whole_line_ratio                lines of at most 30 characters per line; null without lines
    duplicate_whole_line_character_ratio  characters in lines that stood before per character of the text, newlines
                                          aside; null without characters
    """
    count = kernels.count_whole_lines(texts)
    return {
        "terminal_whole_line_ratio": divide(count["terminal_lines"], count["lines"]),
        "short_whole_line_ratio": divide(count["short_lines"], count["lines"]),
        "duplicate_whole_line_character_ratio": divide(count["duplicate_characters"], count["characters"]),
    }
