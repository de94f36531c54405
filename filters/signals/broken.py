"""Text that was decoded wrongly or has lost characters."""

import pyarrow as pa

from curate import kernels
from curate.filters.registry import Columns, signal


@signal(
    group="broken",
    writes={"mojibake_ratio": pa.float32(), "control_ratio": pa.float32(), "replacement_ratio": pa.float32()},
)
def broken_text(texts: pa.Array) -> Columns:
    """Characters that no one wrote; the kernels say which.

    mojibake_ratio     UTF-8 read as Windows-1252 ("Ã©", "â€™", "Â "): such characters per character; null without any
    control_ratio      control characters other than white space per character; null without any
    replacement_ratio  U+FFFD, what stands for bytes that could not be read, per character; null without any
    """
    counts = kernels.count_characters(texts)
    return {
        "mojibake_ratio": kernels.divide(kernels.count_mojibake(texts), counts["characters"]),
        "control_ratio": kernels.divide(counts["controls"], counts["characters"]),
        "replacement_ratio": kernels.divide(counts["replacements"], counts["characters"]),
    }
