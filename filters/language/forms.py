r"""Forms of text: how a language model's lines are made of a document.

words-1  lower-case words, marks and letters of scripts without spaces, digits as 0 (curate.kernels.lm_words)
plain-1  lines as they stand, tokens between white space
ccnet-1  what cc_net's models read (Wenzek et al. 2019, arXiv 1911.00359): lower case without accents, digits as 0,
         ASCII punctuation, all of it in the pieces of the sentencepiece model that lies beside the model. A document is
         one line there, and its line ends vanish.
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

# What cc_net makes of marks, in pairs.
CCNET_MARKS = str.maketrans(dict(zip("，。、„”“«»」「《》´∶：？！（）；–．～’…━〈〉【】％►", (
    ",", ".", ",", *'"""""', *'""""', "'", ":", ":", "?", "!", "(", ")", ";", "-", ". ", "~", "'", "...", "-", "<",
    ">", "[", "]", "%", "-"), strict=True)) | {"—": " - "})  # fmt: skip
CCNET = "ccnet-1"
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
DIGIT = re.compile(r"\d")


def lines_in_form(texts: pa.Array, form: str, model: str) -> tuple[pa.Array, pa.Array]:
    """Lines without nulls of tokens with one space between, and the number of the text of each."""
    return FORMS[form](plain_text(texts), model)


def _words(texts: pa.Array, _: str) -> tuple[pa.Array, pa.Array]:
    found = lm_lines(texts)
    return found.lines, found.owners


def _plain(texts: pa.Array, _: str) -> tuple[pa.Array, pa.Array]:
    lists = pc.split_pattern(texts.cast(pa.large_string()), "\n")
    owners, lines = pc.list_parent_indices(lists), pc.list_flatten(lists)
    lines = pc.utf8_trim_whitespace(pc.replace_substring_regex(lines, r"[\s\x00\x0b]+", " "))
    there = pc.greater(pc.binary_length(lines), 0)
    return lines.filter(there), owners.filter(there)


def _ccnet(texts: pa.Array, model: str) -> tuple[pa.Array, pa.Array]:
    encode = _pieces(str(pieces_beside(model)))
    lines = [" ".join(encode(ccnet_normalised(text))) if text else "" for text in texts.to_pylist()]
    there = np.flatnonzero([line != "" for line in lines])
    return pa.array([lines[k] for k in there], pa.large_string()), pa.array(there)


def ccnet_normalised(text: str) -> str:
    """A text as cc_net normalises it before its pieces are taken."""
    bare = "".join(c for c in unicodedata.normalize("NFD", text.strip().lower()) if unicodedata.category(c) != "Mn")
    return CONTROL.sub("", DIGIT.sub("0", bare).translate(CCNET_MARKS))


def pieces_beside(model: str) -> Path:
    """The sentencepiece model of a model in cc_net's form: en.sp.model beside en.arpa.bin.

    Errors: RecipeError where there is none, or sentencepiece is not installed.
    """
    path = Path(model)
    found = path.with_name(path.name.split(".")[0] + ".sp.model")
    if not found.is_file():
        raise RecipeError(f"tier1.perplexity: {model}: its sentencepiece model {found.name} must lie beside it")
    return found


@cache
def _pieces(path: str) -> Callable[[str], list[str]]:
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
