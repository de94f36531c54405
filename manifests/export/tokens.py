"""Text as token ids, for the formats of tokens: the tokenizer of `--tokenizer` and `--eos`, and encoded documents.

A document is the tokens of its text and one that ends it. A tokenizer's begin token is left out, since trainers
separate documents by their ends; so are the truncation and padding of a tokenizer.json. A text that spells a special
token, such as `<|endoftext|>`, gets the tokens of its letters: no text ends a document or begins a turn.
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
from curate.manifests.export.format import Export, Piece, Vocabulary
from curate.manifests.export.records import EXPORT
from curate.manifests.export.sources import DOC_ID, TEXT
from curate.storage.files import committed

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER, CONFIG = "tokenizer.json", "tokenizer_config.json"
NAMES_EOS, NUMBERS_EOS = (CONFIG, "special_tokens_map.json"), ("generation_config.json", "config.json")
WELL_KNOWN = ("<|endoftext|>", "</s>", "<|end_of_text|>", "<eos>", "<|eos|>", "<|end▁of▁sentence|>")
SMALL = 1 << 16  # the largest vocabulary with tokens of two bytes
BATCH_BYTES = 1 << 22  # of text encoded together
SHOWN = 12  # special tokens in a message

Tokens = npt.NDArray[np.uint32]


def open_vocabulary(name: str, eos: str | None) -> Vocabulary:
    """The tokenizer of a tokenizer.json, of a folder that has one, or of a name on the Hugging Face Hub.

    Errors: CurateError where there is no such tokenizer, or nothing names the token that ends a document.
    """
    path = _tokenizer_file(name)
    content = path.read_bytes()
    tokenizer = _parse(content, f"--tokenizer {name}")
    token, token_id = _eos_of(tokenizer, path.parent, name, eos)
    local = Path(name).expanduser()
    return Vocabulary(
        name=local.resolve().name if local.exists() else name,
        path=str(path),
        sha256=hashlib.sha256(content).hexdigest(),
        size=max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1,
        eos=token,
        eos_id=token_id,
    )


def tokens_of(piece: Piece) -> Iterator[tuple[list[str], list[Tokens]]]:
    """The documents of a piece in order, in batches: doc_ids, and the tokens of each document with its end.

    Cost: about 3 MB of text per CPU second, on one core; other processes encode other pieces. Memory for a few
    megabytes of text, or for the longest document.
    Errors: InputError where the tokenizer changed after it was opened.
    """
    vocabulary = piece.options.vocabulary
    assert vocabulary
    tokenizer = _load(vocabulary)
    end = np.array([vocabulary.eos_id], np.uint32)
    for table in piece.plain():
        if not len(table):
            continue
        batch_no = np.cumsum(pc.binary_length(table[TEXT]).to_numpy()) // BATCH_BYTES
        starts = np.unique(batch_no, return_index=True)[1]
        for start, stop in zip(starts, [*starts[1:], len(table)], strict=True):
            batch = table.slice(start, stop - start)
            encodings = tokenizer.encode_batch_fast(batch[TEXT].to_pylist(), add_special_tokens=False)
            documents = [_without_end(np.array(encoding.ids, np.uint32), vocabulary) for encoding in encodings]
            yield batch[DOC_ID].to_pylist(), [np.concatenate([document, end]) for document in documents]


def dtype_of(vocabulary: int) -> np.dtype[Any]:
    """The usual data type for tokens of a vocabulary of this size."""
    return np.dtype("<u2" if vocabulary <= SMALL else "<u4")


def copy_tokenizer(exported: Export) -> Path:
    """Copy the tokenizer into the export, whose tokens are useless without it."""
    vocabulary = exported.options.vocabulary
    assert vocabulary
    path = exported.folder / TOKENIZER
    with committed(path) as aside:
        aside.write_bytes(_content(vocabulary))
    return path


def read_vocabulary(folder: Path) -> Vocabulary:
    """The tokenizer of a finished export."""
    fields = json.loads((folder / EXPORT).read_text("utf-8"))["options"]["tokenizer"]
    return Vocabulary(path=str(folder / TOKENIZER), **fields)


def _tokenizer_file(name: str) -> Path:
    """The tokenizer.json that a user names."""
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / TOKENIZER).is_file():
            raise CurateError(f"--tokenizer {name}: the folder has no {TOKENIZER}")
        return path / TOKENIZER
    if path.is_file():
        return path
    if path.is_absolute() or path.suffix == ".json" or name.startswith(".") or name.count("/") > 1:
        raise CurateError(
            f"--tokenizer {name}: no such file; give a {TOKENIZER}, a folder that has one, or a name on the Hub"
        )
    return _from_hub(name)


def _from_hub(name: str) -> Path:
    """The tokenizer.json of a model on the Hub, in the Hub's cache, beside the files that name its end token."""
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


def _parse(content: bytes, origin: str) -> "Tokenizer":
    """A tokenizer that reads special tokens in a text as text, and neither truncates nor pads."""
    from tokenizers import Tokenizer

    try:
        tokenizer: Tokenizer = Tokenizer.from_str(content.decode())
    except Exception as error:  # tokenizers raises no narrower one
        raise CurateError(f"{origin}: is no {TOKENIZER}: {shortened(str(error))}") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return tokenizer


def _eos_of(tokenizer: "Tokenizer", folder: Path, name: str, eos: str | None) -> tuple[str, int]:
    """The token that ends a document: the user's, the one named beside the tokenizer, or a well-known one."""
    special = [token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special]
    listed = ", ".join(special[:SHOWN]) + (", …" if len(special) > SHOWN else "") if special else "none"
    well_known = (token for token in WELL_KNOWN if tokenizer.token_to_id(token) is not None)
    token = eos or _named_beside(tokenizer, folder) or next(well_known, None)
    if token is None:
        raise CurateError(
            f"--tokenizer {name}: names no token that ends a document; give --eos (special tokens: {listed})"
        )
    token_id = tokenizer.token_to_id(token)
    if token_id is None:
        problem = f"--eos {token}: is" if eos else f"--tokenizer {name}: its eos_token {token} is"
        raise CurateError(f"{problem} not in the vocabulary; give --eos with one that is (special tokens: {listed})")
    return token, int(token_id)


def _named_beside(tokenizer: "Tokenizer", folder: Path) -> str | None:
    """The end token that the files beside a tokenizer.json name."""
    for name in NAMES_EOS:
        token = _fields(folder / name).get("eos_token")
        if token := token.get("content") if isinstance(token, dict) else token:
            return str(token)
    for name in NUMBERS_EOS:
        token_id = _fields(folder / name).get("eos_token_id")
        token_id = token_id[0] if isinstance(token_id, list) and token_id else token_id
        if isinstance(token_id, int) and (token := tokenizer.id_to_token(token_id)):
            return str(token)
    return None


def _fields(path: Path) -> Mapping[str, Any]:
    """The fields of a JSON file; none where it is missing."""
    if not path.is_file():
        return {}
    try:
        fields = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise CurateError(f"{path}: is no JSON: {error}") from None
    return fields if isinstance(fields, dict) else {}


@lru_cache(maxsize=1)
def _load(vocabulary: Vocabulary) -> "Tokenizer":
    """The tokenizer in this process, which is one of several and so must not start threads."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    return _parse(_content(vocabulary), vocabulary.path)


def _content(vocabulary: Vocabulary) -> bytes:
    """The bytes of the tokenizer.json, unchanged since it was opened."""
    content = Path(vocabulary.path).read_bytes()
    if hashlib.sha256(content).hexdigest() != vocabulary.sha256:
        raise InputError(f"{vocabulary.path}: was changed while the export was written; run the same command again")
    return content


def _without_end(ids: Tokens, vocabulary: Vocabulary) -> Tokens:
    """The tokens of a text, without the end token.

    Some models encode a text that spells the end as that token even where special tokens are text (Unigram, which has
    it as a piece, and added tokens that are not special): its letters replace it.
    """
    positions = np.flatnonzero(ids == vocabulary.eos_id)
    if not len(positions):
        return ids
    first, *pieces = np.split(ids, positions)
    return np.concatenate([first, *(part for piece in pieces for part in (_letters(vocabulary), piece[1:]))])


@lru_cache(maxsize=1)
def _letters(vocabulary: Vocabulary) -> Tokens:
    """The end token as text, letter by letter."""
    encodings = _load(vocabulary).encode_batch(list(vocabulary.eos), add_special_tokens=False)
    return np.array([n for letter in encodings for n in letter.ids if n != vocabulary.eos_id], np.uint32)
