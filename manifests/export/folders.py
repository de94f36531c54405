"""Exports read as folders: one for each split (of each source of a mixture), with an index.json that lists its files.

train/ and validation/; of a mixture, SOURCE/train/ and SOURCE/validation/.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from curate.manifests.export.format import Export
from curate.manifests.export.records import PieceRecord
from curate.manifests.export.training_view import source_views
from curate.storage.files import committed, write_json

INDEX = "index.json"

Index = Callable[[Path, Sequence[PieceRecord]], Mapping[str, object]]  # of a folder with its pieces


def piece_path(stem: str, split: str) -> str:
    """The path of a piece within the export: web/train/00000-of-00004 for data/web/train-00000-of-00004."""
    path = PurePosixPath(stem)
    return (path.parent.relative_to("data") / split / path.name.removeprefix(f"{split}-")).as_posix()


def piece_number(stem: str, split: str) -> int:
    """The number of a piece in its folder, from 0."""
    return int(PurePosixPath(stem).name.removeprefix(f"{split}-").partition("-")[0])


def folders(exported: Export) -> Iterator[tuple[Path, list[PieceRecord]]]:
    """Each folder with its pieces in order."""
    for split in exported.splits():
        for source in exported.sources:
            if pieces := exported.of(split, source.name):
                yield exported.folder / PurePosixPath(piece_path(pieces[0].stem, split)).parent, pieces


def write_indexes(exported: Export, index: Index) -> list[Path]:
    """Write the index.json of each folder."""
    paths = []
    for folder, pieces in folders(exported):
        write_json(folder / INDEX, index(folder, pieces))
        paths.append(folder / INDEX)
    return paths


def document_weights(exported: Export) -> dict[str, float]:
    """By source of a mixture: its share of the documents that a training reads."""
    return {source.name: round(source.document_weight, 9) for source in source_views(exported)}


def write_script(path: Path, text: str) -> Path:
    """Commit a Python file for the user to import."""
    with committed(path) as aside:
        aside.write_text(text, "utf-8")
    return path
