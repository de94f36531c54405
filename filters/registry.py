"""The only registry: signals (columns measured from text), edits (cuts made before measuring) and rule sets."""

import hashlib
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from curate.errors import RecipeError, did_you_mean
from curate.kernels import code_digest

Columns = dict[str, pa.Array]
Measure = Callable[[pa.Array], Columns]
FindEdits = Callable[[pa.Array], pa.Table]

MODULES = ("curate.filters.text", "curate.filters.lines", "curate.filters.repetition", "curate.filters.duplicates")


@dataclass(frozen=True)
class Signal:
    """A function from texts to columns: pure, null in, null out, the same for any split into batches."""

    group: str
    measure: Measure
    writes: Mapping[str, pa.DataType]
    about: Mapping[str, str] = field(repr=False)

    def __call__(self, texts: pa.Array) -> Columns:
        """Measure `texts`; refuse columns other than the declared ones."""
        columns = self.measure(texts)
        found = {name: column.type for name, column in columns.items()}
        if found != dict(self.writes):
            raise TypeError(f"{self.measure.__name__} declares {dict(self.writes)} and writes {found}")
        return columns


@dataclass(frozen=True)
class Edit:
    """A function from texts to the cuts to be made in them, as a table (row, start, end, replacement, reason)."""

    name: str
    find: FindEdits


_signals: dict[str, list[Signal]] = {}
_edits: dict[str, Edit] = {}


def signal(group: str, writes: Mapping[str, pa.DataType]) -> Callable[[Measure], Signal]:
    """Register a signal. The docstring has one line per column: its name, two spaces, what it is."""

    def register(measure: Measure) -> Signal:
        found = Signal(group, measure, dict(writes), _column_docs(measure, writes))
        _signals.setdefault(group, []).append(found)
        return found

    return register


def edit(name: str) -> Callable[[FindEdits], FindEdits]:
    """Register a local edit under `name`: rows count within the texts given, start and end are byte offsets."""

    def register(find: FindEdits) -> FindEdits:
        _edits[name] = Edit(name, find)
        return find

    return register


def _column_docs(measure: Measure, writes: Mapping[str, pa.DataType]) -> dict[str, str]:
    """What the docstring of a signal says of each column."""
    about: dict[str, str] = {}
    last = None
    for line in (inspect.getdoc(measure) or "").splitlines():
        name, _, text = line.partition("  ")
        if name in writes and text:
            last, about[name] = name, text.strip()
        elif last and line.startswith("   "):
            about[last] += " " + line.strip()
        else:
            last = None
    missing = set(writes) - set(about)
    if missing:
        raise TypeError(f"{measure.__name__}: the docstring has no line for {sorted(missing)}")
    return about


@cache
def _load() -> None:
    for module in MODULES:
        importlib.import_module(module)


def groups() -> dict[str, list[Signal]]:
    """All signals by group."""
    _load()
    return _signals


def edits() -> dict[str, Edit]:
    """All local edits by name."""
    _load()
    return _edits


def group_of(column: str) -> str:
    """The group that writes `column`."""
    for name, signals in groups().items():
        if any(column in s.writes for s in signals):
            return name
    known = [column for signals in groups().values() for s in signals for column in s.writes]
    raise RecipeError(f"no signal {column!r}{did_you_mean(column, known)}")


def code_of(functions: Iterable[Callable[..., Any]]) -> str:
    """Hex digest of the kernels and of the modules in which `functions` are written."""
    digest = hashlib.sha256(code_digest().encode())
    for file in sorted({inspect.getsourcefile(function) or "" for function in functions}):
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()[:32]


def rule_sets() -> dict[str, dict[str, Any]]:
    """The named rule sets: name to {about, rules}."""
    found = {}
    for path in sorted((Path(__file__).parent / "rules").glob("*.yaml")):
        found[path.stem] = yaml.safe_load(path.read_text("utf-8"))
    return found
