"""Evidence for a verdict: each reason with the measured values and the bound they broke.

Everything follows from the recipe and the document's row of view `documents`; no text is read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from curate.decide.bands import REASONS as BAND_REASONS
from curate.display import fields_of, shown
from curate.distill.budget.scores import READ, scores_of
from curate.distill.purify.passages import DROP_REASON as TOO_LITTLE_LEFT
from curate.distill.purify.stage import REASON as P_BAD_REASON
from curate.filters.rules.conditions import columns_named
from curate.filters.rules.resolve import BUILT_IN, ResolvedRule, resolve
from curate.inspect.documents import OpenRun, Row, stratum_value
from curate.inspect.judgements import p_bad_bound_of
from curate.ledger.names import DISTIL, TRIMMED, WITHOUT_PASSAGES
from curate.maps.documents import masked_values
from curate.recipe.recipe import Recipe
from curate.sql import read_parquet

BUILT_IN_SET = "built in"
EARLIER = "_of_earlier_run"  # suffix of the reasons of copies of an earlier run's documents
# Columns that later stages write.
LATER = ("p_bad", "grade", "quality", "rung", "weight", "domain", "likeness", "importance", "cluster")
MANY = 4  # values of a condition above which zeros and nulls are left out

Rules = Mapping[str, ResolvedRule]  # by reason


@dataclass(frozen=True, slots=True)
class Band:
    """The band of perplexity that a document was compared with."""

    stratum: Mapping[str, str | None]  # the columns that make the stratum, with their values; no personal data
    documents: int
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """A reason that applied to a document in the stage that dropped it, with what was measured.

    `values` are the columns that the reason reads, the one with the bound first.
    """

    reason: str
    stage: str
    values: Mapping[str, Any]
    rule_set: str = BUILT_IN_SET
    source: str = ""
    signal: str | None = None  # the column that has the bound
    mark: str | None = None  # the side of the bound on which its value is: "<" (below a minimum), ">" or ">="
    bound: float | None = None
    condition: str | None = None  # `when` of a rule without a bound, or `if` of one with a bound

    def __str__(self) -> str:
        """The measured value and its bound, as in `n_words 12 < 50`, or the values that a condition names."""
        conditioned = {name: value for name, value in self.values.items() if name != self.signal}
        if len(conditioned) > MANY:
            conditioned = {name: value for name, value in conditioned.items() if value}
        parts = [f"{name} {shown(value)}" for name, value in conditioned.items()]
        if self.signal is not None and self.bound is not None:
            value, bound = distinguished(self.values[self.signal], self.bound)
            parts.insert(0, f"{self.signal} {value} {self.mark} {bound}")
        return ", ".join(parts)

    def to_json(self) -> dict[str, object]:
        """The fields, and the sentence that is printed."""
        return fields_of(self) | {"told": str(self)}


def rules_by_reason(recipe: Recipe) -> dict[str, ResolvedRule]:
    """The rules of a recipe by reason, with its thresholds applied."""
    return {rule.reason: rule for rule in resolve(recipe.tier1)}


def evidence_from(
    recipe: Recipe, rules: Rules, row: Row, inputs: Row | None = None, band: Band | None = None
) -> list[Evidence]:
    """The evidence for each reason that dropped a document, in the order of the decision; none for a kept one.

    `row` is of view `documents`. `inputs` are values of input columns that conditions name, `band` is the band of the
    document's stratum; without them these values are left out. Reasons of later stages, which never read the document,
    have no evidence.
    """
    values = row | {f"input.{name}": value for name, value in (inputs or {}).items()}
    return [
        _of_rule(rules[reason], row["stage"], values) if reason in rules else _of_built_in(recipe, reason, values, band)
        for reason in row["reasons"]
    ]


def _of_rule(resolved: ResolvedRule, stage: str, values: Row) -> Evidence:
    rule = resolved.rule
    signals, inputs = columns_named([resolved])
    names = [*signals, *(f"input.{name}" for name in inputs)]
    mark, bound = ("<", rule.min) if rule.min is not None else (">", rule.max)
    return Evidence(
        reason=rule.reason,
        stage=stage,
        values={name: values[name] for name in names if name in values},
        rule_set=resolved.rule_set,
        source=rule.source,
        signal=rule.signal,
        mark=mark,
        bound=bound,
        condition=rule.when or rule.if_,
    )


def _of_built_in(recipe: Recipe, reason: str, row: Row, band: Band | None) -> Evidence:
    """The evidence for a reason without a rule: its bound is a field of the recipe."""
    names, mark, bound = _bound_of(recipe, reason, row, band)
    values = {name: row[name] for name in names if row.get(name) is not None}
    about = BUILT_IN.get(reason.removesuffix(EARLIER), "")
    if reason == "empty_text" and (row.get("n_bytes") or 0) < row["raw_n_bytes"] and row.get("is_utf8"):
        about = "nothing is left of the text after its edits"
    if bound is None or not values:
        return Evidence(reason, row["stage"], values, source=about)
    return Evidence(reason, row["stage"], values, source=about, signal=names[0], mark=mark, bound=bound)


def _bound_of(
    recipe: Recipe, reason: str, row: Row, band: Band | None
) -> tuple[tuple[str, ...], str | None, float | None]:
    """The columns that a built-in reason reads, the side of the bound that is dropped, and the first column's bound."""
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
    if reason == TOO_LITTLE_LEFT:
        section = recipe.tier2.passages if recipe.tier2 else None
        return ("left_bytes",), "<", section.least if section else None
    if reason == P_BAD_REASON:
        return ("p_bad",), ">", row.get("p_bad_bound")
    if row["stage"] == DISTIL:
        return (*_filling_columns(recipe), "quality"), None, None
    names = {"empty_text": ("raw_n_bytes", "n_bytes"), "invalid_utf8": ("raw_n_bytes",)}
    return names.get(reason, ()), None, None


def _filling_columns(recipe: Recipe) -> list[str]:
    """The columns that a budget is filled by where that is not quality."""
    if recipe.distill is None or recipe.distill.scores is not None:
        return []
    return [READ[name] for name in scores_of(recipe) if name in READ]


def evidence_of(run: OpenRun, row: Row) -> list[Evidence]:
    """The evidence for a document's verdict, with all that the run's ledger has; no personal data."""
    values = row | ({"cut_share": _of_part(run, row, TRIMMED, "cut_share")} if row["stage"] == "lines" else {})
    if row["reason"] == TOO_LITTLE_LEFT:
        values["left_bytes"] = _of_part(run, row, WITHOUT_PASSAGES, "left_bytes")
    if row["stage"] == "purify" and (bound := p_bad_bound_of(run, row)):
        values["p_bad_bound"] = bound.bound
    rules = {rule.reason: rule for rule in run.rules}
    return evidence_from(run.tuned, rules, values, masked_values(run.inputs_of(row)), band_of(run, row))


def band_of(run: OpenRun, row: Row) -> Band | None:
    """The band that judged a document: that of its stratum, or else of the next wider one that has a band.

    None where no band did: without a perplexity, or when an earlier stage dropped the document.
    """
    judged = row["kept"] or row["stage"] in ("bands", "lines", "purify", "distil")
    if "bands" not in run.views or row.get("perplexity") is None or not judged:
        return None
    values = {name: stratum_value(run, row, name) for name in run.strata}
    for band in run.query("FROM bands ORDER BY depth DESC"):
        names = list(run.strata)[: band["depth"]]
        if all(band[name] == values[name] for name in names):
            stratum = masked_values({name: values[name] for name in names})
            return Band(stratum, band["documents"], band["low"], band["high"])
    return None


def _of_part(run: OpenRun, row: Row, group: str, column: str) -> float | None:
    """What parts of a group say of a document that lost lines or passages."""
    parts = run.ledger.of(group)
    if not parts:
        return None
    source = read_parquet((run.folder / part.path).absolute() for part in parts)
    key = [row["file_no"], row["row"]]
    rows = run.query(f"SELECT {column} AS value FROM {source} WHERE file_no = ? AND row = ?", key)
    return rows[0]["value"] if rows else None


def distinguished(value: float, bound: float) -> tuple[str, str]:
    """A value and its bound, with as many digits as it takes for the two to differ."""
    pairs = [(shown(value), shown(bound)), *((f"{value:.{k}g}", f"{bound:.{k}g}") for k in (6, 9, 17))]
    return next((pair for pair in pairs if pair[0] != pair[1]), pairs[0])
