"""Evidence of models: p_bad and its bound, n-grams and features that speak for it, and what quality is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from curate.distill.budget.scores import MEASURED, PERPLEXITY, READ, quality_scores_of
from curate.inspect.documents import OpenRun, Row, Text, stratum_value
from curate.ledger.models import PURIFY, load_models
from curate.ledger.names import PASSAGES, PURIFY_MODEL, THRESHOLDS
from curate.maps.documents import masked, masked_values
from curate.sql import quoted

SHOWN = 8  # n-grams and surface features
NUMBERS = ("documents", "bound", "drop_low", "drop_high")  # columns of the bounds without their strata

SCORE_COLUMNS = {**MEASURED, **READ, "purify": "p_bad", "grades": "grade"}  # of view documents, by score


@dataclass(frozen=True, slots=True)
class PBadBound:
    """The bound on p_bad of a stratum."""

    stratum: Mapping[str, str | None]  # the columns that make the stratum, with their values; no personal data
    documents: int  # good documents that the bound was calibrated on
    bound: float
    drop_low: float | None  # 95 % interval of the share of good documents beyond the bound; None: nothing is promised
    drop_high: float | None


@dataclass(frozen=True, slots=True)
class Contribution:
    """What an n-gram or a surface feature adds to the log-odds of a text being bad."""

    what: str
    log_odds: float


def p_bad_bound_of(run: OpenRun, row: Row) -> PBadBound | None:
    """The bound that judged a document: that of its stratum, or else of the next wider one that has a bound.

    None where no bound did: without a second tier, or when an earlier stage dropped the document.
    """
    if THRESHOLDS not in run.views or row.get("p_bad") is None:
        return None
    bounds = run.query(f"FROM {quoted(THRESHOLDS)} ORDER BY depth DESC")
    names = [name for name in bounds[0] if name not in ("depth", *NUMBERS)]
    values = {name: stratum_value(run, row, name) for name in names}
    for bound in bounds:
        of_stratum = names[: bound["depth"]]
        if all(bound[name] == values[name] for name in of_stratum):
            stratum = masked_values({name: values[name] for name in of_stratum})
            return PBadBound(stratum, **{name: bound[name] for name in NUMBERS})
    return None


def p_bad_of_cuts(run: OpenRun, row: Row, count: int) -> list[float]:
    """p_bad of the `count` passages that were cut out of a document, its worst ones, in the order of the text."""
    if not count or PASSAGES not in run.views:
        return []
    worst = "SELECT start, p_bad FROM passages WHERE doc_id = ? ORDER BY p_bad DESC, start LIMIT ?"
    rows = run.query(f"SELECT p_bad FROM ({worst}) ORDER BY start", [row["doc_id"], count])
    return [cut["p_bad"] for cut in rows]


def contributions_of(run: OpenRun, text: Text) -> list[Contribution]:
    """What adds most to and takes most from the log-odds of a text being bad; no personal data."""
    import pyarrow as pa

    from curate.distill.scoring.discriminator import explain, groups_of, load

    models = load_models(PURIFY, run.folder, run.ledger.parts)
    if models is None:
        return []
    [output] = masked(pa.array([text.output], pa.large_string())).to_pylist()
    groups = groups_of(pa.array([text.measured], pa.large_string()))
    strongest = explain(load(Path(models.files[PURIFY_MODEL])), output, SHOWN, groups)
    return [Contribution(name, round(log_odds, 4)) for name, log_odds in strongest]


@dataclass(frozen=True, slots=True)
class QualityPart:
    """A score of a document."""

    score: str
    weight: float
    value: float
    better_than: float  # share of the documents that reached the budget, those with the same value by half


def quality_parts_of(run: OpenRun, row: Row) -> Sequence[QualityPart]:
    """The parts of a document's quality that it has, in one scan; none without a quality, nor for input columns."""
    if row.get("quality") is None:
        return []
    weights = quality_scores_of(run.tuned)
    names = [name for name in weights if name in SCORE_COLUMNS and row.get(SCORE_COLUMNS[name]) is not None]
    values = [row[SCORE_COLUMNS[name]] for name in names]
    if not names:
        return []
    shares = [_share_below(SCORE_COLUMNS[name]) for name in names]
    query = f"SELECT {', '.join(f'{share} AS rank_{k}' for k, share in enumerate(shares))} FROM documents"
    [ranks] = run.query(f"{query} WHERE quality IS NOT NULL", [value for value in values for _ in range(2)])
    return [
        QualityPart(name, weights[name], value, _better_than(name, ranks[f"rank_{k}"]))
        for k, (name, value) in enumerate(zip(names, values, strict=True))
    ]


def _share_below(column: str) -> str:
    """SQL for the share of values below a parameter, and half of those equal; the parameter is given twice."""
    return f"(count_if({column} < ?::FLOAT) + count_if({column} <= ?::FLOAT)) / count({column}) / 2"


def _better_than(score: str, rank: float) -> float:
    """The share of documents that are worse, from the share of lower values."""
    if score in PERPLEXITY:
        return 1 - abs(2 * rank - 1)
    return 1 - rank if score == "purify" else rank
