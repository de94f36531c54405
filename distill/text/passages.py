"""Where the sentences, paragraphs, names and topics of a text are, as far as attacks need to know."""

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from random import Random

from curate.distill.text.phrases import phrases

Place = tuple[int, int]  # characters, start to end

SEARCHED = 20_000  # characters in which topics and names are looked for
ABBREVIATED = (
    r"(?<!\b[A-Za-z]\.)(?<!\bMr\.)(?<!\bMs\.)(?<!\bDr\.)(?<!\bSt\.)(?<!\bNo\.)(?<!\bvs\.)(?<!\bcf\.)(?<!\bCo\.)"
    r"(?<!\bJr\.)(?<!\bMrs\.)(?<!\bFig\.)(?<!\bfig\.)(?<!\bGen\.)(?<!\bSen\.)(?<!\bRep\.)(?<!\bCol\.)(?<!\bInc\.)"
    r"(?<!\bi\.e\.)(?<!\be\.g\.)(?<!\betc\.)(?<!\bProf\.)"
)
# A sentence ends at its mark before a capital or the end of a paragraph; at marks of other scripts; at a blank line;
# behind a short line; and before a line that is set in or begins with a bullet.
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


def sentences(text: str) -> list[Place]:
    """Where the sentences and headings of a text are, without the white space around them."""
    bounds = [0, *(match.end() for match in BOUNDARY.finditer(text)), len(text)]
    places = (stripped(text, start, end) for start, end in pairwise(bounds) if start < end)
    return [place for place in places if place[0] < place[1]]


def claims(text: str, fewest: int = 5, most: int = 90) -> list[Place]:
    """The sentences of so many words that begin with a capital, end with a mark and ask nothing."""
    places = []
    for start, end in sentences(text):
        sentence = text[start:end]
        if CLAIM.fullmatch(sentence) and fewest <= sentence.count(" ") + 1 <= most:
            places.append((start, end))
    return places


def paragraphs(text: str) -> list[Place]:
    """Where the paragraphs are: between blank lines, or line by line where there are none."""
    blocks: list[Place] = []
    lines: list[Place] = []
    start, blank = 0, True
    for line in text.split("\n"):
        end = start + len(line)
        if line and not line.isspace():
            blocks.append((start, end) if blank else (blocks.pop()[0], end))
            lines.append((start, end))
        blank = not line or line.isspace()
        start = end + 1
    # Lines so long were not wrapped.
    return lines if len(blocks) < 3 and lines and len(text) > 100 * len(lines) else blocks


def stripped(text: str, start: int, end: int) -> Place:
    """A place without the white space at its ends."""
    piece = text[start:end]
    left = len(piece) - len(piece.lstrip())
    return start + left, max(start + left, start + len(piece.rstrip()))


def in_latin(text: str, words: int = 8) -> bool:
    """Whether a text has that many words and most of its letters are Latin: English templates fit no other."""
    begin = text[:4000]
    letters = len(LETTER.findall(begin))
    return 2 * len(LATIN.findall(begin)) > letters and len(begin.split(None, words)) >= words


def in_english(text: str, words: int = 8) -> bool:
    """Whether a text has that many words, and at least one in 25 is "the" or another of the commonest in English."""
    begin = text[:4000].lower().split()
    return len(begin) >= words and 25 * sum(word in COMMONEST for word in begin) >= len(begin)


def topics(text: str, most: int = 12) -> list[str]:
    """What a text is about, most frequent first: phrases that follow "the" and the like, then its longer words."""
    begin = text[:SEARCHED]
    found_phrases: Counter[str] = Counter()
    single: Counter[str] = Counter()
    forms: dict[str, str] = {}
    for stretch in NO_TOPIC.split(begin):
        _count_topics(stretch, found_phrases, single, forms)
    found = [phrase for phrase, _ in found_phrases.most_common(most)]
    for word, _ in single.most_common(2 * most):
        if len(found) < most and not any(word in phrase for phrase in found):
            found.append(word)
    return [forms.get(topic, topic) for topic in found]


@cache
def words_that_are(use: str) -> frozenset[str]:
    """The words of phrases/words.yaml that have this use."""
    return frozenset(phrases("words")[use].split())


def _count_topics(stretch: str, found: Counter[str], single: Counter[str], forms: dict[str, str]) -> None:
    """Count in a stretch without punctuation the one or two words before a stop word and behind a determiner."""
    determiners, no_topics = words_that_are("determiners"), words_that_are("no_topics")
    stops = words_that_are("stop_words") | determiners
    run: list[str] = []
    open_ = False
    for word in [*stretch.split(), "the"]:
        lower = word.lower()
        if lower in stops or not word[:1].isalpha():
            if open_ and 1 <= len(run) <= 2 and len(run[-1]) > 3 and not run[-1].endswith(("ly", "ed", "ing")):
                phrase = " ".join(run)
                if run[-1].lower() not in no_topics and run[-1] not in words_that_are("titles_and_dates"):
                    found[phrase.lower()] += len(run)
                    forms.setdefault(phrase.lower(), phrase.lower() if phrase.isupper() else phrase)
            run, open_ = [], lower in determiners or lower in ("of", "in", "for", "with")
        else:
            run.append(word)
            if len(word) > 4 and WORD.fullmatch(word) and not lower.endswith(("ly", "ed")) and lower not in no_topics:
                single[lower] += 1


NAME = re.compile(r"\b[A-ZÀ-Þ][a-zß-ÿ]+(?:[-'’][A-Za-z]{2,})?(?: (?:of |de |van |von )?[A-ZÀ-Þ][a-zß-ÿ]+){0,3}\b")


def names(text: str) -> list[Place]:
    """Where names stand: words with capitals that also have one within a sentence, at most in the begin of the text."""
    begin = text[:SEARCHED]
    places = [_without_lead(begin, *match.span()) for match in NAME.finditer(begin)]
    inside = {begin[a:b] for a, b in places if _within(begin, a)}
    return [(a, b) for a, b in places if (name := begin[a:b]) in inside and _is_name(name)]


def _without_lead(text: str, start: int, end: int) -> Place:
    """The name alone: Anne, where "Then Anne" stands."""
    first, space, _ = text[start:end].partition(" ")
    return (start + len(first) + 1, end) if space and first.lower() in words_that_are("stop_words") else (start, end)


def _within(text: str, start: int) -> bool:
    """Whether what stands before is a word or comma of the same sentence."""
    before = text[max(0, start - 2) : start]
    return len(before) == 2 and before[1] == " " and (before[0].islower() or before[0] == ",")


def _is_name(name: str) -> bool:
    return len(name) > 2 and not {name, name.lower()} & (
        words_that_are("titles_and_dates") | words_that_are("stop_words")
    )


def passage(others: Sequence[str], text: str, random: Random, size: int) -> str:
    """Whole sentences out of one of `others` that is not `text`, about `size` characters; "" where there is none."""
    window = stretch(others, text, random, 2 * size + 400)
    places = sentences(window)
    if len(places) < 4:
        return window.strip()[:size].rpartition(" ")[0]
    first = random.randrange(1, max(2, len(places) // 2))
    last = next((k for k in range(first, len(places) - 1) if places[k][1] - places[first][0] >= size), len(places) - 2)
    return window[places[first][0] : places[max(first, last)][1]]


def stretch(others: Sequence[str], text: str, random: Random, size: int) -> str:
    """About `size` characters of one of `others` that is not `text`, cut anywhere; "" where there is none."""
    for _ in range(4):
        other = random.choice(others) if others else ""
        if other and other != text:
            start = random.randrange(max(1, len(other) - size))
            return other[start : start + size]
    return ""


def places_between(text: str, random: Random, count: int) -> list[int]:
    """Up to `count` places behind paragraphs, or behind sentences where there are few of those; sorted."""
    ends = [end for _, end in paragraphs(text)]
    if len(ends) < 3:
        ends = [end for _, end in sentences(text)]
    return sorted(random.sample(ends, min(count, len(ends))))


def joint(text: str) -> str:
    """What stands between the paragraphs of a text."""
    return "\n\n" if "\n\n" in text or "\n" not in text else "\n"
