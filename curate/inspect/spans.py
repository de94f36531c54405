"""Where in a text stands what a signal counts: a finder for each signal of which that can be pointed at.

Finders are plain Python over single texts. They find what the kernels count, which tests/inspect/test_spans.py
compares. To add one, give it a line in FINDERS.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from unicodedata import normalize

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.filters.block import BlockList
from curate.filters.edits import pii
from curate.inspect.evidence import Fired
from curate.inspect.excerpts import Spans, characters_of, merged
from curate.kernels.lines import BULLETS, SHORT_LINE, TERMINALS
from curate.kernels.repetition import DUPLICATE_ORDERS, TOP_ORDERS
from curate.kernels.unicode import (
    CLASS_BLOCKS,
    CLASS_INDEX,
    CONTROL,
    DIGIT,
    DIVIDER,
    LETTER,
    MARK,
    SPACE,
    SPACELESS,
    UPPER,
)
from curate.kernels.unicode import WORD as WORD_BIT
from curate.kernels.whole_lines import ENDS
from curate.kernels.whole_lines import SHORT_LINE as SHORT_WHOLE_LINE
from curate.kernels.words_of_list import folded
from curate.maps.documents import personal_spans

Finder = Callable[[str, Fired], Spans]  # of a text and of what fired on it, whose bound may matter
RUN = re.compile(rb"O*NO*|[OA]+")  # of kinds of characters: letters of scripts without spaces (N), others (A, O)


def words_of(text: str) -> list[tuple[int, int]]:
    """The words of a text as `kernels.count_words` counts them."""
    if text.isascii():
        return [match.span() for match in re.finditer(r"\S+", text)]  # quicker
    classes = _classes(text)
    kinds = np.full(len(classes), ord("O"), np.uint8)
    kinds[classes & (LETTER | DIGIT) != 0] = ord("A")
    kinds[classes & SPACELESS != 0] = ord("N")
    kinds[classes & (SPACE | DIVIDER) != 0] = ord(" ")
    return [match.span() for match in RUN.finditer(kinds.tobytes())]


def _classes(text: str) -> npt.NDArray[np.int64]:
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    found: npt.NDArray[np.int64] = CLASS_BLOCKS[CLASS_INDEX[codes >> 7], codes & 127].astype(np.int64)
    return found


def lines_of(text: str) -> list[tuple[int, int]]:
    """The lines of a text that are not blank, white space at their ends aside."""
    found = []
    for start, end in whole_lines_of(text):
        line = text[start:end]
        begin = start + len(line) - len(line.lstrip())
        found.append((begin, begin + len(line.strip())))
    return found


def whole_lines_of(text: str) -> list[tuple[int, int]]:
    """The lines of a text that are not blank, with the white space at their ends."""
    found, start = [], 0
    for line in text.split("\n"):
        if line.strip():
            found.append((start, start + len(line)))
        start += len(line) + 1
    return found


def paragraphs_of(text: str) -> list[list[tuple[int, int]]]:
    """The lines of each paragraph: those between blank lines."""
    found: list[list[tuple[int, int]]] = []
    reached = None
    for start, end in lines_of(text):
        if reached is None or text.count("\n", reached, start) > 1:  # a blank line lies between
            found.append([])
        found[-1].append((start, end))
        reached = end
    return found


def top_ngram(n: int, text: str, _: Fired) -> Spans:
    """All places of the n-gram of words that stands there most often; of several, of that which covers most."""
    words = words_of(text)
    places = _ngrams(text, words, n)
    most = max(map(len, places.values()), default=0)
    tops = [_covered(words, where, n) for where in places.values() if len(where) == most > 1]
    return max(tops, key=lambda spans: _characters(text, spans), default=[])


def later_ngrams(n: int, text: str, _: Fired) -> Spans:
    """The n-grams of words that stood before."""
    words = words_of(text)
    later = [place for where in _ngrams(text, words, n).values() for place in where[1:]]
    return _covered(words, sorted(later), n)


def _ngrams(text: str, words: Spans, n: int) -> dict[tuple[str, ...], list[int]]:
    """The places of each n-gram."""
    written = [text[start:end] for start, end in words]
    places = defaultdict(list)
    for k in range(len(words) - n + 1):
        places[tuple(written[k : k + n])].append(k)
    return places


def _covered(words: Spans, places: Sequence[int], n: int) -> Spans:
    return merged((words[place][0], words[place + n - 1][1]) for place in places)


def _characters(text: str, spans: Spans) -> int:
    """Characters of words within some places."""
    return sum(end - start for a, b in spans for start, end in words_of(text[a:b]))


def later_lines(text: str, _: Fired) -> Spans:
    """The lines that stood before."""
    return _later(text, [[line] for line in lines_of(text)])


def later_paragraphs(text: str, _: Fired) -> Spans:
    """The lines of paragraphs that stood before."""
    return _later(text, paragraphs_of(text))


def later_whole_lines(text: str, _: Fired) -> Spans:
    """The lines that stood before, white space at their ends compared too."""
    return _later(text, [[line] for line in whole_lines_of(text)])


def _later(text: str, units: Sequence[Spans]) -> Spans:
    seen: set[tuple[str, ...]] = set()
    found: list[tuple[int, int]] = []
    for unit in units:
        written = tuple(text[start:end] for start, end in unit)
        if written in seen:
            found += unit
        seen.add(written)
    return found


def lines_where(wrong: Callable[[str, Fired], bool], text: str, fired: Fired) -> Spans:
    """Lines of which something is true, white space at their ends aside."""
    return [(start, end) for start, end in lines_of(text) if wrong(text[start:end], fired)]


def whole_lines_where(wrong: Callable[[str, Fired], bool], text: str, fired: Fired) -> Spans:
    """Lines of which something is true with the white space at their ends."""
    return [(start, end) for start, end in whole_lines_of(text) if wrong(text[start:end], fired)]


def words_where(wrong: Callable[[str, Fired], bool], text: str, fired: Fired) -> Spans:
    """Words of which something is true."""
    return [(start, end) for start, end in words_of(text) if wrong(text[start:end], fired)]


def characters_where(bits: int, text: str, _: Fired) -> Spans:
    """Characters of a class of Unicode, those that follow each other as one."""
    return merged((int(k), int(k) + 1) for k in np.flatnonzero(_classes(text) & bits)) if text else []


def matches(pattern: str, text: str, _: Fired) -> Spans:
    """What a regular expression finds."""
    return [match.span() for match in re.finditer(pattern, text)]


def personal(kinds: Sequence[str], text: str, _: Fired) -> Spans:
    """Personal data of some kinds."""
    found = personal_spans(pa.array([text], pa.large_string()))
    starts, ends = (characters_of(text, found[name].to_pylist()) for name in ("start", "end"))
    reasons = found["reason"].to_pylist()
    return [(start, end) for start, end, kind in zip(starts, ends, reasons, strict=True) if kind in kinds]


def listed(block: BlockList, text: str) -> Spans:
    """What a list of the user's has of a text; nothing for one of addresses, which are not in the text."""
    if block.kind == "regex":
        return _by_re2(block.values[0], text)
    return _listed_words(block.values, text) if block.kind == "words" else []


def _by_re2(pattern: str, text: str) -> Spans:
    """What RE2, which counts it, finds: put between marks that the text does not have, and told by these."""
    mark = next(chr(code) for code in range(0xE000, 0xF900) if chr(code) not in text)
    written = pc.replace_substring_regex(pa.array([text]), pattern, f"{mark}\\0{mark}")[0].as_py().split(mark)
    ends = np.cumsum([len(piece) for piece in written])
    return [(int(ends[k - 1]), int(ends[k])) for k in range(1, len(written), 2)]


def _listed_words(values: Sequence[str], text: str) -> Spans:
    """The words of a list, as `kernels.count_listed_words` finds where they begin."""
    letters = "".join(chr(folded(letter)) for letter in text)
    words = {"".join(chr(folded(c)) for c in normalize(form, word)) for word in values for form in ("NFC", "NFD")}
    classes = _classes(letters)
    joins = ((classes & WORD_BIT != 0) & (classes & SPACELESS == 0)).tolist()
    signs = (classes & MARK != 0).tolist()
    within = [False]  # before each place: whether a word goes on to it
    for join, sign in zip(joins, signs, strict=True):
        within.append(join or (sign and within[-1]))
    found: dict[int, int] = {}
    for word in sorted((word for word in words if word in letters), key=len):
        start = letters.find(word)
        while start >= 0:
            end = start + len(word)
            begins = not (within[start] and (joins[start] or signs[start]))
            goes_on = end < len(letters) and (joins[end] or signs[end]) and (joins[end - 1] or signs[end - 1])
            if begins and not goes_on:
                found[start] = end
            start = letters.find(word, start + 1)
    return sorted(found.items())


def longer_than_bound(word: str, fired: Fired) -> bool:
    """Whether a word, or line, has more characters than a rule allows on average or at most."""
    return fired.mark == ">" and fired.bound is not None and len(word) > fired.bound


def without_letter(word: str, _: Fired) -> bool:
    """Whether no letter stands in a word."""
    return not any(map(str.isalpha, word))


SPECIAL = "".join(bytes([byte]).decode("cp1252", "ignore") for byte in range(0x80, 0xA0))
FOLLOWING = f"[\u0080-\u00bf{SPECIAL}]"
MOJIBAKE = f"[ÂÃÄÅÎÏÐÑØÙ]{FOLLOWING}|[à-ï]{FOLLOWING}{{2}}|[ð-ô]{FOLLOWING}{{3}}|Â "
ELLIPSIS = r"\.\.\.|…"

# Signals of which it can be told where they are counted. What is not here, such as a perplexity, is of no one place.
FINDERS: dict[str, Finder] = {
    **{f"top_{n}gram_character_ratio": partial(top_ngram, n) for n in TOP_ORDERS},
    **{f"duplicate_{n}gram_character_ratio": partial(later_ngrams, n) for n in DUPLICATE_ORDERS},
    **dict.fromkeys(("duplicate_line_ratio", "duplicate_line_character_ratio"), later_lines),
    **dict.fromkeys(("duplicate_paragraph_ratio", "duplicate_paragraph_character_ratio"), later_paragraphs),
    "duplicate_whole_line_character_ratio": later_whole_lines,
    "bullet_line_ratio": partial(lines_where, lambda line, _: ord(line[0]) in BULLETS),
    "ellipsis_line_ratio": partial(lines_where, lambda line, _: line.endswith(("...", "…"))),
    "terminal_line_ratio": partial(lines_where, lambda line, _: ord(line[-1]) not in TERMINALS),
    "short_line_ratio": partial(lines_where, lambda line, _: len(line) < SHORT_LINE),
    "max_line_length": partial(lines_where, longer_than_bound),
    "mean_line_length": partial(lines_where, longer_than_bound),
    "terminal_whole_line_ratio": partial(whole_lines_where, lambda line, _: ord(line[-1]) not in ENDS),
    "short_whole_line_ratio": partial(whole_lines_where, lambda line, _: len(line) <= SHORT_WHOLE_LINE),
    "mean_word_length": partial(words_where, longer_than_bound),
    "max_word_length": partial(words_where, longer_than_bound),
    "alpha_word_ratio": partial(words_where, without_letter),
    **dict.fromkeys(("hash_word_ratio", "hash_piece_ratio"), partial(matches, "#")),
    **dict.fromkeys(("ellipsis_word_ratio", "ellipsis_piece_ratio"), partial(matches, ELLIPSIS)),
    **dict.fromkeys(("n_curly_brackets", "raw_n_curly_brackets"), partial(matches, "{")),
    **dict.fromkeys(("n_lorem_ipsum", "raw_n_lorem_ipsum"), partial(matches, "(?ai:lorem ipsum)")),
    "mojibake_ratio": partial(matches, MOJIBAKE),
    "control_ratio": partial(characters_where, CONTROL),
    "replacement_ratio": partial(matches, "\ufffd+"),
    "n_broken_characters": lambda text, fired: merged(
        [*characters_where(CONTROL, text, fired), *matches("\ufffd+", text, fired)]
    ),
    "digit_ratio": partial(characters_where, DIGIT),
    "uppercase_ratio": partial(characters_where, UPPER),
    "non_ascii_ratio": partial(matches, r"[^\x00-\x7f]+"),
    "raw_n_personal_data": partial(personal, pii.KINDS),
    **{signal: partial(personal, [kind]) for kind, signal in pii.COUNTS.items()},
}
