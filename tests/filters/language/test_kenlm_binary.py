"""Models in KenLM's binary format: the bytes of build_binary, and the scores of the same model as an ARPA file."""

import json
import random
from pathlib import Path

import kenlm
import numpy as np
import pyarrow as pa
import pytest
from support.corpora import SAMPLE
from support.ngram_models import trained, write_lines
from support.paths import GOLDEN
from support.soak import repeats
from support.texts import SAMPLE_TEXTS as TEXTS

from curate.filters.language.kenlm_binary import check_header, write_binary
from curate.filters.language.kneser_ney import Grams
from curate.filters.language.model import form_of, vocabulary_words
from curate.kernels.lm_ngrams import Vocabulary
from curate.kernels.lm_words import lm_lines


def model_of(arpa):
    """The words, counts and n-grams of an ARPA file."""
    vocabulary = Vocabulary()
    numbers, levels = {}, []
    for line in arpa.read_text("utf-8").splitlines():
        cells = line.split("\t")
        if line.endswith("-grams:"):
            levels.append([])
        elif len(cells) > 1:
            if len(levels) == 1:
                numbers[cells[1]] = len(numbers)
            words = [numbers[word] for word in cells[1].split(" ")]
            levels[-1].append((words[::-1], float(cells[0]), float(cells[2]) if len(cells) > 2 else 0.0))
    vocabulary.number(pa.array([" ".join(list(numbers)[3:])], pa.large_string()))
    grams = []
    for k, level in enumerate(levels, 1):
        words, log_p, log_backoff = zip(*level, strict=True)
        columns = list(np.array(words, dtype=np.int32).T)
        grams.append(Grams(k, columns, np.array(log_p), np.array(log_backoff) if k < len(levels) else None))
    return vocabulary.words(), [len(level) for level in levels], grams


def opened(path):
    config = kenlm.Config()
    config.load_method = kenlm.LoadMethod.LAZY
    return kenlm.Model(str(path), config)


def sentences(lines, seed):
    """Lines, and words of them in any order with some that no model knows."""
    draw = random.Random(seed)
    words = [*" ".join(lines).split(" "), "zzzz", "<unk>", "ž"]
    return [*lines, *(" ".join(draw.choices(words, k=draw.randint(1, 12))) for _ in range(2000))]


@pytest.mark.parametrize("name", ["tiny-3", "tiny-3-pruned"])
def test_a_binary_file_has_the_bytes_that_build_binary_makes_of_the_arpa_file(tmp_path, name):
    write_binary(tmp_path / "a.binary", *model_of(GOLDEN / "lm" / f"{name}-rounded.arpa"))
    assert (tmp_path / "a.binary").read_bytes() == (GOLDEN / "lm" / f"{name}.binary").read_bytes()


@pytest.mark.parametrize(("order", "prune"), [(3, "0,9999"), (5, "0,0,1"), *repeats((2, "0"), (3, "0"), (6, "0"))])
def test_scores_are_those_of_the_arpa_file_to_the_last_bit(tmp_path, order, prune):
    texts = pa.array(TEXTS[::7])
    source = write_lines(tmp_path / "a.jsonl", texts.to_pylist())
    arpa = kenlm.Model(str(trained(source, tmp_path / "a.arpa", order, prune)))
    binary = opened(trained(source, tmp_path / "a.binary", order, prune))
    for line in sentences(lm_lines(texts).lines.to_pylist()[:1000], order):
        assert list(binary.full_scores(line)) == list(arpa.full_scores(line))
        assert binary.score(line, bos=False, eos=False) == arpa.score(line, bos=False, eos=False)


@pytest.mark.parametrize("prune", ["0", "0,9999"])
@pytest.mark.parametrize("order", [3, 5, 6])
def test_a_model_without_n_grams_of_its_highest_orders_is_read_and_scores_like_its_arpa_file(tmp_path, order, prune):
    words = [f"w{k}" for k in range(11)]  # a line each: "<s> w0 </s>" is the longest n-gram
    source = write_lines(tmp_path / "a.jsonl", words)
    arpa = kenlm.Model(str(trained(source, tmp_path / "a.arpa", order, prune)))
    binary = trained(source, tmp_path / "a.binary", order, prune)
    check_header(binary)
    model = opened(binary)
    for line in [*words, " ".join(words), "w0 w0 zzzz w1", "zzzz", ""]:
        assert list(model.full_scores(line)) == list(arpa.full_scores(line))


def test_a_binary_model_has_its_facts_beside_it_and_the_same_bytes_whatever_the_threads(tmp_path):
    first = trained(SAMPLE, tmp_path / "a.binary", 4, threads=1)
    again = trained(SAMPLE, tmp_path / "b.binary", 4, threads=4)
    assert first.read_bytes() == again.read_bytes()
    arpa = trained(SAMPLE, tmp_path / "a.arpa", 4)
    comments = [line[2:].split(": ") for line in arpa.read_text("utf-8").splitlines() if line.startswith("# ")]
    assert json.loads(Path(f"{first}.json").read_text("utf-8")) == dict(comments)
    assert form_of(str(first)) == form_of(str(arpa)) == "words-1"


@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize("count", range(1, 8))
def test_words_are_read_from_a_binary_file_whatever_stands_before_them(tmp_path, order, count):
    lines = [" ".join(f"w{k}" for k in range(n)) for n in range(1, count + 1)]
    model = trained(write_lines(tmp_path / "a.jsonl", lines), tmp_path / "a.binary", order, "0")
    assert list(vocabulary_words(str(model)))[:4] == ["<unk>", "<s>", "</s>", "w0"]
