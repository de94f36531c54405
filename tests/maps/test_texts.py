"""Texts of single documents: read by place, known by their hashes, shown without personal data."""

import os

import pyarrow as pa
import pytest
from support.commands import carry_out
from support.corpora import PROSE, write_shard
from support.recipes import write_recipe

from curate.errors import InputError
from curate.ledger.ledger import read_ledger
from curate.maps.documents import edits_of, masked, read_texts


@pytest.fixture
def run(tmp_path):
    for k in range(3):
        write_shard(tmp_path / "in" / f"{k}.parquet", [f"{PROSE} {k} {row}" for row in range(20_000)])
    recipe, run = write_recipe(tmp_path, tmp_path / "in", dedup={"exact": False})
    carry_out(recipe)
    return run


def places(*pairs):
    return pa.table({"file_no": [file_no for file_no, _ in pairs], "row": [row for _, row in pairs]})


def test_texts_are_read_by_their_places(run):
    wanted = [(0, 0), (0, 5), (0, 19_999), (2, 7), (2, 15_000)]
    found = read_texts(read_ledger(run), "text", places(*wanted))
    assert found["text"].to_pylist() == [f"{PROSE} {k} {row}" for k, row in wanted]
    assert len(read_texts(read_ledger(run), "text", places())) == 0


def test_a_file_that_was_only_touched_is_read_and_another_one_refused(run):
    path = run.parent / "in" / "1.parquet"
    os.utime(path, (1, 1))
    [text] = read_texts(read_ledger(run), "text", places((1, 4)))["text"].to_pylist()
    assert text == f"{PROSE} 1 4"
    write_shard(path, ["another text"] * 20_000)
    with pytest.raises(InputError, match=r"1\.parquet:4: is not the text that was measured; run again"):
        read_texts(read_ledger(run), "text", places((1, 4)))
    path.unlink()
    with pytest.raises(InputError, match=r"1\.parquet: No such file or directory; it was there when the run measured"):
        read_texts(read_ledger(run), "text", places((1, 4)))


def test_texts_that_are_null_or_no_utf8_are_read_too(tmp_path):
    raw = pa.array([PROSE.encode(), None, b"caf\xe9 " * 30]).cast(pa.binary())
    write_shard(tmp_path / "in" / "a.parquet", pa.StringArray.from_buffers(3, *raw.buffers()[1:], raw.buffers()[0]))
    recipe, run = write_recipe(tmp_path, tmp_path / "in", dedup={"exact": False})
    carry_out(recipe)
    found = read_texts(read_ledger(run), "text", places((0, 0), (0, 1), (0, 2)))
    assert found["text"].to_pylist() == [PROSE, None, "caf\ufffd " * 30]


def test_edits_are_found_by_the_place_of_their_document(tmp_path):
    texts = [f"{PROSE} Write to jane.doe{k}@gmail.com." for k in range(5)]
    write_shard(tmp_path / "in" / "a.parquet", texts)
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"pii": "redact"}, dedup={"exact": False})
    carry_out(recipe)
    found = edits_of(read_ledger(run), places((0, 1), (0, 3)))
    assert found["row"].to_pylist() == [1, 3]
    assert found["replacement"].to_pylist() == ["<EMAIL>", "<EMAIL>"]
    start, end = found["start"][0].as_py(), found["end"][0].as_py()
    assert texts[1][start:end] == "jane.doe1@gmail.com"


def test_what_is_shown_has_no_personal_data():
    shown = masked(pa.array(["Write to jane.doe@gmail.com or 192.168.17.4.", None]))
    assert shown.to_pylist() == ["Write to <EMAIL> or <IP_ADDRESS>.", None]
