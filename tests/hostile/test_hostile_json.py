"""JSON lines that nobody should write: rows, or one line that tells of it."""

import gzip
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.commands import carry_out, refused, told_by
from support.corpora import PROSE
from support.recipes import write_recipe
from support.runs import documents
from support.soak import some

from curate.corpus.jsonl import json_tables
from curate.errors import InputError

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS, lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(max_size=3), one, max_size=3), max_leaves=6
)
ODD_KEYS = ["text", "id", "Text", "", "a.b", "x\n", '"', "\0", "'; DROP TABLE decisions; --"]
KEYS = st.sampled_from(ODD_KEYS) | st.text(max_size=4)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=4).map(json.dumps)
ODD = [
    b'{"text": NaN}', b'{"text": 1e999}', b'{"text": -Infinity}', b'{"text": ' + b"9" * 5000 + b"}",
    b'{"text": "a", "text": "b"}', b'\xef\xbb\xbf{"text": "a"}', b'{"text": "\\ud800"}', b'{"\\ud800": 1}',
    b'{"text": "\xff\xfe"}', b'{"\xff": 1}', b'{"text": "\\u0000"}', b"[]", b"null", b'"text"', b"{}", b"{", b"}",
    b"\x00",
    b'{"text": "a"} {"text": "b"}', b'{"text": "a"}, ', b"   ", b"\r", b'{"text": {}}', b'{"text": [{}]}',
    b'{"text": ' + b"[" * 2000 + b"]" * 2000 + b"}", b'{"text": ' + b'{"a":' * 2000 + b"1" + b"}" * 2001,
    b'{"text": "2024-01-01T00:00:00Z"}', b'{"text": 18446744073709551616}', b'{"text": 1.7976931348623157e308}',
]  # fmt: skip
LINES = OBJECTS.map(str.encode) | st.sampled_from(ODD) | st.binary(max_size=20)


@some(60)
@given(st.lists(LINES, max_size=6), st.sampled_from([b"\n", b"\r\n"]), st.sampled_from(["", ".gz"]))
@example(ODD[:1], b"\n", "")
def test_lines_become_as_many_rows_or_one_line_tells_of_the_first_that_is_none(tmp_path_factory, lines, end, codec):
    path = tmp_path_factory.mktemp("json") / f"a.jsonl{codec}"
    content = end.join([*lines, b""])
    path.write_bytes(gzip.compress(content, 1) if codec else content)
    wanted = sum(bool(line.strip()) for line in content.split(b"\n"))
    try:
        rows = sum(len(table) for table, _ in json_tables(str(path)))
    except InputError as error:
        assert str(path) in told_by(error)
    else:
        assert rows == wanted


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_an_odd_line_among_good_ones_is_named_or_a_row(tmp_path, odd):
    good = json.dumps({"text": PROSE}).encode()
    path = tmp_path / "in" / "a.jsonl"
    path.parent.mkdir()
    path.write_bytes(b"\n".join([good, odd, good]))
    try:
        rows = sum(len(table) for table, _ in json_tables(str(path)))
    except InputError as error:
        assert "line 2 " in told_by(error)
    else:
        assert rows == 3 - (not odd.strip())


def test_a_line_without_an_end_is_told_of_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("curate.corpus.jsonl.MAX_LINE_BYTES", 1 << 26)
    (tmp_path / "in").mkdir()
    with gzip.open(tmp_path / "in" / "a.jsonl.gz", "wb", compresslevel=1) as file:
        file.write(b'{"text": "')
        for _ in range(100):
            file.write(b"a" * (1 << 20))
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    assert "a.jsonl.gz: line 1 is longer than 64 MB, which no document is" in refused(recipe, InputError)


def test_a_gzip_file_of_blank_lines_takes_no_memory_and_has_no_documents(tmp_path):
    (tmp_path / "in").mkdir()
    good = json.dumps({"text": PROSE}).encode()
    with gzip.open(tmp_path / "in" / "a.jsonl.gz", "wb", compresslevel=1) as file:
        file.write(good)
        for _ in range(200):
            file.write(b"\n" * (1 << 20))
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    assert carry_out(recipe)["documents_in"] == 1
    assert documents(run, "reason") == [(None,)]
