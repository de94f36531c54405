"""Kernels behind rule sets against slow, obvious Python."""

import re

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.soak import examples

from curate import kernels

PIECES = [
    "One. ",
    "Two! ",
    "e.g. this",
    "“Quoted.” ",
    "(Bracketed?) ",
    "3.14",
    "...",
    "… ",
    "\n",
    "。",
    "今天。",
    "هل؟ ",
    "है। ",
    "a",
    "A",
    " ",
    ".",
    "?!",
    "Lorem Ipsum",
    "lorem  ipsum",
    "{",
    "}",
    "darn",
    "Darn it",
    "darning",
    "é",
    "x_y",
    "😀",
    "\u2028",
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=10).map("".join) | st.text("aA. \n!”。", max_size=20)
ARRAYS = st.lists(st.none() | TEXTS, max_size=4)
quick = examples(200)


def sentences(text):
    """The count by a regular expression that marks every end."""
    spaced, closers = ".!?…؟۔।॥։።", ")]}\"'”’»）」』】》"
    ends = rf"[{spaced}][{spaced}{re.escape(closers)}]*(?=\s|\Z)"

    def end(match):
        mark = [c for c in match[0] if c in spaced][-1]
        small = mark == "." and re.match(" +[a-z]", text[match.end() :])
        return match[0] if small else match[0] + "\n"

    marked = re.sub(ends, end, text)
    return sum(any(c.isalpha() or c.isdecimal() for c in part) for part in re.split("[\n。！？．｡]", marked))


@quick
@given(ARRAYS)
@example(["One. Two! e.g. this? (Yes.) “No.” no 3.14 end", "今天。明天！", "", "...", None])
def test_sentences_are_counted_as_the_oracle_counts_them(texts):
    expected = [None if text is None else sentences(text) for text in texts]
    assert kernels.count_sentences(pa.array(texts, pa.string())).to_pylist() == expected


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("One. Two! Three? Four", 4),
        ("A line\nand another", 2),
        ("It costs 3.50 euros, e.g. in shops.", 1),
        ("He said “Stop.” Then he left.", 2),
        ("今天天气很好。我们去公园！你呢？", 3),
        ("यह वाक्य है। यह भी।", 2),
        ("هل هذا سؤال؟ نعم.", 2),
        ("--- … !", 0),
    ],
)
def test_sentences_of_known_texts(text, n):
    assert kernels.count_sentences(pa.array([text])).to_pylist() == [n]


@quick
@given(ARRAYS)
@example(["LOREM IPSUM lorem ipsum {{"])
def test_phrases_are_counted_wherever_they_stand(texts):
    counts = kernels.count_phrases(pa.array(texts, pa.string()), ["lorem ipsum", "{"])
    for phrase in ("lorem ipsum", "{"):
        lower = ["".join(c.lower() if c.isascii() else c for c in text or "") for text in texts]
        expected = [sum(text.startswith(phrase, k) for k in range(len(text))) for text in lower]
        assert counts[phrase].to_pylist() == [
            None if text is None else n for text, n in zip(texts, expected, strict=True)
        ]


def cuts_of(cuts):
    return [column.to_pylist() for column in cuts]


@pytest.mark.parametrize(
    "kernel",
    [
        lambda texts: kernels.count_sentences(texts).to_pylist(),
        lambda texts: kernels.number_of_words(texts).to_pylist(),
        lambda texts: [count.to_pylist() for count in kernels.count_phrases(texts, ["lorem ipsum", "{"]).values()],
        lambda texts: cuts_of(kernels.c4_cuts(texts, [12, 1, 5, 1, 1, 1])),
        lambda texts: cuts_of(kernels.refinedweb_cuts(texts, [0.5, 1, 1, 2, 10])),
        lambda texts: cuts_of(kernels.address_cuts(texts, [1, 2])),
    ],
    ids=["count_sentences", "number_of_words", "count_phrases", "c4_cuts", "refinedweb_cuts", "address_cuts"],
)
@examples(60)
@given(before=ARRAYS, texts=ARRAYS, behind=ARRAYS)
@example([None, "Read more"], [None, "3 likes\nItems in cart", None, "{ [1] www.a.org"], ["in cart", None])
def test_a_slice_with_nulls_gives_what_a_fresh_array_gives(kernel, before, texts, behind):
    whole = pa.array(before + texts + behind, pa.string())
    expected = kernel(pa.array(texts, pa.string()))
    assert kernel(whole.slice(len(before), len(texts))) == expected
    assert kernel(whole.cast(pa.large_string()).slice(len(before), len(texts))) == expected
