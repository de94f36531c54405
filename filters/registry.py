"""The registry of signals (columns measured from text), edits (applied before measuring) and rule sets."""

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import NotRequired, TypedDict

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
    "curate.filters.people.signals",
    "curate.filters.edits.c4",
    "curate.filters.edits.refinedweb",
    "curate.filters.contamination.signals",
)


# Groups that are measured only if the recipe needs them. All others are always measured.
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
    "register",
    "mentions",
    "contamination",
)

REASONS = pa.dictionary(pa.int8(), pa.string())

# The edits of a batch. Most have no replacement (null) and cut.
EDIT_SCHEMA = pa.schema(
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
    raw: bool = False  # reads the raw text, before edits

    def __call__(self, texts: pa.Array) -> Columns:
        """Measure `texts`, and check that the columns are those declared."""
        columns = self.measure(texts)
        types = {name: column.type for name, column in columns.items()}
        if types != dict(self.writes):
            raise TypeError(f"{self.measure.__name__} declares {dict(self.writes)} and writes {types}")
        return columns


@dataclass(frozen=True)
class Derived:
    """A column computed in SQL from signals of other groups. Rules can use it like a signal."""

    sql: str
    type: pa.DataType
    reads: tuple[str, ...]
    about: str


# No single group can measure these, because they combine columns of the raw text with those of the edited text.
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
    """One of an edit's reasons to cut."""

    reason: str
    cuts: str  # description of what is cut, with {bound} for the bound
    source: str
    bound: float | int | None = None  # as published or as in a rule set; None for a rule without a bound

    def __str__(self) -> str:
        """The description for lists of rules."""
        return self.cuts.format(bound=self.bound)


@dataclass(frozen=True)
class Edit:
    """A pure function from texts to edits, as a table (row, start, end, replacement, reason).

    `row` is the index of the text; `start` and `end` are byte offsets. Edits are sorted and do not overlap. The
    function also takes a value per reason: None for off, else the bound (True for a rule without one).
    """

    name: str
    rules: tuple[EditRule, ...]
    find: FindEdits


def cut_table(cuts: Cuts, rules: Sequence[EditRule]) -> pa.Table:
    """The cuts of a kernel as edits without replacement. Their codes are indices of `rules`."""
    reasons = pa.array([rule.reason for rule in rules], pa.string())
    no_replacement = pa.nulls(len(cuts.rows), pa.string())
    reason = pa.DictionaryArray.from_arrays(cuts.codes, reasons)
    return pa.Table.from_arrays([cuts.rows, cuts.starts, cuts.ends, no_replacement, reason], schema=EDIT_SCHEMA)


def with_bounds(edit: Edit, bounds: Mapping[str, float | int]) -> Edit:
    """An edit with other bounds for some of its reasons, as in a rule set."""
    if unknown := bounds.keys() - {rule.reason for rule in edit.rules if rule.bound is not None}:
        raise TypeError(f"the edit {edit.name} has no bound for {sorted(unknown)}")
    return replace(edit, rules=tuple(replace(rule, bound=bounds.get(rule.reason, rule.bound)) for rule in edit.rules))


def published_bounds(edit: Edit) -> dict[str, Bound]:
    """The bound of each of an edit's reasons, as published or as in the edit's rule set."""
    return {rule.reason: True if rule.bound is None else rule.bound for rule in edit.rules}


@dataclass(frozen=True)
class Editor:
    """An edit with its bounds resolved, as a run applies it."""

    name: str
    bounds: tuple[tuple[str, Bound], ...]  # by reason, in the order of the edit's rules

    @property
    def code(self) -> str:
        """The hex digest of the edit's code."""
        return code_of(edits()[self.name].find.__module__, __name__)

    def find(self, texts: pa.Array) -> pa.Table:
        """The edits of `texts`."""
        return edits()[self.name].find(texts, dict(self.bounds))


_signals: dict[str, list[Signal]] = {}
_edits: dict[str, Edit] = {}


def signal(group: str, writes: Mapping[str, pa.DataType], raw: bool = False) -> Callable[[Measure], Signal]:
    """Register a signal. Its docstring has a line per column: the name, two spaces, the meaning.

    With `raw`, it reads the raw text, and its columns are named raw_*. All signals of a group read the same text.
    """

    def register(measure: Measure) -> Signal:
        if any(name.startswith("raw_") != raw for name in writes) or any(s.raw != raw for s in _signals.get(group, [])):
            raise TypeError(f"{measure.__name__}: raw_* names the signals of raw groups, and only those")
        registered = Signal(group, measure, dict(writes), _column_docs(measure, writes), raw)
        _signals.setdefault(group, []).append(registered)
        return registered

    return register


def edit(name: str, rules: Iterable[EditRule]) -> Callable[[FindEdits], FindEdits]:
    """Register a local edit under `name` with its reasons to cut."""

    def register(find: FindEdits) -> FindEdits:
        _edits[name] = Edit(name, tuple(rules), find)
        return find

    return register


def _column_docs(measure: Measure, writes: Mapping[str, pa.DataType]) -> dict[str, str]:
    """The meaning of each column, from the docstring of a signal."""
    about: dict[str, str] = {}
    current = None
    for line in (inspect.getdoc(measure) or "").splitlines():
        name, _, text = line.partition("  ")
        if name in writes and text:
            current, about[name] = name, text.strip()
        elif current and line.startswith("   "):
            about[current] += " " + line.strip()
        else:
            current = None
    missing = set(writes) - set(about)
    if missing:
        raise TypeError(f"{measure.__name__}: the docstring has no line for {sorted(missing)}")
    return about


@cache
def _import_modules() -> None:
    for module in MODULES:
        importlib.import_module(module)


def groups() -> dict[str, list[Signal]]:
    """All signals by group, in the order of MODULES regardless of import order."""
    _import_modules()
    return _signals_in_order()


@cache
def _signals_in_order() -> dict[str, list[Signal]]:
    return dict(sorted(_signals.items(), key=lambda entry: MODULES.index(entry[1][0].measure.__module__)))


def edits() -> dict[str, Edit]:
    """All local edits by name."""
    _import_modules()
    return _edits


def modules_of(names: Iterable[str]) -> list[str]:
    """The modules that measure groups of signals."""
    return sorted({signal.measure.__module__ for name in names for signal in groups()[name]})


def is_raw(group: str) -> bool:
    """Whether a group of signals reads the raw text."""
    return any(s.raw for s in groups()[group])


def check_signal(column: str) -> None:
    """Check that a signal of this name exists.

    Errors: RecipeError that suggests a similar name.
    """
    signals_ = {column for signals in groups().values() for s in signals for column in s.writes} | set(DERIVED)
    if column not in signals_:
        raise RecipeError(f"no signal {column!r}{did_you_mean(column, signals_)}")


def measured(columns: Iterable[str]) -> set[str]:
    """The columns to measure for `columns`: derived columns are replaced with those that they read."""
    return {read for column in columns for read in (DERIVED[column].reads if column in DERIVED else (column,))}


def derived(columns: Iterable[str]) -> dict[str, Derived]:
    """The derived columns that can be computed from `columns`."""
    available = set(columns)
    return {name: column for name, column in DERIVED.items() if available.issuperset(column.reads)}


class RuleSet(TypedDict):
    """The content of a rule set's YAML file."""

    about: str
    made_for: NotRequired[str]  # a language
    edits: NotRequired[list[str | dict[str, dict[str, float | int]]]]  # names, or bounds by reason by name
    rules: list[dict[str, object]]  # fields of recipe rules


@cache
def rule_sets() -> dict[str, RuleSet]:
    """All packaged rule sets by name."""
    sets = {}
    for path in sorted((Path(__file__).parent / "rules").glob("*.yaml")):
        sets[path.stem] = yaml.safe_load(path.read_text("utf-8"))
    return sets


def list_signals(group: str | None) -> list[dict[str, str]]:
    """All signals, or those of a group: group, name, type and meaning.

    Errors: CurateError for an unknown group.
    """
    all_groups = groups()
    if group is not None and group not in all_groups:
        raise CurateError(f"signals: no group {group!r}{did_you_mean(group, all_groups)}")
    rows = []
    for name, signals in all_groups.items():
        if group in (None, name):
            for measured_signal in signals:
                for column, kind in measured_signal.writes.items():
                    meaning = measured_signal.about[column]
                    rows.append({"group": name, "signal": column, "type": str(kind), "meaning": meaning})
    if group is None:
        for column, definition in DERIVED.items():
            kind, meaning = str(definition.type), definition.about
            rows.append({"group": "(derived)", "signal": column, "type": kind, "meaning": meaning})
    return rows
