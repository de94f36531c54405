"""Arrays of tokens as OLMo-core and dolma have them: .npy without a header, and beside it .csv.gz with the documents.

`source_mixture.yaml` is a SourceMixtureList: the runs in their shares. `mix.txt` is a list of files as OLMo-core's
named mixes are: label, path. Each path must have {TOKENIZER} in it, which OLMo-core replaces by the tokenizer's
identifier; here it stands for this folder, so that the list holds where the folder lies at BASE/IDENTIFIER.
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

from curate.manifests.export.format import Exported, Format, Piece, Written
from curate.manifests.export.sources import TRAIN
from curate.manifests.export.tokens import copied_tokenizer, dtype_of, tokens_of, told_vocabulary
from curate.manifests.export.training_view import seen, tokens_seen
from curate.storage.files import committed


def write(piece: Piece) -> Written:
    """The array of a piece, and a line for each document: start, end, id, source, place in the piece."""
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
    return Written((data, index), count, start)


@contextmanager
def _zipped(path: Path) -> Iterator[TextIO]:
    """Text that is compressed, without name and time in it."""
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed,
        io.TextIOWrapper(packed, "utf-8", newline="") as text,
    ):
        yield text


def finish(exported: Exported) -> list[Path]:
    """The two lists of files, and the tokenizer."""
    mix, mixture = exported.folder / "mix.txt", exported.folder / "source_mixture.yaml"
    with committed(mix) as aside:
        aside.write_text(_mix(exported), "utf-8")
    with committed(mixture) as aside:
        aside.write_text(_source_mixture(exported), "utf-8")
    return [mix, mixture, copied_tokenizer(exported)]


def _mix(exported: Exported) -> str:
    """A label and a path for each piece to train on."""
    lines = [
        "# {TOKENIZER} is this folder: put it at BASE/IDENTIFIER of the tokenizer, and give BASE as mix_base_dir.\n"
    ]
    lines += [f"{piece['source']},{{TOKENIZER}}/{piece['stem']}.npy\n" for piece in exported.of(TRAIN)]
    return "".join(lines)


def _source_mixture(exported: Exported) -> str:
    """The sources, each with its share and as many repetitions as a training on the whole mixture needs."""
    sources = seen(exported)
    listed = [
        {
            "source_name": source.name,
            "target_ratio": float(f"{source.weight:.12g}"),
            "paths": [f"{piece['stem']}.npy" for piece in exported.of(TRAIN, source.name)],
            "max_repetition_ratio": max(1.0, math.ceil(source.epochs * 1e4) / 1e4),
        }
        for source in sources
    ]
    text = yaml.safe_dump({"sources": listed}, sort_keys=False)
    return f"# requested_tokens: at most {tokens_seen(sources)}\n" + text


def load(folder: Path) -> str:
    """How it is read."""
    told = told_vocabulary(folder)
    return (
        f'start in {folder} (paths are relative): SourceMixtureList.from_yaml("source_mixture.yaml"), with '
        f"NumpyFSLDatasetConfig(dtype={dtype_of(told['size']).name!r}, …) and TokenizerConfig("
        f"vocab_size={told['size']}, eos_token_id={told['eos_id']}, …)"
    )


FORMAT = Format("olmo", "OLMo-core", write, finish, load, tokens=True)
