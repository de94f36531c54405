"""Parquet that nobody should write: read, or refused in one line, in bounded memory."""

import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.commands import carry_out, refused, told_by
from support.corpora import PROSE
from support.recipes import write_recipe
from support.runs import documents
from support.soak import EXAMPLES, SEED, SOAK, tell

from curate.corpus.parquet import MOST_BYTES, read_rows
from curate.corpus.side_files import tables_of
from curate.errors import CurateError, InputError
from curate.filters.contamination import benchmarks as contamination
from curate.recipe.tier1 import Decontaminate

HERE = Path(__file__).parent
ODD_COLUMNS = {
    "a map": pa.array([[("a", 1)]] * 3, pa.map_(pa.string(), pa.int32())),
    "an empty struct in a list": pa.array([[{"a": {"b": [None]}}]] * 3),
    "decimals": pa.array([1, 2, None], pa.decimal128(38, 10)),
    "nanoseconds": pa.array([1, 2, 3], pa.timestamp("ns", "Europe/Berlin")),
    "durations": pa.array([1, 2, 3], pa.duration("us")),
    "half floats": pa.array([1, 2, 3], pa.float16()),
    "bytes of a size": pa.array([b"abc"] * 3, pa.binary(3)),
    "a large list": pa.array([[1], None, []], pa.large_list(pa.int64())),
    "a list of a size": pa.array([[1, 2]] * 3, pa.list_(pa.int32(), 2)),
    "nulls": pa.nulls(3),
    "views": pa.array(["a", None, "c"], pa.string_view()),
    "floats that are none": pa.array([float("nan"), float("inf"), None]),
}


def crashed(seed, count):
    """Files that pyarrow itself ended the process at, of so many damaged ones; and how many were read and refused."""
    aborted, done = 0, re.compile(r"(\d+) read, (\d+) refused")
    left = count
    while left > 0:
        arguments = [sys.executable, str(HERE / "fuzzed_parquet.py"), str(seed), str(left)]
        ended = subprocess.run(arguments, capture_output=True, text=True, timeout=600, check=False)
        if found := done.search(ended.stdout):
            return aborted, int(found[1]), int(found[2])
        assert "ParquetException" in ended.stderr, ended.stderr  # which pyarrow fails to catch
        aborted += 1
        left -= len(ended.stdout.splitlines())
        seed += 1000
    return aborted, 0, 0


def test_a_damaged_file_is_read_or_refused_in_one_line(tmp_path):
    count = 10 * EXAMPLES if SOAK else 400
    aborted, read, refused_files = crashed(SEED, count)
    assert refused_files > read
    assert aborted <= 1 + count / 300
    tell(f"damaged Parquet: {count} files, {aborted} ended the process within pyarrow, the others read or refused")


def test_odd_columns_are_carried_through(tmp_path):
    (tmp_path / "in").mkdir()
    texts = [PROSE, PROSE + "b", PROSE + "c"]
    pq.write_table(pa.table({"text": texts, **ODD_COLUMNS}), tmp_path / "in" / "a.parquet")
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    written = pq.read_table(run / "data")
    for name, column in ODD_COLUMNS.items():
        assert str(written[name].to_pylist()) == str(column.to_pylist()), name  # two NaN are not equal
    assert len(documents(run)) == 3


@pytest.mark.parametrize(
    "table",
    [pa.table({}), pa.table({"text": pa.nulls(3)}), pa.table({"text": ["x"], "Text": ["y"], "TEXT": ["z"]})],
    ids=["no columns", "nulls", "names equal but for case"],
)
def test_odd_tables_are_one_line_or_rows(tmp_path, table):
    (tmp_path / "in").mkdir()
    pq.write_table(table, tmp_path / "in" / "a.parquet")
    recipe, run = write_recipe(tmp_path, tmp_path / "in", allow_empty=True)
    try:
        carry_out(recipe)
    except CurateError as error:
        told_by(error)
    else:
        assert len(documents(run)) == len(table)


def test_a_wrong_statistic_decides_nothing(tmp_path):
    path = tmp_path / "in" / "a.parquet"
    path.parent.mkdir()
    pq.write_table(pa.table({"text": [PROSE], "n": ["zzzz"]}), path, compression="none", use_dictionary=False)
    data = path.read_bytes()
    footer = data.rindex(b"zzzz", 0, len(data) - 8)
    path.write_bytes(data[:footer] + b"aaaa" + data[footer + 4 :])
    rule = {"reason": "last", "when": "input.n = 'zzzz'"}
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": [rule]}, allow_empty=True)
    carry_out(recipe)
    assert documents(run, "reason") == [("last",)]


@pytest.mark.parametrize("told", [60, 62])
def test_a_footer_that_tells_of_fewer_or_more_rows_than_there_are_loses_none(tmp_path, told):
    path = tmp_path / "in" / "a.parquet"
    path.parent.mkdir()
    pq.write_table(pa.table({"text": [f"{PROSE}{k}" for k in range(61)]}), path, store_schema=False)
    data = path.read_bytes()
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    path.write_bytes(data[:start] + data[start:].replace(bytes([2 * 61]), bytes([2 * told]), 1))  # as zigzag has them
    assert pq.read_metadata(path).num_rows == told
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    if told < 61:
        assert "a.parquet" in refused(recipe, InputError)
    else:
        carry_out(recipe)
        assert len(documents(run)) == 61


def test_a_column_of_kilobytes_that_unpacks_to_gigabytes_is_read_in_bounded_memory(tmp_path):
    long = "word " * (1 << 20)
    values = pa.DictionaryArray.from_arrays(pa.array([0] * 16 + [1] * 1000, pa.int32()), pa.array(["x", long]))
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": values}), path, compression="zstd", store_schema=False)
    assert path.stat().st_size < 10_000
    sizes = [batch.nbytes for batch in read_rows(str(path), 0, 1016 if SOAK else 250, ["text"])]
    assert max(sizes) <= MOST_BYTES + len(long)


def test_a_file_beside_the_corpus_that_unpacks_to_gigabytes_is_read_a_few_megabytes_at_a_time(tmp_path):
    """Reference, held-out texts, evaluation sets and exclusions: some hundred bytes that come to 4 GB."""
    long = "word " * 200_000
    values = pa.DictionaryArray.from_arrays(pa.array([0] * 4000, pa.int32()), pa.array([long]))
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": values}), path, compression="zstd")
    assert path.stat().st_size < 10_000
    sizes = [table.nbytes for table in islice(tables_of(path, "reference"), 5)]
    assert max(sizes) < 64 << 20


def test_an_evaluation_set_of_one_text_a_thousand_times_counts_its_ngrams_once(tmp_path, monkeypatch):
    monkeypatch.setattr(contamination, "MAX_REPEATED", 100)
    texts = [f"{PROSE} {k % 2}" for k in range(1000)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet", row_group_size=10)
    found = contamination.prepare(Decontaminate(against=[str(tmp_path / "a.parquet")]), tmp_path / "made")
    [one] = found.benchmarks
    assert one.items == 1000
    assert one.ngrams == len({tuple(t.split()[k : k + 13]) for t in texts for k in range(len(t.split()) - 12)})


def test_a_file_of_rows_that_are_not_there_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.parquet").write_bytes(b"PAR1" + b"\0" * 8 + (2**32 - 1).to_bytes(4, "little") + b"PAR1")
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    assert "a.parquet: not a whole Parquet file" in refused(recipe, InputError)
