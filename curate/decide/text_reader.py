"""How the cascade reads texts again: a run through maps, a what-if through the ledger."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from curate.distill.scoring_stage import ScoreReader
from curate.ledger.parts import Part


class TextReader(ScoreReader, Protocol):
    """Reads texts of some documents again.

    See `pipeline/text_reader.py` (`EngineReader`) and `inspect/ledger_reader.py` (`LedgerReader`).
    """

    def begin(self, step: str) -> None:
        """Announce the next step of the cascade."""
        ...

    def each(self, function: Callable[[Any], Any], tasks: Sequence[Any]) -> list[Any]:
        """Run tasks; return their results in order."""
        ...

    def shingle_sets(self, documents: pa.Table) -> Sequence[Path]:
        """Files with the shingles of documents (file_no, row); none where texts cannot be read."""
        ...

    def cut_lines(self, documents: pa.Table) -> Sequence[Part]:
        """Parts of LINE_EDITS and TRIMMED of documents (file_no, row, lines)."""
        ...
