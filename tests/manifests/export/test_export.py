"""Exports of what a run kept: order, splits, going on after a stop, and what is refused."""

import base64
import datetime
import decimal
import fcntl
import json
import os
import re
import subprocess

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.commands import carry_out, command
from support.corpora import write_shard
from support.exports import exported, kept, killed_and_gone_on, made
from support.recipes import write_recipe

from curate.corpus import parquet as corpus
from curate.engine.base import InProcess
from curate.errors import RunError
from curate.manifests.export.export import export
from curate.manifests.export.format import Options
from curate.manifests.export.mixture import open_sources
from curate.manifests.export.sources import documents_of
from curate.progress import unwritten_log
from curate.storage.lock import folder_lock

ROWS = 3_000


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """A run of many small shards."""
    folder = tmp_path_factory.mktemp("several")
    texts = [f"Document {k} tells of {k * k} things. " * (k % 7 + 3) for k in range(ROWS)]
    pq.write_table(pa.table({"text": texts, "number": range(ROWS), "share": [0.5, None, float("nan")] * (ROWS // 3)}),
                   folder / "in.parquet")  # fmt: skip
    return made(folder / "run", folder / "in.parquet", "several")


def test_every_document_is_in_one_split_and_in_order(several, tmp_path):
    exported(several, tmp_path, "--to", "hf,jsonl", "--validation", "10%")
    wanted = kept(several)
    loaded = datasets.load_dataset(str(tmp_path / "hf"), cache_dir=str(tmp_path / "cache"))
    assert 0.07 < len(loaded["validation"]) / len(wanted) < 0.13
    held_out = set(loaded["validation"]["doc_id"])
    for split, rows in (
        ("train", [row for row in wanted if row["doc_id"] not in held_out]),
        ("validation", [row for row in wanted if row["doc_id"] in held_out]),
    ):
        assert len(rows) > 100
        names = ("text", "doc_id", "number", "n_tokens")
        assert [tuple(row[n] for n in names) for row in loaded[split]] == [tuple(r[n] for n in names) for r in rows]
        lines = [line for path in sorted((tmp_path / "jsonl" / "data").glob(f"{split}-*"))
                 for line in path.read_text("utf-8").splitlines()]  # fmt: skip
        told = [json.loads(line, parse_constant=pytest.fail) for line in lines]
        assert [row["text"] for row in told] == [row["text"] for row in rows]
        assert {row["share"] for row in told} == {0.5, None}
    card = (tmp_path / "hf" / "README.md").read_text("utf-8")
    assert f"{len(wanted):,} documents with" in card
    assert "path: data/validation-*.parquet" in card
    import mlcroissant

    described = mlcroissant.Dataset(jsonld=tmp_path / "hf" / "croissant.json")
    for split in ("train", "validation"):
        ids = [row[f"{split}/doc_id"].decode() for row in described.records(record_set=split)]
        assert ids == loaded[split]["doc_id"][:]
    told = json.loads((tmp_path / "hf" / "export.json").read_text())
    assert sum(split["documents"] for split in told["splits"].values()) == len(wanted)
    assert sum(split["tokens"] for split in told["splits"].values()) == sum(row["n_tokens"] for row in wanted)


def test_a_document_is_in_the_same_split_of_another_run(several, tmp_path):
    fewer = tmp_path / "fewer.parquet"
    pq.write_table(pq.read_table(several.parent / "in.parquet").slice(1000, 700), fewer)
    other = made(tmp_path / "other", fewer, "other")
    splits = []
    for run, name in ((several, "a"), (other, "b")):
        exported(run, tmp_path / name, "--to", "hf", "--validation", "10%")
        rows = [pq.read_table(path)["text"].to_pylist() for path in (tmp_path / name / "hf/data").glob("validation-*")]
        splits.append({text for some in rows for text in some})
    assert splits[1] == splits[0] & {row["text"] for row in kept(other)}
    assert splits[1]


def test_the_bytes_do_not_depend_on_the_workers(several, tmp_path):
    exported(several, tmp_path / "a", "--to", "hf,jsonl")
    exported(several, tmp_path / "b", "--to", "hf,jsonl", "--workers", 2)
    for name in ("hf", "jsonl"):
        assert (tmp_path / "a" / name / "export.json").read_bytes() == (
            tmp_path / "b" / name / "export.json"
        ).read_bytes()


def test_an_export_that_was_killed_goes_on(several, tmp_path):
    killed_and_gone_on(tmp_path, "jsonl", several)


def test_of_two_exports_to_one_folder_one_is_refused(tmp_path):
    """The file by which a folder is held is gone afterwards, and whoever waited at it is not fooled by that."""
    with folder_lock(tmp_path, ".x.lock", keep=False):
        with pytest.raises(RunError, match=r"in use by process \d+ on "), folder_lock(tmp_path, ".x.lock", keep=False):
            pass
        waiting = (tmp_path / ".x.lock").open("a+")  # opened in vain
    assert not list(tmp_path.iterdir())
    fcntl.flock(waiting, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with folder_lock(tmp_path, ".x.lock", keep=False):
        assert os.fstat(waiting.fileno()).st_ino != (tmp_path / ".x.lock").stat().st_ino
    waiting.close()


def test_memory_is_that_of_few_megabytes_and_bytes_do_not_depend_on_batches(tmp_path, monkeypatch):
    texts = [f"Document {k} is {'rather ' * 9_000}long." for k in range(600)]
    texts += [f"Document {k} is short." for k in range(600)]
    write_shard(tmp_path / "in.parquet", texts)
    path, run = write_recipe(tmp_path, tmp_path / "in.parquet", tier1={"rules": []}, dedup={"exact": False})
    carry_out(path)
    [source] = open_sources(run)
    [shard] = source.shards
    tables = list(documents_of(source, shard.path, "train", 0.0))
    assert sum(map(len, tables)) == 1200
    assert max(table.nbytes for table in tables) < 3 * corpus.BATCH_BYTES
    told = []
    for name, size in (("a", corpus.BATCH_BYTES), ("b", 1 << 16)):
        monkeypatch.setattr(corpus, "BATCH_BYTES", size)
        told.append(export((source,), ["hf"], tmp_path / name, Options(0.1), InProcess(), unwritten_log(True)))
    assert told[0][0].files == told[1][0].files
    assert len(told[0][0].files) > 2
    groups = pq.read_metadata(next((tmp_path / "a/hf/data").glob("validation-*")))
    assert groups.num_row_groups == 1  # not one for each batch that was read


def test_what_is_there_is_kept_and_nothing_else_is_overwritten(several, tmp_path):
    exported(several, tmp_path, "--to", "jsonl")
    done = command("export", several, "--to", "jsonl", "--out", tmp_path)
    assert "is there already" in done.stderr
    assert command("verify", tmp_path / "jsonl").returncode == 0
    other = command("export", several, "--to", "jsonl", "--out", tmp_path, "--validation", "1%")
    assert other.returncode == 1
    assert (
        other.stderr
        == f"Error: {tmp_path}/jsonl: has an export of something else; choose another --out, or give --overwrite\n"
    )
    exported(several, tmp_path, "--to", "jsonl", "--validation", "1%", "--overwrite")
    assert json.loads((tmp_path / "jsonl/export.json").read_text())["options"]["validation"] == 0.01
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "thesis.txt").write_text("years of work")
    other = command("export", several, "--to", "hf", "--out", tmp_path, "--overwrite")
    assert other.returncode == 1
    assert "has no export, or a damaged one" in other.stderr
    assert (tmp_path / "hf" / "thesis.txt").read_text() == "years of work"
    (tmp_path / "jsonl" / "mine.txt").write_text("years of work")
    done = command("export", several, "--to", "jsonl", "--out", tmp_path, "--overwrite", "--validation", "99.9999999%")
    assert "leaves no document to train on" in done.stderr
    assert command("export", several, "--to", "jsonl", "--out", tmp_path, "--validation", "1%").returncode == 0
    exported(several, tmp_path, "--to", "jsonl", "--validation", "2%", "--overwrite")
    exported(several, tmp_path, "--to", "jsonl", "--validation", "1%", "--overwrite")
    assert (tmp_path / "jsonl" / "mine.txt").read_text() == "years of work"
    (tmp_path / "jsonl" / "mine.txt").unlink()
    next((tmp_path / "jsonl/data").glob("train-*")).unlink()
    exported(several, tmp_path, "--to", "jsonl", "--validation", "1%")
    assert all((tmp_path / "jsonl" / file["path"]).exists()
               for file in json.loads((tmp_path / "jsonl/export.json").read_text())["files"])  # fmt: skip


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--to", "jsonll"], "Error: --to jsonll: no such format; did you mean 'jsonl'?\n"),
        (["--to", "hf", "--validation", "150%"],
         "Error: --validation 150%: is no share of the documents; write 0.5% or 0.005\n"),
        (["--to", "hf", "--eos", "</s>"], "Error: --eos </s>: ends documents of tokens; give --tokenizer too\n"),
        (["--to", "hf", "--validation", "some"],
         "Error: --validation some: is no share of the documents; write 0.5% or 0.005\n"),
    ],
)  # fmt: skip
def test_what_cannot_be_exported_is_one_line(several, tmp_path, options, said):
    done = command("export", several, "--out", tmp_path / "out", *options)
    assert (done.returncode, done.stderr, done.stdout) == (1, said, "")
    assert not (tmp_path / "out").exists()


def test_a_split_that_no_document_falls_in_is_told_of(several, tmp_path):
    done = command("export", several, "--to", "jsonl", "--out", tmp_path, "--validation", "1e-9")
    told = "no document falls in --validation 1e-09, so there is no such split"
    assert (done.returncode, done.stderr) == (0, f"{tmp_path}/jsonl: {told}\n")


@pytest.mark.parametrize("place", ["data", "ledger/more"])
def test_an_export_among_what_a_run_keeps_is_refused(several, place):
    before = sorted(several.rglob("*"))
    done = command("export", several, "--to", "jsonl", "--out", several / place)
    told = f"lies in {place.split('/')[0]}/ of a run, where that keeps its own files; choose another"
    assert (done.returncode, done.stderr) == (1, f"Error: --out {several / place}: {told}\n")
    assert sorted(several.rglob("*")) == before


def test_lines_for_a_shell_hold_for_folders_with_spaces(several, tmp_path):
    done = exported(several, tmp_path / "my exports", "--to", "axolotl,llama-factory")
    lines = [line.split(": ", 1)[1] for line in done.stdout.splitlines() if ": cd " in line]
    assert len(lines) == 2
    for line in lines:
        assert subprocess.run(["sh", "-c", line.split(" && ")[0]], check=False).returncode == 0


def test_a_run_that_is_none_or_lacks_a_shard_is_one_line(several, tmp_path):
    done = command("export", tmp_path, "--to", "hf", "--out", tmp_path / "out")
    assert done.stderr.startswith(f"Error: {tmp_path}: no manifest.json: not a run directory; ")
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", several, copy], check=True)
    shard = sorted((copy / "data").glob("*.parquet"))[3]
    content = bytearray(shard.read_bytes())
    content[len(content) // 3] ^= 1
    shard.write_bytes(content)
    done = command("export", copy, "--to", "hf", "--out", tmp_path / "out", "--quiet")
    assert done.returncode == 1
    said = "its bytes changed since the run; run the recipe again to write it anew"
    assert done.stderr == f"Error: {shard}: {said}\n"
    shard.unlink()
    done = command("export", copy, "--to", "hf", "--out", tmp_path / "out", "--quiet")
    assert done.stderr == f"Error: {shard}: missing; run the recipe again to write it\n"


def test_what_is_damaged_is_written_anew_and_a_stop_at_any_moment_leaves_an_export_that_goes_on(several, tmp_path):
    exported(several, tmp_path, "--to", "jsonl")
    before = (tmp_path / "jsonl/export.json").read_bytes()
    path = sorted((tmp_path / "jsonl/data").glob("*"))[2]
    content = bytearray(path.read_bytes())
    content[70] ^= 1
    path.write_bytes(content)
    assert command("verify", tmp_path / "jsonl").returncode == 1
    exported(several, tmp_path, "--to", "jsonl", "--overwrite")
    assert command("verify", tmp_path / "jsonl").returncode == 0
    assert (tmp_path / "jsonl/export.json").read_bytes() == before
    started = json.dumps({"digest": json.loads(before)["digest"]})
    (tmp_path / "jsonl/pieces.ndjson").write_text(started + "\n")  # stopped between export.json and taking this away
    exported(several, tmp_path, "--to", "jsonl")
    assert command("verify", tmp_path / "jsonl").returncode == 0
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", several, copy], check=True)
    shard = sorted((copy / "data").glob("*.parquet"))[1]
    pq.write_table(pq.read_table(shard).slice(0, 3), shard)
    sorted((tmp_path / "jsonl/data").glob("*"))[0].unlink()
    done = command("export", copy, "--to", "jsonl", "--out", tmp_path, "--quiet")
    said = "its bytes changed since the run; run the recipe again to write it anew"
    assert (done.returncode, done.stderr) == (1, f"Error: {shard}: {said}\n")
    exported(several, tmp_path, "--to", "jsonl")
    assert (tmp_path / "jsonl/export.json").read_bytes() == before


def test_a_recipe_names_its_exports(several, tmp_path):
    inputs = several.parent / "in.parquet"
    run = made(tmp_path / "run", inputs, "named", "export: [hf, jsonl]")
    assert len(list((run / "export/jsonl/data").glob("*"))) == len(list((run / "data").glob("*")))
    first = (run / "export/hf/export.json").read_bytes()
    made(
        tmp_path / "run",
        inputs,
        "named",
        "export: [hf, jsonl]",
        "seed: 2",
        "distill: {keep_tokens: 50%}",
        "reference: []",
    )
    assert (run / "export/hf/export.json").read_bytes() != first
    assert command("verify", run).returncode == 0
    next((run / "export/jsonl/data").glob("*")).unlink()
    (run / "export/hf/export.json").rename(run / "export/hf/pieces.ndjson")
    done = command("verify", run)
    assert done.stdout.splitlines()[0] == "export/hf: an export that is not finished; run again, and it goes on"
    assert re.fullmatch(r"export/jsonl/data/train-\d+-of-\d+\.jsonl: missing", done.stdout.splitlines()[1])
    recipe = tmp_path / "wrong.yaml"
    recipe.write_text(f"name: wrong\noutput: {tmp_path}/wrong\ninput: {{paths: ['{inputs}']}}\nexport: [jsonll]\n")
    done = command("run", recipe, "--quiet")
    assert done.stderr == "Error: export: jsonll: no such format; did you mean 'jsonl'?\n"
    assert not (tmp_path / "wrong" / "data").exists()


def late_columns(rows=1_200, late=1_000):
    """Columns of many kinds that the early rows have nothing in, so that whole shards lack them."""
    day, moment = datetime.date(2024, 2, 28), datetime.datetime(2024, 2, 28, 13, 14, 15)
    pair = pa.struct([("a", pa.int64()), ("b", pa.list_(pa.string()))])
    kinds = {
        "number": (pa.int64(), lambda k: k),
        "small": (pa.int8(), lambda k: k % 100),
        "flag": (pa.bool_(), lambda k: k % 2 == 0),
        "part": (pa.float32(), lambda k: float(k)),
        "half": (pa.float16(), lambda k: float(k % 7)),
        "word": (pa.string(), lambda k: f"word {k}"),
        "kind": (pa.dictionary(pa.int32(), pa.string()), lambda k: f"k{k % 3}"),
        "raw": (pa.binary(), lambda k: bytes([255, k % 256])),
        "price": (pa.decimal128(9, 2), lambda k: decimal.Decimal(k)),
        "day": (pa.date32(), lambda k: day + datetime.timedelta(k)),
        "clock": (pa.time64("us"), lambda k: datetime.time(3, 4, k % 60)),
        "moment": (pa.timestamp("us"), lambda k: moment + datetime.timedelta(k, microseconds=k % 2)),
        "zoned": (pa.timestamp("ms", "UTC"), lambda k: moment.replace(tzinfo=datetime.UTC) + datetime.timedelta(k)),
        "took": (pa.duration("us"), lambda k: datetime.timedelta(k)),
        "tags": (pa.list_(pa.string()), lambda k: [f"tag {k}", None]),
        "pair": (pair, lambda k: {"a": k, "b": None if k % 2 else ["x"]}),
        "turns": (pa.list_(pair), lambda k: [{"a": k, "b": ["y"]}]),
        "grid": (pa.list_(pa.list_(pa.int8(), 2)), lambda k: [[k % 5, None]]),
        "counts": (pa.map_(pa.string(), pa.int64()), lambda k: [("x", k)]),
        'a "quoted" name': (pa.int32(), lambda k: k),
    }
    columns = {name: pa.array([None if k < late else of(k) for k in range(rows)], t) for name, (t, of) in kinds.items()}
    return columns | {
        "often_empty": pa.array([[] if k < late else [k] for k in range(rows)], pa.list_(pa.int32())),
        "nothing": pa.nulls(rows),
    }


@pytest.fixture(scope="module")
def late(tmp_path_factory):
    """A run whose first shards lack nearly all columns."""
    folder = tmp_path_factory.mktemp("late")
    write_shard(
        folder / "in.parquet", [f"Document {k} tells of {k * k} things. " * 9 for k in range(1_200)], **late_columns()
    )
    return made(folder / "run", folder / "in.parquet", "late")


def test_the_printed_lines_read_columns_that_early_rows_lack(late, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    out = tmp_path / 'with "quotes" and \\'
    told = json.loads(exported(late, out, "--to", "hf,jsonl,trl", "--validation", "10%", "--json").stdout)
    loaded = {one["format"]: eval(one["load"], {"datasets": datasets}) for one in told}
    ids = set(loaded["hf"]["doc_id"])
    wanted = [row for row in kept(late) if row["doc_id"] in ids]
    assert len(list((late / "data").iterdir())) > 5
    for name, rows in loaded.items():
        assert rows["doc_id"][:] == [row["doc_id"] for row in wanted]
        assert rows["text"][:] == [row["text"] for row in wanted]
        assert name == "trl" or rows.column_names == list(wanted[0])
    last = wanted[-1]["number"]
    changed = {"counts": [{"key": "x", "value": last}]}
    in_lines = {
        "raw": base64.b64encode(wanted[-1]["raw"]).decode(),
        "price": f"{last}.00",
        "clock": f"03:04:{last % 60:02}",
        "took": f"{last} days, 0:00:00",
    }
    assert last > 1_100
    assert loaded["hf"][-1] == wanted[-1] | changed
    assert loaded["jsonl"][-1] == wanted[-1] | changed | in_lines
    assert loaded["jsonl"][0] == wanted[0] == dict.fromkeys(wanted[0]) | {
        name: wanted[0][name] for name in ("text", "doc_id", "n_tokens", "often_empty")
    }  # fmt: skip
    assert set(datasets.load_dataset(str(out / "jsonl"))) == {"train", "validation"}
