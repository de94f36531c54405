"""Models of a run's second tier: trained once and kept in the run directory, or copied from a pinned run."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.corpus.edits import apply_edits, find_edits
from curate.digest import MODELS, code_of, digest_of
from curate.distill.attacks.by_teacher import prompts_of
from curate.distill.purify import judge
from curate.distill.purify.conformal import least_documents
from curate.distill.purify.rounds import Purification, check_families, purify, scores
from curate.distill.purify.selection import mining_lines
from curate.distill.reference import ReferenceFile, read_good
from curate.distill.scoring import discriminator
from curate.distill.scoring_stage import Training
from curate.distill.teacher.open import open_teacher
from curate.distill.teacher.protocol import Teacher
from curate.errors import InputError, RecipeError
from curate.filters import registry
from curate.filters.signals.hashes import hash_texts
from curate.ledger.models import PURIFY, ModelSet, load_models
from curate.ledger.names import (
    ATTACKS,
    CALIBRATION,
    GRADE_MODEL,
    GRADES,
    MINED,
    PENDING,
    PURIFY_FACTS,
    PURIFY_MODEL,
    ROUNDS,
)
from curate.ledger.parts import Part, finished_part, write_part
from curate.maps.reading import editor_identities
from curate.maps.reread import CorpusReader, RereadTask
from curate.progress import Log
from curate.recipe.affects import fields_affecting
from curate.recipe.recipe import Recipe
from curate.recipe.tier2 import Tier2
from curate.storage.files import committed

TESTING_SHARE = 0.1  # of mined texts
_CANDIDATES = pa.schema([("file_no", pa.int32()), ("row", pa.int64()), ("text", pa.large_string())]).empty_table()


def check_tier2(recipe: Recipe) -> None:
    """Refuse a recipe whose second tier lacks what it needs.

    Errors: RecipeError.
    """
    section = recipe.tier2
    if section is None or recipe.models.pin:
        return
    if not recipe.reference:
        raise RecipeError("tier2: needs good texts to tell bad ones from; set reference to files of them")
    check_families(section)
    if section.judge:
        judge.rubric_of(section.judge)  # refuse a wrong one before anything is read
    if section.judge and recipe.teacher == "rules":
        raise RecipeError("tier2.judge: teacher rules gives no grades; name a model in teacher, or remove judge")


def train(training: Training, mined: pa.Table) -> ModelSet:
    """Train the models of the recipe's second tier, unless the ledger has them; `mined` are candidates (mining.py).

    Errors: InputError for texts that are too few; the errors of the teacher.
    """
    recipe, ledger = training.recipe, training.ledger
    section = recipe.tier2
    assert section is not None
    digest = _digest(section, training, mined)
    if models := load_models(PURIFY, ledger.run, [part for part in ledger.parts if part.digest == digest]):
        return models
    training.begin("reading texts to train on")
    good = read_good(recipe, training.reference, training.reading, training.strata, section.good)
    check_calibration(calibration_texts(good), section)
    mined_parts = training.corpus.collect_texts(mined.select(["file_no", "row"]))
    bad = mined_texts(ledger.run, mined_parts, mined, good["text"].combine_chunks())
    with open_teacher(recipe.teacher, ledger.run / "teacher", training.log, training.open_model) as teacher:
        graded = None
        if section.judge:
            training.begin("grading")
            sample = bad.slice(0, section.judge.documents)
            graded = judge.grade(teacher, sample, section.judge, section.excerpt, recipe.seed)
        writer = None if recipe.teacher == "rules" else teacher
        purification = purify(good, bad, section, writer, recipe.seed, training.begin)
        facts = _manifest_facts(purification, graded, training.reference, teacher, section)
    tables = _tables(purification, graded, good, training.strata)
    parts = [write_part(ledger.run, group, digest, "00000", table) for group, table in tables.items()]
    parts += _commit_models(ledger.run, digest, purification, graded)
    parts.append(_commit_facts(ledger.run, digest, facts))
    ledger.add([replace(part, group=PENDING + part.group) for part in parts])
    _log_training(purification, graded, training.log)
    return ModelSet(PURIFY, ledger.run, tuple(parts))


@lru_cache(maxsize=2)
def calibration_of(models: ModelSet) -> pa.Table:
    """The calibration set, good documents that are not trained on: doc_id, p_bad, and a column for each stratum."""
    return pq.read_table(models.files[CALIBRATION])


def check_calibration(calibration: pa.Table, section: Tier2) -> None:
    """Refuse a calibration set that is too small for the bound on false drops.

    Errors: InputError.
    """
    needed = least_documents(section.max_false_drop)
    if len(calibration) < needed:
        raise InputError(
            f"reference: {len(calibration)} documents are set aside for the bound on false drops, and max_false_drop "
            f"{section.max_false_drop:g} needs {needed}: give more texts, or a larger tier2.max_false_drop"
        )


def code_of_models() -> str:
    """Hex digest of the code that trains and scores, of the signals it measures, and of phrases and prompts of attacks.

    `models.pin` uses the models of a finished run, whatever the code is now.
    """
    return code_of(*MODELS, *registry.modules_of(registry.groups()))


def digest_of_rubric(recipe: Recipe) -> str | None:
    """The digest of the prompt by which a teacher grades."""
    section = recipe.tier2
    return judge.rubric_of(section.judge).digest if section and section.judge else None


def _digest(section: Tier2, training: Training, mined: pa.Table) -> str:
    """The digest of all inputs of training."""
    recipe, reading, strata = training.recipe, training.reading, training.strata
    in_strata = [(name, str(kind)) for name, kind in reading.input_columns if f"input.{name}" in strata]
    return digest_of(
        [
            code_of_models(),
            recipe.seed,
            recipe.resolved()["teacher"],
            digest_of_rubric(recipe),
            section.model_dump(mode="json", include=fields_affecting("tier2", Tier2)),
            [(file.name, file.content_xxh3_128) for file in training.reference],
            reading.text,
            editor_identities(reading),
            in_strata,
            dict(strata),
            [mined[name].to_pylist() for name in mined.schema.names],
        ]
    )


def plan_texts(reader: CorpusReader, documents: pa.Table) -> list[RereadTask]:
    """A task for each unit that contains any of the documents (file_no, row), which are sorted."""
    return reader.plan(documents, [__name__])


def collect_texts(task: RereadTask) -> list[Part]:
    """The texts of a task's documents, with the edits that precede signals."""
    tables = []
    for documents, raw in task.texts():
        texts = apply_edits(raw, find_edits(raw, task.reading.editors))
        file_nos = np.full(len(documents), task.unit.file_no, np.int32)
        tables.append(pa.table({"file_no": file_nos, "row": documents["row"], "text": texts}))
    return [task.write(MINED, tables)]


def mined_texts(run: Path, parts: Sequence[Part], mined: pa.Table, good: pa.Array) -> pa.Table:
    """Candidates for bad texts, in order of hash.

    Out:    doc_id (hash of the text), text, role, `uniform` and `worst` of `mined`, and `known`: whether it is a good
            text too.
    """
    tables = [pq.read_table(run / part.path, columns=["file_no", "row", "text"]) for part in parts]
    table = pa.concat_tables([*tables, _CANDIDATES]).sort_by([("file_no", "ascending"), ("row", "ascending")])
    texts = table["text"].combine_chunks()
    high, low = (half.to_numpy() for half in hash_texts(texts))
    good_hashes = set(zip(*(half.to_pylist() for half in hash_texts(good)), strict=True))
    order = np.lexsort((low, high))
    hashes = list(zip(high[order].tolist(), low[order].tolist(), strict=True))
    known = np.array([key in good_hashes for key in hashes], bool)
    worst = mined["worst"].to_numpy()[order]
    is_testing = np.zeros(len(order), bool)
    for group in (worst & ~known, ~worst | known):  # so that the worst alone have enough for testing too
        rows = np.flatnonzero(group)
        is_testing[rows[: round(TESTING_SHARE * len(rows))]] = True
    return pa.table(
        {
            "doc_id": [f"{first:016x}{second:016x}" for first, second in hashes],
            "text": texts.take(pa.array(order)),
            "role": np.where(is_testing, "testing", "training").astype(object),
            "uniform": mined["uniform"].to_numpy()[order],
            "worst": worst,
            "known": known,
        }
    )


def _log_training(purification: Purification, graded: judge.GradedSample | None, log: Log) -> None:
    """Log the size of the training set, why rounds ended, and how well a judge's grades were learned."""
    facts = purification.facts
    log.say(f"trained on {facts.good:,} good and {facts.mined:,} mined texts and {facts.attacks:,} attacks")
    for line in mining_lines(facts.mining, facts.mined):
        log.say(line)
    log.say(f"rounds: {facts.stopped}")
    if facts.unseen_families:
        log.say(f"families that the model cannot see, and was not trained on: {', '.join(facts.unseen_families)}")
    if graded:
        log.say(
            f"grades: {graded.facts.graded:,} by the teacher; the model's have a rank correlation of "
            f"{graded.facts.spearman:.2f} with these on documents that it has not seen"
        )
    log.event(
        "trained",
        good=facts.good,
        mined=facts.mined,
        attacks=facts.attacks,
        stopped=facts.stopped,
        unseen_families=facts.unseen_families,
        mining=asdict(facts.mining),
    )


def _manifest_facts(
    purification: Purification,
    graded: judge.GradedSample | None,
    reference: Sequence[ReferenceFile],
    teacher: Teacher,
    section: Tier2,
) -> dict[str, object]:
    """The manifest's entry about the models."""
    return {
        "reference": [{"path": file.name, "content_xxh3_128": file.content_xxh3_128} for file in reference],
        "teacher": teacher.facts,
        "prompts": {prompt.name: prompt.digest for prompt in prompts_of(section)} if teacher.model else {},
        **asdict(purification.facts),
        **({"judge": asdict(graded.facts)} if graded else {}),
    }


def calibration_texts(good: pa.Table) -> pa.Table:
    """The good texts that set bounds."""
    return good.filter(pc.equal(good["role"].cast(pa.string()), "calibration"))


def _tables(
    purification: Purification, graded: judge.GradedSample | None, good: pa.Table, strata: Mapping[str, str]
) -> dict[str, pa.Table]:
    """The tables of the training, by their groups."""
    texts = calibration_texts(good)
    p_bad = scores(purification.model, texts["text"].combine_chunks())
    columns = {name: texts[f"stratum_{k}"] for k, name in enumerate(strata)}
    calibration = pa.table({"doc_id": texts["doc_id"], "p_bad": pa.array(p_bad.astype(np.float32)), **columns})
    tables = {ATTACKS: purification.attacks, ROUNDS: purification.rounds, CALIBRATION: calibration.sort_by("doc_id")}
    return tables | ({GRADES: graded.grades} if graded else {})


def _commit_models(run: Path, digest: str, purification: Purification, graded: judge.GradedSample | None) -> list[Part]:
    models = {PURIFY_MODEL: purification.model} | ({GRADE_MODEL: graded.model} if graded else {})
    parts = []
    for group, model in models.items():
        path = Path("models") / f"{group}-{digest[:8]}.npz"
        with committed(run / path) as aside:
            discriminator.save(model, aside)
        parts.append(finished_part(run, group, digest, path, 0))
    return parts


def _commit_facts(run: Path, digest: str, facts: Mapping[str, object]) -> Part:
    path = Path("models") / f"purify-{digest[:8]}.json"
    with committed(run / path) as aside:
        aside.write_text(json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")
    return finished_part(run, PURIFY_FACTS, digest, path, 0)
