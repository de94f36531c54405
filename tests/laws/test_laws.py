"""Laws that every registered signal and every registered edit keeps."""

import math
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.soak import examples

from curate.corpus.edits import EDIT_SCHEMA, apply_edits
from curate.filters import registry

SIGNALS = [signal for signals in registry.groups().values() for signal in signals]
PIECES = [
    "The quick brown fox. ",
    "the the the the ",
    "and of to",
    "don't",
    "# ... …",
    "• a\n- b\n",
    "\n\n",
    "\r\n",
    " ",
    "\t",
    "x",
    "é",
    "e\u0301",
    "Σ",
    "你好。",
    "ไทย",
    "العربية",
    "😀",
    "\0",
    "\ufeff",
    "\ufffd",
    "3.14",
    "a@b.org",
    "{}",
    "[1]",
    "MENU",
    "\n3 likes\n",
    "JavaScript",
    "Sign in",
    "www.a.b",
    "<p>",
    "https://example.org/a?b=c",
    "a line of over thirty characters\n" * 3,
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=12).map("".join) | st.text(max_size=40)
ARRAYS = st.lists(st.none() | TEXTS, max_size=6)

every_signal = pytest.mark.parametrize("signal", SIGNALS, ids=lambda signal: signal.measure.__name__)
every_edit = pytest.mark.parametrize("edit", registry.edits().values(), ids=lambda edit: edit.name)
quick = examples(40)


def measured(signal, texts):
    """The columns that a signal writes for an array, in Python's types."""
    return {name: column.to_pylist() for name, column in signal(texts).items()}


def strings(texts):
    return pa.array(texts, pa.string())


def floats_in(value):
    """Every float in a value of a column, be it a number, a list or a struct."""
    if isinstance(value, float):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [number for part in parts for number in floats_in(part)]


def test_no_two_signals_write_the_same_column():
    assert [column for column, n in Counter(c for signal in SIGNALS for c in signal.writes).items() if n > 1] == []


@every_signal
@quick
@given(texts=ARRAYS)
def test_a_signal_writes_one_value_a_text_in_each_declared_column_and_no_other(signal, texts):
    columns = signal.measure(strings(texts))
    assert {name: column.type for name, column in columns.items()} == dict(signal.writes)
    assert {name: len(column) for name, column in columns.items()} == dict.fromkeys(signal.writes, len(texts))


@every_signal
@quick
@given(texts=ARRAYS)
@example(texts=[None])
@example(texts=[None, "", None, "a"])
def test_every_column_is_null_where_the_text_is_null(signal, texts):
    for name, values in measured(signal, strings(texts)).items():
        assert [value for value, text in zip(values, texts, strict=True) if text is None and value is not None] == [], (
            name
        )


@every_signal
@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.null()], ids=str
)
def test_an_empty_array_gives_empty_columns_of_the_declared_types(signal, kind):
    for texts in (pa.array([], kind), pa.nulls(3, kind).slice(2, 0)):
        assert {name: (column.type, len(column)) for name, column in signal(texts).items()} == {
            name: (declared, 0) for name, declared in signal.writes.items()
        }


@every_signal
@quick
@given(first=ARRAYS, second=ARRAYS)
def test_two_batches_give_together_what_one_of_both_gives(signal, first, second):
    apart = [measured(signal, strings(texts)) for texts in (first, second)]
    assert measured(signal, strings(first + second)) == {
        name: apart[0][name] + apart[1][name] for name in signal.writes
    }


@every_signal
@quick
@given(before=ARRAYS, texts=ARRAYS, behind=ARRAYS)
@example(before=["a", None], texts=[], behind=["b"])
def test_a_slice_gives_what_a_fresh_array_gives(signal, before, texts, behind):
    whole = strings(before + texts + behind)
    assert measured(signal, whole.slice(len(before), len(texts))) == measured(signal, strings(texts))


@every_signal
@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str)
@quick
@given(texts=ARRAYS)
def test_how_texts_are_stored_changes_nothing(signal, kind, texts):
    assert measured(signal, strings(texts).cast(kind)) == measured(signal, strings(texts))


@every_signal
@quick
@given(texts=ARRAYS)
def test_a_signal_gives_the_same_twice(signal, texts):
    array = strings(texts)
    assert measured(signal, array) == measured(signal, array)
    assert array.to_pylist() == texts


@every_signal
@quick
@given(texts=ARRAYS)
@example(texts=["", " ", "\n", "\0", "."])
def test_no_value_is_nan_or_infinite(signal, texts):
    for name, values in measured(signal, strings(texts)).items():
        assert all(math.isfinite(number) for number in floats_in(values)), name


def cuts(edit, texts, off=()):
    """The edits in `texts` as rows of Python's values, with the published bounds but for the reasons switched off."""
    bounds = registry.published_bounds(edit) | dict.fromkeys(off)
    return [tuple(row.values()) for row in edit.find(texts, bounds).to_pylist()]


@every_edit
@quick
@given(texts=ARRAYS)
def test_edits_are_sorted_do_not_overlap_fit_their_texts_and_name_a_rule(edit, texts):
    table = edit.find(strings(texts), registry.published_bounds(edit))
    assert table.schema == EDIT_SCHEMA
    apply_edits(strings(texts), table)  # refuses what is not sorted, overlaps, or does not fit
    assert set(table["reason"].to_pylist()) <= {rule.reason for rule in edit.rules}
    assert all(start < end for start, end in zip(*(table[n].to_pylist() for n in ("start", "end")), strict=True))
    assert all(texts[row] is not None for row in table["row"].to_pylist())


@every_edit
@quick
@given(first=ARRAYS, second=ARRAYS)
def test_two_batches_have_together_the_edits_that_one_of_both_has(edit, first, second):
    apart = cuts(edit, strings(first)), cuts(edit, strings(second))
    moved = [(row + len(first), *rest) for row, *rest in apart[1]]
    assert cuts(edit, strings(first + second)) == apart[0] + moved


@every_edit
@quick
@given(before=ARRAYS, texts=ARRAYS, behind=ARRAYS)
@example(before=["a", None], texts=[], behind=["b"])
def test_a_slice_has_the_edits_that_a_fresh_array_has(edit, before, texts, behind):
    whole = strings(before + texts + behind)
    assert cuts(edit, whole.slice(len(before), len(texts))) == cuts(edit, strings(texts))


@every_edit
@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str)
@quick
@given(texts=ARRAYS)
def test_how_texts_are_stored_changes_no_edit(edit, kind, texts):
    assert cuts(edit, strings(texts).cast(kind)) == cuts(edit, strings(texts))


@every_edit
@quick
@given(texts=ARRAYS, data=st.data())
def test_a_reason_that_is_off_cuts_nothing(edit, texts, data):
    off = data.draw(st.sets(st.sampled_from([rule.reason for rule in edit.rules])))
    assert off.isdisjoint(reason for *_, reason in cuts(edit, strings(texts), off))
    assert cuts(edit, strings(texts), [rule.reason for rule in edit.rules]) == []
