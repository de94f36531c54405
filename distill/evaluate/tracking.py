"""Quality after each stage of a run: a small sample is measured by n-grams, with random documents beside it.

The sample and the held-out texts are small and fixed by the recipe's seed, so that the figures do not depend on how
fast a machine is: at most 29 models of 5 MB, about two minutes on two cores, and less where stages drop more.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curate.distill.evaluate.arms import OURS, Output, Sample
from curate.distill.evaluate.heldout import read_heldout
from curate.distill.evaluate.measure import measure_arms, with_controls
from curate.distill.evaluate.prepare import Prepared, digest_of_evaluation, prepare
from curate.distill.evaluate.proxy_ngram import NgramProxy
from curate.distill.evaluate.results import commit, facts_of, remove_scratch
from curate.distill.evaluate.retention import FULL, retention
from curate.distill.evaluate.tokens import Integers
from curate.errors import InputError
from curate.ledger.names import EVALUATION_FOLDER, STAGES, TRACKING
from curate.ledger.run import open_decided
from curate.progress import Countdown, Log, Steps
from curate.recipe.recipe import Recipe

SAMPLE_BYTES = 5_000_000
HELDOUT = 60  # texts of a domain, at most
TRACKED_FROM = 250_000_000  # tokens of the input, about 1 GB, from which on rules alone take longer than tracking
OTHERWISE = ("lines", "purify", "distil")  # stages behind which documents that are kept have the text of the output

TRACKED = pa.schema([
    ("stage", pa.string()), ("documents_out", pa.int64()), ("tokens_out", pa.int64()), ("share", pa.float64()),
    ("sample_tokens", pa.int64()), ("bits_per_byte", pa.float64()),
    *((f"retained{end}", pa.float64()) for end in ("", "_low", "_high")), ("control_retained", pa.float64()),
    *((f"gain{end}", pa.float64()) for end in ("", "_low", "_high")),
    *((name, pa.float64()) for name in ("gap_closed", "gap_low", "gap_high")),
])  # fmt: skip


def check_heldout(recipe: Recipe) -> None:
    """Refuse held-out texts that cannot be read before the corpus is.

    Errors: InputError.
    """
    if recipe.evaluate is not None:
        read_heldout(recipe.evaluate, recipe.input.column, recipe.seed)


def is_tracked(recipe: Recipe, tokens: int) -> bool:
    """Whether a run over so many tokens measures quality after each stage: as its recipe says, else by the size."""
    section = recipe.evaluate
    return section is not None and (tokens >= TRACKED_FROM if section.track is None else section.track)


def track(
    recipe: Recipe, run: Path, decisions: str, stages: Sequence[Mapping[str, Any]], threads: int, log: Log
) -> bool:
    """Measure quality after each stage, unless it is known of these decisions; return whether it was measured.

    A run does not fail because too few held-out texts are left: it says so.
    """
    section = recipe.evaluate
    if section is None or not is_tracked(recipe, stages[0]["tokens_in"]) or not stages[-1]["documents_out"]:
        return False
    of = open_decided(run)
    small = section.model_copy(update={"most": min(section.most, HELDOUT), "ablate": False})
    digest = digest_of_evaluation(of, small, decisions)
    known = facts_of(run, TRACKING, decisions)
    if known is not None and known["digest"] == digest:
        return False
    remove_scratch(run)
    folder = run / EVALUATION_FOLDER / TRACKING
    with Steps(log, "tracking quality") as steps:
        steps("texts")
        try:
            prepared = prepare(of, small, {OURS: run}, SAMPLE_BYTES, folder)
        except InputError as error:
            log.say(f"quality is not tracked: {error}")
            return False
        left = {stage["stage"]: stage for stage in stages}
        arms = _arms(prepared.sample, prepared.outputs[OURS])
        chosen = with_controls(
            prepared.pool, prepared.sample.keys, prepared.arms.draws[FULL][0],
            {name: [places] for name, places in arms.items()}, small.draws, recipe.seed,
        )  # fmt: skip
        proxy = NgramProxy(small.order)
        measured = measure_arms(
            prepared.pool, chosen, prepared.heldout, prepared.vocabulary, proxy, folder, threads,
            Countdown(steps, sum(map(len, chosen.draws.values())), "models"),
        )  # fmt: skip
        found = retention(measured, chosen.controls, prepared.about, recipe.seed).to_pylist()
    rows = {row["arm"]: row for row in found if row["domain"] is None}
    table = [_row(left[stage], stages[0], rows[FULL if stage == STAGES[0] else stage]) for stage in (STAGES[0], *arms)]
    commit(run, TRACKING, {"tracking": pa.Table.from_pylist(table, TRACKED)}, _facts(prepared, digest, decisions))
    return True


def _arms(sample: Sample, ours: Output) -> dict[str, Integers]:
    """The documents that are left after each stage that drops some or cuts them."""
    measured = np.arange(len(sample.keys))
    written = measured.copy()
    written[ours.documents] = ours.texts
    arms: dict[str, Integers] = {}
    before = measured
    for stage in STAGES[1:]:
        left = (written if stage in OTHERWISE else measured)[sample.after(stage)]
        if len(left) and not np.array_equal(left, before):
            arms[stage] = before = left
    return arms


def _row(stage: Mapping[str, Any], first: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    names = [name for name in TRACKED.names if name in row]
    return {
        "stage": stage["stage"], "documents_out": stage["documents_out"], "tokens_out": stage["tokens_out"],
        "share": stage["tokens_out"] / max(1, first["tokens_in"]), "sample_tokens": row["tokens"],
        **{name: row[name] for name in names},
    } | ({"control_retained": None} if row["control"] is None else {})  # fmt: skip


def _facts(prepared: Prepared, digest: str, decisions: str) -> dict[str, Any]:
    return {
        "decisions": decisions, "digest": digest, "proxy": "ngram", "whole_input": prepared.sample.whole,
        "documents": len(prepared.sample.keys), "heldout": len(prepared.about.domains),
    }  # fmt: skip
