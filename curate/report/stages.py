"""Sections on single stages: evaluation sets, bands, purification, budget, and clusters of copies."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

from curate.distill.purify.selection import MiningFacts, mining_lines
from curate.inspect.documents import OpenRun, Row
from curate.inspect.judgements import NUMBERS as BOUND_COLUMNS
from curate.ledger.models import PURIFY, models_in_force
from curate.ledger.names import BANDS, QUOTAS, RUNGS, THRESHOLDS, TUNING
from curate.report.charts import Placed, percent
from curate.sql import quoted

LARGEST_CLUSTERS = 20
MOST_ROWS = 100  # of a table by strata
WEIGHT_BOUNDS = (0, 0.25, 0.5, 1, 2, 3, 4, 5, 6, 8, 1_000_000)  # of the bands of weights


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """An evaluation set, and how many of its items the input has."""

    benchmark: str
    items: int
    items_hit: int
    documents_hit: int


@dataclass(frozen=True, slots=True)
class StratumBand:
    """A band of perplexity; columns that do not count have the value `all`."""

    names: Sequence[str | None]
    documents: int
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Bands:
    """Bands of perplexity by stratum."""

    columns: Sequence[str]
    rows: Sequence[StratumBand]


@dataclass(frozen=True, slots=True)
class StratumBound:
    """A bound on p_bad; columns that do not count have the value `all`."""

    names: Sequence[str | None]
    documents: int
    bound: float
    drop_low: float | None
    drop_high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackFamily:
    """A family of attacks before and after the rounds."""

    family: str
    bad: bool
    held_out: bool
    trained: bool
    made: int
    fool_rate: float | None
    auc_before: float | None
    auc_after: float | None
    caught_before: float | None
    caught_after: float | None


@dataclass(frozen=True, slots=True)
class ResembledAttack:
    """Dropped documents that are most like one attack, and the width of their bar in percent."""

    attack: str
    documents: int
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Purification:
    """Section "Purification"."""

    mining: Sequence[str]  # sentences about the share of bad documents
    columns: Sequence[str]
    bounds: Sequence[Placed[StratumBound]]
    families: Sequence[Placed[AttackFamily]]
    resembled: Sequence[ResembledAttack]
    max_false_drop: float
    widest: float  # the end of the axis of false drops
    promised: float  # the position of max_false_drop, in percent


@dataclass(frozen=True, slots=True)
class Rung:
    """A rung of the budget."""

    rung: int
    share: float
    unit: str
    budget: int
    tokens: int
    bytes: int
    documents: int


@dataclass(frozen=True, slots=True)
class Quota:
    """What the budget keeps of a stratum, in its unit, and what that is in tokens and in bytes."""

    stratum: str | None
    available: int
    quota: int
    kept: int
    tokens: int
    bytes: int


@dataclass(frozen=True, slots=True)
class TunedTrial:
    """Settings of the budget that were tried, and the bits per word of the texts kept aside."""

    trial: int
    temperature: float | None
    least_likeness: float | None
    novelty: float
    scores: str
    documents: int
    bits_per_word: float
    chosen: bool


@dataclass(frozen=True, slots=True)
class Budget:
    """Section "Budget"."""

    unit: str  # what the budget counts
    rungs: Sequence[Placed[Rung]]
    strata: Sequence[Placed[Quota]]
    trials: Sequence[TunedTrial]  # the best first; none without `distill.tune`


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightBand:
    """Kept documents whose weight is from `low` to below `high`."""

    low: float
    high: float
    documents: int
    tokens: int
    read: int  # tokens that a training reads
    share: float  # of all that it reads, in percent


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSize:
    """Clusters of `low` to `high` documents, and the width of their bar in percent."""

    low: int
    high: int
    clusters: int
    documents: int
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A document with all its copies."""

    survivor: str
    documents: int
    exact: int
    near: int
    least: float | None  # similarity


@dataclass(frozen=True, slots=True)
class Clusters:
    """Section "Copies"."""

    sizes: Sequence[ClusterSize]
    largest: Sequence[Cluster]
    clusters: int
    documents: int


def evaluation_sets(run: OpenRun) -> list[Placed[EvaluationSet]]:
    """The evaluation sets that were searched for, those with most items in the input first."""
    if "benchmarks" not in run.views:
        return []
    rows = run.query(
        """SELECT benchmark, items, items_hit, documents_hit FROM benchmarks
        ORDER BY items_hit DESC, documents_hit DESC, benchmark"""
    )
    return [Placed(EvaluationSet(**row), {"items_hit": percent(row["items_hit"], 0, row["items"])}) for row in rows]


def bands(run: OpenRun) -> Bands | None:
    """The bands of perplexity; None without any."""
    if BANDS not in run.views:
        return None
    rows = run.query(f"FROM {quoted(BANDS)} ORDER BY depth, documents DESC LIMIT {MOST_ROWS}")
    names = _stratum_columns(rows, ("documents", "low", "high"))
    return Bands(names, [StratumBand(_values(row, names), row["documents"], row["low"], row["high"]) for row in rows])


def _stratum_columns(rows: Sequence[Row], other: Sequence[str]) -> list[str]:
    return [name for name in rows[0] if name not in ("depth", *other)] if rows else []


def _values(row: Row, names: Sequence[str]) -> list[str | None]:
    """A row's values of the columns that make strata; `all` for those that do not count."""
    return [row[name] if k < row["depth"] else "all" for k, name in enumerate(names)]


def purification(run: OpenRun) -> Purification | None:
    """The bounds on p_bad by stratum, the families of attacks, and what dropped documents are like."""
    if THRESHOLDS not in run.views:
        return None
    assert run.recipe.tier2 is not None
    rows = run.query(f"FROM {quoted(THRESHOLDS)} ORDER BY depth, documents DESC LIMIT {MOST_ROWS}")
    names = _stratum_columns(rows, BOUND_COLUMNS)
    promised = run.recipe.tier2.max_false_drop
    widest = max([2 * promised, *(row["drop_high"] for row in rows if row["drop_high"] is not None)])
    bounds = [StratumBound(_values(row, names), *(row[name] for name in BOUND_COLUMNS)) for row in rows]
    return Purification(
        mining=_mining(run),
        columns=names,
        bounds=[_placed_bound(bound, widest) for bound in bounds],
        families=_families(run),
        resembled=_resembled(run),
        max_false_drop=promised,
        widest=widest,
        promised=percent(promised, 0, widest),
    )


def _mining(run: OpenRun) -> list[str]:
    """What a run that trained says about the share of bad documents."""
    models = models_in_force(PURIFY, run.folder, run.ledger.parts)
    facts = models.facts if models else {}
    return mining_lines(MiningFacts(**facts["mining"]), facts["mined"]) if "mining" in facts else []


def _placed_bound(bound: StratumBound, widest: float) -> Placed[StratumBound]:
    ends = {"low": bound.drop_low, "high": bound.drop_high}
    return Placed(bound, {end: None if share is None else percent(share, 0, widest) for end, share in ends.items()})


def _families(run: OpenRun) -> list[Placed[AttackFamily]]:
    rows = run.query(
        """SELECT family, any_value(bad) AS bad, bool_or(held_out) AS held_out, last(trained ORDER BY round) AS trained,
            sum(made) AS made, last(fool_rate ORDER BY round) AS fool_rate, first(auc ORDER BY round) AS auc_before,
            last(auc ORDER BY round) AS auc_after, first(caught ORDER BY round) AS caught_before,
            last(caught ORDER BY round) AS caught_after
        FROM rounds GROUP BY family ORDER BY bad DESC, family"""
    )
    placed = []
    for family in (AttackFamily(**row) for row in rows):
        before, after = (
            None if caught is None else percent(caught, 0, 1) for caught in (family.caught_before, family.caught_after)
        )
        ends = sorted(position for position in (before, after) if position is not None)
        low, high = min(ends, default=None), max(ends, default=None)
        placed.append(Placed(family, {"before": before, "after": after, "low": low, "high": high}))
    return placed


def _resembled(run: OpenRun) -> list[ResembledAttack]:
    rows = run.query(
        """SELECT attack, count(*) AS documents FROM decisions WHERE stage = 'purify' AND attack IS NOT NULL
        GROUP BY attack ORDER BY documents DESC, attack"""
    )
    most = max((row["documents"] for row in rows), default=0)
    return [ResembledAttack(**row, width=percent(row["documents"], 0, most)) for row in rows]


def budget(run: OpenRun) -> Budget | None:
    """The rungs of the budget, and what it keeps of each stratum, the largest first."""
    if RUNGS not in run.views:
        return None
    rungs = [
        Rung(**row)
        for row in run.query(f"SELECT rung, share, unit, budget, tokens, bytes, documents FROM {RUNGS} ORDER BY rung")
    ]
    quotas = [
        Quota(**row)
        for row in run.query(
            f"""SELECT stratum, available, quota, if(unit = 'bytes', bytes, tokens) AS kept, tokens, bytes
            FROM {QUOTAS} WHERE rung = (SELECT max(rung) FROM {RUNGS})
            ORDER BY available DESC, stratum LIMIT {MOST_ROWS}"""
        )
    ]
    most = max((max(quota.available, quota.quota, quota.kept) for quota in quotas), default=0)
    return Budget(
        rungs[-1].unit,
        [Placed(rung, {"share": percent(rung.share, 0, 1)}) for rung in rungs],
        [_placed_quota(quota, most) for quota in quotas],
        _tuned_trials(run),
    )


def _tuned_trials(run: OpenRun) -> list[TunedTrial]:
    if TUNING not in run.views:
        return []
    names = ", ".join(field.name for field in fields(TunedTrial))
    return [TunedTrial(**row) for row in run.query(f"SELECT {names} FROM {TUNING} ORDER BY bits_per_word, trial")]


def _placed_quota(quota: Quota, most: int) -> Placed[Quota]:
    sizes = {"available": quota.available, "quota": quota.quota, "kept": quota.kept}
    return Placed(quota, {name: percent(size, 0, most) for name, size in sizes.items()})


def weights(run: OpenRun) -> list[WeightBand]:
    """How many documents and tokens have which weight, and what a training reads of them; none if all weigh 1."""
    bands = ", ".join(f"({low}, {high})" for low, high in pairwise(WEIGHT_BOUNDS))
    rows = run.query(
        f"""SELECT low::DOUBLE AS low, high::DOUBLE AS high, count(*) AS documents, sum(n_tokens)::BIGINT AS tokens,
            sum(round(n_tokens * own)::BIGINT)::BIGINT AS read
        FROM (SELECT n_tokens, coalesce(weight, 1)::DOUBLE AS own FROM decisions WHERE kept)
        JOIN (VALUES {bands}) bands(low, high) ON own >= low AND own < high
        GROUP BY low, high HAVING (SELECT bool_or(weight <> 1) FROM decisions WHERE kept) ORDER BY low"""
    )
    total = sum(row["read"] for row in rows)
    return [WeightBand(**row, share=percent(row["read"], 0, total)) for row in rows]


def clusters(run: OpenRun) -> Clusters | None:
    """How many clusters of copies have which size, and the largest ones."""
    if "clusters" not in run.views:
        return None
    run.connection.execute(
        """CREATE TEMP TABLE families AS SELECT survivor, count(*) AS documents, count_if(stage = 'exact') AS exact,
            count_if(stage = 'near') AS near, min(similarity) AS least
        FROM (SELECT c.*, d.stage FROM clusters c JOIN decisions d USING (doc_id)) GROUP BY survivor"""
    )
    sizes = run.query(
        """SELECT low, any_value(high) AS high, count(*) AS clusters, sum(documents)::BIGINT AS documents FROM (
            SELECT documents, if(documents <= 8, documents, 2 ** floor(log2(documents - 1)) + 1)::BIGINT AS low,
                if(documents <= 8, documents, 2 ** (floor(log2(documents - 1)) + 1))::BIGINT AS high FROM families
        ) GROUP BY low ORDER BY low"""
    )
    if not sizes:
        return None
    largest = run.query(f"FROM families ORDER BY documents DESC, survivor LIMIT {LARGEST_CLUSTERS}")
    most = max(row["clusters"] for row in sizes)
    return Clusters(
        [ClusterSize(**row, width=percent(row["clusters"], 0, most)) for row in sizes],
        [Cluster(**row) for row in largest],
        sum(row["clusters"] for row in sizes),
        sum(row["documents"] for row in sizes),
    )
