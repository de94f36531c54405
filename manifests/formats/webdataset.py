"""WebDataset: a tar for each piece, in which a document is two files: its text and its columns."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from curate.manifests.export.folders import document_weights, piece_number, piece_path, write_indexes, write_script
from curate.manifests.export.format import Export, Format, Piece, WrittenPiece, literal
from curate.manifests.export.records import PieceRecord
from curate.manifests.export.sources import DOC_ID, MESSAGES, N_TOKENS, SOURCE
from curate.manifests.formats.jsonl import as_json
from curate.storage.files import committed

MIXTURE = "mixture.py"
SCRIPT = '''"""What a training on this mixture reads.

    mixture()

A source is drawn for each document, without an end: take as many steps as the training has.
"""

import json
from pathlib import Path

import webdataset

HERE = Path(__file__).parent
DRAWN = {drawn}  # which share of the documents is of each source


def tars(name, split="train"):
    """The files of a source."""
    folder = HERE / name / split
    return [str(folder / shard["url"]) for shard in json.loads((folder / "index.json").read_text())["shardlist"]]


def mixture(shuffle=1000):
    """Documents of all sources, each source in an order of its own."""
    datasets = [
        webdataset.WebDataset(tars(name), shardshuffle=len(tars(name))).shuffle(shuffle).decode().repeat()
        for name in DRAWN
    ]
    return webdataset.RandomMix(datasets, list(DRAWN.values()))
'''


def write(piece: Piece) -> WrittenPiece:
    """One tar, without time or user."""
    from webdataset import TarWriter

    path, count = Path(piece.folder, piece_path(piece.stem, piece.split) + ".tar"), 0
    shard = piece_number(piece.stem, piece.split)
    with (
        committed(path) as aside,
        aside.open("wb") as file,
        TarWriter(file, user="", group="", mtime=0, compress=False, encoder=False) as writer,
    ):
        for sample in _samples(piece):
            writer.write({"__key__": f"{shard:05d}-{count:09d}"} | sample)
            count += 1
    return WrittenPiece((path,), count)


def _samples(piece: Piece) -> Iterator[dict[str, bytes]]:
    """The files of each document, by their endings. The run's columns are nested: one may be called `source` too."""
    source = piece.source
    for table in piece.tables():
        for row in table.to_pylist():
            content = row.pop(source.column)
            doc_id, n_tokens = row.pop(source.doc_id), row.pop(source.n_tokens)
            about = {DOC_ID: doc_id, N_TOKENS: n_tokens, SOURCE: source.name, "columns": row}
            if source.messages:
                yield {"json": _json({MESSAGES: content} | about)}
            else:
                yield {"txt": content.encode(), "json": _json(about)}


def _json(value: Mapping[str, object]) -> bytes:
    return json.dumps(as_json(value), ensure_ascii=False).encode()


def finish(exported: Export) -> list[Path]:
    """The index of each folder, and the script of a mixture."""
    paths = write_indexes(exported, _index)
    if len(exported.sources) > 1:
        script = SCRIPT.replace("{drawn}", str(document_weights(exported)))
        paths.append(write_script(exported.folder / MIXTURE, script))
    return paths


def _index(folder: Path, pieces: Sequence[PieceRecord]) -> dict[str, object]:
    """The tars, as wids.ShardListDataset reads them."""
    shards = [{"url": Path(piece.files[0].path).name, "nsamples": piece.documents} for piece in pieces]
    return {"__kind__": "wids-shard-index-v1", "wids_version": 1, "shardlist": shards}


def load(folder: Path) -> str:
    """How it is read."""
    if (folder / MIXTURE).exists():
        return f'runpy.run_path({literal(folder / MIXTURE)})["mixture"]()'
    count = len(list((folder / "train").glob("*.tar")))
    tars = literal(folder / f"train/{{00000..{count - 1:05d}}}-of-{count:05d}.tar")
    return f"webdataset.WebDataset({tars}, shardshuffle=False).decode()"


FORMAT = Format("webdataset", "WebDataset", write, finish, load, chats=True, needs={"webdataset": "webdataset"})
