"""Check a language model's rewrite of a text, and align it with the original."""

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import accumulate

from curate.distill.attacks.changes import Changed, Replacement, changed

MIN_LENGTH, MAX_LENGTH = 0.3, 3  # times the length of the original
MIN_SHARED = 0.2  # share of the distinct words, see _word_overlap
MIN_DISTINCT = 0.5  # share of distinct 4-grams; below, and with an original above, the model was stuck in a loop
MAX_PAIRS = 1_000_000  # pairs of words to align; above, everything between equal ends is one change
MIN_GAP = 2  # more unchanged words than this separate two changes

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
    """A language model's rewrite of `original` with the spans it changed; None for an unusable one.

    Unusable are the empty reply, the unchanged original, a refusal, a reply with remarks to the user, one shorter than
    0.3 or longer than 3 times the original, one that shares hardly a word with it, and one that repeats itself.
    """
    rewrite = reply.strip()
    if rewrite.startswith("```") and rewrite.endswith("```") and "\n" in rewrite and "```" not in original:
        rewrite = rewrite.partition("\n")[2].removesuffix("```").strip()
    begins_alike = rewrite[:12] == original.strip()[:12]
    if not rewrite or not MIN_LENGTH * len(original) <= len(rewrite) <= MAX_LENGTH * len(original):
        return None
    if NOT_THE_TEXT.match(rewrite) and not begins_alike:
        return None
    if len(REMARK.findall(rewrite)) > len(REMARK.findall(original)):
        return None
    if _word_overlap(original, rewrite) < MIN_SHARED:
        return None
    if _distinct_ngram_share(rewrite) < MIN_DISTINCT <= _distinct_ngram_share(original):
        return None
    lead = original[: len(original) - len(original.lstrip())]
    return changed(original, _differences(original, lead + rewrite))


def _units(text: str) -> list[str]:
    """The words of a text, or its letters where spaces do not separate words."""
    words = WORD.findall(text.lower())
    return words if sum(map(len, words)) < 12 * len(words) else [letter for word in words for letter in word]


def _word_overlap(original: str, rewrite: str) -> float:
    """The number of distinct words that both texts have, divided by that of the text with fewer."""
    original_words, rewrite_words = set(_units(original)), set(_units(rewrite))
    return len(original_words & rewrite_words) / max(1, min(len(original_words), len(rewrite_words)))


def _distinct_ngram_share(text: str) -> float:
    """The ratio of distinct to all 4-grams of words; 1 for short texts."""
    units = _units(text)
    phrases = [tuple(units[k : k + 4]) for k in range(len(units) - 3)]
    return len(set(phrases)) / len(phrases) if len(phrases) > 20 else 1


def _differences(original: str, rewrite: str) -> Iterator[Replacement]:
    """The word-level replacements that turn `original` into `rewrite`."""
    old, new = TOKEN.findall(original), TOKEN.findall(rewrite)
    bounds = list(accumulate(map(len, old), initial=0))  # where each word begins, including the white space before it
    for a, b, c, d in _differing_runs(old, new):
        end = bounds[b] if b < len(old) else len(original)  # include trailing white space
        yield bounds[a], end, "".join(new[c:d])


def _differing_runs(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[int, int, int, int]]:
    """Runs of words that differ, as (start, end) in the old and in the new words. Merges nearby runs."""
    least = min(len(old), len(new))
    head = next((k for k in range(least) if old[k] != new[k]), least)
    tail = next((k for k in range(least - head) if old[-1 - k] != new[-1 - k]), least - head)
    middle = old[head : len(old) - tail], new[head : len(new) - tail]
    if len(middle[0]) * len(middle[1]) > MAX_PAIRS:
        yield head, len(old) - tail, head, len(new) - tail
        return
    last: tuple[int, int, int, int] | None = None
    for kind, a, b, c, d in SequenceMatcher(None, *middle, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        if last and a + head - last[1] <= MIN_GAP:
            last = (last[0], b + head, last[2], d + head)
            continue
        if last:
            yield last
        last = (a + head, b + head, c + head, d + head)
    if last:
        yield last
