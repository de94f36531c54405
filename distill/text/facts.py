"""How true a written text stayed to its original: the facts of both, and what was copied.

Facts are what is told by its form: numbers with what they count, dates, names, addresses. A text that keeps them all
may still be wrong; one that has others has made something up.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.distill.text.number_words import dates, units
from curate.distill.text.proper_names import names, parts_of, words_of
from curate.distill.text.quantities import MARK, Quantity, quantities
from curate.filters.edits import pii
from curate.filters.registry import Columns
from curate.kernels.overlap import ngram_keys

SHOWN = 5  # new facts of a text that are listed
DIGITS = 9  # of a number that may be somebody's: never listed
ADDRESS = re.compile(r"(?:https?://|www\.)[^\s<>\"”)\]}]*[\w/]|[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
SCHEME = re.compile(r"(?:https?://)?(?:www\.)?")
STEM, ENDING = 4, 3  # letters that forms of a name share at least, and in which they differ at most
PIECE = 3  # letters of a part of a word that means something
SMALL = r"(?:of|the|and|for|in|on)"  # words without a capital within names
LONG_NAME = re.compile(rf"[A-ZÀ-Þ]\w*(?:[ -](?:{SMALL} )*[A-ZÀ-Þ]\w*)+")


@dataclass(frozen=True)
class Fact:
    """A number, an address or the words of a name, at a place of a text; `key` is the same for equal facts."""

    start: int
    end: int
    key: str
    what: Quantity | str | tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """The facts of a text, each where it stands first, and what tells whether it has those of another."""

    text: str
    rest: str  # without addresses
    facts: tuple[Fact, ...]
    numbers: dict[str, set[str]]  # every reading of every number, with its units

    def has(self, fact: Fact) -> bool:
        """Whether a fact of another text stands here too, however it is written.

        A number may have lost its unit, or got one that the text has elsewhere. Of a name all words stand here.
        """
        if isinstance(fact.what, Quantity):
            return any(self._has_number(*reading) for reading in fact.what.readings)
        if isinstance(fact.what, str):
            return fact.what in self.text.casefold()
        acronym = "".join(fact.what)
        spelt = acronym.isupper() and any(acronym in initials for initials in self._initials)
        return spelt or all(self._has_word(word) for word in fact.what)

    def _has_number(self, value: str, unit: str) -> bool:
        known = self.numbers.get(value)
        if known is None:
            return value in self._dates
        return not unit or unit in known or ("" in known and unit in self._units)

    def _has_word(self, word: str) -> bool:
        lower = word.casefold()
        parts = parts_of(word)
        return (
            lower in self._words
            or (len(parts) > 1 and all(len(part) >= PIECE and part in self._words for part in parts))
            or any(_are_forms(lower, other) for other in self._stems.get(lower[:STEM], ()))
        )

    @cached_property
    def _words(self) -> frozenset[str]:
        """Its words in lower case, and what those are made of."""
        some = [*words_of(self.text), *words_of(self.rest)]
        return frozenset([*map(str.casefold, some), *(part for word in some for part in parts_of(word))])

    @cached_property
    def _stems(self) -> dict[str, list[str]]:
        """Its words by their first letters."""
        found: dict[str, list[str]] = {}
        for word in self._words:
            if len(word) >= STEM:
                found.setdefault(word[:STEM], []).append(word)
        return found

    @cached_property
    def _dates(self) -> frozenset[str]:
        """Months and days of the week that stand among its words, with a capital or without."""
        return frozenset(dates()[word] for word in self._words if word in dates())

    @cached_property
    def _units(self) -> frozenset[str]:
        """What stands behind its numbers or among its words."""
        beside = (unit for some in self.numbers.values() for unit in some)
        return frozenset([*beside, *(units()[word] for word in self._words if word in units())])

    @cached_property
    def _initials(self) -> frozenset[str]:
        """The first letters of names of several words, with and without those of small words."""
        some = [words_of(found) for found in LONG_NAME.findall(self.text)]
        every = ["".join(word[0] for word in run) for run in some]
        return frozenset([*map(str.upper, every), *("".join(filter(str.isupper, run)) for run in every)])


def _are_forms(one: str, other: str) -> bool:
    """Whether two words with the same stem differ only in their last letters, as Italy and Italian do."""
    if not (one.isalpha() and other.isalpha()):
        return False
    pairs = zip(one, other, strict=False)
    shared = next((k for k, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
    return max(len(one), len(other)) - shared <= ENDING


def facts_of(text: str) -> Facts:
    """The facts of a text."""
    addresses = [match.span() for match in ADDRESS.finditer(text)]
    beside = list(text)
    for start, end in addresses:
        beside[start:end] = " " * (end - start)
    rest = "".join(beside)
    counted = quantities(rest)
    passed = [*((one.start, one.end) for one in counted), *(match.span() for match in MARK.finditer(rest))]
    found = [
        *(Fact(a, b, (own := SCHEME.sub("", text[a:b].casefold(), 1).rstrip("/")), own) for a, b in addresses),
        *(Fact(one.start, one.end, " ".join(one.readings[0]), one) for one in counted if one.counts),
        *(Fact(one.start, one.end, " ".join(one.words).casefold(), one.words) for one in names(rest, passed)),
    ]
    numbers: dict[str, set[str]] = {}
    for value, unit in (reading for one in counted for reading in one.readings):
        numbers.setdefault(value, set()).add(unit)
    first: dict[str, Fact] = {}
    for fact in sorted(found, key=lambda fact: (fact.start, fact.end)):
        first.setdefault(fact.key, fact)
    return Facts(text, rest, tuple(first.values()), numbers)


def kept_facts(original: pa.Array, written: pa.Array) -> Columns:
    """What became of the facts of originals in the texts that were written after them, row by row.

    n_facts      different facts of the original (int32)
    facts_kept   share of them that stand in the written text; null where there are none (float32)
    n_new_facts  different facts of the written text that the original lacks (int32)
    new_facts    some of these as they stand there, at most 5, none with personal data (list of string)

    All are null where a text is.
    """
    rows: list[tuple[int | None, float | None, int | None, list[str] | None]] = []
    private = _private_places(written)
    for row, (before, after) in enumerate(zip(original.to_pylist(), written.to_pylist(), strict=True)):
        if before is None or after is None:
            rows.append((None, None, None, None))
            continue
        old, new = facts_of(before), facts_of(after)
        kept = sum(new.has(fact) for fact in old.facts)
        added = [fact for fact in new.facts if not old.has(fact)]
        share = kept / len(old.facts) if old.facts else None
        rows.append((len(old.facts), share, len(added), _shown(after, added, private.get(row, []))))
    n_facts, facts_kept, n_new, shown = zip(*rows, strict=True) if rows else ((), (), (), ())
    return {
        "n_facts": pa.array(n_facts, pa.int32()),
        "facts_kept": pa.array(facts_kept, pa.float32()),
        "n_new_facts": pa.array(n_new, pa.int32()),
        "new_facts": pa.array(shown, pa.list_(pa.string())),
    }


def _private_places(texts: pa.Array) -> dict[int, list[tuple[int, int]]]:
    """Where personal data stands in each text, in bytes."""
    found: dict[int, list[tuple[int, int]]] = {}
    for one in pii.find(texts, frozenset(pii.KINDS)):
        found.setdefault(one.row, []).append((one.start, one.end))
    return found


def _shown(text: str, facts: Sequence[Fact], private: Sequence[tuple[int, int]]) -> list[str]:
    """Facts as they stand in a text, but for those that touch personal data or look like it."""
    shown: list[str] = []
    for fact in facts:
        start = len(text[: fact.start].encode())
        written = text[fact.start : fact.end]
        end = start + len(written.encode())
        touches = any(a < end and start < b for a, b in private)
        if not touches and "@" not in written and sum(map(str.isdecimal, written)) < DIGITS:
            shown.append(" ".join(written.split()))
    return shown[:SHOWN]


def copy_share(original: pa.Array, written: pa.Array, words: int = 5) -> pa.Array:
    """The share of each written text's runs of `words` words that stand in its original (float32).

    Words are those of shingles (see curate/kernels/overlap.py). Null where the written text has fewer, or one is null.
    """
    keys, rows, _ = ngram_keys(written, words, words)
    theirs, their_rows, _ = ngram_keys(original, words, words)
    known = np.zeros(len(keys), bool)
    ours = np.searchsorted(rows, np.arange(len(written) + 1))
    others = np.searchsorted(their_rows, np.arange(len(written) + 1))
    for k in np.flatnonzero(np.diff(ours)):
        known[ours[k] : ours[k + 1]] = np.isin(keys[ours[k] : ours[k + 1]], theirs[others[k] : others[k + 1]])
    runs = np.diff(ours)
    copied = np.diff(np.concatenate([[0], np.cumsum(known)])[ours])
    mask = (runs == 0) | np.asarray(pc.is_null(original)) | np.asarray(pc.is_null(written))
    return pa.array((copied / np.maximum(runs, 1)).astype(np.float32), mask=mask)


def length_ratio(original: pa.Array, written: pa.Array) -> pa.Array:
    """Characters of each written text by those of its original (float32); null where the original has none."""
    before = pc.cast(pc.utf8_length(original), pa.float64())
    ratio = pc.divide(pc.cast(pc.utf8_length(written), pa.float64()), before)
    return pc.if_else(pc.greater(before, 0), ratio, None).cast(pa.float32())
