"""The decoder: it learns what its arm has, foretells every token once, and gives the same for the same seed."""

import random
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from curate.distill.evaluate.measure import evaluate_arms
from curate.distill.evaluate.proxy_transformer import TransformerProxy, _windows, transformer_bits
from curate.distill.evaluate.tokens import EncodedCorpus, encode, train_tokenizer

SMALL = TransformerProxy(d_model=32, layers=1, heads=2, context=32, batch=8, learning_rate=1e-2)


@pytest.mark.llm
def test_good_texts_beat_random_ones_with_both_budgets(two_languages, tmp_path):
    _, good, heldout = two_languages
    drawn = random.Random(5)
    other = [" ".join(str(drawn.randrange(1000)) for _ in range(60)) for _ in range(400)]
    full = pa.concat_arrays([good[:60], pa.array(other)])
    for budget in ("epochs", "compute"):
        proxy = replace(SMALL, budget=budget, epochs=2 if budget == "epochs" else 1)
        arms = {"full": full, "good": good[:60]}
        found = evaluate_arms(arms, heldout, proxy, tmp_path, draws=2, vocabulary=400).retention
        rows = {row.arm: row for row in found if row.domain is None}
        assert rows["good"].gain_low > 0
        assert rows["good"].retained > rows["random"].retained


@pytest.mark.llm
def test_the_same_seed_gives_the_same_bits_and_untrained_all_tokens_are_about_as_likely(two_languages):
    full, _, heldout = two_languages
    tokenizer = train_tokenizer(full, 300)
    asked, size = encode(tokenizer, heldout["text"]), tokenizer.get_vocab_size()
    texts = EncodedCorpus(pool=encode(tokenizer, full), heldout=asked, vocabulary=size)
    first, again, other = (transformer_bits(texts, np.arange(40), SMALL, 5, seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
    none = transformer_bits(texts, np.arange(40), SMALL, 0, 1)
    assert none == pytest.approx((asked.n_tokens + 1) * np.log2(size + 1), rel=0.05)


@pytest.mark.parametrize("context", [4, 8])
def test_each_token_and_the_end_of_each_text_is_asked_for_once(context):
    rng = np.random.default_rng(0)
    sizes = [0, 1, 3, 4, 5, 7, 8, 9, 30]
    tokenizer = train_tokenizer(pa.array(["x"]), 256)
    texts = encode(tokenizer, pa.array(["".join(map(chr, rng.integers(97, 122, n))) for n in sizes]))
    wanted: dict[int, list[int]] = {k: [] for k in range(len(sizes))}
    for owners, numbers, asked in _windows(texts, 256, context):
        assert numbers.shape[1] <= context
        for owner, row, own in zip(owners.tolist(), numbers, asked, strict=True):
            places = np.flatnonzero(own >= 0)
            assert (own[places[:-1]] == row[places[:-1] + 1]).all()
            assert places[0] >= context // 2 or (places[0] == 0 and row[0] == 256)
            wanted[owner] += own[places].tolist()
    for k, own in wanted.items():
        assert sorted(own) == sorted([*texts.ids[texts.bounds[k] : texts.bounds[k + 1]].tolist(), 256])
