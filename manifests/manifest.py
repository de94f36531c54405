"""manifest.json: what a run took, decided and wrote, without clock or host."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

import curate
from curate.decide.counts import Counts
from curate.decide.plan import Plan
from curate.ledger.augmented import Augmented
from curate.ledger.ledger import KnownFile, Ledger
from curate.ledger.names import DATA
from curate.ledger.parts import Part
from curate.manifests import stage_facts
from curate.manifests.composition import columns_of_mixture, licenses, mixture, who_entry
from curate.manifests.schema.model import (
    MANIFEST_VERSION,
    BenchmarkEntry,
    Contents,
    EarlierRun,
    Edit,
    InputEntry,
    LanguageModelEntry,
    Manifest,
    RecipeEntry,
    ResolvedRule,
    Retention,
    SchemaField,
    Shard,
    Share,
    StageEntry,
    Tool,
    Totals,
)
from curate.maps.shards import added_columns, content_hashes, output_name, output_schema
from curate.recipe.recipe import Recipe
from curate.redaction import without_credentials
from curate.storage.files import sealed, write_json
from curate.who.rates import Who


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """A finished run, as its manifest needs it."""

    recipe: Recipe
    plan: Plan
    ledger: Ledger
    counts: Counts
    retention: Mapping[str, Any] | None  # the evaluation of these decisions
    augmented: Augmented | None  # what the third tier wrote
    who: Who | None = None


def build_manifest(result: RunResult) -> Contents:
    """All of a finished run that depends neither on when nor on where it ran."""
    recipe, plan, ledger, counts = result.recipe, result.plan, result.ledger, result.counts
    parts = ledger.of(DATA)
    tokens = output_name("n_tokens", plan.inputs)
    totals = _totals(counts)
    return Contents(
        name=recipe.name,
        tool=Tool(name="curate-lm", version=curate.__version__),
        recipe=RecipeEntry.model_validate(recipe.resolved()),
        recipe_digest=recipe.digest(),
        inputs=_inputs(plan, ledger, counts),
        signal_groups=dict(plan.groups),
        rules=_rules(plan),
        edits=[Edit(name=editor.name, bounds=dict(editor.bounds)) for editor in plan.reading.editors],
        against=_earlier_runs(plan),
        models=_language_models(plan),
        language_identification=stage_facts.language_identification(plan.groups),
        dedup=stage_facts.dedup(recipe),
        purify=stage_facts.purify(ledger),
        distil=stage_facts.distil(recipe, ledger),
        retention=None if result.retention is None else Retention.model_validate(result.retention),
        benchmarks=[BenchmarkEntry.model_validate(row) for row in counts.benchmarks],
        decontamination=stage_facts.decontamination(recipe, counts),
        stages=[StageEntry.model_validate(stage) for stage in counts.stages],
        scorecard=[dict(row) for row in counts.scorecard],
        who=None if result.who is None else who_entry(result.who),
        tokenizer=recipe.tokenizer,
        totals=totals,
        mixture={
            **{name: [Share.model_validate(row) for row in rows] for name, rows in counts.mixture.items()},
            **mixture(ledger.run, parts, columns_of_mixture(recipe.input, plan.inputs), tokens),
        },
        licenses=licenses(ledger.run, parts, recipe.input, plan.inputs, tokens),
        synthetic=stage_facts.synthetic(result.augmented, totals.tokens_out),
        schema=[schema_field(field) for field in output_schema(plan.inputs, added_columns(recipe))],
        shards=[_shard(part) for part in parts],
    )


def _inputs(plan: Plan, ledger: Ledger, counts: Counts) -> list[InputEntry]:
    contents = content_hashes(ledger.of("documents", plan.groups["documents"]))
    return [
        _input(file, counts.kept.get(file.file_no, (0, 0)), contents.get(file.file_no, "")) for file in ledger.files
    ]


def _input(file: KnownFile, kept: tuple[int, int], content: str) -> InputEntry:
    """An input file; `kept` are the documents and tokens of it that the output has."""
    fields: dict[str, object] = {
        "path": file.path,
        "bytes": file.size,
        "documents": file.rows,
        "documents_out": kept[0],
        "tokens_out": kept[1],
        **dict(file.added),
    }
    if file.bad_lines:
        fields["bad_lines"] = file.bad_lines
    fields |= {"error": file.error} if file.error else {"content_xxh3_128": content}
    return InputEntry.model_validate(fields)


def _rules(plan: Plan) -> list[ResolvedRule]:
    return [
        ResolvedRule.model_validate(
            {"set": rule.rule_set} | rule.rule.model_dump(mode="json", by_alias=True, exclude_none=True)
        )
        for rule in plan.rules
    ]


def _earlier_runs(plan: Plan) -> list[EarlierRun]:
    return [EarlierRun(name=run.name, manifest_sha256=run.manifest) for run in plan.earlier if run.accepted is None]


def _language_models(plan: Plan) -> list[LanguageModelEntry]:
    return [
        LanguageModelEntry(language=model.language, form=model.form, content_xxh3_128=model.content)
        for model in plan.reading.models
    ]


def _totals(counts: Counts) -> Totals:
    first, last = counts.stages[0], counts.stages[-1]
    return Totals(
        documents_in=first["documents_in"],
        tokens_in=first["tokens_in"],
        bytes_in=first["bytes_in"],
        documents_out=last["documents_out"],
        tokens_out=last["tokens_out"],
        bytes_out=last["bytes_out"],
    )


def _shard(part: Part) -> Shard:
    return Shard(path=part.path, documents=part.rows, tokens=part.tokens, bytes=part.bytes, sha256=part.sha256)


def schema_field(field: pa.Field) -> SchemaField:
    """A column of the output with its nested fields."""
    inner = [schema_field(field.type.field(k)) for k in range(field.type.num_fields)]
    kind = str(field.type)
    return SchemaField(name=field.name, type=kind, fields=inner) if inner else SchemaField(name=field.name, type=kind)


def write_manifest(run: Path, contents: Contents) -> None:
    """Commit the manifest of a run, without credentials, sealed and validated."""
    fields = contents.model_dump(mode="json", by_alias=True, exclude_unset=True)
    manifest = sealed(without_credentials(fields | {"manifest_version": MANIFEST_VERSION}))
    Manifest.model_validate_json(json.dumps(manifest))
    write_json(run / "manifest.json", manifest)
