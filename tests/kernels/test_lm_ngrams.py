"""Numbers of words, columns of n-grams and lines of ARPA files against Python's dictionaries, slices and formatting."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st
from support.soak import examples
from support.texts import SAMPLE_TEXTS, TEXTS

from curate.kernels.lm_ngrams import SPECIAL, Vocabulary, arpa_lines, ngram_columns
from curate.kernels.lm_words import lm_lines

quick = examples(100)
LINES = st.lists(TEXTS, max_size=6).map(lambda texts: lm_lines(pa.array(texts, pa.string())).lines)


def numbered(lines, known):
    found = []
    for line in lines:
        found += [1, *(known.setdefault(word, len(known)) for word in line.split(" ")), 2]
    return found


def words_in(vocabulary):
    bounds, letters = vocabulary.words()
    return [letters[a:b].tobytes().decode() for a, b in pairwise(bounds)]


def assert_numbers(batches):
    vocabulary, known = Vocabulary(), {word: k for k, word in enumerate(SPECIAL)}
    for lines in batches:
        assert vocabulary.number(lines).tolist() == numbered(lines.to_pylist(), known)
    assert words_in(vocabulary) == list(known)


@quick
@given(st.lists(LINES, max_size=4))
def test_words_get_the_next_number_when_they_are_first_met(batches):
    assert_numbers(batches)


def test_words_of_real_texts_and_more_words_than_there_was_room_for_are_numbered():
    many = pa.array([" ".join(f"w{k * n}" for k in range(9000)) for n in (1, 7, 11, 13, 17)], pa.large_string())
    assert_numbers(
        [lm_lines(pa.array(SAMPLE_TEXTS)).lines, many, pa.array(["x" * (5 << 20), "end"], pa.large_string())]
    )


@quick
@given(st.lists(st.lists(st.integers(3, 6), max_size=6), max_size=5), st.integers(2, 6))
def test_ngrams_end_with_each_word_and_go_back_to_the_beginning_of_the_line(lines, order):
    numbers = np.array([n for line in lines for n in (1, *line, 2)], dtype=np.int32)
    expected = []
    for line in lines:
        whole = [1, *line, 2]
        for end in range(2, len(whole) + 1):
            gram = whole[max(0, end - order) : end][::-1]
            expected.append((*gram, *[0] * (order - len(gram))))
    assert list(zip(*[column.tolist() for column in ngram_columns(numbers, order)], strict=True)) == expected


def written(number):
    text = f"{number:.7f}"
    return "0" if float(text) == 0 else text


@quick
@given(st.lists(st.tuples(st.floats(-99, 0), st.floats(-99, 9)), min_size=1, max_size=9))
@example([(-0.0, 1e-9), (-1.5, 0.25), (-99.0, 9.5), (-10.0, 12.0), (-1e-8, -0.5)])
def test_lines_of_an_arpa_file_have_numbers_and_words(pairs):
    vocabulary = Vocabulary()
    vocabulary.number(pa.array(["the cat sat"], pa.large_string()))
    log_p, log_backoff = (np.array(side) for side in zip(*pairs, strict=True))
    columns = [np.full(len(pairs), n, np.int32) for n in (5, 4, 1)]
    both = arpa_lines(vocabulary.words(), columns, log_p, log_backoff).tobytes().decode()
    for line, (p, backoff) in zip(both.splitlines(), pairs, strict=True):
        shown_p, words, shown_backoff = line.split("\t")
        assert words == "<s> cat sat"
        assert abs(float(shown_p) - p) <= 0.5000001e-7
        assert abs(float(shown_backoff) - backoff) <= 0.5000001e-7
        assert len(shown_p) <= len(written(p))
    alone = arpa_lines(vocabulary.words(), columns, log_p, None).tobytes().decode()
    assert alone.splitlines() == [line.rpartition("\t")[0] for line in both.splitlines()]
