"""manifest.json: what it tells of a run, its types, and its schema."""

import json
import random

import jsonschema
import pyarrow as pa
import pytest
from pydantic import ValidationError
from support.commands import carry_out, command
from support.corpora import PROSE, write_shard
from support.paths import ROOT
from support.recipes import write_recipe
from support.runs import manifest_json

from curate.errors import RecipeError
from curate.filters.signals.hashes import choose_bands
from curate.ledger.run import connect
from curate.manifests.composition import MOST
from curate.manifests.schema.model import Manifest, manifest_schema
from curate.recipe import recipe as recipes
from curate.recipe.load import parse_recipe
from curate.storage.files import is_sealed

TEXTS = [f"{PROSE}This is number {k} of the texts." for k in range(6)]
PUBLISHED = ROOT / "docs" / "manifest.schema.json"


def run_over(folder, fields=None, license=None, **columns):
    """The manifest of a run over six documents with these columns."""
    write_shard(folder / "in" / "a.parquet", TEXTS, **{name: pa.array(values) for name, values in columns.items()})
    section = {"paths": [str(folder / "in")], **({"license": license} if license else {})}
    recipe, run = write_recipe(folder, folder / "in", input=section | (fields or {}))
    carry_out(recipe)
    return manifest_json(run)


def told(rows, *names):
    return {tuple(row[name] for name in names): row["documents"] for row in rows}


def test_the_published_schema_is_that_of_the_models_and_what_the_command_prints():
    assert json.loads(PUBLISHED.read_text()) == manifest_schema()
    assert json.loads(command("schema", "--manifest").stdout) == manifest_schema()


def test_the_schema_is_one_itself_and_accepts_the_manifest_of_every_kind_of_run(
    demo, purified, distilled, selected, tmp_path
):
    jsonschema.Draft202012Validator.check_schema(manifest_schema())
    (tmp_path / "plain").mkdir()
    plain = run_over(tmp_path / "plain")
    found = [plain, *map(manifest_json, (demo, purified[1], distilled[1], selected[1]))]
    for manifest in found:
        jsonschema.validate(manifest, manifest_schema())
    assert {name for one in found for name in one if one[name] is not None} == {
        field.alias or name for name, field in Manifest.model_fields.items() if name != "decontamination"
    }


def test_the_schema_and_the_models_refuse_what_is_of_another_type_or_not_known(demo):
    manifest = manifest_json(demo)
    for wrong in (
        {"totals": {"documents_in": "20"}}, {"shards": {}}, {"more": 1}, {"inputs": [{"path": "a"}]},
        {"seal": "0"}, {"licenses": [{"source": None, "license": None, "documents": 1, "tokens": 1}]},
    ):  # fmt: skip
        assert not jsonschema.Draft202012Validator(manifest_schema()).is_valid(manifest | wrong)
        with pytest.raises(ValidationError):
            Manifest.model_validate(manifest | wrong)


def test_the_mixture_is_that_of_the_output(demo, distilled):
    for run in (demo, distilled[1]):
        manifest = manifest_json(run)
        with connect(run) as connection:
            for name in manifest["mixture"]:
                query = f"SELECT {name}, count(*), sum(n_tokens)::BIGINT FROM corpus WHERE kept GROUP BY 1"
                wanted = {tuple(row) for row in connection.execute(query).fetchall()}
                found = manifest["mixture"][name]
                assert {(row["value"], row["documents"], row["tokens"]) for row in found} == wanted
                assert [row["tokens"] for row in found] == sorted((row["tokens"] for row in found), reverse=True)
    assert set(manifest_json(demo)["mixture"]) == {"input.source", "language"}
    assert {"input.source", "domain"} <= set(manifest_json(distilled[1])["mixture"])


def test_inputs_tell_how_much_of_each_is_kept(demo):
    manifest = manifest_json(demo)
    with connect(demo) as connection:
        query = "SELECT file, count(*), sum(n_tokens)::BIGINT FROM kept GROUP BY 1"
        wanted = {file: (documents, tokens) for file, documents, tokens in connection.execute(query).fetchall()}
    assert {file["path"]: (file["documents_out"], file["tokens_out"]) for file in manifest["inputs"]} == wanted


def test_an_input_that_nothing_is_kept_of_is_told_with_zeros(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [PROSE])
    write_shard(tmp_path / "in" / "b.parquet", ["", ""])
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    first, second = manifest_json(run)["inputs"]
    assert (first["documents"], first["documents_out"], second["documents"]) == (1, 1, 2)
    assert (second["documents_out"], second["tokens_out"]) == (0, 0)
    assert len(first["content_xxh3_128"]) == len(second["content_xxh3_128"]) == 32
    assert first["content_xxh3_128"] != second["content_xxh3_128"]
    assert "error" not in first


def test_a_column_with_odd_names_values_and_types_is_counted(tmp_path):
    odd = "no. of | column"
    manifest = run_over(
        tmp_path, {"strata": [odd, "kind", "when"]}, **{odd: ["a|b", "a|b", "\n", None, "", "🦊"]},
        kind=pa.array([1, 1, 1, 2, 2, None]), when=pa.array([["x"]] * 6),
    )  # fmt: skip
    assert told(manifest["mixture"][f"input.{odd}"], "value") == {
        ("a|b",): 2, ("\n",): 1, (None,): 1, ("",): 1, ("🦊",): 1
    }  # fmt: skip
    assert told(manifest["mixture"]["input.kind"], "value") == {("1",): 3, ("2",): 2, (None,): 1}
    assert "input.when" not in manifest["mixture"]  # a list is no value


def test_a_column_with_too_many_values_is_no_mixture(tmp_path):
    texts = [f"{PROSE} {k}" for k in range(MOST + 1)]
    sources = [f"https://example.org/{k}" for k in range(len(texts))]
    write_shard(tmp_path / "in" / "a.parquet", texts, source=sources, license=["MIT"] * len(texts))
    recipe, run = write_recipe(tmp_path, tmp_path / "in", dedup={"exact": False})
    carry_out(recipe)
    assert manifest_json(run)["mixture"] == {}
    assert told(manifest_json(run)["licenses"], "source", "license") == {(None, "MIT"): len(texts)}
    carry_out(recipe, "input.license=source")
    assert told(manifest_json(run)["licenses"], "source", "license") == {(None, "various"): len(texts)}


def test_a_licence_is_unknown_where_nothing_says_it(tmp_path):
    manifest = run_over(tmp_path, source=["a", "a", "b", "b", "b", None])
    assert told(manifest["licenses"], "source", "license") == {
        ("a", "unknown"): 2, ("b", "unknown"): 3, (None, "unknown"): 1
    }  # fmt: skip


def test_licences_are_those_of_the_column_license(tmp_path):
    manifest = run_over(tmp_path, license=None, **{"source": ["a"] * 6})
    assert told(manifest["licenses"], "license") == {("unknown",): 6}
    write_shard(tmp_path / "in" / "a.parquet", TEXTS, license=["MIT", "MIT", "CC0-1.0", None, "", " "])
    carry_out(tmp_path / "recipe.yaml")
    assert told(manifest_json(tmp_path / "run")["licenses"], "source", "license") == {
        (None, "MIT"): 2, (None, "CC0-1.0"): 1, (None, "unknown"): 3
    }  # fmt: skip


def test_a_recipe_names_another_column_of_licences(tmp_path):
    manifest = run_over(tmp_path, license="rights", rights=["MIT"] * 5 + [None], **{"source": ["a"] * 6})
    assert told(manifest["licenses"], "source", "license") == {("a", "MIT"): 5, ("a", "unknown"): 1}


def test_a_recipe_states_licences_by_source(tmp_path):
    manifest = run_over(
        tmp_path, license={"books": "CC0-1.0", "web": "ODC-By"}, source=["books"] * 4 + ["web", "forum"]
    )
    assert told(manifest["licenses"], "source", "license") == {
        ("books", "CC0-1.0"): 4, ("web", "ODC-By"): 1, ("forum", "unknown"): 1
    }  # fmt: skip


def test_licences_of_entries_of_the_input_are_those_of_their_documents(tmp_path):
    write_shard(tmp_path / "a.parquet", TEXTS[:4])
    write_shard(tmp_path / "b.parquet", TEXTS[4:])
    paths = [{"paths": [str(tmp_path / "a.parquet")], "source": "books", "license": "CC0"}, str(tmp_path / "b.parquet")]
    recipe, run = write_recipe(tmp_path, "", input={"paths": paths})
    carry_out(recipe)
    assert told(manifest_json(run)["licenses"], "source", "license") == {("books", "CC0"): 4, (None, "unknown"): 2}


@pytest.mark.parametrize(
    ("license", "error"),
    [
        ("rigths", "input.license: the input has no column 'rigths'; did you mean 'rights'?"),
        ({"a": "MIT"}, "input.license: the input has no column 'source', by whose values it goes"),
        ("many", "input.license: column 'many' holds list<element: string>; a column of text is needed"),
    ],
)
def test_a_licence_that_cannot_be_read_is_refused_before_any_document_is(tmp_path, license, error):
    with pytest.raises(RecipeError) as refused:
        run_over(tmp_path, license=license, rights=["MIT"] * 6, many=[["MIT"]] * 6)
    assert str(refused.value).startswith(error)
    assert not (tmp_path / "run" / "ledger" / "signals").exists()


def test_stating_licences_changes_no_verdict_and_reads_nothing_again(tmp_path):
    run_over(tmp_path, source=["a"] * 6)
    path, run = tmp_path / "recipe.yaml", tmp_path / "run"
    before = {file: file.stat().st_mtime_ns for file in sorted((run / "data").iterdir())}
    digest = manifest_json(run)["recipe_digest"]
    carry_out(path, "input.license={a: MIT}")
    assert told(manifest_json(run)["licenses"], "license") == {("MIT",): 6}
    assert {file: file.stat().st_mtime_ns for file in sorted((run / "data").iterdir())} == before
    assert manifest_json(run)["recipe_digest"] == digest


def test_near_duplicates_are_told_with_bands_and_seed(demo):
    near = manifest_json(demo)["dedup"]["near"]
    bands = choose_bands(near["threshold"], near["permutations"])
    assert (near["bands"], near["rows"]) == (bands.count, bands.rows) == (18, 7)
    assert (near["algorithm"], near["ngram"], near["seed"]) == ("minhash", 5, 1)


def test_decontamination_is_told_with_what_it_found(tmp_path):
    write_shard(
        tmp_path / "sets" / "a.parquet", [TEXTS[0], "eleven other words which no document has at all, not even one"]
    )
    write_shard(
        tmp_path / "in" / "a.parquet", [f"{TEXTS[0]} And more.", "Other words: " + "fox and hen, hen and fox. " * 30]
    )
    tier1 = {"decontaminate": {"against": [str(tmp_path / "sets")]}}
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1=tier1)
    carry_out(recipe)
    assert manifest_json(run)["decontamination"] == {
        "ngram": 13, "min_words": 8, "action": "drop", "columns": None, "benchmarks": 1, "items": 2, "items_hit": 1,
        "documents_hit": 1, "documents_dropped": 1,
    }  # fmt: skip


def test_a_nested_column_is_told_with_what_is_inside(tmp_path):
    manifest = run_over(tmp_path, talk=[[{"role": "user", "content": "x"}]] * 6)
    [column] = [column for column in manifest["schema"] if column["name"] == "talk"]
    assert column["type"].startswith("list<")
    assert [part["name"] for part in column["fields"][0]["fields"]] == ["role", "content"]


def test_the_manifest_of_an_evaluated_run_stays_sealed_and_names_its_tables_by_hash(selected):
    run = selected[1]
    assert is_sealed(run / "manifest.json")
    assert set(manifest_json(run)["retention"]["evaluation"]["tables"]) == {"evaluation", "retention"}


@pytest.mark.slow  # test_same_bytes.py compares manifests too
def test_two_workers_and_one_write_the_same_manifest(tmp_path):
    for k in range(4):
        sources = ["a", "b", None] * 2
        texts = [" ".join(random.Random(6 * k + n).sample(PROSE.split(), 40)) for n in range(6)]
        write_shard(tmp_path / "in" / f"{k}.parquet", texts, source=sources)
    tier1 = {"language": {"keep": ["en"]}}
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1=tier1, dedup={"near": {}}, shard_size=2000)
    carry_out(recipe)
    first = (run / "manifest.json").read_bytes()
    done = command("run", recipe, "--workers", 2, "--set", f"output={tmp_path / 'two'}", "--quiet")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "two" / "manifest.json").read_bytes() == first
    assert len(manifest_json(run)["shards"]) > 2


def test_a_field_without_a_say_in_verdicts_is_left_out_of_the_digest():
    fields = {"name": "a", "input": {"paths": ["x"]}}
    plain = parse_recipe(fields, "a.yaml")
    licensed = parse_recipe({**fields, "input": {"paths": ["x"], "license": {"a": "MIT"}}}, "a.yaml")
    assert plain.digest() == licensed.digest()
    assert recipes.changed_fields(plain, licensed) == {}
    assert plain.resolved() != licensed.resolved()
