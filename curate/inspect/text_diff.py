"""What two texts have in common and where they differ, word by word."""

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Literal

Kind = Literal["same", "deleted", "inserted", "gap"]
Change = tuple[Kind, str]

TOKEN = re.compile(r"\w+|\s|[^\w\s]")
WHOLE = 4_000_000  # pairs of tokens up to which stretches are compared word by word; beyond, line by line
AROUND = 60  # characters of an equal stretch that are shown beside a change
SHORT = 200  # characters of an equal stretch that is shown in full


def changes(old: str, new: str) -> list[Change]:
    """`old` and `new` as stretches that both have, that only `old` has (deleted), and that only `new` has (inserted).

    Cost: of two long texts that differ in most words lines are compared first, and blocks if that is too much too.
    """
    found: list[Change] = []
    for kind, text in _compared(TOKEN.findall(old), TOKEN.findall(new)):
        if text and found and found[-1][0] == kind:
            found[-1] = (kind, found[-1][1] + text)
        elif text:
            found.append((kind, text))
    return found


def _compared(old: Sequence[str], new: Sequence[str]) -> Iterator[Change]:
    """Equal ends first, because most copies differ in a few places."""
    least = min(len(old), len(new))
    head = next((k for k in range(least) if old[k] != new[k]), least)
    tail = next((k for k in range(least - head) if old[-1 - k] != new[-1 - k]), least - head)
    yield "same", "".join(old[:head])
    yield from _middle(old[head : len(old) - tail], new[head : len(new) - tail])
    yield "same", "".join(old[len(old) - tail :])


def _middle(old: Sequence[str], new: Sequence[str]) -> Iterator[Change]:
    if len(old) * len(new) <= WHOLE:
        yield from _matched(old, new)
        return
    lines = [re.findall(r"[^\n]*\n|[^\n]+", "".join(side)) for side in (old, new)]
    if len(lines[0]) * len(lines[1]) > WHOLE or min(map(len, lines)) < 2:  # neither words nor lines can be compared
        yield "deleted", "".join(old)
        yield "inserted", "".join(new)
        return
    for tag, a, b, c, d in SequenceMatcher(None, lines[0], lines[1], autojunk=False).get_opcodes():
        if tag == "equal":
            yield "same", "".join(lines[0][a:b])
            continue
        words = [TOKEN.findall("".join(side)) for side in (lines[0][a:b], lines[1][c:d])]
        if len(words[0]) * len(words[1]) <= WHOLE:
            yield from _matched(*words)
        else:
            yield "deleted", "".join(words[0])
            yield "inserted", "".join(words[1])


def _matched(old: Sequence[str], new: Sequence[str]) -> Iterator[Change]:
    """By the longest stretches in common; such that are white space alone are no anchor between changes."""
    for tag, a, b, c, d in SequenceMatcher(str.isspace, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            yield "same", "".join(old[a:b])
        else:
            yield "deleted", "".join(old[a:b])
            yield "inserted", "".join(new[c:d])


def collapsed(found: Sequence[Change]) -> list[Change]:
    """Changes with long equal stretches cut to what stands beside a change; a gap tells how much is left out."""
    shown: list[Change] = []
    for k, (kind, text) in enumerate(found):
        if kind != "same" or len(text) <= SHORT:
            shown.append((kind, text))
            continue
        first, last = text.rfind(" ", 1, AROUND), text.find(" ", len(text) - AROUND) + 1
        before = text[: first if first > 0 else AROUND] if k > 0 else ""
        after = text[last or -AROUND :] if k < len(found) - 1 else ""
        left_out = len(text) - len(before) - len(after)
        shown += [("same", before), ("gap", f"… {left_out:,} equal characters …"), ("same", after)]
    return [change for change in shown if change[1]]
