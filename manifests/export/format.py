"""The formats of `curate export`: what each one is, and what one is given to write."""

import importlib
import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import CurateError, did_you_mean
from curate.manifests.export.format_names import MODULES as MODULES
from curate.manifests.export.sources import Source, documents_of, plain
from curate.recipe.values import parse_share


@dataclass(frozen=True)
class Vocabulary:
    """What makes tokens out of text (tokens.py)."""

    name: str  # as the user gave it, without the place on this machine
    path: str  # of its tokenizer.json on this machine
    sha256: str  # of tokenizer.json
    size: int  # all numbers of tokens lie below
    eos: str  # the token that ends a document
    eos_id: int


@dataclass(frozen=True)
class Options:
    """What the user chose for an export; all of it changes what is written."""

    validation: float = 0.0  # share of the documents
    tokenizer: str | None = None  # a tokenizer.json, or a name on the Hub
    eos: str | None = None  # the token that ends a document; None: the one that the tokenizer names
    vocabulary: Vocabulary | None = None  # what the two stand for, where a format holds tokens

    def told(self) -> dict[str, Any]:
        """As export.json tells of them: without a place on this machine."""
        told = {"validation": self.validation}
        if self.vocabulary is None:
            return told
        facts = {name: value for name, value in vars(self.vocabulary).items() if name != "path"}
        return told | {"tokenizer": facts}


def options_of(validation: str, tokenizer: str | None, eos: str | None) -> Options:
    """Options as a user writes them.

    Errors: CurateError for a share that is none, or an end without a tokenizer.
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
    """What one task writes: the documents that one shard of one run gives to one split."""

    source: Source
    shard: str
    split: str
    folder: str  # of the format
    stem: str  # of its files below the folder, as data/train-00000-of-00004, without what comes after
    documents: int
    tokens: int  # as n_tokens counts them
    options: Options

    def __str__(self) -> str:
        """Where the task works, for messages."""
        return f"{self.folder}/{self.stem}"

    def path(self, ending: str) -> Path:
        """Where a file of the piece goes."""
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
class Written:
    """What came of a piece."""

    files: tuple[Path, ...]
    documents: int
    tokens: int | None = None  # where the format holds tokens: how many there are


@dataclass(frozen=True)
class Exported:
    """All pieces of a format, in the order of their documents, for the files that tell of them."""

    folder: Path
    sources: tuple[Source, ...]
    options: Options
    pieces: tuple[Mapping[str, Any], ...]  # stem, split, source, documents, tokens, files: [{path, bytes, sha256}]

    def of(self, split: str, source: str | None = None) -> list[Mapping[str, Any]]:
        """The pieces of a split, or of one source of it."""
        return [p for p in self.pieces if p["split"] == split and source in (None, p["source"])]

    def weighted(self, split: str) -> list[tuple[Mapping[str, Any], float]]:
        """The pieces of a split, each with its share of a training's tokens: its part of its source's weight."""
        weights = {source.name: source.weight for source in self.sources}
        tokens = {name: sum(piece["tokens"] for piece in self.of(split, name)) for name in weights}
        whole = sum(weight for name, weight in weights.items() if tokens[name])
        return [
            (piece, weights[piece["source"]] / whole * piece["tokens"] / tokens[piece["source"]])
            for piece in self.of(split)
        ]

    def splits(self) -> list[str]:
        """The splits that have documents, in the order of their pieces."""
        return list(dict.fromkeys(piece["split"] for piece in self.pieces))

    def schema(self) -> pa.Schema:
        """The columns that `Piece.whole` gives."""
        whole = pq.read_schema(self.sources[0].shards[0].path).remove_metadata()
        return whole if len(self.sources) == 1 else plain(whole.empty_table(), self.sources[0]).schema


def literal(folder: Path) -> str:
    """A path within code of Python, for lines that are printed."""
    return json.dumps(str(folder), ensure_ascii=False)


def no_piece(piece: Piece) -> Written:
    """Nothing: for formats that are not made of the run's shards."""
    return Written((), 0)


@dataclass(frozen=True)
class Format:
    """One way to write documents for a trainer."""

    name: str
    title: str  # what reads it
    write: Callable[[Piece], Written] = no_piece
    finish: Callable[[Exported], list[Path]] = lambda exported: []  # writes what tells of the pieces; returns the files
    load: Callable[[Path], str] = lambda folder: ""  # the line that a user needs next
    of_shards: bool = True
    tokens: bool = False  # holds tokens, and so needs a tokenizer
    tokens_if_asked: bool = False  # holds tokens where a tokenizer is given, and text where none is
    chats: bool = False  # can hold chats
    pairs: bool = False  # holds the preference pairs of runs that have them
    needs: Mapping[str, str] = field(default_factory=dict)  # modules, and the extra that brings each

    @property
    def holds(self) -> str:
        """What it can hold, for people."""
        there = {
            "text": self.of_shards and not self.tokens,
            "chats": self.of_shards and self.chats,
            "tokens": self.tokens or self.tokens_if_asked,
            "preference pairs": self.pairs,
        }
        return ", ".join(what for what, held in there.items() if held)


def find_format(name: str, where: str = "--to") -> Format:
    """A format by its name; errors begin with `where` it was named.

    Errors: CurateError for one that there is not, or one whose libraries are not installed.
    """
    if name not in MODULES:
        raise CurateError(f"{where} {name}: no such format{did_you_mean(name, MODULES)}")
    found = _of_module(name)
    for module, extra in found.needs.items():
        if importlib.util.find_spec(module) is None:
            raise CurateError(
                f"{where} {name}: needs {module}, which is not installed; pip install 'curate-lm[{extra}]'"
            )
    return found


def all_formats() -> list[Format]:
    """Every format, whether or not its libraries are installed."""
    return [_of_module(name) for name in MODULES]


def _of_module(name: str) -> Format:
    found: Format = importlib.import_module(f"curate.manifests.formats.{MODULES[name]}").FORMAT
    return found
