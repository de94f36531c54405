"""R, G and gain: their arithmetic, and models of arms that can be told apart."""

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.soak import examples

from curate.distill.draws import mixed
from curate.distill.evaluate.measure import evaluate_arms, random_draw
from curate.distill.evaluate.proxy_ngram import NgramProxy
from curate.distill.evaluate.retention import HeldoutDomains, ModelBits, bits_per_byte, retention
from curate.distill.evaluate.tokens import encode, train_tokenizer
from curate.filters.language.kneser_ney import count_numbers, estimate, estimate_levels

HELDOUT = HeldoutDomains(["a", "a", "b", "b", "b"], np.array([100, 300, 50, 70, 80]))
BITS = st.lists(st.floats(1, 1e4), min_size=5, max_size=5).map(np.array)


def of(arm, bits, draw=0):
    return ModelBits(
        arm=arm, proxy="ngram", budget="epochs", draw=draw, documents=5, tokens=600, bits=np.asarray(bits, float)
    )


def figures(measured, controls=None, **changes):
    controls = controls or {"ours": "random", "random": "random"}
    return {(row.arm, row.domain): row for row in retention(measured, controls, HELDOUT, **changes)}


def test_domains_weigh_the_same_and_texts_of_a_domain_by_their_bytes():
    found = bits_per_byte(np.array([100, 700, 100, 200, 100.0]), HELDOUT)
    assert found == {None: 2.0, "a": 2.0, "b": 2.0}
    assert bits_per_byte(np.array([400, 1200, 200, 140, 60.0]), HELDOUT)[None] == (4 + 2) / 2


@examples(100)
@given(BITS, BITS, BITS)
def test_of_the_full_arm_all_is_retained_and_of_the_control_no_gap_is_closed(full, ours, chance):
    found = figures([of("full", full), of("ours", ours), of("random", chance)], replicates=20)
    for domain in (None, "a", "b"):
        whole, own, control = (found[arm, domain] for arm in ("full", "ours", "random"))
        assert [whole.retained, whole.retained_low, whole.retained_high] == pytest.approx([1, 1, 1])
        assert whole.gap_closed is control.gap_closed is None
        assert own.retained == pytest.approx(whole.bits_per_byte / own.bits_per_byte)
        assert own.gain == pytest.approx(control.bits_per_byte - own.bits_per_byte)
        assert own.control_retained == pytest.approx(control.retained)
        gap = control.bits_per_byte - whole.bits_per_byte
        if own.gap_closed is not None:
            assert own.gap_closed * gap == pytest.approx(own.gain, abs=1e-9)
        else:
            assert gap < 1e-6


@examples(100)
@given(BITS, BITS)
def test_an_arm_like_the_full_one_closes_the_gap_and_one_like_chance_none_of_it(full, more):
    worse = full + more
    found = figures(
        [of("full", full), of("random", worse), of("ours", full), of("as random", worse)],
        {"ours": "random", "as random": "random", "random": "random"},
        replicates=20,
    )
    assert found["ours", None].gap_closed == pytest.approx(1)
    assert found["as random", None].gap_closed == 0
    assert found["ours", None].gap_low == pytest.approx(1)
    assert found["as random", None].gap_high == pytest.approx(0, abs=1e-9)


def test_intervals_hold_the_figure_and_are_the_same_for_a_seed_and_wider_with_fewer_texts():
    rng = np.random.default_rng(0)

    def table(texts, seed=0):
        heldout = HeldoutDomains(["a"] * texts, np.full(texts, 100))
        bits = rng.normal(150, 20, texts)
        noise = [rng.normal(0, 5, texts) for _ in range(3)]
        measured = [of("full", bits), of("ours", bits + 10 + noise[0])]
        measured += [of("random", bits + 20 + noise[k], k) for k in range(3)]
        controls = {"ours": "random", "random": "random"}
        return [retention(measured, controls, heldout, s) for s in (seed, seed, seed + 1)]

    first, again, other = table(400)
    assert first == again
    assert first != other
    few = table(40)[0]
    own, own_few = (next(row for row in rows if row.arm == "ours" and row.domain is None) for rows in (first, few))
    for name in ("retained", "gain"):
        low, figure, high = (getattr(own, f"{name}{end}") for end in ("_low", "", "_high"))
        assert low < figure < high
        assert getattr(own_few, f"{name}_high") - getattr(own_few, f"{name}_low") > high - low
    assert own.gap_low < own.gap_closed < own.gap_high
    assert own.draws == 1
    assert own.gain_low > 0
    assert own.behind_ours is None
    behind = next(row for row in first if row.arm == "random" and row.domain is None)
    assert behind.behind_ours == pytest.approx(own.gain)
    assert 0 < behind.behind_low < behind.behind_ours < behind.behind_high


def test_without_a_gap_there_is_none_to_close_and_a_gap_in_doubt_has_no_interval():
    even = [of("full", [10.0] * 5), of("random", [10.0] * 5), of("ours", [9.0] * 5)]
    assert figures(even)["ours", None].gap_closed is None
    doubt = [of("full", [100, 300, 50, 70, 80]), of("random", [90, 330, 45, 75, 85]), of("ours", [95, 310, 50, 70, 80])]
    own = figures(doubt)["ours", None]
    assert own.gap_closed is not None
    assert own.gap_low is None
    assert own.gap_high is None


def test_an_arm_without_a_control_has_no_figures():
    with pytest.raises(ValueError, match="ours: no control"):
        retention([of("full", [1.0] * 5), of("ours", [1.0] * 5)], {}, HELDOUT)


def test_good_texts_beat_random_ones_and_bad_texts_do_not(two_languages, tmp_path):
    full, good, heldout = two_languages
    arms = {"full": full, "good": good, "bad": full[400:800]}
    found = evaluate_arms(arms, heldout, NgramProxy(), tmp_path, vocabulary=500).retention
    rows = {row.arm: row for row in found if row.domain is None}
    assert rows["good"].gain_low > 0
    assert rows["good"].gap_closed > 0.9
    assert rows["bad"].gain_high < 0
    assert rows["random"].draws == 3
    assert rows["random"].tokens == pytest.approx(rows["good"].tokens, rel=0.01)
    assert {row.domain for row in found} == {None, "a", "b"}


def test_an_arm_that_is_the_corpus_retains_all(two_languages, tmp_path):
    full, _, heldout = two_languages
    arms = {"full": full, "all": full}
    rows = evaluate_arms(arms, heldout, NgramProxy(3), tmp_path, draws=1, vocabulary=300).retention
    assert {row.retained for row in rows} == {1}


def test_what_was_measured_is_not_measured_again(two_languages, tmp_path):
    full, good, heldout = two_languages

    def evaluated(order):
        arms = {"full": full, "good": good}
        found = evaluate_arms(arms, heldout, NgramProxy(order), tmp_path, draws=2, vocabulary=300)
        return found.retention, {path.name: path.stat().st_mtime_ns for path in (tmp_path / "parts").iterdir()}

    table, parts = evaluated(3)
    assert len(parts) == 4
    (tmp_path / "parts" / min(parts)).unlink()
    again, made = evaluated(3)
    assert again == table
    assert sum(parts[name] != time for name, time in made.items()) == 1
    other, more = evaluated(2)
    assert other != table
    assert len(more) == 8


def test_words_that_were_not_met_take_their_share_of_probability():
    lines = np.array([1, 4, 5, 2, 1, 4, 2], np.int32)  # of the words 3 to 9 of ten, two
    with duckdb.connect() as connection:
        count_numbers(connection, [lines], 2)
        levels = estimate_levels(connection, [0, 0], words=10)
        single = next(estimate(connection, levels))
    assert levels[0].kept == 10
    p = dict(zip(single.columns[0].tolist(), 10**single.log_p, strict=True))
    assert sorted(p) == list(range(10))
    assert sum(p.values()) - p[1] == pytest.approx(1)  # without the beginning of lines, which is never foretold
    assert len({p[k].round(12) for k in (0, 3, 6, 7, 8, 9)}) == 1
    assert p[4] > p[3] > 0


def test_texts_come_back_from_their_tokens_and_broken_up_they_are_the_same():
    texts = pa.array(["Grüße, 世界!\n\n  tabs\tand  spaces", None, "", "plain words"])
    tokenizer = train_tokenizer(texts, 280)
    found = encode(tokenizer, texts)
    pieces = [found.ids[a:b].tolist() for a, b in zip(found.bounds[:-1], found.bounds[1:], strict=True)]
    assert [tokenizer.decode(piece) for piece in pieces] == [
        "Grüße, 世界!\n\n  tabs\tand  spaces",
        "",
        "",
        "plain words",
    ]
    assert found.n_bytes.tolist() == [len((text or "").encode()) for text in texts.to_pylist()]
    batches = list(found.batches(np.array([3, 0, 1]), 5))
    assert [piece for batch in batches for piece in batch.ids.tolist()] == pieces[3] + pieces[0]


def test_random_draws_have_the_tokens_asked_for_and_those_of_fewer_are_among_those_of_more(two_languages):
    full, _, _ = two_languages
    pool = encode(train_tokenizer(full, 300), full)
    keys, places = np.arange(len(full), dtype=np.uint64), np.arange(len(full))
    total = int(pool.n_tokens.sum())
    draws = [random_draw(pool, keys, places, round(total * 0.15), 7, draw) for draw in range(3)]
    more = random_draw(pool, keys, places, round(total * 0.3), 7, 0)
    assert set(draws[0]) < set(more)
    assert len({tuple(draw) for draw in draws}) == 3
    for draw in draws:
        assert abs(pool.n_tokens[draw].sum() - total * 0.15) <= pool.n_tokens.max() / 2 + 1
        assert len(set(draw)) == len(draw)
    overlap = len(set(draws[0]) & set(draws[1])) / len(draws[0])
    assert 0.05 < overlap < 0.3  # as of independent draws
    assert len(random_draw(pool, keys, places, 2 * total, 7, 0)) == len(full)
    assert len(random_draw(pool, keys, places, 0, 7, 0)) == 0


def test_keys_are_spread_evenly_for_each_seed_and_purpose():
    keys = np.arange(10_000, dtype=np.uint64)
    shares = mixed(keys, 1, "a") / 2**64
    assert abs(shares.mean() - 0.5) < 0.02
    assert abs(np.corrcoef(shares, mixed(keys, 1, "b") / 2**64)[0, 1]) < 0.05
    assert len(np.unique(mixed(keys, 2, "a"))) == len(keys)
