"""The spans of a text that a signal counts: a finder for each signal that counts spans.

Finders are plain Python over single texts. They find what the kernels count; tests/inspect/test_spans.py compares both.
To add a finder, add a line to FINDERS.
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
from curate.inspect.evidence import Evidence
from curate.inspect.excerpts import Span, Spans, characters_of, merged
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

Finder = Callable[[str, Evidence], Spans]  # of a text and the evidence against it, whose bound may matter
# A word in a string of character classes: A is a letter or digit, N a letter of a script without spaces, O any other.
WORD_CLASSES = re.compile(rb"O*NO*|[OA]+")


def words_of(text: str) -> list[Span]:
    """The words of a text, as `kernels.count_words` counts them."""
    if text.isascii():
        return [match.span() for match in re.finditer(r"\S+", text)]  # faster
    classes = _classes(text)
    kinds = np.full(len(classes), ord("O"), np.uint8)
    kinds[classes & (LETTER | DIGIT) != 0] = ord("A")
    kinds[classes & SPACELESS != 0] = ord("N")
    kinds[classes & (SPACE | DIVIDER) != 0] = ord(" ")
    return [match.span() for match in WORD_CLASSES.finditer(kinds.tobytes())]


def _classes(text: str) -> npt.NDArray[np.int64]:
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    classes: npt.NDArray[np.int64] = CLASS_BLOCKS[CLASS_INDEX[codes >> 7], codes & 127].astype(np.int64)
    return classes


def lines_of(text: str) -> list[Span]:
    """The lines of a text that are not blank, stripped of white space."""
    lines = []
    for start, end in whole_lines_of(text):
        line = text[start:end]
        begin = start + len(line) - len(line.lstrip())
        lines.append((begin, begin + len(line.strip())))
    return lines


def whole_lines_of(text: str) -> list[Span]:
    """The lines of a text that are not blank, with the white space at their ends."""
    lines, start = [], 0
    for line in text.split("\n"):
        if line.strip():
            lines.append((start, start + len(line)))
        start += len(line) + 1
    return lines


def paragraphs_of(text: str) -> list[list[Span]]:
    """The lines of each paragraph; blank lines separate paragraphs."""
    paragraphs: list[list[Span]] = []
    previous_end = None
    for start, end in lines_of(text):
        if previous_end is None or text.count("\n", previous_end, start) > 1:
            paragraphs.append([])
        paragraphs[-1].append((start, end))
        previous_end = end
    return paragraphs


def top_ngram(n: int, text: str, _: Evidence) -> Spans:
    """All occurrences of the most frequent n-gram of words; among equals, of the one that covers most characters."""
    words = words_of(text)
    occurrences = _ngrams(text, words, n)
    most = max(map(len, occurrences.values()), default=0)
    tops = [_covered(words, indices, n) for indices in occurrences.values() if len(indices) == most > 1]
    return max(tops, key=lambda spans: _characters(text, spans), default=[])


def later_ngrams(n: int, text: str, _: Evidence) -> Spans:
    """The repeated n-grams of words, without the first occurrence of each."""
    words = words_of(text)
    repeated = [index for indices in _ngrams(text, words, n).values() for index in indices[1:]]
    return _covered(words, sorted(repeated), n)


def _ngrams(text: str, words: Spans, n: int) -> dict[tuple[str, ...], list[int]]:
    """For each n-gram the indices of the words at which it begins."""
    words_as_text = [text[start:end] for start, end in words]
    occurrences = defaultdict(list)
    for k in range(len(words) - n + 1):
        occurrences[tuple(words_as_text[k : k + n])].append(k)
    return occurrences


def _covered(words: Spans, indices: Sequence[int], n: int) -> Spans:
    return merged((words[index][0], words[index + n - 1][1]) for index in indices)


def _characters(text: str, spans: Spans) -> int:
    """Characters of words within spans."""
    return sum(end - start for a, b in spans for start, end in words_of(text[a:b]))


def later_lines(text: str, _: Evidence) -> Spans:
    """The repeated lines, without the first occurrence of each."""
    return _later(text, [[line] for line in lines_of(text)])


def later_paragraphs(text: str, _: Evidence) -> Spans:
    """The lines of repeated paragraphs, without the first occurrence of each."""
    return _later(text, paragraphs_of(text))


def later_whole_lines(text: str, _: Evidence) -> Spans:
    """The repeated lines, where white space at their ends counts too."""
    return _later(text, [[line] for line in whole_lines_of(text)])


def _later(text: str, units: Sequence[Spans]) -> Spans:
    """The spans of units whose texts occurred in an earlier unit."""
    seen: set[tuple[str, ...]] = set()
    later: list[Span] = []
    for unit in units:
        texts = tuple(text[start:end] for start, end in unit)
        if texts in seen:
            later += unit
        seen.add(texts)
    return later


def lines_where(is_counted: Callable[[str, Evidence], bool], text: str, evidence: Evidence) -> Spans:
    """Lines, stripped of white space, that satisfy a condition."""
    return [(start, end) for start, end in lines_of(text) if is_counted(text[start:end], evidence)]


def whole_lines_where(is_counted: Callable[[str, Evidence], bool], text: str, evidence: Evidence) -> Spans:
    """Lines, with the white space at their ends, that satisfy a condition."""
    return [(start, end) for start, end in whole_lines_of(text) if is_counted(text[start:end], evidence)]


def words_where(is_counted: Callable[[str, Evidence], bool], text: str, evidence: Evidence) -> Spans:
    """Words that satisfy a condition."""
    return [(start, end) for start, end in words_of(text) if is_counted(text[start:end], evidence)]


def characters_where(bits: int, text: str, _: Evidence) -> Spans:
    """Runs of characters of a Unicode class."""
    return merged((int(k), int(k) + 1) for k in np.flatnonzero(_classes(text) & bits)) if text else []


def matches(pattern: str, text: str, _: Evidence) -> Spans:
    """The matches of a regular expression."""
    return [match.span() for match in re.finditer(pattern, text)]


def personal(kinds: Sequence[str], text: str, _: Evidence) -> Spans:
    """Personal data of the given kinds."""
    table = personal_spans(pa.array([text], pa.large_string()))
    starts, ends = (characters_of(text, table[name].to_pylist()) for name in ("start", "end"))
    reasons = table["reason"].to_pylist()
    return [(start, end) for start, end, kind in zip(starts, ends, reasons, strict=True) if kind in kinds]


def listed(block: BlockList, text: str) -> Spans:
    """The matches of a user's list in a text; none of a list of URLs, which are not in the text."""
    if block.kind == "regex":
        return _by_re2(block.values[0], text)
    return _listed_words(block.values, text) if block.kind == "words" else []


def _by_re2(pattern: str, text: str) -> Spans:
    """The matches of RE2, which counts them: set between marks that the text does not have."""
    mark = next(chr(code) for code in range(0xE000, 0xF900) if chr(code) not in text)
    pieces = pc.replace_substring_regex(pa.array([text]), pattern, f"{mark}\\0{mark}")[0].as_py().split(mark)
    ends = np.cumsum([len(piece) for piece in pieces])
    return [(int(ends[k - 1]), int(ends[k])) for k in range(1, len(pieces), 2)]


def _listed_words(values: Sequence[str], text: str) -> Spans:
    """The words of a list, as `kernels.count_listed_words` finds them."""
    letters = "".join(chr(folded(letter)) for letter in text)
    words = {"".join(chr(folded(c)) for c in normalize(form, word)) for word in values for form in ("NFC", "NFD")}
    classes = _classes(letters)
    joins = ((classes & WORD_BIT != 0) & (classes & SPACELESS == 0)).tolist()
    signs = (classes & MARK != 0).tolist()
    within = [False]  # before each character: whether a word continues there
    for join, sign in zip(joins, signs, strict=True):
        within.append(join or (sign and within[-1]))
    ends: dict[int, int] = {}  # by start
    for word in sorted((word for word in words if word in letters), key=len):
        start = letters.find(word)
        while start >= 0:
            end = start + len(word)
            begins = not (within[start] and (joins[start] or signs[start]))
            continues = end < len(letters) and (joins[end] or signs[end]) and (joins[end - 1] or signs[end - 1])
            if begins and not continues:
                ends[start] = end
            start = letters.find(word, start + 1)
    return sorted(ends.items())


def longer_than_bound(word: str, evidence: Evidence) -> bool:
    """Whether a word, or line, has more characters than a rule allows on average or at most."""
    return evidence.mark == ">" and evidence.bound is not None and len(word) > evidence.bound


def without_letter(word: str, _: Evidence) -> bool:
    """Whether a word has no letter."""
    return not any(map(str.isalpha, word))


SPECIAL = "".join(bytes([byte]).decode("cp1252", "ignore") for byte in range(0x80, 0xA0))
FOLLOWING = f"[\u0080-\u00bf{SPECIAL}]"
MOJIBAKE = f"[ÂÃÄÅÎÏÐÑØÙ]{FOLLOWING}|[à-ï]{FOLLOWING}{{2}}|[ð-ô]{FOLLOWING}{{3}}|Â "
ELLIPSIS = r"\.\.\.|…"

# Signals that count spans of a text. Others, such as a perplexity, are about the whole text.
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
    "n_broken_characters": lambda text, evidence: merged(
        [*characters_where(CONTROL, text, evidence), *matches("\ufffd+", text, evidence)]
    ),
    "digit_ratio": partial(characters_where, DIGIT),
    "uppercase_ratio": partial(characters_where, UPPER),
    "non_ascii_ratio": partial(matches, r"[^\x00-\x7f]+"),
    "raw_n_personal_data": partial(personal, pii.KINDS),
    **{signal: partial(personal, [kind]) for kind, signal in pii.COUNTS.items()},
}
