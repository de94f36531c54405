"""Language models: lmplz's numbers, probabilities that sum to 1, equal bytes, and what a user is told."""

import gzip
import math
from collections import Counter, defaultdict

import kenlm
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.commands import command
from support.corpora import SAMPLE, write_shard
from support.ngram_models import MEMORY, trained, write_lines
from support.paths import GOLDEN
from support.soak import examples

from curate.errors import CurateError, InputError, WorkerError
from curate.filters.language.kneser_ney import FALLBACK, discounts_of
from curate.filters.language.model import form_of
from curate.filters.language.train import parse_memory, parse_prune

FACTS = {"made by", "form", "order", "prune", "lines", "tokens", "smoothing"}


def grams_in(path):
    """Probability and backoff of each n-gram of an ARPA file, and the counts at its head."""
    grams, counts = {}, []
    for line in path.read_text("utf-8").splitlines():
        cells = line.split("\t")
        if line.startswith("ngram "):
            counts.append(int(line.partition("=")[2]))
        elif len(cells) > 1:
            grams[cells[1]] = (float(cells[0]), float(cells[2]) if len(cells) > 2 else 0.0)
    return grams, counts


def by_the_book(lines, order, prune):
    """The probability and backoff of each n-gram, by the formulas of Chen and Goodman with pruning as in lmplz."""
    raw = Counter()
    for line in lines:
        words = ("<s>", *line.split(" "), "</s>")
        raw.update(words[a:b] for b in range(2, len(words) + 1) for a in range(max(0, b - order), b))
    before = defaultdict(set)
    for gram in raw:
        before[gram[1:]].add(gram[0])
    adjusted = {g: n if len(g) == order or g[0] == "<s>" else len(before[g]) for g, n in raw.items()}
    grams = {}
    lower = {(): 1 / (sum(len(g) == 1 for g in raw) + 1)}
    for k in range(1, order + 1):
        level = {g: n for g, n in adjusted.items() if len(g) == k}
        kept = {g for g in level if raw[g] > prune[k - 1]}
        often = Counter(level.values())
        discounts = discounts_of(tuple(often[n] for n in (1, 2, 3, 4))) or FALLBACK
        total, left = Counter(), defaultdict(float)
        for g, n in level.items():
            total[g[:-1]] += n
            left[g[:-1]] += discounts[min(n, 3) - 1] if g in kept else n
        p = {
            g: (level[g] - discounts[min(level[g], 3) - 1] + left[g[:-1]] * lower[g[1:]]) / total[g[:-1]] for g in kept
        }
        if k == 1:
            p |= {("<unk>",): left[()] * lower[()] / total[()], ("<s>",): 1.0}
        for context in total:
            if k > 1 and context in grams:
                grams[context] = (grams[context][0], math.log10(left[context] / total[context]))
        grams |= {g: (math.log10(p[g]), 0.0) for g in p}
        lower = p
    return {" ".join(g): pair for g, pair in grams.items()}


@pytest.mark.parametrize(
    ("text", "order", "prune", "golden"),
    [
        ("tiny", 3, "0", "tiny-3"),  # with fallback discounts for words
        ("tiny", 3, "0,0,1", "tiny-3-pruned"),
        ("sample", 4, "0", "sample-4"),
        ("sample", 4, "0,0,1,1", "sample-4-pruned"),
    ],
)
def test_every_number_is_that_of_lmplz(tmp_path, text, order, prune, golden):
    lines = (GOLDEN / "lm" / f"{text}.txt").read_text("utf-8").splitlines()
    model = trained(write_lines(tmp_path / "a.jsonl", lines), tmp_path / "a.arpa", order, prune)
    (ours, counts), (theirs, their_counts) = grams_in(model), grams_in(GOLDEN / "lm" / f"{golden}.arpa")
    assert counts == their_counts
    assert ours.keys() == theirs.keys()
    assert max(abs(a - b) for gram in theirs for a, b in zip(ours[gram], theirs[gram], strict=True)) < 1e-5
    first, second = kenlm.Model(str(model)), kenlm.Model(str(GOLDEN / "lm" / f"{golden}.arpa"))
    assert all(abs(first.score(line) - second.score(line)) < 1e-3 for line in lines)


WORDS = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=7).map(" ".join)


@examples(40)
@given(st.lists(WORDS, min_size=1, max_size=25), st.sampled_from([(2, "0"), (2, "0,1"), (3, "0,0,1"), (4, "0,1,2")]))
@example(["a"], (2, "0"))
@example(["a b"] * 5, (3, "0,9,9"))
@example(["a d", "a d", "a d", "b b", "a c d a", "c a b b"], (2, "0"))  # what counts 2 has a discount of 0
def test_random_text_gives_the_numbers_of_the_formulas_and_probabilities_that_sum_to_1(tmp_path_factory, lines, shape):
    order, prune = shape
    folder = tmp_path_factory.mktemp("lm")
    path = trained(write_lines(folder / "a.jsonl", lines), folder / "a.arpa", order, prune)
    ours, _ = grams_in(path)
    expected = by_the_book(lines, order, parse_prune(prune, order))
    assert ours.keys() == expected.keys()
    for gram, pair in expected.items():
        assert ours[gram] == pytest.approx(pair, abs=2e-7)
    model = kenlm.Model(str(path))
    words = [gram for gram in ours if " " not in gram and gram != "<s>"]
    for line in [*lines[:3], "h a h", "x"]:
        state = kenlm.State()
        model.BeginSentenceWrite(state)
        for word in line.split(" "):
            behind = kenlm.State()
            assert sum(10 ** model.BaseScore(state, other, behind) for other in words) == pytest.approx(1, abs=1e-5)
            model.BaseScore(state, word, behind)
            state = behind


def test_probabilities_of_a_pruned_model_of_real_text_sum_to_1(tmp_path):
    model = kenlm.Model(str(trained(SAMPLE, tmp_path / "a.arpa", 5)))
    words = [gram for gram in grams_in(tmp_path / "a.arpa")[0] if " " not in gram and gram != "<s>"]
    for history in ("the constitution of the", "zzzz , and it", "of", "the the the the"):
        state = kenlm.State()
        model.NullContextWrite(state)
        for word in history.split(" "):
            behind = kenlm.State()
            model.BaseScore(state, word, behind)
            state = behind
        assert sum(10 ** model.BaseScore(state, word, kenlm.State()) for word in words) == pytest.approx(1, abs=1e-4)


def test_a_model_has_the_same_bytes_whatever_the_threads_the_memory_and_the_kind_of_files(tmp_path):
    tables = [pq.read_table(path, columns=["text"]) for path in sorted(SAMPLE.glob("*.parquet"))]
    texts = pa.concat_tables(tables)["text"]
    write_shard(tmp_path / "whole" / "a.parquet", texts.combine_chunks())
    write_lines(tmp_path / "b.jsonl", texts.to_pylist())
    packed = tmp_path / "c.jsonl.gz"
    packed.write_bytes(gzip.compress((tmp_path / "b.jsonl").read_bytes()))
    first = trained(SAMPLE, tmp_path / "1.arpa", 4).read_bytes()
    assert trained(tmp_path / "whole", tmp_path / "2.arpa", 4, threads=1, memory=3 * MEMORY).read_bytes() == first
    assert trained([f"{tmp_path}/b.*"], tmp_path / "3.arpa", 4, threads=4).read_bytes() == first
    assert trained([packed, packed], tmp_path / "4.arpa", 4).read_bytes() == first
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".arpa") == [
        "b.jsonl",
        "c.jsonl.gz",
        "whole",
    ]


def test_a_model_tells_what_it_was_made_of(tmp_path):
    model = trained(write_lines(tmp_path / "a.jsonl", ["One two.", "", "three\nfour 5"]), tmp_path / "a.arpa", 3)
    comments = [line[2:].split(": ") for line in model.read_text().splitlines() if line.startswith("# ")]
    told = dict(comments)
    assert set(told) == FACTS
    assert (told["form"], told["order"], told["prune"], told["lines"], told["tokens"]) == (
        "words-1", "3", "0,0,1", "3", "6",
    )  # fmt: skip
    assert form_of(str(model)) == "words-1"


def test_the_command_prints_a_table_and_says_which_discounts_are_not_of_the_text(tmp_path):
    write_lines(tmp_path / "a.jsonl", ["a b c", "a b d"])
    done = command("lm", "train", "a.jsonl", "--output", "models/a.arpa", "--order", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "too few n-grams of order 1, 2 to tell discounts by: 0.5, 1.0, 1.5 are taken" in done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["1", "7", "7", "0.5000", "1.0000", "1.5000"] in rows
    assert done.stdout.splitlines()[-1].startswith("models/a.arpa: 2 lines, 6 tokens, ")
    assert kenlm.Model(str(tmp_path / "models" / "a.arpa")).order == 2


@pytest.mark.parametrize(
    ("prune", "order", "bounds"),
    [(None, 2, (0, 0)), (None, 5, (0, 0, 1, 1, 1)), ("0", 3, (0, 0, 0)), ("0,0,1", 6, (0, 0, 1, 1, 1, 1))],
)
def test_the_last_bound_for_pruning_counts_for_all_orders_behind_it(prune, order, bounds):
    assert parse_prune(prune, order) == bounds


@pytest.mark.parametrize(
    ("prune", "problem"),
    [
        ("0,x", "are no whole numbers"),
        ("", "are no whole numbers"),
        ("1", "the first bound must be 0"),
        ("0,2,1", "falls"),
        ("0,-1", "falls"),
        ("0,0,0,0", "has 4 bounds, but the model only 3 orders"),
    ],
)
def test_bounds_that_no_model_can_have_are_refused(prune, problem):
    with pytest.raises(CurateError, match=problem):
        parse_prune(prune, 3)


@pytest.mark.parametrize(("size", "problem"), [("4 apples", "is not a size"), ("10MB", "is too little")])
def test_memory_that_is_no_size_or_too_little_is_refused(size, problem):
    with pytest.raises(CurateError, match=f"--memory: .*{problem}"):
        parse_memory(size)


def test_what_cannot_be_trained_on_is_refused_in_one_line_and_leaves_nothing(tmp_path):
    good = write_shard(tmp_path / "a.parquet", ["one two"])
    write_shard(tmp_path / "empty.parquet", ["", " \n", None])
    pq.write_table(pa.table({"content": ["x"], "text": [1]}), tmp_path / "number.parquet")
    pq.write_table(pa.table({"content": ["x"]}), tmp_path / "other.parquet")
    (tmp_path / "broken.jsonl").write_text('{"text": "a"}\n{"text": \n')
    (tmp_path / "others.jsonl").write_text('{"content": "a"}\n')
    (tmp_path / "torn.parquet").write_bytes(good.read_bytes()[:100])
    (tmp_path / "plain.txt").write_text("a")
    for name, problem in [
        ("empty.parquet", "no text to train on in column 'text'"),
        ("number.parquet", "column 'text' holds int64, not text; name another with --text"),
        ("other.parquet", r"no column 'text' \(has: content\); name it with --text"),
        ("others.jsonl", r"no column 'text' \(has: content\); name it with --text"),
        ("broken.jsonl", "line 2 is not JSON"),
        ("torn.parquet", "cannot be read as Parquet"),
        ("plain.txt", "only Parquet and JSON lines"),
        ("missing.parquet", "matches no file"),
        ("s3://bucket/a.parquet", "local files only"),
    ]:
        place = name if "://" in name else tmp_path / name
        with pytest.raises(InputError, match=problem) as told:
            trained([place], tmp_path / "out" / "m.arpa", 3)
        assert "\n" not in str(told.value)
        assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
    with pytest.raises(CurateError, match=r"a model is written as \.arpa or \.binary; name it m\.arpa"):
        trained(good, tmp_path / "m.gz", 3)
    with pytest.raises(WorkerError, match=r"a\.parquet"):
        trained(good, good / "m.arpa", 3)
