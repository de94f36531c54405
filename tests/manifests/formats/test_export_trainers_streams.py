"""Exports to MDS and litdata, read by the libraries themselves: every document, in order; mixtures; same bytes."""

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.exports import ODD, exported, kept
from support.token_exports import alone

from curate.engine.base import InProcess
from curate.manifests.export.export import export
from curate.manifests.export.format import Export, Options, Piece, find_format
from curate.manifests.export.mixture import open_sources
from curate.manifests.export.records import PieceRecord, file_record
from curate.manifests.export.sources import Shard, Source
from curate.progress import unwritten_log

pytestmark = pytest.mark.trainers
NAMES = ("mds", "litdata")


def written(run, out, *names, validation=0.0, tokenizer=None):
    """An export in this process: the libraries are imported once."""
    return export(open_sources(run), names, out, Options(validation, tokenizer), InProcess(), unwritten_log(True))


def read(name, folder):
    """The documents of a folder, one after the other, as the library gives them."""
    if name == "litdata":
        import litdata

        return list(litdata.StreamingDataset(str(folder), shuffle=False))
    import streaming

    streaming.base.util.clean_stale_shared_memory()
    loaded = streaming.StreamingDataset(local=str(folder), shuffle=False, batch_size=1, validate_hash="sha1")
    return list(loaded)


@pytest.fixture(scope="module")
def whole(web, tmp_path_factory):
    """Both exports of a run, with a validation split."""
    out = tmp_path_factory.mktemp("whole")
    return out, written(web, out, *NAMES, validation=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_the_library_reads_every_document_in_order(web, whole, name):
    out, told = whole
    seen = []
    for split in ("train", "validation"):
        found = read(name, out / name / split)
        ids = {one["doc_id"] for one in found}
        wanted = [row for row in kept(web) if row["curate_doc_id"] in ids]
        assert [(one["text"], one["doc_id"], one["n_tokens"], one["source"]) for one in found] == [
            (row["text"], row["curate_doc_id"], row["n_tokens"], "web") for row in wanted
        ]
        assert told[NAMES.index(name)].splits[split].documents == len(found) > 80
        seen += found
    assert len(seen) == len(kept(web))
    assert {one["text"] for one in seen} >= set(ODD)


@pytest.mark.parametrize("name", NAMES)
def test_the_line_that_is_printed_reads_it(whole, name):
    import litdata
    import streaming

    streaming.base.util.clean_stale_shared_memory()
    out, told = whole
    told = told[NAMES.index(name)]
    loaded = eval(told.load, {"litdata": litdata, "streaming": streaming})
    assert len(loaded) == told.splits["train"].documents
    assert loaded[7]["doc_id"] == read(name, out / name / "train")[7]["doc_id"]


@pytest.mark.parametrize("large", [False, True])
def test_with_a_tokenizer_litdata_has_the_tokens_of_every_document(web, tmp_path, tokenizers, large):
    import litdata

    path = tokenizers[large]
    [told] = written(web, tmp_path, "litdata", tokenizer=str(path))
    folder = tmp_path / "litdata/train"
    chunks = json.loads((folder / "index.json").read_text())["chunks"]
    found = [
        np.fromfile(folder / one["filename"], np.uint32 if large else np.uint16, offset=4 * (one["chunk_size"] + 2))
        for one in chunks
    ]
    eos = told.options["tokenizer"]["eos"]
    wanted = [number for document in alone(path, eos, [row["text"] for row in kept(web)]) for number in document]
    assert np.concatenate(found).tolist() == wanted
    assert told.splits["train"].tokens == len(wanted)
    loaded = eval(told.load.replace("2049", "64"), {"litdata": litdata})
    blocks = np.concatenate([one[: len(one) // 64 * 64] for one in found])
    assert np.concatenate([np.asarray(block) for block in loaded]).tolist() == blocks.tolist()
    assert (tmp_path / "litdata/tokenizer.json").read_bytes() == path.read_bytes()


def test_the_index_of_mds_is_what_its_own_merging_makes(whole, tmp_path):
    from streaming.base.util import merge_index

    folder = whole[0] / "mds/train"
    merge_index([str(path) for path in sorted(folder.glob("*/index.json"))], str(tmp_path))
    assert json.loads((tmp_path / "index.json").read_text()) == json.loads((folder / "index.json").read_text())
    assert len(list(folder.glob("*/index.json"))) > 5


def test_the_bytes_do_not_depend_on_the_workers(web, whole, tmp_path):
    exported(web, tmp_path, "--to", ",".join(NAMES), "--validation", "10%", "--workers", 3)
    for name in NAMES:
        assert (tmp_path / name / "export.json").read_bytes() == (whole[0] / name / "export.json").read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_an_export_that_was_killed_goes_on(web, whole, tmp_path, name):
    words = [sys.executable, "-m", "curate", "export", web, "--to", name, "--out", tmp_path, "--workers", "1"]
    running = subprocess.Popen([*map(str, words), "--validation", "10%", "--quiet"], start_new_session=True)
    folder, there = tmp_path / name, []
    while running.poll() is None and len(there) < 4:
        there = [one for one in folder.glob("train/*") if not one.name.startswith(".")]
        time.sleep(0.001)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert not (folder / "export.json").exists()
    aside = folder / "train" / ".aside-killed"  # as a kill while a piece is written leaves it
    aside.mkdir()
    (aside / "shard.00000.mds").write_bytes(b"half")
    written(web, tmp_path, name, validation=0.1)
    assert (folder / "export.json").read_bytes() == (whole[0] / name / "export.json").read_bytes()
    assert not list(folder.rglob(".aside-*"))
    told = {file["path"] for file in json.loads((folder / "export.json").read_text())["files"]}
    assert {one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file()} == told | {"export.json"}


def test_streams_of_mds_repeat_each_source_as_often_as_the_mixture_says(mixture, tmp_path):
    import streaming

    [told] = written(mixture, tmp_path, "mds", validation=0.1)
    streaming.base.util.clean_stale_shared_memory()
    loaded = eval(told.load, {"streaming": streaming, "runpy": runpy})
    for source, epochs in ((one.name, one.epochs) for one in told.sources):
        found = read("mds", tmp_path / "mds" / source / "train")
        held_out = {one["doc_id"] for one in read("mds", tmp_path / "mds" / source / "validation")}
        assert held_out
        streaming.base.util.clean_stale_shared_memory()
        times = Counter(one["doc_id"] for one in loaded if one["source"] == source)
        assert sum(times.values()) == int(len(found) * epochs)
        assert set(times) <= {one["doc_id"] for one in found}
        assert set(times.values()) <= {int(epochs), int(epochs) + 1}
    streams = runpy.run_path(str(tmp_path / "mds/streams.py"))["streams"]("validation")
    streaming.base.util.clean_stale_shared_memory()
    validation = list(streaming.StreamingDataset(streams=streams, batch_size=1, shuffle=False))
    assert len(validation) == told.splits["validation"].documents


def test_litdata_draws_each_source_as_often_as_its_documents_are_seen(mixture, tmp_path):
    [told] = written(mixture, tmp_path, "litdata")
    sources = {one.name: one for one in told.sources}
    for name in sources:
        found = read("litdata", tmp_path / "litdata" / name / "train")
        assert len(found) == sources[name].documents
        assert {one["source"] for one in found} == {name}
    drawn = Counter(one["source"] for one in eval(told.load, {"runpy": runpy}))
    seen = {name: one.epochs * one.documents for name, one in sources.items()}
    assert abs(drawn["web"] / sum(drawn.values()) - seen["web"] / sum(seen.values())) < 0.04


CHAT = [
    [{"role": "user", "content": "Hi 🦊"}, {"role": "assistant", "content": "Hello."}],
    [{"role": "user", "content": "One"}],
    [{"role": "user", "content": ""}, {"role": "assistant", "content": "Two"}, {"role": "user", "content": "Three"}],
]
LATE = [  # a field that early chats lack
    [{"role": "user", "content": "One", "name": None, "tools": None}],
    [{"role": "user", "content": "Two", "name": "Ann", "tools": ["x"]}],
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("column", "values"), [("messages", CHAT), ("messages", LATE), ("text", [__file__, "", "two", ""])]
)
def test_chats_empty_texts_and_names_of_files_are_read_as_they_are(tmp_path, name, column, values):
    ids = [str(k) for k in range(len(values))]
    table = pa.table({column: values, "doc_id": ids, "n_tokens": [1] * len(values)})
    pq.write_table(table, tmp_path / "in.parquet")
    texts, messages = (column, None) if column == "text" else (None, column)
    shard = Shard(str(tmp_path / "in.parquet"), len(values), len(values), "")
    source = Source("some", "", "", texts, messages, "doc_id", "n_tokens", (shard,))
    piece = Piece(source, shard.path, "train", str(tmp_path), "data/train-00000-of-00001", len(values), 1, Options())
    found = find_format(name)
    files = found.write(piece).files
    first = {path: path.read_bytes() for path in files}
    assert found.write(piece).files == files
    assert {path: path.read_bytes() for path in files} == first
    record = PieceRecord(
        stem=piece.stem, split="train", source="some", documents=len(values), tokens=1,
        files=tuple(file_record(tmp_path, path) for path in files),
    )  # fmt: skip
    found.finish(Export(tmp_path, (source,), Options(), (record,)))
    assert [one[column] for one in read(name, tmp_path / "train")] == values
