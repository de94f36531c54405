"""Models that a budget scores documents with: learnt once, kept in the run directory, or taken from another run."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.corpus.side_files import content_of, side_files, tables_of
from curate.digest import digest_of
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
)
from curate.ledger.parts import Part, finished_part
from curate.maps.reread import editor_identities
from curate.maps.warm import warm_texts
from curate.progress import Log
from curate.storage.files import committed

DOMAIN = "domain"
GRADES_FIELD = "distill.grades"
SHINGLE, ONE_IN = 5, 8  # words of a shingle, and how many of these stand for all
LEAST_SAMPLE = 40
# Fewer buckets, more of them alike: they tell the kinds of a reference apart better than what the packaged prose has.
OF_REFERENCE = importance.Settings(bits=16, uniform=0.3, unknown=0.3)
TELLS_NOTHING = 0.6  # ROC-AUC
CLUSTER_TEXTS = 50  # of the sample for each cluster
SHARD = re.compile(r"[-_. ]?\d+([-_]of[-_]\d+)?$")

SCORED = pa.schema(
    [
        ("file_no", pa.int32()),
        ("row", pa.int64()),
        ("lines_sum", pa.uint64()),  # which repeated lines were cut before: of none, 0
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
    """What texts are scored with."""

    likeness: Model | None
    contrast: Contrast
    space: Space | None
    grades: Model | None


def open_models(paths: Mapping[str, str]) -> Models:
    """The models in the files of groups."""
    found = {group: Path(path) for group, path in paths.items()}
    return Models(
        load(found[LIKENESS]) if LIKENESS in found else None,
        contrast_of(importance.load(found[IMPORTANCE_TARGET]), importance.load(found[IMPORTANCE_CORPUS])),
        _space(found),
        load(found[BUDGET_GRADE_MODEL]) if BUDGET_GRADE_MODEL in found else None,
    )


def _space(found: Mapping[str, Path]) -> Space | None:
    if CLUSTERS not in found:
        return None
    made_by = (
        static_vectors.load_once(found[STATIC_VECTORS]) if STATIC_VECTORS in found else vectors.load(found[PROJECTION])
    )
    return Space(made_by, clusters.load(found[CLUSTERS]))


def train(training: Training, sample: pa.Table) -> ModelSet:
    """Train what the recipe's budget scores with, unless the ledger holds it; `sample` are (file_no, row, hash).

    Errors: InputError for texts that are too few, or a file of grades that cannot be used.
    """
    recipe, ledger, log = training.recipe, training.ledger, training.log
    section = recipe.distill
    assert section is not None
    graded = _graded_files(section.grades)
    digest = _digest(training, sample, graded)
    if models := load_models(BUDGET, ledger.run, [part for part in ledger.parts if part.digest == digest]):
        return models
    training.begin("reading texts to learn from")
    parts = training.corpus.collect_texts(sample.select(["file_no", "row"]))
    held = [pq.read_table(ledger.run / part.path, columns=["text"]) for part in parts]
    corpus = pa.concat_tables(held)["text"].combine_chunks() if held else pa.array([], pa.large_string())
    if len(corpus) < LEAST_SAMPLE:
        raise InputError(
            f"distill: {len(corpus)} documents of 200 bytes or more are too few to learn what the "
            f"corpus is like; give at least {LEAST_SAMPLE}, or leave distill out"
        )
    reference = training.reference
    good = read_good(recipe, reference, training.reading, {}, section.good) if reference else None
    training.begin("learning what is wanted")
    writers = _learn(good, corpus, reference, graded, recipe.seed, training.static)
    written = [_put(ledger.run, group, digest, write) for group, write in writers.items()]
    ledger.add([replace(part, group=PENDING + part.group) for part in written])
    models = ModelSet(BUDGET, ledger.run, tuple(written))
    _tell(models, len(corpus), good, log)
    return models


def _tell(models: ModelSet, corpus: int, good: pa.Table | None, log: Log) -> None:
    """Say what was learnt from, and whether the reference can be distinguished from the corpus."""
    discriminator = models.facts.get("discriminator")
    if discriminator and discriminator["roc_auc"] < TELLS_NOTHING:
        log.say(
            f"distill: the reference hardly differs from the corpus (AUC {discriminator['roc_auc']:.2f}, 0.5 is "
            "chance): the discriminator's scores mean little"
        )
    wanted = "the packaged texts of good prose" if good is None else f"{len(good):,} texts of the reference"
    log.say(f"distill: {corpus:,} documents of the corpus were compared with {wanted}")


def _learn(
    good: pa.Table | None,
    corpus: pa.Array,
    reference: Sequence[ReferenceFile],
    graded: Sequence[Path],
    seed: int,
    static: StaticVectors | None,
) -> dict[str, Callable[[Path], object]]:
    """What writes each model that was learnt, and the facts, by group."""
    facts: dict[str, Any] = {
        "reference": [{"path": file.name, "content_xxh3_128": file.content_xxh3_128} for file in reference]
        or "default",
        "corpus": len(corpus),
    }
    made: dict[str, Callable[[Path], object]] = {}
    own = groups_of(corpus)
    if good is None:
        target = importance.packaged_prose()
    else:
        texts, domains = good["text"].combine_chunks(), domains_of(good["file"].to_pylist())
        groups = groups_of(texts)
        likeness = train_likeness(texts, domains, corpus, np.concatenate([groups, own]), Settings(), seed)
        made[LIKENESS] = partial(save, likeness)
        facts["discriminator"] = {name: likeness.facts[name] for name in ("good", "bad", "roc_auc")}
        target = distribution_of(texts, domains, groups, OF_REFERENCE)
    made[IMPORTANCE_TARGET] = partial(importance.save, target)
    made[IMPORTANCE_CORPUS] = partial(importance.save, importance.corpus_of(corpus, own, target.settings))
    facts["domains"] = dict(zip(target.domains, target.shares, strict=True))
    if (space := _learn_space(corpus, seed, static)) is not None:
        if isinstance(space.vectors, StaticVectors):
            made[STATIC_VECTORS] = partial(static_vectors.save, space.vectors)
            facts["vectors"] = space.vectors.facts
        else:
            made[PROJECTION] = partial(vectors.save, space.vectors)
        made[CLUSTERS] = partial(clusters.save, space.clusters)
        facts["clusters"] = len(space.clusters.centres)
    if graded:
        grades = _train_graded(graded, seed)
        made[BUDGET_GRADE_MODEL] = partial(save, grades)
        facts["grades"] = {name: grades.facts[name] for name in ("texts", "spearman", "pearson", "rmse")}
    made[BUDGET_FACTS] = lambda path: path.write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", "utf-8")
    return made


def _learn_space(corpus: pa.Array, seed: int, static: StaticVectors | None) -> Space | None:
    """Where documents lie; None where they have too few words in common for that, or none that a model knows."""
    count = max(2, len(corpus) // CLUSTER_TEXTS)
    try:
        if static is not None:
            return Space(static, clusters.clusters_of(static_vectors.vectors_of(static, corpus), count, seed))
        projection = vectors.projection_of(corpus, vectors.Settings(), seed)
    except InputError:
        return None
    return Space(projection, clusters.clusters_of(vectors.vectors_of(projection, corpus), count, seed))


def _put(run: Path, group: str, digest: str, write: Callable[[Path], object]) -> Part:
    """Commit a model."""
    path = Path("models") / f"{group}-{digest[:8]}.{'json' if group == BUDGET_FACTS else 'npz'}"
    with committed(run / path) as aside:
        write(aside)
    return finished_part(run, group, digest, path, 0)


def domains_of(files: Sequence[str]) -> list[str]:
    """The domain of texts: their file's name without number and ending, or its folder's where that says nothing."""
    return [_domain(Path(name)) for name in files]


def _domain(path: Path) -> str:
    stem = path.name.split(".")[0]
    name = SHARD.sub("", stem)
    return path.parent.name or stem if name in ("", "part", "train", "data", "shard", "chunk") else name


def _graded_files(pattern: str | None) -> list[Path]:
    return side_files([pattern], GRADES_FIELD, "graded texts") if pattern else []


def _train_graded(files: Sequence[Path], seed: int) -> Model:
    """A model of the grades in files with columns text and score."""
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
    read = pa.concat_arrays(texts)
    values = np.asarray(pa.concat_arrays(grades).to_numpy(zero_copy_only=False), np.float64)
    return train_grades(read, values, groups_of(read), GRADES, seed)


def _digest(training: Training, sample: pa.Table, graded: Sequence[Path]) -> str:
    """The digest of all that learning depends on."""
    section, reading, static = training.recipe.distill, training.reading, training.static
    assert section is not None
    return digest_of([
        code_of_models(), training.recipe.seed, section.good, [file.content_xxh3_128 for file in training.reference],
        reading.text, editor_identities(reading), [sample[name].to_pylist() for name in sample.schema.names],
        content_of(graded, GRADES_FIELD) if graded else None, static.facts if static else None,
    ])  # fmt: skip


def scores_key(models: ModelSet) -> str:
    """The digest of what scores depend on besides the documents."""
    return digest_of([code_of_models(), [part.sha256 for part in models.parts]])


def open_scorer(files: Mapping[str, str]) -> Scorer:
    """What scores texts by the models in files."""
    return partial(scored_texts, models=open_models(files))


def warm(files: Mapping[str, str]) -> None:
    """Compile what scores texts by these models."""
    open_scorer(files)(warm_texts(), groups_of(warm_texts()))


def scored_texts(texts: pa.Array, groups: Hashes, models: Models) -> dict[str, pa.Array]:
    """The scores of texts; `groups` are those of the texts before lines were cut out of them."""
    found = judge_texts(models.contrast, models.likeness, texts, groups, models.space)
    return {
        "likeness": found.get("likeness", pa.nulls(len(texts), pa.float32())),
        "importance": found["importance"],
        "cluster": found.get("cluster", pa.nulls(len(texts), pa.int32())),
        DOMAIN: found[DOMAIN].dictionary_encode().cast(SCORED.field(DOMAIN).type),
        "grade": score_grades(models.grades, texts, groups) if models.grades else pa.nulls(len(texts), pa.float32()),
        "shingles": sampled_shingles(texts),
    }


def sampled_shingles(texts: pa.Array) -> pa.Array:
    """Of the distinct shingles of each text those of certain hashes, the same ones in every text; one in ONE_IN."""
    sets = shingle_sets(texts, SHINGLE)
    sizes = pc.fill_null(pc.list_value_length(sets), 0).to_numpy()
    values = sets.flatten().to_numpy()
    drawn = values % np.uint64(ONE_IN) == 0
    owners = np.repeat(np.arange(len(sizes)), sizes)[drawn]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=len(sizes)))])
    halves = (values[drawn] >> np.uint64(32)).astype(np.uint32)
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pa.array(halves))
