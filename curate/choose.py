"""What budgets keep of candidates, as columns of numbers: some bytes a candidate in memory.

The shingles of texts lie in a file, as every document has many of them, and few documents are looked at.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.budget import PERPLEXITY, READ, own_scores, scores_of
from curate.distill.select import (
    Candidates,
    Flags,
    Hashes,
    Integers,
    Numbers,
    Reals,
    Selected,
    Shingles,
    Singles,
    gumbel_keys,
    mean_rank,
    quotas_of,
    ranks_within,
    repeats_of,
    select,
    shares_of,
)
from curate.errors import RecipeError, did_you_mean
from curate.recipe import Recipe
from curate.reference import sampling_mask
from curate.scorers import DOMAIN
from curate.sections import Distill

PURPOSE = "distil"
MOST_STRATA = 10_000_000
REASONS = ("over_budget", "redundant")

Rows = Callable[[Sequence[str]], Iterable[pa.Table]]  # some columns of the candidates, in input order, range by range


@dataclass
class Names:
    """A column of names, as numbers."""

    numbers: Numbers
    known: dict[str | None, int] = field(default_factory=dict)

    def put(self, begin: int, column: pa.ChunkedArray) -> None:
        """Names of further candidates."""
        encoded = column.cast(pa.string()).combine_chunks().dictionary_encode(null_encoding="encode")
        own = [self.known.setdefault(name, len(self.known)) for name in encoded.dictionary.to_pylist()]
        self.numbers[begin : begin + len(column)] = np.array(own, np.int32)[encoded.indices.to_numpy()]


@dataclass(frozen=True)
class Table:
    """Candidates in input order, a row each."""

    tokens: Shingles
    hashes: Hashes  # none where nothing is left to chance
    clusters: Numbers  # from 1; 0 of none
    wordless: Flags  # whether nothing could be read
    scores: Mapping[str, Reals | Singles]  # by column; nan where not known
    strata: Sequence[Names]  # a column each
    offsets: Integers  # of their shingles
    shingles: Shingles


def read_candidates(recipe: Recipe, strata: Sequence[str], folder: Path, rows: Rows) -> Table:
    """The candidates; their shingles are mapped into memory from a file in `folder`."""
    section = recipe.distill
    assert section is not None
    count = sum(len(found) for found in rows(["row"]))
    columns = _stratum_columns(section, strata)
    scores: dict[str, Reals | Singles] = {
        column: np.empty(count) if name.startswith("input.") else np.empty(count, np.float32)
        for name, column in columns_of_scores(recipe).items()
    }  # fmt: skip
    names = {column: Names(np.empty(count, np.int32)) for column in columns}
    drawn = section.temperature > 0
    tokens, clusters = np.empty(count, np.uint32), np.empty(count, np.int32)
    hashes = np.empty(count if drawn else 0, np.uint64)
    wordless, offsets = np.empty(count, bool), np.zeros(count + 1, np.int64)
    wanted = ["n_tokens", "cluster", "importance", "shingles", *scores, *names, *(["raw_hash_low"] if drawn else [])]
    begin = 0
    with (folder / "shingles").open("wb") as file:
        for batch in rows(list(dict.fromkeys(wanted))):
            here = slice(begin, begin + len(batch))
            tokens[here] = batch["n_tokens"].to_numpy()
            if drawn:
                hashes[here] = batch["raw_hash_low"].to_numpy()
            clusters[here] = pc.fill_null(batch["cluster"], -1).to_numpy() + 1
            wordless[here] = batch["importance"].is_null().to_numpy()
            for column, values in scores.items():
                values[here] = batch[column].cast(pa.from_numpy_dtype(values.dtype)).to_numpy()
            for column, found in names.items():
                found.put(begin, batch[column])
            shingles = batch["shingles"].combine_chunks()
            offsets[begin + 1 : begin + 1 + len(batch)] = pc.fill_null(pc.list_value_length(shingles), 0)
            file.write(shingles.flatten().to_numpy(zero_copy_only=False).astype(np.uint32).tobytes())
            begin += len(batch)
    np.cumsum(offsets, out=offsets)
    held: Shingles = np.zeros(0, np.uint32)
    if offsets[-1]:
        held = np.asarray(np.memmap(folder / "shingles", np.uint32, "c"))
    if not READ.keys() & scores_of(recipe).keys():
        wordless[:] = False
    return Table(tokens, hashes, clusters, wordless, scores, [names[column] for column in columns], offsets, held)


def columns_of_scores(recipe: Recipe) -> dict[str, str]:
    """For each score of a recipe its column."""
    own = {name: f"score_{k}" for k, name in enumerate(own_scores(recipe))}
    read = {"purify": "p_bad", "grades": "grade", **READ}
    return {name: own.get(name) or read[name] for name in scores_of(recipe)}


def _stratum_columns(section: Distill, strata: Sequence[str]) -> list[str]:
    """The columns that quotas are given by."""
    found = []
    for name in section.quotas.by if section.quotas else ():
        k = next((k for k, known in enumerate(strata) if known in (name, f"input.{name}")), None)
        if name == DOMAIN or k is not None:
            found.append(DOMAIN if name == DOMAIN else f"distil_{k}")
    return found


@dataclass(frozen=True)
class Chosen:
    """What a budget made of the candidates, a row each, and of the strata."""

    quality: npt.NDArray[np.float32]
    selected: Selected
    weights: npt.NDArray[np.float32]
    rungs: pa.Table  # rung, share, budget, documents, tokens
    quotas: pa.Table  # stratum, rung, available, quota, tokens


def chosen(recipe: Recipe, table: Table, size: tuple[int, int], shares: Mapping[str, float]) -> Chosen:
    """Fill the budgets of a recipe with candidates; `shares` are those of domains.

    `size` is the tokens of the input, and those of the largest budget that are not to be filled.

    Errors: RecipeError for a target of a stratum that there is none of, and for too many strata.
    """
    section = recipe.distill
    assert section is not None
    names, places = _strata(table)
    quality = quality_of(recipe, table, places)
    wanted = _with_diversity(section, quality, table, places)
    budgets = _budgets(section, *size)
    available = np.bincount(places, table.tokens, len(names)).astype(np.int64)
    wanted_shares = _shares(section, names, available, shares)
    quotas = [quotas_of(wanted_shares, available, budget) for budget, _ in budgets]
    targets = section.quotas.targets if section.quotas else {}
    open_ = np.array([targets.get(stratum_name(name)) != 0 for name in names])[places]
    keys = gumbel_keys(wanted, table.hashes ^ np.uint64(sampling_mask(recipe.seed, PURPOSE)), section.temperature)
    if not open_.all():
        keys = np.where(open_, keys, -np.inf)
    candidates = Candidates(table.tokens, places, table.clusters, table.offsets, table.shingles)
    found = select(candidates, keys, [budget for budget, _ in budgets], quotas, section.novelty, section.cluster_cap)
    weights = repeats_of(found.taken[-1], wanted_shares).astype(np.float32)[places]
    rungs, filled = _rungs(budgets, found, table.tokens), _quota_rows(names, available, found)
    return Chosen(quality.astype(np.float32), found, weights, rungs, filled)


def chosen_documents(found: Chosen, rows: Rows) -> Iterator[pa.Table]:
    """What became of the candidates, range by range, with the columns of table `distilled`."""
    begin = 0
    for table in rows(["file_no", "row", "likeness", "importance", DOMAIN, "cluster", "own_grade"]):
        here = slice(begin, begin + len(table))
        begin += len(table)
        rung, redundant = found.selected.rung[here], found.selected.redundant[here]
        kept = rung >= 0
        reasons = pa.DictionaryArray.from_arrays(pa.array(redundant.astype(np.int8), mask=kept), pa.array(REASONS))
        for name, column in {
            "quality": pa.array(found.quality[here]),
            "rung": pa.array(rung + 1, pa.int16(), mask=~kept),
            "weight": pa.array(found.weights[here], mask=~kept),
            "distil_reason": reasons.cast(pa.string()),
        }.items():
            table = table.append_column(name, column)
        yield table


def quality_of(recipe: Recipe, table: Table, strata: Numbers) -> Reals:
    """The weighted mean of a recipe's scores, each as ranks from 0 to 1 within strata."""

    def scores() -> Iterator[tuple[str, Reals | Singles]]:
        for name, column in columns_of_scores(recipe).items():
            values = table.scores[column]
            if name in PERPLEXITY:
                yield name, np.where(np.isnan(values), np.nan, -np.abs(ranks_within(values, strata) - 0.5))
            else:
                yield name, -values if name == "purify" else values

    return np.where(table.wordless, 0.0, mean_rank(scores(), scores_of(recipe), strata))


def _strata(table: Table) -> tuple[list[tuple[str | None, ...]], Numbers]:
    """The values of each stratum, sorted, and the number of each candidate's.

    Errors: RecipeError for more strata than anyone means.
    """
    joined = np.zeros(len(table.tokens), np.int32)
    values: list[tuple[str | None, ...]] = [()]
    for column in table.strata:  # few enough at each step: those that there are
        if len(values) * len(column.known) > MOST_STRATA:
            raise RecipeError(
                f"distill.quotas.by: makes more than {MOST_STRATA:,} strata; leave out a column of many values"
            )
        joined = joined * np.int32(len(column.known)) + column.numbers
        values = [(*value, name) for value in values for name in column.known]
        there = np.flatnonzero(np.bincount(joined, minlength=len(values)))
        joined, values = _renumbered(joined, there, len(values)), [values[k] for k in there]
    names = sorted(values, key=lambda value: tuple((one is None, one or "") for one in value))
    places = {value: k for k, value in enumerate(values)}
    return names, _renumbered(joined, np.array([places[name] for name in names]), len(values))


def _renumbered(numbers: Numbers, old: Integers, count: int) -> Numbers:
    """Numbers, of `count` different ones, by their places in `old`."""
    places = np.zeros(count, np.int32)
    places[old] = np.arange(len(old), dtype=np.int32)
    return places[numbers]


def _with_diversity(section: Distill, quality: Reals, table: Table, strata: Numbers) -> Reals:
    """What a document is wanted for: quality, and how few tokens the cluster of texts like it has."""
    weights = section.weights
    if not weights.diversity or not table.clusters.any():
        return quality
    size = np.bincount(table.clusters, table.tokens)[table.clusters]
    rare = ranks_within(np.where(table.clusters > 0, -size, np.nan), strata)
    return (weights.quality * quality + weights.diversity * rare) / (weights.quality + weights.diversity)


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
    section: Distill, names: Sequence[tuple[str | None, ...]], available: Integers,
    shares: Mapping[str, float],
) -> Reals:  # fmt: skip
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
    section: Distill, names: Sequence[tuple[str | None, ...]], available: Integers,
    domains: Mapping[str, float],
) -> Reals:  # fmt: skip
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


def _rungs(budgets: Sequence[tuple[int, float]], found: Selected, tokens: Shingles) -> pa.Table:
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


def _quota_rows(names: Sequence[tuple[str | None, ...]], available: Integers, found: Selected) -> pa.Table:
    rungs, strata = found.taken.shape
    return pa.table({
        "stratum": pa.array([stratum_name(name) for name in names] * rungs, pa.string()),
        "rung": np.repeat(np.arange(1, rungs + 1, dtype=np.int16), strata),
        "available": np.tile(available, rungs),
        "quota": found.quotas.ravel(),
        "tokens": found.taken.ravel(),
    })  # fmt: skip
