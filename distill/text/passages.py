"""Find the sentences, paragraphs, names and topics of a text by regular expressions, as far as attacks need them."""

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from random import Random

from curate.distill.text.phrases import phrases

Span = tuple[int, int]  # characters, start to end

SEARCHED = 20_000  # characters at the start of a text that are searched for topics and names
ABBREVIATED = (
    r"(?<!\b[A-Za-z]\.)(?<!\bMr\.)(?<!\bMs\.)(?<!\bDr\.)(?<!\bSt\.)(?<!\bNo\.)(?<!\bvs\.)(?<!\bcf\.)(?<!\bCo\.)"
    r"(?<!\bJr\.)(?<!\bMrs\.)(?<!\bFig\.)(?<!\bfig\.)(?<!\bGen\.)(?<!\bSen\.)(?<!\bRep\.)(?<!\bCol\.)(?<!\bInc\.)"
    r"(?<!\bi\.e\.)(?<!\be\.g\.)(?<!\betc\.)(?<!\bProf\.)"
)
# A sentence ends at a full stop before a capital or the end of a paragraph, at a full stop of another script, at a
# blank line, after a short line, and before a line that is indented or begins with a bullet.
BOUNDARY = re.compile(
    rf"[.!?…](?<![.!?…].)(?:(?<=[!?…])|{ABBREVIATED})[.!?…]*+[\"'”’)\]]*+(?=\s+[\"'“‘(\[*]?[A-Z0-9À-Þ]|\s*\n\s*\n|\s*\Z)"
    r"|[。！？।؟]+[」』”’]?"
    r"|(?=\n)(?:(?=\n[ \t]*\n)|(?=\n[ \t]+\S)|(?=\n[-*•–#>|])|(?<![^\n]{46}))"
)
WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
COMMONEST = frozenset(("the", "of", "and", "to", "that", "is", "was", "it", "you", "with", "for"))
NO_TOPIC = re.compile(r"[^\w\s'’-]+")
LATIN = re.compile(r"[A-Za-zÀ-ɏ]")
LETTER = re.compile(r"[^\W\d_]")
CLAIM = re.compile(r"(?:[-•*–]\s+|[\d.]+\s+)?[\"'“‘(]?[A-Z].*[.!][\"'”’)]*", re.DOTALL)


def sentences(text: str) -> list[Span]:
    """The spans of sentences and headings, without surrounding white space."""
    bounds = [0, *(match.end() for match in BOUNDARY.finditer(text)), len(text)]
    spans = (strip_span(text, start, end) for start, end in pairwise(bounds) if start < end)
    return [(start, end) for start, end in spans if start < end]


def claims(text: str, min_words: int = 5, max_words: int = 90) -> list[Span]:
    """The spans of statements: sentences of suitable length that begin with a capital and end in `.` or `!`."""
    spans = []
    for start, end in sentences(text):
        sentence = text[start:end]
        if CLAIM.fullmatch(sentence) and min_words <= sentence.count(" ") + 1 <= max_words:
            spans.append((start, end))
    return spans


def paragraphs(text: str) -> list[Span]:
    """The spans of paragraphs: separated by blank lines, or one per line where the text has none."""
    blocks: list[Span] = []
    lines: list[Span] = []
    start, blank = 0, True
    for line in text.split("\n"):
        end = start + len(line)
        if line and not line.isspace():
            blocks.append((start, end) if blank else (blocks.pop()[0], end))
            lines.append((start, end))
        blank = not line or line.isspace()
        start = end + 1
    # Lines that average over 100 characters are not wrapped, so each is a paragraph.
    return lines if len(blocks) < 3 and lines and len(text) > 100 * len(lines) else blocks


def strip_span(text: str, start: int, end: int) -> Span:
    """The span without white space at its ends."""
    piece = text[start:end]
    indent = len(piece) - len(piece.lstrip())
    return start + indent, max(start + indent, start + len(piece.rstrip()))


def is_latin(text: str, min_words: int = 8) -> bool:
    """Whether a text has at least `min_words` and mostly Latin letters. English templates fit no other text."""
    head = text[:4000]
    letters = len(LETTER.findall(head))
    return 2 * len(LATIN.findall(head)) > letters and len(head.split(None, min_words)) >= min_words


def is_english(text: str, min_words: int = 8) -> bool:
    """Whether a text has at least `min_words`, of which 1 in 25 or more are among the commonest English words."""
    head = text[:4000].lower().split()
    return len(head) >= min_words and 25 * sum(word in COMMONEST for word in head) >= len(head)


def topics(text: str, limit: int = 12) -> list[str]:
    """The topics of a text, most frequent first: phrases that follow determiners, then longer single words."""
    head = text[:SEARCHED]
    phrase_counts: Counter[str] = Counter()
    word_counts: Counter[str] = Counter()
    forms: dict[str, str] = {}
    for clause in NO_TOPIC.split(head):
        _count_topics(clause, phrase_counts, word_counts, forms)
    chosen = [phrase for phrase, _ in phrase_counts.most_common(limit)]
    for word, _ in word_counts.most_common(2 * limit):
        if len(chosen) < limit and not any(word in phrase for phrase in chosen):
            chosen.append(word)
    return [forms.get(topic, topic) for topic in chosen]


@cache
def word_list(name: str) -> frozenset[str]:
    """The words listed under `name` in phrases/words.yaml."""
    return frozenset(phrases("words")[name].split())


def _count_topics(clause: str, phrase_counts: Counter[str], word_counts: Counter[str], forms: dict[str, str]) -> None:
    """Count the topics of a clause: one or two words between a determiner and a stop word, and single longer words."""
    determiners, excluded = word_list("determiners"), word_list("no_topics")
    stop_words = word_list("stop_words") | determiners
    phrase_words: list[str] = []
    after_determiner = False
    for word in [*clause.split(), "the"]:
        lower = word.lower()
        if lower in stop_words or not word[:1].isalpha():
            if (
                after_determiner
                and 1 <= len(phrase_words) <= 2
                and len(phrase_words[-1]) > 3
                and not phrase_words[-1].endswith(("ly", "ed", "ing"))
            ):
                phrase = " ".join(phrase_words)
                if phrase_words[-1].lower() not in excluded and phrase_words[-1] not in word_list("titles_and_dates"):
                    phrase_counts[phrase.lower()] += len(phrase_words)
                    forms.setdefault(phrase.lower(), phrase.lower() if phrase.isupper() else phrase)
            phrase_words, after_determiner = [], lower in determiners or lower in ("of", "in", "for", "with")
        else:
            phrase_words.append(word)
            if len(word) > 4 and WORD.fullmatch(word) and not lower.endswith(("ly", "ed")) and lower not in excluded:
                word_counts[lower] += 1


NAME = re.compile(r"\b[A-ZÀ-Þ][a-zß-ÿ]+(?:[-'’][A-Za-z]{2,})?(?: (?:of |de |van |von )?[A-ZÀ-Þ][a-zß-ÿ]+){0,3}\b")


def names(text: str) -> list[Span]:
    """The spans of names at the text's start: capitalized words that also occur capitalized mid-sentence."""
    head = text[:SEARCHED]
    spans = [_without_lead(head, *match.span()) for match in NAME.finditer(head)]
    names_mid_sentence = {head[a:b] for a, b in spans if _is_mid_sentence(head, a)}
    return [(a, b) for a, b in spans if (name := head[a:b]) in names_mid_sentence and _is_name(name)]


def _without_lead(text: str, start: int, end: int) -> Span:
    """The span without a leading stop word: "Anne" for "Then Anne"."""
    first, space, _ = text[start:end].partition(" ")
    return (start + len(first) + 1, end) if space and first.lower() in word_list("stop_words") else (start, end)


def _is_mid_sentence(text: str, start: int) -> bool:
    """Whether a lower-case letter or a comma precedes `start`."""
    preceding = text[max(0, start - 2) : start]
    return len(preceding) == 2 and preceding[1] == " " and (preceding[0].islower() or preceding[0] == ",")


def _is_name(name: str) -> bool:
    return len(name) > 2 and not {name, name.lower()} & (word_list("titles_and_dates") | word_list("stop_words"))


def passage(others: Sequence[str], text: str, random: Random, size: int) -> str:
    """About `size` characters in whole sentences from one of `others` that is not `text`; "" where there is none."""
    window = excerpt(others, text, random, 2 * size + 400)
    spans = sentences(window)
    if len(spans) < 4:
        return window.strip()[:size].rpartition(" ")[0]
    first = random.randrange(1, max(2, len(spans) // 2))
    last = next((k for k in range(first, len(spans) - 1) if spans[k][1] - spans[first][0] >= size), len(spans) - 2)
    return window[spans[first][0] : spans[max(first, last)][1]]


def excerpt(others: Sequence[str], text: str, random: Random, size: int) -> str:
    """About `size` characters from one of `others` that is not `text`, cut anywhere; "" where there is none."""
    for _ in range(4):
        other = random.choice(others) if others else ""
        if other and other != text:
            start = random.randrange(max(1, len(other) - size))
            return other[start : start + size]
    return ""


def insertion_points(text: str, random: Random, count: int) -> list[int]:
    """Up to `count` sorted positions at ends of paragraphs, or of sentences where there are under 3 paragraphs."""
    ends = [end for _, end in paragraphs(text)]
    if len(ends) < 3:
        ends = [end for _, end in sentences(text)]
    return sorted(random.sample(ends, min(count, len(ends))))


def separator(text: str) -> str:
    """The separator between the paragraphs of a text."""
    return "\n\n" if "\n\n" in text or "\n" not in text else "\n"
