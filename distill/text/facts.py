"""Measure how faithful a written text is to its original: by the facts of both, and by copied n-grams.

Facts are recognised by form: numbers with their units, dates, names, addresses. A text that keeps all facts may still
be wrong. A text with new facts has made them up.
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
from curate.distill.text.quantities import ITEM_NUMBER, Quantity, quantities
from curate.filters.edits import pii
from curate.filters.registry import Columns
from curate.kernels.overlap import ngram_keys

MAX_SHOWN = 5  # new facts listed per text
MAX_DIGITS = 9  # a number with so many digits may be personal data and is never listed
ADDRESS = re.compile(r"(?:https?://|www\.)[^\s<>\"”)\]}]*[\w/]|[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
SCHEME = re.compile(r"(?:https?://)?(?:www\.)?")
STEM, ENDING = 4, 3  # letters: the least shared stem and the longest ending of inflected forms of a name
MIN_PART = 3  # letters of a meaningful part of a word
SMALL = r"(?:of|the|and|for|in|on)"  # lower-case words within names
LONG_NAME = re.compile(rf"[A-ZÀ-Þ]\w*(?:[ -](?:{SMALL} )*[A-ZÀ-Þ]\w*)+")


@dataclass(frozen=True)
class Fact:
    """A number, an address or the words of a name, at a span of a text. Equal facts have the same `key`."""

    start: int
    end: int
    key: str
    value: Quantity | str | tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """The facts of a text, each at its first occurrence, and an index to look up facts of another text."""

    text: str
    text_without_addresses: str
    facts: tuple[Fact, ...]
    numbers: dict[str, set[str]]  # the units of each value, for every reading of every number

    def has(self, fact: Fact) -> bool:
        """Whether this text contains a fact of another text, in any spelling.

        A number may lack its unit, or have a unit that the text has elsewhere. Of a name, the text must have all words.
        """
        if isinstance(fact.value, Quantity):
            return any(self._has_number(*reading) for reading in fact.value.readings)
        if isinstance(fact.value, str):
            return fact.value in self.text.casefold()
        acronym = "".join(fact.value)
        spelt = acronym.isupper() and any(acronym in initials for initials in self._initials)
        return spelt or all(self._has_word(word) for word in fact.value)

    def _has_number(self, value: str, unit: str) -> bool:
        known_units = self.numbers.get(value)
        if known_units is None:
            return value in self._dates
        return not unit or unit in known_units or ("" in known_units and unit in self._units)

    def _has_word(self, word: str) -> bool:
        lower = word.casefold()
        parts = parts_of(word)
        return (
            lower in self._words
            or (len(parts) > 1 and all(len(part) >= MIN_PART and part in self._words for part in parts))
            or any(_are_inflections(lower, other) for other in self._stems.get(lower[:STEM], ()))
        )

    @cached_property
    def _words(self) -> frozenset[str]:
        """All words and parts of words, in lower case."""
        words = [*words_of(self.text), *words_of(self.text_without_addresses)]
        return frozenset([*map(str.casefold, words), *(part for word in words for part in parts_of(word))])

    @cached_property
    def _stems(self) -> dict[str, list[str]]:
        """All words by their stems (first letters)."""
        words_by_stem: dict[str, list[str]] = {}
        for word in self._words:
            if len(word) >= STEM:
                words_by_stem.setdefault(word[:STEM], []).append(word)
        return words_by_stem

    @cached_property
    def _dates(self) -> frozenset[str]:
        """Months and days of the week among the words, in any case."""
        return frozenset(dates()[word] for word in self._words if word in dates())

    @cached_property
    def _units(self) -> frozenset[str]:
        """Units of the numbers, and units among the words."""
        counted = (unit for readings in self.numbers.values() for unit in readings)
        return frozenset([*counted, *(units()[word] for word in self._words if word in units())])

    @cached_property
    def _initials(self) -> frozenset[str]:
        """Acronyms of names of several words, with and without the initials of small words."""
        names_as_words = [words_of(name) for name in LONG_NAME.findall(self.text)]
        initials = ["".join(word[0] for word in run) for run in names_as_words]
        return frozenset([*map(str.upper, initials), *("".join(filter(str.isupper, run)) for run in initials)])


def _are_inflections(word: str, other: str) -> bool:
    """Whether two words with the same stem differ only in their endings, like Italy and Italian."""
    if not (word.isalpha() and other.isalpha()):
        return False
    pairs = zip(word, other, strict=False)
    shared = next((k for k, (a, b) in enumerate(pairs) if a != b), min(len(word), len(other)))
    return max(len(word), len(other)) - shared <= ENDING


def facts_of(text: str) -> Facts:
    """The facts of a text."""
    addresses = [match.span() for match in ADDRESS.finditer(text)]
    characters = list(text)
    for start, end in addresses:
        characters[start:end] = " " * (end - start)
    text_without_addresses = "".join(characters)
    all_quantities = quantities(text_without_addresses)
    excluded = [
        *((quantity.start, quantity.end) for quantity in all_quantities),
        *(match.span() for match in ITEM_NUMBER.finditer(text_without_addresses)),
    ]
    facts: list[Fact] = []
    for start, end in addresses:
        address = SCHEME.sub("", text[start:end].casefold(), 1).rstrip("/")
        facts.append(Fact(start, end, address, address))
    for quantity in all_quantities:
        if quantity.counts:
            facts.append(Fact(quantity.start, quantity.end, " ".join(quantity.readings[0]), quantity))
    for name in names(text_without_addresses, excluded):
        facts.append(Fact(name.start, name.end, " ".join(name.words).casefold(), name.words))
    numbers: dict[str, set[str]] = {}
    for value, unit in (reading for quantity in all_quantities for reading in quantity.readings):
        numbers.setdefault(value, set()).add(unit)
    first: dict[str, Fact] = {}
    for fact in sorted(facts, key=lambda fact: (fact.start, fact.end)):
        first.setdefault(fact.key, fact)
    return Facts(text, text_without_addresses, tuple(first.values()), numbers)


def kept_facts(original: pa.Array, written: pa.Array) -> Columns:
    """Compare the facts of originals with those of the texts written from them, row by row.

    n_facts      distinct facts of the original (int32)
    facts_kept   share of them that the written text contains; null where there are none (float32)
    n_new_facts  distinct facts of the written text that the original lacks (int32)
    new_facts    up to 5 of these as written, none with personal data (list of string)

    All are null where either text is.
    """
    rows: list[tuple[int | None, float | None, int | None, list[str] | None]] = []
    personal_spans = _personal_spans(written)
    for row, (original_text, written_text) in enumerate(zip(original.to_pylist(), written.to_pylist(), strict=True)):
        if original_text is None or written_text is None:
            rows.append((None, None, None, None))
            continue
        original_facts, written_facts = facts_of(original_text), facts_of(written_text)
        kept = sum(written_facts.has(fact) for fact in original_facts.facts)
        added = [fact for fact in written_facts.facts if not original_facts.has(fact)]
        share = kept / len(original_facts.facts) if original_facts.facts else None
        printable = _printable(written_text, added, personal_spans.get(row, []))
        rows.append((len(original_facts.facts), share, len(added), printable))
    n_facts, facts_kept, n_new, shown = zip(*rows, strict=True) if rows else ((), (), (), ())
    return {
        "n_facts": pa.array(n_facts, pa.int32()),
        "facts_kept": pa.array(facts_kept, pa.float32()),
        "n_new_facts": pa.array(n_new, pa.int32()),
        "new_facts": pa.array(shown, pa.list_(pa.string())),
    }


def _personal_spans(texts: pa.Array) -> dict[int, list[tuple[int, int]]]:
    """The spans of personal data in each text, in bytes, by row."""
    spans_by_row: dict[int, list[tuple[int, int]]] = {}
    for match in pii.find(texts, frozenset(pii.KINDS)):
        spans_by_row.setdefault(match.row, []).append((match.start, match.end))
    return spans_by_row


def _printable(text: str, facts: Sequence[Fact], personal_spans: Sequence[tuple[int, int]]) -> list[str]:
    """Facts as written in a text, except those that overlap or resemble personal data."""
    printable: list[str] = []
    for fact in facts:
        start = len(text[: fact.start].encode())
        excerpt = text[fact.start : fact.end]
        end = start + len(excerpt.encode())
        touches = any(a < end and start < b for a, b in personal_spans)
        if not touches and "@" not in excerpt and sum(map(str.isdecimal, excerpt)) < MAX_DIGITS:
            printable.append(" ".join(excerpt.split()))
    return printable[:MAX_SHOWN]


def copy_share(original: pa.Array, written: pa.Array, words: int = 5) -> pa.Array:
    """The share of each written text's `words`-grams that its original contains (float32).

    Words are those of shingles (see curate/kernels/overlap.py). Null where the written text has no n-gram or a text is
    null.
    """
    written_keys, written_rows, _ = ngram_keys(written, words, words)
    original_keys, original_rows, _ = ngram_keys(original, words, words)
    is_copied = np.zeros(len(written_keys), bool)
    written_bounds = np.searchsorted(written_rows, np.arange(len(written) + 1))
    original_bounds = np.searchsorted(original_rows, np.arange(len(written) + 1))
    for k in np.flatnonzero(np.diff(written_bounds)):
        is_copied[written_bounds[k] : written_bounds[k + 1]] = np.isin(
            written_keys[written_bounds[k] : written_bounds[k + 1]],
            original_keys[original_bounds[k] : original_bounds[k + 1]],
        )
    n_runs = np.diff(written_bounds)
    n_copied = np.diff(np.concatenate([[0], np.cumsum(is_copied)])[written_bounds])
    mask = (n_runs == 0) | np.asarray(pc.is_null(original)) | np.asarray(pc.is_null(written))
    return pa.array((n_copied / np.maximum(n_runs, 1)).astype(np.float32), mask=mask)


def length_ratio(original: pa.Array, written: pa.Array) -> pa.Array:
    """The length in characters of each written text, divided by its original's (float32); null for empty originals."""
    original_length = pc.cast(pc.utf8_length(original), pa.float64())
    ratio = pc.divide(pc.cast(pc.utf8_length(written), pa.float64()), original_length)
    return pc.if_else(pc.greater(original_length, 0), ratio, None).cast(pa.float32())
