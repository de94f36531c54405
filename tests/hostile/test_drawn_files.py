"""Files of all kinds: every row comes in once, whatever the row groups are, and comes out with the values it had."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.commands import carry_out
from support.drawn_files import FAMILIES, drawn_files, write
from support.recipes import write_recipe
from support.soak import some

from curate.corpus.parquet import open_footer, read_documents
from curate.corpus.units import cut_units
from curate.errors import InputError
from curate.ledger.run import connect
from curate.manifests.verify import verify, verify_inputs
from curate.progress import unwritten_log
from curate.recipe.input import Input, Source


@pytest.fixture
def small_units(monkeypatch):
    """Units of a few rows, each a task of its own."""
    for name, value in (
        ("corpus.units.MIN_UNIT_BYTES", 100),
        ("corpus.units.MAX_UNIT_BYTES", 200),
        ("maps.measure.TASK_BYTES", 1),
    ):
        monkeypatch.setattr(f"curate.{name}", value)


@some(60)
@given(st.lists(drawn_files(), min_size=1, max_size=2))
def test_units_hold_every_row_once_and_none_is_empty(small_units, tmp_path_factory, files):
    for file, path in zip(files, write(files, tmp_path_factory.mktemp("units")), strict=True):
        place = str(path)
        found = open_footer(place, place, place, Source(paths=[place], text=file.text), Input(paths=[place]))
        units = cut_units(0, found)
        assert all(unit.start < unit.stop for unit in units)
        assert [unit.start for unit in units] == [0, *(unit.stop for unit in units)][: len(units)]
        texts = [
            text
            for unit in units
            for batch in read_documents(found.source, unit.start, unit.stop, ["text"])
            for text in batch.column("text").to_pylist()
        ]
        assert texts == file.texts


@some(12)
@given(st.lists(drawn_files(), min_size=1, max_size=3))
def test_documents_come_out_of_a_run_with_the_values_they_had(small_units, tmp_path_factory, files):
    folder = tmp_path_factory.mktemp("run")
    paths = sorted(zip(write(files, folder / "in"), files, strict=True), key=lambda pair: pair[0])
    entries = [{"paths": [str(path)], "text": file.text} for path, file in paths]
    recipe, run = write_recipe(folder, "", input={"paths": entries}, dedup={"exact": False}, allow_empty=True)
    texts = [text for _, file in paths for text in file.texts]
    if not texts:
        with pytest.raises(InputError, match="no documents in the"):
            carry_out(recipe)
        return
    assert carry_out(recipe)["documents_in"] == len(texts)
    kept = [bool(text and text.strip()) for text in texts]
    table = pq.read_table(sorted((run / "data").glob("*.parquet"))) if any(kept) else pa.table({"text": []})
    assert table["text"].to_pylist() == [text for text, one in zip(texts, kept, strict=True) if one]
    for name in FAMILIES.keys() & set(table.column_names):
        values = [value for _, file in paths for value in file.values(name)]
        told = [_without_nulls(value) for value, one in zip(values, kept, strict=True) if one]
        assert [_without_nulls(value) for value in table[name].to_pylist()] == told
    assert verify(run, 1, unwritten_log(True)) == []
    assert verify_inputs(run, 1, unwritten_log(True)) == []
    with connect(run) as connection:
        assert connection.execute("SELECT count(*) FROM corpus").fetchall() == [(len(texts),)]


def _without_nulls(value):
    """A struct without the fields that only other files have."""
    return {name: one for name, one in value.items() if one is not None} if isinstance(value, dict) else value


def test_an_empty_row_group_before_a_unit_of_rows_is_no_unit(small_units, tmp_path):
    (tmp_path / "in").mkdir()
    schema = pa.schema([("text", pa.string())])
    with pq.ParquetWriter(tmp_path / "in" / "a.parquet", schema) as writer:
        for texts in ([], ["a word " * 100] * 3, [], [], ["b word " * 100], []):
            writer.write_table(pa.table({"text": texts}, schema))
    recipe, _ = write_recipe(tmp_path, tmp_path / "in", dedup={"exact": False})
    assert carry_out(recipe)["documents_out"] == 4
