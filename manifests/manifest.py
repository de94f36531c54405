"""manifest.json: what a run took, decided and wrote, without clock or host."""

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

import curate
from curate.earlier import Earlier
from curate.edits import Finder
from curate.filters.language_model import LanguageModel
from curate.ledger import Ledger
from curate.manifests.reading import MANIFEST_VERSION
from curate.recipe import Recipe
from curate.rules import ResolvedRule
from curate.shards import DATA, content_of, output_schema


def stage_counts(connection: duckdb.DuckDBPyConnection, stages: Sequence[str]) -> list[dict[str, Any]]:
    """Documents and tokens in and out of each stage and dropped by reason, from table `decisions`.

    Stage `lines` also cuts tokens out of documents that stay.
    """
    dropped: dict[str, dict[str, dict[str, int]]] = {stage: {} for stage in stages}
    [[documents, tokens, trimmed, cut]] = connection.execute(
        """SELECT count(*), coalesce(sum(n_tokens + n_tokens_cut), 0)::BIGINT, count_if(n_tokens_cut > 0),
            coalesce(sum(n_tokens_cut), 0)::BIGINT FROM decisions"""
    ).fetchall()
    for stage, reason, count, size in connection.execute(
        "SELECT stage, reason, count(*), sum(n_tokens)::BIGINT FROM decisions WHERE NOT kept "
        "GROUP BY ALL ORDER BY 3 DESC, 2"
    ).fetchall():
        dropped[stage][reason] = {"documents": count, "tokens": size}
    counts = []
    for stage in stages:
        gone = dropped[stage].values()
        entry = {"stage": stage, "documents_in": documents, "tokens_in": tokens}
        documents -= sum(reason["documents"] for reason in gone)
        tokens -= sum(reason["tokens"] for reason in gone)
        if stage == "lines" and trimmed:
            tokens -= cut
            entry["cut"] = {"documents": trimmed, "tokens": cut}
        counts.append(entry | {"documents_out": documents, "tokens_out": tokens, "dropped": dropped[stage]})
    return counts


def build_manifest(
    recipe: Recipe, ledger: Ledger, groups: Mapping[str, str], rules: Sequence[ResolvedRule],
    editors: Sequence[Finder], models: Sequence[LanguageModel], stages: Sequence[Mapping[str, Any]], inputs: pa.Schema,
    earlier: Sequence[Earlier], benchmarks: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    """Everything of a finished run that does not depend on when and where it ran."""
    contents = content_of(ledger.of("documents", groups["documents"]))
    names = ("path", "tokens", "bytes", "sha256")
    shards = [{"documents": part.rows} | {name: getattr(part, name) for name in names} for part in ledger.of(DATA)]
    return {
        "manifest_version": MANIFEST_VERSION,
        "name": recipe.name,
        "tool": {"name": "curate-lm", "version": curate.__version__},
        "recipe": recipe.resolved(),
        "recipe_digest": recipe.digest(),
        "inputs": [
            {"path": file.path, "bytes": file.size, "documents": file.rows}
            | dict(file.added)
            | ({"error": file.error} if file.error else {"content_xxh3_128": contents.get(file.file_no, "")})
            for file in ledger.files
        ],
        "signal_groups": dict(sorted(groups.items())),
        "rules": [
            {"set": found.rule_set} | found.rule.model_dump(mode="json", by_alias=True, exclude_none=True)
            for found in rules
        ],
        "edits": [{"name": editor.name, "bounds": dict(editor.bounds)} for editor in editors],
        "against": [{"name": run.name, "manifest_sha256": run.manifest} for run in earlier],
        "models": [
            {"language": model.language, "form": model.form, "content_xxh3_128": model.content} for model in models
        ],
        "benchmarks": [dict(one) for one in benchmarks],
        "stages": [dict(stage) for stage in stages],
        "tokenizer": recipe.tokenizer,
        "totals": {
            "documents_in": stages[0]["documents_in"],
            "tokens_in": stages[0]["tokens_in"],
            "documents_out": stages[-1]["documents_out"],
            "tokens_out": stages[-1]["tokens_out"],
        },
        "schema": [{"name": field.name, "type": str(field.type)} for field in output_schema(inputs)],
        "shards": shards,
    }
