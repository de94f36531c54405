"""The formats of `curate export`: what a format is, and what it receives to write."""

import importlib
import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import CurateError, did_you_mean
from curate.manifests.export.format_names import MODULES as MODULES
from curate.manifests.export.records import PieceRecord, size_of
from curate.manifests.export.sources import Source, documents_of, plain
from curate.recipe.values import parse_share


@dataclass(frozen=True)
class Vocabulary:
    """The tokenizer of an export (tokens.py)."""

    name: str  # as the user gave it, without its folder on this machine
    path: str  # of its tokenizer.json on this machine
    sha256: str  # of tokenizer.json
    size: int  # all token ids are below
    eos: str  # the token that ends a document
    eos_id: int

    def to_json(self) -> dict[str, object]:
        """The fields without the path on this machine."""
        return {name: value for name, value in asdict(self).items() if name != "path"}


@dataclass(frozen=True)
class Options:
    """The user's choices for an export; all of them change what is written."""

    validation: float = 0.0  # share of the documents
    tokenizer: str | None = None  # a tokenizer.json, or a name on the Hub
    eos: str | None = None  # the token that ends a document; None: the one that the tokenizer names
    vocabulary: Vocabulary | None = None  # the tokenizer, opened, for a format of tokens

    def to_json(self) -> dict[str, object]:
        """The options for export.json: without paths on this machine."""
        options: dict[str, object] = {"validation": self.validation}
        return options if self.vocabulary is None else options | {"tokenizer": self.vocabulary.to_json()}


def options_of(validation: str, tokenizer: str | None, eos: str | None) -> Options:
    """Options as a user writes them.

    Errors: CurateError for an invalid share, or an end of documents without a tokenizer.
    """
    if eos is not None and tokenizer is None:
        raise CurateError(f"--eos {eos}: ends documents of tokens; give --tokenizer too")
    try:
        share = float(str(parse_share(validation)))
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise CurateError(f"--validation {validation}: is no share of the documents; write 0.5% or 0.005")
    return Options(share, tokenizer, eos)


@dataclass(frozen=True)
class Piece:
    """What one task writes: the documents of one shard of one run that are in one split."""

    source: Source
    shard: str
    split: str
    folder: str  # of the format
    stem: str  # of its files within the folder, without the ending, as in data/train-00000-of-00004
    documents: int
    tokens: int  # as n_tokens counts them
    options: Options

    def __str__(self) -> str:
        """Where the task writes, for messages."""
        return f"{self.folder}/{self.stem}"

    def path(self, ending: str) -> Path:
        """The path of the piece's file with this ending."""
        return Path(self.folder, self.stem + ending)

    def tables(self) -> Iterator[pa.Table]:
        """The documents in order with the columns of the run."""
        return documents_of(self.source, self.shard, self.split, self.options.validation)

    def whole(self) -> Iterator[pa.Table]:
        """The documents in order with the columns of the run; of a mixture, whose runs differ, with the plain ones."""
        return self.tables() if Path(self.stem).parent == Path("data") else self.plain()

    def plain(self) -> Iterator[pa.Table]:
        """The documents in order as text (or messages), doc_id, n_tokens and source."""
        return (plain(table, self.source) for table in self.tables())


@dataclass(frozen=True)
class WrittenPiece:
    """The files and counts of a piece."""

    files: tuple[Path, ...]
    documents: int
    tokens: int | None = None  # as a format of tokens counts them


@dataclass(frozen=True)
class Export:
    """All pieces of one format, in the order of their documents."""

    folder: Path
    sources: tuple[Source, ...]
    options: Options
    pieces: tuple[PieceRecord, ...]

    def of(self, split: str, source: str | None = None) -> list[PieceRecord]:
        """The pieces of a split, or of one source of it."""
        return [piece for piece in self.pieces if piece.split == split and source in (None, piece.source)]

    def weighted(self, split: str) -> list[tuple[PieceRecord, float]]:
        """The pieces of a split, each with its share of a training's tokens: its part of its source's weight."""
        weights = {source.name: source.weight for source in self.sources}
        tokens = {name: size_of(self.of(split, name)).tokens for name in weights}
        total = sum(weight for name, weight in weights.items() if tokens[name])
        return [
            (piece, weights[piece.source] / total * piece.tokens / tokens[piece.source]) for piece in self.of(split)
        ]

    def splits(self) -> list[str]:
        """The splits that have documents, in the order of their pieces."""
        return list(dict.fromkeys(piece.split for piece in self.pieces))

    def schema(self) -> pa.Schema:
        """The columns of `Piece.whole`."""
        schema = pq.read_schema(self.sources[0].shards[0].path).remove_metadata()
        return schema if len(self.sources) == 1 else plain(schema.empty_table(), self.sources[0]).schema


def literal(folder: Path) -> str:
    """A path as a Python literal, for printed lines of code."""
    return json.dumps(str(folder), ensure_ascii=False)


def no_piece(piece: Piece) -> WrittenPiece:
    """Write nothing: for formats that are not made from the run's shards."""
    return WrittenPiece((), 0)


@dataclass(frozen=True)
class Format:
    """One way to write documents for a trainer."""

    name: str
    title: str  # what reads it
    write: Callable[[Piece], WrittenPiece] = no_piece
    finish: Callable[[Export], list[Path]] = lambda exported: []  # writes the files beside the pieces; returns them
    load: Callable[[Path], str] = lambda folder: ""  # the line that a user needs next
    of_shards: bool = True
    tokens: bool = False  # of token ids, so it needs a tokenizer
    tokens_if_asked: bool = False  # of token ids with a tokenizer, of text without
    keeps_columns: bool = False  # of one run writes all columns, the weight among them, so each document once
    chats: bool = False  # can store chats
    pairs: bool = False  # has the preference pairs of runs that made them
    needs: Mapping[str, str] = field(default_factory=dict)  # modules, and the extra that installs each

    @property
    def holds(self) -> str:
        """What it can store, for people."""
        contents = {
            "text": self.of_shards and not self.tokens,
            "chats": self.of_shards and self.chats,
            "tokens": self.tokens or self.tokens_if_asked,
            "preference pairs": self.pairs,
        }
        return ", ".join(name for name, is_stored in contents.items() if is_stored)


def find_format(name: str, option: str = "--to") -> Format:
    """A format by its name; errors begin with the option or recipe field `option`.

    Errors: CurateError for an unknown format, or one whose libraries are not installed.
    """
    if name not in MODULES:
        raise CurateError(f"{option} {name}: no such format{did_you_mean(name, MODULES)}")
    form = _of_module(name)
    for module, extra in form.needs.items():
        if importlib.util.find_spec(module) is None:
            raise CurateError(
                f"{option} {name}: needs {module}, which is not installed; pip install 'curate-lm[{extra}]'"
            )
    return form


def all_formats() -> list[Format]:
    """Every format, whether or not its libraries are installed."""
    return [_of_module(name) for name in MODULES]


def _of_module(name: str) -> Format:
    form: Format = importlib.import_module(f"curate.manifests.formats.{MODULES[name]}").FORMAT
    return form
