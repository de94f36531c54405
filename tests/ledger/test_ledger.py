"""The ledger survives a crash between any two of its writes."""

from dataclasses import replace

import pytest

from curate.corpus.units import Unit
from curate.ledger.ledger import Ledger, read_ledger
from curate.ledger.parts import Part

PARTS = [
    Part("words", "digest", f"ledger/signals/words/{k}.parquet", 7, 99, "sha", (Unit(0, k, k + 7),), 0, ("content",))
    for k in range(4)
]


@pytest.fixture
def ledger(tmp_path):
    (tmp_path / "ledger").mkdir()
    ledger = Ledger(tmp_path)
    ledger.commit()
    return ledger


def test_an_added_part_is_in_force_before_the_next_commit(ledger):
    ledger.add(PARTS[:2])
    ledger.add(PARTS[2:3])
    assert read_ledger(ledger.run).parts == PARTS[:3]


def test_a_commit_takes_the_journal_in(ledger):
    ledger.add(PARTS[:2])
    ledger.commit()
    assert not ledger.journal_path.exists()
    ledger.add(PARTS[2:3])
    assert read_ledger(ledger.run).parts == PARTS[:3]


def test_a_line_that_a_crash_cut_off_is_no_part_wherever_it_was_cut(ledger):
    ledger.add(PARTS[:1])
    whole = len(ledger.journal_path.read_bytes())
    ledger.add(PARTS[1:2])
    written = ledger.journal_path.read_bytes()
    for length in range(len(written)):
        ledger.journal_path.write_bytes(written[:length])
        assert read_ledger(ledger.run).parts == (PARTS[:1] if length >= whole else [])


def test_a_journal_that_belongs_to_an_older_snapshot_counts_for_nothing(ledger):
    ledger.add(PARTS[:2])
    left_over = ledger.journal_path.read_bytes()
    ledger.parts = [replace(PARTS[0], digest="newer")]
    ledger.commit()
    ledger.journal_path.write_bytes(left_over)
    assert read_ledger(ledger.run).parts == [replace(PARTS[0], digest="newer")]
