"""What an export records of itself: the files of each piece while it is written, then export.json."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import curate
from curate.storage.files import sealed, sha256_of, unsealed, write_json

EXPORT, JOURNAL = "export.json", "pieces.ndjson"
EXPORT_VERSION = 2


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file of an export."""

    path: str  # within the export
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Size:
    """Documents and tokens."""

    documents: int
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PieceRecord:
    """A piece that is written, with its files."""

    stem: str
    split: str
    source: str
    documents: int
    tokens: int
    files: tuple[FileRecord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRecord:
    """What an export has of one run."""

    name: str
    role: str
    manifest_sha256: str
    share: float
    weight: float
    epochs: float
    documents: int
    tokens: int
    repeated: bool = False  # documents of the training split are written as often as their weights say


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRecord:
    """A finished export: what was written, from which runs and how, without clock or host."""

    digest: str
    format: str
    options: Mapping[str, object]
    sources: tuple[SourceRecord, ...]
    splits: Mapping[str, Size]
    files: tuple[FileRecord, ...]
    load: str = ""  # the line that reads it; not in export.json


def file_record(folder: Path, path: Path) -> FileRecord:
    """The record of a file in the folder of an export."""
    return FileRecord(path.relative_to(folder).as_posix(), path.stat().st_size, sha256_of(path))


def size_of(pieces: Iterable[PieceRecord]) -> Size:
    """Documents and tokens of some pieces."""
    pieces = list(pieces)
    return Size(sum(piece.documents for piece in pieces), sum(piece.tokens for piece in pieces))


def export_json(record: ExportRecord) -> dict[str, object]:
    """The fields of export.json, with their seal."""
    fields = asdict(record)
    del fields["load"]
    tool = {"name": "curate-lm", "version": curate.__version__}
    return sealed({"export_version": EXPORT_VERSION, "tool": tool} | fields)


def write_export(folder: Path, record: ExportRecord) -> None:
    """Commit export.json."""
    write_json(folder / EXPORT, export_json(record))


def read_export(folder: Path) -> ExportRecord:
    """The record of a finished export.

    Errors: OSError, or ValueError where export.json was changed.
    """
    fields = unsealed(json.loads((folder / EXPORT).read_text("utf-8")))
    return ExportRecord(
        digest=fields["digest"],
        format=fields["format"],
        options=fields["options"],
        sources=tuple(SourceRecord(**source) for source in fields["sources"]),
        splits={split: Size(**size) for split, size in fields["splits"].items()},
        files=tuple(FileRecord(**file) for file in fields["files"]),
    )


def journal_line(fields: Mapping[str, object]) -> str:
    """A line of the journal of pieces, with its seal."""
    return json.dumps(sealed(fields)) + "\n"


def read_journal(folder: Path) -> list[PieceRecord]:
    """The pieces that a stopped export had written; without a damaged line and those after it."""
    try:
        lines = (folder / JOURNAL).read_text("utf-8").splitlines()[1:]
    except (FileNotFoundError, UnicodeDecodeError):
        return []
    pieces = []
    for line in lines:
        try:
            fields = unsealed(json.loads(line))
        except (ValueError, AttributeError):  # the last line, half written, or a damaged one
            break
        files = tuple(FileRecord(**file) for file in fields.pop("files"))
        pieces.append(PieceRecord(**fields, files=files))
    return pieces
