"""Text as a tokenizer's numbers, for the formats that hold tokens: what `--tokenizer` and `--eos` name, and documents.

A document is the tokens of its text, and one that ends it. Nothing is added before it: where a tokenizer would put a
begin, it is left out, since trainers tell documents apart by their ends. Truncation and padding that a tokenizer.json
asks for are left out too. A text that spells a special token, such as `<|endoftext|>`, gets the tokens of its letters:
no text ends a document or begins a turn.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from curate.errors import CurateError, InputError, shortened
from curate.manifests.export.format import Exported, Piece, Vocabulary
from curate.manifests.export.sources import DOC_ID, TEXT
from curate.storage.files import committed

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER, CONFIG = "tokenizer.json", "tokenizer_config.json"
NAMES_EOS, NUMBERS_EOS = (CONFIG, "special_tokens_map.json"), ("generation_config.json", "config.json")
WELL_KNOWN = ("<|endoftext|>", "</s>", "<|end_of_text|>", "<eos>", "<|eos|>", "<|end▁of▁sentence|>")
SMALL = 1 << 16  # vocabularies up to here have tokens of two bytes
BATCH_BYTES = 1 << 22  # of text that is encoded together
SHOWN = 12  # special tokens in a message

Tokens = npt.NDArray[np.uint32]


def open_vocabulary(given: str, eos: str | None) -> Vocabulary:
    """What a tokenizer.json, a folder that has one, or a name on the Hugging Face Hub stands for.

    Errors: CurateError where there is no such tokenizer, or where it is not told which of its tokens ends a document.
    """
    path = _file_of(given)
    content = path.read_bytes()
    tokenizer = _parsed(content, f"--tokenizer {given}")
    token, number = _eos_of(tokenizer, path.parent, given, eos)
    place = Path(given).expanduser()
    name = place.resolve().name if place.exists() else given
    size = max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1
    return Vocabulary(name, str(path), hashlib.sha256(content).hexdigest(), size, token, number)


def tokens_of(piece: Piece) -> Iterator[tuple[list[str], list[Tokens]]]:
    """The documents of a piece in order, some together: the doc_id of each, and its tokens with the end.

    Cost: about 3 MB of text per CPU second, on one core: other pieces are encoded by other processes. Memory is that of
    a few megabytes of text, or of the longest document.
    Errors: InputError where the tokenizer is not the one that was opened.
    """
    vocabulary = piece.options.vocabulary
    assert vocabulary
    tokenizer = _loaded(vocabulary)
    end = np.array([vocabulary.eos_id], np.uint32)
    for table in piece.plain():
        if not len(table):
            continue
        together = np.cumsum(pc.binary_length(table[TEXT]).to_numpy()) // BATCH_BYTES
        starts = np.unique(together, return_index=True)[1]
        for start, stop in zip(starts, [*starts[1:], len(table)], strict=True):
            some = table.slice(start, stop - start)
            encoded = tokenizer.encode_batch_fast(some[TEXT].to_pylist(), add_special_tokens=False)
            numbers = [np.array(one.ids, np.uint32) for one in encoded]
            yield some[DOC_ID].to_pylist(), [np.concatenate([_without_end(n, vocabulary), end]) for n in numbers]


def dtype_of(vocabulary: int) -> np.dtype[Any]:
    """How trainers store a token of a vocabulary of this size, unless they say otherwise."""
    return np.dtype("<u2" if vocabulary <= SMALL else "<u4")


def copied_tokenizer(exported: Exported) -> Path:
    """The tokenizer beside its tokens, which say nothing without it."""
    vocabulary = exported.options.vocabulary
    assert vocabulary
    path = exported.folder / TOKENIZER
    with committed(path) as aside:
        aside.write_bytes(_content(vocabulary))
    return path


def told_vocabulary(folder: Path) -> Mapping[str, Any]:
    """The facts of the tokenizer that a finished export tells of."""
    told: Mapping[str, Any] = json.loads((folder / "export.json").read_text("utf-8"))["options"]["tokenizer"]
    return told


def _file_of(given: str) -> Path:
    """The tokenizer.json that a user means."""
    place = Path(given).expanduser()
    if place.is_dir():
        if not (place / TOKENIZER).is_file():
            raise CurateError(f"--tokenizer {given}: the folder has no {TOKENIZER}")
        return place / TOKENIZER
    if place.is_file():
        return place
    if place.is_absolute() or place.suffix == ".json" or given.startswith(".") or given.count("/") > 1:
        raise CurateError(
            f"--tokenizer {given}: no such file; give a {TOKENIZER}, a folder that has one, or a name on the Hub"
        )
    return _from_hub(given)


def _from_hub(name: str) -> Path:
    """The tokenizer.json of a model on the Hub, in the Hub's cache, with the files that name its end beside it."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    try:
        folder = Path(snapshot_download(name, allow_patterns=[TOKENIZER, *NAMES_EOS, *NUMBERS_EOS]))
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        reason = shortened(str(error).strip().splitlines()[0])
        raise CurateError(
            f"--tokenizer {name}: neither a file here nor to be had from the Hugging Face Hub: {reason}"
        ) from None
    if not (folder / TOKENIZER).is_file():
        raise CurateError(f"--tokenizer {name}: this model has no {TOKENIZER} on the Hub")
    return folder / TOKENIZER


def _parsed(content: bytes, where: str) -> "Tokenizer":
    """A tokenizer as it encodes documents: no special token is seen in a text, nothing is cut or filled up."""
    from tokenizers import Tokenizer

    try:
        tokenizer: Tokenizer = Tokenizer.from_str(content.decode())
    except Exception as error:  # tokenizers raises no narrower one
        raise CurateError(f"{where}: is no {TOKENIZER}: {shortened(str(error))}") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return tokenizer


def _eos_of(tokenizer: "Tokenizer", beside: Path, given: str, wanted: str | None) -> tuple[str, int]:
    """The token that ends a document: the one that a user wants, the one named beside the tokenizer, or a usual one."""
    special = [token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special]
    known = ", ".join(special[:SHOWN]) + (", …" if len(special) > SHOWN else "") if special else "none"
    usual = (token for token in WELL_KNOWN if tokenizer.token_to_id(token) is not None)
    found = wanted or _named_beside(tokenizer, beside) or next(usual, None)
    if found is None:
        raise CurateError(
            f"--tokenizer {given}: names no token that ends a document; give --eos (special tokens: {known})"
        )
    number = tokenizer.token_to_id(found)
    if number is None:
        what = f"--eos {found}: is" if wanted else f"--tokenizer {given}: its eos_token {found} is"
        raise CurateError(f"{what} not in the vocabulary; give --eos with one that is (special tokens: {known})")
    return found, int(number)


def _named_beside(tokenizer: "Tokenizer", folder: Path) -> str | None:
    """The token that the files beside a tokenizer.json name as the end."""
    for name in NAMES_EOS:
        token = _fields(folder / name).get("eos_token")
        if token := token.get("content") if isinstance(token, dict) else token:
            return str(token)
    for name in NUMBERS_EOS:
        number = _fields(folder / name).get("eos_token_id")
        number = number[0] if isinstance(number, list) and number else number
        if isinstance(number, int) and (token := tokenizer.id_to_token(number)):
            return str(token)
    return None


def _fields(path: Path) -> Mapping[str, Any]:
    """What a file of JSON says; nothing where there is none."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise CurateError(f"{path}: is no JSON: {error}") from None
    return found if isinstance(found, dict) else {}


@lru_cache(maxsize=1)
def _loaded(vocabulary: Vocabulary) -> "Tokenizer":
    """The tokenizer in this process, which is one of several: it must not start threads of its own."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    return _parsed(_content(vocabulary), vocabulary.path)


def _content(vocabulary: Vocabulary) -> bytes:
    """The tokenizer.json that was opened."""
    content = Path(vocabulary.path).read_bytes()
    if hashlib.sha256(content).hexdigest() != vocabulary.sha256:
        raise InputError(f"{vocabulary.path}: was changed while the export was written; run the same command again")
    return content


def _without_end(numbers: Tokens, vocabulary: Vocabulary) -> Tokens:
    """The tokens of a text, of which none ends it.

    Some models find the end in a text that spells it even where special tokens are text (Unigram, which knows it as a
    piece, and added tokens that are not special): there it is written letter by letter.
    """
    places = np.flatnonzero(numbers == vocabulary.eos_id)
    if not len(places):
        return numbers
    parts = np.split(numbers, places)
    return np.concatenate([parts[0], *(part for rest in parts[1:] for part in (_letters(vocabulary), rest[1:]))])


@lru_cache(maxsize=1)
def _letters(vocabulary: Vocabulary) -> Tokens:
    """The end of a document as text, letter by letter."""
    encoded = _loaded(vocabulary).encode_batch(list(vocabulary.eos), add_special_tokens=False)
    return np.array([n for letter in encoded for n in letter.ids if n != vocabulary.eos_id], np.uint32)
