"""Output shards: where row groups and shards are cut, and whose edits are made."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.commands import carry_out
from support.corpora import PROSE, write_shard
from support.recipes import write_recipe
from support.runs import documents
from xxhash import xxh3_128_hexdigest

from curate.corpus.edits import PART
from curate.corpus.units import Unit
from curate.ledger.parts import Part, write_part
from curate.maps.shards import (
    ROW_GROUP_ROWS,
    content_hashes,
    edits_in_rows,
    output_name,
    with_edits,
    write_tables,
)


def groups_of(path):
    metadata = pq.read_metadata(path)
    return [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)]


@pytest.mark.parametrize(
    ("rows", "groups"), [(ROW_GROUP_ROWS, [ROW_GROUP_ROWS]), (ROW_GROUP_ROWS + 1, [ROW_GROUP_ROWS, 1])]
)
def test_row_groups_are_full_of_rows(tmp_path, rows, groups):
    table = pa.table({"text": ["a"] * rows})
    assert write_tables(tmp_path / "a.parquet", [table.slice(0, 100), table.slice(100)]) == rows
    assert groups_of(tmp_path / "a.parquet") == groups


def test_row_groups_hold_no_more_bytes_than_they_may_unless_a_step_does(tmp_path, monkeypatch):
    monkeypatch.setattr("curate.maps.shards.ROW_GROUP_BYTES", 400)
    write_tables(tmp_path / "a.parquet", [pa.table({"text": ["0123456789"] * 70 + ["0123456789" * 9] * 16})])
    assert groups_of(tmp_path / "a.parquet") == [32, 32, 16, 6]  # 16 rows a step: 160 bytes each, then far more


def edits(*rows):
    fields = {"file_no": 0, "start": 0, "end": 1, "replacement": None, "reason": "x", "stage": "input"}
    return pa.Table.from_pylist([fields | {"row": row} for row in rows], PART)


def test_edits_are_read_of_every_unit_that_holds_a_row(tmp_path):
    units = [Unit(0, 0, 5), Unit(0, 5, 10), Unit(0, 10, 15)]
    tables = [edits(4), edits(5, 6), edits(10)]
    parts = [write_part(tmp_path, "edits", "x", str(k), table) for k, table in enumerate(tables)]
    parts = [replace(part, units=(unit,)) for part, unit in zip(parts, units, strict=True)]

    def rows(first, last):
        return edits_in_rows(tmp_path, parts, 0, first, last)["row"].to_pylist()

    assert rows(3, 5) == [4, 5]
    assert rows(5, 9) == [5, 6]
    assert rows(6, 10) == [6, 10]
    assert edits_in_rows(tmp_path, parts, 0, 15, 20) is None
    assert edits_in_rows(tmp_path, parts, 1, 0, 5) is None


def test_edits_of_the_first_and_the_last_row_are_made_and_of_rows_between_none():
    table = pa.table({"text": ["abc", "def"]})
    made = edits(1, 2, 3, 5, 6).select(["row", "start", "end", "replacement"])
    edited = with_edits(table, np.array([2, 5]), made, "text")
    assert edited["text"].to_pylist() == ["bc", "ef"]


def test_a_file_is_known_by_its_units_in_order():
    units = [Unit(7, 10, 20), Unit(7, 0, 10), Unit(7, 20, 30)]
    parts = [
        Part("documents", "", "", 10, 0, "", (unit,), contents=(name,)) for unit, name in zip(units, "bac", strict=True)
    ]
    assert content_hashes(parts) == {7: xxh3_128_hexdigest(b"abc")}


def test_our_columns_find_a_name_that_the_input_does_not_have():
    inputs = pa.schema([("n_tokens", pa.int64()), ("curate_n_tokens", pa.int64())])
    assert output_name("n_tokens", inputs) == "curate_curate_n_tokens"
    assert output_name("doc_id", inputs) == "doc_id"


def test_a_document_goes_to_the_shard_that_the_bytes_kept_before_it_tell(tmp_path, monkeypatch):
    monkeypatch.setattr("curate.decide.decide.DECISION_ROWS", 7)
    texts = [f"{k} {PROSE * 2}" if k % 3 else "short" * 40 for k in range(60)]
    write_shard(tmp_path / "in" / "a.parquet", texts)
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": ["gopher"]}, shard_size=1000)
    carry_out(recipe)
    expected, written, slots = [], 0, []
    for k, text in enumerate(texts):
        if k % 3:
            slots += [written // 1000] if written // 1000 not in slots[-1:] else []
            expected.append(len(slots) - 1)
            written += len(text)
    assert [shard for (shard,) in documents(run, "shard", "kept")] == expected
    assert len(list(Path(run / "data").iterdir())) == expected[-1] + 1
