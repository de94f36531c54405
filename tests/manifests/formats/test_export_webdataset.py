"""WebDataset exports, read by webdataset itself: every document, in order; stable tars; mixtures; chats."""

import importlib.util
import itertools
import json
import runpy
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from support.commands import command
from support.exports import ODD, exported, kept

from curate.engine.base import InProcess
from curate.manifests.export.export import export
from curate.manifests.export.format import Options, Piece
from curate.manifests.export.mixture import open_sources
from curate.manifests.export.sources import Shard, Source
from curate.manifests.formats.webdataset import FORMAT
from curate.progress import unwritten_log
from curate.storage.files import sha256_of


def read(folder):
    """The samples of a folder, in order."""
    tars = [str(folder / shard["url"]) for shard in json.loads((folder / "index.json").read_text())["shardlist"]]
    return list(webdataset.WebDataset(tars, shardshuffle=False).decode())


def test_webdataset_reads_every_document_in_order(web, tmp_path):
    exported(web, tmp_path, "--to", "webdataset,jsonl", "--validation", "10%")
    folder = tmp_path / "webdataset"
    for split in ("train", "validation"):
        lines = [line for path in sorted((tmp_path / "jsonl/data").glob(f"{split}-*"))
                 for line in path.read_text("utf-8").split("\n")[:-1]]  # fmt: skip
        wanted = [json.loads(line) for line in lines]
        found = read(folder / split)
        assert len(wanted) > 80
        assert [one["txt"] for one in found] == [row["text"] for row in wanted]
        assert [one["json"]["doc_id"] for one in found] == [row["curate_doc_id"] for row in wanted]
        assert [one["json"]["n_tokens"] for one in found] == [row["n_tokens"] for row in wanted]
        assert {one["json"]["source"] for one in found} == {"web"}
        others = [name for name in wanted[0] if name not in ("text", "curate_doc_id", "n_tokens")]
        assert [one["json"]["columns"] for one in found] == [{name: row[name] for name in others} for row in wanted]
        keys = [one["__key__"] for one in found]
        assert keys == sorted(set(keys))
        index = json.loads((folder / split / "index.json").read_text())
        assert (index["__kind__"], index["wids_version"]) == ("wids-shard-index-v1", 1)
        assert sum(shard["nsamples"] for shard in index["shardlist"]) == len(found)
        assert len(index["shardlist"]) > 3
    assert {row["text"] for row in kept(web)} >= set(ODD)
    loaded = eval(FORMAT.load(folder), {"webdataset": webdataset})
    assert [one["__key__"] for one in loaded] == [one["__key__"] for one in read(folder / "train")]


def test_tars_tell_neither_time_nor_user(web, tmp_path):
    exported(web, tmp_path, "--to", "webdataset")
    with tarfile.open(next((tmp_path / "webdataset/train").glob("*.tar"))) as tar:
        assert {(one.mtime, one.uname, one.gname, one.uid, one.gid) for one in tar} == {(0, "", "", 0, 0)}


@pytest.mark.slow  # test_export.py has it for other formats
def test_tars_do_not_depend_on_the_workers(web, tmp_path):
    for workers in (1, 3):
        exported(web, tmp_path / str(workers), "--to", "webdataset", "--workers", workers)
    told = [(tmp_path / str(workers) / "webdataset/export.json").read_bytes() for workers in (1, 3)]
    assert told[0] == told[1]


def test_a_mixture_draws_each_source_as_often_as_its_documents_are_seen(mixture, tmp_path):
    sources = open_sources(mixture)
    [told] = export(sources, ["webdataset"], tmp_path, Options(), InProcess(), unwritten_log(True))
    folder = tmp_path / "webdataset"
    for source in sources:
        found = read(folder / source.name / "train")
        assert [one["txt"] for one in found] == [row["text"] for row in kept(mixture.parent / source.run)]
        assert {one["json"]["source"] for one in found} == {source.name}
    drawn = itertools.islice(eval(told.load, {"runpy": runpy}), 6_000)
    of_web = sum(one["json"]["source"] == "web" for one in drawn) / 6_000
    seen = {source.name: source.epochs * sum(shard.documents for shard in source.shards) for source in sources}
    assert abs(of_web - seen["web"] / sum(seen.values())) < 0.03


def test_chats_and_empty_texts_are_read_as_they_are(tmp_path):
    chat = [[{"role": "user", "content": "Hi 🦊"}, {"role": "assistant", "content": ""}], [], None]
    for name, column, values in (("chats", "messages", chat), ("texts", "text", ["", "one", ""])):
        table = pa.table({column: values, "doc_id": ["a", "b", "c"], "n_tokens": [1, 2, 3]})
        pq.write_table(table, tmp_path / f"{name}.parquet")
        shard = Shard(str(tmp_path / f"{name}.parquet"), 3, 6, sha256_of(tmp_path / f"{name}.parquet"))
        texts, messages = (column, None) if column == "text" else (None, column)
        source = Source(name, "", "", texts, messages, "doc_id", "n_tokens", (shard,))
        piece = Piece(source, shard.path, "train", str(tmp_path), f"data/{name}/train-00000-of-00001", 3, 6, Options())
        [tar] = FORMAT.write(piece).files
        found = list(webdataset.WebDataset(str(tar), shardshuffle=False).decode())
        assert [one["txt"] if texts else one["json"]["messages"] for one in found] == values


@pytest.mark.skipif(importlib.util.find_spec("streaming") is not None, reason="for where it is not installed")
@pytest.mark.parametrize(("name", "module"), [("mds", "streaming"), ("litdata", "litdata")])
def test_a_format_whose_library_is_not_installed_is_one_line(web, tmp_path, name, module):
    done = command("export", web, "--to", name, "--out", tmp_path / "out")
    said = f"Error: --to {name}: needs {module}, which is not installed; pip install 'curate-lm[{name}]'\n"
    assert (done.returncode, done.stderr, done.stdout) == (1, said, "")
    assert not (tmp_path / "out").exists()
