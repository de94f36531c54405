"""Vectors of documents from a static embedding model: the mean of the vectors of a text's tokens.

Such a model is distilled from a sentence encoder by embedding each token of its vocabulary once (model2vec's format,
Tulkens and van Dongen 2024). `model2vec` reads it; its tokenizer and vectors are then kept with the models of a run,
which needs the model's folder no more. A kernel sums vectors in the same order on any number of threads.
"""

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.distill.scoring.model_file import load_arrays, save_arrays
from curate.distill.teacher.weights import folder_content
from curate.errors import RecipeError, shortened
from curate.kernels.hashed_ngrams import Buckets
from curate.kernels.projection import Vectors, project

if TYPE_CHECKING:
    from model2vec import StaticModel
    from tokenizers import Tokenizer

VERSION = {"format": 1, "kind": "static vectors"}
FIELD = "distill.vectors.static"
FILES = ["config.json", "config_sentence_transformers.json", "model.safetensors", "modules.json", "tokenizer.json"]
BATCH = 256  # texts tokenized at a time


@dataclass(frozen=True)
class StaticVectors:
    """A static model: its tokenizer, and a vector for each token."""

    tokenizer: str  # as JSON, with the number of tokens after which texts are truncated
    max_characters: int | None  # read of a text
    rows: Buckets  # row in `table` of each token; -1 for the unknown token
    table: Vectors  # shape (vectors, dimensions)
    facts: dict[str, str]  # name, and the hash of the model's files


def open_static(name: str, revision: str | None) -> StaticVectors:
    """Open a static model in a folder or on the Hugging Face Hub.

    Errors: RecipeError where `model2vec` is not installed, or where the model is missing or unusable.
    """
    if importlib.util.find_spec("model2vec") is None:
        raise RecipeError(f"{FIELD}: model2vec is not installed; pip install 'curate-lm[static]', or take hashed")
    folder = _folder(name, revision)
    facts = {"model": folder.resolve().name if Path(name).expanduser().is_dir() else name}
    facts["content_xxh3_128"] = folder_content(folder, FIELD)
    return _checked(_read(folder, name), name, facts)


def _folder(name: str, revision: str | None) -> Path:
    """The folder of a model; one on the Hub is downloaded unless its cache has it."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise RecipeError(f"distill.vectors.revision: {name} is a folder, which has none; leave revision out")
        return folder
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise RecipeError(f"{FIELD}: {name}: no such folder; name one, or a model on the Hugging Face Hub")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=FILES))
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        reason = shortened(str(error).strip().splitlines()[0])
        raise RecipeError(
            f"{FIELD}: {name}: neither a folder here nor to be had from the Hugging Face Hub: {reason}"
        ) from None


def _read(folder: Path, name: str) -> "StaticModel":
    from model2vec import StaticModel

    try:
        return StaticModel.from_pretrained(folder)
    except Exception as error:  # tokenizers and safetensors raise no narrower ones
        reason = shortened(" ".join(str(error).split()))
        raise RecipeError(f"{FIELD}: {name}: model2vec cannot read it: {reason}") from None


def _checked(model: "StaticModel", name: str, facts: dict[str, str]) -> StaticVectors:
    """The vectors of a model, with indices checked, because the kernel does not check bounds."""
    table = np.ascontiguousarray(model.embedding, np.float32)
    ids = model.tokenizer.get_vocab().values()
    mapping = np.arange(len(table)) if model.token_mapping is None else np.asarray(model.token_mapping)
    if table.ndim != 2 or not table.size or not np.isfinite(table).all():
        raise RecipeError(f"{FIELD}: {name}: its vectors are no numbers; make it again")
    if max(ids) >= len(mapping) or mapping.min() < 0 or mapping.max() >= len(table):
        raise RecipeError(f"{FIELD}: {name}: it has tokens without a vector; make it again")
    if model.weights is not None:  # of tokens, some of which share a vector
        table = table[mapping] * np.asarray(model.weights, np.float32)[:, None]
        mapping = np.arange(len(table))
    rows = mapping.astype(np.int32)
    if model.unk_token_id is not None:
        rows[model.unk_token_id] = -1
    max_characters = None if model.max_length is None else model.max_length * model.median_token_length
    return StaticVectors(model.tokenizer.to_str(), max_characters, rows, table, facts)


def vectors_of(model: StaticVectors, texts: pa.Array) -> Vectors:
    """The vector of each text, of length 1, shape (texts, dimensions); 0 for null and where no token is known.

    Equal to `StaticModel.encode(texts, normalize=True)` up to rounding: long texts are truncated as the model says,
    mostly after 512 tokens.

    Cost: that of its tokenizer, about 3 MB per CPU second, on all cores unless TOKENIZERS_PARALLELISM is false.
    """
    tokenizer = _tokenizer(model.tokenizer)
    read = texts if model.max_characters is None else pc.utf8_slice_codeunits(texts, 0, model.max_characters)
    vectors = [np.zeros((0, model.table.shape[1]), np.float32)]
    for k in range(0, len(texts), BATCH):
        batch = pc.fill_null(read.slice(k, BATCH), "").to_pylist()
        encodings = tokenizer.encode_batch_fast(batch, add_special_tokens=False)
        vectors.append(_means(model, [encoding.ids for encoding in encodings]))
    return np.concatenate(vectors)


def _means(model: StaticVectors, ids: Sequence[Sequence[int]]) -> Vectors:
    """The normalised mean vector of each text; the kernel normalises sums, which have the same direction."""
    offsets = np.cumsum([0, *map(len, ids)], dtype=np.int64)
    tokens: npt.NDArray[Any] = np.fromiter(chain.from_iterable(ids), np.int32, int(offsets[-1]))
    return project(offsets, tokens, model.rows, model.table)


@lru_cache(maxsize=1)
def _tokenizer(content: str) -> "Tokenizer":
    from tokenizers import Tokenizer

    return Tokenizer.from_str(content)


def save(model: StaticVectors, path: Path) -> None:
    """Commit a model as one file."""
    about = VERSION | {"most": model.max_characters, "facts": model.facts}
    tokenizer = np.frombuffer(model.tokenizer.encode(), np.uint8)
    save_arrays(path, {"places": model.rows, "table": model.table, "tokenizer": tokenizer}, about)


@lru_cache(maxsize=1)
def load_once(path: Path) -> StaticVectors:
    """Read a model from its file, in a worker process: its tokenizer must not start threads.

    Errors: InputError for a file that is not one, is of another format, or is damaged.
    """
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    arrays, about = load_arrays(path, "a static model", VERSION)
    return StaticVectors(
        arrays["tokenizer"].tobytes().decode(), about["most"], arrays["places"], arrays["table"], about["facts"]
    )
