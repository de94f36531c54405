"""Filling budgets with candidates: columns go from file to file, histograms yield ranks and layers.

Only the rung of each candidate, two bytes, stays in memory.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.distill.budget.layers import Arrays, Layers, columns_in, write_columns
from curate.distill.budget.models import DOMAIN
from curate.distill.budget.quality import Value, columns_of_scores, mean_rank, rank_by, values_of
from curate.distill.budget.scores import READ, quality_scores_of, scores_of
from curate.distill.budget.select import (
    REDUNDANT,
    Integers,
    Numbers,
    Reals,
    Selection,
    gumbel_keys,
    key_span,
    quotas_of,
    repeats_of,
    select,
    shares_of,
)
from curate.distill.budget.tables import WeightsOf, kept_sizes, quota_rows, rung_rows
from curate.distill.reference import sampling_mask
from curate.errors import RecipeError, did_you_mean
from curate.recipe.distill import Distill
from curate.recipe.recipe import Recipe
from curate.recipe.values import Unit

PURPOSE = "distil"
MAX_STRATA = 100_000
REASONS = ("over_budget", "redundant")

Rows = Callable[[Sequence[str]], Iterable[pa.Table]]  # reads columns of the candidates, in input order, by ranges
Values = tuple[str | None, ...]  # of the columns of a stratum


@dataclass(frozen=True, kw_only=True)
class CandidateTable:
    """Candidates in input order, in batches, with their totals."""

    path: Path  # of a file with their columns: tokens, bytes, hash, stratum, kind, cluster, alike, wordless, scores
    unit: Unit  # what the budget counts, and so the unit of all sizes
    documents: int
    kinds: int  # number of strata for ranks, which use the nearest domain however far it is
    strata: Sequence[Values]  # in ascending order
    numbers: Numbers  # of the strata, by their numbers in the file
    available: Integers  # size of each stratum
    of_cluster: Integers  # size of each cluster, from 1; at 0 that of documents of no cluster
    alike: int  # size of the candidates that resemble the reference more than the corpus
    domain: int | None  # index of the domain among the values of a stratum

    def batches(self) -> Iterator[Arrays]:
        """The candidates' columns, and their sizes."""
        for columns in columns_in(self.path):
            yield {**columns, "stratum": self.numbers[columns["stratum"]], "size": columns[self.unit]}


def read_candidates(recipe: Recipe, strata: Sequence[str], folder: Path, rows: Rows) -> CandidateTable:
    """Write the candidates to a file in `folder`.

    Errors: RecipeError for an unreasonable number of strata.
    """
    section = recipe.distill
    assert section is not None
    by = _stratum_columns(section, strata)
    stratum_numbers: dict[Values, int] = {} if by else {(): 0}
    kind_numbers = stratum_numbers.copy()
    path = folder / "candidates"
    write_columns(path, _numeric_columns(recipe, by, rows, stratum_numbers, kind_numbers))
    documents, alike = 0, 0
    available, of_cluster = np.zeros(len(stratum_numbers), np.int64), np.zeros(1, np.int64)
    for columns in columns_in(path):
        documents += len(columns[section.unit])
        alike += int(columns[section.unit][columns["alike"]].sum(dtype=np.int64))
        available = _add(available, columns["stratum"], columns[section.unit])
        of_cluster = _add(of_cluster, columns["cluster"], columns[section.unit])
    names = sorted(stratum_numbers, key=lambda values: tuple((value is None, value or "") for value in values))
    order = np.array([stratum_numbers[values] for values in names], np.int64)
    numbers = np.zeros(len(names), np.int32)
    numbers[order] = np.arange(len(names))
    return CandidateTable(
        path=path,
        unit=section.unit,
        documents=documents,
        kinds=len(kind_numbers),
        strata=names,
        numbers=numbers,
        available=available[order],
        of_cluster=of_cluster,
        alike=alike,
        domain=by.index(DOMAIN) if DOMAIN in by else None,
    )


def _numeric_columns(
    recipe: Recipe,
    by: Sequence[str],
    rows: Rows,
    stratum_numbers: dict[Values, int],
    kind_numbers: dict[Values, int],
) -> Iterator[Arrays]:
    """The columns of a `CandidateTable`; new strata and kinds, by the columns `by`, are added to their numbers."""
    section = recipe.distill
    assert section is not None
    scores = columns_of_scores(recipe)
    types = {scores[name]: pa.float64() if name.startswith("input.") else pa.float32() for name in scores}
    plain = ["raw_hash_low"] if section.temperature > 0 else []  # only if keys are random
    plain += ["share"] if recipe.dedup.weighs else []
    reads_texts = bool(READ.keys() & scores.keys())
    names = ["n_tokens", "n_bytes", "cluster", "importance", "likeness", *types, *by, *plain]
    for batch in rows(list(dict.fromkeys(names))):
        kinds = [batch[column] for column in by]
        quota_strata = [_own_domain(batch, section) if column == DOMAIN else batch[column] for column in by]
        yield {
            "tokens": batch["n_tokens"].to_numpy().astype(np.uint32),
            "bytes": batch["n_bytes"].to_numpy().astype(np.uint32),
            "stratum": _number_strata(quota_strata, len(batch), stratum_numbers),
            "kind": _number_strata(kinds, len(batch), kind_numbers),
            "cluster": pc.fill_null(batch["cluster"], -1).to_numpy().astype(np.int32) + 1,
            "alike": pc.fill_null(pc.greater_equal(batch["likeness"], 0.0), False).to_numpy(),
            "wordless": batch["importance"].is_null().to_numpy() & reads_texts,
            **{name: batch[name].to_numpy() for name in plain},
            **{name: batch[name].cast(kind).to_numpy() for name, kind in types.items()},
        }


def _own_domain(batch: pa.Table, section: Distill) -> pa.ChunkedArray:
    """The domain of each document; null where it resembles the corpus more than the reference.

    Such a document may be far from its nearest domain and must not fill that domain's quota. Without a reference there
    is no likeness: the packaged prose has too few kinds of text to exclude others.
    """
    least = section.quotas.least_likeness if section.quotas else 0.0
    if least is None:
        return batch[DOMAIN]
    unlike = pc.fill_null(pc.less(batch["likeness"], least), False)
    return pc.if_else(unlike, pa.scalar(None, pa.string()), batch[DOMAIN])


def _number_strata(columns: Sequence[pa.ChunkedArray], count: int, numbers: dict[Values, int]) -> Numbers:
    """The number of each document's stratum; new strata are added to `numbers`.

    Errors: RecipeError for an unreasonable number of strata.
    """
    codes, values = np.zeros(count, np.int64), [()] if count else []
    for column in columns:
        encoded = column.cast(pa.string()).combine_chunks().dictionary_encode(null_encoding="encode")
        names = encoded.dictionary.to_pylist()
        present, codes = np.unique(codes * len(names) + encoded.indices.to_numpy(), return_inverse=True)
        values = [(*values[k // len(names)], names[k % len(names)]) for k in present.tolist()]
    by_code = np.array([numbers.setdefault(stratum, len(numbers)) for stratum in values], np.int32)
    if len(numbers) > MAX_STRATA:
        raise RecipeError(
            f"distill.quotas.by: makes more than {MAX_STRATA:,} strata; leave out a column of many values"
        )
    return by_code[codes]


def _add(sums: Integers, numbers: Numbers, sizes: npt.NDArray[np.generic]) -> Integers:
    """Sums of sizes by number, with the sizes of a batch added."""
    total = np.bincount(numbers, sizes, len(sums)).astype(np.int64)
    total[: len(sums)] += sums
    return total


def _stratum_columns(section: Distill, strata: Sequence[str]) -> list[str]:
    """The columns of the strata that have quotas."""
    columns = []
    for name in section.strata:
        k = next((k for k, stratum in enumerate(strata) if stratum in (name, f"input.{name}")), None)
        if name == DOMAIN or k is not None:
            columns.append(DOMAIN if name == DOMAIN else f"distil_{k}")
    return columns


@dataclass(frozen=True, kw_only=True)
class FilledBudgets:
    """The documents that budgets keep of the candidates, and their strata."""

    path: Path  # of a file with the candidates' quality and stratum
    weights_of: WeightsOf  # how often a training reads each document that is kept
    selection: Selection
    rungs: pa.Table  # rung, share, unit, budget, documents, tokens, bytes, read_tokens, read_bytes
    quotas: pa.Table  # stratum, rung, unit, available, quota, tokens, bytes, read_tokens, read_bytes


def fill_budgets(
    recipe: Recipe, table: CandidateTable, rows: Rows, size: tuple[int, int], domain_shares: Mapping[str, float]
) -> FilledBudgets:
    """Fill the budgets of a recipe with candidates; files are written to the folder of the table's file.

    `size`, in the unit of the budget, is that of the input, and what to leave free in the largest budget.

    Errors: RecipeError for a target of a stratum without candidates.
    """
    section = recipe.distill
    assert section is not None
    budgets = budgets_of(section, *size)
    shares = quota_shares(section, table, domain_shares)
    quotas = [quotas_of(shares, table.available, budget) for budget, _ in budgets]
    path = table.path.with_name("keys")
    write_columns(path, keyed(recipe, table))
    layers = Layers(
        path.parent, partial(columns_in, path), partial(shingles_of, rows), budgets[-1][0], len(table.strata)
    )
    selection = select(
        layers.best_first,
        count=table.documents,
        clusters=len(table.of_cluster),
        budgets=[budget for budget, _ in budgets],
        quotas=quotas,
        novelty=section.novelty,
        cap=section.cluster_cap,
    )
    weights = repeats_of(selection.taken[-1], shares).astype(np.float32)

    def weights_of(columns: Arrays) -> npt.NDArray[np.float32]:
        return weights[columns["stratum"]]

    return filled_budgets(table, path, budgets, selection, weights_of)


def filled_budgets(
    table: CandidateTable,
    path: Path,
    budgets: Sequence[tuple[int, float]],
    selection: Selection,
    weights_of: WeightsOf,
) -> FilledBudgets:
    """What a selection keeps, with its tables; `path` has the candidates' columns with their keys.

    The weights of near duplicates are multiplied by the documents' shares of their clusters.
    """

    def shared_weights_of(columns: Arrays) -> npt.NDArray[np.float32]:
        return weights_of(columns) * columns["share"] if "share" in columns else weights_of(columns)

    sizes = kept_sizes(path, selection, shared_weights_of)
    names = [stratum_name(name) for name in table.strata]
    return FilledBudgets(
        path=path,
        weights_of=shared_weights_of,
        selection=selection,
        rungs=rung_rows(budgets, table.unit, selection, sizes),
        quotas=quota_rows(names, table.unit, table.available, selection, sizes),
    )


def shingles_of(rows: Rows) -> Iterator[pa.Array]:
    """The candidates' shingles, range by range."""
    return (batch["shingles"].combine_chunks() for batch in rows(["shingles"]))


def distilled_tables(filled: FilledBudgets, rows: Rows) -> Iterator[pa.Table]:
    """The columns of table `distilled` for all candidates, by ranges."""
    begin = 0
    batches = rows(["file_no", "row", "likeness", "importance", DOMAIN, "cluster", "own_grade"])
    for table, columns in zip(batches, columns_in(filled.path), strict=True):
        rung = filled.selection.rung[begin : begin + len(table)]
        begin += len(table)
        kept = rung >= 0
        reasons = pa.DictionaryArray.from_arrays(
            pa.array((rung == REDUNDANT).astype(np.int8), mask=kept), pa.array(REASONS)
        )
        for name, column in {
            "quality": pa.array(columns["quality"]),
            "rung": pa.array(rung + 1, pa.int16(), mask=~kept),
            "weight": pa.array(filled.weights_of(columns), mask=~kept),
            "distil_reason": reasons.cast(pa.string()),
        }.items():
            table = table.append_column(name, column)
        yield table


def keyed(recipe: Recipe, table: CandidateTable) -> Iterator[Arrays]:
    """The quality of each candidate, and the key that orders them: -inf for documents that must not be kept.

    Keys go by the mean rank of the budget's scores within strata, and with diversity also by how small the
    document's cluster is. Quality is that mean rank where the recipe names scores, else the evidence that the run has.
    """
    section = recipe.distill
    assert section is not None
    targets = section.quotas.targets if section.quotas else {}
    closed = np.array([targets.get(stratum_name(name)) == 0 for name in table.strata], bool)
    last = np.array([table.domain is not None and name[table.domain] is None for name in table.strata], bool)
    mask = np.uint64(sampling_mask(recipe.seed, PURPOSE))
    values, share = values_of(recipe), section.weights.quality + section.weights.diversity
    order = mean_rank(values, scores_of(recipe), table.batches, table.kinds)
    quality = order if section.scores else mean_rank(values, quality_scores_of(recipe), table.batches)
    rarity = _rarity(section, table)
    for columns in table.batches():
        stratum, utility = columns["stratum"], order(columns)
        if rarity:
            utility = (section.weights.quality * utility + section.weights.diversity * rarity(columns)) / share
        hashes = columns["raw_hash_low"] ^ mask if section.temperature > 0 else np.zeros(0, np.uint64)
        keys = gumbel_keys(utility, hashes, section.temperature) - last[stratum] * key_span(section.temperature)
        key: Reals = np.where(closed[stratum], -np.inf, keys)
        keyed: Arrays = {"quality": quality(columns).astype(np.float32), "key": key, "stratum": stratum}
        names = ("tokens", "bytes", "size", "cluster", "share")
        yield keyed | {name: columns[name] for name in names if name in columns}


def _rarity(section: Distill, table: CandidateTable) -> Value | None:
    """The rank of a document by how small its cluster is; None without diversity, or without clusters."""
    if not section.weights.diversity or not table.of_cluster[1:].any():
        return None
    of_cluster = -table.of_cluster.astype(np.float64)
    of_cluster[0] = np.nan
    return rank_by(lambda columns: of_cluster[columns["cluster"]], table.batches, table.kinds)


def budgets_of(section: Distill, input_size: int, reserved: int) -> list[tuple[int, float]]:
    """The size of each rung, ascending, and its share of the input; the largest is reduced by `reserved`."""
    sizes, unit = [*section.ladder, section.budget], section.unit
    counts = [int(value * input_size) if value <= 1 else int(value) for value in sizes]
    if max(counts) > counts[-1]:
        raise RecipeError(
            f"distill.ladder: a rung of {max(counts):,} {unit} is more than keep_{unit}, {counts[-1]:,}; leave it out"
        )
    budgets = [(count, count / max(1, input_size)) for count in sorted(set(counts))]
    largest, share = budgets.pop()
    return [*budgets, (max(largest - reserved, *(count for count, _ in budgets), 0), share)]


def _masses(table: CandidateTable, shares: Mapping[str, float]) -> Reals:
    """The masses of strata: sizes of candidates, scaled within a domain to its share of the reference."""
    masses = table.available.astype(np.float64)
    if table.domain is None:
        return masses
    domains = [name[table.domain] for name in table.strata]
    for domain in set(domains):
        of_domain = np.array([name == domain for name in domains])
        masses[of_domain] *= shares.get(domain or "", 0.0) / max(1.0, masses[of_domain].sum())
    return masses


def quota_shares(section: Distill, table: CandidateTable, domains: Mapping[str, float]) -> Reals:
    """The target share of a budget for each stratum."""
    if section.quotas is None:
        return np.ones(1)
    numbers = {stratum_name(name): number for number, name in enumerate(table.strata)}
    for name in section.quotas.targets:
        if name not in numbers and name not in domains:
            raise RecipeError(f"distill.quotas.targets: no document is left of {name!r}{did_you_mean(name, numbers)}")
    targets = {number: 0.0 for number, name in enumerate(table.strata) if None in name}  # only where others leave room
    targets |= {numbers[name]: float(share) for name, share in section.quotas.targets.items() if name in numbers}
    masses = _masses(table, domains)
    return shares_of(masses, table.available, section.quotas.temperature, float(section.quotas.floor), targets)


def stratum_name(values: Sequence[str | None]) -> str:
    """The values of a stratum as one name."""
    return "/".join("none" if value is None else value for value in values) or "all"
