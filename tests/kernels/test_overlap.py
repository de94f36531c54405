"""N-grams of evaluation sets in texts, against tuples of words in Python."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.oracles import ngrams_of, words_of
from support.soak import examples
from support.texts import CAPITALS, TEXTS

from curate.kernels.overlap import NgramTable, find_overlaps, ngram_keys, ngram_table, with_marks

quick = examples(150)
FEW_WORDS = st.lists(st.sampled_from(["a", "B", "c,", "İ", "Σ", "你", "é", "-"]), max_size=14).map(" ".join)
MANY = st.lists(FEW_WORDS | TEXTS, max_size=5)


def table_of(items, ngram, least):
    keys, rows, lengths = ngram_keys(pa.array(items, pa.string()), ngram, least)
    return ngram_table(keys, rows.astype(np.uint64), set(lengths.tolist()))


def expected(text, items, ngram, least):
    """Words, places where an n-gram begins, words within n-grams, and spans (first, last word, n-grams, item)."""
    known = {}
    for number, item in enumerate(items):
        for found in ngrams_of(item, ngram, least):
            known.setdefault(found, number)
    words = words_of(text)
    hits, spans = [], []
    for length in sorted({len(found) for found in known}):
        open_span = None
        for k in range(len(words) - length + 1):
            item = known.get(tuple(words[k : k + length]))
            if item is None:
                continue
            hits.append((k, length))
            if open_span and open_span[3] == item and k <= open_span[1]:
                open_span[1:3] = k + length, open_span[2] + 1
            else:
                spans.append(open_span := [k, k + length, 1, item])
    covered = {place for k, length in hits for place in range(k, k + length)}
    return len(words), len(hits), len(covered), spans


@quick
@given(MANY, MANY, st.integers(1, 5), st.integers(1, 5))
@example(["a b c d"], ["x a B c, d y a b", "d a b c"], 3, 1)
@example(["one two"], [*CAPITALS, "One, TWO: three"], 2, 1)
@example(["ΣΟΦΟΣ Σ", "istanbul i"], CAPITALS, 2, 1)
def test_overlaps_are_those_of_tuples_of_words(items, texts, ngram, least):
    found = find_overlaps(pa.array(texts, pa.string()), table_of(items, ngram, least))
    for row, text in enumerate(texts):
        words, hits, covered, spans = expected(text, items, ngram, least)
        here = found.spans[found.spans[:, 0] == row]
        assert (found.ngrams[row], found.covered[row]) == (hits, covered)
        assert found.words[row] == words
        assert [span[3:].tolist() for span in here] == [span[2:] for span in spans]
        for (_, start, end, *_), (first, last, *_) in zip(here.tolist(), spans, strict=True):
            assert words_of(text.encode()[start:end].decode()) == words_of(text)[first:last]


def test_a_passage_reaches_from_its_first_word_to_its_last():
    text = "Quoted: «Ein Schiff, ein Boot — UND ein Hafen», sagte İda. Ein Schiff ein Boot."
    found = find_overlaps(pa.array(["", text]), table_of(["ein schiff ein boot und ein hafen"], 3, 3))
    passages = [text.encode()[start:end].decode() for _, start, end, *_ in found.spans.tolist()]
    assert passages == ["Ein Schiff, ein Boot — UND ein Hafen", "Ein Schiff ein Boot"]
    assert found.ngrams.tolist() == [0, 7]


def test_a_short_text_is_looked_for_as_a_whole_and_one_that_is_too_short_not_at_all():
    table = table_of(["one two three four", "yes it is", "", "42"], 6, 4)
    assert table.lengths == (4,)
    found = find_overlaps(pa.array(["zero one two three four five", "one two three", "Yes, it is 42."]), table)
    assert found.ngrams.tolist() == [1, 0, 0]


def test_slices_nulls_and_wide_offsets_change_nothing():
    texts = [None, "a b c d", "", *CAPITALS, None, "x a b c"]
    table = table_of(["a b c", CAPITALS[1], CAPITALS[0]], 3, 2)
    for kind in (pa.string(), pa.large_string()):
        whole = find_overlaps(pa.array(texts, kind), table)
        part = find_overlaps(pa.array(texts, kind).slice(1, 8), table)
        assert part.ngrams.tolist() == whole.ngrams[1:9].tolist()
        moved = [[row + 1, *rest] for row, *rest in part.spans.tolist()]
        assert moved == [span for span in whole.spans.tolist() if 1 <= span[0] < 9]
        same = ngram_keys(pa.array(texts, kind).slice(2), 2, 1)[0].tolist()
        assert same == ngram_keys(pa.array(texts[2:], kind), 2, 1)[0].tolist()
    assert len(find_overlaps(pa.array([], pa.string()), table).words) == 0


@pytest.mark.parametrize("count", [0, 1, 500, 70_000])
def test_a_table_holds_its_keys_and_no_others_and_survives_packing(count):
    words = [f"w{k}" for k in range(2 * count)]
    items = [" ".join(words[k : k + 2]) for k in range(0, 2 * count, 2)]
    made = table_of(items, 2, 2)
    table = NgramTable.unpacked(made.lengths, made.packed())
    assert all((getattr(table, name) == getattr(made, name)).all() for name in ("filter", "keys", "places"))
    found = find_overlaps(pa.array([" ".join(words)]), table)
    assert found.ngrams.tolist() == [count]
    assert found.spans[:, 4].tolist() == list(range(count))


def test_an_ngram_of_several_items_counts_for_the_first():
    table = table_of(["a b c", "b c d", "a b c d"], 3, 3)
    found = find_overlaps(pa.array(["a b c d"]), table)
    assert found.spans[:, 3:].tolist() == [[1, 0], [1, 1]]


def test_orders_of_the_same_words_have_other_keys():
    words = [f"{a}{b}" for a in "abcdefg" for b in "0123456789"]
    draw = np.random.default_rng(7)
    texts = {" ".join(draw.choice(words[:5], 6)) for _ in range(4000)}
    keys = ngram_keys(pa.array(sorted(texts)), 6, 6)[0]
    assert len(set(keys.tolist())) == len(texts) > 3000


def test_marks_at_the_ends_of_a_passage_go_with_it():
    text = "He said:\u00a0«(One, two three?)» – then「你好吗」。不 one two three."
    texts = pa.array([None, text])
    found = find_overlaps(texts, table_of(["one two three", "你好吗"], 3, 3))
    passages = [text.encode()[start:end].decode() for _, start, end, *_ in with_marks(texts, found.spans).tolist()]
    assert passages == ["«(One, two three?)»", "「你好吗」。", "one two three."]
