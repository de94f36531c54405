"""Packed models, and the packaged one for English."""

import random
from dataclasses import replace

import kenlm
import numpy as np
import pyarrow as pa
import pytest
from support.commands import carry_out
from support.corpora import PROSE, SAMPLE
from support.recipes import write_recipe
from support.runs import documents

from curate.filters.language.model import form_of, scores, vocabulary_words
from curate.filters.language.of_recipe import PACKAGED, open_models
from curate.filters.language.packed import cached_binary, pack, unpack
from curate.filters.language.perplexity import measure
from curate.filters.language.train import Training, train
from curate.recipe.tier1 import Perplexity

GIBBERISH = "xqzt vbrr lkjh qwpo zzxc mnbv trew yuio hgfd sazx " * 6


def test_a_packed_model_says_what_its_arpa_says(tmp_path, monkeypatch):
    monkeypatch.setattr("curate.filters.language.packed.kernel_folder", lambda: str(tmp_path))
    arpa = tmp_path / "model.arpa"
    train(
        Training(
            (str(SAMPLE / "part-00000.parquet"),), arpa, 3, (0, 1, 1), "text", "words", 1_000_000_000, 2, quiet=True
        )
    )
    pack(arpa, tmp_path / "packed.parquet")
    binary = cached_binary(tmp_path / "packed.parquet")
    assert form_of(str(binary)) == "words-1"
    assert list(vocabulary_words(str(binary))) == list(vocabulary_words(str(arpa)))
    written = binary.read_bytes()
    binary.write_bytes(written[:-1000])
    assert cached_binary(tmp_path / "packed.parquet").read_bytes() == written
    binary.with_name(f"{binary.name}.json").unlink()
    assert form_of(str(cached_binary(tmp_path / "packed.parquet"))) == "words-1"
    before, after = kenlm.Model(str(arpa)), kenlm.Model(str(binary))
    draw = random.Random(0)
    words = [word for word in vocabulary_words(str(arpa)) if not word.startswith("<")]
    lines = [" ".join(draw.choices(words, k=12)) for _ in range(200)] + ["the people of the united states"] * 5
    for line in lines:
        steps = zip(before.full_scores(line), after.full_scores(line), strict=True)
        for (log, length, unknown), (packed_log, packed_length, packed_unknown) in steps:
            assert (length, unknown) == (packed_length, packed_unknown)
            assert packed_log == pytest.approx(log, abs=0.1)
    total = [sum(model.score(line) for line in lines) for model in (before, after)]
    assert total[1] == pytest.approx(total[0], rel=0.002)


def test_every_ngram_is_there_once_and_sorted(tmp_path):
    words, orders = unpack(PACKAGED)
    assert words[:3] == ["<unk>", "<s>", "</s>"]
    for some in orders[1:3]:
        keys = np.zeros(len(some.log_p), dtype=np.int64)
        for column in some.columns:
            keys = keys * len(words) + column
        assert (np.diff(keys) > 0).all()
        assert (some.log_p <= 0).all()


def test_the_packaged_model_tells_english_from_gibberish_and_other_languages():
    [model] = open_models(Perplexity())
    assert (model.language, model.form) == ("en", "words-1")
    assert open_models(Perplexity()) == (model,)
    french = "Tous les êtres humains naissent libres et égaux en dignité et en droits. " * 3
    texts = pa.array([PROSE, GIBBERISH, french])
    columns = measure(texts, pa.array(["en", "en", "fr"]), [model])
    good, gibberish, other = columns["perplexity"].to_pylist()
    assert good < 200 < 1000 < gibberish
    assert other is None
    assert columns["oov_rate"].to_pylist()[1] > 0.9


def test_the_packaged_model_is_unpacked_by_each_machine_of_a_cluster():
    [model] = open_models(Perplexity())
    as_planned_elsewhere = replace(model, path="/home/somebody/english.binary", identity="1-1")
    assert scores(pa.array([PROSE]), as_planned_elsewhere).logs == scores(pa.array([PROSE]), model).logs


def test_a_recipe_needs_no_more_than_the_word_perplexity(tmp_path):
    recipe, run = write_recipe(tmp_path, SAMPLE, tier1={"perplexity": {"band": [0, 95]}})
    carry_out(recipe)
    with_model = documents(run, "perplexity", "language = 'en' AND n_words > 50 AND perplexity IS NULL")
    assert with_model == []
    dropped = documents(run, "language", "reason = 'perplexity_too_high'")
    assert len(dropped) > 20
    assert set(dropped) == {("en",)}
