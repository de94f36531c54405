"""What is read as a folder: one for each split (of each source of a mixture), with an index.json that lists its files.

train/ and validation/; of a mixture, SOURCE/train/ and SOURCE/validation/.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from curate.manifests.export.format import Exported
from curate.manifests.export.training_view import seen
from curate.storage.files import committed, write_json

INDEX = "index.json"
Records = Sequence[Mapping[str, Any]]  # of pieces


def place(stem: str, split: str) -> str:
    """Where a piece goes below the export: web/train/00000-of-00004 for data/web/train-00000-of-00004."""
    path = PurePosixPath(stem)
    return (path.parent.relative_to("data") / split / path.name.removeprefix(f"{split}-")).as_posix()


def number(stem: str, split: str) -> int:
    """The number of a piece in its folder, from 0."""
    return int(PurePosixPath(stem).name.removeprefix(f"{split}-").partition("-")[0])


def folders(exported: Exported) -> Iterator[tuple[Path, Records]]:
    """Each folder with its pieces in order."""
    for split in exported.splits():
        for source in exported.sources:
            if pieces := exported.of(split, source.name):
                yield exported.folder / PurePosixPath(place(pieces[0]["stem"], split)).parent, pieces


def write_indexes(exported: Exported, index: Any) -> list[Path]:  # noqa: ANN401
    """Write index.json of each folder, of what `index` makes of the folder and its pieces."""
    written = []
    for folder, pieces in folders(exported):
        write_json(folder / INDEX, index(folder, pieces))
        written.append(folder / INDEX)
    return written


def drawn(exported: Exported) -> dict[str, float]:
    """By source of a mixture: which share of the documents that a training sees is of it."""
    return {source.name: round(source.document_weight, 9) for source in seen(exported)}


def write_script(path: Path, text: str) -> Path:
    """Commit a file of Python, for the user to import."""
    with committed(path) as aside:
        aside.write_text(text, "utf-8")
    return path
