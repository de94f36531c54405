"""Measure what the filter of personal data finds and misses, and write the table of docs/privacy.md.

Usage: python benchmarks/personal_data.py [--tuning] [--list]

Planted: 125 values of each kind, drawn by a seed (personal_values.py), each in a context of prose, markup, code, logs
or configuration (personal_contexts.py). Look-alikes: 125 texts for each kind that hold nothing personal. There are two
halves of that size, with contexts and a seed of their own: one for tuning the filter, and one that is reported.
`--list` prints what went wrong, and is for the half for tuning.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import pyarrow as pa
from personal_contexts import AROUND, LOOK_ALIKES, contexts_of
from personal_values import FORMS

from curate.filters.edits.pii import KINDS, find

PAGE = Path(__file__).resolve().parents[1] / "docs/privacy.md"
BEGIN, END = "<!-- written by benchmarks/personal_data.py -->\n", "<!-- to here -->"
EACH = 125
TUNING, REPORT = 0, 1  # which half


class Planted(NamedTuple):
    """A text with one value of a kind in it, from which byte to which."""

    kind: str
    form: str
    text: str
    start: int
    end: int


class LookAlike(NamedTuple):
    """A text with nothing personal, and the kind that it resembles."""

    kind: str
    text: str


def planted(half: int) -> list[Planted]:
    """The texts of a half in which something is to be found."""
    texts = []
    for kind, forms in FORMS.items():
        random = Random(f"planted {kind} {half}")
        for k in range(EACH):
            form = forms[k % len(forms)]
            value = form(random)
            before, after = random.choice(contexts_of(kind, form, value))[half].replace("{{", "{").split("{}")
            before, after = before.replace("}}", "}"), after.replace("}}", "}")
            start = len(before.encode())
            text = before + value + after
            texts.append(Planted(kind, form.__name__, text, start, start + len(value.encode())))
    return texts


def look_alikes(half: int) -> list[LookAlike]:
    """The texts of a half in which nothing is to be found."""
    texts = []
    for kind, draws in LOOK_ALIKES.items():
        random = Random(f"look-alike {kind} {half}")
        for k in range(EACH):
            around = random.choice(AROUND)[half]
            texts.append(LookAlike(kind, around.format(draws[k % len(draws)](random))))
    return texts


def spans_in(texts: Sequence[str]) -> list[set[tuple[str, int, int]]]:
    """What the filter finds in each text: kind, first byte, and the byte behind the last."""
    spans: list[set[tuple[str, int, int]]] = [set() for _ in texts]
    for f in find(pa.array(texts, pa.string()), frozenset(KINDS)):
        spans[f.row].add((KINDS[f.kind], f.start, f.end))
    return spans


def outcome(text: Planted, spans: set[tuple[str, int, int]]) -> str:
    """How a planted value is found: whole, covered (as another kind, or with more than itself), in part, or not."""
    if (text.kind, text.start, text.end) in spans:
        return "whole"
    touching = [(start, end) for _, start, end in spans if start < text.end and end > text.start]
    if any(start <= text.start and end >= text.end for start, end in touching):
        return "covered"
    return "part" if touching else "missed"


def measure(half: int, listing: bool) -> list[str]:
    """The rows of the table, of each kind and of all."""
    values, others = planted(half), look_alikes(half)
    outcomes: Counter[tuple[str, str]] = Counter()
    for text, spans in zip(values, spans_in([text.text for text in values]), strict=True):
        outcomes[text.kind, result := outcome(text, spans)] += 1
        if listing and result != "whole":
            found = [text.text.encode()[start:end].decode() for _, start, end in spans]
            print(result, text.form, repr(text.text[:160]), "found:", found)
    hits: Counter[str] = Counter()
    for other, spans in zip(others, spans_in([other.text for other in others]), strict=True):
        hits[other.kind] += bool(spans)
        if listing and spans:
            print("false", other.kind, repr(other.text[:160]), spans)
    return table(values, others, outcomes, hits)


def table(
    values: Sequence[Planted], others: Sequence[LookAlike], outcomes: Counter[tuple[str, str]], hits: Counter[str]
) -> list[str]:
    """Rows of Markdown, one a kind and one for all."""
    rows = [
        "| kind | planted | found whole | covered | in part | missed | look-alikes | false hits |",
        "|---" * 8 + "|",
    ]
    for name, kinds in [*((f"`{kind}`", (kind,)) for kind in KINDS), ("all", KINDS)]:
        counts = [sum(outcomes[kind, result] for kind in kinds) for result in ("whole", "covered", "part", "missed")]
        n, n_others = (sum(text.kind in kinds for text in side) for side in (values, others))
        cells = [n, *counts, n_others, sum(hits[kind] for kind in kinds)]
        rows.append(f"| {name} | {' | '.join(f'{cell:,}' for cell in cells)} |")
    return rows


def main(arguments: Sequence[str]) -> None:
    """Print the table; of the half that is reported also write it into the page."""
    half = TUNING if "--tuning" in arguments else REPORT
    rows = measure(half, "--list" in arguments)
    print("\n".join(rows))
    page = PAGE.read_text()
    if half == REPORT and BEGIN in page:
        before, rest = page.split(BEGIN)
        PAGE.write_text(before + BEGIN + "\n".join(rows) + "\n" + END + rest.partition(END)[2])


if __name__ == "__main__":
    main(sys.argv[1:])
