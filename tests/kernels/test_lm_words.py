"""Lines of tokens as language models read them, against regular expressions over folded text."""

import re
import unicodedata
from itertools import groupby

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.characters import CLASSES
from support.soak import examples
from support.texts import ARRAYS, SAMPLE_TEXTS, TEXTS, TORN

from curate.kernels.lm_words import FORM, lm_lines
from curate.kernels.unicode import MARK, SPACE, SPACELESS, WORD

quick = examples(300)
BECOMES = dict.fromkeys("\u2018\u2019\u201b", "'") | dict.fromkeys("\u201c\u201d\u201e\u201f", '"')
BECOMES |= dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-") | {"\u2026": "."}
INVISIBLE = {*map(chr, range(0x200B, 0x2010)), *map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2060, 0x2070)),
             *map(chr, range(0xFE00, 0xFE10)), "\u00ad", "\ufeff"}  # fmt: skip


def folded(text):
    """Each character of a text as it counts."""
    kept = []
    for c in text:
        if c in INVISIBLE or (unicodedata.category(c) == "Cc" and not c.isspace()):
            continue
        kept.append("0" if c in "0123456789" else BECOMES.get(c) or c.lower()[0])
    return "".join(kept)


def kind(c):
    bits = CLASSES[ord(c)]
    for name, found in (("s", SPACE), ("l", SPACELESS), ("w", WORD), ("m", MARK)):
        if bits & found:
            return name
    return "'" if c == "'" else "o"


def tokens_of(line):
    """The tokens of a folded line."""
    kinds = "".join(map(kind, line))
    found = []
    for token in re.finditer(r"w(?:[wm]|'(?=w))*|lm*|s|(?:(?!w|l|s).)+", kinds):
        text = line[token.start() : token.end()]
        if token[0][0] in "wl":
            found.append(text)
        elif token[0] != "s":
            found += [c for c, _ in groupby(text)]
    return found


def lines_of(text):
    return [line for line in (" ".join(tokens_of(line)) for line in folded(text).split("\n")) if line]


def assert_lines(array, texts):
    found = lm_lines(array)
    per_text = [lines_of(text or "") for text in texts]
    assert found.lines.type == pa.large_string()
    found.lines.validate(full=True)
    assert found.lines.to_pylist() == [line for lines in per_text for line in lines]
    assert found.owners.to_pylist() == [k for k, lines in enumerate(per_text) for _ in lines]
    counts = [None if text is None else sum(len(line.split(" ")) for line in lines)
              for text, lines in zip(texts, per_text, strict=True)]  # fmt: skip
    assert found.tokens.to_pylist() == counts


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("Don’t stop!!! It's 1,234.50 – now…", ["don't stop ! it's 0,000.00 - now ."]),
        ("one\r\n\r\n  \n\ttwo\nthree", ["one", "two", "three"]),
        ("'quoted' rock''n'roll o' x'", ["' quoted ' rock ' n'roll o ' x '"]),
        ("-- — ==> a-b snake_case", ["- - = > a - b snake_case"]),
        ("<s> </s> <unk>", ["< s > < / s > < unk >"]),
        ("哈哈 Python语言2024年", ["哈 哈 python 语 言 0000 年"]),
        ("हिन्दी e\u0301 ที่", ["हिन्दी e\u0301 ที่"]),
        ("co\u00adop\u200b\x00 \x07", ["coop"]),
        ("ΟΔΟΣ İstanbul ÀÉ Kelvin", ["οδοσ istanbul àé kelvin"]),
        ("", []),
    ],
)  # fmt: skip
def test_a_text_becomes_lines_of_tokens(text, lines):
    expected = [line.replace("0,000.00", "0 , 000 . 00") for line in lines]
    assert lm_lines(pa.array([text])).lines.to_pylist() == expected


@quick
@given(ARRAYS)
@example(["a''b 'a' a'\u00adb a\u00ad'b a'\u00ad'b a'你 你'a", None, "你\u0301\u0302 \u0301\u0301\u0302a .\u0301"])
@example(["ΣΟΦΟΣ Σ", "\u212a\u2126\u212b\u1fbb", "..\u2026. -\u2014\u2212 !\u200b! ! !", "\n\n a\nb\n", "\r\n\u2028"])
def test_lines_are_those_of_regular_expressions(texts):
    for width in (pa.string(), pa.large_string()):
        assert_lines(pa.array(texts, width), texts)


def test_lines_of_real_texts_are_those_of_regular_expressions():
    assert_lines(pa.array(SAMPLE_TEXTS), SAMPLE_TEXTS)


def test_slices_and_nulls_change_nothing():
    texts = [None, "One two\nthree", "", "四 五", None, "six\n\nseven", " "]
    for width in (pa.string(), pa.large_string()):
        whole = pa.array(texts, width)
        for start in range(len(texts)):
            assert_lines(whole.slice(start, 4), texts[start : start + 4])
    assert_lines(pa.array([], pa.string()), [])


@quick
@given(st.lists(TEXTS | st.sampled_from(["<s>", "</s>", "<unk>", "<S>"]), max_size=5).map(" ".join))
def test_no_token_is_one_of_the_model_and_each_stands_between_single_spaces(text):
    for line in lm_lines(pa.array([text])).lines.to_pylist():
        assert not {"<s>", "</s>", "<unk>", "<UNK>"} & set(line.split(" "))
        assert line.split() == line.split(" ")


@quick
@given(st.lists(st.sampled_from([*TORN, b"a", b"'", b",", "你".encode(), b"\n", b" "]), max_size=20).map(b"".join))
def test_broken_text_gives_lines_that_are_utf_8(raw):
    found = lm_lines(pa.StringArray.from_buffers(2, *pa.array([raw, b"ok"], pa.binary()).buffers()[1:]))
    found.lines.validate(full=True)
    assert found.lines.to_pylist()[-1] == "ok"


@quick
@given(TEXTS)
def test_lines_are_their_own_lines(text):
    lines = lm_lines(pa.array([text])).lines
    assert lm_lines(lines).lines.to_pylist() == lines.to_pylist()


def test_the_form_has_a_version():
    assert FORM == "words-1"
