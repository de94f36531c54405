"""What budgets keep of candidates: their columns pass from file to file, and histograms tell ranks and layers.

Of all candidates two bytes each lie in memory, with what became of them.
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
from curate.distill.budget.ranks import Histogram, Ranked, ranked
from curate.distill.budget.scores import PERPLEXITY, READ, own_scores, scores_of
from curate.distill.budget.select import (
    REDUNDANT,
    Integers,
    Numbers,
    Reals,
    Selected,
    gumbel_keys,
    key_span,
    quotas_of,
    repeats_of,
    select,
    shares_of,
)
from curate.distill.reference import sampling_mask
from curate.errors import RecipeError, did_you_mean
from curate.recipe.distill import Distill
from curate.recipe.recipe import Recipe

PURPOSE = "distil"
MOST_STRATA = 100_000
REASONS = ("over_budget", "redundant")
RARITY = "rarity"  # beside the names of scores

Rows = Callable[[Sequence[str]], Iterable[pa.Table]]  # some columns of the candidates, in input order, range by range
Values = tuple[str | None, ...]  # of the columns of a stratum


@dataclass(frozen=True)
class Table:
    """Candidates in input order, batch by batch, and what they are together."""

    path: Path  # of a file with their columns: tokens, hash, stratum, kind, cluster, wordless, scores
    documents: int
    kinds: int  # strata within which ranks are taken, by the nearest domain, however far that is
    strata: Sequence[Values]  # in ascending order
    numbers: Numbers  # of the strata, by the numbers in the file
    available: Integers  # tokens of each stratum
    of_cluster: Integers  # tokens of each cluster, from 1; at 0 those of documents of none
    domain: int | None  # the place of the domain among the values of a stratum

    def batches(self) -> Iterator[Arrays]:
        """The candidates' columns."""
        for columns in columns_in(self.path):
            yield {**columns, "stratum": self.numbers[columns["stratum"]]}


def read_candidates(recipe: Recipe, strata: Sequence[str], folder: Path, rows: Rows) -> Table:
    """The candidates, in a file in `folder`.

    Errors: RecipeError for more strata than anyone means.
    """
    section = recipe.distill
    assert section is not None
    scores = {column: pa.float64() if name.startswith("input.") else pa.float32()
              for name, column in columns_of_scores(recipe).items()}  # fmt: skip
    by = _stratum_columns(section, strata)
    drawn = ["raw_hash_low"] if section.temperature > 0 else []  # unless nothing is left to chance
    read = bool(READ.keys() & scores_of(recipe).keys())
    known: dict[Values, int] = {} if by else {(): 0}
    kinds: dict[Values, int] = {} if by else {(): 0}
    wanted = ["n_tokens", "cluster", "importance", "likeness", *scores, *by, *drawn]

    def batches() -> Iterator[Arrays]:
        for batch in rows(list(dict.fromkeys(wanted))):
            columns = [_own_domain(batch) if column == DOMAIN else batch[column] for column in by]
            yield {
                "tokens": batch["n_tokens"].to_numpy().astype(np.uint32),
                "stratum": _numbered(columns, len(batch), known),
                "kind": _numbered([batch[column] for column in by], len(batch), kinds),
                "cluster": pc.fill_null(batch["cluster"], -1).to_numpy().astype(np.int32) + 1,
                "wordless": batch["importance"].is_null().to_numpy() & read,
                **{name: batch[name].to_numpy() for name in drawn},
                **{name: batch[name].cast(kind).to_numpy() for name, kind in scores.items()},
            }

    path = folder / "candidates"
    write_columns(path, batches())
    documents, available, of_cluster = 0, np.zeros(len(known), np.int64), np.zeros(1, np.int64)
    for columns in columns_in(path):
        documents += len(columns["tokens"])
        available = _added(available, columns["stratum"], columns["tokens"])
        of_cluster = _added(of_cluster, columns["cluster"], columns["tokens"])
    names = sorted(known, key=lambda values: tuple((one is None, one or "") for one in values))
    order = np.array([known[values] for values in names], np.int64)
    numbers = np.zeros(len(names), np.int32)
    numbers[order] = np.arange(len(names))
    place = by.index(DOMAIN) if DOMAIN in by else None
    return Table(path, documents, len(kinds), names, numbers, available[order], of_cluster, place)


def _own_domain(batch: pa.Table) -> pa.ChunkedArray:
    """The domain of each document; null where it is less like the reference than like the corpus that it stands in.

    Its nearest domain may be far away: it is not to fill the quota of one that is short of text. The packaged prose,
    which stands in where there is no reference, knows too few kinds of text to say so of others.
    """
    unlike = pc.fill_null(pc.less(batch["likeness"], 0), False)
    return pc.if_else(unlike, pa.scalar(None, pa.string()), batch[DOMAIN])


def _numbered(columns: Sequence[pa.ChunkedArray], count: int, known: dict[Values, int]) -> Numbers:
    """The number of each document's stratum; strata that are not known yet are added.

    Errors: RecipeError for more strata than anyone means.
    """
    numbers, values = np.zeros(count, np.int64), [()] if count else []
    for column in columns:
        encoded = column.cast(pa.string()).combine_chunks().dictionary_encode(null_encoding="encode")
        own = encoded.dictionary.to_pylist()
        there, numbers = np.unique(numbers * len(own) + encoded.indices.to_numpy(), return_inverse=True)
        values = [(*values[k // len(own)], own[k % len(own)]) for k in there.tolist()]
    found = np.array([known.setdefault(one, len(known)) for one in values], np.int32)
    if len(known) > MOST_STRATA:
        raise RecipeError(
            f"distill.quotas.by: makes more than {MOST_STRATA:,} strata; leave out a column of many values"
        )
    return found[numbers]


def _added(sums: Integers, numbers: Numbers, tokens: npt.NDArray[np.generic]) -> Integers:
    """Sums of tokens by number, with those of further documents."""
    more = np.bincount(numbers, tokens, len(sums)).astype(np.int64)
    more[: len(sums)] += sums
    return more


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
    """What a budget made of the candidates, in input order, and of the strata."""

    path: Path  # of a file with the candidates' quality and stratum, batch by batch
    weights: npt.NDArray[np.float32]  # of each stratum
    selected: Selected
    rungs: pa.Table  # rung, share, budget, documents, tokens
    quotas: pa.Table  # stratum, rung, available, quota, tokens


def chosen(recipe: Recipe, table: Table, rows: Rows, size: tuple[int, int], shares: Mapping[str, float]) -> Chosen:
    """Fill the budgets of a recipe with candidates; `shares` are those of domains.

    `size` is the tokens of the input, and those of the largest budget that are not to be filled. Further files are
    written beside that of the table.

    Errors: RecipeError for a target of a stratum that there is none of.
    """
    section = recipe.distill
    assert section is not None
    budgets = budgets_of(section, *size)
    wanted_shares = _shares(section, table, shares)
    quotas = [quotas_of(wanted_shares, table.available, budget) for budget, _ in budgets]
    path = table.path.with_name("keys")
    write_columns(path, _keyed(recipe, table))

    def shingles() -> Iterator[pa.Array]:
        return (found["shingles"].combine_chunks() for found in rows(["shingles"]))

    layers = Layers(path.parent, partial(columns_in, path), shingles, budgets[-1][0], len(table.strata))
    found = select(
        layers.best_first, table.documents, len(table.of_cluster), [budget for budget, _ in budgets], quotas,
        section.novelty, section.cluster_cap,
    )  # fmt: skip
    weights = repeats_of(found.taken[-1], wanted_shares).astype(np.float32)
    return Chosen(path, weights, found, _rungs(budgets, found), _quota_rows(table.strata, table.available, found))


def chosen_documents(found: Chosen, rows: Rows) -> Iterator[pa.Table]:
    """What became of the candidates, range by range, with the columns of table `distilled`."""
    begin = 0
    told = rows(["file_no", "row", "likeness", "importance", DOMAIN, "cluster", "own_grade"])
    for table, columns in zip(told, columns_in(found.path), strict=True):
        rung = found.selected.rung[begin : begin + len(table)]
        begin += len(table)
        kept = rung >= 0
        reasons = pa.DictionaryArray.from_arrays(
            pa.array((rung == REDUNDANT).astype(np.int8), mask=kept), pa.array(REASONS)
        )
        for name, column in {
            "quality": pa.array(columns["quality"]),
            "rung": pa.array(rung + 1, pa.int16(), mask=~kept),
            "weight": pa.array(found.weights[columns["stratum"]], mask=~kept),
            "distil_reason": reasons.cast(pa.string()),
        }.items():
            table = table.append_column(name, column)
        yield table


def _keyed(recipe: Recipe, table: Table) -> Iterator[Arrays]:
    """The quality of each candidate, and the key that orders them: -inf for what is never to be kept.

    Quality is the weighted mean of a recipe's scores, each as ranks from 0 to 1 within strata. With diversity, what a
    document is wanted for is also how few tokens the cluster of texts like it has.
    """
    section = recipe.distill
    assert section is not None
    targets = section.quotas.targets if section.quotas else {}
    closed = np.array([targets.get(stratum_name(name)) == 0 for name in table.strata], bool)
    last = np.array([table.domain is not None and name[table.domain] is None for name in table.strata], bool)
    mask = np.uint64(sampling_mask(recipe.seed, PURPOSE))
    values, weights = _values_of(recipe, table), scores_of(recipe)
    ranks = _ranks(table, values)
    total, diversity = sum(weights.values()), section.weights.diversity
    for columns in table.batches():
        stratum = columns["stratum"]
        found = {name: ranks[name](of(columns), columns["kind"]) for name, of in values.items()}
        mean = sum((weight / total * found[name] for name, weight in weights.items()), np.zeros(len(stratum)))
        wanted = quality = np.where(columns["wordless"], 0.0, mean)
        if RARITY in found:
            share = section.weights.quality + diversity
            wanted = (section.weights.quality * quality + diversity * found[RARITY]) / share
        hashes = columns["raw_hash_low"] ^ mask if section.temperature > 0 else np.zeros(0, np.uint64)
        drawn = gumbel_keys(wanted, hashes, section.temperature) - last[stratum] * key_span(section.temperature)
        key: Reals = np.where(closed[stratum], -np.inf, drawn)
        told: Arrays = {"quality": quality.astype(np.float32), "key": key, "stratum": stratum}
        yield told | {name: columns[name] for name in ("tokens", "cluster")}


def _values_of(recipe: Recipe, table: Table) -> dict[str, Callable[[Arrays], Reals]]:
    """What ranks are of, the highest the best: scores, and with diversity how few tokens a document's cluster has."""
    section = recipe.distill
    assert section is not None
    columns = columns_of_scores(recipe)
    found: dict[str, Callable[[Arrays], Reals]] = {
        name: partial(_score, column=column, sign=-1 if name == "purify" else 1) for name, column in columns.items()
    }
    if section.weights.diversity and table.of_cluster[1:].any():
        of_cluster = -table.of_cluster.astype(np.float64)
        of_cluster[0] = np.nan
        found[RARITY] = lambda columns: of_cluster[columns["cluster"]]
    return found


def _score(columns: Arrays, *, column: str, sign: int) -> Reals:
    return sign * columns[column]


def _ranks(table: Table, values: Mapping[str, Callable[[Arrays], Reals]]) -> dict[str, Ranked]:
    """For each of the values what tells their ranks within strata."""
    histograms = {name: Histogram(table.kinds) for name in values}
    for columns in table.batches():
        for name, histogram in histograms.items():
            found = values[name](columns)
            known = ~np.isnan(found)
            histogram.add(histogram.keys_of(found[known], columns["kind"][known]))
    return {name: ranked(histogram, middle_best=name in PERPLEXITY) for name, histogram in histograms.items()}


def budgets_of(section: Distill, input_tokens: int, reserved: int) -> list[tuple[int, float]]:
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


def _masses(table: Table, shares: Mapping[str, float]) -> Reals:
    """What shares of the budget go with: tokens of candidates; those of a domain make up its share of the reference."""
    masses = table.available.astype(np.float64)
    if table.domain is None:
        return masses
    domains = [name[table.domain] for name in table.strata]
    for domain in set(domains):
        own = np.array([one == domain for one in domains])
        masses[own] *= shares.get(domain or "", 0.0) / max(1.0, masses[own].sum())
    return masses


def _shares(section: Distill, table: Table, domains: Mapping[str, float]) -> Reals:
    """The share of a budget that each stratum is to have."""
    if section.quotas is None:
        return np.ones(1)
    known = {stratum_name(name): number for number, name in enumerate(table.strata)}
    for name in section.quotas.targets:
        if name not in known and name not in domains:
            raise RecipeError(f"distill.quotas.targets: no document is left of {name!r}{did_you_mean(name, known)}")
    targets = {number: 0.0 for number, name in enumerate(table.strata) if None in name}  # only where there is room
    targets |= {known[name]: float(share) for name, share in section.quotas.targets.items() if name in known}
    masses = _masses(table, domains)
    return shares_of(masses, table.available, section.quotas.temperature, float(section.quotas.floor), targets)


def stratum_name(values: Sequence[str | None]) -> str:
    """The values of a stratum as one name."""
    return "/".join("none" if value is None else value for value in values) or "all"


def _rungs(budgets: Sequence[tuple[int, float]], found: Selected) -> pa.Table:
    return pa.table({
        "rung": np.arange(1, len(budgets) + 1, dtype=np.int16),
        "share": np.array([share for _, share in budgets]),
        "budget": np.array([budget for budget, _ in budgets], np.int64),
        "documents": found.documents,
        "tokens": found.taken.sum(axis=1),
    })  # fmt: skip


def _quota_rows(names: Sequence[Values], available: Integers, found: Selected) -> pa.Table:
    rungs, strata = found.taken.shape
    return pa.table({
        "stratum": pa.array([stratum_name(name) for name in names] * rungs, pa.string()),
        "rung": np.repeat(np.arange(1, rungs + 1, dtype=np.int16), strata),
        "available": np.tile(available, rungs),
        "quota": found.quotas.ravel(),
        "tokens": found.taken.ravel(),
    })  # fmt: skip
