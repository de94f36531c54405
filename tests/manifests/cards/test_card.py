"""The card for the Hub, Croissant and OpenLineage: read by the real libraries that they are made for."""

import datetime
import json
import re
import shutil
import uuid

import mlcroissant
import openlineage.client.generated.base as lineage_base
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import Features, load_dataset
from huggingface_hub import DatasetCard
from openlineage.client.generated.input_statistics_input_dataset import InputStatisticsInputDatasetFacet
from openlineage.client.generated.output_statistics_output_dataset import OutputStatisticsOutputDatasetFacet
from openlineage.client.generated.schema_dataset import SchemaDatasetFacet, SchemaDatasetFacetFields
from openlineage.client.serde import Serde
from support.commands import carry_out, command
from support.corpora import PROSE, write_shard
from support.recipes import write_recipe
from support.runs import manifest_json

from curate.manifests.cards.card import card
from curate.manifests.cards.croissant import MOST_INPUTS, croissant
from curate.manifests.cards.features import features_of
from curate.manifests.cards.files import DataFile
from curate.manifests.cards.openlineage import events
from curate.manifests.manifest import schema_field
from curate.manifests.schema.model import Manifest
from curate.manifests.schema.reading import read_manifest, read_run_facts
from curate.storage.files import sha256_of

EVIL = 'a|b\n# Owned\n---\nlicense: mit\n```\n<script>alert(1)</script> [x](javascript:y) `c` *d* & "e": {f}'


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A run whose columns and sources have names and values that mean something in YAML, Markdown, JSON or a URI."""
    folder = tmp_path_factory.mktemp("odd")
    columns = {
        "source": [EVIL, EVIL, "plain"], "license": ["CC BY 4.0", "CC0-1.0", None], "a b/c#d?e.f": [1, None, 3],
        "- yes: |": [True, False, None], "talk": [[{"role": "user", "content": "x"}], [], None],
        "tags": [["a", "b"], [], None], "day": pa.array([datetime.date(2024, 1, 2)] * 3), "nothing": pa.nulls(3),
        "deep": pa.array([{"in": {"side": 1}}] * 3), "n_tokens": [1, 2, 3], "raw": [b"\xff\x00"] * 3,
        "\u202eright to left": [1] * 3,
    }  # fmt: skip
    texts = [f"{PROSE} {k}" for k in range(3)]
    write_shard(folder / "in" / "a #1 | ü.parquet", texts, **{name: pa.array(v) for name, v in columns.items()})
    recipe, run = write_recipe(folder, folder / "in")
    carry_out(recipe)
    return run


def exported(run, folder):
    """A folder as an export to the Hub makes it, with a validation split, and its files."""
    table = pa.concat_tables(pq.read_table(path) for path in sorted((run / "data").iterdir()))
    cut = max(1, len(table) - 20)
    files = []
    for split, rows in (("train", table.slice(0, cut)), ("validation", table.slice(cut))):
        path = folder / "data" / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows, path)
        place = path.relative_to(folder).as_posix()
        files.append(DataFile(place, len(rows), path.stat().st_size, sha256_of(path)))
    return files


def front_of(text):
    return yaml.safe_load(text.split("---\n")[1])


def test_the_hub_reads_the_front_matter_and_datasets_loads_the_splits_by_it(demo, tmp_path):
    files = exported(demo, tmp_path)
    manifest = manifest_json(demo)
    text = card(Manifest.model_validate(manifest), files)
    (tmp_path / "README.md").write_text(text)
    data = DatasetCard(text).data
    assert data.pretty_name == "demo"
    assert data.language == ["en"]
    assert data.size_categories == ["n<1K"]
    assert {"other", "cc0-1.0", "bsd-3-clause", "apache-2.0"} == set(data.license)
    loaded = load_dataset(str(tmp_path), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in loaded.items()} == {file.split: file.documents for file in files}
    assert loaded["train"].features == Features.from_arrow_schema(pq.read_schema(tmp_path / files[0].path))


def test_features_are_written_as_datasets_writes_them():
    schema = pa.schema([
        ("a", pa.string()), ("b", pa.large_string()), ("c", pa.uint16()), ("d", pa.float16()), ("e", pa.float32()),
        ("f", pa.float64()), ("g", pa.list_(pa.string())), ("h", pa.timestamp("us", tz="UTC")), ("i", pa.date32()),
        ("j", pa.struct([("x", pa.int64()), ("y", pa.list_(pa.struct([("z", pa.bool_())])))])), ("k", pa.date64()),
        ("l", pa.decimal128(10, 2)), ("m", pa.time64("us")), ("n", pa.binary()), ("o", pa.null()),
        ("p", pa.list_(pa.int32(), 3)), ("q", pa.large_list(pa.int32())), ("r", pa.duration("s")),
        ("s", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))), ("t: |", pa.large_binary()),
        ("u", pa.list_(pa.list_(pa.int8()))), ("v", pa.large_list(pa.list_(pa.int8()))),
        ("w", pa.dictionary(pa.int32(), pa.string())), ("x", pa.list_(pa.struct([("a", pa.list_(pa.int8()))]), 2)),
    ])  # fmt: skip
    found = features_of([schema_field(field) for field in schema])
    assert found == Features.from_arrow_schema(schema)._to_yaml_list()
    assert Features._from_yaml_list(found) == Features.from_arrow_schema(schema)


def test_features_are_left_out_where_the_hub_has_no_type_for_one(demo):
    for kind in (pa.map_(pa.string(), pa.int8()), pa.list_(pa.list_(pa.int8(), 2)), pa.month_day_nano_interval()):
        assert features_of([schema_field(pa.field("m", kind))]) is None
    manifest = manifest_json(demo) | {"schema": [{"name": "m", "type": "map<string, int8 ('m')>", "fields": []}]}
    assert "dataset_info" not in front_of(card(Manifest.model_validate(manifest)))


def test_the_card_tells_composition_drops_licences_and_how_to_make_it_again(demo):
    manifest = manifest_json(demo)
    text = card(Manifest.model_validate(manifest))
    for stage in manifest["stages"]:
        for reason, gone in stage["dropped"].items():
            assert f"| {stage['stage']} | {reason} | {gone['documents']:,} | {gone['tokens']:,} |" in text
    assert "| en | 682 |" in text
    assert "| standardebooks | CC0-1.0 | 107 |" in text
    assert "How much quality is kept was not measured" in text
    assert "It was not searched for text of evaluation sets." in text
    assert manifest["recipe_digest"] in text
    recipe = yaml.safe_load(re.search(r"```yaml\n(.*?)\n```", text, re.DOTALL)[1])
    assert recipe == manifest["recipe"]
    assert command("card", demo).stdout == text


def test_the_card_tells_quality_with_its_interval_beside_the_random_control(selected):
    manifest = manifest_json(selected[1])
    [arm] = [a for a in manifest["retention"]["evaluation"]["arms"] if a["arm"] == "ours" and a["domain"] is None]
    whole = f"{arm['retained']:.4f} ({arm['retained_low']:.4f} to {arm['retained_high']:.4f})"
    text = card(read_manifest(selected[1]))
    assert f"| ngram | {arm['tokens']:,} | {whole} | {arm['control_retained']:.4f} |" in text


def test_the_card_of_every_kind_of_run_is_made(purified, distilled):
    for run in (purified[1], distilled[1]):
        assert front_of(card(read_manifest(run)))["configs"]
    assert "A model dropped what reads like bad text." in card(read_manifest(purified[1]))


def test_no_name_or_value_of_the_data_changes_the_card_or_its_front_matter(odd):
    text = card(read_manifest(odd))
    front = front_of(text)
    assert front["license"] == ["cc-by-4.0", "cc0-1.0", "unknown"]
    assert [feature["name"] for feature in front["dataset_info"]["features"]][3:5] == ["a b/c#d?e.f", "- yes: |"]
    body = text.split("---\n", 2)[2].split("## How to make it again")[0]
    assert [line for line in body.splitlines() if line.startswith("#")][1:] == [
        "## Composition", "## What was dropped", "## Quality", "## Licences", "## Limits", "## Columns"
    ]  # fmt: skip
    ours = r"`[\w/.*-]+`|`curate evaluate`|\*(Retained|Gap closed)\*|\*\*"
    assert not re.search(r"(?<!\\)[<`*\[]", re.sub(ours, "", body))
    widths = {line.count("|") - line.count("\\|") for line in body.splitlines() if line.startswith("| a")}
    assert widths <= {3, 5, 6}
    assert "**Of " in text
    assert "\u202e" not in text
    assert front["dataset_info"]["features"][-3]["name"] == "\u202eright to left"


def test_a_recipe_with_a_fence_in_it_stays_within_its_own(demo):
    manifest = manifest_json(demo)
    manifest["recipe"]["tier1"]["rules"] = ["````\n# Owned"]
    tail = card(Manifest.model_validate(manifest)).split("## How to make it again")[1]
    fence = re.search(r"^(`+)yaml$", tail, re.MULTILINE)[1]
    assert len(fence) == 5
    assert tail.count(f"\n{fence}") == 2


def test_a_run_that_keeps_nothing_has_a_card_and_a_croissant(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", ["x"])
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": ["gopher"]}, allow_empty=True)
    carry_out(recipe)
    front = front_of(card(read_manifest(run)))
    assert "configs" not in front
    assert front["license"] == "unknown"
    assert croissant(read_manifest(run))["recordSet"] == []


def records(folder, manifest, split, files=None):
    """What mlcroissant loads of a split, and the dataset that it reads."""
    path = folder / "croissant.json"
    path.write_text(json.dumps(croissant(manifest, files)))
    dataset = mlcroissant.Dataset(jsonld=str(path))
    assert not dataset.metadata.ctx.issues.errors
    return dataset, list(dataset.records(record_set=split))


def test_mlcroissant_accepts_the_croissant_of_a_run_and_loads_every_record(demo, tmp_path):
    shutil.copytree(demo / "data", tmp_path / "data")
    dataset, found = records(tmp_path, read_manifest(demo), "train")
    wanted = pq.read_table(demo / "data").to_pylist()
    assert str(dataset.metadata.ctx.conforms_to.value).endswith("/1.1")
    assert [row["train/doc_id"].decode() for row in found] == [row["doc_id"] for row in wanted]
    assert [row["train/text"].decode() for row in found] == [row["text"] for row in wanted]
    assert [row["train/n_tokens"] for row in found] == [row["n_tokens"] for row in wanted]


def test_mlcroissant_loads_both_splits_of_an_export(demo, tmp_path):
    files = exported(demo, tmp_path)
    for file in files:
        _, found = records(tmp_path, read_manifest(demo), file.split, files)
        ids = pq.read_table(tmp_path / file.path)["doc_id"].to_pylist()
        assert [row[f"{file.split}/doc_id"].decode() for row in found] == ids
    objects = [one for one in croissant(read_manifest(demo), files)["distribution"] if "sha256" in one]
    assert [one["sha256"] for one in objects] == [sha256_of(tmp_path / one["contentUrl"]) for one in objects]


def test_mlcroissant_loads_lists_structs_and_columns_of_any_name(odd, tmp_path):
    shutil.copytree(odd / "data", tmp_path / "data")
    _, found = records(tmp_path, read_manifest(odd), "train")
    assert found[0]["train/source"].decode() == EVIL
    assert [row["train/a%20b%2Fc%23d%3Fe.f"] for row in found] == [1, None, 3]
    assert [row["train/-%20yes%3A%20%7C"] for row in found] == [True, False, None]
    assert found[0]["train/tags"] == [b"a", b"b"]
    assert found[0]["train/talk"] == [{"train/talk/role": b"user", "train/talk/content": b"x"}]
    assert found[0]["train/day"].date() == datetime.date(2024, 1, 2)
    assert [row["train/n_tokens"] for row in found] == [1, 2, 3]
    assert found[0]["train/curate_n_tokens"] > 20
    assert {"train/deep", "train/raw"}.isdisjoint(found[0])  # Croissant has no type for them


def test_the_croissant_tells_what_the_data_was_derived_from_and_by_which_stages(demo, tmp_path):
    manifest = manifest_json(demo)
    shutil.copytree(demo / "data", tmp_path / "data")
    dataset, _ = records(tmp_path, Manifest.model_validate(manifest), "train")
    told = dataset.metadata.to_json()  # as mlcroissant has read it
    assert [one["prov:label"] for one in told["prov:wasDerivedFrom"]] == [file["path"] for file in manifest["inputs"]]
    assert [one["prov:label"] for one in told["prov:wasGeneratedBy"]] == [one["stage"] for one in manifest["stages"]]
    rules = told["prov:wasGeneratedBy"][1]
    assert "too_few_words 225" in rules["disambiguatingDescription"]
    assert json.loads(command("card", demo, "--format", "croissant").stdout) == croissant(read_manifest(demo))


def test_very_many_inputs_are_told_by_their_number(demo):
    manifest = manifest_json(demo)
    many = Manifest.model_validate(manifest | {"inputs": manifest["inputs"] * MOST_INPUTS})
    [one] = croissant(many)["prov:wasDerivedFrom"]
    assert one["prov:label"] == "4,000 files, which manifest.json lists"


FACETS = {
    "inputStatistics": InputStatisticsInputDatasetFacet, "outputStatistics": OutputStatisticsOutputDatasetFacet,
    "schema": SchemaDatasetFacet,
}  # fmt: skip


def through_the_client(event):
    """An event as OpenLineage's own classes write it, made of the fields of ours."""

    def facets(found):
        made = {}
        for name, fields in found.items():
            values = {key: value for key, value in fields.items() if key not in ("_producer", "_schemaURL")}
            if name == "schema":
                values["fields"] = [SchemaDatasetFacetFields(**column) for column in values["fields"]]
            if name in FACETS:
                made[name] = FACETS[name](producer=fields["_producer"], **values)
            else:
                made[name] = lineage_base.RunFacet(producer=fields["_producer"]).with_additional_properties(**values)
        return made

    inputs = [
        lineage_base.InputDataset(one["namespace"], one["name"], facets(one["inputFacets"])) for one in event["inputs"]
    ]
    outputs = [
        lineage_base.OutputDataset(
            one["namespace"], one["name"], facets(one["outputFacets"]), facets=facets(one["facets"])
        )
        for one in event["outputs"]
    ]
    return lineage_base.RunEvent(
        eventTime=event["eventTime"], producer=event["producer"], eventType=lineage_base.EventType[event["eventType"]],
        run=lineage_base.Run(event["run"]["runId"], facets(event["run"]["facets"])),
        job=lineage_base.Job(**event["job"]), inputs=inputs, outputs=outputs,
    )  # fmt: skip


def without_empty(value):
    """JSON without empty lists that the client writes for columns without inner ones, and our own facet's address."""
    if isinstance(value, dict):
        return {k: without_empty(v) for k, v in value.items() if not (k == "fields" and v == [])}
    return [without_empty(one) for one in value] if isinstance(value, list) else value


def test_the_events_are_those_that_openlineage_itself_would_write(demo):
    lines = command("card", demo, "--format", "openlineage").stdout.splitlines()
    found = [json.loads(line) for line in lines]
    assert [event["eventType"] for event in found] == ["START", "COMPLETE"]
    for event in found:
        written = without_empty(json.loads(Serde.to_json(through_the_client(event))))
        if "curate_decisions" in event["run"]["facets"]:
            written["run"]["facets"]["curate_decisions"]["_schemaURL"] = "urn:curate:openlineage:decisions:1"
        assert written == event


def test_the_events_tell_rows_bytes_files_and_decisions(demo):
    manifest = manifest_json(demo)
    start, complete = events(Manifest.model_validate(manifest), read_run_facts(demo), str(demo))
    [output] = complete["outputs"]
    statistics = output["outputFacets"]["outputStatistics"]
    assert (statistics["rowCount"], statistics["fileCount"]) == (682, len(manifest["shards"]))
    assert statistics["size"] == sum((demo / shard["path"]).stat().st_size for shard in manifest["shards"])
    assert (output["namespace"], output["name"]) == ("file", f"{demo}/data")
    stages = complete["run"]["facets"]["curate_decisions"]["stages"]
    assert [stage["documentsOut"] for stage in stages] == [stage["documents_out"] for stage in manifest["stages"]]
    assert sum(one["inputFacets"]["inputStatistics"]["rowCount"] for one in start["inputs"]) == 1309
    first, last = (datetime.datetime.fromisoformat(event["eventTime"]) for event in (start, complete))
    assert first.tzinfo is not None
    assert first <= last


def test_the_same_run_has_the_same_id_and_another_one_another(demo):
    manifest, facts = read_manifest(demo), read_run_facts(demo)
    ids = {event["run"]["runId"] for event in events(manifest, facts, "x") + events(manifest, facts, "y")}
    assert len(ids) == 1
    assert uuid.UUID(ids.pop())
    other = events(manifest.model_copy(update={"seal": "0" * 64}), facts, "x")[0]["run"]["runId"]
    assert other != events(manifest, facts, "x")[0]["run"]["runId"]


def test_inputs_in_object_stores_and_very_many_inputs_have_names_of_their_own(demo):
    manifest, facts = manifest_json(demo), read_run_facts(demo)
    [file] = manifest["inputs"][:1]
    remote = manifest | {"inputs": [file | {"path": "s3://bucket/a/b.parquet"}, file]}
    start, _ = events(Manifest.model_validate(remote), facts, "x")
    assert [(one["namespace"], one["name"]) for one in start["inputs"]] == [
        ("s3://bucket", "a/b.parquet"), ("file", f"{facts.corpus_root}/part-00000.parquet")
    ]  # fmt: skip
    many = Manifest.model_validate(manifest | {"inputs": manifest["inputs"] * MOST_INPUTS})
    start, _ = events(many, facts, "x")
    [folder] = start["inputs"]
    assert folder["name"] == facts.corpus_root
    assert folder["inputFacets"]["inputStatistics"]["fileCount"] == 4 * MOST_INPUTS


def test_a_damaged_run_json_is_one_line(demo, tmp_path):
    (tmp_path / "manifest.json").write_bytes((demo / "manifest.json").read_bytes())
    for text in (None, "[]", "{}", '{"started": 1}', "no JSON"):
        if text is not None:
            (tmp_path / "run.json").write_text(text)
        done = command("card", tmp_path, "--format", "openlineage")
        assert done.stderr == f"Error: {tmp_path}/run.json: missing or damaged; run again to rebuild it\n"
