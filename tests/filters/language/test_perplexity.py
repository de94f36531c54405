"""Perplexity by KenLM models: what it says of documents, and bands of it within strata."""

import itertools
import math
import random
from collections import Counter
from fractions import Fraction

import duckdb
import kenlm
import numpy as np
import pyarrow as pa
import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st
from support.commands import carry_out, command
from support.corpora import PROSE, SAMPLE, write_shard
from support.recipes import write_recipe
from support.runs import documents
from support.soak import examples

from curate.decide.bands import banded_sql
from curate.decide.schema import create
from curate.errors import RecipeError
from curate.filters.language.forms import lines_in_form, normalize_for_ccnet
from curate.filters.language.model import LanguageModel, form_of, identity_of, vocabulary_words
from curate.filters.language.of_recipe import open_models
from curate.filters.language.perplexity import measure
from curate.filters.language.train import Training, train
from curate.kernels.priors import count_priors, vocabulary_of
from curate.ledger.run import connect
from curate.recipe.tier1 import Perplexity

WORDS = sorted({word.strip(".,").lower() for word in PROSE.split()})
GERMAN = "Die Würde des Menschen ist unantastbar. Sie zu achten und zu schützen ist Verpflichtung aller Gewalt. " * 3


def write_model(path, lines, form="words-1"):
    """A bigram model with made-up probabilities, in ARPA."""
    tokens = [["<s>", *line.split(), "</s>"] for line in lines]
    single = Counter(word for line in tokens for word in line)
    pairs = Counter(pair for line in tokens for pair in itertools.pairwise(line))
    total = sum(single.values())
    head = [f"# form: {form}"] if form else []
    rows = [*head, "\\data\\", f"ngram 1={len(single) + 1}", f"ngram 2={len(pairs)}", "", "\\1-grams:", "-4\t<unk>\t0"]
    rows += [f"{math.log10(count / total):.6f}\t{word}\t-0.3" for word, count in sorted(single.items())]
    rows += ["", "\\2-grams:"]
    rows += [f"{math.log10(0.9 * n / single[a]):.6f}\t{a} {b}" for (a, b), n in sorted(pairs.items())]
    path.write_text("\n".join([*rows, "", "\\end\\", ""]))
    return path


def model_at(path, form, language):
    return LanguageModel(str(path), "x", form, identity_of(str(path)), language)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    lines = lines_in_form(pa.array([PROSE]), "words-1", "")[0].to_pylist()
    return write_model(tmp_path_factory.mktemp("model") / "prose.arpa", lines)


def expected(model, lines, n_bytes):
    """The columns of a document as KenLM's own walk through its lines gives them."""
    loaded = kenlm.Model(str(model))
    walked = [loaded.full_scores(line) for line in lines]
    steps = [(log, unknown) for walk in walked for log, _, unknown in walk]
    words = [word for line in lines for word in line.split()]
    alone = [loaded.score(word, bos=False, eos=False) * math.log(10) for word in words if word in loaded]
    total = sum(log for log, _ in steps)
    return {
        "perplexity": 10 ** (-total / len(steps)),
        "bits_per_byte": -total * math.log2(10) / n_bytes,
        "oov_rate": sum(unknown for _, unknown in steps) / len(words),
        "token_prior_mean": np.mean(alone),
        "token_prior_deviation": np.std(alone),
    }


def test_a_document_is_scored_as_kenlm_scores_its_lines(model):
    texts = [PROSE, "The fox, unheard of, jumps\n\nover 12 dogs.", "fox"]
    columns = measure(pa.array(texts), None, [model_at(model, "words-1", None)])
    for row, text in enumerate(texts):
        lines = lines_in_form(pa.array([text]), "words-1", "")[0].to_pylist()
        for name, value in expected(model, lines, len(text.encode())).items():
            assert columns[name][row].as_py() == pytest.approx(value, rel=1e-5), name


def test_null_and_texts_without_tokens_have_no_perplexity(model):
    texts = pa.array([None, "", " \n", PROSE, "zzz"])
    columns = measure(texts, None, [model_at(model, "words-1", None)])
    assert [value is None for value in columns["perplexity"].to_pylist()] == [True, True, True, False, False]
    assert columns["oov_rate"].to_pylist()[3:] == [0, 1]
    assert columns["token_prior_mean"].to_pylist()[4] is None
    assert measure(texts.slice(3), None, [model_at(model, "words-1", None)])["perplexity"].equals(
        columns["perplexity"].slice(3)
    )


def test_each_document_is_scored_by_the_model_of_its_language(model, tmp_path):
    other = write_model(tmp_path / "de.arpa", ["die würde"])
    models = [model_at(model, "words-1", "en"), model_at(other, "words-1", "de")]
    columns = measure(pa.array(["the fox", "die würde", "le chien"]), pa.array(["en", "de", "fr"]), models)
    assert columns["oov_rate"].to_pylist() == [0, 0, None]


@examples(100)
@given(st.lists(st.lists(st.sampled_from(["a", "b", "é你", "c" * 20, "d"]), min_size=1).map(" ".join), max_size=6))
def test_priors_against_a_dictionary(lines):
    known = {"a": -1.0, "é你": -2.5, "c" * 20: -0.25}
    vocabulary = vocabulary_of(pa.array(list(known), pa.large_string()), np.array(list(known.values())))
    owners = pa.array([k // 2 for k in range(len(lines))], pa.int64())
    found = count_priors(pa.array(lines, pa.large_string()), owners, 3, vocabulary)
    for text in range(3):
        words = [word for k, line in enumerate(lines) if k // 2 == text for word in line.split()]
        priors = [known[word] for word in words if word in known]
        assert (found.tokens[text], found.unknown[text]) == (len(words), len(words) - len(priors))
        assert found.sums[text] == pytest.approx(sum(priors))
        assert found.squares[text] == pytest.approx(sum(prior**2 for prior in priors))


def test_what_a_file_tells_of_itself(model, tmp_path):
    assert form_of(str(model)) == "words-1"
    assert set(vocabulary_words(str(model))) >= {"<unk>", "<s>", "</s>", "fox"}
    assert form_of(str(write_model(tmp_path / "m.arpa", ["a b"], form=None))) is None


def test_plain_lines():
    lines, owners = lines_in_form(pa.array(["A  b\n\n c\t", None, "d"]), "plain-1", "")
    assert (lines.to_pylist(), owners.to_pylist()) == (["A b", "c", "d"], [0, 0, 2])


def test_text_is_normalised_as_cc_net_does():
    assert normalize_for_ccnet(" Été 1984 – «Où?»\nNon… ") == 'ete 0000 - "ou?"non...'


def test_a_model_of_cc_net_reads_pieces(tmp_path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(PROSE.split(". ") * 20))
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(tmp_path / "en.sp"), vocab_size=60, hard_vocab_limit=False,
        minloglevel=2,
    )  # fmt: skip
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "en.sp.model"))
    text = "The quick brown fox\njumps over 12 dogs"
    line = " ".join(pieces.encode(normalize_for_ccnet(text), out_type=str))
    path = write_model(tmp_path / "en.arpa.bin", [line], form=None)
    columns = measure(pa.array([text, None]), None, [model_at(path, "ccnet-1", None)])
    loaded = kenlm.Model(str(path))
    length = len(line.split()) + 1
    assert columns["perplexity"][0].as_py() == pytest.approx(10 ** (-loaded.score(line) / length), rel=1e-5)
    assert columns["oov_rate"].to_pylist() == [0, None]


def varied(count, words, seed):
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=words - k % 7) + ["odd"] * (k % 7)) for k in range(count)]


def run_with(folder, texts, columns=None, strata=(), **section):
    write_shard(folder / "in.parquet", texts, **(columns or {}))
    recipe, run = write_recipe(folder, folder / "in.parquet", tier1={"perplexity": section})
    carry_out(recipe, *([f"input.strata=[{', '.join(strata)}]"] if strata else []))
    return recipe, run


def test_what_lies_outside_the_band_of_its_stratum_is_dropped(model, tmp_path):
    texts = varied(60, 40, 1) + varied(60, 150, 2) + varied(9, 350, 3)
    kinds = pa.array(["a", "b", None] * 43)
    _, run = run_with(
        tmp_path, texts, {"kind": kinds}, ["kind"], model=str(model), band=[10, 80], by=["length_bucket"],
        min_documents=15,
    )  # fmt: skip
    found = documents(run, "kind, length_bucket, perplexity, reason".replace("kind", "row"))
    strata = [(kinds[row].as_py(), bucket) for row, bucket, _, _ in found]
    values = np.array([perplexity for _, _, perplexity, _ in found])
    for (row, bucket, value, reason), stratum in zip(found, strata, strict=True):
        same = values[[other == stratum for other in strata]]
        if len(same) < 15:  # of its kind alone
            same = values[[kind == stratum[0] for kind, _ in strata]]
        low, high = np.percentile(same, [10, 80])
        expected_reason = "perplexity_too_low" if value < low else "perplexity_too_high" if value > high else None
        assert reason == expected_reason, (row, bucket)
    with connect(run) as connection:
        rows = connection.execute(
            "SELECT depth, count(*), sum(documents) FROM bands GROUP BY depth ORDER BY 1"
        ).fetchall()
    assert rows == [(0, 1, 129), (1, 3, 129), (2, 6, 120)]
    assert command("verify", run).returncode == 0


def test_duplicates_do_not_count_in_a_band_and_dropped_documents_lend_no_lines(model, tmp_path):
    texts = varied(30, 40, 5)
    _, run = run_with(tmp_path / "once", texts, model=str(model), band=[0, 50], min_documents=1, by=[])
    _, twice = run_with(tmp_path / "twice", texts + texts[:10], model=str(model), band=[0, 50], min_documents=1, by=[])
    reasons = [reason for (reason,) in documents(run, "reason")]
    assert [reason for (reason,) in documents(twice, "reason")] == reasons + ["exact_duplicate"] * 10
    assert reasons.count("perplexity_too_high") == 15


def test_a_language_without_a_model_is_kept_and_told(model, tmp_path):
    write_shard(tmp_path / "in.parquet", [*varied(5, 60, 1), PROSE, GERMAN])
    section = {"model": {"en": str(model)}, "band": [0, 100]}
    recipe, run = write_recipe(tmp_path, tmp_path / "in.parquet", tier1={"perplexity": section})
    done = command("run", recipe)
    assert done.returncode == 0
    assert "no language model for 1 documents (de 1): they have no perplexity, and no band drops them" in done.stderr
    assert documents(run, "language, perplexity, kept", "row = 6") == [("de", None, True)]


def test_another_band_measures_nothing_again(model, tmp_path):
    recipe, run = run_with(tmp_path, varied(30, 40, 4), model=str(model), band=[0, 100])
    assert documents(run, "1", "NOT kept") == []
    before = {path: path.stat().st_mtime_ns for path in (run / "ledger" / "signals").rglob("*.parquet")}
    carry_out(recipe, "tier1.perplexity.band=[0, 50]")
    after = {path: path.stat().st_mtime_ns for path in (run / "ledger" / "signals").rglob("*.parquet")}
    assert {path: time for path, time in after.items() if path in before and "bands" not in path.parts} == {
        path: time for path, time in before.items() if "bands" not in path.parts
    }
    assert len(documents(run, "1", "NOT kept")) > 5


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"model": "nowhere.arpa"}, "tier1.perplexity.model: nowhere.arpa: no such file"),
        ({"model": "."}, "tier1.perplexity.model: .: a folder; name its file"),
        ({"model": {}}, "tier1.perplexity.model: is empty"),
        ({"model": ""}, "tier1.perplexity.model: an empty path"),
        ({"model": __file__}, "test_perplexity.py: KenLM cannot read it; give an ARPA file"),
        ({"model": {"eng": "x"}}, "tier1.perplexity.model: no language 'eng'"),
        ({"model": {"de": "default"}}, "tier1.perplexity.model: de: the packaged model is for English"),
        ({"band": [90, 10]}, "is no band"),
        ({"band": [0, 101]}, "tier1.perplexity.band"),
        ({"by": ["words"]}, "tier1.perplexity.by"),
    ],
)
def test_wrong_sections_are_refused(tmp_path, section, message):
    with pytest.raises(RecipeError) as caught:
        run_with(tmp_path, [PROSE], **section)
    assert message in str(caught.value)


def test_files_that_are_no_models_are_refused(model, tmp_path):
    broken = tmp_path / "broken.arpa"
    broken.write_text("# form: words-1\nnothing here\n")
    with pytest.raises(RecipeError, match=r"broken.arpa: KenLM cannot read it; give an ARPA file or one of"):
        run_with(tmp_path, [PROSE], model=str(broken))
    untold = write_model(tmp_path / "untold.arpa", ["a b"], form=None)
    with pytest.raises(RecipeError, match=r"does not tell what text it reads; set tier1.perplexity.form to words-1"):
        run_with(tmp_path, [PROSE], model=str(untold))
    with pytest.raises(RecipeError, match=r"tier1.perplexity.form: plain-1, but \S+ reads words-1; leave form out"):
        run_with(tmp_path, [PROSE], model=str(model), form="plain-1")
    with pytest.raises(RecipeError, match=r"its sentencepiece model untold.sp.model must lie beside it"):
        run_with(tmp_path, [PROSE], model=str(untold), form="ccnet-1")
    run_with(tmp_path, [PROSE], model=str(untold), form="plain-1", band=[0, 100])


def test_models_that_would_tell_nonsense_are_refused(model, tmp_path):
    blind = tmp_path / "blind.arpa"
    lines = [line for line in model.read_text().splitlines() if "<unk>" not in line]
    count = int(next(line for line in lines if line.startswith("ngram 1=")).split("=")[1])
    blind.write_text("\n".join(lines).replace(f"ngram 1={count}", f"ngram 1={count - 1}") + "\n")
    newer = write_model(tmp_path / "newer.arpa", ["a b"], form="words-9")
    packed = tmp_path / "m.arpa.gz"
    packed.write_bytes(b"\x1f\x8b")
    garbage = write_model(tmp_path / "cc.arpa.bin", ["a b"], form="ccnet-1")
    (tmp_path / "cc.sp.model").write_text("garbage")
    for path, told in [
        (blind, "it has no <unk>, so that unknown words would be impossible"),
        (newer, "newer.arpa: reads text in the form 'words-9'; did you mean 'words-1'?"),
        (packed, "m.arpa.gz: packed; unpack it first"),
        (garbage, "cc.sp.model: not a model that sentencepiece reads"),
    ]:
        with pytest.raises(RecipeError) as caught:
            run_with(tmp_path, [PROSE], model=str(path))
        assert told in str(caught.value)


def test_a_binary_model_that_was_cut_off_is_refused(tmp_path):
    inputs = (str(SAMPLE / "part-00000.parquet"),)
    binary = tmp_path / "m.binary"
    train(Training(inputs, binary, 2, (0, 0), "text", "words", 1_000_000_000, 2, quiet=True))
    assert open_models(Perplexity(model=str(binary)))[0].form == "words-1"
    for facts in ("[1]", '{"form": 5}', "{"):
        (tmp_path / "m.binary.json").write_text(facts)
        with pytest.raises(RecipeError, match=r"does not tell what text it reads|reads text in the form '5'"):
            open_models(Perplexity(model=str(binary)))
    binary.write_bytes(binary.read_bytes()[:-500])
    with pytest.raises(RecipeError, match=r"it holds \d+ of its \d+ words: it was cut off"):
        open_models(Perplexity(model=str(binary), form="words-1"))


def test_a_model_that_changes_during_a_run_is_told_of(model, tmp_path):
    path = tmp_path / "live.arpa"
    path.write_bytes(model.read_bytes())
    planned = model_at(path, "words-1", None)
    write_model(path, ["something else"])
    with pytest.raises(RecipeError, match=r"live.arpa: changed during the run; run again"):
        measure(pa.array([PROSE]), None, [planned])


def test_an_optional_stratum_that_is_not_there_makes_none(model, tmp_path):
    _, run = run_with(
        tmp_path, varied(30, 40, 1), {"kind": pa.array(["a"] * 30)}, ["kind", '"domain?"'], model=str(model), by=[],
        band=[0, 50],
    )  # fmt: skip
    assert len(documents(run, "1", "reason = 'perplexity_too_high'")) == 15


def test_a_rule_on_perplexity_needs_the_section(tmp_path):
    write_shard(tmp_path / "in.parquet", [PROSE])
    rule = {"reason": "mine", "signal": "perplexity", "max": 1000}
    recipe, _ = write_recipe(tmp_path, tmp_path / "in.parquet", tier1={"rules": [rule]})
    with pytest.raises(RecipeError, match=r"a signal of group perplexity needs tier1.perplexity"):
        carry_out(recipe)


def banded(values, section):
    """Tables `strata` and `banded` of documents with these strata and perplexities."""
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE survivors (file_no INT, row BIGINT, stratum_0 VARCHAR, stratum_1 VARCHAR, perplexity FLOAT)"
        )
        create("banded", connection)
        rows = pa.table({
            "file_no": pa.array([0] * len(values), pa.int32()), "row": pa.array(range(len(values)), pa.int64()),
            "stratum_0": pa.array([one for one, _, _ in values], pa.string()),
            "stratum_1": pa.array([one for _, one, _ in values], pa.string()),
            "perplexity": pa.array([one for _, _, one in values], pa.float32()),
        })  # fmt: skip
        connection.register("rows", rows)
        connection.execute("INSERT INTO survivors FROM rows")
        for statement in banded_sql(section, 2):
            connection.execute(statement)
        strata = connection.execute("SELECT depth, stratum_0, stratum_1, documents, low, high FROM strata").fetchall()
        return strata, connection.execute("SELECT row, band_reason FROM banded ORDER BY row").fetchall()


def percentile(values, bound):
    """Between the two values whose ranks are next to it."""
    place = Fraction(str(bound)) / 100 * (len(values) - 1)
    low, high = sorted(values)[math.floor(place)], sorted(values)[math.ceil(place)]
    return Fraction(low) + (place - math.floor(place)) * (Fraction(high) - Fraction(low))


@pytest.mark.parametrize("seed", range(24))
def test_bands_are_between_exact_percentiles(seed):
    draw = random.Random(seed)
    section = Perplexity(
        band=[draw.choice([0, 1, 2.5, 9.7]), draw.choice([50, 97.7, 99, 100])], min_documents=draw.choice([1, 3, 20])
    )
    numbers = draw.choice([lambda: draw.random() * 1000, lambda: draw.randrange(5), lambda: 10 ** draw.uniform(-9, 30)])
    values = [
        (draw.choice(["a", "b", None]), draw.choice("xy"), float(np.float32(numbers())))
        for _ in range(draw.choice([0, 1, 2, 7, 100, 1001]))
    ]  # fmt: skip
    strata = {(depth, *one[:depth], *[None] * (2 - depth)): [] for one in values for depth in range(3)}
    for one in values:
        for depth in range(3):
            strata[depth, *one[:depth], *[None] * (2 - depth)].append(one[2])
    least = {0: 1, 1: section.min_documents, 2: section.min_documents}
    bounds = {
        name: [percentile(own, bound) for bound in section.band]
        for name, own in strata.items() if len(own) >= least[name[0]]
    }  # fmt: skip
    dropped = []
    for row, (first, second, value) in enumerate(values):
        names = ((2, first, second), (1, first, None), (0, None, None))
        low, high = next(bounds[name] for name in names if name in bounds)
        if not low <= value <= high:
            dropped.append((row, f"perplexity_too_{'low' if value < low else 'high'}"))
    made, found = banded(values, section)
    assert {tuple(row[:3]): (row[3], *row[4:]) for row in made} == {
        name: (len(strata[name]), *(pytest.approx(float(bound), rel=1e-12) for bound in both))
        for name, both in bounds.items()
    }
    assert found == dropped


def test_a_document_at_a_percentile_is_within():
    """97.7 / 100 is a little more than 0.977, as floats go."""
    values = [("a", "x", float(k)) for k in range(1001)]
    _, found = banded(values, Perplexity(band=[97.7, 99.9]))
    assert [row for row, _ in found] == [*range(977), 1000]
