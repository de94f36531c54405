"""Tokens as datatrove writes and nanotron reads them: .ds, the ends of documents in .ds.index, and .ds.metadata.

nanotron reads all .ds files of a folder, so each split of each source has a separate folder.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import yaml

from curate.manifests.export.format import Export, Format, Piece, WrittenPiece
from curate.manifests.export.sources import TRAIN
from curate.manifests.export.tokens import copy_tokenizer, dtype_of, tokens_of
from curate.storage.files import committed


def write(piece: Piece) -> WrittenPiece:
    """The three files of a piece."""
    assert piece.options.vocabulary
    dtype = dtype_of(piece.options.vocabulary.size)
    data, sizes = data_path(piece), [np.zeros(0, np.int64)]
    with committed(data) as aside, aside.open("wb") as file:
        for _, documents in tokens_of(piece):
            file.write(np.concatenate(documents).astype(dtype).tobytes())
            sizes.append(np.array([len(document) for document in documents], np.int64))
    ends: npt.NDArray[np.int64] = np.cumsum(np.concatenate(sizes))
    index, about = data.with_name(f"{data.name}.index"), data.with_name(f"{data.name}.metadata")
    with committed(index) as aside:
        aside.write_bytes(ends.astype("<u8").tobytes())
    with committed(about) as aside:
        aside.write_text(f"{piece.options.vocabulary.name}|{dtype.itemsize}\n{ends[-1]}\n{ends[-1]:,} T", "utf-8")
    return WrittenPiece((data, index, about), len(ends), int(ends[-1]))


def data_path(piece: Piece) -> Path:
    """The file of a piece's tokens: data/train/00000-of-00004.ds for the stem data/train-00000-of-00004."""
    stem = Path(piece.stem)
    return Path(piece.folder, stem.parent, piece.split, stem.name.removeprefix(f"{piece.split}-") + ".ds")


def finish(exported: Export) -> list[Path]:
    """The dataset of a nanotron configuration, and the tokenizer.

    nanotron downloads the tokenizer that .metadata names from the Hub, unless its configuration has the same name.
    """
    vocabulary = exported.options.vocabulary
    assert vocabulary
    weights: dict[str, float] = {}
    for piece, weight in exported.weighted(TRAIN):
        folder = f"{Path(piece.stem).parent}/{TRAIN}"
        weights[folder] = weights.get(folder, 0.0) + weight
    dataset = {
        "dataset_folder": list(weights),
        "dataset_weights": [float(f"{weight:.9g}") for weight in weights.values()],
        "tokenizer_name": vocabulary.name,
        "vocab_size": vocabulary.size,
        "token_size_in_bytes": dtype_of(vocabulary.size).itemsize,
    }
    path = exported.folder / "nanotron.yaml"
    with committed(path) as aside:
        aside.write_text(yaml.safe_dump({"dataset": dataset}, sort_keys=False), "utf-8")
    return [path, copy_tokenizer(exported)]


def load(folder: Path) -> str:
    """How it is read."""
    return f"start in {folder} (paths are relative), with what nanotron.yaml says as data of a stage in data_stages"


FORMAT = Format("nanotron", "nanotron, datatrove", write, finish, load, tokens=True)
