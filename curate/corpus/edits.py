"""Edits: cuts and replacements in byte offsets of the raw text, which itself stays unchanged."""

from collections.abc import Sequence
from typing import Protocol

import pyarrow as pa

from curate.filters.registry import EDIT_SCHEMA, REASONS, Bound
from curate.kernels.edits import edited, first_hold

# EDIT_SCHEMA is the schema within a batch; parts add file_no before and stage after it.
PART = pa.schema([("file_no", pa.int32()), *EDIT_SCHEMA, ("stage", REASONS)])


class Finder(Protocol):
    """An editor: finds edits, and says what they depend on besides the texts."""

    @property
    def name(self) -> str:
        """The name of the edits."""

    @property
    def bounds(self) -> tuple[tuple[str, Bound], ...]:
        """The bound of each reason."""

    @property
    def code(self) -> object:
        """Digests of all else that the edits depend on."""

    def find(self, texts: pa.Array) -> pa.Table:
        """The cuts in `texts`."""


def find_edits(texts: pa.Array, editors: Sequence[Finder]) -> pa.Table:
    """The edits of all editors in `texts`, sorted by row and position.

    Each editor reads the raw text. Of overlapping edits the one that starts first wins, of two with the same start the
    longer one, then that of the editor named first; a later edit is trimmed to the part beyond it.
    """
    tables = [editor.find(texts).cast(EDIT_SCHEMA) for editor in editors]
    if len(tables) < 2:  # one editor's cuts are sorted and do not overlap
        return tables[0] if tables else EDIT_SCHEMA.empty_table()
    return sorted_edits(pa.concat_tables(tables).unify_dictionaries())


def sorted_edits(table: pa.Table) -> pa.Table:
    """Edits sorted by row and position, without overlaps: the first and longest wins."""
    table = table.sort_by([("row", "ascending"), ("start", "ascending"), ("end", "descending")]).combine_chunks()
    starts, keep = first_hold(*(table[name].combine_chunks() for name in ("row", "start", "end")))
    return table.set_column(table.schema.get_field_index("start"), "start", starts).filter(keep)


def apply_edits(texts: pa.Array, edits: pa.Table) -> pa.Array:
    """`texts` with `edits` applied (rows count within `texts`, sorted, not overlapping), as large_string.

    Errors: ValueError for an edit that reaches beyond its text or cuts a character in two.
    """
    return edited(texts, *(edits[name].combine_chunks() for name in ("row", "start", "end", "replacement")))
