"""Clocks that jump: times of change only ever tell that a file may be another one; nothing else depends on a clock."""

import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.commands import carry_out
from support.corpora import PROSE
from support.recipes import write_recipe
from support.runs import digests, documents

from curate.corpus.jsonl import json_tables
from curate.corpus.parquet import Source, read_documents
from curate.errors import InputError
from curate.manifests.verify import verify, verify_inputs
from curate.progress import unwritten_log

DAY = 86_400_000_000_000
YEARS = {"1970": 0, "1901": -69 * 365 * DAY, "2100": 130 * 365 * DAY}


def changed_at(path, nanoseconds):
    os.utime(path, ns=(nanoseconds, nanoseconds))


@pytest.mark.parametrize("year", YEARS)
def test_a_file_of_any_year_gives_the_same_bytes(tmp_path, good, year):
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    changed_at(good, YEARS[year])
    carry_out(recipe, f"output={tmp_path / 'other'}")
    assert digests(tmp_path / "other") == digests(run)


def test_a_time_of_change_that_goes_back_or_forth_measures_again_and_gives_the_same_output(tmp_path, good):
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    before = {name: digest for name, digest in digests(run).items() if not name.startswith("ledger/")}
    rows = documents(run, "doc_id, kept, n_words")
    for years in (30, -40, 0):
        changed_at(good, good.stat().st_mtime_ns + years * 365 * DAY)
        carry_out(recipe)
        assert {name: digest for name, digest in digests(run).items() if not name.startswith("ledger/")} == before
        assert documents(run, "doc_id, kept, n_words") == rows
        assert verify(run, 1, unwritten_log(True)) == []


def test_files_of_the_run_itself_may_have_any_time(tmp_path, good):
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    before = digests(run)
    for k, path in enumerate(sorted(path for path in run.rglob("*") if path.is_file())):
        changed_at(path, list(YEARS.values())[k % 3])
    carry_out(recipe)
    assert digests(run) == before


def test_a_text_that_changes_behind_the_same_size_time_and_footer_is_found_by_verify_alone(tmp_path, good):
    def write(texts):
        pq.write_table(
            pa.table({"text": texts}), good, compression="none", use_dictionary=False, write_statistics=False
        )

    texts = [f"{PROSE} {k}" for k in range(20)]
    write(texts)
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    status = good.stat()
    write([texts[0].replace("quick", "quite"), *texts[1:]])
    changed_at(good, status.st_mtime_ns)
    assert good.stat().st_size == status.st_size
    carry_out(recipe)
    assert "quick" in pq.read_table(run / "data")["text"][0].as_py()
    assert verify(run, 1, unwritten_log(True)) == []
    told = "a.parquet rows 0 to 20: the text is not the one that was measured"
    assert verify_inputs(run, 1, unwritten_log(True)) == [told]
    changed_at(good, status.st_mtime_ns + 1)
    carry_out(recipe)
    assert "quite" in pq.read_table(run / "data")["text"][0].as_py()
    assert verify_inputs(run, 1, unwritten_log(True)) == []


def test_a_file_that_is_replaced_while_it_is_read_is_told_of(tmp_path, good):
    size, mtime_ns = good.stat().st_size, good.stat().st_mtime_ns
    reading = read_documents(Source(str(good), size, mtime_ns), 0, pq.read_metadata(good).num_rows, ["text"])
    next(reading)
    changed_at(good, mtime_ns + 1)
    with pytest.raises(InputError, match=r"a\.parquet: changed while the run went on; run again when it is at rest"):
        list(reading)


def test_lines_that_are_added_while_a_file_is_read_are_told_of(tmp_path, monkeypatch):
    monkeypatch.setattr("curate.corpus.jsonl.BLOCK_BYTES", 1 << 16)
    path = tmp_path / "growing.jsonl"
    path.write_text('{"text": "a line"}\n' * 10_000)
    reading = json_tables(str(path))
    next(reading)
    with path.open("a") as file:
        file.write('{"text": "one more"}\n')
    with pytest.raises(InputError, match=r"growing\.jsonl: changed while it was read; run again when it is at rest"):
        list(reading)
