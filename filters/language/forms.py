r"""Forms of text: how documents are converted to lines of tokens for a language model.

words-1  lower-case words, punctuation and letters of scripts without spaces, digits as 0 (curate.kernels.lm_words)
plain-1  lines unchanged, tokens separated by white space
ccnet-1  for cc_net's models (Wenzek et al. 2019, arXiv 1911.00359): lower case without accents, digits as 0, ASCII
         punctuation, in pieces of the sentencepiece model next to the model. A document is one line without line ends.
"""

import re
import unicodedata
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import RecipeError
from curate.kernels.arrow import plain_text
from curate.kernels.lm_words import lm_lines

# cc_net's replacements of punctuation: each character, and its replacement.
CCNET_MARKS = str.maketrans(
    dict(zip("，。、„”“«»」「《》´∶：？！（）；–～’━〈〉【】％►", ',.,"""""""""\'::?!();-~\'-<>[]%-', strict=True))
    | {"．": ". ", "…": "...", "—": " - "}
)
CCNET = "ccnet-1"
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
DIGIT = re.compile(r"\d")


def lines_in_form(texts: pa.Array, form: str, model: str) -> tuple[pa.Array, pa.Array]:
    """Lines of tokens separated by single spaces, without nulls, and the index of each line's text."""
    return FORMS[form](plain_text(texts), model)


def _words(texts: pa.Array, _: str) -> tuple[pa.Array, pa.Array]:
    result = lm_lines(texts)
    return result.lines, result.owners


def _plain(texts: pa.Array, _: str) -> tuple[pa.Array, pa.Array]:
    lists = pc.split_pattern(texts.cast(pa.large_string()), "\n")
    owners, lines = pc.list_parent_indices(lists), pc.list_flatten(lists)
    lines = pc.utf8_trim_whitespace(pc.replace_substring_regex(lines, r"[\s\x00\x0b]+", " "))
    not_empty = pc.greater(pc.binary_length(lines), 0)
    return lines.filter(not_empty), owners.filter(not_empty)


def _ccnet(texts: pa.Array, model: str) -> tuple[pa.Array, pa.Array]:
    encode = _load_encoder(str(pieces_beside(model)))
    lines = [" ".join(encode(normalize_for_ccnet(text))) if text else "" for text in texts.to_pylist()]
    not_empty = np.flatnonzero([line != "" for line in lines])
    return pa.array([lines[k] for k in not_empty], pa.large_string()), pa.array(not_empty)


def normalize_for_ccnet(text: str) -> str:
    """Normalize a text like cc_net does before sentencepiece."""
    bare = "".join(c for c in unicodedata.normalize("NFD", text.strip().lower()) if unicodedata.category(c) != "Mn")
    return CONTROL.sub("", DIGIT.sub("0", bare).translate(CCNET_MARKS))


def pieces_beside(model: str) -> Path:
    """The sentencepiece model next to a model in cc_net's form: en.sp.model for en.arpa.bin.

    Errors: RecipeError where there is none.
    """
    path = Path(model)
    pieces_path = path.with_name(path.name.split(".")[0] + ".sp.model")
    if not pieces_path.is_file():
        raise RecipeError(f"tier1.perplexity: {model}: its sentencepiece model {pieces_path.name} must lie beside it")
    return pieces_path


@cache
def _load_encoder(path: str) -> Callable[[str], list[str]]:
    try:
        import sentencepiece
    except ImportError:
        raise RecipeError(
            "tier1.perplexity: form ccnet-1 needs sentencepiece; pip install 'curate-lm[ccnet]'"
        ) from None
    try:
        processor: Any = sentencepiece.SentencePieceProcessor(model_file=path)
    except (OSError, RuntimeError):
        raise RecipeError(f"tier1.perplexity: {path}: not a model that sentencepiece reads") from None
    return lambda text: processor.encode(text, out_type=str)


FORMS: dict[str, Callable[[pa.Array, str], tuple[pa.Array, pa.Array]]] = {
    "words-1": _words,
    "plain-1": _plain,
    CCNET: _ccnet,
}
