"""Lightning's litdata, written by its own writer: chunks of documents, numbered by piece.

With `--tokenizer` these are tokens, as LitGPT reads them for pretraining: its TokensLoader cuts the tokens of a chunk
into blocks, and drops an incomplete block at its end.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from curate.manifests.export.folders import document_weights, piece_number, piece_path, write_indexes, write_script
from curate.manifests.export.format import Export, Format, Piece, WrittenPiece, literal
from curate.manifests.export.records import PieceRecord
from curate.manifests.export.tokens import TOKENIZER, copy_tokenizer, dtype_of, tokens_of
from curate.storage.files import committed_files, write_json

CHUNK_BYTES = 1 << 26
MIXTURE = "mixture.py"
SCRIPT = '''"""What a training on this mixture reads.

    mixture(shuffle=True)

A source is drawn for each document. One epoch ends where the first source has no more.
"""

from pathlib import Path

from litdata import CombinedStreamingDataset, StreamingDataset

HERE = Path(__file__).parent
DRAWN = {drawn}  # which share of the documents is of each source


def mixture(**options):
    """Documents of all sources; `options` are those of StreamingDataset."""
    datasets = [StreamingDataset(str(HERE / name / "train"), **options) for name in DRAWN]
    return CombinedStreamingDataset(datasets, weights=list(DRAWN.values()), iterate_over_all=False)
'''


def write(piece: Piece) -> WrittenPiece:
    """The chunks of one piece, and its writer's index of them."""
    from litdata.streaming.item_loader import PyTreeLoader, TokensLoader
    from litdata.streaming.serializers import StringSerializer
    from litdata.streaming.writer import BinaryWriter

    strings = StringSerializer()
    strings.can_serialize = lambda value: isinstance(value, str)  # its own one opens a text that names a file
    loader = TokensLoader() if piece.options.vocabulary else PyTreeLoader()
    folder, count, tokens = Path(piece.folder, piece_path(piece.stem, piece.split)).parent, 0, 0
    with committed_files(folder) as aside:
        serializers = None if piece.options.vocabulary else {"str": strings}
        writer = BinaryWriter(str(aside), chunk_bytes=CHUNK_BYTES, serializers=serializers, item_loader=loader)
        for item in _token_items(piece) if piece.options.vocabulary else _text_items(piece):
            writer.add_item(count, item)
            count += 1
            tokens += len(item)
        writer.done()
        _number_chunks(aside, piece)
        files = tuple(folder / path.name for path in sorted(aside.iterdir()))
    return WrittenPiece(files, count, tokens if piece.options.vocabulary else None)


def _text_items(piece: Piece) -> Iterator[Any]:
    return (row for table in piece.plain() for row in table.to_pylist())


def _token_items(piece: Piece) -> Iterator[Any]:
    """The tokens of each document and its end, in the vocabulary's data type."""
    assert piece.options.vocabulary
    dtype = dtype_of(piece.options.vocabulary.size)
    return (document.astype(dtype) for _, documents in tokens_of(piece) for document in documents)


def _number_chunks(folder: Path, piece: Piece) -> None:
    """Name the chunks of a piece as litdata names those of a worker: chunk-3-0.bin is the first of piece 3."""
    written_index = folder / "0.index.json"
    index = json.loads(written_index.read_text("utf-8"))
    written_index.unlink()
    for chunk in index["chunks"]:
        renamed = f"chunk-{piece_number(piece.stem, piece.split)}-{chunk['filename'].rpartition('-')[2]}"
        (folder / chunk["filename"]).rename(folder / f"{renamed}.renamed")
        chunk["filename"] = renamed
    for path in folder.glob("*.renamed"):
        path.rename(path.with_suffix(""))
    write_json(folder / _index_name(piece.stem, piece.split), index)


def _index_name(stem: str, split: str) -> str:
    return f"chunks-{piece_number(stem, split)}.json"


def finish(exported: Export) -> list[Path]:
    """The index of each folder, the script of a mixture, and the tokenizer beside tokens."""
    paths = write_indexes(exported, _merge)
    if exported.options.vocabulary:
        paths.append(copy_tokenizer(exported))
    if len(exported.sources) > 1:
        script = SCRIPT.replace("{drawn}", str(document_weights(exported)))
        paths.append(write_script(exported.folder / MIXTURE, script))
    return paths


def _merge(folder: Path, pieces: Sequence[PieceRecord]) -> dict[str, object]:
    """The chunks of all pieces. The reader's cache is keyed by `updated_at`, so this is a digest, not a time."""
    from litdata.types import fuse_schema_json

    indexes = [json.loads((folder / _index_name(piece.stem, piece.split)).read_text("utf-8")) for piece in pieces]
    config = indexes[0]["config"]
    for index in indexes[1:]:
        config["types"] = fuse_schema_json(config["types"], index["config"]["types"])
    hashes = [file.sha256 for piece in pieces for file in piece.files]
    return {
        "chunks": [chunk for index in indexes for chunk in index["chunks"]],
        "config": config,
        "updated_at": hashlib.sha256("".join(hashes).encode()).hexdigest(),
    }


def load(folder: Path) -> str:
    """How it is read."""
    tokens = (folder / TOKENIZER).exists()
    loader = ", item_loader=litdata.TokensLoader(block_size=2049)" if tokens else ""
    if (folder / MIXTURE).exists():
        return f'runpy.run_path({literal(folder / MIXTURE)})["mixture"](shuffle=True{loader})'
    return f"litdata.StreamingDataset({literal(folder / 'train')}{loader})"


FORMAT = Format(
    "litdata", "litdata, LitGPT", write, finish, load, tokens_if_asked=True, chats=True, needs={"litdata": "litdata"}
)
