"""Results of attacks: the changed text and the spans where it differs from the original."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

Replacement = tuple[int, int, str]  # start and end in characters of the original, and the new text
AlignedSpan = tuple[int, int, int, int]  # start and end in bytes of the new text, then of the original


@dataclass(frozen=True)
class Changed:
    """A corrupted text and the spans where it differs from the original.

    spans  sorted (start, end, original_start, original_end) in UTF-8 bytes of the new and of the original text. An
           insertion has original_start = original_end. Between spans, both texts have the same bytes.
    """

    text: str
    spans: tuple[AlignedSpan, ...]


def changed(text: str, replacements: Iterable[Replacement]) -> Changed | None:
    """Apply replacements, given in any order, to `text`; None where nothing changes.

    Insertions at the same position keep their order.
    Errors: ValueError for replacements that overlap.
    """
    pieces: list[str] = []
    spans: list[AlignedSpan] = []
    position = 0  # in characters of the original
    offset = original_offset = 0  # in bytes of the new and of the original text
    for start, end, new in _merge(text, replacements):
        unchanged = text[position:start]
        offset += _n_bytes(unchanged)
        original_offset += _n_bytes(unchanged)
        new_end, original_end = offset + _n_bytes(new), original_offset + _n_bytes(text[start:end])
        spans.append((offset, new_end, original_offset, original_end))
        position, offset, original_offset = end, new_end, original_end
        pieces += unchanged, new
    result = "".join([*pieces, text[position:]])
    return Changed(result, tuple(spans)) if result != text else None


def _merge(text: str, replacements: Iterable[Replacement]) -> list[Replacement]:
    """The replacements that change something, sorted, with adjacent ones merged."""
    merged: list[Replacement] = []
    position = 0
    for start, end, new in sorted(replacements, key=lambda replacement: replacement[:2]):
        if not position <= start <= end:
            raise ValueError(f"replacement {start}:{end} overlaps the one before, which ends at {position}, or itself")
        position = end
        if text[start:end] == new:
            continue
        if merged and merged[-1][1] == start:
            merged[-1] = (merged[-1][0], end, merged[-1][2] + new)
        else:
            merged.append((start, end, new))
    return [(start, end, new) for start, end, new in merged if text[start:end] != new]


def without_overlaps(replacements: Iterable[Replacement]) -> Iterator[Replacement]:
    """The replacements that do not overlap an earlier one."""
    position = 0
    for start, end, new in sorted(replacements, key=lambda replacement: replacement[:2]):
        if start >= position:
            yield start, end, new
            position = end


def _n_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
