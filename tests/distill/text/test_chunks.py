"""Documents in pieces: cut where a reader would pause, with nothing lost."""

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st
from support.corpora import PROSE
from support.soak import examples
from support.texts import documents

from curate.distill.text.chunks import CHUNKS, MIN_FRACTION, chunk_spans, chunks_of


def pieces(text, most):
    return [text[start:end] for start, end in chunk_spans(text, most)]


PIECES = (
    "One word. ", "a", " ", "\n", "\n\n", "Words without an end ", "日本語です。", "é", "e\u0301", "👩\u200d🔬",
    "x" * 30, "\n- item", "\u3000", "กำลัง",
)  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), max_size=60).map("".join)


@examples(300)
@given(TEXTS | st.text(max_size=300), st.integers(1, 120))
@example("a" + " " * 50 + "b", 20)
@example("\u0301" * 50, 20)
def test_chunks_cover_a_document_but_for_white_space_and_none_is_too_long_or_needlessly_small(text, most):
    table = chunks_of(documents(text), most)
    assert table.schema == CHUNKS
    rows = table.to_pylist()
    assert [row["chunk"] for row in rows] == list(range(len(rows)))
    raw = text.encode()
    at = 0
    for row in rows:
        assert raw[at : row["start"]].decode().strip() == ""
        assert raw[row["start"] : row["end"]].decode() == row["text"] == row["text"].strip() != ""
        assert len(row["text"]) <= most
        at = row["end"]
    assert raw[at:].decode().strip() == ""
    for one, other in pairwise(rows):
        if min(len(one["text"]), len(other["text"])) * MIN_FRACTION < most:
            assert len(raw[one["start"] : other["end"]].decode()) > most


def test_paragraphs_stay_whole_where_they_fit():
    text = "\n\n".join([PROSE.strip()] * 9)
    found = pieces(text, 700)
    assert [piece.count("\n\n") for piece in found] == [2, 2, 2]
    assert all(piece.endswith("again.") for piece in found)


def test_a_paragraph_that_is_too_long_is_cut_behind_a_sentence():
    found = pieces(PROSE * 8, 500)
    assert len(found) > 3
    assert all(piece.endswith((" eyes.", " again.")) for piece in found)


def test_a_sentence_that_is_too_long_is_cut_at_white_space():
    found = pieces("word " * 200, 120)
    assert "".join(found).count("word") == 200
    assert all(set(piece.split()) == {"word"} for piece in found)


def test_text_without_white_space_is_cut_between_signs():
    found = pieces("e\u0301" * 100, 33)
    assert all(len(piece) % 2 == 0 for piece in found)
    assert len(found) == 7
    assert "".join(found) == "e\u0301" * 100


def test_chinese_is_cut_behind_its_sentences():
    assert {piece[-1] for piece in pieces("今天天气很好,我们一起去公园散步吧。" * 40, 100)} == {"。"}


def test_the_last_chunk_is_not_nearly_empty():
    sizes = [len(piece) for piece in pieces("word " * 205, 500)]
    assert len(sizes) == 3
    assert min(sizes) >= 500 // MIN_FRACTION


def test_a_short_document_is_one_chunk_and_a_blank_or_missing_one_is_none():
    table = chunks_of(documents("  Short, with ä. ", " \n", None, "ä"), 200)
    assert table.to_pylist() == [
        {"doc_id": "d0", "chunk": 0, "start": 2, "end": 17, "text": "Short, with ä."},
        {"doc_id": "d3", "chunk": 0, "start": 0, "end": 2, "text": "ä"},
    ]


def test_places_are_bytes_of_the_document():
    text = "Ärger über Öl. " * 40
    for row in chunks_of(documents(text), 200).to_pylist():
        assert text.encode()[row["start"] : row["end"]].decode() == row["text"]
