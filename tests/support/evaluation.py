"""Small languages, corpora of them with held-out texts, and an evaluated run."""

import random

import pyarrow as pa
import pytest
from support.commands import carry_out
from support.corpora import write_shard
from support.recipes import write_recipe

from curate.engine.base import InProcess
from curate.pipeline.evaluate import evaluate

WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "lmnrs"]


def sentences(seed, texts, words):
    """Texts of a small language: each word is followed by one of three."""
    grammar = random.Random(seed)
    follows = {word: grammar.sample(words, 3) for word in words}
    drawn = random.Random(seed + 100)
    found = []
    for _ in range(texts):
        word, text = drawn.choice(words), []
        for _ in range(60):
            text.append(word)
            word = drawn.choice(follows[word])
        found.append(" ".join(text))
    return found


@pytest.fixture(scope="module")
def two_languages():
    """A corpus of good texts among twice as many of another language, and held-out good ones."""
    good = sentences(1, 460, WORDS[:150])
    bad = sentences(2, 800, WORDS[150:])
    heldout = pa.table({"text": good[400:], "domain": ["a", "b"] * 30})
    return pa.array(good[:400] + bad), pa.array(good[:400]), heldout


def evaluated(run, **changes):
    """Evaluate a run in this process and return the result, as `--json` has it."""
    return evaluate(run, changes, InProcess(), threads=2, quiet=True).to_json()


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A corpus of good texts among others, a reference, and held-out good texts of two domains."""
    folder = tmp_path_factory.mktemp("planted")
    good = [sentences(k, 150, WORDS[70 * k : 70 * k + 70]) for k in (0, 1)]
    other = [text.replace(" ", " 7 ", 12) for text in sentences(3, 500, WORDS[140:300])]
    write_shard(folder / "reference.parquet", good[0][:40] + good[1][:40])
    for name, texts in zip("ab", good, strict=True):
        write_shard(folder / "heldout" / f"{name}.parquet", texts[120:])
    write_shard(folder / "corpus.parquet", other + good[0][40:120] + good[1][40:120])
    return folder


def planted_recipe(planted, folder, **fields):
    rules = [{"reason": "numbers", "when": "digit_ratio > 0.01"}]
    section = {"heldout": [str(planted / "heldout" / "*.parquet")], "vocabulary": 400, "least": 10, "track": False}
    return write_recipe(
        folder, planted / "corpus.parquet",
        **{"tier1": {"rules": rules}, "evaluate": section, "shard_size": 10_000, **fields},
    )  # fmt: skip


@pytest.fixture(scope="module")
def selected(planted, tmp_path_factory):
    path, run = planted_recipe(planted, tmp_path_factory.mktemp("selected"))
    carry_out(path)
    return path, run, evaluated(run)
