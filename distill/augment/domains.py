"""Which documents of a corpus are of a domain that the third tier names, and how much of each domain there is.

A domain is told from the corpus by hashed words and pairs of words, as in `scoring/importance.py`: a document is of
the domain under which its n-grams are the likeliest, if they gain from it over the corpus at least as much as those of
most of the domain's own seeds do.
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
from curate.ledger.names import MEMBERS, ROWS
from curate.ledger.parts import Part
from curate.maps.reread import CorpusReader, RereadTask, edits_in, with_cuts
from curate.maps.shards import fitted
from curate.recipe.tier3 import Tier3

FIELD = "tier3.domains"
LEAST_SEEDS = 20
MOST_SEEDS = 20_000  # texts of a domain
KEY = ("curate:file_no", "curate:row")  # names that no column of an input has
UNLIKE = 0.2  # share of its own seeds that a domain does not hold for its own
TARGET, CORPUS = "domain_target.npz", "domain_corpus.npz"

MEMBER = pa.schema([
    ("file_no", pa.int32()), ("row", pa.int64()), ("domain", pa.dictionary(pa.int16(), pa.string())),
    ("importance", pa.float32()),
])  # fmt: skip


@dataclass(frozen=True)
class Domains:
    """What tells the domains of a recipe, in a folder of its run."""

    folder: Path
    key: str  # the digest of all that they follow from
    names: tuple[str, ...]
    least: Mapping[str, float]  # importance that a document of the domain has at least
    distance: Mapping[str, float]  # of a domain's seeds from the corpus, as relative entropy in nats an n-gram
    seeds: Mapping[str, int]  # texts


def seeds_key(section: Tier3) -> str:
    """Hash of all seeds and the names of their domains."""
    return digest_of([(d.name, content_of(_files(d.name, d.seeds), FIELD)) for d in section.domains])


def _files(name: str, seeds: Sequence[str]) -> list[Path]:
    return side_files(seeds, f"{FIELD}: {name}", "seeds")


def read_seeds(section: Tier3, column: str) -> pa.Table:
    """The seeds of all domains, each text once: domain, text (large_string).

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
        read = pa.concat_arrays(texts) if texts else pa.array([], pa.large_string())
        read = read.filter(pc.fill_null(is_utf8(read), False))
        read = read.filter(pc.greater_equal(pc.binary_length(read), MIN_BYTES))
        _, first = np.unique(hash_texts(read)[1].to_numpy(), return_index=True)
        read = read.take(pa.array(np.sort(first)[:MOST_SEEDS]))
        if len(read) < LEAST_SEEDS:
            raise InputError(f"{field}: {len(read)} texts of {MIN_BYTES} bytes or more; give at least {LEAST_SEEDS}")
        tables.append(pa.table({"domain": pa.array([domain.name] * len(read)), "text": read}))
    return pa.concat_tables(tables).combine_chunks()


def learn_domains(seeds: pa.Table, corpus: pa.Array, folder: Path, key: str) -> Domains:
    """Learn what tells the seeds of each domain from a sample of the corpus, and commit it in a folder."""
    texts, named = seeds["text"].combine_chunks(), seeds["domain"].to_pylist()
    groups = groups_of(texts)
    target = distribution_of(texts, named, groups, OF_REFERENCE)
    raw = corpus_of(corpus, groups_of(corpus), target.settings)
    folder.mkdir(parents=True, exist_ok=True)
    importance.save(target, folder / TARGET)
    importance.save(raw, folder / CORPUS)
    contrast = _contrast(folder)
    judged = importance.importance(contrast, texts, groups)  # by counts that do not have them
    values = np.asarray(pc.fill_null(judged["importance"], 0.0).to_numpy(zero_copy_only=False), np.float64)
    own = pc.equal(judged["domain"], pa.array(named)).to_numpy(zero_copy_only=False)
    places = {name: np.array([n == name for n in named]) for name in contrast.domains}
    if lost := [name for name, mask in places.items() if not (mask & own).any()]:
        raise InputError(f"{FIELD}: {lost[0]}: all of its seeds read like those of other domains; give others")
    least = {name: float(np.quantile(values[mask & own], UNLIKE)) for name, mask in places.items()}
    distances = dict(zip(contrast.domains, _distances(contrast, target), strict=True))
    return Domains(folder, key, contrast.domains, least, distances, {n: int(m.sum()) for n, m in places.items()})


def _contrast(folder: Path) -> Contrast:
    """The domains against the corpus, each as likely as the others."""
    target = importance.load(folder / TARGET)
    return contrast_of(target, importance.load(folder / CORPUS), [1.0] * len(target.domains))


def _distances(contrast: Contrast, target: importance.Distribution) -> npt.NDArray[np.float64]:
    """Relative entropy of each domain to the corpus, the mean over folds."""
    likely = np.exp(target.logs.astype(np.float64)).transpose(0, 2, 1)  # folds, buckets, domains
    likely /= likely.sum(axis=1, keepdims=True)
    found: npt.NDArray[np.float64] = (likely * contrast.logs).sum(axis=1).mean(axis=0)
    return found


@dataclass(frozen=True)
class Telling:
    """What a task that tells domains is given beside its documents."""

    folder: str
    cuts: tuple[str, ...]  # parts with the lines that were cut


def plan_telling(reader: CorpusReader, documents: pa.Table, domains: Domains, cuts: Sequence[Part]) -> list[RereadTask]:
    """A task for each unit that has some of the documents (file_no, row), which are sorted."""
    telling = Telling(str(domains.folder), tuple(str(reader.run / part.path) for part in cuts))
    depends = [domains.key, code_of_models(), edits_in(reader.reading), [part.sha256 for part in cuts]]
    return reader.plan(documents, [__name__], depends, telling)


def tell_domains(task: RereadTask) -> list[Part]:
    """The likeliest domain of a task's documents, and how much likelier they are in it than in the corpus."""
    telling: Telling = task.more
    contrast = _contrast(Path(telling.folder))
    tables = []
    for documents, raw in task.texts():
        rows = documents["row"].to_numpy()
        found = importance.importance(contrast, _edited(raw, task, telling.cuts, rows))
        tables.append(pa.table({
            "file_no": np.full(len(rows), task.unit.file_no, np.int32), "row": rows,
            "domain": found["domain"].dictionary_encode().cast(MEMBER.field("domain").type),
            "importance": found["importance"],
        }, MEMBER))  # fmt: skip
    return [task.write(MEMBERS, tables)]


def plan_rows(reader: CorpusReader, documents: pa.Table, schema: pa.Schema, cuts: Sequence[Part]) -> list[RereadTask]:
    """A task for each unit that has some of the documents (file_no, row), sorted; `schema` is the input's."""
    depends = [edits_in(reader.reading), schema.to_string(), [part.sha256 for part in cuts]]
    more = (schema, tuple(str(reader.run / part.path) for part in cuts))
    return reader.plan(documents, [__name__], depends, more)


def collect_rows(task: RereadTask) -> list[Part]:
    """The documents of a task: their KEY, and all columns of the input, the text as the output would have it."""
    schema, cuts = task.more
    wanted = task.documents["row"].to_numpy()
    position, tables = task.unit.start, []
    for batch in read_documents(task.source, task.unit.start, task.unit.stop, schema.names):
        start, stop = np.searchsorted(wanted, (position, position + len(batch)))
        rows = wanted[start:stop]
        table = pa.Table.from_batches([batch]).take(pa.array(rows - position))
        position += len(batch)
        table = fitted(table, schema, task.source.location)
        k = schema.get_field_index(task.reading.text)
        raw = texts_of(table[task.reading.text].combine_chunks())
        text = _edited(raw, task, cuts, rows).cast(schema.field(k).type)
        table = table.set_column(k, schema.field(k), text)
        table = table.add_column(0, KEY[1], pa.array(rows, pa.int64()))
        tables.append(table.add_column(0, KEY[0], pa.array(np.full(len(rows), task.unit.file_no, np.int32))))
    return [task.write(ROWS, tables)]


def _edited(raw: pa.Array, task: RereadTask, cuts: Sequence[str], rows: npt.NDArray[np.int64]) -> pa.Array:
    """Texts as the output would have them."""
    return apply_edits(raw, with_cuts(find_edits(raw, task.reading.editors), cuts, task.unit.file_no, rows))
