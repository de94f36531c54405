"""The only registry: signals (columns measured from text), edits (cuts made before measuring) and rule sets."""

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from curate.digest import code_of
from curate.errors import CurateError, RecipeError, did_you_mean
from curate.kernels.cuts import Cuts

Columns = dict[str, pa.Array]
Measure = Callable[[pa.Array], Columns]
Bound = float | int | None  # None: switched off
FindEdits = Callable[[pa.Array, Mapping[str, Bound]], pa.Table]

MODULES = (
    "curate.filters.signals.text",
    "curate.filters.signals.lines",
    "curate.filters.signals.sentences",
    "curate.filters.signals.repetition",
    "curate.filters.signals.pieces",
    "curate.filters.signals.whole_lines",
    "curate.filters.signals.phrases",
    "curate.filters.signals.broken",
    "curate.filters.signals.raw",
    "curate.filters.edits.pii",
    "curate.filters.language.identify",
    "curate.filters.language.perplexity",
    "curate.filters.signals.hashes",
    "curate.filters.edits.c4",
    "curate.filters.edits.refinedweb",
    "curate.filters.contamination.signals",
)


# Groups that are measured only where the recipe needs them; all others always are.
ON_DEMAND = (
    "sentences",
    "repeated_lines",
    "ngrams",
    "pieces",
    "whole_lines",
    "phrases",
    "broken",
    "raw",
    "pii",
    "language",
    "perplexity",
    "hashes",
    "contamination",
)

REASONS = pa.dictionary(pa.int8(), pa.string())

# The edits found in a batch. Without a replacement (null) an edit cuts, as most do.
FOUND = pa.schema(
    [
        ("row", pa.int64()),
        ("start", pa.int32()),
        ("end", pa.int32()),
        ("replacement", pa.string()),
        ("reason", REASONS),
    ]
)


@dataclass(frozen=True)
class Signal:
    """A function from texts to columns: pure, null in, null out, the same for any split into batches."""

    group: str
    measure: Measure
    writes: Mapping[str, pa.DataType]
    about: Mapping[str, str] = field(repr=False)
    raw: bool = False  # reads the raw text, whatever edits are made

    def __call__(self, texts: pa.Array) -> Columns:
        """Measure `texts`; refuse columns other than the declared ones."""
        columns = self.measure(texts)
        found = {name: column.type for name, column in columns.items()}
        if found != dict(self.writes):
            raise TypeError(f"{self.measure.__name__} declares {dict(self.writes)} and writes {found}")
        return columns


@dataclass(frozen=True)
class Derived:
    """A column computed in SQL from signals of other groups, which rules may name like a signal."""

    sql: str
    type: pa.DataType
    reads: tuple[str, ...]
    about: str


# What no group can measure on its own, because one reads the raw text and another the edited one.
DERIVED = {
    "cut_word_ratio": Derived(
        "CASE WHEN raw_n_words > 0 THEN (1 - n_words / raw_n_words)::FLOAT END",
        pa.float32(),
        ("raw_n_words", "n_words"),
        "share of the raw text's words that edits took away; null without words",
    ),
    "length_bucket": Derived(
        "CASE WHEN n_words < 100 THEN '0-99' WHEN n_words < 300 THEN '100-299' WHEN n_words < 1000 THEN '300-999' "
        "WHEN n_words < 3000 THEN '1000-2999' WHEN n_words >= 3000 THEN '3000-' END",
        pa.string(),
        ("n_words",),
        "how long a document is in words: 0-99, 100-299, 300-999, 1000-2999 or 3000-",
    ),
}


@dataclass(frozen=True)
class EditRule:
    """What an edit cuts for one reason."""

    reason: str
    cuts: str  # what is cut, with {bound} for the bound
    source: str
    bound: float | int | None = None  # as published, or as a set has it; None where there is no number to move

    def __str__(self) -> str:
        """What is cut, for lists of rules."""
        return self.cuts.format(bound=self.bound)


@dataclass(frozen=True)
class Edit:
    """A function from texts to the cuts to be made in them, as a table (row, start, end, replacement, reason).

    It is pure. Rows count within the texts given, start and end are byte offsets; cuts are sorted and do not overlap.
    It is given a value for each of its reasons: None is off, else the bound (True for a rule without one).
    """

    name: str
    rules: tuple[EditRule, ...]
    find: FindEdits


def cut_table(cuts: Cuts, rules: Sequence[EditRule]) -> pa.Table:
    """Cuts of a kernel, whose codes number `rules`, as edits that put nothing in the place of what they cut."""
    reasons = pa.array([rule.reason for rule in rules], pa.string())
    nothing = pa.nulls(len(cuts.rows), pa.string())
    reason = pa.DictionaryArray.from_arrays(cuts.codes, reasons)
    return pa.Table.from_arrays([cuts.rows, cuts.starts, cuts.ends, nothing, reason], schema=FOUND)


def with_bounds(edit: Edit, bounds: Mapping[str, float | int]) -> Edit:
    """An edit with other bounds for some of its reasons, as a set may want it."""
    if unknown := bounds.keys() - {rule.reason for rule in edit.rules if rule.bound is not None}:
        raise TypeError(f"the edit {edit.name} has no bound for {sorted(unknown)}")
    return replace(edit, rules=tuple(replace(rule, bound=bounds.get(rule.reason, rule.bound)) for rule in edit.rules))


def published_bounds(edit: Edit) -> dict[str, Bound]:
    """The bound of each of an edit's reasons, as published or as the set has it that the edit was taken from."""
    return {rule.reason: True if rule.bound is None else rule.bound for rule in edit.rules}


@dataclass(frozen=True)
class Editor:
    """An edit with its bounds settled, as a run carries it out."""

    name: str
    bounds: tuple[tuple[str, Bound], ...]  # by reason, in the order of the edit's rules

    @property
    def code(self) -> str:
        """Hex digest of the code that finds the edits."""
        return code_of(edits()[self.name].find.__module__, __name__)

    def find(self, texts: pa.Array) -> pa.Table:
        """The cuts in `texts`."""
        return edits()[self.name].find(texts, dict(self.bounds))


_signals: dict[str, list[Signal]] = {}
_edits: dict[str, Edit] = {}


def signal(group: str, writes: Mapping[str, pa.DataType], raw: bool = False) -> Callable[[Measure], Signal]:
    """Register a signal. The docstring has one line per column: its name, two spaces, what it is.

    With `raw` it reads the raw text, and its columns are named raw_*; all signals of a group read the same text.
    """

    def register(measure: Measure) -> Signal:
        if any(name.startswith("raw_") != raw for name in writes) or any(s.raw != raw for s in _signals.get(group, [])):
            raise TypeError(f"{measure.__name__}: raw_* names the signals of raw groups, and only those")
        found = Signal(group, measure, dict(writes), _column_docs(measure, writes), raw)
        _signals.setdefault(group, []).append(found)
        return found

    return register


def edit(name: str, rules: Iterable[EditRule]) -> Callable[[FindEdits], FindEdits]:
    """Register a local edit under `name` with the reasons for which it cuts."""

    def register(find: FindEdits) -> FindEdits:
        _edits[name] = Edit(name, tuple(rules), find)
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
    """All signals by group, in the order of MODULES, whichever was imported first."""
    _load()
    return _in_order()


@cache
def _in_order() -> dict[str, list[Signal]]:
    return dict(sorted(_signals.items(), key=lambda entry: MODULES.index(entry[1][0].measure.__module__)))


def edits() -> dict[str, Edit]:
    """All local edits by name."""
    _load()
    return _edits


def modules_of(names: Iterable[str]) -> list[str]:
    """The modules that measure groups of signals."""
    return sorted({signal.measure.__module__ for name in names for signal in groups()[name]})


def is_raw(group: str) -> bool:
    """Whether a group of signals reads the raw text."""
    return any(s.raw for s in groups()[group])


def check_signal(column: str) -> None:
    """Refuse a name that is no signal.

    Errors: RecipeError with the name that may have been meant.
    """
    known = {column for signals in groups().values() for s in signals for column in s.writes} | set(DERIVED)
    if column not in known:
        raise RecipeError(f"no signal {column!r}{did_you_mean(column, known)}")


def measured(columns: Iterable[str]) -> set[str]:
    """The columns that must be measured for `columns`: derived ones stand for what they are computed from."""
    return {read for column in columns for read in (DERIVED[column].reads if column in DERIVED else (column,))}


def derived(columns: Iterable[str]) -> dict[str, Derived]:
    """The derived columns that can be computed from `columns`."""
    held = set(columns)
    return {name: found for name, found in DERIVED.items() if held.issuperset(found.reads)}


@cache
def rule_sets() -> dict[str, dict[str, Any]]:
    """The named rule sets: name to {about, edits, rules}, of which `edits` may be missing.

    An edit is named, or maps its name to the bounds that the set gives it in the place of the published ones.
    """
    found = {}
    for path in sorted((Path(__file__).parent / "rules").glob("*.yaml")):
        found[path.stem] = yaml.safe_load(path.read_text("utf-8"))
    return found


def list_signals(group: str | None) -> list[dict[str, str]]:
    """Signals with group, name, type and meaning; all, or those of a group.

    Errors: CurateError for a group that is not known.
    """
    from curate.filters import registry

    groups = registry.groups()
    if group is not None and group not in groups:
        raise CurateError(f"signals: no group {group!r}{did_you_mean(group, groups)}")
    found = [
        {"group": name, "signal": column, "type": str(kind), "meaning": signal.about[column]}
        for name, signals in groups.items() if group in (None, name)
        for signal in signals for column, kind in signal.writes.items()
    ]  # fmt: skip
    derived = registry.DERIVED.items() if group is None else ()
    return found + [
        {"group": "(derived)", "signal": column, "type": str(one.type), "meaning": one.about} for column, one in derived
    ]
