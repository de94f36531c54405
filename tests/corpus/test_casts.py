"""Columns read as another type: the same value in the output, in the view of the corpus and in conditions."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.commands import carry_out, command, refused
from support.corpora import PROSE, write_shard
from support.recipes import write_recipe
from support.runs import corpus_rows, documents, output

from curate.corpus.cast_sql import _database, cast_by_sql
from curate.corpus.casts import CASTS, cast_column, how_to_cast
from curate.errors import InputError

LONG = [f"{PROSE} {k}" for k in range(5)]
MOMENT = datetime(2024, 2, 29, 1, 2, 3, 120000)
NUMBERS = [2.0, 0.1, 1e20, 1e-7, 123456789012345680.0, -0.0, float("nan"), float("-inf"), None]
UUIDS = pa.array([UUID(int=2**127 + 1), None], pa.uuid())
JSONS = pa.array(['{"a": "\u00e9"}', None], pa.json_())
# One column for every scalar type that Parquet files hold, with values whose text is not plain.
SCALARS = {
    "bool": pa.array([True, False, None]),
    **{f"{sign}int{bits}": pa.array([0, 100, None], getattr(pa, f"{sign}int{bits}")())
       for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "largest": pa.array([2**64 - 1], pa.uint64()),
    "half": pa.array(np.array([2, 0.1, 65504], np.float16)),
    "float": pa.array(NUMBERS, pa.float32()),
    "double": pa.array(NUMBERS),
    "date32": pa.array([date(2024, 2, 29), date(1, 1, 1), date(9999, 12, 31)]),
    "date_beyond": pa.array([-719163, -800000, 2932897, 2**31 - 1], pa.int32()).cast(pa.date32()),
    "date64": pa.array([date(2024, 2, 29)], pa.date64()),
    **{f"timestamp_{unit}": pa.array([MOMENT.replace(microsecond=0), None], pa.timestamp(unit))
       for unit in ("s", "ms", "us", "ns")},
    "moment": pa.array([MOMENT], pa.timestamp("us")),
    "nanosecond": pa.array([1234567890123456789], pa.timestamp("ns")),
    "utc": pa.array([MOMENT.replace(tzinfo=UTC)], pa.timestamp("us", "UTC")),
    "berlin": pa.array([MOMENT.replace(tzinfo=UTC)], pa.timestamp("us", "Europe/Berlin")),
    "time32": pa.array([time(3, 4, 5)], pa.time32("ms")),
    "time64": pa.array([time(3, 4, 5, 120)], pa.time64("us")),
    "duration": pa.array([timedelta(days=1, seconds=3)], pa.duration("us")),
    "decimal": pa.array([Decimal("2.50"), Decimal("-1.25"), Decimal("3.24")], pa.decimal128(10, 2)),
    "fraction": pa.array([Decimal("0.11"), Decimal("-0.50")], pa.decimal128(2, 2)),
    "integral": pa.array([Decimal(2)], pa.decimal256(10, 0)),
    "string": pa.array(["é", ""]),
    "large_string": pa.array(["é"], pa.large_string()),
    "view": pa.array(["é"], pa.string_view()),
    "binary": pa.array(["é".encode()]),
    "fixed": pa.array([b"ab"], pa.binary(2)),
    "null": pa.nulls(2),
    "uuid": UUIDS,
    "json": pa.array(['{"a": [1, 2]}', None, '"1"', "null"], pa.json_()),
    "json_number": pa.array(["1", "0", "1.0"], pa.json_(pa.large_string())),
    "dictionary": pa.array([1.0, 2.5, 1.0]).dictionary_encode(),
    "number_text": pa.array(["1", "0", "1"]),
    "moment_text": pa.array(["2024-02-29", "2024-02-29 03", "2024-02-29T01:02:03.12"]),
}  # fmt: skip
NESTED = {
    "list": pa.array([[1.0, 1e20, None, float("nan")], None]),
    "struct": pa.array([{"a": MOMENT, "b": Decimal("1.50"), "c": b"\xff", "d": True}, None]),
    "zones": pa.array([[{"at": MOMENT.replace(tzinfo=UTC)}]], pa.list_(pa.struct([("at", pa.timestamp("us", "UTC"))]))),
    "map": pa.array([[("k", 1.0), ("l", None)]], pa.map_(pa.string(), pa.float64())),
    "uuid_list": pa.ListArray.from_arrays(pa.array([0, 2], pa.int32()), UUIDS),
    "json_list": pa.ListArray.from_arrays(pa.array([0, 2], pa.int32()), JSONS),
    "uuid_struct": pa.StructArray.from_arrays([UUIDS, JSONS], ["u", "j"]),
    "uuid_map": pa.MapArray.from_arrays(pa.array([0, 1, 2], pa.int32()), pa.array(["k", "l"]), UUIDS),
    "name \"{0}'": pa.array([{"a'\"{b": 1}]),
}
# What no column of that type holds a value of that could be read so.
NEVER = {("largest", "int64"), ("largest", "float64"), ("half", "int64"), ("half", "bool"), ("float", "int64"),
         ("double", "int64"), ("nanosecond", "timestamp"), ("date_beyond", "timestamp"), ("decimal", "int64"),
         ("fraction", "int64"), ("dictionary", "int64")}  # fmt: skip
TEXTS = {"string", "large_string", "view", "number_text", "moment_text", "json", "json_number"}
TEXT_CASTS = {("number_text", "int64"), ("number_text", "float64"), ("number_text", "bool"), ("json_number", "float64"),
              ("moment_text", "timestamp")}  # fmt: skip


def padded(values):
    """The values of a column, and null for the documents that are left."""
    more = 9 - len(values)
    values = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
    return pa.concat_arrays([values, pa.nulls(more, values.type)])


@pytest.mark.parametrize("how", CASTS)
def test_output_and_view_show_a_cast_of_any_type_alike(tmp_path, how):
    columns = {
        name: values for name, values in (SCALARS | NESTED).items()
        if how_to_cast(values.type, how) and (name, how) not in NEVER
        and (how == "string" or name not in TEXTS or (name, how) in TEXT_CASTS)
    }  # fmt: skip
    texts = [f"{PROSE} {k}" for k in range(9)]
    write_shard(tmp_path / "in" / "a.parquet", texts, **{name: padded(values) for name, values in columns.items()})
    source = {"paths": [str(tmp_path / "in")], "cast": dict.fromkeys(columns, how)}
    recipe, run = write_recipe(tmp_path, "", input=source, dedup={"exact": False})
    carry_out(recipe)
    written = output(run)
    with duckdb.connect(run / "run.duckdb", read_only=True) as connection:
        connection.execute("SET TimeZone = 'America/New_York'")
        for name in columns:
            assert written[name].type == CASTS[how]
            quoted = name.replace('"', '""')
            shown = connection.execute(f'SELECT input."{quoted}" FROM corpus ORDER BY row').fetchall()
            assert [str(value) for (value,) in shown] == [str(value) for value in written[name].to_pylist()], name
    assert len(columns) > 3


def test_strings_of_numbers_and_times_are_plain(tmp_path):
    columns = {name: padded(SCALARS[name])[:5] for name in ("double", "moment", "berlin", "time64", "fraction")}
    write_shard(tmp_path / "in" / "a.parquet", LONG, **columns)
    source = {"paths": [str(tmp_path / "in")], "cast": dict.fromkeys(columns, "string")}
    recipe, run = write_recipe(tmp_path, "", input=source, dedup={"exact": False})
    carry_out(recipe)
    written = output(run)
    assert written["double"].to_pylist() == ["2.0", "0.1", "1e+20", "1e-07", "1.2345678901234568e+17"]
    assert written["moment"][0].as_py() == "2024-02-29 01:02:03.12"
    assert written["berlin"][0].as_py() == "2024-02-29 01:02:03.12+00"
    assert written["time64"][0].as_py() == "03:04:05.00012"
    assert written["fraction"].to_pylist()[:2] == ["0.11", "-0.50"]


def test_files_with_other_types_of_a_column_that_is_cast_are_each_read_by_their_own(tmp_path):
    values = [pa.array([2]), pa.array([2.0]), pa.array(["two"]), pa.array([[2]]), pa.array([[2.0]])]
    for k, value in enumerate(values):
        write_shard(tmp_path / "in" / f"{k}.parquet", LONG[k : k + 1], score=value)
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe, "input.cast={score: string}")
    assert output(run)["score"].to_pylist() == ["2", "2.0", "two", "[2]", "[2.0]"]
    assert [value for (value,) in corpus_rows(run, "input.score")] == ["2", "2.0", "two", "[2]", "[2.0]"]


@pytest.mark.parametrize(
    ("column", "how", "hint"),
    [
        ("moment", "int64", "it can be read as string or timestamp"),
        ("int64", "timestamp", "it can be read as string or int64 or float64 or bool"),
        ("time64", "float64", "it can be read as string"),
        ("binary", "bool", "it can be read as string"),
        ("wide", "string", "leave it out by input.columns"),
    ],
)
def test_a_cast_that_no_value_survives_is_refused_before_anything_is_read(tmp_path, column, how, hint):
    wide = pa.array([Decimal(1)], pa.decimal256(50, 2))
    values = wide if column == "wide" else SCALARS[column][:1]
    path = write_shard(tmp_path / "a.parquet", LONG[:1], x=values)
    recipe, run = write_recipe(tmp_path, path)
    told = refused(recipe, InputError, f"input.cast={{x: {how}}}")
    assert told == f"{path}: input.cast: column 'x' of {values.type} cannot be read as {how}; {hint}"
    assert not list((run / "ledger").rglob("*.parquet"))


def parts(run):
    found = (run / "ledger" / "signals").rglob("*.parquet")
    return {path.relative_to(run / "ledger" / "signals"): path.stat().st_mtime_ns for path in found}


def test_a_cast_of_a_column_that_nothing_reads_measures_nothing_again(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", LONG, n=range(5), year=range(1999, 2004))
    rule = {"reason": "old", "when": "input.year < 2001"}
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": [rule]})
    carry_out(recipe)
    before = parts(run)
    planned = command("plan", recipe, "--set", "input.cast={n: string}").stdout
    assert "measured" not in planned
    carry_out(recipe, "input.cast={n: string}")
    assert parts(run) == before
    assert output(run)["n"].to_pylist() == ["2", "3", "4"]
    assert [n for (n,) in corpus_rows(run, "input.n")] == ["0", "1", "2", "3", "4"]
    done = command("what-if", run, "--set", "input.cast={n: float64}")
    assert done.returncode == 0, done.stderr


def test_a_cast_of_a_column_that_a_condition_reads_decides_anew_and_reads_that_column_alone(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", LONG, year=["1999", "201", "2001", "2003", None])
    rule = {"reason": "old", "when": "input.year < '2001'"}
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": [rule]})
    carry_out(recipe)
    assert [reason for (reason,) in documents(run, "reason")] == ["old", None, None, None, None]
    before = parts(run)
    told = command("what-if", run, "--set", "input.cast={year: int64}").stderr
    assert "input.cast: changes what is measured" in told
    rule["when"] = "input.year < 2001"
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": [rule]})
    carry_out(recipe, "input.cast={year: int64}")
    assert [reason for (reason,) in documents(run, "reason")] == ["old", "old", None, None, None]
    after = parts(run)
    changed = {path.parts[0] for path in before.keys() ^ after.keys()}
    assert changed == {"input"}, changed
    assert all(after[path] == before[path] for path in before.keys() & after.keys())


def test_a_cast_of_the_text_measures_it_again(tmp_path):
    columns = {"page": pa.array([[text, "The end."] for text in LONG])}
    write_shard(tmp_path / "in" / "a.parquet", LONG, **columns)
    recipe, run = write_recipe(tmp_path, "", input={"paths": [str(tmp_path / "in")], "text": "page"})
    carry_out(recipe)
    assert output(run)["page"][0].as_py() == f"{LONG[0]}\nThe end."
    bytes_of_lines = documents(run, "raw_n_bytes")
    carry_out(recipe, "input.cast={page: string}")
    assert output(run)["page"][0].as_py() == f'["{LONG[0]}","The end."]'
    assert documents(run, "raw_n_bytes") == [(size + 6,) for (size,) in bytes_of_lines]


@pytest.mark.parametrize(
    "name", ["bool", "int8", "uint8", "int64", "uint64", "largest", "date32", "date_beyond", "null"]
)
def test_values_that_arrow_casts_are_written_as_by_duckdb(name):
    values = SCALARS[name]
    how = how_to_cast(values.type, "string")
    by_sql = cast_by_sql(values, how, pa.string())
    assert cast_column(values, how).equals(by_sql)


def test_casts_of_threads_share_a_database_and_each_has_its_own_values():
    columns = [pa.array([k + 0.5] * 1000) for k in range(8)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda values: cast_column(values, "string of DOUBLE"), columns * 8))
    assert [texts.to_pylist() for texts in found] == [[f"{k}.5"] * 1000 for k in range(8)] * 8


def test_only_values_that_arrow_writes_otherwise_open_a_database_and_that_once(monkeypatch):
    opened = []
    connect = duckdb.connect
    monkeypatch.setattr(duckdb, "connect", lambda *given: opened.append(given) or connect(*given))
    _database.cache_clear()
    for name in ("bool", "int64", "largest", "date32", "string", "null"):
        cast_column(SCALARS[name], how_to_cast(SCALARS[name].type, "string"))
    assert not opened
    for name in ("double", "moment", "uuid", "double"):
        cast_column(SCALARS[name], how_to_cast(SCALARS[name].type, "string"))
    assert len(opened) == 1


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["Id", "id"], "SQL does not tell its fields 'Id' and 'id' apart"),
        (["id", "id"], "SQL does not tell its fields 'id' and 'id' apart"),
        (["a", ""], "it has a field without a name, which SQL does not know"),
    ],
)
@pytest.mark.parametrize("within", [lambda values: values, lambda values: pa.array([None], pa.list_(values.type))])
def test_structs_whose_fields_sql_does_not_know_are_refused_at_the_footer(tmp_path, names, reason, within):
    values = within(pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names))
    path = write_shard(tmp_path / "in" / "a.parquet", LONG[:1], x=values)
    kind = pq.read_schema(path).field("x").type
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    told = refused(recipe, InputError, "input.cast={x: string}")
    hint = f"{reason}; rename it, or leave it out by input.columns"
    assert told == f"{path}: input.cast: column 'x' of {kind} cannot be read as string; {hint}"
    write_shard(tmp_path / "in" / "b.parquet", LONG[1:2], x=["text"])
    told = refused(recipe, InputError)
    assert told.endswith(f"column 'x' holds string, and {kind} in {path.name}; leave it out by input.columns")
    carry_out(recipe, "input.columns=[text]")
    assert output(run).num_rows == 2


def test_names_of_fields_that_differ_in_case_beyond_ascii_are_known_to_sql():
    values = pa.array([{"\u00c9": 1, "\u00e9": 2, "K": 3, "\u212a": 4}])
    shown = cast_column(values, how_to_cast(values.type, "string"))
    assert shown.to_pylist() == ['{"\u00c9":1,"\u00e9":2,"K":3,"\u212a":4}']


@pytest.mark.parametrize("how", ["string", None])
def test_json_and_uuid_columns_of_duckdb_are_read_as_its_files_hold_them(tmp_path, how):
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "a.parquet"
    duckdb.execute(f"""
        COPY (SELECT '{LONG[0]}' AS text, '{{"a": 1}}'::JSON AS j, uuid() AS u, [uuid()] AS listed,
                     struct_pack(j := '[1, 2]'::JSON) AS held) TO '{path}'""")
    shown = duckdb.execute(f"SELECT u::VARCHAR, to_json(listed)::VARCHAR FROM '{path}'").fetchall()[0]
    write_shard(tmp_path / "in" / "b.parquet", LONG[1:2], j=["text"])
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    told = refused(recipe, InputError)
    assert told.endswith("give it one type by input.cast: {j: string}, or leave it out by input.columns")
    if how is None:
        carry_out(recipe, "input.cast={j: string}")
        assert output(run)["u"].type == pa.uuid()
        assert [str(value) for value in output(run)["u"].to_pylist()] == [shown[0], "None"]
    else:
        carry_out(recipe, "input.cast={j: string, u: string, listed: string, held: string}")
        found = [output(run)[name][0].as_py() for name in ("u", "listed", "held")]
        assert found == [*shown, '{"j":"[1, 2]"}']
        assert corpus_rows(run, "input.u, input.listed, input.held")[0] == tuple(found)
    assert output(run)["j"].to_pylist() == ['{"a": 1}', "text"]


def test_parquets_json_that_is_cast_can_be_the_text(tmp_path):
    values = pa.array([f'"{text}"' for text in LONG], pa.json_())
    write_shard(tmp_path / "in" / "a.parquet", LONG, j=values)
    recipe, run = write_recipe(tmp_path, "", input={"paths": [str(tmp_path / "in")], "text": "j"})
    carry_out(recipe, "input.cast={j: string}")
    assert output(run)["j"].to_pylist() == [f'"{text}"' for text in LONG]


def test_json_is_read_as_the_text_and_a_uuid_as_the_id_without_being_asked(tmp_path):
    path = tmp_path / "in.parquet"
    name = "'0a1b2c3d-0000-4000-8000-000000000001'::UUID"
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT {name} AS u, '\"{PROSE}\"'::JSON AS j) TO '{path}'")
    recipe, run = write_recipe(tmp_path, path)
    carry_out(recipe, "input.text=j", "input.id=u")
    found = pq.read_table(run / "data").select(["j", "u", "doc_id"]).to_pylist()
    name = "0a1b2c3d-0000-4000-8000-000000000001"
    assert found == [{"j": f'"{PROSE}"', "u": name, "doc_id": name}]
    assert documents(run, "doc_id, kept") == [(name, True)]
