"""`curate evaluate`: how much quality a run keeps, relative to all of its input and to random documents."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NotRequired, TypedDict, cast

import duckdb
import pyarrow as pa

from curate.distill.evaluate.agreement import Agreement, agreement
from curate.distill.evaluate.arms import OURS
from curate.distill.evaluate.heldout import leak_message
from curate.distill.evaluate.measure import Proxy, measure_arms, model_count
from curate.distill.evaluate.prepare import Prepared, digest_of_evaluation, prepare
from curate.distill.evaluate.proxy_ngram import NgramProxy
from curate.distill.evaluate.proxy_transformer import SIZES, TransformerProxy, import_torch
from curate.distill.evaluate.results import commit, facts_of, index_evaluation, manifest_entry, remove_scratch, table_of
from curate.distill.evaluate.retention import (
    FULL,
    ArmRetention,
    HeldoutDomains,
    ModelBits,
    bits_per_byte,
    retention,
    retention_table,
)
from curate.distill.evaluate.tracking import check_heldout
from curate.engine.base import Engine
from curate.errors import Interrupted, RecipeError, RunError, disk_error, is_interrupt
from curate.ledger.ledger import locked
from curate.ledger.names import DATA, DECISIONS, EVALUATION_FOLDER, INDEX, RETENTION
from curate.ledger.run import FinishedRun, open_finished
from curate.ledger.runs import not_a_run
from curate.ledger.superseded import supersede_report
from curate.manifests.manifest import write_manifest
from curate.manifests.schema.model import Manifest
from curate.pipeline.ablate import remove_arms, run_arms
from curate.pipeline.run import renew
from curate.progress import Countdown, Log, Steps, open_log
from curate.recipe.evaluate import NGRAM, Evaluate
from curate.recipe.load import parse_recipe
from curate.recipe.recipe import Recipe

EVALUATION = pa.schema(
    [(name, pa.string()) for name in ("arm", "proxy", "budget")]
    + [("draw", pa.int32()), ("domain", pa.string())]
    + [("documents", pa.int64()), ("tokens", pa.int64()), ("bits_per_byte", pa.float64())]
)


class HeldoutFacts(TypedDict):
    """The held-out texts of an evaluation."""

    documents: int
    bytes: int
    domains: list[str]
    left_out_as_in_corpus: int
    left_out_as_in_reference: int


class MeasuredFacts(TypedDict):
    """What an evaluation measured, with which models."""

    proxy: str  # names of models, with commas
    models: list[str]  # the same in words
    agreement: list[Agreement]  # of each two models
    vocabulary: int
    seed: int
    draws: int
    documents: int  # of the full arm
    tokens: int
    whole_input: bool
    heldout: HeldoutFacts


class EvaluationFacts(MeasuredFacts):
    """The JSON file of an evaluation, without its seal."""

    decisions: str  # digest of the decisions that it evaluates
    digest: str
    tables: NotRequired[dict[str, str]]  # hashes by name, once committed


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationResult:
    """The result of an evaluation: each arm on each domain, and what that was measured with."""

    run: str
    facts: EvaluationFacts
    arms: Sequence[ArmRetention]

    def to_json(self) -> dict[str, object]:
        """The fields as `--json` prints them."""
        return {"run": self.run, **self.facts, "arms": [asdict(arm) for arm in self.arms]}


def evaluate(
    run: Path, changes: Mapping[str, object], engine: Engine, threads: int, quiet: bool = False
) -> EvaluationResult:
    """Evaluate a finished run by section `evaluate` of its recipe, with changes to its fields.

    Earlier measurements are reused. The results are committed to the run's tables, index and manifest.

    Errors: any CurateError.
    """
    try:
        return _evaluate(run, changes, engine, threads, quiet)
    except (KeyboardInterrupt, RuntimeError, duckdb.InterruptException) as error:
        if not is_interrupt(error):
            raise
        raise Interrupted("stopped; what was measured is kept: run the same command to go on") from error
    except OSError as error:
        raise disk_error(error, str(run)) from error


def _evaluate(run: Path, changes: Mapping[str, object], engine: Engine, threads: int, quiet: bool) -> EvaluationResult:
    if not (run / "ledger").is_dir():
        raise not_a_run(run, "ledger")
    with locked(run):
        remove_scratch(run)
        decided = _open(run, changes)
        section = decided.recipe.evaluate
        assert section is not None
        if section.proxy != [NGRAM]:
            import_torch()
        with open_log(run, quiet) as log:
            [decisions] = {part.digest for part in decided.ledger.of(DECISIONS)}
            digest = digest_of_evaluation(decided, section, decisions)
            facts = cast(EvaluationFacts | None, facts_of(run, RETENTION, decisions))
            if facts is None or facts["digest"] != digest:
                tables, measured = _measure(decided, section, engine, threads, log)
                facts = cast(EvaluationFacts, {**measured, "decisions": decisions, "digest": digest})
                commit(run, RETENTION, tables, facts)
                log.event("evaluated", digest=digest)
            index_evaluation(run, INDEX, decisions)
            _update_manifest(run, decisions)
            renew(run, log)
            remove_arms(run)
    arms = [ArmRetention(**row) for row in table_of(run, "retention").to_pylist()]
    return EvaluationResult(run=str(run), facts=facts, arms=arms)


def _open(run: Path, changes: Mapping[str, object]) -> FinishedRun:
    """Open a finished run, with the changes applied to section `evaluate` of its recipe."""
    decided = open_finished(run)
    if not (run / "manifest.json").is_file():
        raise RunError(f"{run}: not finished; run it again, and then evaluate it")
    if not any(part.rows for part in decided.ledger.of(DATA)):
        raise RunError(f"{run}: it keeps no document, so there is nothing to evaluate")
    fields = decided.recipe.model_dump(mode="json", by_alias=True)
    section = {**(fields["evaluate"] or {}), **changes}
    if "heldout" not in section:
        raise RecipeError(f"{run}: its recipe has no evaluate.heldout; name held-out texts with --heldout FILE")
    if "heldout" not in changes:
        section["heldout"] = [decided.located(path) for path in section["heldout"]]
    recipe = parse_recipe(fields | {"evaluate": section}, "evaluate")
    check_heldout(recipe)
    return replace(
        decided, recipe=recipe.model_copy(update={"reference": [decided.located(p) for p in recipe.reference]})
    )


def _measure(
    decided: FinishedRun, section: Evaluate, engine: Engine, threads: int, log: Log
) -> tuple[dict[str, pa.Table], MeasuredFacts]:
    """Train and score the models of all arms; return the tables `evaluation` and `retention`, and the facts."""
    folder = decided.run / EVALUATION_FOLDER
    outputs = {OURS: decided.run}
    if section.ablate:
        outputs |= run_arms(decided, engine, threads, log.say)
    with Steps(log, "evaluating") as steps:
        steps("texts")
        prepared = prepare(decided, section, outputs, section.sample, folder)
        for name, draws in prepared.arms.draws.items():
            if not all(prepared.corpus.pool.n_tokens[draw].sum() for draw in draws):
                raise RunError(
                    f"{decided.run}: arm {name} has no tokens to train on: too little is kept to be evaluated"
                )
        if line := leak_message(prepared.heldout):
            log.say(line)
        models: list[ModelBits] = []
        arms: list[ArmRetention] = []
        counts = [model_count(p, len(draws)) for p in proxies(section) for draws in prepared.arms.draws.values()]
        progress = Countdown(steps, sum(counts), "models")
        for proxy in proxies(section):
            measured = measure_arms(prepared.corpus, prepared.arms, proxy, folder, threads, progress)
            models += measured
            arms += retention(measured, prepared.arms.controls, prepared.domains, decided.recipe.seed)
    evaluation = pa.Table.from_pylist(list(_model_rows(models, prepared.domains)), EVALUATION)
    return {"evaluation": evaluation, "retention": retention_table(arms)}, _facts(
        prepared, models, section, decided.recipe
    )


def proxies(section: Evaluate) -> list[Proxy]:
    """The settings of the models: a decoder has two budgets, n-grams read each text once."""
    settings: list[Proxy] = []
    for name in section.proxy:
        if name == NGRAM:
            settings.append(NgramProxy(section.order))
        else:
            fields = section.transformer.model_dump() | SIZES.get(name, {})
            settings += [TransformerProxy(name=name, **fields, budget=budget) for budget in ("epochs", "compute")]
    return settings


def _model_rows(models: Sequence[ModelBits], heldout: HeldoutDomains) -> Iterator[Mapping[str, object]]:
    """Rows of EVALUATION: each model on each domain."""
    for model in models:
        for domain, value in bits_per_byte(model.bits, heldout).items():
            yield {
                "arm": model.arm,
                "proxy": model.proxy,
                "budget": model.budget,
                "draw": model.draw,
                "domain": domain,
                "documents": model.documents,
                "tokens": model.tokens,
                "bits_per_byte": value,
            }


def _facts(prepared: Prepared, models: Sequence[ModelBits], section: Evaluate, recipe: Recipe) -> MeasuredFacts:
    """What was measured, with which models, and how far these agree."""
    full = prepared.arms.draws[FULL][0]
    domains = prepared.domains
    heldout: HeldoutFacts = {
        "documents": len(domains.domains),
        "bytes": int(domains.n_bytes.sum()),
        "domains": sorted(set(domains.domains)),
        "left_out_as_in_corpus": prepared.heldout.in_corpus,
        "left_out_as_in_reference": prepared.heldout.in_reference,
    }
    vocabulary = prepared.corpus.vocabulary
    settings = proxies(section)
    return {
        "proxy": ", ".join(section.proxy),
        "models": list(dict.fromkeys(proxy.about(vocabulary) for proxy in settings)),
        "agreement": agreement(models, prepared.arms.controls, prepared.domains, recipe.seed),
        "vocabulary": vocabulary,
        "seed": recipe.seed,
        "draws": section.draws,
        "documents": len(full),
        "tokens": int(prepared.corpus.pool.n_tokens[full].sum()),
        "whole_input": prepared.sample.is_complete,
        "heldout": heldout,
    }


def _update_manifest(run: Path, decisions: str) -> None:
    """Put the results into the manifest, if they are new there."""
    manifest = json.loads((run / "manifest.json").read_text("utf-8"))
    entry = manifest_entry(run, decisions)
    if manifest.get("retention") != entry:
        supersede_report(run)
        write_manifest(run, Manifest.model_validate(manifest | {"retention": entry}))
