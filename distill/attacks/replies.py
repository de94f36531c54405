"""What an LLM wrote when it was asked to corrupt a text: whether that can be used, and where it differs."""

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import accumulate

from curate.distill.attacks.changes import Changed, Replacement, changed

SHORTEST, LONGEST = 0.3, 3  # length of the original
SHARED = 0.2  # of the distinct words of the text that has fewer
DISTINCT = 0.5  # of the phrases of four words, if those of the original are: else the model ran in a circle
PAIRS = 1_000_000  # of words that are compared one by one; beyond, all between equal ends is one change
APART = 2  # words that changes must lie apart to be two

NOT_THE_TEXT = re.compile(
    r"\W*(?:(?:sure|certainly|of course|absolutely|okay|ok|great|yes)\b[!,.:]*\s+)?"
    r"(?:here(?: is|'s|’s| are)|below is|the following is|sorry\b|unfortunately, i\b|as an ai\b|as a language model"
    r"|i(?:'m|’m| am) (?:sorry|unable|not able)|i(?: have|'ve|’ve) (?:rewritten|changed|added|made)"
    r"|i (?:cannot|can't|can’t|won't|will not)|(?:re-?written|revised|modified|corrupted) (?:text|version)"
    r"|(?:the )?(?:text|output|answer)\s*:)"
    r"|\W*(?:sure|certainly|of course|absolutely)[!,.]",
    re.IGNORECASE,
)
REMARK = re.compile(
    r"let me know if you(?:'d|’d| would| need| want)|i(?: have|'ve|’ve) (?:rewritten|changed|added|made)"
    r"|as requested, i\b|i hope this (?:rewritten|version)|\bnote: (?:i|this|the (?:above|text|rewritten))\b"
    r"|the (?:rewritten|modified|revised) (?:text|version)",
    re.IGNORECASE,
)
TOKEN = re.compile(r"\s*\S+")
WORD = re.compile(r"\w+")


def from_reply(original: str, reply: str) -> Changed | None:
    """An LLM's rewrite of `original` with the places it changed; None for one that is not to be used.

    That is an empty one, the original itself, a refusal, one with remarks to the user before or behind it, one that is
    shorter than 0.3 or longer than 3 times the original, has hardly a word of it, or runs in a circle.
    """
    made = reply.strip()
    if made.startswith("```") and made.endswith("```") and "\n" in made and "```" not in original:
        made = made.partition("\n")[2].removesuffix("```").strip()
    begins_alike = made[:12] == original.strip()[:12]
    if not made or not SHORTEST * len(original) <= len(made) <= LONGEST * len(original):
        return None
    if (NOT_THE_TEXT.match(made) and not begins_alike) or len(REMARK.findall(made)) > len(REMARK.findall(original)):
        return None
    if _shared(original, made) < SHARED or _distinct(made) < DISTINCT <= _distinct(original):
        return None
    lead = original[: len(original) - len(original.lstrip())]
    return changed(original, _differences(original, lead + made))


def _units(text: str) -> list[str]:
    """The words of a text, or its letters where words are not told by spaces."""
    words = WORD.findall(text.lower())
    return words if sum(map(len, words)) < 12 * len(words) else [letter for word in words for letter in word]


def _shared(original: str, made: str) -> float:
    """The share of distinct words that both have, in the text with fewer."""
    one, other = set(_units(original)), set(_units(made))
    return len(one & other) / max(1, min(len(one), len(other)))


def _distinct(text: str) -> float:
    """How many of the phrases of four words are there once, as a share; 1 for short texts."""
    units = _units(text)
    phrases = [tuple(units[k : k + 4]) for k in range(len(units) - 3)]
    return len(set(phrases)) / len(phrases) if len(phrases) > 20 else 1


def _differences(original: str, made: str) -> Iterator[Replacement]:
    """Replacements that make `made` out of `original`, found word by word."""
    old, new = TOKEN.findall(original), TOKEN.findall(made)
    bounds = list(accumulate(map(len, old), initial=0))  # where each word begins, the white space before it included
    for a, b, c, d in _unequal(old, new):
        end = bounds[b] if b < len(old) else len(original)  # white space behind the last word goes with it
        yield bounds[a], end, "".join(new[c:d])


def _unequal(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[int, int, int, int]]:
    """Stretches of words that differ, as (start, end) of the old and of the new ones; those that lie close are one."""
    least = min(len(old), len(new))
    head = next((k for k in range(least) if old[k] != new[k]), least)
    tail = next((k for k in range(least - head) if old[-1 - k] != new[-1 - k]), least - head)
    middle = old[head : len(old) - tail], new[head : len(new) - tail]
    if len(middle[0]) * len(middle[1]) > PAIRS:
        yield head, len(old) - tail, head, len(new) - tail
        return
    last: tuple[int, int, int, int] | None = None
    for kind, a, b, c, d in SequenceMatcher(None, *middle, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        if last and a + head - last[1] <= APART:
            last = (last[0], b + head, last[2], d + head)
            continue
        if last:
            yield last
        last = (a + head, b + head, c + head, d + head)
    if last:
        yield last
