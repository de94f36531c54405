"""Each kernel against one slow, obvious oracle."""

import unicodedata
from itertools import groupby

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.characters import CLASSES, CODES, is_spaceless
from support.oracles import assert_counts, split_words
from support.soak import examples
from support.texts import ARRAYS, TEXTS, TORN

from curate import kernels
from curate.kernels import unicode
from curate.kernels.arrow import text_views
from curate.kernels.words import FUNCTION_WORDS

GOPHER_STOP_WORDS = {"the", "be", "to", "of", "and", "that", "have", "with"}
BULLETS = "•‣▶◀◦■□▪▫–-*●○⁃∙·"
TERMINALS = ".!?\"'”’»…。！？」』।۔؟։"


WHOLE = ["the", " ", "\n", "é", "你", "😀", "..", "\u2028"]
BROKEN = st.lists(
    st.one_of(st.binary(max_size=6), st.sampled_from(TORN), st.sampled_from(WHOLE).map(str.encode)), max_size=10
).map(b"".join)

# Those that make several counts; the others have tests of their own in test_kernels_of_rules.py.
COUNTING = [
    kernels.count_characters, kernels.count_words, kernels.count_lines, kernels.count_repeated_lines,
    kernels.count_ngrams,
]  # fmt: skip
KERNELS = [*COUNTING, kernels.normalised]
quick = examples(120)


# Oracles


def characters_of(text):
    categories = [unicodedata.category(c) for c in text]
    return {
        "letters": sum(c.isalpha() for c in text),
        "digits": categories.count("Nd"),
        "uppercase": categories.count("Lu") + categories.count("Lt"),
        "spaces": sum(c.isspace() for c in text),
        "punctuation": sum(category.startswith("P") for category in categories),
        "symbols": sum(category.startswith("S") for category in categories),
        "controls": sum(unicodedata.category(c) == "Cc" and not c.isspace() for c in text),
        "spaceless": sum(map(is_spaceless, text)),
        "characters": len(text),
        "non_ascii": sum(not c.isascii() for c in text),
        "replacements": text.count("\ufffd"),
        "bytes": len(text.encode()),
        "ascii_letters": sum(c.isascii() and c.isalpha() for c in text),
    }


def stop_words_of(text):
    """The English function words of a text in lower case, each as often as it occurs."""
    bare = [word[len(kinds) - len(kinds.lstrip("O")) : len(kinds.rstrip("O"))] for word, kinds in split_words(text)]
    return [word.lower() for word in bare if word.isascii() and word.lower() in FUNCTION_WORDS]


def words_of(text):
    words = split_words(text)
    stop_words = stop_words_of(text)
    return {
        "words": len(words),
        "word_characters": sum(len(word) for word, _ in words),
        "alpha_words": sum(any(c.isalpha() for c in word) for word, _ in words),
        "longest_word": max((len(word) for word, _ in words), default=0),
        "stop_words": len(stop_words),
        "distinct_stop_words": len(GOPHER_STOP_WORDS.intersection(stop_words)),
        "hashes": text.count("#"),
        "ellipses": text.count("...") + text.count("…"),
    }


def lines_of(text):
    stripped = [line.strip() for line in text.split("\n")]
    lines = [line for line in stripped if line]
    return {
        "lines": len(lines),
        "line_characters": sum(map(len, lines)),
        "paragraphs": sum(filled for filled, _ in groupby(stripped, key=bool)),
        "bullet_lines": sum(line[0] in BULLETS for line in lines),
        "ellipsis_lines": sum(line.endswith(("...", "…")) for line in lines),
        "terminal_lines": sum(line[-1] in TERMINALS for line in lines),
        "short_lines": sum(len(line) < 30 for line in lines),
        "longest_line": max(map(len, lines), default=0),
    }


def without_context(text):
    """The characters of a text that have one normal form wherever they stand."""
    return "".join(c for c in text if not CLASSES[ord(c)] & unicode.UNSTABLE)


def normal_form_of(text):
    return " ".join(unicodedata.normalize("NFC", text).lower().split())


def results(kernel, texts):
    """What a kernel makes of an array, in Python's types."""
    if kernel is kernels.normalised:
        return {"normalised": [None if text is None else bytes(text) for text in kernel(texts)]}
    return {name: column.to_pylist() for name, column in kernel(texts).items()}


def viewed(chunks, before=b"", behind=b""):
    """An array of strings over exactly these bytes, well-formed or not, with others before and behind them."""
    offsets = np.cumsum([len(before), *map(len, chunks)]).astype(np.int32)
    buffers = [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(before + b"".join(chunks) + behind)]
    return pa.Array.from_buffers(pa.string(), len(chunks), buffers)


# Characters


@quick
@given(TEXTS)
@example("")
@example(" \t\r\n\x1c\x85\xa0\u2028\u3000")
@example("Ǆ ǅ ẞ ß ﬁ 3 ٣ ½ Ⅷ € 😀 \0 \ufeff \ufffd")
def test_characters_are_counted_as_unicodedata_classifies_them(text):
    assert_counts(kernels.count_characters, characters_of, [text])


def test_every_code_point_on_its_own_is_counted_as_unicodedata_classifies_it():
    assert_counts(kernels.count_characters, characters_of, [chr(code) for code in CODES])


# Words


@quick
@given(TEXTS)
@example("")
@example(" \n ")
@example("\u2003the\u2028of\x85and\x1cto")
def test_words_are_what_the_regular_expression_finds(text):
    assert_counts(kernels.count_words, words_of, [text])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("  \r\n\t\u3000", []),
        ("one  two\nthree", ["one", "two", "three"]),
        ("don't", ["don't"]),
        ("#hash ... …", ["#hash", "...", "…"]),
        ("## .. ...... .......…", ["##", "..", "......", ".......…"]),
        ("-- 42 x-1 ½", ["--", "42", "x-1", "½"]),
        ("「你好」。", ["「你", "好」。"]),
        ("(あ)い", ["(あ)", "い"]),
        ("v2你好world", ["v2", "你", "好", "world"]),
        ("a,你", ["a,", "你"]),
        ("你,a", ["你,", "a"]),
        ("ไทยดี", ["ไ", "ท", "ย", "ดี"]),
        ("བོད་སྐད་ཡིན།", ["བོད", "སྐད", "ཡིན།"]),
        ("ሰላም፡ለዓለም።", ["ሰላም", "ለዓለም።"]),
        ("ꆈꌠꁱ ꦗꦮ", ["ꆈ", "ꌠ", "ꁱ", "ꦗ", "ꦮ"]),
        ("한국어 é e\u0301 кот", ["한국어", "é", "e\u0301", "кот"]),
    ],
)
def test_a_word_is_a_run_without_spaces_or_one_letter_of_a_spaceless_script(text, words):
    assert [word for word, _ in split_words(text)] == words
    assert_counts(kernels.count_words, words_of, [text])


@pytest.mark.parametrize(
    ("text", "stop_words"),
    [
        ("The end OF tHe line", ["the", "of", "the"]),
        ('"That," (with) ...to... and; be!', ["that", "with", "to", "and", "be"]),
        ("«the» the\u2028of „und“ …and…", ["the", "the", "of", "and"]),
        ("theory bathe th", []),
        ("don't it's i't t.h.e th-e the.of o#f", []),
        ("the1 1the of² 3", ["of"]),
        ("thé the\u0301 ťhe theé", ["the"]),
        ("的the的", ["the"]),
        ("- -- --- ! 1 12 \x07 _ $", []),
        ("internationalisation abcdefghijklmnopqrstuvwxyz becauses", []),
    ],
)
def test_case_and_outer_punctuation_hide_no_stop_word(text, stop_words):
    assert stop_words_of(text) == stop_words
    assert_counts(kernels.count_words, words_of, [text])


def test_each_function_word_is_a_stop_word_and_no_longer_word_is():
    texts = [
        form(word) for word in FUNCTION_WORDS for form in (str, str.upper, str.title, "({})".format, "{}...".format)
    ]
    assert_counts(kernels.count_words, words_of, texts)
    assert kernels.count_words(pa.array(texts))["stop_words"].to_pylist() == [1] * len(texts)
    assert_counts(
        kernels.count_words, words_of, [f"{word}x x{word} {word}{word} {word[1:]}" for word in FUNCTION_WORDS]
    )


def test_every_code_point_between_letters_makes_the_words_of_the_regular_expression():
    assert_counts(kernels.count_words, words_of, [f"a{chr(code)}b" for code in CODES])


@pytest.mark.parametrize(
    "period",
    [
        "the end (of) it, \n",
        "don't THE \u2003x 你好é... # ",
        "internationalisation",
        "   \n  \n ",
        "a" * 4999 + " of the" + " " * 4999,
        "1" * 4999,
        "-" * 5001 + "the é",
    ],
)
def test_words_do_not_depend_on_where_they_lie_in_a_long_text(period):
    odd = period + "b" * (len(period.encode()) % 2 == 0)  # then blocks of a power of two begin everywhere in it
    assert_counts(kernels.count_words, words_of, [odd * (150_000 // len(odd))])


@pytest.mark.parametrize("c", "a1-.#é你")
def test_long_runs_of_one_character_are_what_the_regular_expression_finds(c):
    sizes = (2047, 2048, 2049, 4095, 4096, 4097)
    texts = [before + c * n + after for n in sizes for before in ("", " ") for after in ("", "the")]
    assert_counts(kernels.count_words, words_of, texts)


@examples(50)
@given(TEXTS.filter(bool), st.integers(4000, 9000))
def test_words_are_what_the_regular_expression_finds_in_long_texts(text, size):
    assert_counts(kernels.count_words, words_of, [text * (size // len(text))])


# Lines


@quick
@given(st.lists(st.none() | TEXTS, max_size=4))
@example(["", " ", "a\x00 b\x1fc", "eight888 eight888", "\u201cthe\u201d the", "a \u4f60\u597d b"])
def test_the_number_of_words_alone_is_what_the_regular_expression_finds(texts):
    expected = [None if text is None else len(split_words(text)) for text in texts]
    assert kernels.number_of_words(pa.array(texts, pa.string())).to_pylist() == expected


def test_every_code_point_between_letters_makes_as_many_words_counted_alone():
    texts = [f"to be{chr(code)}or not" for code in CODES]
    assert kernels.number_of_words(pa.array(texts)).to_pylist() == [len(split_words(text)) for text in texts]


@quick
@given(TEXTS)
@example("")
@example("\n\r\n \n")
@example("\u2028\n• a...\n\n\n- b…\x85\n")
def test_lines_are_what_split_and_strip_find(text):
    assert_counts(kernels.count_lines, lines_of, [text])


@examples(100)
@given(
    st.lists(st.sampled_from([*BULLETS, *TERMINALS, "...", "..", "a" * 28, "é", "你", " ", "\n", "\r\n"]), max_size=20)
)
def test_lines_begin_and_end_as_their_first_and_last_characters_say(pieces):
    assert_counts(kernels.count_lines, lines_of, ["".join(pieces)])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one\ntwo\n\n \nthree", {"lines": 3, "paragraphs": 2, "line_characters": 11, "longest_line": 5}),
        ("one\r\n\r\ntwo\r", {"lines": 2, "paragraphs": 2, "line_characters": 6}),
        ("one\u2028two\x85three\rfour", {"lines": 1, "paragraphs": 1, "line_characters": 18}),
        ("• a\n - b\n\t* c\n· d\na - b", {"lines": 5, "bullet_lines": 4}),
        ("so...\nand…\nno.. \n...", {"lines": 4, "ellipsis_lines": 3, "terminal_lines": 4}),
        ('He said "yes."\n你好。\nwhy؟\nno', {"lines": 4, "terminal_lines": 3}),
        ("é" * 29 + "\n" + "é" * 30, {"lines": 2, "short_lines": 1, "longest_line": 30}),
        (" \n\t\n\u3000", {"lines": 0, "paragraphs": 0, "longest_line": 0, "short_lines": 0}),
        ("", {"lines": 0, "paragraphs": 0, "longest_line": 0, "short_lines": 0}),
    ],
)
def test_lines_of_known_texts(text, expected):
    columns = kernels.count_lines(pa.array([text]))
    assert {name: columns[name][0].as_py() for name in expected} == expected
    assert_counts(kernels.count_lines, lines_of, [text])


def test_every_code_point_at_the_ends_of_a_line_is_read_as_strip_reads_it():
    assert_counts(kernels.count_lines, lines_of, [f"{chr(code)}a{chr(code)}" for code in CODES])


# Normal form


@quick
@given(TEXTS | TEXTS.map(without_context))
@example("")
@example("  A \t\r\n b\u3000")
@example("\u3000a\u2003\xa0b \x85")
@example("ΑΣ ΑΣΑ Σ")
@example("İI ı ẞ ß ﬁ ǅ \u212a \u212b \u023a\u023a\u023a")
@example("e\u0301E\u0301 o\u0323\u0302 \u1100\u1161\u11a8 가\u11a8 \u304b\u3099")
def test_normalised_text_is_nfc_lower_case_with_single_spaces(text):
    assert [bytes(found).decode() for found in kernels.normalised(pa.array([text]))] == [normal_form_of(text)]


def test_every_code_point_after_a_letter_is_normalised_as_python_does():
    texts = [f"A{chr(code)} B" for code in CODES]
    found = [bytes(text).decode() for text in kernels.normalised(pa.array(texts))]
    assert [text for text, normal in zip(texts, found, strict=True) if normal != normal_form_of(text)] == []


# Ratios


@quick
@given(st.lists(st.tuples(st.none() | st.integers(0, 2**53), st.none() | st.integers(0, 2**53))))
@example([(1, 0), (0, 0), (0, 1), (None, 1), (1, None), (None, 0), (1, 3), (2**53, 1)])
def test_a_ratio_is_a_float32_or_null_without_a_denominator(pairs):
    numerator, denominator = (pa.array([pair[k] for pair in pairs], pa.int64()) for k in (0, 1))
    expected = [None if n is None or not d else np.float32(n / d) for n, d in pairs]
    assert kernels.divide(numerator, denominator).equals(pa.array(expected, pa.float32()))


# Arrays


@pytest.mark.parametrize("kernel", COUNTING)
def test_counts_are_int64_and_null_for_null_texts_only(kernel):
    for column in kernel(pa.array([None, "", "a", None], pa.string())).values():
        assert column.type == pa.int64()
        assert column.is_null().to_pylist() == [True, False, False, True]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.null()])
def test_a_kernel_makes_nothing_of_no_texts(kernel, kind):
    assert all(found == [] for found in results(kernel, pa.array([], kind)).values())


@pytest.mark.parametrize("kernel", KERNELS)
@examples(60)
@given(before=ARRAYS, texts=ARRAYS, behind=ARRAYS)
def test_a_slice_gives_what_a_fresh_array_gives(kernel, before, texts, behind):
    whole = pa.array(before + texts + behind, pa.string())
    assert results(kernel, whole.slice(len(before), len(texts))) == results(kernel, pa.array(texts, pa.string()))


@pytest.mark.parametrize("kernel", KERNELS)
@examples(60)
@given(texts=ARRAYS)
def test_the_width_of_offsets_and_a_dictionary_change_nothing(kernel, texts):
    array = pa.array(texts, pa.string())
    expected = results(kernel, array)
    assert results(kernel, array.cast(pa.large_string())) == expected
    assert results(kernel, array.dictionary_encode()) == expected


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_null_within_a_dictionary_is_a_null_text(kernel):
    texts = pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array(["a", None]))
    assert results(kernel, texts) == results(kernel, pa.array(["a", None]))


@pytest.mark.parametrize("shown", ["", "b"])
def test_a_null_text_is_empty_whatever_bytes_it_hides(shown):
    offsets = pa.py_buffer(np.array([0, 3, 3 + len(shown)], np.int32).tobytes())
    buffers = [pa.py_buffer(b"\x02"), offsets, pa.py_buffer(b"abc" + shown.encode())]
    texts = pa.Array.from_buffers(pa.string(), 2, buffers)
    assert texts.to_pylist() == [None, shown]
    assert np.diff(text_views(texts)[0]).tolist() == [0, len(shown)]


# Broken UTF-8


@pytest.mark.parametrize("kernel", KERNELS)
@quick
@given(chunks=st.lists(BROKEN, max_size=4))
@example(chunks=[b"\xff" * 3])
@example(chunks=[b"a", b"\xff" * 40])
@example(chunks=[b".."])
@example(chunks=[b"a \xe4\xbd", b"\xa0 \xf0\x9f\x98"])
def test_nothing_around_a_broken_text_is_read(kernel, chunks):
    expected = results(kernel, viewed(chunks))
    for around in (b"\x80" * 4, b"aaaa", b"...", b" \n \n", b"\xf0\x9f\x98\x80"):
        assert results(kernel, viewed(chunks, before=around, behind=around)) == expected


@quick
@given(BROKEN)
def test_counts_of_a_broken_text_are_within_its_bytes(raw):
    for kernel in COUNTING:
        assert all(0 <= found[0] <= len(raw) for found in results(kernel, viewed([raw])).values())


def test_a_byte_that_begins_no_character_reads_as_one_replacement_character():
    assert results(kernels.count_characters, viewed([b"\xff\x80"]))["replacements"] == [2]
    assert results(kernels.normalised, viewed([b"\xff\xff\xff"])) == {"normalised": ["\ufffd\ufffd\ufffd".encode()]}


# The table
