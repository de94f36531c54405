"""Slow and obvious oracles of kernels, and the comparison with one."""

import re
from functools import cache

import pyarrow as pa
from support.characters import kind_of

from curate.kernels.unicode import SPACELESS, class_of


def split_words(text):
    """The words of a text, each with the kinds of its characters."""
    kinds = "".join(map(kind_of, text))
    return [(text[m.start() : m.end()], m.group()) for m in re.finditer("O*NO*|[OA]+", kinds)]


def assert_counts(kernel, oracle, texts):
    """Every count that the oracle names, for every text (a kernel may count more)."""
    columns = kernel(pa.array(texts, pa.string()))
    expected = [oracle(text) for text in texts]
    for name in oracle(""):
        found = columns[name].to_pylist()
        wrong = [k for k in range(len(texts)) if found[k] != expected[k][name]]
        assert not wrong, f"{name} of {texts[wrong[0]][:200]!r} is {expected[wrong[0]][name]}, not {found[wrong[0]]}"


def words_of(text):
    """The shingle words of a text."""
    words = []
    for run in re.findall(r"\w+", text.lower()):
        word = ""
        for c in run:
            if class_of(ord(c)) & SPACELESS:
                words += [word, c]
                word = ""
            else:
                word += c
        words.append(word)
    return [word for word in words if word]


@cache
def shingles_of(text, n):
    words = words_of(text)
    if not words:
        return frozenset()
    return frozenset(" ".join(words[k : k + n]).encode() for k in range(max(1, len(words) - n + 1)))


def ngrams_of(text, ngram, least):
    """The n-grams that are looked for on account of an item."""
    words = words_of(text)
    length = min(len(words), ngram)
    if length < max(1, min(least, ngram)):
        return []
    return [tuple(words[k : k + length]) for k in range(len(words) - length + 1)]
