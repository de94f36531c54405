"""What is pointed at in a text is what the kernels count, and nothing that is shown has personal data."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.listed_words import LISTED
from support.listed_words import TEXTS as BLOCK_TEXTS
from support.soak import examples
from support.texts import LINED, PASSAGES, REPEATING, TEXTS

import curate.sample
from curate import kernels
from curate.display import visible
from curate.filters import registry
from curate.filters.block import BlockList
from curate.filters.edits import pii
from curate.filters.edits.pii import personal_data_count
from curate.inspect.evidence import Evidence
from curate.inspect.excerpts import MarkedText, excerpt, merged, with_marks
from curate.inspect.spans import FINDERS, lines_of, listed, whole_lines_of, words_of

SAMPLE = [
    text
    for path in sorted(Path(curate.sample.__path__[0]).glob("*.parquet"))
    for text in pq.read_table(path, columns=["text"])["text"].to_pylist()
]
NOTHING = Evidence("mine", "rules", {})
quick = examples(200)


def found(signal, text, **bound):
    return FINDERS[signal](text, Evidence("mine", "rules", {}, **bound))


def letters(text, spans):
    """Characters of words within places."""
    return sum(end - start for a, b in merged(spans) for start, end in words_of(text[a:b]))


def count(counter, text):
    return {name: column[0].as_py() for name, column in counter(pa.array([text], pa.string())).items()}


def check_repetition(text):
    ngrams, lines = count(kernels.count_ngrams, text), count(kernels.count_repeated_lines, text)
    for n in (2, 3, 4):
        assert letters(text, found(f"top_{n}gram_character_ratio", text)) == ngrams[f"top_{n}gram_characters"]
    for n in range(5, 11):
        there = found(f"duplicate_{n}gram_character_ratio", text)
        assert letters(text, there) == ngrams[f"duplicate_{n}gram_characters"]
    for unit in ("line", "paragraph"):
        there = found(f"duplicate_{unit}_character_ratio", text)
        assert sum(end - start for start, end in there) == lines[f"duplicate_{unit}_characters"]
    assert len(found("duplicate_line_ratio", text)) == lines["duplicate_lines"]


@quick
@given(REPEATING | PASSAGES | LINED | TEXTS)
@example("a a a a a a a a a a a a a")
@example("a\n\na\n\na\na\nb\n\na\nb")
@example("one\u2003two\x85one two你one two你you")
def test_marked_repetitions_have_as_many_characters_as_the_signals_count(text):
    check_repetition(text)


def test_marked_repetitions_of_the_sample_are_those_that_are_counted():
    for text in SAMPLE[::7]:
        check_repetition(text)


@quick
@given(TEXTS | LINED)
@example("Ã©Ã© â€™ Â x \ufffd\ufffd \x01\x02 # ... …. ....")
@example("a{b} Lorem IPSUM lorem ipsum\n• x\n- y…\nz...")
def test_marked_words_lines_and_marks_are_as_many_as_are_counted(text):
    words, lines = count(kernels.count_words, text), count(kernels.count_lines, text)
    whole = count(kernels.count_whole_lines, text)
    assert (len(words_of(text)), len(lines_of(text))) == (words["words"], lines["lines"])
    assert len(whole_lines_of(text)) == whole["lines"]
    assert len(found("alpha_word_ratio", text)) == words["words"] - words["alpha_words"]
    assert len(found("hash_word_ratio", text)) == words["hashes"]
    assert len(found("ellipsis_word_ratio", text)) == words["ellipses"]
    assert len(found("bullet_line_ratio", text)) == lines["bullet_lines"]
    assert len(found("ellipsis_line_ratio", text)) == lines["ellipsis_lines"]
    assert len(found("terminal_line_ratio", text)) == lines["lines"] - lines["terminal_lines"]
    assert len(found("short_line_ratio", text)) == lines["short_lines"]
    assert len(found("terminal_whole_line_ratio", text)) == whole["lines"] - whole["terminal_lines"]
    assert len(found("short_whole_line_ratio", text)) == whole["short_lines"]
    phrases = {k: v[0].as_py() for k, v in kernels.count_phrases(pa.array([text]), ["{", "lorem ipsum"]).items()}
    assert len(found("n_curly_brackets", text)) == phrases["{"]
    assert len(found("n_lorem_ipsum", text)) == phrases["lorem ipsum"]
    characters = count(kernels.count_characters, text)
    sizes = {name: sum(end - start for start, end in found(name, text)) for name in ("mojibake_ratio", "digit_ratio")}
    assert sizes["mojibake_ratio"] == kernels.count_mojibake(pa.array([text]))[0].as_py()
    assert sizes["digit_ratio"] == characters["digits"]
    broken = sum(end - start for start, end in found("n_broken_characters", text))
    assert broken == characters["controls"] + characters["replacements"]


@quick
@given(BLOCK_TEXTS)
@example("Darn, darn it; darning a a a x_y X слово")
@example("É😀x ß #tag #tags a#tag 你好 你 e\u0301")
def test_marked_words_of_a_list_begin_where_the_kernel_counts_them(text):
    there = listed(BlockList("mine", "words", "", LISTED), text)
    assert len(there) == kernels.count_listed_words(pa.array([text]), kernels.word_table(LISTED))[0].as_py()


def test_a_regular_expression_of_re2_is_marked_where_it_matches():
    text = "concat cat\ncats Cat"
    there = listed(BlockList("mine", "regex", "", (r"(?i)\bcat\b",)), text)
    assert [text[start:end] for start, end in there] == ["cat", "Cat"]


def test_personal_data_is_marked_kind_by_kind_as_it_is_counted():
    text = "Schönes: jane.doe@gmail.com, 192.168.17.4 and joe@mail.org"
    counts = count(personal_data_count, text)
    for kind, signal in pii.COUNTS.items():
        assert len(found(signal, text)) == counts[signal], kind
    assert [text[a:b] for a, b in found("raw_n_emails", text)] == ["jane.doe@gmail.com", "joe@mail.org"]


def test_every_finder_is_of_a_signal_that_there_is():
    known = {column for signals in registry.groups().values() for signal in signals for column in signal.writes}
    assert set(FINDERS) - known == set()


@pytest.mark.parametrize(
    ("mark", "shown"),
    [
        ("to jane", "Write «to <EMAIL>» now"),
        ("doe@gmail", "Write to «<EMAIL>» now"),
        ("com now", "Write to «<EMAIL> now»"),
        ("now", "Write to <EMAIL> «now»"),
        ("Write", "«Write» to <EMAIL> now"),
        ("jane.doe@gmail.com", "Write to «<EMAIL>» now"),
    ],
)
def test_a_mark_that_touches_personal_data_has_the_whole_placeholder(mark, shown):
    text = "Write to jane.doe@gmail.com now"
    start = text.index(mark)
    pieces = excerpt(with_marks(text, [(start, start + len(mark))]))
    assert "".join(f"«{piece}»" if kind == "mark" else piece for kind, piece in pieces) == shown


@quick
@given(st.text(max_size=200), st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)), max_size=4))
def test_the_pieces_of_a_whole_excerpt_are_the_text(text, places):
    spans = merged((min(a, len(text)), min(b, len(text))) for a, b in places)
    pieces = excerpt(MarkedText(text, spans), None)
    assert "".join(piece for _, piece in pieces) == text
    assert [piece for kind, piece in pieces if kind == "mark"] == [text[a:b] for a, b in spans]


@quick
@given(st.lists(st.tuples(st.integers(0, 9990), st.integers(1, 3000)), max_size=8))
def test_an_excerpt_keeps_to_its_length_and_tells_what_it_leaves_out(places):
    text = "word and more " * 714
    shown = MarkedText(text, merged((start, min(start + size, len(text))) for start, size in places))
    pieces = excerpt(shown, 1200)
    kept = sum(len(piece) for kind, piece in pieces if kind != "gap")
    gaps = [int(piece.split()[1].replace(",", "")) for kind, piece in pieces if kind == "gap"]
    assert kept <= 1200 + 48
    assert kept + sum(gaps) == len(text)
    assert not shown.marks or any(kind == "mark" for kind, _ in pieces)


def test_what_a_terminal_would_obey_becomes_a_symbol():
    assert visible("a\x1b[31mred\x07 \u202eevil\u2066 \x9b1m\r\nb\tc\x7f") == (
        "a␛[31mred␇ ⟨202E⟩evil⟨2066⟩ ⟨009B⟩1m␍\nb\tc␡"
    )
    assert visible("naïve 你好 👩‍👩‍👧 «ok»") == "naïve 你好 👩‍👩‍👧 «ok»"
