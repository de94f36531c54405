"""Mixtures of runs: what is taken of each source, how often it is seen, and what is refused."""

import hashlib
import json
import re
from collections import Counter

import datasets
import jsonschema
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from support.commands import carry_out, command
from support.exports import exported, kept, made
from support.paths import ROOT

from curate.errors import CurateError
from curate.manifests.export.format import all_formats
from curate.manifests.export.mixture import open_sources, read_mixture
from curate.manifests.export.sources import SPLIT_SEED, hash_fractions
from curate.manifests.export.training_view import nearest_shards, passes

LICENSES = {"web": "CC0-1.0", "code": "MIT", "old": "My own"}
ROWS = {"web": (300, 6), "code": (100, 60), "old": (400, 12)}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of short, long and earlier documents."""
    folder = tmp_path_factory.mktemp("runs")
    for name, (rows, length) in ROWS.items():
        texts = [f"{name} document {k} tells of {k * k} things. " * (k % 7 + length) for k in range(rows)]
        table = {"text": texts, f"of_{name}": range(rows), "license": [LICENSES[name]] * rows}
        pq.write_table(pa.table(table), folder / f"{name}.parquet")
        made(folder / name, folder / f"{name}.parquet", name)
    return folder


def mixed(runs, **fields):
    """A mixture's file beside the runs."""
    path = runs / "mixture.yaml"
    sources = {"web": {"run": "web", "weight": 3}, "code": {"run": "code", "weight": 1}}
    path.write_text(yaml.safe_dump({"name": "mix", "sources": sources, **fields}, sort_keys=False))
    return path


def tokens_of(runs, name):
    return sum(row["n_tokens"] for row in kept(runs / name))


def test_without_a_number_of_tokens_no_source_is_seen_twice_and_one_is_seen_whole(runs):
    web, code = open_sources(mixed(runs))
    assert (web.weight, code.weight) == (0.75, 0.25)
    assert max(web.epochs, code.epochs) == pytest.approx(1)
    assert web.epochs * tokens_of(runs, "web") == pytest.approx(3 * code.epochs * tokens_of(runs, "code"))


def test_tokens_of_the_whole_training_or_of_each_source_make_the_epochs(runs):
    whole = tokens_of(runs, "web") * 2
    web, code = open_sources(mixed(runs, tokens=whole))
    assert web.epochs == pytest.approx(1.5)
    assert code.epochs == pytest.approx(whole / 4 / tokens_of(runs, "code"))
    each = {"web": {"run": "web", "tokens": 3000}, "code": {"run": "code", "tokens": 1000}}
    web, code = open_sources(mixed(runs, sources=each))
    assert (web.weight, code.weight) == (0.75, 0.25)
    assert code.epochs == pytest.approx(1000 / tokens_of(runs, "code"))


def to_train_on(runs, name, validation):
    """The oracle: documents and tokens of a run that are not held out."""
    rows = kept(runs / name)
    held_out = hash_fractions(pa.array([row["doc_id"] for row in rows]), SPLIT_SEED) < validation
    tokens = [row["n_tokens"] for row, out in zip(rows, held_out, strict=True) if not out]
    return len(tokens), sum(tokens)


def test_epochs_weights_and_tokens_are_of_the_documents_that_are_trained_on(runs, tmp_path):
    there = {name: to_train_on(runs, name, 0.3) for name in ROWS}
    assert there["web"][1] < 0.8 * tokens_of(runs, "web")
    whole = there["web"][1] * 2
    path = mixed(runs, tokens=whole, replay={"run": "old", "share": "10%"})
    exported(path, tmp_path, "--to", "jsonl", "--validation", "30%", "--workers", 2)
    told = json.loads((tmp_path / "jsonl" / "mixture.json").read_text())
    web, code, replay = told["sources"]
    assert [(s["documents"], s["tokens"]) for s in (web, code)] == [there["web"], there["code"]]
    assert replay["tokens"] < there["old"][1]
    assert told["tokens"] == pytest.approx(whole, abs=1)
    for source, weight in ((web, 0.675), (code, 0.225), (replay, 0.1)):
        assert source["weight"] == pytest.approx(weight)
        assert source["epochs"] * source["tokens"] == pytest.approx(weight * whole)
    fewest = mixed(runs, max_epochs=1)  # as many tokens as there are without repeating
    assert max(source.epochs for source in open_sources(fewest, 0.3)) == pytest.approx(1)
    whole = tokens_of(runs, "web") * 5  # web is seen 3.75 times: more than 4 times what is left of it
    assert open_sources(mixed(runs, tokens=whole))
    with pytest.raises(CurateError, match=r"^mix: web would be seen 5\.\d* times, max_epochs is 4"):
        open_sources(mixed(runs, tokens=whole), 0.3)
    with pytest.raises(CurateError, match=r"^mix: --validation 0\.999999 leaves nothing of web to train on"):
        open_sources(mixed(runs), 0.999999)


def test_chats_with_unlike_fields_are_one_column(runs, tmp_path, monkeypatch):
    kinds = {"short": {"role": "user", "content": "What?"}, "named": {"name": "Ann", "content": "It.", "role": "user"},
             "numbered": {"role": "user", "content": "Who?", "name": 3}}  # fmt: skip
    for name, message in kinds.items():
        chats = [[message | {"name": f"Ann {k}"} if name == "named" else message] for k in range(9)]
        pq.write_table(pa.table({"messages": chats, "id": [f"{name} {k}" for k in range(9)]}), runs / f"{name}.parquet")
        recipe = {"name": name, "output": str(runs / name), "tier1": {"rules": []}, "dedup": {"exact": False},
                  "input": {"paths": [str(runs / f"{name}.parquet")], "messages": "messages", "id": "id"}}  # fmt: skip
        (runs / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
        carry_out(runs / f"{name}.yaml")
    sources = {name: {"run": name, "weight": 1} for name in ("short", "named")}
    exported(mixed(runs, sources=sources), tmp_path, "--to", "hf")
    found = train_of_card(tmp_path / "hf", monkeypatch, tmp_path)
    assert sorted(str(row["messages"][0]["name"]) for row in found) == [*(f"Ann {k}" for k in range(9)), *["None"] * 9]
    sources = {name: {"run": name, "weight": 1} for name in ("named", "numbered")}
    done = command("export", mixed(runs, sources=sources), "--to", "hf", "--out", tmp_path / "out", "--quiet")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("Error: mix: the chats of named, numbered are of unlike kinds: ")
    assert not (tmp_path / "out").exists()


def train_of_card(folder, monkeypatch, cache):
    """What the code of the card of an export makes, as rows."""
    code = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(folder)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache / "cache")
    found = {}
    exec(code, found)
    return found["train"].to_list()


def test_replay_is_a_share_of_all_tokens_drawn_by_hash_with_its_lineage(runs, tmp_path):
    exported(mixed(runs, replay={"run": "old", "share": "10%"}), tmp_path, "--to", "hf")
    told = json.loads((tmp_path / "hf" / "export.json").read_text())
    web, code, replay = told["sources"]
    assert [source["role"] for source in told["sources"]] == ["source", "source", "replay"]
    manifest = (runs / "old" / "manifest.json").read_bytes()
    assert replay["manifest_sha256"] == hashlib.sha256(manifest).hexdigest()
    fresh = web["epochs"] * web["tokens"] + code["epochs"] * code["tokens"]
    longest = max(row["n_tokens"] for row in kept(runs / "old"))
    assert 0 <= replay["tokens"] - fresh / 9 <= longest
    assert replay["weight"] == pytest.approx(0.1)
    drawn = datasets.load_dataset(str(tmp_path / "hf"), "replay", split="train", cache_dir=str(tmp_path / "cache"))
    rows = [row["doc_id"] for row in kept(runs / "old")]
    places = [rows.index(doc_id) for doc_id in drawn["doc_id"]]
    assert places == sorted(places)
    assert max(places) > len(rows) / 2  # not the first ones


def test_a_document_is_seen_as_often_as_the_mixture_says(runs, tmp_path):
    """LLaMA-Factory's datasets, counted; the tokens of each source come out in its share."""
    exported(mixed(runs, tokens=tokens_of(runs, "web") * 3), tmp_path, "--to", "llama-factory", "--validation", "5%")
    folder = tmp_path / "llama-factory"
    info, lines = (
        json.loads((folder / "dataset_info.json").read_text()),
        yaml.safe_load((folder / "train.yaml").read_text()),
    )
    rows = {name: len(pq.read_table(folder / info[name]["file_name"])) for name in lines["dataset"].split(",")}
    told = {source["name"]: source for source in json.loads((folder / "mixture.json").read_text())["sources"]}
    for name, source in told.items():
        seen = [info[entry].get("num_samples", rows[entry]) for entry in rows if entry.split(".")[0] == name]
        assert sum(seen) == pytest.approx(source["epochs"] * source["splits"]["train"]["documents"], abs=0.51)
        assert set(rows[entry] for entry in rows if entry.split(".")[0] == name) == {source["documents"]}
    assert lines["eval_dataset"] == "web_validation,code_validation"


def test_mixture_json_tells_every_file_and_odds_of_documents_that_give_the_shares_of_tokens(runs, tmp_path):
    exported(mixed(runs), tmp_path, "--to", "hf,jsonl", "--validation", "10%")
    for name in ("hf", "jsonl"):
        told = json.loads((tmp_path / name / "mixture.json").read_text())
        files = [file for source in told["sources"] for split in source["splits"].values() for file in split["files"]]
        assert sorted(files) == sorted(
            p.relative_to(tmp_path / name).as_posix() for p in (tmp_path / name).rglob("*-of-*")
        )
        assert sum(source["document_weight"] for source in told["sources"]) == pytest.approx(1)
        lengths = {source["name"]: source["tokens"] / source["documents"] for source in told["sources"]}
        drawn = {source["name"]: source["document_weight"] * lengths[source["name"]] for source in told["sources"]}
        assert drawn["web"] / sum(drawn.values()) == pytest.approx(0.75, abs=0.02)


def test_the_code_of_the_card_makes_a_training_that_sees_each_source_as_often_as_it_was_asked_to(
    runs, tmp_path, monkeypatch
):
    exported(mixed(runs, tokens=tokens_of(runs, "web") * 2), tmp_path, "--to", "hf,jsonl")
    told = json.loads((tmp_path / "hf" / "mixture.json").read_text())
    rows = train_of_card(tmp_path / "hf", monkeypatch, tmp_path)
    tokens = {name: sum(row["n_tokens"] for row in rows if row["source"] == name) for name in ("web", "code")}
    assert tokens["web"] / sum(tokens.values()) == pytest.approx(0.75, abs=0.03)
    assert sum(tokens.values()) == pytest.approx(told["tokens"], rel=0.03)
    times = Counter(row["doc_id"] for row in rows if row["source"] == "web")
    assert set(times.values()) == {1, 2}  # 1.5 epochs
    lines = datasets.load_dataset("json", data_files=str(tmp_path / "jsonl/data/**/train-*.jsonl"), split="train")
    assert lines.column_names == ["text", "doc_id", "n_tokens", "source"]


def test_the_card_of_a_mixture_tells_sizes_licences_and_columns_of_each_source(runs, tmp_path):
    path = mixed(runs, replay={"run": "old", "share": "10%"})
    exported(path, tmp_path, "--to", "hf", "--validation", "10%")
    _, front, text = (tmp_path / "hf/README.md").read_text().split("---\n", 2)
    fields = yaml.safe_load(front)
    assert (fields["license"], fields["size_categories"]) == (["cc0-1.0", "mit", "other"], ["n<1K"])
    assert [one["config_name"] for one in fields["configs"]] == ["web", "code", "replay"]
    columns = [{"name": "text", "dtype": "string"}, {"name": "doc_id", "dtype": "string"},
               {"name": "n_tokens", "dtype": "int64"}, {"name": "source", "dtype": "string"}]  # fmt: skip
    assert fields["dataset_info"] == [{"config_name": name, "features": columns} for name in ("web", "code", "replay")]
    told = json.loads((tmp_path / "hf/mixture.json").read_text())
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    for source, (name, license) in zip(told["sources"], LICENSES.items(), strict=True):
        for split, counts in source["splits"].items():
            size = sum((tmp_path / "hf" / path).stat().st_size for path in counts["files"])
            numbers = (len(counts["files"]), counts["documents"], counts["tokens"], size)
            assert [source["name"], split, *(f"{number:,}" for number in numbers)] in cells
        rows, tokens = f"{ROWS[name][0]:,}", f"{tokens_of(runs, name):,}"
        assert [source["name"], "(none)", license, rows, tokens, "100.0%"] in cells
        seen = [f"{100 * source['weight']:.1f}%", f"{source['epochs']:.4g}"]
        assert [source["name"], source["role"], *seen] in [row[:4] for row in cells]
    assert "Of replay a part is here" in text
    data = datasets.load_dataset(str(tmp_path / "hf"), "code", cache_dir=str(tmp_path / "cache"))
    assert [data[split].num_rows for split in ("train", "validation")] == [
        told["sources"][1]["splits"][split]["documents"] for split in ("train", "validation")
    ]


def test_the_closing_table_shows_weights_and_epochs(runs, tmp_path):
    done = exported(mixed(runs, tokens=tokens_of(runs, "web") * 2), tmp_path, "--to", "hf")
    [row] = [line.split() for line in done.stdout.splitlines() if line.split()[:1] == ["web"]]
    assert row[-2:] == ["75.0%", "1.5"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"tokens": "1M"}, "mix: web would be seen "),
        ({"tokens": 1000, "max_epochs": 0.01}, "mix: web would be seen "),
        ({"replay": {"run": "web", "share": "150%"}}, "replay.share"),
        ({"tokens": "700K"}, "tokens: '700K' is no number of tokens; write one such as 700k, 20M or 10B"),
        ({"sources": {}}, "sources"),
        ({"sources": {"web": {"run": "web"}}}, "sources.web: has a weight or tokens, one of the two"),
        ({"sources": {"web": {"run": "web", "weight": -1}}}, "sources.web.weight"),
        ({"sources": {"web": {"run": "web", "wieght": 1}}}, "did you mean 'weight'?"),
        ({"sources": {"web": {"run": "nowhere", "weight": 1}}}, "nowhere: no such folder; "),
        ({"sources": {"a": {"run": "web", "weight": 1}, "b": {"run": "web", "tokens": 5}}}, "all of them a weight"),
        ({"sources": {"a": {"run": "web", "weight": 1}, "A": {"run": "web", "weight": 1}}}, "differ in case alone"),
        ({"sources": {"a b": {"run": "web", "weight": 1}}}, "sources"),
        ({"sources": {"a": {"run": "web", "weight": 1}, "A_validation": {"run": "code", "weight": 1}}},
         "sources: A_validation is what trainers call a second split; choose another name"),
        ({"sources": {"a": {"run": "web", "weight": 1}, "b": {"run": "web", "weight": 1}}},
         "mix: a and b are one run; name it once, with more weight"),
        ({"sources": {"replay": {"run": "web", "weight": 1}}, "replay": {"run": "old", "share": "5%"}},
         "sources: replay is what the replayed run is called; choose another name"),
        ({"tokens": 5000, "sources": {"web": {"run": "web", "tokens": 5}}}, "tokens: is the sum of the sources"),
    ],
)  # fmt: skip
def test_a_mixture_that_cannot_be_is_one_line_that_says_why(runs, fields, said):
    with pytest.raises(CurateError) as told:
        open_sources(mixed(runs, **fields))
    assert said in str(told.value)
    assert len(str(told.value).splitlines()) == 1


def test_a_mixture_is_refused_before_anything_is_written(runs, tmp_path):
    done = command("export", mixed(runs, tokens="1M"), "--to", "hf", "--out", tmp_path / "out", "--quiet")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: mix: web would be seen ")
    assert "max_epochs is 4; ask for fewer tokens, give it less weight, or raise max_epochs (" in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_schema_of_a_mixture_names_its_fields(runs):
    done = command("schema", "--mixture")
    assert set(json.loads(done.stdout)["properties"]) == {"name", "tokens", "max_epochs", "sources", "replay"}
    assert read_mixture(mixed(runs)).max_epochs == 4
    schema = jsonschema.Draft202012Validator(json.loads(done.stdout))
    for share, good in ((0.05, True), ("5%", True), ("0.5 %", True), (0, False), (1, False), ("100%", False),
                        ("0%", False), ("0.00%", False), ("1.5", False)):  # fmt: skip
        path = mixed(runs, replay={"run": "old", "share": share})
        assert schema.is_valid(yaml.safe_load(path.read_text())) == good
        if good:
            assert read_mixture(path).replay.share < 0.1
        else:
            with pytest.raises(CurateError):
                read_mixture(path)


@pytest.mark.parametrize(
    ("epochs", "wanted"), [(1.0, (1, 0)), (0.9999999, (1, 0)), (2.25, (2, 0.25)), (0.3, (0, 0.3)), (3.0000001, (3, 0))]
)
def test_epochs_are_whole_passes_and_a_part(epochs, wanted):
    assert passes(epochs) == wanted


@pytest.mark.parametrize(("part", "wanted"), [(0.25, (1, 4)), (0.0, (0, 1)), (0.99, (1, 1)), (0.7, (7, 10))])
def test_a_part_is_some_of_few_shards(part, wanted):
    assert nearest_shards(part, 20) == wanted


def test_the_formats_are_listed():
    done = command("export", "--to", "list")
    assert done.returncode == 0
    page = (ROOT / "docs" / "trainers.md").read_text("utf-8")
    of_docs = {}
    for names, holds in re.findall(r"^\| .* \| (`.*`) \| (.*) \|$", page.split("## Options")[0], re.MULTILINE):
        for name in names.split(", "):
            of_docs[name.strip("`")] = holds
    del of_docs["--to"]  # the head of the table
    of_docs |= {"trl": "text, chats, preference pairs", "dpo": "preference pairs"}  # of which the page tells together
    assert {found.name: found.holds for found in all_formats()} == of_docs
    rows = [re.split(r"  +", line.strip()) for line in done.stdout.splitlines()]
    assert of_docs.items() <= {row[0]: row[-1] for row in rows}.items()
