"""Edits against an oracle that cuts Python's bytes."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.soak import examples

from curate.corpus.edits import EDIT_SCHEMA, apply_edits, find_edits

TEXTS = st.text("ab1é你😀 \n", max_size=20)
ARRAYS = st.lists(st.none() | TEXTS, max_size=5)
REPLACEMENTS = st.none() | st.sampled_from(["", "x", "é", "[redacted]"])
PATTERNS = ["a", "a+", "[a1]+b?", "é你?", "b.", " *\n", "^.", ".$", "(?s).+"]
quick = examples(120)


def edits_of(*rows):
    """A table of (row, start, end, replacement, reason)."""
    return pa.Table.from_pylist([dict(zip(EDIT_SCHEMA.names, row, strict=True)) for row in rows], EDIT_SCHEMA)


@dataclass(frozen=True)
class Found:
    """Stands in for an editor whose edit is not registered."""

    find: Callable


def editor(pattern, replacement=""):
    """An editor that replaces every match of `pattern` that is not empty; the reason is the pattern."""

    def find(texts):
        rows = []
        for row, text in enumerate(texts.to_pylist()):
            for match in re.finditer(pattern, text or ""):
                start, end = (len(text[:place].encode()) for place in match.span())
                if start < end:
                    rows.append((row, start, end, replacement, pattern))
        return edits_of(*rows)

    return Found(find)


def edited(texts, rows):
    """The oracle: the last cut first, so that earlier places stay where they are."""
    raw = [None if text is None else text.encode() for text in texts]
    for row, start, end, replacement, _ in reversed(rows):
        raw[row] = raw[row][:start] + (replacement or "").encode() + raw[row][end:]
    return [None if text is None else text.decode() for text in raw]


@st.composite
def texts_and_edits(draw):
    """Texts, and cuts between their characters that are sorted and do not overlap."""
    texts, rows = draw(ARRAYS), []
    for row, text in enumerate(texts):
        places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=6))) if text is not None else []
        offsets = [len(text[:place].encode()) for place in places]
        for start, end in zip(offsets[::2], offsets[1::2], strict=False):
            rows.append((row, start, end, draw(REPLACEMENTS), "test"))
    return texts, rows


# Making edits


@quick
@given(texts_and_edits(), st.sampled_from([pa.string(), pa.large_string()]))
def test_edits_are_made_where_they_say_and_nowhere_else(case, kind):
    texts, rows = case
    assert apply_edits(pa.array(texts, kind), edits_of(*rows)).to_pylist() == edited(texts, rows)


@quick
@given(ARRAYS, texts_and_edits(), ARRAYS)
def test_rows_count_within_a_slice(before, case, behind):
    texts, rows = case
    whole = pa.array(before + texts + behind, pa.string())
    assert apply_edits(whole.slice(len(before), len(texts)), edits_of(*rows)).to_pylist() == edited(texts, rows)
    assert whole.to_pylist() == before + texts + behind


@pytest.mark.parametrize(
    ("text", "edits", "expected"),
    [
        ("hello", [(0, 2, "")], "llo"),
        ("hello", [(3, 5, None)], "hel"),
        ("hello", [(0, 5, "")], ""),
        ("hello", [(1, 3, "[long replacement]")], "h[long replacement]lo"),
        ("hello", [(0, 0, "> "), (5, 5, "!")], "> hello!"),
        ("hello", [(0, 1, "H"), (1, 2, "E"), (4, 5, "O")], "HEllO"),
        ("hello", [(2, 2, "a"), (2, 2, "b"), (2, 3, "")], "heablo"),
        ("你好é", [(3, 6, ""), (6, 8, "e")], "你e"),
        ("", [(0, 0, "new")], "new"),
    ],
)
def test_edits_of_known_texts(text, edits, expected):
    rows = [(1, start, end, replacement, "test") for start, end, replacement in edits]
    assert apply_edits(pa.array(["before", text, None, "behind"]), edits_of(*rows)).to_pylist() == [
        "before",
        expected,
        None,
        "behind",
    ]


@pytest.mark.parametrize("rows", [[], [(0, 0, 1, "", "test")]])
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()], ids=str)
def test_edited_texts_are_large_strings(kind, rows):
    assert apply_edits(pa.array(["a", None], kind), edits_of(*rows)).type == pa.large_string()


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([(0, 3, 9, "", "test")], id="beyond the end"),
        pytest.param([(0, 9, 9, "x", "test")], id="an insertion beyond the end"),
        pytest.param([(0, -1, 2, "", "test")], id="before the beginning"),
        pytest.param([(0, 3, 2, "", "test")], id="ends before it starts"),
        pytest.param([(0, 0, 3, "", "test"), (0, 2, 4, "", "test")], id="overlaps"),
        pytest.param([(0, 4, 5, "", "test"), (0, 0, 1, "", "test")], id="not sorted"),
        pytest.param([(1, 0, 1, "", "test")], id="in a null text"),
        pytest.param([(2, 1, 2, "", "test")], id="half a character"),
        pytest.param([(2, 1, 1, "x", "test")], id="into a character"),
        pytest.param([(2, 0, 1, "", "test"), (2, 2, 2, "", "test")], id="ends within a character"),
        pytest.param([(2, 1, 3, "", "test")], id="the halves of two characters that fit together"),
    ],
)
def test_an_edit_that_does_not_fit_its_text_is_refused(rows):
    with pytest.raises(ValueError, match=r"does not fit|UTF8"):
        apply_edits(pa.array(["hello", None, "éè"]), edits_of(*rows))


# Finding edits


@quick
@given(ARRAYS, st.lists(st.sampled_from(PATTERNS), unique=True, max_size=4))
@example(["ab1ab", None, "éaé你"], ["a", "[a1]+b?", "é你?", "b."])
def test_where_edits_overlap_the_first_holds_or_the_longer_and_the_other_begins_behind_it(texts, patterns):
    array = pa.array(texts, pa.string())
    editors = [editor(pattern, f"<{n}>") for n, pattern in enumerate(patterns)]
    everything = [tuple(edit.values()) for e in editors for edit in e.find(array).to_pylist()]
    held, reached = [], {}
    for row, start, end, *rest in sorted(everything, key=lambda edit: (edit[0], edit[1], -edit[2])):
        if end > reached.get(row, 0):
            held.append((row, max(start, reached.get(row, 0)), end, *rest))
            reached[row] = end
    assert [tuple(edit.values()) for edit in find_edits(array, editors).to_pylist()] == held


@quick
@given(ARRAYS, st.lists(st.sampled_from(PATTERNS), max_size=4))
def test_edits_that_were_found_can_be_made(texts, patterns):
    array = pa.array(texts, pa.string())
    found = find_edits(array, [editor(pattern, "-") for pattern in patterns])
    rows = [tuple(edit.values()) for edit in found.to_pylist()]
    assert apply_edits(array, found).to_pylist() == edited(texts, rows)


def test_one_editor_replaces_as_a_regular_expression_does():
    texts = pa.array(["call 555-1234 or 555-9876", None, "", "no number"])
    found = find_edits(texts, [editor(r"\d{3}-\d{4}", "<phone>")])
    assert apply_edits(texts, found).to_pylist() == ["call <phone> or <phone>", None, "", "no number"]


def test_of_two_editors_that_cut_the_same_the_one_named_first_holds():
    found = find_edits(pa.array(["secret"]), [editor("secret", "<first>"), editor("secret$", "<second>")])
    assert found.to_pylist() == edits_of((0, 0, 6, "<first>", "secret")).to_pylist()


def test_edits_come_sorted_by_row_and_place_whatever_the_editors_order():
    texts = pa.array(["a b", "b a"])
    found = find_edits(texts, [editor("b"), editor("a")])
    assert [(edit["row"], edit["start"], edit["reason"]) for edit in found.to_pylist()] == [
        (0, 0, "a"),
        (0, 2, "b"),
        (1, 0, "b"),
        (1, 2, "a"),
    ]


@pytest.mark.parametrize("editors", [[], [editor("z")], [editor("z"), editor("y")]])
def test_without_a_find_there_are_no_edits_but_their_columns(editors):
    found = find_edits(pa.array(["a", None]), editors)
    assert (found.schema, len(found)) == (EDIT_SCHEMA, 0)
