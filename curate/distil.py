"""Stage `distil` of a run: of what the other stages leave, the documents that are worth their share of a token budget.

Texts are scored once (`curate.scorers`); budgets, quotas and weights are other questions about the same scores.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.bands import strata_of_documents
from curate.distill.select import (
    TOLERANCE,
    Candidates,
    Selected,
    gumbel_keys,
    mean_rank,
    quotas_of,
    ranks_within,
    repeats_of,
    select,
    shares_of,
)
from curate.errors import RecipeError, did_you_mean
from curate.ledger import Part, write_part
from curate.mining import MOST_BYTES
from curate.recipe import Recipe
from curate.reference import MIN_BYTES, sampling_mask
from curate.rescored import scores_of_table
from curate.scorers import DOMAIN, LIKENESS, SCORED, SCORES, Scorers
from curate.sections import Distill
from curate.sql import quoted, read_parquet

STAGE, REASONS = "distil", ("over_budget", "redundant")
RUNGS, QUOTAS = "rungs", "quotas"
PURPOSE = "distil"
PERPLEXITY = {"language_model": "perplexity", "token_prior": "token_prior_mean"}  # scores whose middle is best
MEASURED = {**PERPLEXITY, "coarse_score": "coarse_score"}
READ = {"discriminator": "likeness", "importance": "importance"}  # scores that are read from texts, and their columns
LANGUAGE_WEIGHT = 0.25  # of language_model beside importance; see docs/distil.md
KNOWN = (*READ, "purify", *MEASURED, "grades")
NOTHING_DISTILLED = (
    "CREATE TEMP TABLE distilled (file_no INTEGER, row BIGINT, likeness FLOAT, importance FLOAT, domain VARCHAR, "
    "cluster INTEGER, own_grade FLOAT, quality FLOAT, rung SMALLINT, weight FLOAT, distil_reason VARCHAR)"
)


@dataclass(frozen=True)
class Distil:
    """The maps that the budget needs.

    `learn` is given what tells the documents to sample (file_no, row, hash), and returns what was learnt.
    `known` tells by what scores are known that still hold, and the files that have them. `score` is given documents
    (file_no, row, lines_sum), what was learnt, and parts with the lines that are cut, and returns parts as SCORED.
    """

    learn: Callable[[Callable[[], pa.Table]], Scorers]
    known: Callable[[Scorers], tuple[str, Sequence[Path]]]
    score: Callable[[pa.Table, Scorers, Sequence[Part]], Sequence[Part]]
    say: Callable[[str], None] = lambda message: None


def scores_of(recipe: Recipe) -> dict[str, float]:
    """The scores of a recipe with their weights."""
    section = recipe.distill
    assert section is not None
    if section.scores is not None:
        return dict(section.scores)
    if recipe.reference or recipe.models.pin:
        return {"discriminator": 1.0}
    return {"importance": 1.0} | ({"language_model": LANGUAGE_WEIGHT} if recipe.tier1.perplexity else {})


def check_distill(recipe: Recipe) -> None:
    """Refuse a recipe whose budget asks for what it does not make.

    Errors: RecipeError.
    """
    section = recipe.distill
    if section is None:
        return
    scores = scores_of(recipe)
    for name in scores:
        if name not in KNOWN and not name.startswith("input."):
            raise RecipeError(f"distill.scores: no score {name!r}{did_you_mean(name, KNOWN)}")
    needs = {
        "discriminator": (bool(recipe.reference) or bool(recipe.models.pin), "reference texts"),
        "purify": (recipe.tier2 is not None, "tier2"),
        "language_model": (recipe.tier1.perplexity is not None, "tier1.perplexity"),
        "token_prior": (recipe.tier1.perplexity is not None, "tier1.perplexity"),
        "grades": (bool(section.grades) or bool(recipe.tier2 and recipe.tier2.judge), "distill.grades or tier2.judge"),
    }
    for name, (there, what) in needs.items():
        if name in scores and not there:
            raise RecipeError(f"distill.scores: {name} needs {what}; add it, or leave the score out")
    if section.grades and "grades" not in scores:
        raise RecipeError("distill.grades: no score uses it; add grades to distill.scores")
    for name in section.quotas.by if section.quotas else ():
        strata = [stratum.removesuffix("?") for stratum in recipe.input.strata]
        if name not in (DOMAIN, "language", "length_bucket", *strata):
            raise RecipeError(f"distill.quotas.by: {name} is not in input.strata; add it there, or use {DOMAIN}")


def check_pinned_scores(recipe: Recipe, pinned: Scorers | None) -> None:
    """Refuse a score that the models of a pinned run cannot give.

    Errors: RecipeError.
    """
    if pinned is not None and "discriminator" in scores_of(recipe) and pinned.path(LIKENESS) is None:
        raise RecipeError(
            f"models.pin: {recipe.models.pin} had no reference, so it has no discriminator; "
            "set distill.scores to {importance: 1}"
        )


def check_columns(recipe: Recipe, inputs: pa.Schema) -> None:
    """Refuse a column of the input as a score that holds no numbers.

    Errors: RecipeError.
    """
    for name in scores_of(recipe) if recipe.distill else ():
        column = name.removeprefix("input.")
        if column == name or column not in inputs.names:
            continue
        kind = inputs.field(column).type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
            raise RecipeError(f"distill.scores: {name} holds {kind}, not numbers; name a column of numbers")


def strata_of_distil(recipe: Recipe, inputs: Any) -> dict[str, str]:  # noqa: ANN401 - names of columns
    """The columns that quotas are given by, but for the predicted domain, and SQL for each over the signals."""
    section = recipe.distill
    if section is None or section.quotas is None:
        return {}
    known = strata_of_documents(recipe, inputs, ("language", "length_bucket"))
    wanted = [name if name in known else f"input.{name}" for name in section.quotas.by if name != DOMAIN]
    return {name: known[name] for name in wanted if name in known}


def own_scores(recipe: Recipe) -> dict[str, str]:
    """The scores that the ledger has without reading texts again, and SQL for each over the signals."""
    if recipe.distill is None:
        return {}
    found = {}
    for name in scores_of(recipe):
        if name in MEASURED:
            found[name] = MEASURED[name]
        elif name.startswith("input."):
            found[name] = f"input.{quoted(name.removeprefix('input.'))}"
    return found


def sampled_documents(section: Distill, seed: int, connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """The documents (file_no, row, hash), drawn by seed and of equal texts one, that models learn the corpus from."""
    key = f"xor(raw_hash_low, {sampling_mask(seed, PURPOSE)}::UBIGINT)"
    return connection.sql(
        f"""SELECT file_no, row, key AS hash FROM (
            SELECT file_no, position, row, {key} AS key FROM texts JOIN files USING (file_no)
            WHERE raw_n_bytes BETWEEN {MIN_BYTES} AND {MOST_BYTES}
            QUALIFY row_number() OVER (PARTITION BY key ORDER BY position, row) = 1
            ORDER BY key LIMIT {section.sample}
        ) ORDER BY file_no, row"""
    ).to_arrow_table()


def distil_documents(
    recipe: Recipe, strata: Sequence[str], run: Path, maps: Distil, sampled: Callable[[], pa.Table],
    cuts: Sequence[Part], size: tuple[int, int], connection: duckdb.DuckDBPyConnection, digest: str,
) -> list[Part]:  # fmt: skip
    """Table `distilled` of the documents of `passing` that the stages before leave, and the parts of the stage.

    `size` is the tokens of the input, and those of the largest budget that written documents have.

    Errors: InputError where models cannot be learnt, or a target's stratum has no document.
    """
    section = recipe.distill
    assert section is not None
    scorers = maps.learn(sampled)
    connection.execute(candidates_sql(recipe))
    parts = scores_of_table(
        "candidates", SCORES, SCORED, maps.known(scorers), lambda fresh: maps.score(fresh, scorers, cuts), run,
        connection, digest,
    )  # fmt: skip
    connection.execute(NOTHING_DISTILLED)
    table = _candidates(connection, [run / part.path for part in parts])
    found = chosen(recipe, table, strata, size, scorers.shares)
    connection.register("chosen", found.documents)
    connection.execute("INSERT INTO distilled BY NAME FROM chosen")
    connection.unregister("chosen")
    _tell_of_room(found, maps.say)
    tables = {RUNGS: found.rungs, QUOTAS: found.quotas}
    return [
        *scorers.parts,
        *parts,
        *(write_part(run, group, digest, "00000", table) for group, table in tables.items()),
    ]


def _tell_of_room(found: "Chosen", say: Callable[[str], None]) -> None:
    """Say where a budget has room for all that is left."""
    *_, last = found.rungs.to_pylist()
    if last["tokens"] < (1 - TOLERANCE) * last["budget"] and last["documents"] == len(found.documents):
        say(
            f"distil: the budget is {last['budget']:,} tokens, and {last['tokens']:,} are left: all of them are kept; "
            "give more input, or drop less before"
        )


def candidates_sql(recipe: Recipe) -> str:
    """Table `candidates`: the documents that are left, with what is known of them."""
    most = recipe.dedup.lines.max_cut if recipe.dedup.lines else 1
    return f"""
        CREATE TEMP TABLE candidates AS
        SELECT passing.* EXCLUDE (n_tokens), coalesce(trimmed_tokens, n_tokens) AS n_tokens,
            coalesce(lines_sum, 0)::UBIGINT AS lines_sum, p_bad, grade
        FROM passing ANTI JOIN duplicates USING (file_no, row) ANTI JOIN banded USING (file_no, row)
            LEFT JOIN trimmed USING (file_no, row) LEFT JOIN purified USING (file_no, row)
        WHERE file_no >= 0 AND NOT coalesce(cut_share > {most}::FLOAT OR trimmed_tokens = 0, false)
            AND NOT coalesce(p_bad > p_bad_bound, false)"""


def _candidates(connection: duckdb.DuckDBPyConnection, scored: Sequence[Path]) -> pa.Table:
    """The rows of table `candidates` with their scores, in input order."""
    connection.register("unscored", SCORED.empty_table())
    source = read_parquet(scored) if scored else "unscored"
    return (
        connection.sql(
            f"""SELECT c.* EXCLUDE (grade), s.* EXCLUDE (file_no, row, lines_sum, grade), s.grade AS own_grade,
            coalesce(s.grade, c.grade) AS grade
        FROM candidates c LEFT JOIN {source} s USING (file_no, row) ORDER BY position, row"""
        )
        .to_arrow_table()
        .combine_chunks()
    )


@dataclass(frozen=True)
class Chosen:
    """What a budget made of the candidates."""

    documents: pa.Table  # the columns of table `distilled`
    rungs: pa.Table  # rung, share, budget, documents, tokens
    quotas: pa.Table  # stratum, rung, available, quota, tokens


def chosen(
    recipe: Recipe, table: pa.Table, strata: Sequence[str], size: tuple[int, int], shares: Mapping[str, float]
) -> Chosen:
    """Fill the budgets of a recipe with candidates, which are in input order; `shares` are those of domains.

    `size` is the tokens of the input, and those of the largest budget that are not to be filled.

    Errors: RecipeError for a target of a stratum that there is none of.
    """
    section = recipe.distill
    assert section is not None
    names, places = _strata(section, table, strata)
    tokens = table["n_tokens"].to_numpy().astype(np.int64)
    quality = quality_of(recipe, table, places)
    wanted = _with_diversity(section, quality, table, tokens, places)
    budgets = _budgets(section, *size)
    available = np.bincount(places, tokens, len(names)).astype(np.int64)
    wanted_shares = _shares(section, names, available, shares)
    quotas = [quotas_of(wanted_shares, available, budget) for budget, _ in budgets]
    targets = section.quotas.targets if section.quotas else {}
    open_ = np.array([targets.get(stratum_name(name)) != 0 for name in names])[places]
    offsets, shingles = _shingles(table["shingles"].combine_chunks())
    hashes = table["raw_hash_low"].to_numpy() ^ np.uint64(sampling_mask(recipe.seed, PURPOSE))
    keys = np.where(open_, gumbel_keys(wanted, hashes, section.temperature), -np.inf)
    fitting = np.where(open_, tokens, np.iinfo(np.int64).max)
    candidates = Candidates(fitting, places, _clusters(table), offsets, shingles)
    found = select(candidates, keys, [budget for budget, _ in budgets], quotas, section.novelty, section.cluster_cap)
    return Chosen(
        _documents(table, quality, found, places, wanted_shares),
        _rungs(budgets, found, tokens),
        _quota_rows(names, available, found),
    )


def quality_of(recipe: Recipe, table: pa.Table, strata: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The weighted mean of a recipe's scores, each as ranks from 0 to 1 within strata."""
    weights = scores_of(recipe)
    found = {}
    for k, name in enumerate(own_scores(recipe)):
        values = _numbers(table[f"score_{k}"])
        middle = ranks_within(values, strata)
        found[name] = np.where(np.isnan(values), np.nan, -np.abs(middle - 0.5)) if name in PERPLEXITY else values
    for name in weights.keys() - found.keys():
        column = {"purify": "p_bad", "grades": "grade", **READ}[name]
        found[name] = _numbers(table[column]) * (-1 if name == "purify" else 1)
    quality = mean_rank({name: found[name] for name in weights}, weights, strata)
    wordless = np.asarray(table[READ["importance"]].is_null()) & np.array(bool(weights.keys() & READ.keys()))
    return np.where(wordless, 0.0, quality)


def _numbers(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    return np.asarray(column.cast(pa.float64()).to_numpy(), np.float64)


def _strata(
    section: Distill, table: pa.Table, strata: Sequence[str]
) -> tuple[list[tuple[str | None, ...]], npt.NDArray[np.int64]]:
    """The values of each stratum, sorted, and the number of each candidate's."""
    columns = []
    for name in section.quotas.by if section.quotas else ():
        k = next((k for k, known in enumerate(strata) if known in (name, f"input.{name}")), None)
        column = table[DOMAIN] if name == DOMAIN else None if k is None else table[f"distil_{k}"]
        if column is not None:
            columns.append(column.cast(pa.string()).to_pylist())
    values = list(zip(*columns, strict=True)) if columns else [()] * len(table)
    names = sorted(set(values), key=lambda value: tuple((one is None, one or "") for one in value)) or [()]
    numbers = {value: number for number, value in enumerate(names)}
    return names, np.array([numbers[value] for value in values], np.int64)


def _with_diversity(
    section: Distill, quality: npt.NDArray[np.float64], table: pa.Table, tokens: npt.NDArray[np.int64],
    strata: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:  # fmt: skip
    """What a document is wanted for: quality, and how few tokens the cluster of texts like it has."""
    weights = section.weights
    if not weights.diversity or table["cluster"].null_count == len(table):
        return quality
    clusters = _clusters(table)
    size = np.bincount(clusters, tokens)[clusters]
    rare = ranks_within(np.where(clusters > 0, -size, np.nan), strata)
    return (weights.quality * quality + weights.diversity * rare) / (weights.quality + weights.diversity)


def _clusters(table: pa.Table) -> npt.NDArray[np.int64]:
    """The number of each candidate's cluster, from 1; 0 for those without one."""
    return np.asarray(pc.fill_null(table["cluster"], -1).to_numpy(), np.int64) + 1


def _budgets(section: Distill, input_tokens: int, reserved: int) -> list[tuple[int, float]]:
    """Tokens of each rung, the least first, and the share of the input that they are; the largest less `reserved`."""
    given = [*section.ladder, section.keep_tokens]
    counts = [int(value * input_tokens) if value <= 1 else int(value) for value in given]
    if max(counts) > counts[-1]:
        raise RecipeError(
            f"distill.ladder: a rung of {max(counts):,} tokens is more than keep_tokens, {counts[-1]:,}; leave it out"
        )
    budgets = [(count, count / max(1, input_tokens)) for count in sorted(set(counts))]
    largest, share = budgets.pop()
    return [*budgets, (max(largest - reserved, *(count for count, _ in budgets), 0), share)]


def _masses(
    section: Distill, names: Sequence[tuple[str | None, ...]], available: npt.NDArray[np.int64],
    shares: Mapping[str, float],
) -> npt.NDArray[np.float64]:  # fmt: skip
    """What shares of the budget go with: tokens of candidates; those of a domain make up its share of the reference."""
    masses = available.astype(np.float64)
    if section.quotas is None or DOMAIN not in section.quotas.by:
        return masses
    place = section.quotas.by.index(DOMAIN)
    domains = [name[place] for name in names]
    for domain in set(domains):
        own = np.array([one == domain for one in domains])
        masses[own] *= shares.get(domain or "", 0.0) / max(1.0, masses[own].sum())
    return masses


def _shares(
    section: Distill, names: Sequence[tuple[str | None, ...]], available: npt.NDArray[np.int64],
    domains: Mapping[str, float],
) -> npt.NDArray[np.float64]:  # fmt: skip
    """The share of a budget that each stratum is to have."""
    if section.quotas is None:
        return np.ones(1)
    known = {stratum_name(name): number for number, name in enumerate(names)}
    for name in section.quotas.targets:
        if name not in known and name not in domains:
            raise RecipeError(f"distill.quotas.targets: no document is left of {name!r}{did_you_mean(name, known)}")
    targets = {number: 0.0 for number, name in enumerate(names) if None in name}  # of no kind: only where there is room
    targets |= {known[name]: float(share) for name, share in section.quotas.targets.items() if name in known}
    masses = _masses(section, names, available, domains)
    return shares_of(masses, available, section.quotas.temperature, float(section.quotas.floor), targets)


def stratum_name(values: Sequence[str | None]) -> str:
    """The values of a stratum as one name."""
    return "/".join("none" if value is None else value for value in values) or "all"


def _shingles(column: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32]]:
    """Offsets and values of a list column, whose nulls are empty."""
    sizes = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), column.flatten().to_numpy()


def _documents(
    table: pa.Table, quality: npt.NDArray[np.float64], found: Selected, strata: npt.NDArray[np.int64],
    shares: npt.NDArray[np.float64],
) -> pa.Table:  # fmt: skip
    kept = found.rung >= 0
    repeats = repeats_of(found.taken[-1], shares)[strata]
    reasons = np.where(found.redundant, REASONS[1], REASONS[0]).astype(object)
    names = ("file_no", "row", "likeness", "importance", DOMAIN, "cluster", "own_grade")
    return pa.table({
        **{name: table[name] for name in names},
        "quality": pa.array(quality.astype(np.float32)),
        "rung": pa.array(found.rung + 1, pa.int16(), mask=~kept),
        "weight": pa.array(repeats.astype(np.float32), mask=~kept),
        "distil_reason": pa.array(reasons, pa.string(), mask=kept),
    })  # fmt: skip


def _rungs(budgets: Sequence[tuple[int, float]], found: Selected, tokens: npt.NDArray[np.int64]) -> pa.Table:
    rows = []
    for k, (budget, share) in enumerate(budgets):
        within = (found.rung >= 0) & (found.rung <= k)
        rows.append({
            "rung": k + 1, "share": share, "budget": budget, "documents": int(within.sum()),
            "tokens": int(tokens[within].sum()),
        })  # fmt: skip
    kinds = [
        ("rung", pa.int16()),
        ("share", pa.float64()),
        *((n, pa.int64()) for n in ("budget", "documents", "tokens")),
    ]
    return pa.Table.from_pylist(rows, pa.schema(kinds))


def _quota_rows(names: Sequence[tuple[str | None, ...]], available: npt.NDArray[np.int64], found: Selected) -> pa.Table:
    rungs, strata = found.taken.shape
    return pa.table({
        "stratum": pa.array([stratum_name(name) for name in names] * rungs, pa.string()),
        "rung": np.repeat(np.arange(1, rungs + 1, dtype=np.int16), strata),
        "available": np.tile(available, rungs),
        "quota": found.quotas.ravel(),
        "tokens": found.taken.ravel(),
    })  # fmt: skip
