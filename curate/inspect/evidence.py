"""What fired on a document and why: each reason with the values that were measured and the bound they broke.

All of it is told by the run's recipe and the document's row of the view `documents`; no text is read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.decide.bands import REASONS as BAND_REASONS
from curate.decide.scorecard import HASHES
from curate.display import shown
from curate.distill.purify.stage import REASON as P_BAD_REASON
from curate.filters.rules.conditions import columns_named
from curate.filters.rules.resolve import BUILT_IN, ResolvedRule, resolve
from curate.inspect.documents import Look, Row, Text, in_stratum, stratum_value
from curate.ledger.models import PURIFY, load_models
from curate.ledger.names import DISTIL, PURIFY_MODEL, THRESHOLDS, TRIMMED
from curate.maps.documents import masked, masked_values
from curate.recipe.recipe import Recipe
from curate.sql import quoted, read_parquet

BUILT_IN_SET = "built in"
EARLIER = "_of_earlier_run"  # ends the reasons of copies of what an earlier run kept
MIN_STRATUM = 100  # documents from which on a percentile says something
UNUSUAL = 1.0  # percent at either end
LATER = (
    "p_bad", "grade", "quality", "rung", "weight", "domain", "likeness", "importance", "cluster",
)  # fmt: skip  # what later tiers write, where they ran
NOT_MEASURED = ("row", "file_no", *HASHES)

MANY = 4  # values of a condition, of which those that are nothing are left out beyond

Rules = Mapping[str, ResolvedRule]

WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "HUGEINT")
NUMBERS = (*WHOLE, "FLOAT", "DOUBLE")

SHOWN = 8  # n-grams and surface features


@dataclass(frozen=True)
class Fired:
    """A reason that applied to a document in the stage that dropped it.

    `values` holds the columns that it looked at as they were measured, the one with the bound first.
    """

    reason: str
    stage: str
    values: Mapping[str, Any]
    rule_set: str = BUILT_IN_SET
    source: str = ""
    signal: str | None = None  # what has a bound
    mark: str | None = None  # on which side of the bound its value lies: "<" (a least value was not met), ">" or ">="
    bound: float | None = None
    condition: str | None = None  # `when` of a rule without a bound, or its `if`

    def __str__(self) -> str:
        """The measured value against its bound, as in `n_words 12 < 50`, or the values that a condition named."""
        others = {name: value for name, value in self.values.items() if name != self.signal}
        if len(others) > MANY:
            others = {name: value for name, value in others.items() if value}
        told = [f"{name} {shown(value)}" for name, value in others.items()]
        if self.signal is not None and self.bound is not None:
            value, bound = apart(self.values[self.signal], self.bound)
            told.insert(0, f"{self.signal} {value} {self.mark} {bound}")
        return ", ".join(told)


def rules_by_reason(recipe: Recipe) -> dict[str, ResolvedRule]:
    """The rules of a recipe, thresholds applied, by their reasons."""
    return {found.reason: found for found in resolve(recipe.tier1)}


def fired(recipe: Recipe, rules: Rules, row: Row, inputs: Row | None = None, band: "Band | None" = None) -> list[Fired]:
    """What dropped a document, reason by reason in the order of the decision; nothing for a kept one.

    `row` is the document's of the view `documents`. `inputs` has the values of input columns that conditions name;
    `band` is that of its stratum. Without them these values are left out. Reasons of later stages, which never looked
    at the document, are not made up.
    """
    known = row | {f"input.{name}": value for name, value in (inputs or {}).items()}
    return [
        _by_rule(rules[reason], row["stage"], known) if reason in rules else _built_in(recipe, reason, known, band)
        for reason in row["reasons"]
    ]


def _by_rule(found: ResolvedRule, stage: str, known: Row) -> Fired:
    rule = found.rule
    signals, inputs = columns_named([found])
    names = [*signals, *(f"input.{name}" for name in inputs)]
    values = {name: known[name] for name in names if name in known}
    mark, bound = ("<", rule.min) if rule.min is not None else (">", rule.max)
    return Fired(
        rule.reason, stage, values, found.rule_set, rule.source, rule.signal, mark, bound, rule.when or rule.if_
    )


def _built_in(recipe: Recipe, reason: str, row: Row, band: "Band | None") -> Fired:
    """A reason that has no rule: what it goes by is settled by fields of the recipe."""
    names, mark, bound = _bound_of(recipe, reason, row, band)
    values = {name: row[name] for name in names if row.get(name) is not None}
    about = BUILT_IN.get(reason.removesuffix(EARLIER), "")
    if reason == "empty_text" and (row.get("n_bytes") or 0) < row["raw_n_bytes"] and row.get("is_utf8"):
        about = "nothing is left of the text after its edits"
    if bound is None or not values:
        return Fired(reason, row["stage"], values, source=about)
    return Fired(reason, row["stage"], values, source=about, signal=names[0], mark=mark, bound=bound)


def _bound_of(
    recipe: Recipe, reason: str, row: Row, band: "Band | None"
) -> tuple[tuple[str, ...], str | None, float | None]:
    """The columns that a built-in reason looks at, and the bound of the first one with the side that was dropped."""
    if reason == "too_large":
        return ("raw_n_bytes",), ">", recipe.input.max_document_bytes
    if reason in BAND_REASONS:
        low = reason == BAND_REASONS[0]
        return ("perplexity",), "<" if low else ">", (band.low if low else band.high) if band else None
    if row["duplicate_of"] is not None:
        near = recipe.dedup.near if row["stage"] == "near" else None
        return ("similarity",), ">=", near.threshold if near else None
    if reason == "too_much_boilerplate":
        limit = recipe.dedup.lines.max_cut if recipe.dedup.lines else 1.0
        return ("cut_share",), ">", limit if (row.get("cut_share") or 0) > limit else None
    if reason == P_BAD_REASON:
        return ("p_bad",), ">", row.get("p_bad_bound")
    if row["stage"] == DISTIL:
        return ("quality",), None, None
    names = {"empty_text": ("raw_n_bytes", "n_bytes"), "invalid_utf8": ("raw_n_bytes",)}
    return names.get(reason, ()), None, None


def evidence_of(look: Look, rules: Rules, row: Row) -> list[Fired]:
    """`fired`, with all that the run's ledger knows of the document beside its row; no personal data."""
    known = row | ({"cut_share": _cut_share(look, row)} if row["stage"] == "lines" else {})
    if row["stage"] == "purify" and (bound := bound_on(look, row)):
        known["p_bad_bound"] = bound.bound
    return fired(look.recipe, rules, known, masked_values(look.inputs_of(row)), band_of(look, row))


@dataclass(frozen=True)
class Band:
    """The band of perplexity that a document was held against."""

    stratum: Mapping[str, str | None]  # the columns that count, with the document's values
    documents: int
    low: float
    high: float


def band_of(look: Look, row: Row) -> Band | None:
    """The band that judged a document: that of its stratum, or of the wider one around it that has a band.

    None where no band looked at it: without perplexity, or when an earlier stage dropped it.
    """
    judged = row["kept"] or row["stage"] in ("bands", "lines", "purify", "distil")
    if "bands" not in look.views or row.get("perplexity") is None or not judged:
        return None
    own = {name: stratum_value(look, row, name) for name in look.strata}
    for stratum in look.query("FROM bands ORDER BY depth DESC"):
        counted = list(look.strata)[: stratum["depth"]]
        if all(stratum[name] == own[name] for name in counted):
            return Band({name: own[name] for name in counted}, stratum["documents"], stratum["low"], stratum["high"])
    return None


def _cut_share(look: Look, row: Row) -> float | None:
    """The share of its bytes that a document lost as repeated lines."""
    parts = look.ledger.of(TRIMMED)
    if not parts:
        return None
    source = read_parquet((look.run / part.path).absolute() for part in parts)
    place = [row["file_no"], row["row"]]
    found = look.query(f"SELECT cut_share FROM {source} WHERE file_no = ? AND row = ?", place)
    return found[0]["cut_share"] if found else None


@dataclass(frozen=True)
class Measured:
    """A signal of a document, and where it stands among those of its stratum."""

    signal: str
    value: float
    percentile: float  # of 100: those below it, and half of those equal to it

    @property
    def unusual(self) -> bool:
        """Whether fewer than one in a hundred lie as far out."""
        return not UNUSUAL <= self.percentile <= 100 - UNUSUAL


@dataclass(frozen=True)
class Standing:
    """A document's signals within a stratum."""

    stratum: Mapping[str, str | None]
    documents: int
    signals: Sequence[Measured]


def standing(look: Look, row: Row) -> Standing:
    """Each number that was measured of a document with its percentile in its stratum, in one scan of the signals.

    A stratum of fewer than a hundred documents says little: the wider one around it counts instead.
    """
    place = [row["file_no"], row["row"]]
    [own] = look.query("SELECT * EXCLUDE (file_no, row) FROM signals WHERE file_no = ? AND row = ?", place)
    kinds = {name: kind for name, kind in _numbers(look).items() if own.get(name) is not None}
    shares = [_percentile_sql(name, kind, own[name]) for name, kind in kinds.items()]
    for depth in range(len(look.strata), -1, -1):
        within = in_stratum(look, row, depth)
        [found] = look.query(f"SELECT {', '.join(['count(*) AS documents', *shares])} FROM signals WHERE {within}")
        if found["documents"] >= MIN_STRATUM:
            break
    stratum = {name: stratum_value(look, row, name) for name in list(look.strata)[:depth]}
    measured = [Measured(name, own[name], found[name]) for name in kinds]
    return Standing(stratum, found["documents"], measured)


def _percentile_sql(name: str, kind: str, value: float) -> str:
    """The percentile of a value in a column, where of equal ones half count as less.

    `count_if` takes an eighth of the time of `count(*) FILTER`.
    """
    column, own = quoted(name), f"'{value!r}'::{kind}"  # quoted, as inf is no number of SQL
    return f"50 * (count_if({column} < {own}) + count_if({column} <= {own})) / count({column}) AS {column}"


def _numbers(look: Look) -> dict[str, str]:
    """The signals that are numbers, with their types."""
    columns = look.query("SELECT column_name, column_type FROM (DESCRIBE signals)")
    return {
        column["column_name"]: column["column_type"]
        for column in columns
        if column["column_type"] in NUMBERS and column["column_name"] not in NOT_MEASURED
    }


def apart(value: float, bound: float) -> tuple[str, str]:
    """A value and its bound with as many digits as it takes to tell them apart."""
    told = [(shown(value), shown(bound)), *((f"{value:.{k}g}", f"{bound:.{k}g}") for k in (6, 9, 17))]
    return next((pair for pair in told if pair[0] != pair[1]), told[0])


@dataclass(frozen=True)
class Bound:
    """The bound on p_bad that a document was held against."""

    stratum: Mapping[str, str | None]  # the columns that count, with the document's values
    documents: int  # good ones that were set aside, by which it was set
    bound: float
    drop_low: float | None  # the 95 % interval of the share of good documents that it drops; None: nothing is promised
    drop_high: float | None


def bound_on(look: Look, row: Row) -> Bound | None:
    """The bound that a document was held against: that of its stratum, or of the wider one around it that has one.

    None where nothing judged it: without a second tier, or when an earlier stage dropped it.
    """
    if THRESHOLDS not in look.views or row.get("p_bad") is None:
        return None
    rows = look.query(f"FROM {quoted(THRESHOLDS)} ORDER BY depth DESC")
    names = [name for name in rows[0] if name not in ("depth", "documents", "bound", "drop_low", "drop_high")]
    own = {name: stratum_value(look, row, name) for name in names}
    for found in rows:
        counted = names[: found["depth"]]
        if all(found[name] == own[name] for name in counted):
            numbers = {name: found[name] for name in ("documents", "bound", "drop_low", "drop_high")}
            return Bound({name: own[name] for name in counted}, **numbers)
    return None


def reasons_of(look: Look, text: Text) -> list[dict[str, Any]]:
    """What speaks most for and against a text, with what it adds to the log-odds of being bad; no personal data."""
    import pyarrow as pa

    from curate.distill.scoring.discriminator import explain, groups_of, load

    models = load_models(PURIFY, look.run, look.ledger.parts)
    if models is None:
        return []
    [shown] = masked(pa.array([text.output], pa.large_string())).to_pylist()
    groups = groups_of(pa.array([text.measured], pa.large_string()))
    found = explain(load(Path(models.files[PURIFY_MODEL])), shown, SHOWN, groups)
    return [{"what": what, "log_odds": round(adds, 4)} for what, adds in found]
