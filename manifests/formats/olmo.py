"""Arrays of tokens as OLMo-core and dolma read them: .npy without a header, and .csv.gz with the documents.

`source_mixture.yaml` is a SourceMixtureList: the runs in their shares. `mix.txt` is a list of files like OLMo-core's
named mixes: label, path. Each path must contain {TOKENIZER}, which OLMo-core replaces by the tokenizer's identifier;
here it is this folder, so the list is valid where the folder is at BASE/IDENTIFIER.
"""

import csv
import gzip
import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import numpy as np
import yaml

from curate.manifests.export.format import Export, Format, Piece, WrittenPiece
from curate.manifests.export.sources import TRAIN
from curate.manifests.export.tokens import copy_tokenizer, dtype_of, read_vocabulary, tokens_of
from curate.manifests.export.training_view import source_views, tokens_seen
from curate.storage.files import committed


def write(piece: Piece) -> WrittenPiece:
    """The array of a piece, and a line for each document: start, end, id, source, index in the piece."""
    assert piece.options.vocabulary
    dtype = dtype_of(piece.options.vocabulary.size)
    data, index, start, count = piece.path(".npy"), piece.path(".csv.gz"), 0, 0
    with (
        committed(data) as aside,
        committed(index) as index_aside,
        aside.open("wb") as file,
        _zipped(index_aside) as rows,
    ):
        lines = csv.writer(rows, lineterminator="\n")
        for ids, documents in tokens_of(piece):
            file.write(np.concatenate(documents).astype(dtype).tobytes())
            for doc_id, document in zip(ids, documents, strict=True):
                lines.writerow([start, start + len(document), " ".join(doc_id.split()), piece.source.name, count])
                start, count = start + len(document), count + 1
    return WrittenPiece((data, index), count, start)


@contextmanager
def _zipped(path: Path) -> Iterator[TextIO]:
    """A gzip file to write text to, without name and time."""
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed,
        io.TextIOWrapper(packed, "utf-8", newline="") as text,
    ):
        yield text


def finish(exported: Export) -> list[Path]:
    """The two lists of files, and the tokenizer."""
    mix, mixture = exported.folder / "mix.txt", exported.folder / "source_mixture.yaml"
    with committed(mix) as aside:
        aside.write_text(_mix(exported), "utf-8")
    with committed(mixture) as aside:
        aside.write_text(_source_mixture(exported), "utf-8")
    return [mix, mixture, copy_tokenizer(exported)]


def _mix(exported: Export) -> str:
    """A label and a path for each piece of the training split."""
    lines = [
        "# {TOKENIZER} is this folder: put it at BASE/IDENTIFIER of the tokenizer, and give BASE as mix_base_dir.\n"
    ]
    lines += [f"{piece.source},{{TOKENIZER}}/{piece.stem}.npy\n" for piece in exported.of(TRAIN)]
    return "".join(lines)


def _source_mixture(exported: Export) -> str:
    """The sources, each with its share and the repetitions that a training on the mixture needs."""
    sources = source_views(exported)
    entries = [
        {
            "source_name": source.name,
            "target_ratio": float(f"{source.weight:.12g}"),
            "paths": [f"{piece.stem}.npy" for piece in exported.of(TRAIN, source.name)],
            "max_repetition_ratio": max(1.0, math.ceil(source.epochs * 1e4) / 1e4),
        }
        for source in sources
    ]
    text = yaml.safe_dump({"sources": entries}, sort_keys=False)
    return f"# requested_tokens: at most {tokens_seen(sources)}\n" + text


def load(folder: Path) -> str:
    """How it is read."""
    vocabulary = read_vocabulary(folder)
    return (
        f'start in {folder} (paths are relative): SourceMixtureList.from_yaml("source_mixture.yaml"), with '
        f"NumpyFSLDatasetConfig(dtype={dtype_of(vocabulary.size).name!r}, …) and TokenizerConfig("
        f"vocab_size={vocabulary.size}, eos_token_id={vocabulary.eos_id}, …)"
    )


FORMAT = Format("olmo", "OLMo-core", write, finish, load, tokens=True)
