"""Pieces, and lines as they stand, against slow and obvious Python."""

import re
import unicodedata

import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st
from support.soak import examples

from curate import kernels
from curate.kernels.marks import CURRENCIES, DASHES, MARKS, PAIRS, QUOTES, UNITS, WHOLE
from curate.kernels.whole_lines import ENDS
from curate.kernels.words import GOPHER_STOP_WORDS

SHOWN = """
a B z1 é Ö 7 3.14 你 . .. ... … , ; : ! ? ' " ( ) [ ] - -- --- – — —— / = < > + * ^ ~ _ # & % $ € § © ° × @
don't I'm we’ve it's dog’s rock'n'roll e.g. Mr. U.S. No. USA. 10km 5% 12m 3.Oct ends.Then a,b http://a.b/c-d
x-y@b-c.org www.a-b.com/x?y a-b.de:80/z x|ab://c.de/f :) '' ): 's 「你好」。 и Привет, αβγ. 3+4 2^-1 a/b the The of
cannot Cannot, (cannot)
"""
PARTS = [
    *SHOWN.split(),
    " ",
    "\n",
    "\n\n",
    "\u00a0",
    "\t",
    "x" * 2050,
]
TEXTS = st.lists(st.sampled_from(PARTS), max_size=12).map("".join) | st.text("aB1.,'’- \n!?(…", max_size=20)
KNOWN = st.characters(exclude_categories=["Cs", "Cn"])  # to this Python's Unicode; the kernels' may be a later one
ARRAYS = st.lists(st.none() | TEXTS | st.text(KNOWN, max_size=20), max_size=4)
quick = examples(300)

CONTRACTION = re.compile(r"([A-Za-z]+)(n['’]t|['’](?:ll|ve|re|d|m))", re.ASCII)
HOST = r"(?:[A-Za-z0-9\u0080-\U0010ffff](?:[\w\u0080-\U0010ffff-]*[A-Za-z0-9\u0080-\U0010ffff])?\.)+[a-z]{2,}"
ADDRESS = re.compile(rf"(?:.+@|[\w+.-]{{2,}}://)?{HOST}(?::[0-9]{{2,5}})?(?:[/?#].*)?", re.DOTALL)


def is_letter(c):
    return c.isalpha()


def is_capital(c):
    return c.isalpha() and unicodedata.category(c) in ("Lu", "Lt")


def is_small(c):
    return c.isalpha() and not is_capital(c)


def is_digit(c):
    return c != "" and c in "0123456789"


def is_icon(c):
    kept = c in "¬±×÷" or "\u2190" <= c <= "\u2194" or "\u2200" <= c <= "\u22ff"
    return c >= "\x80" and c not in CURRENCIES + MARKS and unicodedata.category(c)[0] == "S" and not kept


def front_of(s):
    """The piece to be split off at the beginning."""
    if s.startswith(".."):
        return re.match(r"\.+", s)[0]
    if s[:2] in PAIRS:
        return s[:2]
    splits = s[0] in MARKS + DASHES + CURRENCIES + "%=§" or is_icon(s[0]) or (s[0] == "+" and not is_digit(s[1:2]))
    return s[0] if splits else ""


def back_of(s):
    """The piece to be split off at the end."""
    c, before = s[-1], s[-2:-1]
    if s.endswith(".."):
        return re.search(r"\.+\Z", s)[0]
    if s[-2:] in PAIRS:
        return s[-2:]
    if c in MARKS + DASHES or is_icon(c):
        return c
    if s[-2:] in ("'s", "'S", "’s", "’S"):
        return s[-2:]
    if (c == "+" or c in CURRENCIES) and is_digit(before):
        return c
    if c == "." and before:
        splits = is_digit(before) or is_small(before) or before in MARKS + DASHES + "%+-" or is_icon(before)
        return c if splits or (is_capital(before) and is_capital(s[-3:-2])) else ""
    unit = re.search(r"(?<=[0-9])[^0-9]+\Z", s)
    return unit[0] if unit and unit[0] in UNITS else ""


def within(s):
    """Pieces of a word whose ends are split off."""
    if s in WHOLE or ADDRESS.fullmatch(s):
        return [s]
    if s in ("cannot", "Cannot"):
        return [s[:3], "not"]
    if found := CONTRACTION.fullmatch(s):
        return list(found.groups())
    pieces, first, i = [], 0, 1
    while i < len(s):
        b, rest, letter_before = s[i - 1], s[i:], is_letter(s[i - 1])
        infix = ""
        if found := re.match(r"\.\.+|…", rest):
            infix = found[0]
        elif is_icon(s[i]) or (is_digit(b) and re.match(r"[+\-*^][0-9-]", rest)):
            infix = s[i]
        elif (
            s[i] == "."
            and (is_small(b) or b in QUOTES)
            and (is_capital(s[i + 1 : i + 2] or "_") or s[i + 1 : i + 2] in list(QUOTES))
        ):
            infix = "."
        elif s[i] == "," and letter_before and is_letter(s[i + 1 : i + 2]):
            infix = ","
        elif (letter_before or is_digit(b)) and (found := re.match("-{1,3}|—{1,2}|[–~:<>=/]", rest)):
            infix = found[0] if is_letter(rest[len(found[0]) :][:1]) else ""
        if infix:
            pieces += [s[first:i], infix]
            first = i + len(infix)
        i += max(1, len(infix))
    return [piece for piece in [*pieces, s[first:]] if piece]


def split(s):
    """Pieces of a run of non-space characters."""
    fronts, backs = [], []
    while s and s not in WHOLE:
        front = front_of(s)
        if s[len(front) :] in WHOLE:
            fronts.append(front)
            s = s[len(front) :]
            break
        back = back_of(s[len(front) :]) if s[len(front) :] else ""
        backs += [back] if back else []
        s = s[: len(s) - len(back)]
        if s in WHOLE:
            break
        fronts += [front] if front else []
        s = s[len(front) :]
        if not front and not back:
            break
    return [*fronts, *(within(s) if s else []), *reversed(backs)]


def pieces(text):
    return [piece for run in text.split() for piece in split(run)]


def sentences(text):
    """Stretches of a line up to a mark that ends one, with the punctuation behind it."""
    total = 0
    for line in text.split("\n"):
        ended = None
        for piece in pieces(line):
            ends = piece in list(".!?։؟۔।॥።！．？｡。")
            mark = all(unicodedata.category(c)[0] == "P" for c in piece)
            total += ended is None or (ended and not ends and not mark)
            ended = True if ends else bool(ended) if mark else False
    return total


def expected(text):
    found = pieces(text)
    wordy = [piece for piece in found if any(c.isalpha() or c.isdecimal() for c in piece)]
    return {
        "pieces": len(found),
        "word_pieces": len(wordy),
        "word_characters": sum(map(len, wordy)),
        "alpha_pieces": sum(any(c.isalpha() for c in piece) for piece in found),
        "distinct_stop_words": len(set(GOPHER_STOP_WORDS) & set(found)),
        "hashes": text.count("#"),
        "ellipses": text.count("...") + text.count("…"),
        "newlines": text.count("\n"),
        "sentences": sentences(text),
    }


@quick
@given(ARRAYS)
@example(["x" * 2047 + " the of." + "y" * 2050 + ". Z", ("word, " * 400 + "\n") * 3, "))))))))))", "a.b.", "\n\n.A"])
def test_pieces_are_counted_as_the_oracle_counts_them(texts):
    counts = kernels.count_pieces(pa.array(texts, pa.string()))
    for k, text in enumerate(texts):
        found = {name: column[k].as_py() for name, column in counts.items()}
        assert found == (dict.fromkeys(counts) if text is None else expected(text))


def expected_of_lines(text):
    lines = [line for line in text.split("\n") if line.strip()]
    ends = tuple(map(chr, ENDS))
    return {
        "lines": len(lines),
        "terminal_lines": sum(line.endswith(ends) for line in lines),
        "short_lines": sum(len(line) <= 30 for line in lines),
        "characters": len(text.replace("\n", "")),
        "duplicate_characters": sum(len(line) for k, line in enumerate(lines) if line in lines[:k]),
    }


LINES = [
    "",
    " ",
    "a",
    "a ",
    " a",
    "One.",
    "One. ",
    "One.”",
    "“No”",
    "今天。",
    "ends…",
    "x" * 30,
    "é" * 31,
    "\u00a0",
    "\r",
]
LINES += ["a line of over thirty characters, and more."]


@quick
@given(st.lists(st.none() | st.lists(st.sampled_from(LINES), max_size=12).map("\n".join) | TEXTS, max_size=4))
@example(["\n".join(map(str, [*range(70), *range(70)])), "a\na\n", "\n"])
def test_lines_are_judged_as_they_stand(texts):
    counts = kernels.count_whole_lines(pa.array(texts, pa.string()))
    for k, text in enumerate(texts):
        found = {name: column[k].as_py() for name, column in counts.items()}
        assert found == (dict.fromkeys(counts) if text is None else expected_of_lines(text))
