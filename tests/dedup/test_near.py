"""Near duplicates in a run: which documents are compared, verified and dropped, and what the ledger keeps of it."""

import json
import random
from contextlib import suppress
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.commands import carry_out, command
from support.corpora import PROSE, SAMPLE, write_shard
from support.near_copies import VOCABULARY, edited_copies, slices_find_what_one_slice_does
from support.oracles import shingles_of
from support.recipes import write_recipe
from support.runs import documents
from support.soak import examples, repeats

from curate.dedup.near.best_copies import Members, _medians
from curate.dedup.near.maps import find_keys
from curate.engine.base import InProcess
from curate.engine.processes import Processes
from curate.errors import RecipeError
from curate.filters.signals.hashes import choose_bands
from curate.kernels.survivors import clusters, dealt, resemblance, stars, survivors
from curate.ledger.ledger import read_ledger
from curate.ledger.run import connect


def similarity(a, b):
    first, second = shingles_of(a, 5), shingles_of(b, 5)
    return len(first & second) / max(1, len(first | second))


def run_over(folder, texts, *changes, keep="first", **near):
    write_shard(folder / "in" / "a.parquet", texts)
    recipe, run = write_recipe(folder, folder / "in", dedup={"exact": False, "keep": keep, "near": near})
    carry_out(recipe, *changes)
    return recipe, run


@examples(100)
@given(st.sets(st.tuples(st.integers(0, 12), st.integers(0, 12)).filter(lambda pair: pair[0] < pair[1])))
def test_a_document_is_dropped_for_the_best_duplicate_that_survives(pairs):
    ordered = sorted(pairs, key=lambda pair: (pair[1], pair[0]))
    first, second = (np.array([pair[k] for pair in ordered], dtype=np.int64) for k in (0, 1))
    expected, kept = {}, set()
    for document in range(13):
        better = [pair[0] for pair in ordered if pair[1] == document and pair[0] in kept]
        if better:
            expected[document] = min(better)
        else:
            kept.add(document)
    found = survivors(first, second, 13)
    assert {int(second[k]): int(first[k]) for k in found} == expected
    assert len(found) == len(expected)


@pytest.mark.parametrize(
    ("threshold", "permutations", "bands"), [(0.8, 128, (18, 7)), (0.5, 128, (42, 3)), (1, 1, (1, 1))]
)
def test_bands_find_pairs_at_the_threshold(threshold, permutations, bands):
    found = choose_bands(threshold, permutations)
    assert (found.count, found.rows) == bands
    assert found.chance(threshold) >= 0.98


def test_the_curve_of_the_bands_is_told():
    told = "18 bands of 7 values, which compare 13.2% at 0.5, 40.0% at 0.6, 78.7% at 0.7, 98.6% at 0.8, 100.0% at 0.9"
    assert str(choose_bands(0.8, 128)) == told


def test_too_few_permutations_for_the_threshold_are_refused(tmp_path):
    with pytest.raises(RecipeError, match=r"dedup\.near: 2 permutations find fewer than 98% of the pairs"):
        run_over(tmp_path, [PROSE], permutations=2)


def test_every_drop_is_like_its_own_survivor_and_no_two_that_stay_are_alike(tmp_path):
    texts = edited_copies(3)
    _, run = run_over(tmp_path, texts, verify="exact")
    with connect(run) as connection:
        rows = connection.execute(
            """SELECT d.row, s.row, d.similarity, s.kept FROM documents d JOIN documents s ON s.doc_id = d.duplicate_of
            WHERE d.stage = 'near' ORDER BY d.row"""
        ).fetchall()
    assert len(rows) > 60
    for row, survivor, told, kept in rows:
        assert kept
        assert survivor < row  # keep: first
        assert told == np.float32(similarity(texts[row], texts[survivor])) >= np.float32(0.8)
    kept = [row for row, stays in documents(run, "row, kept") if stays]
    alike = [(a, b) for a in kept for b in kept if a < b and similarity(texts[a], texts[b]) >= 0.8]
    assert len(alike) <= 0.02 * len(rows)  # what banding may miss


def random_walks(seed, words_changed, walks=3, steps=40):
    """Texts of 60 words, each with some words other than the one before it; in no order."""
    draw = random.Random(seed)
    texts = []
    for _ in range(walks):
        words = draw.sample(VOCABULARY, 60)
        for _ in range(steps):
            texts.append(" ".join(words))
            for _ in range(words_changed):
                words[draw.randrange(60)] = draw.choice(VOCABULARY)
    draw.shuffle(texts)
    return texts


@pytest.mark.parametrize(
    ("seed", "words_changed", "threshold", "permutations"),
    [(1, 2, 0.5, 32), *repeats((3, 1, 0.6, 64), (2, 2, 0.4, 16))],
)
def test_what_was_compared_with_a_document_that_is_dropped_is_compared_with_others(
    tmp_path, seed, words_changed, threshold, permutations
):
    texts = random_walks(seed, words_changed)
    _, run = run_over(tmp_path, texts, threshold=threshold, permutations=permutations, verify="exact")
    kept = [row for row, stays in documents(run, "row, kept") if stays]
    assert not [(a, b) for a in kept for b in kept if a < b and similarity(texts[a], texts[b]) >= threshold]


def test_a_chain_is_cut_where_a_document_is_not_like_the_survivor(tmp_path):
    words = VOCABULARY[:200]
    middle, end = [*words], [*words]
    middle[:12] = VOCABULARY[500:512]
    end[:24] = VOCABULARY[500:524]
    first, second, third = (" ".join(w) for w in (words, middle, end))
    assert similarity(first, second) > 0.8 < similarity(second, third)
    assert similarity(first, third) < 0.8
    _, run = run_over(tmp_path, [first, second, third], verify="exact")
    assert documents(run, "kept, reason") == [(True, None), (False, "near_duplicate"), (True, None)]
    _, run = run_over(tmp_path, [second, first, third], verify="exact")
    assert documents(run, "kept") == [(True,), (False,), (False,)]


@pytest.mark.parametrize("verify", ["signature", "border", "exact"])
def test_what_is_verified_by_whole_texts(tmp_path, verify):
    texts = edited_copies(4)
    _, run = run_over(tmp_path, texts, verify=verify)
    with connect(run) as connection:
        pairs = connection.execute(
            """SELECT d.row, o.row, p.similarity, p.exact, p.reason FROM duplicate_pairs p
            JOIN documents d USING (doc_id) JOIN documents o ON o.doc_id = p.duplicate_of"""
        ).fetchall()
    assert {reason for *_, reason in pairs} == {"near_duplicate"}
    exact = [(a, b, told) for a, b, told, is_exact, _ in pairs if is_exact]
    assert all(told == np.float32(similarity(texts[a], texts[b])) for a, b, told in exact)
    estimates = [told for *_, told, is_exact, _ in pairs if not is_exact]
    assert {"signature": not exact, "border": 0 < len(exact) < len(pairs), "exact": not estimates}[verify]
    if verify == "border":
        assert all(abs(told - 0.8) > 0.1 for told in estimates)
        assert min(estimates) < 0.7 < 0.9 < max(estimates)  # far from the border on both sides
    assert all(128 * told == round(128 * told) for told in estimates)


def test_documents_are_duplicates_at_the_threshold_itself(tmp_path):
    words = VOCABULARY[:13]
    texts = [" ".join(words), " ".join([*words[:12], "other"])]
    assert similarity(*texts) == 0.8
    _, run = run_over(tmp_path, texts, threshold=0.8, verify="exact", permutations=256)
    assert documents(run, "reason, similarity") == [(None, None), ("near_duplicate", pytest.approx(0.8))]


def test_texts_without_words_are_never_duplicates_of_each_other(tmp_path):
    _, run = run_over(tmp_path, ["!!! ???", "... ---", "—", "", PROSE])
    assert documents(run, "reason") == [(None,), (None,), (None,), ("empty_text",), (None,)]


def test_short_texts_are_one_shingle(tmp_path):
    _, run = run_over(tmp_path, ["Good morning!", "good morning.", "good evening", "良い朝。", "良い朝"])
    assert documents(run, "kept") == [(True,), (False,), (True,), (True,), (False,)]


def test_the_copy_that_survives_is_the_one_that_the_recipe_prefers(tmp_path):
    longer = f"{PROSE * 4}And here it ends."
    texts = [PROSE * 4, longer]
    assert similarity(*texts) > 0.8
    _, run = run_over(tmp_path, texts, keep="first")
    assert documents(run, "kept") == [(True,), (False,)]
    _, run = run_over(tmp_path, texts, keep="longest")
    assert documents(run, "kept") == [(False,), (True,)]


def sample_text(words):
    """A good document of the sample, of some hundred words."""
    files = [pq.read_table(path, columns=["text", "label"]) for path in sorted(SAMPLE.glob("*.parquet"))]
    rows = pa.concat_tables(files).to_pylist()
    return next(
        row["text"] for row in rows if row["label"] == "good" and words <= len(row["text"].split()) < 1.2 * words
    )


def with_words_put_in(text, seed, count=10):
    draw = random.Random(seed)
    words = text.split(" ")
    place = draw.randrange(len(words))
    return " ".join([*words[:place], *draw.choices(sorted(set(words)), k=count), *words[place:]])


@pytest.mark.parametrize("place", [0, 2, 4])
def test_the_copy_that_most_resembles_the_others_survives(tmp_path, place):
    original = " ".join(VOCABULARY[:200])
    copies = [with_words_put_in(original, seed) for seed in range(4)]
    texts = [*copies[:place], original, *copies[place:]]
    assert min(similarity(a, b) for a in texts for b in texts) > 0.8
    _, run = run_over(tmp_path, texts, keep="best")
    assert documents(run, "row", "kept") == [(place,)]
    assert documents(run, "row", f"coarse_score <= (SELECT coarse_score FROM documents WHERE row = {place})") == [
        (place,)
    ]


def test_a_copy_that_scores_worse_does_not_survive_for_its_resemblance(tmp_path):
    original = " ".join(VOCABULARY[:200])
    copies = [with_words_put_in(original, seed).replace(" ", ". ", 150) for seed in range(3)]
    score = "(SELECT max(coarse_score) FROM documents) - coarse_score"
    in_lines = "\n".join(" ".join(VOCABULARY[k : k + 4]) for k in range(0, 200, 4))
    _, run = run_over(tmp_path, [*copies, in_lines], keep="best")
    [(worse,)] = documents(run, score, "row = 3")
    assert worse > 0.03
    assert documents(run, "kept", "row = 3") == [(False,)]


def test_exact_copies_speak_for_a_document(tmp_path):
    original = " ".join(VOCABULARY[:200])
    write_shard(tmp_path / "in" / "a.parquet", [with_words_put_in(original, 1), original, original])
    recipe, run = write_recipe(tmp_path, tmp_path / "in", dedup={"near": {}})
    carry_out(recipe)
    assert documents(run, "stage") == [("near",), (None,), ("exact",)]


@pytest.mark.parametrize("model", [False, True])
def test_of_two_copies_the_longer_survives_if_what_it_has_more_reads_like_the_rest(tmp_path, model):
    text = sample_text(300)
    draw = random.Random(1)
    rare = ["".join(draw.choices("bcdfghaeiou", k=9)) for _ in range(20)]
    words = text.split(" ")
    salad = " ".join([*words[:50], *rare, *words[50:]])
    for name, other, kept in (("cut", " ".join(words[:-20]), [True, False]), ("salad", salad, [True, False])):
        assert similarity(text, other) > 0.8
        (tmp_path / name).mkdir()
        tier1 = {"perplexity": {"band": [0, 100]}} if model else None
        write_shard(tmp_path / name / "in" / "a.parquet", [text, other])
        recipe, run = write_recipe(
            tmp_path / name, tmp_path / name / "in", dedup={"near": {}}, **({"tier1": tier1} if model else {})
        )
        carry_out(recipe)
        assert [stays for (stays,) in documents(run, "kept")] == kept, name


def test_copies_are_compared_with_the_lower_median_of_their_cluster():
    members = Members(np.arange(9), np.array([0, 2, 5, 9]))
    values = np.array([7, 3, 5, 9, 1, 8, 2, 6, 4])
    assert _medians(members, values).tolist() == [3, 3, 5, 5, 5, 4, 4, 4, 4]


def test_what_if_chooses_the_same_copies(tmp_path):
    original = " ".join(VOCABULARY[:200])
    texts = [*(with_words_put_in(original, seed) for seed in range(3)), original]
    recipe, run = run_over(tmp_path, texts, keep="first")
    told = command("what-if", run, "--set", "dedup.keep=best", "--json").stdout
    carry_out(recipe, "dedup.keep=best")
    assert documents(run, "row", "kept") == [(3,)]
    totals = json.loads(told)["totals"]
    assert (totals["gained_documents"], totals["lost_documents"]) == (1, 1)


@examples(100)
@given(st.sets(st.tuples(st.integers(0, 12), st.integers(0, 12)).filter(lambda pair: pair[0] < pair[1])))
def test_a_cluster_goes_by_its_least_document(pairs):
    least = list(range(13))
    for _ in range(13):
        for a, b in pairs:
            least[a] = least[b] = min(least[a], least[b])
    first, second = (np.array([pair[k] for pair in sorted(pairs)], dtype=np.int64) for k in (0, 1))
    assert clusters(first, second, 13).tolist() == least


@examples(100)
@given(st.lists(st.integers(1, 4), max_size=5), st.integers(0, 1000))
def test_resemblance_counts_values_that_agree_with_all_copies_of_the_cluster(sizes, seed):
    draw = np.random.default_rng(seed)
    begins = np.append(0, np.cumsum(sizes)).astype(np.int64)
    values = draw.integers(0, 3, (begins[-1], 8), dtype=np.uint32)
    copies = draw.integers(1, 4, begins[-1])
    expected = []
    for begin, end in pairwise(begins):
        agree = (values[begin:end, None] == values[None, begin:end]).sum(axis=2)
        expected += (agree @ copies[begin:end] - 8).tolist()
    assert resemblance(values, copies, begins).tolist() == expected


def test_duplicates_are_found_on_edited_text(tmp_path):
    menus = ["Home\nAbout us\nContact\nAll our products\n", "Start\nImprint\nYour account\nSearch the site\n"]
    texts = [menu * 10 + "\n".join([PROSE] * 3) for menu in menus]
    assert similarity(*texts) < 0.7
    write_shard(tmp_path / "in" / "a.parquet", texts)
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": ["c4"]}, dedup={"near": {"verify": "exact"}})
    carry_out(recipe, "dedup.exact=false")
    assert documents(run, "reason, similarity") == [(None, None), ("near_duplicate", 1.0)]


def test_a_copy_of_a_near_duplicate_belongs_to_the_cluster_of_what_survives(tmp_path):
    words = VOCABULARY[:100]
    near = " ".join([*words[:99], "other"])
    write_shard(tmp_path / "in" / "a.parquet", [" ".join(words), near, near])
    recipe, run = write_recipe(tmp_path, tmp_path / "in", dedup={"near": {}, "keep": "first"})
    carry_out(recipe)
    rows = documents(run, "doc_id, reason, duplicate_of")
    (first, *_), (second, *_), (third, *_) = rows
    assert [row[1:] for row in rows] == [(None, None), ("near_duplicate", first), ("exact_duplicate", second)]
    with connect(run) as connection:
        clusters = connection.execute("SELECT survivor, doc_id, survives FROM clusters ORDER BY doc_id = survivor, 2")
        assert {row[:2] for row in clusters.fetchall()} == {(first, first), (first, second), (first, third)}


def test_another_threshold_is_decided_without_measuring_again(tmp_path):
    recipe, run = run_over(tmp_path, edited_copies(5, families=10), verify="exact")
    before = {part.path for part in read_ledger(run).parts if part.group == "signatures"}
    strict = len(documents(run, "1", "NOT kept"))
    carry_out(recipe, "dedup.near.threshold=0.5")
    assert len(documents(run, "1", "NOT kept")) > strict
    after = read_ledger(run).parts
    assert {part.path for part in after if part.group == "signatures"} == before
    assert not [part for part in after if part.group == "shingles"]
    assert len([part for part in after if part.group == "pairs"]) == 1
    assert not list((run / "ledger" / "signals").glob("shingles/*"))


def test_chats_and_files_of_several_kinds_are_compared_with_each_other(tmp_path):
    text = " ".join(VOCABULARY[:60])
    pq.write_table(pa.table({"body": pa.array([text], pa.large_string())}), tmp_path / "a.parquet")
    (tmp_path / "b.jsonl").write_text(f'{{"text": "{text} more"}}\n')
    recipe, run = write_recipe(tmp_path, tmp_path, dedup={"near": {}, "keep": "first"})
    inputs = [{"paths": [str(tmp_path / "a.parquet")], "text": "body"}, str(tmp_path / "b.jsonl")]
    carry_out(recipe, f"input.paths={json.dumps(inputs)}")
    assert documents(run, "reason") == [(None,), ("near_duplicate",)]


def test_the_plan_tells_the_curve(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [PROSE])
    recipe, _ = write_recipe(tmp_path, tmp_path / "in", dedup={"near": {}})
    assert "near duplicates: 18 bands of 7 values, which compare 13.2% at 0.5" in command("plan", recipe).stdout


@examples(100)
@given(st.lists(st.integers(0, 5)), st.randoms(use_true_random=False))
def test_each_document_is_compared_with_the_best_of_its_key(keys, draw):
    ranks = list(range(len(keys)))
    draw.shuffle(ranks)
    best = {key: min(r for r, k in zip(ranks, keys, strict=True) if k == key) for key in keys}
    expected = {(best[key], rank) for rank, key in zip(ranks, keys, strict=True) if best[key] != rank}
    first, second = stars(np.array(ranks, np.int64), np.array(keys, np.uint64) << np.uint64(61))
    assert set(zip(first.tolist(), second.tolist(), strict=True)) == expected
    assert len(first) == len(expected)


def test_many_keys_are_dealt_into_pieces_and_lose_nothing():
    draw = np.random.default_rng(5)
    keys, ranks = draw.integers(0, 30_000, 100_000).astype(np.uint64), draw.permutation(100_000).astype(np.int64)
    best = np.full(30_000, 1 << 40)
    np.minimum.at(best, keys.astype(np.int64), ranks)
    first, second = stars(ranks, keys)
    assert len(first) == 100_000 - len(np.unique(keys))
    key_of = np.empty(100_000, np.int64)
    key_of[ranks] = keys
    assert (best[key_of[second]] == first).all()


@given(st.lists(st.integers(0, (1 << 64) - 1)), st.integers(0, 5))
def test_keys_are_dealt_into_ranges_by_their_highest_bits(keys, bits):
    order, places = dealt(np.array(keys, np.uint64), bits)
    owners = [key >> (64 - bits) for key in keys]
    assert order.tolist() == sorted(range(len(keys)), key=lambda k: owners[k])
    assert [sorted(owners).count(piece) for piece in range(1 << bits)] == np.diff(places).tolist()


@pytest.mark.parametrize(
    ("keep", "key_files"), [("first", 1 << 30), *repeats(("best", 1 << 30), ("best", 12 * 300 * 5), ("best", 0))]
)
def test_many_slices_ranges_and_groups_of_bands_find_what_one_does(monkeypatch, tmp_path, keep, key_files):
    slices_find_what_one_slice_does(monkeypatch, tmp_path, InProcess(), keep, key_files)


@pytest.mark.slow  # test_same_bytes.py has near duplicates and workers
def test_slices_are_compared_by_worker_processes(monkeypatch, tmp_path):
    with Processes(2) as engine:
        slices_find_what_one_slice_does(monkeypatch, tmp_path, engine)


def test_what_a_task_that_was_given_up_still_writes_is_not_read(monkeypatch, tmp_path):
    """A node that is lost may go on: here, what was done before is done again before each map, one for each band."""
    slices_find_what_one_slice_does(monkeypatch, tmp_path, Belated(), "best", key_files=0)
    done = {function.__name__ for function, _ in Belated.done}
    assert done > {"find_keys", "find_stars", "send_members", "count_resemblance"}
    Belated.done.clear()


class Belated(InProcess):
    """An engine on whose nodes tasks of near duplicates end once more, before the maps behind them."""

    done: ClassVar = []

    def map(self, function, tasks):
        for earlier, task in self.done[-20:]:
            with suppress(OSError, ValueError):  # what it was to read is gone, or other documents are
                earlier(task)
        if function.__module__ == find_keys.__module__:
            self.done.extend((function, task) for task in tasks)
        return super().map(function, tasks)


def test_signatures_may_be_forgotten_and_are_taken_again(tmp_path):
    recipe, run = run_over(tmp_path, edited_copies(3))
    kept = {path.name: path.read_bytes() for path in (run / "data").iterdir()}
    carry_out(recipe, "dedup.keep_signatures=false")
    assert not list((run / "ledger" / "signals").glob("signatures/*"))
    assert command("verify", run).returncode == 0
    carry_out(recipe, "dedup.keep_signatures=false", "dedup.near.threshold=0.5")
    assert {path.name: path.read_bytes() for path in (run / "data").iterdir()} != kept
    carry_out(recipe)
    assert {path.name: path.read_bytes() for path in (run / "data").iterdir()} == kept


@pytest.mark.parametrize("permutations", [32, *repeats(16, 64)])
def test_what_few_values_leave_in_doubt_is_verified(tmp_path, permutations):
    template = VOCABULARY[:200]
    draw = random.Random(4)
    texts = [" ".join([*template, *(f"own{k}x{n}" for n in range(30))]) for k in range(200)]
    draw.shuffle(texts)
    assert similarity(texts[0], texts[1]) == pytest.approx(0.767, abs=0.01)
    _, run = run_over(tmp_path, texts, permutations=permutations)
    assert documents(run, "1", "NOT kept") == []
