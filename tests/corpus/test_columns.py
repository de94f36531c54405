"""Columns that fit no plain reading: read as what is meant, or refused with the field that would put it right."""

import json
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.commands import carry_out, command, refused
from support.corpora import PROSE, write_lines, write_shard
from support.recipes import write_recipe
from support.runs import corpus_rows, digests, documents, output

from curate.corpus.casts import cast_column, how_to_cast
from curate.corpus.columns import wider
from curate.errors import InputError, RecipeError

LONG = [f"{PROSE} {k}" for k in range(5)]
URLS = [f"https://example.org/{k}" for k in range(5)]


def write_table(path, columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


MEANT = [
    ({"id": ["a"] * 5, "content": LONG}, "content"),
    ({"id": URLS, "url": URLS, "Body": LONG}, "Body"),
    ({"url": URLS * 1, "title": ["short"] * 5, "extract": LONG}, "extract"),
    ({"id": list(range(5)), "txet": LONG}, "txet"),
    ({"id": URLS, "doc": [{"text": text, "n": 1} for text in LONG]}, "doc.text"),
    ({"id": URLS, "paragraphs": [[text, text] for text in LONG]}, "paragraphs"),
    ({"id": URLS, "content": [text.encode() for text in LONG]}, "content"),
    ({"content": [""] * 5, "page": LONG}, "page"),
]


@pytest.mark.parametrize(
    ("columns", "hint"),
    [
        *((columns, f"set input.text: {name}") for columns, name in MEANT),
        ({"id": URLS, "url": URLS}, "no column looks like the text of documents: set input.text to the one that is"),
    ],
)
def test_the_column_that_is_meant_is_named(tmp_path, columns, hint):
    write_table(tmp_path / "in" / "a.parquet", columns)
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    message = refused(recipe, InputError)
    assert message.endswith(f"no column 'text' (has: {', '.join(columns)}); {hint}")


def test_the_columns_that_are_meant_work(tmp_path):
    paths = [write_table(tmp_path / f"{k}.parquet", columns) for k, (columns, _) in enumerate(MEANT)]
    entries = [{"paths": [str(path)], "text": name} for path, (_, name) in zip(paths, MEANT, strict=True)]
    source = {"paths": entries, "columns": []}
    recipe, run = write_recipe(tmp_path, "", input=source, dedup={"exact": False})
    carry_out(recipe)
    counts = [n_words for (n_words,) in documents(run, "n_words")]
    assert len(counts) == 5 * len(MEANT)
    assert min(counts) >= len(PROSE.split())


def test_one_odd_file_gets_an_entry_of_its_own_that_works(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", LONG)
    odd = write_table(tmp_path / "in" / "b.parquet", {"id": URLS, "content": [f"{text} b" for text in LONG]})
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    message = refused(recipe, InputError)
    entry = f'{{paths: ["{odd}"], text: content}}'
    assert message == (
        f"{odd}: no column 'text' (has: id, content), which other files have; "
        f"give this one an entry of its own in input.paths: {entry}"
    )
    carry_out(recipe, f"input.paths=[{entry}, {tmp_path / 'in'}]")
    assert len(documents(run)) == 10


@pytest.mark.parametrize(
    ("changes", "columns", "problem"),
    [
        ({"id": "uid"}, {"text": LONG, "uuid": URLS}, "no column 'uid' (has: text, uuid); set input.id: uuid"),
        ({"id": "no"}, {"text": LONG, "id": URLS}, "no column 'no' (has: text, id); set input.id: id"),
        ({"id": "no"}, {"text": LONG, "n": [1] * 5},
         "no column 'no' (has: text, n); leave input.id out: doc_id is then a hash of the text"),
        ({"text": "doc"}, {"doc": [{"text": text, "n": 1} for text in LONG]},
         "column 'doc' holds struct<text: string, n: int64>, not strings; set input.text: doc.text"),
        ({"text": "doc.txt"}, {"doc": [{"text": text} for text in LONG]},
         "no column 'doc.txt' (has: doc); set input.text: doc.text"),
        ({"messages": "chat"}, {"talk": [[{"role": "user", "content": "x"}]] * 5},
         "no column 'chat' (has: talk); set input.messages: talk"),
    ],
)  # fmt: skip
def test_every_hint_leads_on(tmp_path, changes, columns, problem):
    path = write_table(tmp_path / "in" / "a.parquet", columns)
    recipe, _ = write_recipe(tmp_path, "", input={"paths": [str(path)], **changes})
    assert refused(recipe, InputError) == f"{path}: {problem}"


def test_a_field_within_structs_is_the_text_and_stands_nowhere_else(tmp_path):
    docs = [{"text": f"{text} me@firm.com", "at": {"page": k}} for k, text in enumerate(LONG)]
    docs += [None, {"text": None, "at": None}]
    write_table(tmp_path / "in" / "a.parquet", {"k": range(7), "doc": docs})
    write_lines(tmp_path / "in" / "b.jsonl", [{"k": 7, "doc": {"text": f"{PROSE} lines", "at": {"page": 9}}}])
    entries = [{"paths": [str(tmp_path / "in")], "text": "doc.text"}]
    recipe, run = write_recipe(tmp_path, "", input={"paths": entries}, tier1={"pii": "redact"})
    carry_out(recipe)
    assert [reason for (reason,) in documents(run, "reason")] == [None] * 5 + ["empty_text"] * 2 + [None]
    table = output(run)
    assert table.schema.names[:3] == ["k", "doc", "text"]
    assert table["doc"].to_pylist() == [{"at": {"page": k}} for k in (0, 1, 2, 3, 4, 9)]
    assert "me@firm.com" not in str(table.to_pylist())
    assert corpus_rows(run, "input.text, input.doc.at.page")[7] == (f"{PROSE} lines", 9)
    assert command("verify", run, "--inputs").returncode == 0
    carry_out(recipe, f"input.paths=[{tmp_path / 'in'}]", "input.text=doc.text")
    assert output(run)["doc.text"].to_pylist() == table["text"].to_pylist()


def test_bytes_are_read_as_utf8_and_what_is_none_is_a_row_with_a_reason(tmp_path):
    values = [PROSE.encode(), None, b"caf\xe9", f"{PROSE} é".encode()]
    kinds = (pa.binary(), pa.large_binary(), pa.binary_view(), pa.dictionary(pa.int32(), pa.binary()))
    for k, kind in enumerate(kinds):
        array = pa.array(values, pa.binary()).dictionary_encode() if pa.types.is_dictionary(kind) else values
        write_table(tmp_path / "in" / f"{k}.parquet", {"text": pa.array(array, kind) if array is values else array})
    recipe, run = write_recipe(tmp_path, tmp_path / "in", dedup={"exact": False})
    carry_out(recipe)
    assert [reason for (reason,) in documents(run, "reason")] == [None, "empty_text", "invalid_utf8", None] * 4
    assert output(run)["text"].to_pylist() == [PROSE, f"{PROSE} é"] * 4
    assert corpus_rows(run, "input.text")[:4] == [(PROSE,), (None,), (None,), (f"{PROSE} é",)]
    assert command("verify", run, "--inputs").returncode == 0


def test_lists_of_strings_are_a_text_with_a_line_for_each(tmp_path):
    values = [[PROSE, "second"], None, [], ["a", None, "b"]]
    for k, kind in enumerate((pa.list_(pa.string()), pa.large_list(pa.large_string()))):
        write_table(tmp_path / "in" / f"{k}.parquet", {"text": pa.array(values, kind)})
    recipe, run = write_recipe(tmp_path, tmp_path / "in", dedup={"exact": False})
    carry_out(recipe)
    assert output(run)["text"].to_pylist() == [f"{PROSE}\nsecond", "a\n\nb"] * 2
    assert [reason for (reason,) in documents(run, "reason")] == [None, "empty_text", "empty_text", None] * 2
    assert corpus_rows(run, "input.text")[0] == (f"{PROSE}\nsecond",)
    assert command("verify", run, "--inputs").returncode == 0


DIFFERENT = [
    (pa.array([1, 2], pa.int32()), pa.array([2**40, None], pa.int64()), pa.int64()),
    (pa.array(["a", "b"]), pa.array(["a", "b"]).dictionary_encode(), pa.string()),
    (pa.nulls(2), pa.array([{"a": 1}, None]), pa.struct([("a", pa.int64())])),
    (pa.array([1, 2], pa.int32()), pa.array([0.5, None]), pa.float64()),
    (pa.array([["a"], []]), pa.array([[], []], pa.list_(pa.null())), pa.list_(pa.string())),
    (pa.array([1, 2], pa.uint8()), pa.array([-1, 1], pa.int8()), pa.int16()),
    (
        pa.array([{"a": 1, "b": "x"}, None], pa.struct([("a", pa.int32()), ("b", pa.string())])),
        pa.array([{"a": 0.5, "b": None}] * 2),
        pa.struct([("a", pa.float64()), ("b", pa.string())]),
    ),
    (pa.array([[1], None], pa.list_(pa.int16())), pa.array([[2**40], []]), pa.list_(pa.int64())),
]


def test_types_are_unified_where_that_loses_nothing(tmp_path):
    first, second = ({f"x{k}": pair[n] for k, pair in enumerate(DIFFERENT)} for n in (0, 1))
    write_shard(tmp_path / "in" / "a.parquet", LONG[:2], **first)
    write_shard(tmp_path / "in" / "b.parquet", LONG[2:4], **second)
    for names, parts in (("ab", (first, second)), ("ba", (second, first))):
        paths = [str(tmp_path / "in" / f"{name}.parquet") for name in names]
        recipe, run = write_recipe(tmp_path, "", input={"paths": paths})
        carry_out(recipe)
        table = output(run)
        for k, (_, _, kind) in enumerate(DIFFERENT):
            assert table.schema.field(f"x{k}").type == kind
            assert table[f"x{k}"].to_pylist() == [value for part in parts for value in part[f"x{k}"].to_pylist()]


def struct(kind):
    return pa.struct([("x", kind)])


CONTRADICTING = [
    (struct(pa.int64()), struct(pa.float64())),
    (pa.list_(pa.int64()), pa.list_(pa.float64())),
    (pa.large_list(struct(pa.int64())), pa.list_(struct(pa.float64()))),
    (pa.map_(pa.string(), pa.int64()), pa.map_(pa.string(), pa.float64())),
    (pa.int64(), pa.uint64()),
    (pa.list_(pa.int8()), pa.list_(pa.uint64())),
    (pa.int64(), pa.decimal128(10, 2)),
    (struct(pa.float64()), struct(pa.decimal128(10, 2))),
]


def test_types_that_cannot_hold_each_others_values_are_refused_at_any_depth(tmp_path):
    for k, (first, second) in enumerate(CONTRADICTING):
        assert wider(first, second, False) is None
        assert wider(second, first, False) is None
        write_shard(tmp_path / str(k) / "a.parquet", LONG[:1], meta=pa.nulls(1, first))
        write_shard(tmp_path / str(k) / "b.parquet", LONG[1:2], meta=pa.nulls(1, second))
        recipe, _ = write_recipe(tmp_path, tmp_path / str(k))
        message = refused(recipe, InputError)
        assert "b.parquet: column 'meta' holds" in message
        assert "input.cast: {meta: string}" in message
    recipe, run = write_recipe(tmp_path, tmp_path / "*" / "*.parquet")
    carry_out(recipe, "input.cast={meta: string}", "dedup.exact=false")
    assert output(run)["meta"].to_pylist() == [None, None] * len(CONTRADICTING)


def test_widening_keeps_names_and_nullability_of_inner_fields():
    one = pa.list_(pa.field("element", pa.struct([pa.field("a", pa.int32(), nullable=False)]), nullable=False))
    two = pa.list_(
        pa.field("element", pa.struct([pa.field("a", pa.int64(), nullable=False), ("b", pa.string())]), nullable=False)
    )
    found = wider(one, two, False)
    assert found.value_field.equals(two.value_field)
    assert wider(pa.decimal128(5, 2), pa.int8(), False) == pa.decimal128(5, 2)
    assert wider(pa.timestamp("s"), pa.timestamp("us"), False) == pa.timestamp("us")


def test_types_that_contradict_name_both_files_and_both_ways_out_work(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", LONG[:1], n=[1])
    write_shard(tmp_path / "in" / "b.parquet", LONG[1:2], score=pa.array([1]))
    write_shard(tmp_path / "in" / "c.parquet", LONG[2:3], score=pa.array(["high"]))
    write_lines(tmp_path / "in" / "d.jsonl", [{"text": LONG[3], "score": {"a": [1, "é"]}}])
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    assert refused(recipe, InputError) == (
        "c.parquet: column 'score' holds string, and int64 in b.parquet; give it one type by "
        "input.cast: {score: string}, or leave it out by input.columns"
    )
    carry_out(recipe, "input.cast={score: string}")
    assert output(run)["score"].to_pylist() == [None, "1", "high", '{"a": [1, "é"]}']
    assert corpus_rows(run, "input.score")[:3] == [(None,), ("1",), ("high",)]
    assert command("verify", run, "--inputs").returncode == 0
    carry_out(recipe, "input.columns=[n]")
    assert output(run).schema.names == ["text", "n", "doc_id", "n_tokens"]
    assert corpus_rows(run, "input")[0] == ({"text": LONG[0], "n": 1},)


def test_the_view_of_the_corpus_shows_nested_columns_as_they_are_measured_and_written(tmp_path):
    lines = [[LONG[0], None, "The end."], [None, LONG[1]], [LONG[2]]]
    meta = [{"a": 0, "b": ["x", None], "c": 2.5}, {"a": None, "b": [], "c": None}, None]
    write_table(tmp_path / "in" / "a.parquet", {"text": lines, "meta": meta, "n": [1, None, 3]})
    recipe, run = write_recipe(tmp_path, tmp_path / "in", dedup={"exact": False})
    carry_out(recipe, "input.cast={meta: string, n: string}")
    written = output(run)
    assert written["text"][0].as_py() == f"{LONG[0]}\n\nThe end."
    assert written["meta"][0].as_py() == '{"a":0,"b":["x",null],"c":2.5}'
    for name in ("text", "meta", "n"):
        assert [value for (value,) in corpus_rows(run, f"input.{name}")] == written[name].to_pylist()


def test_json_of_odd_values_is_json():
    values = pa.array([{"a": math.nan, "b": b"\xff", "c": b"ok"}])
    text = cast_column(values, how_to_cast(values.type, "string"))[0].as_py()
    assert json.loads(text, parse_constant=pytest.fail) == {"a": None, "b": "/w==", "c": "ok"}


def test_a_cast_is_of_what_is_measured_and_judged(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", LONG, year=["1999", "2001", None, "2003", "2004"])
    rule = {"reason": "old", "when": "input.year < 2002"}
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": [rule]}, input={
        "paths": [str(tmp_path / "in")], "cast": {"year": "int64"}})  # fmt: skip
    carry_out(recipe)
    assert [reason for (reason,) in documents(run, "reason")] == ["old", "old", None, None, None]
    assert output(run)["year"].to_pylist() == [None, 2003, 2004]
    before = digests(run)
    rule["when"] = "input.year < '2002'"
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": [rule]})
    carry_out(recipe)
    assert output(run)["year"].to_pylist() == [None, "2003", "2004"]
    assert digests(run) != before


def test_a_value_that_a_cast_cannot_read_names_file_and_column_and_not_the_value(tmp_path):
    path = write_shard(tmp_path / "in" / "a.parquet", LONG[:1], year=["secret"])
    rule = {"reason": "old", "when": "input.year < 2002"}
    source = {"paths": [str(path)], "cast": {"year": "int64"}}
    recipe, _ = write_recipe(tmp_path, "", tier1={"rules": [rule]}, input=source)
    assert refused(recipe, InputError) == f"{path}: column 'year' of string cannot be read as int64; see input.cast"


def test_columns_are_those_that_rules_may_name(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", LONG, url=URLS, n=range(5))
    rule = {"reason": "small", "when": "input.n < 2"}
    source = {"paths": [str(tmp_path / "in")], "columns": ["url"]}
    recipe, run = write_recipe(tmp_path, "", tier1={"rules": [rule]}, input=source)
    assert refused(recipe, RecipeError) == "the recipe names a column 'n' that input.columns does not; add it there"
    carry_out(recipe, "input.columns=[n]", "input.id=url")
    assert output(run).schema.names == ["text", "url", "n", "doc_id", "n_tokens"]
    assert refused(recipe, RecipeError, "input.columns=[m, n]") == (
        "input.columns: no file has a column 'm' (known: n, text)"
    )
    carry_out(recipe, "input.columns=[]", "tier1.rules=[]")
    assert output(run).schema.names == ["text", "doc_id", "n_tokens"]


def test_choosing_columns_measures_nothing_again(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", LONG, url=URLS)
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    parts = {path: path.stat().st_mtime_ns for path in (run / "ledger" / "signals").rglob("*.parquet")}
    carry_out(recipe, "input.columns=[]")
    assert {path: path.stat().st_mtime_ns for path in (run / "ledger" / "signals").rglob("*.parquet")} == parts
    assert output(run).schema.names == ["text", "doc_id", "n_tokens"]


def test_an_entry_has_its_own_id(tmp_path):
    a = write_shard(tmp_path / "a.parquet", LONG[:2], uuid=["u0", "u1"])
    b = write_shard(tmp_path / "b.parquet", LONG[2:4], id=["i0", "i1"])
    entries = [{"paths": [str(a)], "id": "uuid"}, str(b)]
    recipe, run = write_recipe(tmp_path, "", input={"paths": entries, "id": "id"})
    carry_out(recipe)
    assert [doc_id for (doc_id,) in documents(run, "doc_id")] == ["u0", "u1", "i0", "i1"]
    assert output(run)["id"].to_pylist() == ["u0", "u1", "i0", "i1"]
    assert corpus_rows(run, "input.id")[0] == ("u0",)
    recipe, _ = write_recipe(tmp_path, "", input={"paths": entries})
    with pytest.raises(RecipeError, match=r"an entry has an `id`; set input.id too, the name that the column has in"):
        carry_out(recipe)
    entries[0]["id"] = "uid"
    recipe, _ = write_recipe(tmp_path, "", input={"paths": entries, "id": "id"})
    assert refused(recipe, InputError) == f"{a}: no column 'uid' (has: text, uuid); set `id: uuid` in its entry"


def test_a_cast_is_one_of_those_there_are_and_of_a_column_there_is(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", LONG)
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    assert "input.cast: no file has a column 'year'" in refused(recipe, RecipeError, "input.cast={year: int64}")
    assert "input.cast.year" in refused(recipe, RecipeError, "input.cast={year: integer}")


def test_what_if_knows_casts_and_columns(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", LONG, n=range(5))
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    assert "input.cast: changes what is measured" in command("what-if", run, "--set", "input.cast={text: bool}").stderr
    done = command("what-if", run, "--set", "input.columns=[]", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["totals"]["changed_documents"] == 0
