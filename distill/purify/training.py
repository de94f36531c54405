"""Models that a run trains for its second tier: learnt once, kept in the run directory, or taken from another run."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.corpus.edits import apply_edits, find_edits
from curate.digest import MODELS, code_of, digest_of
from curate.distill.attacks.by_teacher import prompts_of
from curate.distill.purify import judge
from curate.distill.purify.conformal import least_documents
from curate.distill.purify.rounds import Trained, check_families, purify, scores
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
from curate.maps.reread import CorpusReader, RereadTask, editor_identities
from curate.progress import Log
from curate.recipe.affects import fields_affecting
from curate.recipe.recipe import Recipe
from curate.recipe.tier2 import Tier2
from curate.storage.files import committed

TESTING_SHARE = 0.1  # of mined texts


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
        judge.rubric_of(section.judge)  # so that a wrong one is told of before anything is read
    if section.judge and recipe.teacher == "rules":
        raise RecipeError("tier2.judge: teacher rules gives no grades; name a model in teacher, or remove judge")


def train(training: Training, mined: pa.Table) -> ModelSet:
    """Train what the recipe's second tier needs, unless the ledger holds it; `mined` are (file_no, row, hash).

    Errors: InputError for texts that are too few; what a teacher fails with.
    """
    recipe, ledger, tell = training.recipe, training.ledger, training.begin
    section = recipe.tier2
    assert section is not None
    digest = _digest(section, training, mined)
    if models := load_models(PURIFY, ledger.run, [part for part in ledger.parts if part.digest == digest]):
        return models
    tell("reading texts to train on")
    good = read_good(recipe, training.reference, training.reading, training.strata, section.good)
    check_calibration(good.filter(pc.equal(good["role"].cast(pa.string()), "calibration")), section)
    collected = training.corpus.collect_texts(mined.select(["file_no", "row"]))
    bad = _mined_texts(ledger.run, collected, good["text"].combine_chunks())
    with open_teacher(recipe.teacher, ledger.run / "teacher", training.log, training.open_model) as teacher:
        graded = None
        if section.judge:
            tell("grading")
            some = bad.slice(0, section.judge.documents)
            graded = judge.grade(teacher, some, section.judge, section.excerpt, recipe.seed)
        writer = None if recipe.teacher == "rules" else teacher
        trained = purify(good, bad, section, writer, recipe.seed, tell)
        facts = _facts(trained, graded, training.reference, teacher, section)
    parts = _written(ledger.run, digest, trained, graded, good, training.strata, facts)
    ledger.add([replace(part, group=PENDING + part.group) for part in parts])
    _tell(facts, training.log)
    return ModelSet(PURIFY, ledger.run, tuple(parts))


@lru_cache(maxsize=2)
def calibration_of(models: ModelSet) -> pa.Table:
    """Good documents that were set aside: doc_id, p_bad, and a column for each stratum."""
    return pq.read_table(models.files[CALIBRATION])


def check_calibration(aside: pa.Table, section: Tier2) -> None:
    """Refuse a reference of which too few texts are set aside for the bound on false drops.

    Errors: InputError.
    """
    needed = least_documents(section.max_false_drop)
    if len(aside) < needed:
        raise InputError(
            f"reference: {len(aside)} documents are set aside for the bound on false drops, and max_false_drop "
            f"{section.max_false_drop:g} needs {needed}: give more texts, or a larger tier2.max_false_drop"
        )


def code_of_models() -> str:
    """Hex digest of the code that trains and scores, of what it measures, and of the phrases and prompts of attacks.

    The models of a finished run are kept by `models.pin`, whatever the code has become.
    """
    return code_of(*MODELS, *registry.modules_of(registry.groups()))


def digest_of_rubric(recipe: Recipe) -> str | None:
    """The hash of the prompt by which a teacher grades."""
    section = recipe.tier2
    return judge.rubric_of(section.judge).digest if section and section.judge else None


def _digest(section: Tier2, training: Training, mined: pa.Table) -> str:
    """The digest of all that training depends on."""
    recipe, reading, strata = training.recipe, training.reading, training.strata
    return digest_of([
        code_of_models(), recipe.seed, recipe.resolved()["teacher"], digest_of_rubric(recipe),
        section.model_dump(mode="json", include=fields_affecting("tier2", Tier2)),
        [file.content_xxh3_128 for file in training.reference], reading.text, editor_identities(reading),
        [(name, str(kind)) for name, kind in reading.input_columns if f"input.{name}" in strata], dict(strata),
        [mined[name].to_pylist() for name in mined.schema.names],
    ])  # fmt: skip


def plan_texts(reader: CorpusReader, documents: pa.Table) -> list[RereadTask]:
    """A task for each unit that has some of the documents (file_no, row), which are sorted."""
    return reader.plan(documents, [__name__])


def collect_texts(task: RereadTask) -> list[Part]:
    """The texts of a task's documents, edited as they were when they were measured."""
    tables = []
    for documents, raw in task.texts():
        texts = apply_edits(raw, find_edits(raw, task.reading.editors))
        file_nos = np.full(len(documents), task.unit.file_no, np.int32)
        tables.append(pa.table({"file_no": file_nos, "row": documents["row"], "text": texts}))
    return [task.write(MINED, tables)]


def _mined_texts(run: Path, parts: Sequence[Part], good: pa.Array) -> pa.Table:
    """doc_id (the hash of the text), text and role of mined texts, in an order that their hashes make.

    A text that is a good one too is left out.
    """
    held = [pq.read_table(run / part.path, columns=["text"]) for part in parts]
    texts = pa.concat_tables(held)["text"].combine_chunks() if held else pa.array([], pa.large_string())
    high, low = (half.to_numpy() for half in hash_texts(texts))
    known = set(zip(*(half.to_pylist() for half in hash_texts(good)), strict=True))
    order = np.array([k for k in np.lexsort((low, high)).tolist() if (high[k], low[k]) not in known], np.int64)
    roles = np.where(np.arange(len(order)) < round(TESTING_SHARE * len(order)), "testing", "training")
    names = [f"{high[k]:016x}{low[k]:016x}" for k in order.tolist()]
    return pa.table({"doc_id": names, "text": texts.take(pa.array(order)), "role": roles.astype(object)})


def _tell(facts: Mapping[str, Any], log: Log) -> None:
    """Say what was trained on, why it ended, and how far a judge's grades could be learnt."""
    log.say(f"trained on {facts['good']:,} good and {facts['mined']:,} mined texts and {facts['attacks']:,} attacks")
    log.say(f"rounds: {facts['stopped']}")
    if facts["unseen_families"]:
        log.say(f"families that the model cannot see, and was not trained on: {', '.join(facts['unseen_families'])}")
    if judged := facts.get("judge"):
        log.say(f"grades: {judged['graded']:,} by the teacher; the model's have a rank correlation of "
                f"{judged['spearman']:.2f} with these on documents that it has not seen")  # fmt: skip
    log.event("trained", **{name: facts[name] for name in ("good", "mined", "attacks", "stopped", "unseen_families")})


def _facts(
    trained: Trained,
    graded: "judge.Graded | None",
    reference: Sequence[ReferenceFile],
    teacher: Teacher,
    section: Tier2,
) -> dict[str, Any]:
    """What the manifest tells of the models."""
    return {
        "reference": [{"path": file.name, "content_xxh3_128": file.content_xxh3_128} for file in reference],
        "teacher": teacher.facts,
        "prompts": {one.name: one.digest for one in prompts_of(section)} if teacher.model else {},
        **trained.facts,
        **({"judge": graded.facts} if graded else {}),
    }


def _written(
    run: Path, digest: str, trained: Trained, graded: "judge.Graded | None", good: pa.Table, strata: Mapping[str, str],
    facts: Mapping[str, Any],
) -> list[Part]:  # fmt: skip
    """Commit all that was learnt."""
    aside = good.filter(pc.equal(good["role"].cast(pa.string()), "calibration"))
    p_bad = scores(trained.model, aside["text"].combine_chunks())
    columns = {name: aside[f"stratum_{k}"] for k, name in enumerate(strata)}
    calibration = pa.table({"doc_id": aside["doc_id"], "p_bad": pa.array(p_bad.astype(np.float32)), **columns})
    tables = {ATTACKS: trained.made, ROUNDS: trained.rounds, CALIBRATION: calibration.sort_by("doc_id")}
    models = {PURIFY_MODEL: trained.model}
    if graded:
        tables[GRADES] = graded.grades
        models[GRADE_MODEL] = graded.model
    parts = [write_part(run, group, digest, "00000", table) for group, table in tables.items()]
    for group, model in models.items():
        path = Path("models") / f"{group}-{digest[:8]}.npz"
        with committed(run / path) as written:
            discriminator.save(model, written)
        parts.append(finished_part(run, group, digest, path, 0))
    path = Path("models") / f"purify-{digest[:8]}.json"
    with committed(run / path) as written:
        written.write_text(json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")
    return [*parts, finished_part(run, PURIFY_FACTS, digest, path, 0)]
