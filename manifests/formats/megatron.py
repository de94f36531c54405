"""Indexed datasets of Megatron-LM, which Megatron Bridge and NeMo read too: tokens in .bin, their places in .idx.

Byte for byte what megatron-core's IndexedDatasetBuilder writes with one sequence per document. Trainers receive the
path of a piece without its ending, and a weight: blend.txt for `--data-args-path` (one distribution, which `--split`
divides), blend.json for `--per-split-data-args-path` (a blend for each split; all three must be there).
"""

import json
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from curate.manifests.export.format import Export, Format, Piece, WrittenPiece
from curate.manifests.export.sources import TRAIN, VALIDATION
from curate.manifests.export.tokens import copy_tokenizer, tokens_of
from curate.storage.files import committed, write_json

MAGIC, VERSION = b"MMIDIDX\x00\x00", 1
CODES = {"uint16": 8, "int32": 4}  # of element types in an index
SMALL = 65_500  # vocabularies below have tokens of two bytes


def write(piece: Piece) -> WrittenPiece:
    """The two files of a piece."""
    assert piece.options.vocabulary
    dtype = dtype_of(piece.options.vocabulary.size)
    data, index, sizes = piece.path(".bin"), piece.path(".idx"), [np.zeros(0, np.int32)]
    with committed(data) as aside, aside.open("wb") as file:
        for _, documents in tokens_of(piece):
            file.write(np.concatenate(documents).astype(dtype).tobytes())
            sizes.append(np.array([len(document) for document in documents], np.int32))
    lengths = np.concatenate(sizes)
    with committed(index) as aside, aside.open("wb") as file:
        write_index(file, lengths, dtype)
    return WrittenPiece((data, index), len(lengths), int(lengths.sum(dtype=np.int64)))


def dtype_of(vocabulary: int) -> np.dtype[Any]:
    """How Megatron stores a token."""
    return np.dtype("<u2" if vocabulary < SMALL else "<i4")


def write_index(file: BinaryIO, lengths: npt.NDArray[np.int32], dtype: np.dtype[Any]) -> None:
    """Write the positions of documents of these lengths in tokens."""
    ends = np.cumsum(lengths, dtype=np.int64) * dtype.itemsize
    file.write(MAGIC + VERSION.to_bytes(8, "little") + bytes([CODES[dtype.name]]))
    file.write(len(lengths).to_bytes(8, "little") + (len(lengths) + 1).to_bytes(8, "little"))
    file.write(lengths.astype("<i4").tobytes())
    file.write((ends - lengths.astype(np.int64) * dtype.itemsize).astype("<i8").tobytes())
    file.write(np.arange(len(lengths) + 1, dtype="<i8").tobytes())


def finish(exported: Export) -> list[Path]:
    """The blends, and the tokenizer."""
    text, by_split = exported.folder / "blend.txt", exported.folder / "blend.json"
    train = _blend(exported, TRAIN)
    with committed(text) as aside:
        lines = [f"{weight} {prefix}\n" for weight, prefix in zip(train[::2], train[1::2], strict=True)]
        aside.write_text("".join(lines), "utf-8")
    # A split without documents is null: Megatron fails at an empty list.
    write_json(by_split, {"train": train, "valid": _blend(exported, VALIDATION) or None, "test": None})
    return [text, by_split, copy_tokenizer(exported)]


def _blend(exported: Export, split: str) -> list[str]:
    """Weights and prefixes, alternating."""
    return [word for piece, weight in exported.weighted(split) for word in (f"{weight:.9g}", piece.stem)]


def load(folder: Path) -> str:
    """How it is read."""
    blends = json.loads((folder / "blend.json").read_text("utf-8"))
    options = "--per-split-data-args-path blend.json"
    if blends["valid"] is None:  # with a share for validation Megatron would not end where a small piece gives it none
        options = "--data-args-path blend.txt --split 100,0,0"
    return f"start the training in {folder} (prefixes are looked up from the working directory) with {options}"


FORMAT = Format("megatron", "Megatron-LM, Megatron Bridge, NeMo", write, finish, load, tokens=True)
