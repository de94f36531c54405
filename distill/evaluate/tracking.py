"""Quality after each stage of a run: n-gram models of a small sample, with random documents as controls.

The sample and the held-out texts are small and depend on the recipe's seed alone, so the figures do not depend on the
machine's speed. There are at most 29 models of 5 MB: about two minutes on two cores, less where stages drop more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curate.distill.evaluate.arms import OURS, Output, Sample
from curate.distill.evaluate.heldout import read_heldout
from curate.distill.evaluate.measure import measure_arms, with_controls
from curate.distill.evaluate.prepare import Prepared, digest_of_evaluation, prepare
from curate.distill.evaluate.proxy_ngram import NgramProxy
from curate.distill.evaluate.results import TRACKED, TrackedStage, commit, facts_of, remove_scratch
from curate.distill.evaluate.retention import FULL, ArmRetention, retention
from curate.distill.evaluate.tokens import Integers
from curate.errors import InputError
from curate.ledger.names import EVALUATION_FOLDER, STAGES, TRACKING
from curate.ledger.run import open_finished
from curate.progress import Countdown, Log, Steps
from curate.recipe.evaluate import Evaluate
from curate.recipe.recipe import Recipe

SAMPLE_BYTES = 5_000_000
MAX_HELDOUT = 60  # texts per domain
TRACKED_FROM = 250_000_000  # tokens of the input, about 1 GB: from here on rules alone take longer than tracking
REWRITING = ("lines", "purify", "distil")  # after these stages documents have the text of the output

StageRow = Mapping[str, Any]  # of table `stages`


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingFacts:
    """The model, sample and decisions that quality was tracked with."""

    decisions: str
    digest: str
    proxy: str
    whole_input: bool
    documents: int
    heldout: int


def check_heldout(recipe: Recipe) -> None:
    """Refuse unreadable held-out texts before the corpus is read.

    Errors: InputError.
    """
    if recipe.evaluate is not None:
        read_heldout(recipe.evaluate, recipe.input.column, recipe.seed)


def is_tracked(recipe: Recipe, tokens: int) -> bool:
    """Whether a run over `tokens` tokens tracks quality: as its recipe says, by default where the input is large."""
    section = recipe.evaluate
    return section is not None and (tokens >= TRACKED_FROM if section.track is None else section.track)


def track(recipe: Recipe, run: Path, decisions: str, stages: Sequence[StageRow], threads: int, log: Log) -> bool:
    """Measure quality after each stage, unless it was for these decisions; return whether it was measured now.

    A run does not fail because too few held-out texts are left: it logs that.
    """
    section = recipe.evaluate
    if section is None or not is_tracked(recipe, stages[0]["tokens_in"]) or not stages[-1]["documents_out"]:
        return False
    decided_run = open_finished(run)
    small = section.model_copy(update={"most": min(section.most, MAX_HELDOUT), "ablate": False})
    digest = digest_of_evaluation(decided_run, small, decisions)
    facts = facts_of(run, TRACKING, decisions)
    if facts is not None and facts["digest"] == digest:
        return False
    remove_scratch(run)
    folder = run / EVALUATION_FOLDER / TRACKING
    with Steps(log, "tracking quality") as steps:
        steps("texts")
        try:
            prepared = prepare(decided_run, small, {OURS: run}, SAMPLE_BYTES, folder)
        except InputError as error:
            log.say(f"quality is not tracked: {error}")
            return False
        rows = _measure_stages(prepared, small, recipe.seed, folder, threads, steps)
    table = pa.Table.from_pylist([asdict(row) for row in _tracked_stages(stages, rows)], TRACKED)
    commit(run, TRACKING, {"tracking": table}, asdict(_facts(prepared, digest, decisions)))
    return True


def _measure_stages(
    prepared: Prepared, section: Evaluate, seed: int, folder: Path, threads: int, steps: Steps
) -> dict[str, ArmRetention]:
    """Retention over all domains of FULL, and of each stage that changes the sample."""
    arms = with_controls(
        prepared.corpus.pool,
        prepared.sample.keys,
        prepared.arms.draws[FULL][0],
        {stage: [texts] for stage, texts in _texts_by_stage(prepared.sample, prepared.outputs[OURS]).items()},
        section.draws,
        seed,
    )
    countdown = Countdown(steps, sum(map(len, arms.draws.values())), "models")
    models = measure_arms(prepared.corpus, arms, NgramProxy(section.order), folder, threads, countdown)
    rows = retention(models, arms.controls, prepared.domains, seed)
    return {row.arm: row for row in rows if row.domain is None}


def _texts_by_stage(sample: Sample, ours: Output) -> dict[str, Integers]:
    """Indices of the texts that are left after each stage that drops or cuts any."""
    measured = np.arange(len(sample.keys))
    written = measured.copy()
    written[ours.documents] = ours.texts
    by_stage: dict[str, Integers] = {}
    previous = measured
    for stage in STAGES[1:]:
        texts = (written if stage in REWRITING else measured)[sample.survivors(stage)]
        if len(texts) and not np.array_equal(texts, previous):
            by_stage[stage] = previous = texts
    return by_stage


def _tracked_stages(stages: Sequence[StageRow], rows: Mapping[str, ArmRetention]) -> list[TrackedStage]:
    """The rows of the first stage and of those that were measured, in the order of a run."""
    by_stage = {stage["stage"]: stage for stage in stages}
    tokens_in = stages[0]["tokens_in"]
    measured = [stage for stage in STAGES[1:] if stage in rows]
    return [
        _tracked_stage(by_stage[stage], tokens_in, rows[FULL if stage == STAGES[0] else stage])
        for stage in (STAGES[0], *measured)
    ]


def _tracked_stage(stage: StageRow, tokens_in: int, row: ArmRetention) -> TrackedStage:
    return TrackedStage(
        stage=stage["stage"],
        documents_out=stage["documents_out"],
        tokens_out=stage["tokens_out"],
        share=stage["tokens_out"] / max(1, tokens_in),
        sample_tokens=row.tokens,
        bits_per_byte=row.bits_per_byte,
        retained=row.retained,
        retained_low=row.retained_low,
        retained_high=row.retained_high,
        control_retained=None if row.control is None else row.control_retained,
        gain=row.gain,
        gain_low=row.gain_low,
        gain_high=row.gain_high,
        gap_closed=row.gap_closed,
        gap_low=row.gap_low,
        gap_high=row.gap_high,
    )


def _facts(prepared: Prepared, digest: str, decisions: str) -> TrackingFacts:
    return TrackingFacts(
        decisions=decisions,
        digest=digest,
        proxy=NgramProxy.name,
        whole_input=prepared.sample.is_complete,
        documents=len(prepared.sample.keys),
        heldout=len(prepared.domains.domains),
    )
