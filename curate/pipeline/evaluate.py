"""`curate evaluate`: how much quality a run keeps, against all of its input and against random documents."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from curate.distill.evaluate.arms import OURS
from curate.distill.evaluate.heldout import leak_message
from curate.distill.evaluate.measure import Proxy, measure_arms, model_count
from curate.distill.evaluate.prepare import Prepared, digest_of_evaluation, prepare
from curate.distill.evaluate.proxy_ngram import NgramProxy
from curate.distill.evaluate.proxy_transformer import TransformerProxy, import_torch
from curate.distill.evaluate.results import commit, facts_of, index_evaluation, manifest_entry, remove_scratch, table_of
from curate.distill.evaluate.retention import (
    FULL,
    HeldoutDomains,
    ModelBits,
    bits_per_byte,
    retention,
    retention_table,
)
from curate.distill.evaluate.tracking import check_heldout
from curate.engine.base import Engine
from curate.errors import Interrupted, RecipeError, RunError, disk_error, is_stop
from curate.ledger.ledger import locked
from curate.ledger.names import DATA, DECISIONS, EVALUATION_FOLDER, INDEX, RETENTION
from curate.ledger.run import Decided, open_decided
from curate.ledger.runs import no_run
from curate.ledger.superseded import supersede_report
from curate.manifests.manifest import write_manifest
from curate.pipeline.ablate import ablated, remove_arms
from curate.pipeline.run import renew
from curate.progress import Countdown, Log, Steps, open_log
from curate.recipe.evaluate import Evaluate
from curate.recipe.load import parse_recipe
from curate.recipe.recipe import Recipe

EVALUATION = pa.schema([
    ("arm", pa.string()), ("proxy", pa.string()), ("budget", pa.string()), ("draw", pa.int32()),
    ("domain", pa.string()), ("documents", pa.int64()), ("tokens", pa.int64()), ("bits_per_byte", pa.float64()),
])  # fmt: skip


def evaluate(
    run: Path, changes: Mapping[str, Any], engine: Engine, threads: int, quiet: bool = False
) -> dict[str, Any]:
    """Evaluate a finished run by the section `evaluate` of its recipe, with changes of its fields.

    What was measured before is not measured again. Tables, index and manifest of the run tell what came of it.

    Errors: any CurateError.
    """
    try:
        return _evaluated(run, changes, engine, threads, quiet)
    except (KeyboardInterrupt, RuntimeError, duckdb.InterruptException) as error:
        if not is_stop(error):
            raise
        raise Interrupted("stopped; what was measured is kept: run the same command to go on") from error
    except OSError as error:
        raise disk_error(error, str(run)) from error


def _evaluated(run: Path, changes: Mapping[str, Any], engine: Engine, threads: int, quiet: bool) -> dict[str, Any]:
    if not (run / "ledger").is_dir():
        raise no_run(run, "ledger")
    with locked(run):
        remove_scratch(run)
        of = _opened(run, changes)
        section = of.recipe.evaluate
        assert section is not None
        if section.proxy == "transformer":
            import_torch()
        with open_log(run, quiet) as log:
            [decisions] = {part.digest for part in of.ledger.of(DECISIONS)}
            digest = digest_of_evaluation(of, section, decisions)
            facts = facts_of(run, RETENTION, decisions)
            if facts is None or facts["digest"] != digest:
                facts = _carry_out(of, section, engine, threads, log) | {"decisions": decisions, "digest": digest}
                tables = {name: facts.pop(name) for name in ("evaluation", "retention")}
                commit(run, RETENTION, tables, facts)
                log.event("evaluated", digest=digest)
            index_evaluation(run, INDEX, decisions)
            _tell_manifest(run, decisions)
            renew(run, log)
            remove_arms(run)
    return {"run": str(run), **facts, "arms": table_of(run, "retention").to_pylist()}


def _opened(run: Path, changes: Mapping[str, Any]) -> Decided:
    """A finished run with the section that it is evaluated by."""
    of = open_decided(run)
    if not (run / "manifest.json").is_file():
        raise RunError(f"{run}: not finished; run it again, and then evaluate it")
    if not any(part.rows for part in of.ledger.of(DATA)):
        raise RunError(f"{run}: it keeps no document, so there is nothing to evaluate")
    fields = of.recipe.model_dump(mode="json", by_alias=True)
    section = {**(fields["evaluate"] or {}), **changes}
    if "heldout" not in section:
        raise RecipeError(f"{run}: its recipe has no evaluate.heldout; name held-out texts with --heldout FILE")
    if "heldout" not in changes:
        section["heldout"] = [of.located(path) for path in section["heldout"]]
    recipe = parse_recipe(fields | {"evaluate": section}, "evaluate")
    check_heldout(recipe)
    return replace(of, recipe=recipe.model_copy(update={"reference": [of.located(p) for p in recipe.reference]}))


def _carry_out(of: Decided, section: Evaluate, engine: Engine, threads: int, log: Log) -> dict[str, Any]:
    """The tables `evaluation` and `retention`, and what is to be known of them."""
    outputs = {OURS: of.run}
    if section.ablate:
        outputs |= ablated(of, engine, threads, log.say)
    with Steps(log, "evaluating") as steps:
        steps("texts")
        prepared = prepare(of, section, outputs, section.sample, of.run / EVALUATION_FOLDER)
        for name, draws in prepared.arms.draws.items():
            if not all(prepared.corpus.pool.n_tokens[draw].sum() for draw in draws):
                raise RunError(f"{of.run}: arm {name} has no tokens to train on: too little is kept to be evaluated")
        if line := leak_message(prepared.heldout):
            log.say(line)
        found: list[dict[str, Any]] = []
        tables = []
        asked = proxies(section)
        total = sum(model_count(proxy, len(draws)) for _, _, proxy in asked for draws in prepared.arms.draws.values())
        tell = Countdown(steps, total, "models")
        for name, budget, proxy in asked:
            measured = measure_arms(prepared.corpus, prepared.arms, proxy, of.run / EVALUATION_FOLDER, threads, tell)
            found += _by_domain(measured, prepared.domains, name, budget)
            rows = retention(measured, prepared.arms.controls, prepared.domains, of.recipe.seed)
            tables.append(retention_table(rows))
    return {
        "evaluation": pa.Table.from_pylist(found, EVALUATION),
        "retention": pa.concat_tables(tables),
        **_facts(prepared, section, of.recipe),
    }


def proxies(section: Evaluate) -> list[tuple[str, str, Proxy]]:
    """Name, budget and settings of the models: a transformer has two budgets, n-grams read each text once."""
    if section.proxy == "ngram":
        return [("ngram", "epochs", NgramProxy(section.order))]
    fields = section.transformer.model_dump()
    return [("transformer", budget, TransformerProxy(**fields, budget=budget)) for budget in ("epochs", "compute")]


def _by_domain(measured: Sequence[ModelBits], about: HeldoutDomains, proxy: str, budget: str) -> list[dict[str, Any]]:
    """Rows of EVALUATION."""
    return [
        {"arm": one.arm, "proxy": proxy, "budget": budget, "draw": one.draw, "domain": domain,
         "documents": one.documents, "tokens": one.tokens, "bits_per_byte": value}
        for one in measured for domain, value in bits_per_byte(one.bits, about).items()
    ]  # fmt: skip


def _facts(prepared: Prepared, section: Evaluate, recipe: Recipe) -> dict[str, Any]:
    """What was measured by what, on what."""
    full = prepared.arms.draws[FULL][0]
    tokens = int(prepared.corpus.pool.n_tokens[full].sum())
    size = (
        {"order": section.order} if section.proxy == "ngram"
        else {"parameters": proxies(section)[0][2].parameters(prepared.corpus.vocabulary)}  # type: ignore[union-attr]
    )  # fmt: skip
    return {
        "proxy": section.proxy, **size,
        "vocabulary": prepared.corpus.vocabulary,
        "seed": recipe.seed,
        "draws": section.draws,
        "documents": len(full), "tokens": tokens, "whole_input": prepared.sample.is_complete,
        "heldout": {
            "documents": len(prepared.domains.domains), "bytes": int(prepared.domains.n_bytes.sum()),
            "domains": sorted(set(prepared.domains.domains)), "left_out_as_in_corpus": prepared.heldout.in_corpus,
            "left_out_as_in_reference": prepared.heldout.in_reference,
        },
    }  # fmt: skip


def _tell_manifest(run: Path, decisions: str) -> None:
    manifest = json.loads((run / "manifest.json").read_text("utf-8"))
    entry = manifest_entry(run, decisions)
    if manifest.get("retention") != entry:
        supersede_report(run)
        write_manifest(run, manifest | {"retention": entry})
