"""Lines and paragraphs."""

import pyarrow as pa

from curate import kernels
from curate.filters.registry import Columns, signal
from curate.kernels import divide


@signal(
    group="lines",
    writes={
        "n_lines": pa.int64(),
        "n_paragraphs": pa.int64(),
        "mean_line_length": pa.float32(),
        "max_line_length": pa.int64(),
        "bullet_line_ratio": pa.float32(),
        "ellipsis_line_ratio": pa.float32(),
        "terminal_line_ratio": pa.float32(),
        "short_line_ratio": pa.float32(),
    },
)
def line_shape(texts: pa.Array) -> Columns:
    """Lines per document (blank ones aside), and how they begin and end (Gopher A1.1; C4; FineWeb).

    n_lines              lines that are not blank
    n_paragraphs         runs of lines between blank lines
    mean_line_length     characters per line, outer white space aside; null without lines
    max_line_length      characters of the longest line
    bullet_line_ratio    lines that begin with a bullet per line; null without lines
    ellipsis_line_ratio  lines that end with "..." or "…" per line; null without lines
    terminal_line_ratio  lines that end with sentence punctuation or a closing quote per line; null without lines
    short_line_ratio     lines of fewer than 30 characters per line; null without lines
    """
    count = kernels.count_lines(texts)
    lines = count["lines"]
    return {
        "n_lines": lines,
        "n_paragraphs": count["paragraphs"],
        "mean_line_length": divide(count["line_characters"], lines),
        "max_line_length": count["longest_line"],
        "bullet_line_ratio": divide(count["bullet_lines"], lines),
        "ellipsis_line_ratio": divide(count["ellipsis_lines"], lines),
        "terminal_line_ratio": divide(count["terminal_lines"], lines),
        "short_line_ratio": divide(count["short_lines"], lines),
    }
