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
from curate.ledger.ledger import Ledger
from curate.ledger.models import BUDGET, PURIFY, models_in_force
from curate.ledger.names import DATA
from curate.manifests.composition import columns_of_mixture, licenses, mixture
from curate.manifests.schema.model import MANIFEST_VERSION, Manifest
from curate.manifests.stage_facts import decontamination, dedup, distil, language_identification, purify, synthetic
from curate.maps.shards import content_of, our_columns, our_name, output_schema
from curate.recipe.recipe import Recipe
from curate.redaction import without_credentials
from curate.storage.files import sealed, write_json


@dataclass(frozen=True)
class RunResult:
    """A finished run: all that its manifest tells of."""

    recipe: Recipe
    plan: Plan
    ledger: Ledger
    counts: Counts
    retention: Mapping[str, Any] | None  # what an evaluation of these decisions found
    augmented: Augmented | None  # what the third tier has written


def build_manifest(result: RunResult) -> dict[str, Any]:
    """Everything of a finished run that does not depend on when and where it ran."""
    recipe, plan, ledger, counts = result.recipe, result.plan, result.ledger, result.counts
    inputs, groups = plan.inputs, plan.groups
    contents = content_of(ledger.of("documents", groups["documents"]))
    parts = ledger.of(DATA)
    tokens = our_name("n_tokens", inputs)
    names = ("path", "tokens", "bytes", "sha256")
    shards = [{"documents": part.rows} | {name: getattr(part, name) for name in names} for part in parts]
    return {
        "manifest_version": MANIFEST_VERSION,
        "name": recipe.name,
        "tool": {"name": "curate-lm", "version": curate.__version__},
        "recipe": recipe.resolved(),
        "recipe_digest": recipe.digest(),
        "inputs": [
            {"path": file.path, "bytes": file.size, "documents": file.rows}
            | dict(zip(("documents_out", "tokens_out"), counts.kept.get(file.file_no, (0, 0)), strict=True))
            | dict(file.added)
            | ({"bad_lines": file.bad_lines} if file.bad_lines else {})
            | ({"error": file.error} if file.error else {"content_xxh3_128": contents.get(file.file_no, "")})
            for file in ledger.files
        ],
        "signal_groups": dict(sorted(groups.items())),
        "rules": [
            {"set": found.rule_set} | found.rule.model_dump(mode="json", by_alias=True, exclude_none=True)
            for found in plan.rules
        ],
        "edits": [{"name": editor.name, "bounds": dict(editor.bounds)} for editor in plan.reading.editors],
        "against": [
            {"name": run.name, "manifest_sha256": run.manifest} for run in plan.earlier if run.accepted is None
        ],
        "models": [
            {"language": model.language, "form": model.form, "content_xxh3_128": model.content}
            for model in plan.reading.models
        ],
        "language_identification": language_identification(groups),
        "dedup": dedup(recipe),
        "purify": purify(ledger, models_in_force(PURIFY, ledger.run, ledger.parts)),
        "distil": distil(ledger, models_in_force(BUDGET, ledger.run, ledger.parts)),
        "retention": result.retention,
        "benchmarks": [dict(one) for one in counts.benchmarks],
        "decontamination": decontamination(recipe, counts),
        "stages": [dict(stage) for stage in counts.stages],
        "scorecard": [dict(signal) for signal in counts.scorecard],
        "tokenizer": recipe.tokenizer,
        "totals": {
            "documents_in": counts.stages[0]["documents_in"],
            "tokens_in": counts.stages[0]["tokens_in"],
            "documents_out": counts.stages[-1]["documents_out"],
            "tokens_out": counts.stages[-1]["tokens_out"],
        },
        "mixture": {
            **{name: [dict(row) for row in rows] for name, rows in counts.mixture.items()},
            **mixture(ledger.run, parts, columns_of_mixture(recipe.input, inputs), tokens),
        },
        "licenses": licenses(ledger.run, parts, recipe.input, inputs, tokens),
        "synthetic": synthetic(result.augmented, counts.stages[-1]["tokens_out"]),
        "schema": [described_column(field) for field in output_schema(inputs, our_columns(recipe))],
        "shards": shards,
    }


def described_column(field: pa.Field) -> dict[str, Any]:
    """A column of the output, with what it is nested of."""
    inside = [described_column(field.type.field(k)) for k in range(field.type.num_fields)]
    return {"name": field.name, "type": str(field.type)} | ({"fields": inside} if inside else {})


def write_manifest(run: Path, fields: Mapping[str, Any]) -> None:
    """Commit the manifest of a run, without credentials, checked and sealed."""
    manifest = sealed(without_credentials(fields))
    Manifest.model_validate_json(json.dumps(manifest))
    write_json(run / "manifest.json", manifest)
