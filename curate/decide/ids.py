"""Finds ids that two documents share while the corpus is still being read."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.decide.checks import check_ids
from curate.ledger.ledger import Ledger
from curate.ledger.parts import Part
from curate.ledger.views import load_files
from curate.sql import open_database, read_parquet

MOST = 20_000_000  # hashes held in memory (160 MB); further ids are compared once everything is measured

Hashes = npt.NDArray[np.uint64]


class SeenIds:
    """Hashes of the ids measured so far, in sorted runs, each more than twice as long as the next."""

    def __init__(self, column: str, group: str, digest: str, ledger: Ledger) -> None:
        self._column, self._group, self._digest, self._ledger = column, group, digest, ledger
        self._runs: list[Hashes] = []
        self.check(ledger.of(group, digest))

    def check(self, parts: Sequence[Part]) -> None:
        """Add the ids of parts just committed.

        Errors: InputError for an id that is null or occurs twice, as `check_ids`.
        """
        for part in parts:
            if (part.group, part.digest) == (self._group, self._digest):
                ids = self._hashes(part)
                if ids is None or self._repeats(ids):
                    self._look_closer()

    def _hashes(self, part: Part) -> Hashes | None:
        """The sorted hashes of a part's ids; None where one is null."""
        query = f"SELECT hash(id) AS hashed, id IS NULL AS lacks FROM {read_parquet([self._ledger.run / part.path])}"
        with open_database() as connection:
            columns: dict[str, Any] = connection.execute(query).fetchnumpy()
        if columns["lacks"].any():
            return None
        hashes: Hashes = np.sort(np.asarray(columns["hashed"], np.uint64))
        return hashes

    def _repeats(self, ids: Hashes) -> bool:
        """Whether a hash repeats among these or those seen before; adds these to the latter."""
        if sum(map(len, self._runs)) + len(ids) > MOST or not len(ids):
            return False
        if (ids[1:] == ids[:-1]).any() or any(_share(run, ids) for run in self._runs):
            return True
        while self._runs and len(self._runs[-1]) <= 2 * len(ids):
            ids = np.sort(np.concatenate([self._runs.pop(), ids]), kind="stable")
        self._runs.append(ids)
        return False

    def _look_closer(self) -> None:
        """Compare the ids themselves: two may share a hash, and quarantined files do not count."""
        with open_database() as connection:
            load_files(connection, self._ledger)
            paths = (self._ledger.run / part.path for part in self._ledger.of(self._group, self._digest))
            connection.execute(f"CREATE TEMP VIEW texts AS FROM {read_parquet(paths)} SEMI JOIN files USING (file_no)")
            check_ids(self._column, connection)


def _share(run: Hashes, ids: Hashes) -> bool:
    """Whether two sorted runs have a hash in common."""
    nearest = np.minimum(np.searchsorted(run, ids), len(run) - 1)
    return bool((run[nearest] == ids).any())
