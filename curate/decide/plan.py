"""`Plan`: what a run reads and measures, and by which rules it decides, after all checks."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curate.corpus.columns import is_text
from curate.corpus.folders import PassedOver
from curate.corpus.parquet import InputFile, Source
from curate.corpus.side_files import tables_of
from curate.corpus.units import Unit, unit_bytes
from curate.dedup.earlier_runs import Earlier
from curate.distill.budget.scores import scores_of
from curate.distill.reference import ReferenceFile
from curate.distill.scoring.static_vectors import StaticVectors
from curate.errors import RecipeError, did_you_mean
from curate.filters import registry
from curate.filters.contamination.benchmarks import Benchmark
from curate.filters.contamination.signals import GROUP as CONTAMINATION
from curate.filters.language.perplexity import GROUP as PERPLEXITY
from curate.filters.rules.resolve import ResolvedRule
from curate.ledger.models import ModelSet
from curate.ledger.names import BLOCK, DOCUMENTS, EDITS, INPUT, LINE_HASHES, OVERLAPS, SIGNATURES
from curate.maps.reading import Reading
from curate.maps.reread import CorpusReader
from curate.recipe.recipe import Recipe
from curate.storage.places import is_remote

AUDITED = ("source", "url", "language")  # input columns by which `who` groups documents


@dataclass(frozen=True)
class Given:
    """What an inner run inherits from the outer one: documents not to be kept again, and models."""

    earlier: tuple[Earlier, ...] = ()
    pinned: ModelSet | None = None  # of tier 2


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will read and measure."""

    root: Path
    files: Mapping[int, InputFile]  # by file_no, those that can be read
    units: tuple[Unit, ...]
    inputs: pa.Schema
    reading: Reading
    groups: Mapping[str, str]  # group to digest
    rules: tuple[ResolvedRule, ...]
    excluded: tuple[str, ...]
    quarantine: bool  # set unreadable files aside; else stop at the first
    earlier: tuple[Earlier, ...]  # runs whose kept documents are not kept again
    benchmarks: tuple[Benchmark, ...]
    reference: tuple[ReferenceFile, ...] = ()
    pinned: Mapping[str, ModelSet] = field(default_factory=dict)  # models of another run, by section
    static: StaticVectors | None = None  # texts are clustered by these vectors instead of their words
    written: str | None = None  # digest of the documents that the third tier wrote
    reserved: int = 0  # of the budget, in its unit, taken by written documents
    passed_over: tuple[PassedOver, ...] = ()  # files in the input's folders that are not read

    def corpus(self, run: Path) -> CorpusReader:
        """A reader of single documents of the corpus."""
        return CorpusReader(run, self.units, self.sources, self.reading)

    @property
    def unit_sizes(self) -> dict[Unit, int]:
        """Bytes of each unit's text, as its file's footer has them."""
        return {unit: unit_bytes(unit, self.files[unit.file_no]) for unit in self.units}

    @property
    def sources(self) -> dict[int, Source]:
        """The source of each file."""
        return {no: file.source for no, file in self.files.items()}

    @property
    def files_read(self) -> list[str]:
        """Local files that tasks read: one input file of each folder, and language models."""
        paths = [source.location for source in self.sources.values() if not is_remote(source.location)]
        models = [model.path for model in self.reading.models if not model.packaged]
        return [*{os.path.dirname(path): path for path in paths}.values(), *models]


def groups_needed(recipe: Recipe, signals: Sequence[str], editing: bool, columns: bool) -> list[str]:
    """The groups to measure: all that are not on demand, and those on demand that the recipe or its rules need.

    `editing`: texts are edited before they are measured; `columns`: input columns are collected.
    """
    groups = registry.groups()
    measured = registry.measured(signals)
    named = {
        group
        for group, group_signals in groups.items()
        if any(not measured.isdisjoint(signal.writes) for signal in group_signals)
    }
    named |= {"hashes"} if recipe.dedup.exact else set()
    named |= {"pii"} if recipe.tier1.pii.action == "count" else set()
    named |= {"raw"} if editing else set()  # to see what share of each document was cut
    sets = recipe.tier1.decontaminate
    if CONTAMINATION in named and sets is None:
        raise RecipeError("tier1.rules: a signal of group contamination needs tier1.decontaminate")
    named |= {CONTAMINATION} if sets else set()
    if PERPLEXITY in named and not recipe.tier1.perplexity:
        raise RecipeError("tier1.rules: a signal of group perplexity needs tier1.perplexity")
    if section := recipe.tier1.perplexity:
        named |= {PERPLEXITY} | ({"language"} if "language" in section.by or section.by_language else set())
    named |= {"language"} if recipe.tier2 and "language" in recipe.tier2.by else set()
    named |= {"language"} if recipe.distill and "language" in recipe.distill.strata else set()
    if recipe.who:
        named |= {"register"} if recipe.who.register_ else set()
        named |= {"mentions"} if recipe.who.mentions else set()
    needed = [DOCUMENTS, *(group for group in groups if group not in registry.ON_DEMAND or group in named)]
    needed += [INPUT] * columns + [EDITS] * editing
    needed += [BLOCK] * bool(recipe.tier1.block) + [OVERLAPS] * bool(sets)
    return needed + [SIGNATURES] * bool(recipe.dedup.near) + [LINE_HASHES] * bool(recipe.dedup.lines)


def read_exclusions(paths: Sequence[str]) -> tuple[str, ...]:
    """The ids, hashes and urls in files of `exclude`: a value per line, or the columns of that name in Parquet.

    Errors: RecipeError for a file that is missing or has none of the columns.
    """
    values: set[str] = set()
    for name in paths:
        path = Path(name)
        if not path.is_file():
            raise RecipeError(f"exclude: {name}: {'a folder; name its files' if path.is_dir() else 'no such file'}")
        try:
            if path.suffix != ".parquet":
                values |= {line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()}
                continue
            columns = [c for c in pq.read_schema(path).names if c in ("id", "doc_id", "url", "hash")]
            if not columns:
                raise RecipeError(f"exclude: {name}: no column id, doc_id, url or hash")
            for table in tables_of(path, "exclude", columns):
                for column in table.columns:
                    values |= set(column.cast(pa.string()).drop_null().unique().to_pylist())
        except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
            raise RecipeError(f"exclude: {name}: cannot be read: {' '.join(str(error).split())}") from None
    return tuple(sorted(values))


def input_columns(
    recipe: Recipe, named: Sequence[str], excluded: Sequence[str], inputs: pa.Schema
) -> tuple[tuple[str, pa.DataType], ...]:
    """Input columns that decisions read, in conditions, strata and scores, or that `who` groups documents by.

    `url` is one for exclusions and repeated lines.
    """
    needed = dict.fromkeys(named)
    scores = scores_of(recipe) if recipe.distill else {}
    needed |= dict.fromkeys(name.removeprefix("input.") for name in scores if name.startswith("input."))
    for stratum in recipe.input.strata:
        name = stratum.removesuffix("?")
        if name in inputs.names or not stratum.endswith("?"):
            needed[name] = None
    if (excluded or recipe.dedup.lines) and "url" in inputs.names and is_text(inputs.field("url").type):
        needed["url"] = None
    if recipe.who:
        needed |= dict.fromkeys(_audited(inputs, needed))
    seen: set[str] = set()
    for name in needed:
        if name.lower() in seen:
            raise RecipeError(
                f"the recipe names two columns {name!r} that SQL cannot tell apart; rename one in the input"
            )
        seen.add(name.lower())
        if name not in inputs.names:
            if recipe.input.columns is not None:
                raise RecipeError(f"the recipe names a column {name!r} that input.columns does not; add it there")
            raise RecipeError(f"the input has no column {name!r}{did_you_mean(name, inputs.names)}")
    return tuple((name, inputs.field(name).type) for name in needed)


def _audited(inputs: pa.Schema, needed: Collection[str]) -> list[str]:
    """The columns of text by which `who` groups documents, one of each name that is not among those needed."""
    columns: dict[str, str] = {}
    taken = {name.lower() for name in needed}
    for name in inputs.names:
        kind = inputs.field(name).type
        plain = is_text(kind.value_type if pa.types.is_dictionary(kind) else kind)
        if name.lower() in AUDITED and name.lower() not in taken and plain:
            columns.setdefault(name.lower(), name)
    return list(columns.values())


def signals_schema(groups: Mapping[str, str]) -> pa.Schema:
    """The columns that rules can name."""
    fields = [pa.field("raw_n_bytes", pa.int64())]
    for group in groups:
        for signal in registry.groups().get(group, []):
            fields += [pa.field(name, kind) for name, kind in signal.writes.items()]
    fields += [pa.field(name, derived.type) for name, derived in registry.derived(f.name for f in fields).items()]
    return pa.schema(fields)
