"""The difference of two texts, word by word."""

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Literal

Kind = Literal["same", "deleted", "inserted", "gap"]
Change = tuple[Kind, str]

TOKEN = re.compile(r"\w+|\s|[^\w\s]")
MAX_PAIRS = 4_000_000  # pairs of tokens; above, lines are compared and not words
CONTEXT = 60  # characters of an equal stretch next to a change
SHORT = 200  # characters of an equal stretch that is shown in full


def changes(old: str, new: str) -> list[Change]:
    """`old` and `new` as stretches that are in both, only in `old` (deleted), or only in `new` (inserted).

    Cost: long texts that differ in most words are compared line by line first, or as blocks if they have many lines.
    """
    joined: list[Change] = []
    for kind, text in _compared(TOKEN.findall(old), TOKEN.findall(new)):
        if text and joined and joined[-1][0] == kind:
            joined[-1] = (kind, joined[-1][1] + text)
        elif text:
            joined.append((kind, text))
    return joined


def _compared(old: Sequence[str], new: Sequence[str]) -> Iterator[Change]:
    """Strip equal ends first: most copies differ in a few places."""
    least = min(len(old), len(new))
    head = next((k for k in range(least) if old[k] != new[k]), least)
    tail = next((k for k in range(least - head) if old[-1 - k] != new[-1 - k]), least - head)
    yield "same", "".join(old[:head])
    yield from _middle(old[head : len(old) - tail], new[head : len(new) - tail])
    yield "same", "".join(old[len(old) - tail :])


def _middle(old: Sequence[str], new: Sequence[str]) -> Iterator[Change]:
    if len(old) * len(new) <= MAX_PAIRS:
        yield from _matched(old, new)
        return
    lines = [re.findall(r"[^\n]*\n|[^\n]+", "".join(side)) for side in (old, new)]
    if len(lines[0]) * len(lines[1]) > MAX_PAIRS or min(map(len, lines)) < 2:  # too many pairs of lines, or one line
        yield "deleted", "".join(old)
        yield "inserted", "".join(new)
        return
    for tag, a, b, c, d in SequenceMatcher(None, lines[0], lines[1], autojunk=False).get_opcodes():
        if tag == "equal":
            yield "same", "".join(lines[0][a:b])
            continue
        words = [TOKEN.findall("".join(side)) for side in (lines[0][a:b], lines[1][c:d])]
        if len(words[0]) * len(words[1]) <= MAX_PAIRS:
            yield from _matched(*words)
        else:
            yield "deleted", "".join(words[0])
            yield "inserted", "".join(words[1])


def _matched(old: Sequence[str], new: Sequence[str]) -> Iterator[Change]:
    """Changes between the longest common stretches; white space alone does not separate two changes."""
    for tag, a, b, c, d in SequenceMatcher(str.isspace, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            yield "same", "".join(old[a:b])
        else:
            yield "deleted", "".join(old[a:b])
            yield "inserted", "".join(new[c:d])


def collapsed(changes: Sequence[Change]) -> list[Change]:
    """Changes with long equal stretches cut to their context; a gap says how many characters are left out."""
    shown: list[Change] = []
    for k, (kind, text) in enumerate(changes):
        if kind != "same" or len(text) <= SHORT:
            shown.append((kind, text))
            continue
        first, last = text.rfind(" ", 1, CONTEXT), text.find(" ", len(text) - CONTEXT) + 1
        head = text[: first if first > 0 else CONTEXT] if k > 0 else ""
        tail = text[last or -CONTEXT :] if k < len(changes) - 1 else ""
        left_out = len(text) - len(head) - len(tail)
        shown += [("same", head), ("gap", f"… {left_out:,} equal characters …"), ("same", tail)]
    return [change for change in shown if change[1]]
