"""Repetition kernels against slow, obvious oracles, and the rules of `gopher_repetition` at their bounds."""

from collections import defaultdict
from itertools import groupby

import pyarrow as pa
import pytest
from hypothesis import example, given
from support.commands import carry_out
from support.corpora import write_shard
from support.oracles import assert_counts, split_words
from support.recipes import write_recipe
from support.runs import documents
from support.soak import examples
from support.texts import LINED, PASSAGES, REPEATING, SAMPLE_TEXTS, TEXTS

from curate import kernels
from curate.filters.rules.resolve import rules_of_set
from curate.filters.signals.repetition import repeated_lines, repeated_ngrams
from curate.ledger.run import connect

quick = examples(200)


def within(words, places, n):
    """Characters of the words that n-grams at these places hold, each word once."""
    return sum(len(words[k]) for k in {k for place in places for k in range(place, place + n)})


def ngrams_of(text):
    words = [word for word, _ in split_words(text)]
    found = {"word_characters": sum(map(len, words))}
    for n in range(2, 11):
        places = defaultdict(list)
        for k in range(len(words) - n + 1):
            places[tuple(words[k : k + n])].append(k)
        if n <= 4:
            most = max(map(len, places.values()), default=0)
            tops = [where for where in places.values() if len(where) == most > 1]
            found[f"top_{n}gram_characters"] = max((within(words, where, n) for where in tops), default=0)
        else:
            later = [k for where in places.values() for k in where[1:]]
            found[f"duplicate_{n}gram_characters"] = within(words, later, n)
    return found


def repeats_in(units):
    """Those of some units that stood before."""
    seen, repeats = set(), []
    for unit in units:
        repeats.append(unit) if unit in seen else seen.add(unit)
    return repeats


def repeated_lines_of(text):
    stripped = [line.strip() for line in text.split("\n")]
    lines = [line for line in stripped if line]
    paragraphs = [tuple(group) for filled, group in groupby(stripped, key=bool) if filled]
    return {
        "lines": len(lines),
        "duplicate_lines": len(repeats_in(lines)),
        "paragraphs": len(paragraphs),
        "duplicate_paragraphs": len(repeats_in(paragraphs)),
        "line_characters": sum(map(len, lines)),
        "duplicate_line_characters": sum(map(len, repeats_in(lines))),
        "duplicate_paragraph_characters": sum(len(line) for lines in repeats_in(paragraphs) for line in lines),
    }


@quick
@given(REPEATING | PASSAGES | TEXTS)
@example("")
@example("a a a a a a a a a a a a a")
@example("a b a b c d c d")
@example("\0 \0\0 \0 \0\0")
@example("eight888 eight888 eight889 eight888 eight888")
@example("་ བོད་སྐད་བོད་སྐད")
@example("one\u2003two\x85one two you你one two你you")
def test_repeated_ngrams_are_those_that_counters_of_tuples_find(text):
    assert_counts(kernels.count_ngrams, ngrams_of, [text])


@quick
@given(LINED | TEXTS)
@example("")
@example("\n\r\n \n")
@example("a\n\na\n\na\nb\n\na\nb")
@example("a\na \0\0\0\0\0\0")
@example("a b\na\nb\n\na\nb\n\n\nab")
def test_repeated_lines_are_those_that_sets_of_lines_find(text):
    assert_counts(kernels.count_repeated_lines, repeated_lines_of, [text])


def test_repetition_in_the_sample_is_what_the_oracles_find():
    assert_counts(kernels.count_ngrams, ngrams_of, SAMPLE_TEXTS)
    assert_counts(kernels.count_repeated_lines, repeated_lines_of, SAMPLE_TEXTS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("on and on and on", {"word_characters": 12, "top_2gram_characters": 10, "top_3gram_characters": 12}),
        ("a b c a b d a", {"top_2gram_characters": 4, "top_3gram_characters": 0}),
        ("a b xx a b yyy zzz yyy zzz", {"top_2gram_characters": 12}),  # two stand twice: the one that covers more
        ("A b a b", {"top_2gram_characters": 0}),
        ("a b, a b", {"top_2gram_characters": 0}),
        ("a b\n\na\u3000b", {"top_2gram_characters": 4}),
        ("天天天天", {"word_characters": 4, "top_2gram_characters": 4, "top_3gram_characters": 4}),
        ("ab\u0f0bcd\u0f0bab\u0f0bcd", {"word_characters": 8, "top_2gram_characters": 8, "top_3gram_characters": 0}),
        ("1 2 3 4 5 - 1 2 3 4 5", {"duplicate_5gram_characters": 5, "duplicate_6gram_characters": 0}),
        ("1 2 3 4 5 6 7 - 1 2 3 4 5 6 7", {"duplicate_5gram_characters": 7, "duplicate_7gram_characters": 7}),
        ("a a a a a a a", {"duplicate_5gram_characters": 6, "duplicate_7gram_characters": 0}),
        ("word", {"word_characters": 4, "top_2gram_characters": 0, "duplicate_5gram_characters": 0}),
    ],
)
def test_characters_within_repeated_ngrams_of_known_texts(text, expected):
    columns = kernels.count_ngrams(pa.array([text]))
    assert {name: columns[name][0].as_py() for name in expected} == expected
    assert_counts(kernels.count_ngrams, ngrams_of, [text])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one\ntwo\n one \r\none", {"lines": 4, "duplicate_lines": 2, "duplicate_line_characters": 6}),
        ("One\none\none.", {"lines": 3, "duplicate_lines": 0}),
        ("a\nb\n\nc\n\n a\nb\t\n", {"paragraphs": 3, "duplicate_paragraphs": 1, "duplicate_paragraph_characters": 2}),
        ("a\nb\n\na b\n\nab", {"paragraphs": 3, "duplicate_paragraphs": 0}),
        ("\n \n", {"lines": 0, "duplicate_lines": 0, "paragraphs": 0, "duplicate_paragraphs": 0}),
    ],
)
def test_repeated_lines_of_known_texts(text, expected):
    columns = kernels.count_repeated_lines(pa.array([text]))
    assert {name: columns[name][0].as_py() for name in expected} == expected
    assert_counts(kernels.count_repeated_lines, repeated_lines_of, [text])


def test_many_different_words_and_lines_between_short_texts_are_counted_as_well():
    numbers = [str(k) for k in range(5000)]
    texts = [
        "1 2 1 2 3",
        " ".join(numbers),
        "1 2 1 2 3",
        " ".join(numbers * 2),
        " ".join(numbers + numbers[:700] + numbers[::-1]),
        "".join(map(chr, range(0x4E00, 0x5E00))) * 3,
        "\n".join(numbers + numbers[:700]),
        "\n\n".join(numbers[:600] + numbers[:9]),
        "1\n2\n\n1",
    ]
    assert_counts(kernels.count_ngrams, ngrams_of, texts)
    assert_counts(kernels.count_repeated_lines, repeated_lines_of, texts)


@pytest.mark.parametrize("unit", ["ha ", "a\n", "天", "a", "é", "\n", " ", "a b c d e f g h i j k l\n"])
def test_a_long_text_of_one_thing_takes_no_longer_than_its_length_asks(unit):
    text = pa.array([unit * (2_000_000 // len(unit))])  # quadratic, this would take an hour
    ngrams, lines = kernels.count_ngrams(text), kernels.count_repeated_lines(text)
    assert lines["duplicate_lines"][0].as_py() == max(lines["lines"][0].as_py() - 1, 0)
    repeated, characters = (ngrams[name][0].as_py() for name in ("duplicate_5gram_characters", "word_characters"))
    assert repeated in (0, characters - 1, characters - 2, characters - 12)  # all but the first


@pytest.mark.parametrize("signal", [repeated_lines, repeated_ngrams])
def test_ratios_are_null_without_words_and_0_without_repetition(signal):
    columns = signal(pa.array([None, "", " \n", "word"]))
    assert {name: column.to_pylist() for name, column in columns.items()} == {
        name: [None, None, None, 0] for name in signal.writes
    }


# Rules


def filler(n):
    """`n` words of four characters that all differ."""
    return [f"{k:04}" for k in range(n)]


def at_the_bounds():
    """For each rule a text that lies on its bound, and one that lies just beyond it."""
    lines = [f"line {k}" for k in range(7)]
    for reason, between in (("too_many_duplicate_lines", "\n"), ("too_many_duplicate_paragraphs", "\n\n")):
        yield reason, between.join(lines + lines[:3]), between.join(lines[:6] + lines[:4])
    for units, between in (("lines", "\n"), ("paragraphs", "\n\n")):
        on, beyond = ["12345", "1234567890", "12345", "abcde"], ["12345", "123456789", "12345", "abcde"]
        yield f"too_much_text_in_duplicate_{units}", between.join(on), between.join(beyond)
    for n, share in ((2, 0.2), (3, 0.18), (4, 0.16)):
        places, gram = round(100 * share / n), [f"top{k}" for k in range(n)]
        others = filler(100 - n * places)
        words = [word for k in range(places) for word in (*gram, others[k])] + others[places:]
        yield f"too_much_text_in_top_{n}gram", " ".join(words), " ".join(words[:-1])
    for n, share in zip(range(5, 11), (0.15, 0.14, 0.13, 0.12, 0.11, 0.1), strict=True):
        words = filler(round(100 * (1 - share)))
        words = words[: round(100 * share)] + words
        yield f"too_much_text_in_duplicate_{n}grams", " ".join(words), " ".join(words[:-1])


def reasons_given(folder, texts):
    """The reasons that the set gives for each text."""
    write_shard(folder / "in" / "a.parquet", texts)
    fields = {"tier1": {"rules": ["gopher_repetition"]}, "dedup": {"exact": False}, "allow_empty": True}
    recipe, run = write_recipe(folder, folder / "in", **fields)
    carry_out(recipe)
    return [reasons for (reasons,) in documents(run, "reasons")]


def test_each_rule_keeps_a_document_on_its_bound_and_drops_one_beyond_it(tmp_path):
    cases = list(at_the_bounds())
    assert [reason for reason, _, _ in cases] == [rule.reason for rule in rules_of_set("gopher_repetition")]
    given = reasons_given(tmp_path, [text for _, on, beyond in cases for text in (on, beyond)])
    told = [(reason, reason in given[2 * k], reason in given[2 * k + 1]) for k, (reason, _, _) in enumerate(cases)]
    assert told == [(reason, False, True) for reason, _, _ in cases]


def test_duplicate_ngrams_do_not_judge_scripts_without_spaces_but_lines_and_top_ngrams_do(tmp_path):
    han, latin = ([chr(first + k) for k in range(60)] for first in (0x4E00, 0xC0))
    texts = ["".join(han[:40] + han), " ".join(latin[:40] + latin), "".join(f"天天{letter}" for letter in han)]
    passage, spaced, top = reasons_given(tmp_path, texts)
    assert passage == []
    assert spaced == [f"too_much_text_in_duplicate_{n}grams" for n in range(5, 11)]
    assert top == ["too_much_text_in_top_2gram"]


def test_repetition_is_measured_only_where_a_rule_or_a_condition_names_it(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", ["some words\nsome words"])
    lines = {"reason": "mine", "signal": "duplicate_line_ratio", "max": 1}
    ngrams = {"reason": "others", "signal": "n_words", "max": 1, "if": "top_2gram_character_ratio > 1"}
    for rules, expected in (
        ([], []),
        ([lines], [repeated_lines]),
        ([lines, ngrams], [repeated_lines, repeated_ngrams]),
    ):
        recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": rules})
        carry_out(recipe)
        with connect(run) as connection:
            columns = {name for name, *_ in connection.execute("DESCRIBE documents").fetchall()}
        found = [signal for signal in (repeated_lines, repeated_ngrams) if columns & set(signal.writes)]
        assert found == expected
