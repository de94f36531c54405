"""What an attack changed: the new text, and where it differs from the original."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

Replacement = tuple[int, int, str]  # characters start to end of the original, and what stands there instead
Span = tuple[int, int, int, int]


@dataclass(frozen=True)
class Changed:
    """A corrupted text, and the places where it is not the original.

    spans  sorted (start, end, original_start, original_end) in UTF-8 bytes of the new and of the original text; what
           was inserted has original_start = original_end. Between them, both texts have the same bytes.
    """

    text: str
    spans: tuple[Span, ...]


def changed(text: str, replacements: Iterable[Replacement]) -> Changed | None:
    """`text` with replacements made, which are in any order and do not overlap; None where nothing changes.

    Of insertions at one place, the one given first stands first.
    Errors: ValueError for replacements that overlap.
    """
    pieces: list[str] = []
    spans: list[Span] = []
    read = at = original_at = 0  # characters of the original that are done; bytes of the new and of the original text
    for start, end, new in _merged(text, replacements):
        kept = text[read:start]
        at, original_at, read = at + _bytes(kept), original_at + _bytes(kept), end
        spans.append((at, at + _bytes(new), original_at, original_at + _bytes(text[start:end])))
        at, original_at = spans[-1][1], spans[-1][3]
        pieces += kept, new
    made = "".join([*pieces, text[read:]])
    return Changed(made, tuple(spans)) if made != text else None


def _merged(text: str, replacements: Iterable[Replacement]) -> list[Replacement]:
    """The replacements that change something, in order, those that touch as one."""
    merged: list[Replacement] = []
    read = 0
    for start, end, new in sorted(replacements, key=lambda one: one[:2]):
        if not read <= start <= end:
            raise ValueError(f"replacement {start}:{end} overlaps the one before, which ends at {read}, or itself")
        read = end
        if text[start:end] == new:
            continue
        if merged and merged[-1][1] == start:
            merged[-1] = (merged[-1][0], end, merged[-1][2] + new)
        else:
            merged.append((start, end, new))
    return [(start, end, new) for start, end, new in merged if text[start:end] != new]


def apart(replacements: Iterable[Replacement]) -> Iterator[Replacement]:
    """The replacements that do not overlap one that starts before."""
    done = 0
    for start, end, new in sorted(replacements, key=lambda one: one[:2]):
        if start >= done:
            yield start, end, new
            done = end


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
