"""WebDataset: a tar for each piece, in which a document is two files, its text and what is known of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curate.manifests.export.folders import Records, drawn, number, place, write_indexes, write_script
from curate.manifests.export.format import Exported, Format, Piece, Written, literal
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


def write(piece: Piece) -> Written:
    """One tar, with neither the time nor the user of its writing."""
    from webdataset import TarWriter

    path, count = Path(piece.folder, place(piece.stem, piece.split) + ".tar"), 0
    shard = number(piece.stem, piece.split)
    with (
        committed(path) as aside,
        aside.open("wb") as file,
        TarWriter(file, user="", group="", mtime=0, compress=False, encoder=False) as writer,
    ):
        for sample in _samples(piece):
            writer.write({"__key__": f"{shard:05d}-{count:09d}"} | sample)
            count += 1
    return Written((path,), count)


def _samples(piece: Piece) -> Iterator[dict[str, bytes]]:
    """The files of each document, by their endings. Columns of the run stand apart: one may be called `source` too."""
    source = piece.source
    for table in piece.tables():
        for row in table.to_pylist():
            learnt = row.pop(source.column)
            about: dict[str, Any] = {
                DOC_ID: row.pop(source.doc_id), N_TOKENS: row.pop(source.n_tokens), SOURCE: source.name, "columns": row
            }  # fmt: skip
            if source.messages:
                yield {"json": _json({MESSAGES: learnt} | about)}
            else:
                yield {"txt": learnt.encode(), "json": _json(about)}


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(as_json(value), ensure_ascii=False).encode()


def finish(exported: Exported) -> list[Path]:
    """The index of each folder, and how the sources of a mixture are drawn."""
    written = write_indexes(exported, _listed)
    if len(exported.sources) > 1:
        written.append(write_script(exported.folder / MIXTURE, SCRIPT.replace("{drawn}", str(drawn(exported)))))
    return written


def _listed(folder: Path, pieces: Records) -> dict[str, Any]:
    """The tars, as wids.ShardListDataset reads them."""
    shards = [
        {"url": Path(piece["files"][0]["path"]).name, "nsamples": piece["documents"]} for piece in pieces
    ]  # fmt: skip
    return {"__kind__": "wids-shard-index-v1", "wids_version": 1, "shardlist": shards}


def load(folder: Path) -> str:
    """How it is read."""
    if (folder / MIXTURE).exists():
        return f'runpy.run_path({literal(folder / MIXTURE)})["mixture"]()'
    count = len(list((folder / "train").glob("*.tar")))
    tars = literal(folder / f"train/{{00000..{count - 1:05d}}}-of-{count:05d}.tar")
    return f"webdataset.WebDataset({tars}, shardshuffle=False).decode()"


FORMAT = Format("webdataset", "WebDataset", write, finish, load, chats=True, needs={"webdataset": "webdataset"})
