"""What decisions ask of texts while they are made: a run reads them by maps, a what-if from the ledger."""

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
        """A step of the cascade begins."""
        ...

    def each(self, function: Callable[[Any], Any], tasks: Sequence[Any]) -> list[Any]:
        """What tasks return, in their order."""
        ...

    def shingle_sets(self, documents: pa.Table) -> Sequence[Path]:
        """Files with the shingles of documents (file_no, row); none where these cannot be had."""
        ...

    def cut_lines(self, documents: pa.Table) -> Sequence[Part]:
        """Parts of LINE_EDITS and TRIMMED of documents (file_no, row, lines)."""
        ...
