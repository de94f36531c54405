"""Word n-gram models: as Kneser-Ney by dictionaries."""

from collections import Counter, defaultdict
from math import log2

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.soak import examples
from xxhash import xxh3_64_intdigest

from curate.kernels.ngram_model import (
    LEAST_DISCOUNT,
    MOST_COUNTED,
    MOST_DISCOUNT,
    VOCABULARY,
    ngram_bits,
    word_lines,
)


def counts_of(train, order):
    """Counts by order: occurrences at the highest and after a begin, else the distinct words to the left."""
    occurrences = [Counter() for _ in range(order + 1)]
    for line in (("<s>", *words, "</s>") for words in train):
        for at in range(1, len(line)):
            for n in range(1, min(order, at + 1) + 1):
                occurrences[n][line[at - n + 1 : at + 1]] += 1
    counts = [
        Counter({ngram: count for ngram, count in found.items() if n == order or ngram[0] == "<s>"})
        for n, found in enumerate(occurrences)
    ]
    for n in range(1, order):
        counts[n].update(ngram[1:] for ngram in occurrences[n + 1])
    return counts


def discount_of(counts):
    sizes = Counter(counts.values())
    base = sizes[1] / max(1, sizes[1] + 2 * sizes[2])
    found = {k: k - (k + 1) * base * sizes[k + 1] / max(1, sizes[k]) for k in range(1, 4)}
    of = {k: min(max(found[k], LEAST_DISCOUNT * k), MOST_DISCOUNT * k) for k in found}
    return lambda count: of[min(count, MOST_COUNTED)] if count else 0.0


def bits_by_dictionaries(train, scored, order):
    """Bits of each scored line of words by interpolated modified Kneser-Ney."""
    counts = counts_of(train, order)
    discounts = [discount_of(found) for found in counts]
    masses = [defaultdict(lambda: [0.0, 0.0]) for _ in counts]
    for n in range(1, order + 1):
        for ngram, count in counts[n].items():
            masses[n][ngram[:-1]][0] += count
            masses[n][ngram[:-1]][1] += discounts[n](count)

    def chance(line, at):
        p = 1 / VOCABULARY
        for n in range(1, min(order, at + 1) + 1):
            ngram = line[at - n + 1 : at + 1]
            mass, removed = masses[n][ngram[:-1]]
            if not mass:
                break
            p = (counts[n][ngram] - discounts[n](counts[n][ngram]) + removed * p) / mass
        return p

    lines = [("<s>", *words, "</s>") for words in scored]
    return [-sum(log2(chance(line, at)) for at in range(1, len(line))) for line in lines]


LINES = st.lists(st.lists(st.sampled_from("abcde"), max_size=12), min_size=1, max_size=8)


@given(LINES, LINES, st.integers(2, 4), st.data())
@examples(200)
def test_bits_are_those_of_kneser_ney_by_dictionaries(train, scored, order, data):
    chosen = data.draw(st.lists(st.integers(0, len(train) - 1), min_size=1, unique=True).map(sorted))
    trained, asked = (word_lines(pa.array([" ".join(line) for line in lines])) for lines in (train, scored))
    bits = ngram_bits(trained, np.array(chosen), asked, order)
    assert bits == pytest.approx(bits_by_dictionaries([train[row] for row in chosen], scored, order), rel=1e-4)


def test_words_are_those_of_shingles_hashed_to_32_bits():
    lines = word_lines(pa.array(["Good words, GOOD", None, "", "ΟΔΟΣ two"]))
    expected = ["good", "words", "good", "οδος", "two"]
    assert lines.offsets.tolist() == [0, 3, 3, 3, 5]
    assert lines.words.tolist() == [xxh3_64_intdigest(word.encode()) >> 32 for word in expected]


def test_text_of_a_kind_makes_more_of_that_kind_cheaper():
    train = word_lines(pa.array(["the court finds for the plaintiff"] * 3 + ["add salt and stir the soup"] * 3))
    asked = word_lines(pa.array(["the court finds for the soup"]))
    law, soup = (ngram_bits(train, np.arange(*rows), asked, 3)[0] for rows in ((0, 3), (3, 6)))
    assert law < soup


def test_texts_that_come_several_times_leave_something_to_words_that_do_not():
    texts = [f"a{k} b{k} c{k} d{k}" for k in range(20)] * 3 + [f"e{k} f{k}" for k in range(4)] * 2 + ["g h"]
    lines = word_lines(pa.array(texts, pa.large_string()))
    scored = word_lines(pa.array(["a1 b1 something else", "nothing of it"], pa.large_string()))
    bits = ngram_bits(lines, np.arange(len(texts)), scored, 3)
    assert np.isfinite(bits).all()
