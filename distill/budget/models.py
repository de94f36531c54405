"""Models that score documents for the budget: trained once and kept in the run, or copied from a pinned run."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.corpus.side_files import content_of, side_files, tables_of
from curate.digest import digest_of
from curate.distill.budget import tuning_texts
from curate.distill.purify.training import code_of_models
from curate.distill.reference import ReferenceFile, read_good
from curate.distill.scoring import clusters, importance, static_vectors, vectors
from curate.distill.scoring.discriminator import groups_of
from curate.distill.scoring.grades import GRADES, score_grades, train_grades
from curate.distill.scoring.importance import Contrast, contrast_of, distribution_of
from curate.distill.scoring.likeness import Space, judge_texts, train_likeness
from curate.distill.scoring.linear_model import Hashes, Model, Settings, load, save
from curate.distill.scoring.static_vectors import StaticVectors
from curate.distill.scoring_stage import Scorer, Training
from curate.errors import InputError
from curate.kernels.minhash import shingle_sets
from curate.ledger.models import BUDGET, ModelSet, load_models
from curate.ledger.names import (
    BUDGET_FACTS,
    BUDGET_GRADE_MODEL,
    CLUSTERS,
    IMPORTANCE_CORPUS,
    IMPORTANCE_TARGET,
    LIKENESS,
    PENDING,
    PROJECTION,
    STATIC_VECTORS,
    TUNING_TEXTS,
)
from curate.ledger.parts import Part, finished_part
from curate.maps.reading import editor_identities
from curate.maps.warm import warm_texts
from curate.progress import Log
from curate.recipe.affects import fields_affecting
from curate.recipe.distill import Distill
from curate.storage.files import committed

DOMAIN = "domain"
BY_CONTENT = {"sample", "grades", "vectors"}  # fields that count by the texts, grades and vectors that they select
GRADES_FIELD = "distill.grades"
SHINGLE = 5  # words
SHINGLE_SAMPLE = 8  # keep 1 in 8 shingles
LEAST_SAMPLE = 40
# Fewer buckets and more smoothing separate the domains of a reference better than the settings of the packaged prose.
OF_REFERENCE = importance.Settings(bits=16, uniform=0.3, unknown=0.3)
UNINFORMATIVE = 0.6  # ROC-AUC
CLUSTER_TEXTS = 50  # of the sample per cluster
SHARD = re.compile(r"[-_. ]?\d+([-_]of[-_]\d+)?$")

Writer = Callable[[Path], object]

SCORED = pa.schema(
    [
        ("file_no", pa.int32()),
        ("row", pa.int64()),
        ("lines_sum", pa.uint64()),  # identifies the repeated lines that are cut; 0 for none
        ("likeness", pa.float32()),
        ("importance", pa.float32()),
        (DOMAIN, pa.dictionary(pa.int16(), pa.string())),
        ("cluster", pa.int32()),
        ("grade", pa.float32()),
        ("shingles", pa.large_list(pa.uint32())),
    ]
)


@dataclass(frozen=True)
class Models:
    """The models that score texts."""

    likeness: Model | None
    contrast: Contrast
    space: Space | None
    grades: Model | None


@dataclass(frozen=True)
class _Trained:
    """Trained models as functions that write their files, by group, and the manifest's facts about them."""

    writers: Mapping[str, Writer]
    facts: Mapping[str, object]


def open_models(paths: Mapping[str, str]) -> Models:
    """Load the models in files, by their groups."""
    files = {group: Path(path) for group, path in paths.items()}
    return Models(
        load(files[LIKENESS]) if LIKENESS in files else None,
        contrast_of(importance.load(files[IMPORTANCE_TARGET]), importance.load(files[IMPORTANCE_CORPUS])),
        _load_space(files),
        load(files[BUDGET_GRADE_MODEL]) if BUDGET_GRADE_MODEL in files else None,
    )


def _load_space(files: Mapping[str, Path]) -> Space | None:
    if CLUSTERS not in files:
        return None
    embedding = (
        static_vectors.load_once(files[STATIC_VECTORS]) if STATIC_VECTORS in files else vectors.load(files[PROJECTION])
    )
    return Space(embedding, clusters.load(files[CLUSTERS]))


def train(training: Training, sample: pa.Table) -> ModelSet:
    """Train the models of the recipe's budget, unless the ledger has them; `sample` are (file_no, row, hash).

    Errors: InputError for texts that are too few, or a file of grades that cannot be used.
    """
    recipe, ledger, reference = training.recipe, training.ledger, training.reference
    section = recipe.distill
    assert section is not None
    graded_files = _graded_files(section.grades)
    digest = _digest(training, sample, graded_files)
    if models := load_models(BUDGET, ledger.run, [part for part in ledger.parts if part.digest == digest]):
        return models
    training.begin("reading texts to learn from")
    documents = _corpus_texts(training, sample)
    corpus = documents["text"].combine_chunks()
    good = read_good(recipe, reference, training.reading, {}, section.good) if reference else None
    training.begin("learning what is wanted")
    texts_aside = _Trained({}, {})
    if section.tune and good is not None:
        good, texts_aside = _keep_aside(good, documents, recipe.seed)
    trained = [
        texts_aside,
        _train_target(good, corpus, recipe.seed),
        _train_space(corpus, recipe.seed, training.static),
        _train_grades(graded_files, recipe.seed),
    ]
    writers = {group: write for part in trained for group, write in part.writers.items()}
    writers[BUDGET_FACTS] = partial(_write_facts, _manifest_facts(trained, reference, corpus))
    parts = [_commit(ledger.run, group, digest, write) for group, write in writers.items()]
    ledger.add([replace(part, group=PENDING + part.group) for part in parts])
    models = ModelSet(BUDGET, ledger.run, tuple(parts))
    _log_training(models, len(corpus), good, training.log)
    return models


def _corpus_texts(training: Training, sample: pa.Table) -> pa.Table:
    """The documents of the sample (file_no, row, text)."""
    parts = training.corpus.collect_texts(sample.select(["file_no", "row"]))
    tables = [pq.read_table(training.ledger.run / part.path) for part in parts]
    documents = pa.concat_tables(tables).select(["file_no", "row", "text"]) if tables else pa.table({"text": []})
    if len(documents) < LEAST_SAMPLE:
        raise InputError(
            f"distill: {len(documents)} documents of 200 bytes or more are too few to learn what the "
            f"corpus is like; give at least {LEAST_SAMPLE}, or leave distill out"
        )
    return documents


def _keep_aside(good: pa.Table, documents: pa.Table, seed: int) -> tuple[pa.Table, _Trained]:
    """The good texts to train on, and the others with the words of the corpus, by which the budget is tuned.

    Errors: InputError where no kind has enough texts.
    """
    domains = domains_of(good["file"].to_pylist())
    aside = tuning_texts.is_aside(good["text"].combine_chunks(), domains, seed)
    if not aside.any():
        raise InputError("distill.tune: no kind of reference text has 5 texts, of which one could be kept aside")
    texts = tuning_texts.tuning_texts(
        documents, good["text"].combine_chunks().filter(pa.array(aside)), np.array(domains)[aside].tolist(), seed
    )
    facts = {"kept_aside": int(aside.sum())}
    return good.filter(pa.array(~aside)), _Trained({TUNING_TEXTS: partial(tuning_texts.save, texts)}, facts)


def _log_training(models: ModelSet, corpus: int, good: pa.Table | None, log: Log) -> None:
    """Log the training texts, and whether the reference can be distinguished from the corpus."""
    discriminator = models.facts.get("discriminator")
    if discriminator and discriminator["roc_auc"] < UNINFORMATIVE:
        log.say(
            f"distill: the reference hardly differs from the corpus (AUC {discriminator['roc_auc']:.2f}, 0.5 is "
            "chance): the discriminator's scores mean little"
        )
    target = "the packaged texts of good prose" if good is None else f"{len(good):,} texts of the reference"
    log.say(f"distill: {corpus:,} documents of the corpus were compared with {target}")


def _manifest_facts(
    trained: Sequence[_Trained], reference: Sequence[ReferenceFile], corpus: pa.Array
) -> dict[str, object]:
    files = [{"path": file.name, "content_xxh3_128": file.content_xxh3_128} for file in reference]
    facts: dict[str, object] = {"reference": files or "default", "corpus": len(corpus)}
    return facts | {name: fact for part in trained for name, fact in part.facts.items()}


def _write_facts(facts: Mapping[str, object], path: Path) -> None:
    path.write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", "utf-8")


def _train_target(good: pa.Table | None, corpus: pa.Array, seed: int) -> _Trained:
    """Likeness, and the distributions of the target and of the corpus; without a reference, the target is packaged."""
    writers: dict[str, Writer] = {}
    facts: dict[str, object] = {}
    corpus_groups = groups_of(corpus)
    if good is None:
        target = importance.packaged_prose()
    else:
        texts, domains = good["text"].combine_chunks(), domains_of(good["file"].to_pylist())
        groups = groups_of(texts)
        likeness = train_likeness(texts, domains, corpus, np.concatenate([groups, corpus_groups]), Settings(), seed)
        writers[LIKENESS] = partial(save, likeness)
        facts["discriminator"] = {name: likeness.facts[name] for name in ("good", "bad", "roc_auc")}
        target = distribution_of(texts, domains, groups, OF_REFERENCE)
    writers[IMPORTANCE_TARGET] = partial(importance.save, target)
    writers[IMPORTANCE_CORPUS] = partial(importance.save, importance.corpus_of(corpus, corpus_groups, target.settings))
    facts["domains"] = dict(zip(target.domains, target.shares, strict=True))
    return _Trained(writers, facts)


def _train_space(corpus: pa.Array, seed: int, static: StaticVectors | None) -> _Trained:
    """Vectors and clusters; none where documents have too few words in common, or none that the static model knows."""
    count = max(2, len(corpus) // CLUSTER_TEXTS)
    try:
        if static is not None:
            centres = clusters.clusters_of(static_vectors.vectors_of(static, corpus), count, seed)
            writers = {STATIC_VECTORS: partial(static_vectors.save, static), CLUSTERS: partial(clusters.save, centres)}
            return _Trained(writers, {"vectors": static.facts, "clusters": len(centres.centres)})
        projection = vectors.projection_of(corpus, vectors.Settings(), seed)
    except InputError:
        return _Trained({}, {})
    centres = clusters.clusters_of(vectors.vectors_of(projection, corpus), count, seed)
    writers = {PROJECTION: partial(vectors.save, projection), CLUSTERS: partial(clusters.save, centres)}
    return _Trained(writers, {"clusters": len(centres.centres)})


def _train_grades(files: Sequence[Path], seed: int) -> _Trained:
    if not files:
        return _Trained({}, {})
    texts, grades = _read_grades(files)
    model = train_grades(texts, grades, groups_of(texts), GRADES, seed)
    facts = {name: model.facts[name] for name in ("texts", "spearman", "pearson", "rmse")}
    return _Trained({BUDGET_GRADE_MODEL: partial(save, model)}, {"grades": facts})


def _commit(run: Path, group: str, digest: str, write: Writer) -> Part:
    path = Path("models") / f"{group}-{digest[:8]}.{'json' if group == BUDGET_FACTS else 'npz'}"
    with committed(run / path) as aside:
        write(aside)
    return finished_part(run, group, digest, path, 0)


def domains_of(files: Sequence[str]) -> list[str]:
    """The domain of texts: their file's name without number and ending, or its folder's name where that is generic."""
    return [_domain(Path(name)) for name in files]


def _domain(path: Path) -> str:
    stem = path.name.split(".")[0]
    name = SHARD.sub("", stem)
    return path.parent.name or stem if name in ("", "part", "train", "data", "shard", "chunk") else name


def _graded_files(pattern: str | None) -> list[Path]:
    return side_files([pattern], GRADES_FIELD, "graded texts") if pattern else []


def _read_grades(files: Sequence[Path]) -> tuple[pa.Array, npt.NDArray[np.float64]]:
    """Texts and grades of files with columns text and score."""
    texts, grades = [], []
    for path in files:
        for table in tables_of(path, GRADES_FIELD):
            if missing := {"text", "score"} - set(table.schema.names):
                has = ", ".join(table.schema.names)
                raise InputError(f"{GRADES_FIELD}: {path}: no column {sorted(missing)[0]!r} (has: {has})")
            try:
                texts.append(table["text"].combine_chunks().cast(pa.large_string()))
                grades.append(table["score"].combine_chunks().cast(pa.float64()))
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                raise InputError(f"{GRADES_FIELD}: {path}: text must hold text, and score numbers") from None
    values = pa.concat_arrays(grades).to_numpy(zero_copy_only=False)
    return pa.concat_arrays(texts), np.asarray(values, np.float64)


def _digest(training: Training, sample: pa.Table, graded_files: Sequence[Path]) -> str:
    """The digest of all inputs of training."""
    section, reading, static = training.recipe.distill, training.reading, training.static
    assert section is not None
    return digest_of(
        [
            code_of_models(),
            training.recipe.seed,
            section.model_dump(mode="json", include=fields_affecting("distill", Distill) - BY_CONTENT),
            [(file.name, file.content_xxh3_128) for file in training.reference],
            reading.text,
            editor_identities(reading),
            [sample[name].to_pylist() for name in sample.schema.names],
            content_of(graded_files, GRADES_FIELD) if graded_files else None,
            static.facts if static else None,
        ]
    )


def scores_key(models: ModelSet) -> str:
    """The digest of what scores depend on besides the documents."""
    return digest_of([code_of_models(), [part.sha256 for part in models.parts]])


def open_scorer(files: Mapping[str, str]) -> Scorer:
    """A scorer by the models in files."""
    return partial(score_texts, models=open_models(files))


def warm(files: Mapping[str, str]) -> None:
    """Compile the kernels that score texts by these models."""
    open_scorer(files)(warm_texts(), groups_of(warm_texts()))


def score_texts(texts: pa.Array, groups: Hashes, models: Models) -> dict[str, pa.Array]:
    """The scores of texts; `groups` are those of the texts before repeated lines are cut."""
    judged = judge_texts(models.contrast, models.likeness, texts, groups, models.space)
    return {
        "likeness": judged.get("likeness", pa.nulls(len(texts), pa.float32())),
        "importance": judged["importance"],
        "cluster": judged.get("cluster", pa.nulls(len(texts), pa.int32())),
        DOMAIN: judged[DOMAIN].dictionary_encode().cast(SCORED.field(DOMAIN).type),
        "grade": score_grades(models.grades, texts, groups) if models.grades else pa.nulls(len(texts), pa.float32()),
        "shingles": sampled_shingles(texts),
    }


def sampled_shingles(texts: pa.Array) -> pa.Array:
    """The distinct shingles of each text whose hashes fall into the sample, the same one for all texts."""
    sets = shingle_sets(texts, SHINGLE)
    sizes = pc.fill_null(pc.list_value_length(sets), 0).to_numpy()
    values = sets.flatten().to_numpy()
    is_sampled = values % np.uint64(SHINGLE_SAMPLE) == 0
    owners = np.repeat(np.arange(len(sizes)), sizes)[is_sampled]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=len(sizes)))])
    halves = (values[is_sampled] >> np.uint64(32)).astype(np.uint32)
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pa.array(halves))
