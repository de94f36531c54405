"""Lightning's litdata, written by its own writer: chunks of documents, numbered by piece.

With `--tokenizer` these are tokens, as LitGPT wants them for pretraining: its TokensLoader cuts the tokens of a chunk
into blocks, and leaves out what is less than a block at its end.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curate.manifests.export.folders import Records, drawn, number, place, write_indexes, write_script
from curate.manifests.export.format import Exported, Format, Piece, Written, literal
from curate.manifests.export.tokens import TOKENIZER, copied_tokenizer, dtype_of, tokens_of
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


def write(piece: Piece) -> Written:
    """The chunks of one piece, and what its writer tells of them."""
    from litdata.streaming.item_loader import PyTreeLoader, TokensLoader
    from litdata.streaming.serializers import StringSerializer
    from litdata.streaming.writer import BinaryWriter

    strings = StringSerializer()
    strings.can_serialize = lambda value: isinstance(value, str)  # its own opens a text that is the name of a file
    loader = TokensLoader() if piece.options.vocabulary else PyTreeLoader()
    folder, count, tokens = Path(piece.folder, place(piece.stem, piece.split)).parent, 0, 0
    with committed_files(folder) as aside:
        writer = BinaryWriter(
            str(aside), chunk_bytes=CHUNK_BYTES, serializers=None if piece.options.vocabulary else {"str": strings},
            item_loader=loader,
        )  # fmt: skip
        for item in _token_items(piece) if piece.options.vocabulary else _text_items(piece):
            writer.add_item(count, item)
            count += 1
            tokens += len(item)
        writer.done()
        _number(aside, piece)
        files = tuple(folder / path.name for path in sorted(aside.iterdir()))
    return Written(files, count, tokens if piece.options.vocabulary else None)


def _text_items(piece: Piece) -> Iterator[Any]:
    return (row for table in piece.plain() for row in table.to_pylist())


def _token_items(piece: Piece) -> Iterator[Any]:
    """The tokens of each document with their end, in the type that the vocabulary needs."""
    assert piece.options.vocabulary
    dtype = dtype_of(piece.options.vocabulary.size)
    return (document.astype(dtype) for _, documents in tokens_of(piece) for document in documents)


def _number(folder: Path, piece: Piece) -> None:
    """Name the chunks of a piece as litdata names those of a worker: chunk-3-0.bin is the first of piece 3."""
    told_by_litdata = folder / "0.index.json"
    told = json.loads(told_by_litdata.read_text("utf-8"))
    told_by_litdata.unlink()
    for chunk in told["chunks"]:
        renamed = f"chunk-{number(piece.stem, piece.split)}-{chunk['filename'].rpartition('-')[2]}"
        (folder / chunk["filename"]).rename(folder / f"{renamed}.renamed")
        chunk["filename"] = renamed
    for path in folder.glob("*.renamed"):
        path.rename(path.with_suffix(""))
    write_json(folder / _told(piece.stem, piece.split), told)


def _told(stem: str, split: str) -> str:
    return f"chunks-{number(stem, split)}.json"


def finish(exported: Exported) -> list[Path]:
    """The index of each folder, how the sources of a mixture are drawn, and the tokenizer beside tokens."""
    written = write_indexes(exported, _merged)
    if exported.options.vocabulary:
        written.append(copied_tokenizer(exported))
    if len(exported.sources) > 1:
        written.append(write_script(exported.folder / MIXTURE, SCRIPT.replace("{drawn}", str(drawn(exported)))))
    return written


def _merged(folder: Path, pieces: Records) -> dict[str, Any]:
    """The chunks of all pieces. The reader's cache goes by `updated_at`, so that is a digest of them, not a time."""
    from litdata.types import fuse_schema_json

    told = [json.loads((folder / _told(piece["stem"], piece["split"])).read_text("utf-8")) for piece in pieces]
    config = told[0]["config"]
    for other in told[1:]:
        config["types"] = fuse_schema_json(config["types"], other["config"]["types"])
    hashes = [file["sha256"] for piece in pieces for file in piece["files"]]
    return {
        "chunks": [chunk for one in told for chunk in one["chunks"]],
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
