"""Classify the documents of a corpus by the domains of the third tier.

Domains are distributions of hashed words and pairs of words, as in `scoring/importance.py`. A document belongs to the
domain that makes its n-grams likeliest, if its importance (log-likelihood ratio to the corpus) is at least that of most
of the domain's seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.corpus.edits import apply_edits, find_edits
from curate.corpus.parquet import read_documents
from curate.corpus.side_files import content_of, side_files, tables_of
from curate.corpus.texts import is_utf8, texts_of
from curate.digest import digest_of
from curate.distill.budget.models import OF_REFERENCE
from curate.distill.purify.training import code_of_models
from curate.distill.reference import MIN_BYTES, texts_in
from curate.distill.scoring import importance
from curate.distill.scoring.importance import Contrast, contrast_of, corpus_of, distribution_of
from curate.distill.scoring.linear_model import groups_of
from curate.errors import InputError
from curate.filters.signals.hashes import hash_texts
from curate.ledger.names import DOMAIN_MEMBERS, DOMAIN_ROWS
from curate.ledger.parts import Part
from curate.maps.reading import editor_identities
from curate.maps.reread import CorpusReader, RereadTask, with_cuts
from curate.maps.shards import cast_to_schema
from curate.recipe.tier3 import Tier3

FIELD = "tier3.domains"
MIN_SEEDS = 20  # texts per domain
MAX_SEEDS = 20_000
KEY = ("curate:file_no", "curate:row")  # names that no column of an input has
THRESHOLD_QUANTILE = 0.2  # of the importance of a domain's seeds: this share of them is below the threshold
TARGET, CORPUS = "domain_target.npz", "domain_corpus.npz"

MEMBER = pa.schema(
    [
        ("file_no", pa.int32()),
        ("row", pa.int64()),
        ("domain", pa.dictionary(pa.int16(), pa.string())),
        ("importance", pa.float32()),
    ]
)


@dataclass(frozen=True)
class Domains:
    """The domains of a recipe, with models in a folder of the run."""

    folder: Path
    key: str  # digest of all that the models depend on
    names: tuple[str, ...]
    least: Mapping[str, float]  # least importance of a member
    distance: Mapping[str, float]  # relative entropy of the seeds to the corpus, in nats per n-gram
    seeds: Mapping[str, int]  # number of texts


def seeds_key(section: Tier3) -> str:
    """The digest of all seeds and domain names."""
    return digest_of([(d.name, content_of(_files(d.name, d.seeds), FIELD)) for d in section.domains])


def _files(name: str, seeds: Sequence[str]) -> list[Path]:
    return side_files(seeds, f"{FIELD}: {name}", "seeds")


def read_seeds(section: Tier3, column: str) -> pa.Table:
    """Read the distinct seeds of all domains: domain, text (large_string).

    Errors: InputError for files that cannot be read, or too few texts.
    """
    tables = []
    for domain in section.domains:
        field = f"{FIELD}: {domain.name}"
        texts = [
            texts_in(table, column, field, path)
            for path in _files(domain.name, domain.seeds)
            for table in tables_of(path, field)
        ]
        seeds = pa.concat_arrays(texts) if texts else pa.array([], pa.large_string())
        seeds = seeds.filter(pc.fill_null(is_utf8(seeds), False))
        seeds = seeds.filter(pc.greater_equal(pc.binary_length(seeds), MIN_BYTES))
        _, first = np.unique(hash_texts(seeds)[1].to_numpy(), return_index=True)
        seeds = seeds.take(pa.array(np.sort(first)[:MAX_SEEDS]))
        if len(seeds) < MIN_SEEDS:
            raise InputError(f"{field}: {len(seeds)} texts of {MIN_BYTES} bytes or more; give at least {MIN_SEEDS}")
        tables.append(pa.table({"domain": pa.array([domain.name] * len(seeds)), "text": seeds}))
    return pa.concat_tables(tables).combine_chunks()


def learn_domains(seeds: pa.Table, corpus: pa.Array, folder: Path, key: str) -> Domains:
    """Learn to distinguish the seeds of each domain from a sample of the corpus, and save the models in a folder."""
    texts, names = seeds["text"].combine_chunks(), seeds["domain"].to_pylist()
    groups = groups_of(texts)
    target = distribution_of(texts, names, groups, OF_REFERENCE)
    background = corpus_of(corpus, groups_of(corpus), target.settings)
    folder.mkdir(parents=True, exist_ok=True)
    importance.save(target, folder / TARGET)
    importance.save(background, folder / CORPUS)
    contrast = _contrast(folder)
    assigned = importance.importance(contrast, texts, groups)  # each by the fold that excludes it
    values = np.asarray(pc.fill_null(assigned["importance"], 0.0).to_numpy(zero_copy_only=False), np.float64)
    assigned_to_own = pc.equal(assigned["domain"], pa.array(names)).to_numpy(zero_copy_only=False)
    masks = {name: np.array([n == name for n in names]) for name in contrast.domains}
    if unrecognised := [name for name, mask in masks.items() if not (mask & assigned_to_own).any()]:
        raise InputError(f"{FIELD}: {unrecognised[0]}: all of its seeds read like those of other domains; give others")
    thresholds = {
        name: float(np.quantile(values[mask & assigned_to_own], THRESHOLD_QUANTILE)) for name, mask in masks.items()
    }
    distances = dict(zip(contrast.domains, _relative_entropies(contrast, target), strict=True))
    return Domains(folder, key, contrast.domains, thresholds, distances, {n: int(m.sum()) for n, m in masks.items()})


def _contrast(folder: Path) -> Contrast:
    """The contrast of the domains with the corpus, with equal priors."""
    target = importance.load(folder / TARGET)
    return contrast_of(target, importance.load(folder / CORPUS), [1.0] * len(target.domains))


def _relative_entropies(contrast: Contrast, target: importance.Distribution) -> npt.NDArray[np.float64]:
    """The relative entropy of each domain to the corpus, averaged over folds."""
    probabilities = np.exp(target.logs.astype(np.float64)).transpose(0, 2, 1)  # folds, buckets, domains
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    entropies: npt.NDArray[np.float64] = (probabilities * contrast.logs).sum(axis=1).mean(axis=0)
    return entropies


@dataclass(frozen=True)
class Classification:
    """Parameters of tasks that classify documents."""

    folder: str
    cuts: tuple[str, ...]  # parts with the removed lines


def plan_classification(
    reader: CorpusReader, documents: pa.Table, domains: Domains, cuts: Sequence[Part]
) -> list[RereadTask]:
    """Plan a task for each unit with any of the sorted documents (file_no, row)."""
    settings = Classification(str(domains.folder), tuple(str(reader.run / part.path) for part in cuts))
    depends = [domains.key, code_of_models(), editor_identities(reader.reading), [part.sha256 for part in cuts]]
    return reader.plan(documents, [__name__], depends, settings)


def classify_documents(task: RereadTask) -> list[Part]:
    """The likeliest domain of each document of a task, and its importance for that domain."""
    settings: Classification = task.more
    contrast = _contrast(Path(settings.folder))
    tables = []
    for documents, raw in task.texts():
        rows = documents["row"].to_numpy()
        assigned = importance.importance(contrast, _apply_edits(raw, task, settings.cuts, rows))
        columns = {
            "file_no": np.full(len(rows), task.unit.file_no, np.int32),
            "row": rows,
            "domain": assigned["domain"].dictionary_encode().cast(MEMBER.field("domain").type),
            "importance": assigned["importance"],
        }
        tables.append(pa.table(columns, MEMBER))
    return [task.write(DOMAIN_MEMBERS, tables)]


def plan_rows(reader: CorpusReader, documents: pa.Table, schema: pa.Schema, cuts: Sequence[Part]) -> list[RereadTask]:
    """Plan a task for each unit with any of the sorted documents (file_no, row), to read the columns of `schema`."""
    depends = [editor_identities(reader.reading), schema.to_string(), [part.sha256 for part in cuts]]
    settings = (schema, tuple(str(reader.run / part.path) for part in cuts))
    return reader.plan(documents, [__name__], depends, settings)


def collect_rows(task: RereadTask) -> list[Part]:
    """Read the documents of a task: KEY and all columns of the input, with the text as in the output."""
    schema, cuts = task.more
    wanted_rows = task.documents["row"].to_numpy()
    position, tables = task.unit.start, []
    for batch in read_documents(task.source, task.unit.start, task.unit.stop, schema.names):
        start, stop = np.searchsorted(wanted_rows, (position, position + len(batch)))
        rows = wanted_rows[start:stop]
        table = pa.Table.from_batches([batch]).take(pa.array(rows - position))
        position += len(batch)
        table = cast_to_schema(table, schema, task.source.location)
        k = schema.get_field_index(task.reading.text)
        raw = texts_of(table[task.reading.text].combine_chunks())
        text = _apply_edits(raw, task, cuts, rows).cast(schema.field(k).type)
        table = table.set_column(k, schema.field(k), text)
        table = table.add_column(0, KEY[1], pa.array(rows, pa.int64()))
        tables.append(table.add_column(0, KEY[0], pa.array(np.full(len(rows), task.unit.file_no, np.int32))))
    return [task.write(DOMAIN_ROWS, tables)]


def _apply_edits(raw: pa.Array, task: RereadTask, cuts: Sequence[str], rows: npt.NDArray[np.int64]) -> pa.Array:
    """Apply all edits, so that texts are as in the output."""
    return apply_edits(raw, with_cuts(find_edits(raw, task.reading.editors), cuts, task.unit.file_no, rows))
