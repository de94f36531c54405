"""MosaicML's MDS, as LLM Foundry and Composer read it, written by its own writer: a folder of shards for each piece."""

import json
from collections.abc import Sequence
from pathlib import Path

from curate.manifests.export.folders import INDEX, piece_path, write_indexes, write_script
from curate.manifests.export.format import Export, Format, Piece, WrittenPiece, literal
from curate.manifests.export.records import PieceRecord
from curate.manifests.export.sources import DOC_ID, MESSAGES, N_TOKENS, SOURCE, TEXT
from curate.storage.files import committed_files

SHARD_BYTES = 1 << 26
HASHES = ["sha1", "xxh64"]  # sorted, which the writer demands
STREAMS = "streams.py"
SCRIPT = '''"""What a training on this mixture reads, as streams.

    StreamingDataset(streams=streams(), batch_size=8, shuffle=True)

One epoch of that is the whole training: each document is seen as often as REPEAT says, and of a part of one, other
documents in each epoch.
"""

from pathlib import Path

from streaming import Stream

HERE = Path(__file__).parent
REPEAT = {repeat}


def streams(split="train", local=HERE, remote=None):
    """A stream for each source: of this folder, or of a copy of it at `remote`, which is kept in `local`."""
    return [
        Stream(
            remote=remote and f"{{remote}}/{{name}}",
            local=str(Path(local, name)),
            split=split,
            repeat=times if split == "train" else 1,
        )
        for name, times in REPEAT.items()
        if Path(HERE, name, split).exists()
    ]
'''


def write(piece: Piece) -> WrittenPiece:
    """One folder, which is a dataset by itself too."""
    from streaming import MDSWriter

    folder, count = Path(piece.folder, piece_path(piece.stem, piece.split)), 0
    columns = {TEXT: "str"} if piece.source.messages is None else {MESSAGES: "json"}
    columns |= {DOC_ID: "str", N_TOKENS: "int", SOURCE: "str"}
    with committed_files(folder) as aside:
        with MDSWriter(out=str(aside), columns=columns, hashes=HASHES, size_limit=SHARD_BYTES, max_workers=1) as writer:
            for table in piece.plain():
                for row in table.to_pylist():
                    writer.write(row)
                count += len(table)
        files = tuple(folder / path.name for path in sorted(aside.iterdir()))
    return WrittenPiece(files, count)


def finish(exported: Export) -> list[Path]:
    """The index of each folder, and the streams of a mixture."""
    paths = write_indexes(exported, _merge)
    if len(exported.sources) > 1:
        repeat = {source.name: source.epochs for source in exported.sources}
        paths.append(write_script(exported.folder / STREAMS, SCRIPT.format(repeat=repeat)))
    return paths


def _merge(folder: Path, pieces: Sequence[PieceRecord]) -> dict[str, object]:
    """The index of all pieces, as `streaming.base.util.merge_index` writes it."""
    shards = []
    for piece in pieces:
        name = Path(piece_path(piece.stem, piece.split)).name
        for shard in json.loads((folder / name / INDEX).read_text("utf-8"))["shards"]:
            shard["raw_data"]["basename"] = f"{name}/{shard['raw_data']['basename']}"
            shards.append(shard)
    return {"version": 2, "shards": shards}


def load(folder: Path) -> str:
    """How it is read."""
    if (folder / STREAMS).exists():
        streams = f'runpy.run_path({literal(folder / STREAMS)})["streams"]()'
        return f"streaming.StreamingDataset(streams={streams}, batch_size=1)"
    return f'streaming.StreamingDataset(local={literal(folder)}, split="train", batch_size=1)'


FORMAT = Format("mds", "MosaicML Streaming", write, finish, load, chats=True, needs={"streaming": "mds"})
