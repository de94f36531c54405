"""Passages of texts, against Python's `str.split` over each text."""

import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.soak import examples
from support.texts import ARRAYS

from curate.kernels.lines import BULLETS, TERMINALS
from curate.kernels.passages import KINDS, neighbour_means, passage_texts, split_passages

MARKS, BULLET = {chr(c) for c in TERMINALS}, {chr(c) for c in BULLETS}


def kind_of(line, stripped):
    """The kind of a line outside of fences."""
    if stripped[0] in BULLET and (stripped[0] >= "\x80" or stripped[1:2] == " "):
        return "list"
    if "\t" in stripped or stripped.count("|") > 1:
        return "table"
    indent = line[: line.index(stripped)]
    if len(indent.encode()) >= 4 or indent[:1] == "\t":
        return "indented"
    return "short" if len(stripped) < 45 and stripped[-1] not in MARKS else "prose"


def passages(text):
    """The passages of a text as (text, kind, lines, closed)."""
    found, fence, joins, wrapped = [], "", False, False
    for line in text.split("\n"):
        stripped = line.strip()
        if not stripped:
            joins = joins and bool(fence)
            continue
        mark = stripped[0] if re.match(r"```|~~~", stripped) else ""
        kind = "fenced" if fence or mark else kind_of(line, stripped)
        before = found[-1][1] if joins else None
        continues = fence or (kind == before and kind not in ("prose", "fenced"))
        continues = continues or (before == "list" and line[:1].isspace() and kind not in ("list", "fenced"))
        continues = continues or (wrapped and kind not in ("list", "table", "fenced"))
        if joins and continues:
            found[-1][0].append(line)
        else:
            found.append(([line], kind))
        if mark and (not fence or fence == mark):
            fence = "" if fence else mark
        wrapped = found[-1][1] == kind == "prose" and 45 <= len(stripped) <= 120 and stripped[-1] not in MARKS
        joins = True
    return found


LINES = st.sampled_from(
    ["", " ", "Home", "• News", "  - Sport", "    deeper", "a\tb", "x | y | z", "```", "~~~", "The end.", "\tcode()",
     "é" * 44,
     "a line of prose that was wrapped at a width of some", "and goes on until the sentence ends here. Then comes more"]
)  # fmt: skip


@given(st.lists(st.lists(LINES, max_size=8).map("\n".join), max_size=4))
@example(["one\n\ntwo", "", "```\na\n\nb\n```\nc", "• a\n  b\n• c\nd"])
@examples(300)
def test_passages_are_those_of_a_slow_oracle(texts):
    found = split_passages(pa.array(texts, pa.large_string()))
    wanted = [passages(text) for text in texts]
    assert np.diff(found.offsets).tolist() == [len(of_text) for of_text in wanted]
    flat = [passage for of_text in wanted for passage in of_text]
    assert [KINDS[kind] for kind in found.kinds] == [kind for _, kind in flat]
    written = passage_texts(pa.array(texts, pa.large_string()), found).to_pylist()
    for k, (text, (lines, _)) in enumerate(zip(written, flat, strict=True)):
        blank_free = [line for line in text.split("\n") if line.strip()]
        assert [line.rstrip() for line in blank_free] == [line.rstrip() for line in lines]
        assert found.lines[k] == len(lines)
        assert found.closed[k] == (text[-1] in MARKS)


@given(ARRAYS, st.booleans())
@examples(200)
def test_passages_do_not_depend_on_the_batch_and_fit_their_texts(texts, wide):
    array = pa.array(["before", *texts], pa.large_string() if wide else pa.string())[1:]
    whole = split_passages(array)
    pieces = passage_texts(array, whole).to_pylist()
    for k in range(len(array)):
        one = split_passages(array[k : k + 1])
        part = slice(whole.offsets[k], whole.offsets[k + 1])
        assert one.starts.tolist() == whole.starts[part].tolist()
        assert one.ends.tolist() == whole.ends[part].tolist()
        raw = (array[k].as_py() or "").encode()
        for start, end, piece in zip(one.starts, one.ends, pieces[part], strict=True):
            assert raw[start:end].decode() == piece


def test_neighbours_are_those_of_the_same_text():
    means = neighbour_means(np.array([0, 3, 4, 4]), np.array([1.0, 2.0, 6.0, 9.0]), np.array([1.0, 1.0, 3.0, 1.0]), 1)
    assert means.tolist() == pytest.approx([2.0, (1 + 18) / 4, 2.0, 0.0])
