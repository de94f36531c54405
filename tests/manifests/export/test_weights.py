"""Exports honour weights: documents are written as often as they say, in training alone, and counts stay true."""

import json
from collections import Counter

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from support.commands import command
from support.exports import exported, kept, made

from curate.distill.draws import times_read
from curate.manifests.export.mixture import open_sources
from curate.manifests.export.sources import SPLIT_SEED, hash_fractions

DISTILL = "distill: {keep_tokens: '70%', scores: {input.grade: 1}, novelty: 0, quotas: null, curve: {max_repeats: 4}}"
WORDS = [
    "river",
    "stone",
    "law",
    "winter",
    "engine",
    "letter",
    "market",
    "harbour",
    "signal",
    "garden",
    "mirror",
    "coal",
]


@pytest.fixture(scope="module")
def weighted(tmp_path_factory):
    """A run whose documents have weights from under 1 to 4, in several shards."""
    folder, draw = tmp_path_factory.mktemp("weighted"), np.random.default_rng(3)
    texts = [f"Document {k}: " + " ".join(draw.choice(WORDS, 40)) + "." for k in range(500)]
    pq.write_table(pa.table({"text": texts, "grade": draw.random(500)}), folder / "in.parquet")
    return made(folder / "run", folder / "in.parquet", "weighted", DISTILL)


def written(folder, split="train"):
    """How often each document stands in the Parquet files of an export."""
    table = pq.read_table(sorted(folder.rglob(f"{split}-*.parquet")))
    return Counter(table["doc_id"].to_pylist()), table


def expected(run, validation=0.0):
    """The oracle: how often each document is to be written to the training split, and what is held out."""
    rows = kept(run)
    ids = pa.array([row["doc_id"] for row in rows])
    held_out = hash_fractions(ids, SPLIT_SEED) < validation
    times = times_read(ids, pa.array([row["weight"] for row in rows], pa.float32()))
    train = {row["doc_id"]: n for row, n, out in zip(rows, times.tolist(), held_out, strict=True) if n and not out}
    return train, {row["doc_id"] for row, out in zip(rows, held_out, strict=True) if out}


def test_a_weight_is_rounded_up_as_often_as_its_fraction_says():
    ids = pa.array([f"document-{k}" for k in range(20_000)])
    for weight in (0.05, 0.5, 1.0, 2.25, 7.0):
        times = times_read(ids, pa.array([weight] * len(ids), pa.float32()))
        assert set(times.tolist()) <= {int(weight), int(weight) + 1}
        assert times.mean() == pytest.approx(weight, abs=0.02)
    assert times_read(ids, pa.nulls(len(ids), pa.float32())).tolist() == [1] * len(ids)


def test_the_draw_is_of_the_id_alone_and_rises_with_the_weight():
    ids = pa.array([f"document-{k}" for k in range(500)])
    draws = [times_read(ids, pa.array([weight] * 500)) for weight in np.arange(0, 4, 0.3)]
    assert (np.diff(np.array(draws), axis=0) >= 0).all()
    backwards = times_read(ids.take(pa.array(range(499, -1, -1))), pa.array([1.6] * 500))
    assert backwards[::-1].tolist() == times_read(ids, pa.array([1.6] * 500)).tolist()


def test_documents_are_written_as_often_as_their_weights_say_and_held_out_ones_once(weighted, tmp_path):
    exported(weighted, tmp_path, "--to", "trl", "--validation", "20%")
    train, held_out = expected(weighted, 0.2)
    assert max(train.values()) == 4
    counts, table = written(tmp_path / "trl")
    assert counts == train
    assert written(tmp_path / "trl", "validation")[0] == dict.fromkeys(held_out, 1)
    told = json.loads((tmp_path / "trl" / "export.json").read_text())
    assert told["splits"]["train"] == {"documents": len(table), "tokens": sum(table["n_tokens"].to_pylist())}
    assert told["sources"][0]["repeated"] is True
    assert command("verify", tmp_path / "trl").returncode == 0
    read = datasets.load_dataset("parquet", data_files=str(tmp_path / "trl/data/train-*.parquet"), split="train")
    assert Counter(read["doc_id"]) == train


def test_copies_are_as_far_apart_as_a_shard_allows(weighted, tmp_path):
    exported(weighted, tmp_path, "--to", "trl")
    for shard in sorted((tmp_path / "trl" / "data").glob("*.parquet")):
        ids = pq.read_table(shard)["doc_id"].to_pylist()
        last = {doc_id: k for k, doc_id in enumerate(ids)}
        [first_twice] = [k for k in range(len(ids)) if ids[k] in ids[:k]][:1] or [len(ids)]
        assert set(ids[:first_twice]) == set(ids)  # all once, before any is there again
        assert len(last) == first_twice


@pytest.mark.parametrize("name", ["hf", "jsonl"])
def test_formats_with_all_columns_have_each_document_once_with_its_weight(weighted, tmp_path, name):
    exported(weighted, tmp_path, "--to", name)
    read = datasets.load_dataset(str(tmp_path / name), split="train")
    known = {row["doc_id"]: row["weight"] for row in kept(weighted)}
    assert dict(zip(read["doc_id"], read["weight"], strict=True)) == pytest.approx(known)
    assert len(read) == len(known)
    assert json.loads((tmp_path / name / "export.json").read_text())["sources"][0]["repeated"] is False


def test_once_writes_each_document_once(weighted, tmp_path):
    exported(weighted, tmp_path, "--to", "trl", "--once")
    assert written(tmp_path / "trl")[0] == {row["doc_id"]: 1 for row in kept(weighted)}


def test_the_number_of_workers_changes_no_byte(weighted, tmp_path):
    for workers in (1, 2):
        exported(weighted, tmp_path / str(workers), "--to", "trl,webdataset", "--workers", workers)
    for name in ("trl", "webdataset"):
        one, two = (json.loads((tmp_path / w / name / "export.json").read_text())["files"] for w in "12")
        assert one == two


def test_the_epochs_of_a_mixture_are_over_what_is_written(weighted, tmp_path):
    pq.write_table(pa.table({"text": [f"Short {k}. " * 4 for k in range(300)]}), tmp_path / "in.parquet")
    made(tmp_path / "short", tmp_path / "in.parquet", "short")
    path = tmp_path / "mixture.yaml"
    sources = {"graded": {"run": str(weighted), "weight": 3}, "short": {"run": "short", "weight": 1}}
    path.write_text(yaml.safe_dump({"name": "mix", "tokens": 20_000, "sources": sources}))
    tokens = {row["doc_id"]: row["n_tokens"] for row in kept(weighted)}
    read = sum(n * tokens[doc_id] for doc_id, n in expected(weighted)[0].items())
    graded, _ = open_sources(path)
    assert graded.epochs == pytest.approx(15_000 / read)
    assert open_sources(path, once=True)[0].epochs == pytest.approx(15_000 / sum(tokens.values()))
    exported(path, tmp_path / "out", "--to", "hf")
    assert written(tmp_path / "out" / "hf" / "data" / "graded")[0] == expected(weighted)[0]
    told = {source["name"]: source for source in json.loads((tmp_path / "out/hf/mixture.json").read_text())["sources"]}
    assert told["graded"]["tokens"] == read
    assert told["graded"]["epochs"] * read == pytest.approx(15_000, rel=1e-3)
