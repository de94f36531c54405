"""Every kind of input becomes the same documents, and what does not fit is named."""

import gzip
import json

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from support.commands import carry_out, command
from support.corpora import PROSE, SAMPLE, write_lines, write_shard
from support.recipes import write_recipe
from support.runs import corpus_rows, digests, documents, output
from support.soak import repeats

from curate.errors import InputError, RecipeError
from curate.ledger.run import connect

ROWS = [{"text": f"{PROSE} {k}", "url": f"https://example.org/{k}", "n": k} for k in range(20)]


@pytest.mark.parametrize(("ending", "codec"), [(".jsonl", None), (".jsonl.gz", "gzip"), (".jsonl.zst", "zstd")])
def test_json_lines_give_what_the_same_rows_give_as_parquet(tmp_path, ending, codec):
    write_lines(tmp_path / "lines" / f"a{ending}", ROWS, codec)
    write_shard(tmp_path / "parquet" / "a.parquet", [row["text"] for row in ROWS],
                url=[row["url"] for row in ROWS], n=[row["n"] for row in ROWS])  # fmt: skip
    outputs = []
    for name in ("lines", "parquet"):
        (tmp_path / f"of-{name}").mkdir()
        recipe, run = write_recipe(tmp_path / f"of-{name}", tmp_path / name)
        assert carry_out(recipe)["documents_in"] == 20
        outputs.append(output(run))
        assert documents(run, "file, row")[3] == (f"a{ending}" if name == "lines" else "a.parquet", 3)
        assert corpus_rows(run, "input.n, input.url")[7] == (7, "https://example.org/7")
        assert command("verify", run, "--inputs").returncode == 0
    assert outputs[0].equals(outputs[1])


def test_what_a_killed_conversion_left_half_written_is_removed(tmp_path):
    write_lines(tmp_path / "in" / "a.jsonl", ROWS)
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    (run / "inputs" / ".aside-1-x.parquet-0").write_bytes(b"PAR1")
    carry_out(recipe)
    assert [p.suffix for p in (run / "inputs").iterdir()] == [".parquet"]


def test_json_lines_are_converted_once_and_again_when_they_change(tmp_path):
    path = write_lines(tmp_path / "in" / "a.jsonl", ROWS)
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    before, bytes_before = {p.name: p.stat().st_mtime_ns for p in (run / "inputs").iterdir()}, digests(run)
    carry_out(recipe)
    assert {p.name: p.stat().st_mtime_ns for p in (run / "inputs").iterdir()} == before
    assert digests(run) == bytes_before
    write_lines(path, ROWS[:19])
    assert carry_out(recipe)["documents_in"] == 19


def test_columns_of_several_kinds_and_text_like_times_stay_what_they_were(tmp_path):
    rows = [
        {"text": PROSE, "mixed": "a", "at": "2024-01-01 00:00:00", "n": 1, "big": 2**63},
        {"text": PROSE + " 2", "mixed": [1, {"b": None}], "at": None, "n": 2.5, "big": 1},
        f'{{"text": "{PROSE} 3", "mixed": {{"c": "é"}}, "n": NaN}}\n',
        "\n",
    ]
    write_lines(tmp_path / "in" / "a.jsonl", rows)
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    table = output(run)
    assert table["mixed"].to_pylist() == ["a", '[1, {"b": null}]', '{"c": "é"}']
    assert table["at"].to_pylist()[0] == "2024-01-01 00:00:00"
    assert table["big"].to_pylist() == [str(2**63), "1", None]  # wider than any integer type that suits both
    assert table["n"].to_pylist()[:2] == [1, 2.5]


def test_types_may_widen_from_block_to_block(tmp_path, monkeypatch):
    monkeypatch.setattr("curate.corpus.jsonl.BLOCK_BYTES", 3000)
    rows = [{"text": f"{PROSE} {k}", "n": k if k < 10 else k + 0.5, "m": None if k < 15 else {"deep": [k]}}
            for k in range(20)]  # fmt: skip
    write_lines(tmp_path / "in" / "a.jsonl", rows)
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    assert output(run)["n"].to_pylist() == [row["n"] for row in rows]
    assert output(run)["m"].to_pylist() == [row["m"] for row in rows]
    assert [p.suffix for p in (run / "inputs").iterdir()] == [".parquet"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"text": "cut o', "a.jsonl: line 21 is not JSON"),
        ("[1, 2]\n", "a.jsonl: line 21 is not a JSON object but a list"),
        ("plain text\n", "a.jsonl: line 21 is not JSON"),
        ('{"text": "one"} {"text": "two"}\n', "a.jsonl: line 21 is not JSON: Extra data"),
        ('{"text":\n"on two lines"}\n', "a.jsonl: line 21 is not JSON"),
        ('{"text": "x", "caf\udce9": 1}\n', "a.jsonl: line 21 has a key that is not UTF-8"),
        ('{"text": "x", "m": ' + "[" * 2000 + "]" * 2000 + "}\n", "a.jsonl: line 21 is nested too deeply"),
    ],
    ids=["cut", "list", "text", "two", "half", "key", "deep"],
)
def test_a_broken_line_is_named_or_quarantined_alone(tmp_path, line, problem):
    write_lines(tmp_path / "in" / "a.jsonl", [*ROWS, line])
    write_lines(tmp_path / "in" / "b.jsonl", [{"text": f"{PROSE} b"}])
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    with pytest.raises(InputError) as told:
        carry_out(recipe)
    assert problem in str(told.value)
    assert "\n" not in str(told.value)
    summary = carry_out(recipe, "on_error=quarantine")
    bad = 2 if line.count("\n") == 2 else 1
    assert (summary["quarantined"], summary["bad_lines"], summary["documents_in"]) == ([], {"a.jsonl": bad}, 21)
    with connect(run) as connection:
        told_of = connection.execute(
            "SELECT file, documents, bad_lines, error FROM inputs ORDER BY position"
        ).fetchall()
    assert told_of == [("a.jsonl", 20, bad, None), ("b.jsonl", 1, 0, None)]
    assert [file.get("bad_lines") for file in json.loads((run / "manifest.json").read_text())["inputs"]] == [bad, None]
    assert command("verify", run, "--inputs").returncode == 0
    with pytest.raises(InputError) as again:  # the file that was converted leniently is not taken for a whole one
        carry_out(recipe)
    assert str(again.value) == str(told.value)


def test_bad_lines_are_counted_wherever_they_stand_and_change_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr("curate.corpus.jsonl.BLOCK_BYTES", 3000)
    rows = [{"text": f"{PROSE} {k}", "n": k if k < 10 else k + 0.5, "m": None if k < 15 else [k]} for k in range(20)]
    write_lines(tmp_path / "good" / "a.jsonl", rows)
    mixed = [line for k, row in enumerate(rows) for line in (["\n", "no JSON\n"] * (k % 3 == 0) + [row])]
    write_lines(tmp_path / "bad" / "a.jsonl", [*mixed, "[1]\n", '{"text": "cut o'])
    outputs = []
    for name in ("good", "bad"):
        recipe, run = write_recipe(tmp_path / name, tmp_path / name / "a.jsonl", on_error="quarantine")
        done = command("run", recipe)
        assert done.returncode == 0, done.stderr
        outputs.append(output(run))
    assert outputs[0].equals(outputs[1])
    first = f"{tmp_path}/bad/a.jsonl: line 2 is not JSON: Expecting value: line 1 column 1 (char 0)"
    assert f"quarantined: {first}; it and 8 more lines are left out" in done.stderr
    assert "quarantined: 9 lines of a.jsonl (the first: run.log)\n" in done.stdout
    event = next(json.loads(line) for line in (run / "run.log").open() if '"quarantined_lines"' in line)
    assert [problem.split(" is ")[0] for problem in event["first"]][:3] == ["line 2", "line 7", "line 12"]
    assert event["lines"] == 9


def test_a_file_without_one_good_line_is_quarantined_as_a_file(tmp_path):
    write_lines(tmp_path / "in" / "a.jsonl", ROWS)
    write_lines(tmp_path / "in" / "b.jsonl", ["one\n", "two\n"])
    recipe, run = write_recipe(tmp_path, tmp_path / "in", on_error="quarantine")
    summary = carry_out(recipe)
    assert (summary["quarantined"], summary["bad_lines"], summary["documents_in"]) == (["b.jsonl"], {}, 20)
    problem = json.loads((run / "manifest.json").read_text())["inputs"][1]["error"]
    assert problem.startswith("b.jsonl: line 1 is not JSON: ")
    assert problem.endswith("; no line of this file is a JSON object")


def test_json_lines_without_a_line_have_no_documents_and_are_no_error(tmp_path):
    write_lines(tmp_path / "in" / "a.jsonl", ["\n", "\n"])
    write_lines(tmp_path / "in" / "b.jsonl.gz", [], "gzip")
    write_lines(tmp_path / "in" / "c.jsonl", ROWS)
    recipe, run = write_recipe(tmp_path, "", input={"paths": [{"paths": [str(tmp_path / "in")], "license": "CC0"}]})
    assert carry_out(recipe)["documents_in"] == 20
    assert {license for (license,) in corpus_rows(run, "input.license")} == {"CC0"}
    (tmp_path / "in" / "c.jsonl").write_text("")
    with pytest.raises(InputError, match="no documents in the 3 file"):
        carry_out(recipe)
    (tmp_path / "in" / "c.jsonl").write_text("{}\n{}\n")
    with pytest.raises(InputError, match="line 1 and those behind it hold empty objects only"):
        carry_out(recipe)


def test_a_truncated_gzip_file_is_named(tmp_path):
    path = write_lines(tmp_path / "in" / "a.jsonl.gz", ROWS, "gzip")
    path.write_bytes(path.read_bytes()[:-30])
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    with pytest.raises(InputError, match=r"a\.jsonl\.gz: cannot be read: Truncated"):
        carry_out(recipe)


def test_text_of_json_lines_that_is_no_utf8_is_a_row_with_a_reason(tmp_path):
    write_lines(tmp_path / "in" / "a.jsonl", ROWS)
    with (tmp_path / "in" / "a.jsonl").open("ab") as file:
        file.write(b'{"text": "caf\xe9"}\n{"text": "\\ud83d half"}\n{"text": null}\n{"url": "no text"}\n')
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    reasons = [reason for (reason,) in documents(run, "reason")]
    assert reasons[20:] == ["invalid_utf8", "invalid_utf8", "empty_text", "empty_text"]


def test_several_inputs_bring_their_own_text_column_source_and_licence(tmp_path):
    write_shard(tmp_path / "web" / "a.parquet", [PROSE], url=["https://example.org"])
    pq.write_table(pa.table({"content": [PROSE + " book"], "pages": [7]}), tmp_path / "books.parquet")
    write_lines(tmp_path / "talk.jsonl", [{"body": PROSE + " talk", "pages": 1.0}])
    paths = [
        {"paths": [str(tmp_path / "web")], "source": "web", "license": "CC0"},
        {"paths": [str(tmp_path / "books.parquet")], "text": "content", "source": "books"},
        {"paths": [str(tmp_path / "talk.jsonl")], "text": "body"},
    ]
    recipe, run = write_recipe(tmp_path, "", input={"paths": paths, "strata": ["source"]})
    with pytest.raises(
        InputError,
        match=r"talk\.jsonl: column 'pages' holds double, and int64 in books\.parquet; give it one",
    ):
        carry_out(recipe)
    write_lines(tmp_path / "talk.jsonl", [{"body": PROSE + " talk", "pages": 1}])
    carry_out(recipe)
    table = output(run)
    assert table.schema.names == ["text", "url", "source", "license", "pages", "doc_id", "n_tokens"]
    assert table["text"].to_pylist() == [PROSE, PROSE + " book", PROSE + " talk"]
    assert table["source"].to_pylist() == ["web", "books", None]
    assert table["license"].to_pylist() == ["CC0", None, None]
    assert corpus_rows(run, "input.source, input.pages, input.url") == [
        ("books", 7, None), (None, 1, None), ("web", None, "https://example.org"),
    ]  # fmt: skip
    assert command("verify", run, "--inputs").returncode == 0
    manifest = json.loads((run / "manifest.json").read_text())
    assert [(file.get("source"), file.get("license")) for file in manifest["inputs"]] == [
        ("web", "CC0"), ("books", None), (None, None),
    ]  # fmt: skip


def test_another_text_column_of_an_entry_is_measured_anew(tmp_path):
    pq.write_table(pa.table({"a": [PROSE], "b": ["short"]}), tmp_path / "x.parquet")
    for column, kept in (("a", True), ("b", False), ("a", True)):
        paths = [{"paths": [str(tmp_path / "x.parquet")], "text": column}]
        rule = {"reason": "short", "signal": "n_words", "min": 5}
        recipe, run = write_recipe(tmp_path, "", input={"paths": paths}, tier1={"rules": [rule]}, allow_empty=True)
        carry_out(recipe)
        assert documents(run, "kept") == [(kept,)]


def test_the_text_of_an_entry_may_be_the_id_under_the_name_it_has_in_the_corpus(tmp_path):
    path = str(write_shard(tmp_path / "a.parquet", ["x"], b=[PROSE]))
    recipe, run = write_recipe(tmp_path, "", input={"paths": [{"paths": [path], "text": "b"}], "text": "c", "id": "c"})
    carry_out(recipe)
    assert documents(run, "doc_id") == [(PROSE,)]


def test_an_error_about_a_column_of_json_lines_names_the_place_of_their_file(tmp_path):
    path = write_lines(tmp_path / "in" / "a.jsonl", [{"content": PROSE}])
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    with pytest.raises(InputError) as told:
        carry_out(recipe)
    assert str(told.value) == f"{path}: no column 'text' (has: content); set input.text: content"


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"text": "b"}, "has a column 'text' beside 'b'; rename one, or set input.text: b"),
        ({"source": "web"}, "has a column 'source' of its own; leave `source` out of its entry"),
        ({"text": "c"}, "no column 'c' (has: text, b, source); set `text: text` in its entry"),
        ({"text": "b", "in": {"text": "c", "id": "b"}}, "column 'b' is called 'c' in the corpus; set input.id: c"),
        ({"text": "b", "license": "CC0", "in": {"text": "license"}}, "has a column 'license' of its own; leave"),
    ],
)
def test_an_entry_that_does_not_fit_its_file_is_refused(tmp_path, entry, problem):
    path = str(write_shard(tmp_path / "a.parquet", [PROSE], b=["x"], source=["y"]))
    more = entry.get("in", {})
    entry = {name: value for name, value in entry.items() if name != "in"}
    recipe, _ = write_recipe(tmp_path, "", input={"paths": [{"paths": [path], **entry}], **more})
    with pytest.raises(InputError) as told:
        carry_out(recipe)
    assert problem in str(told.value)


CHATS = [
    [{"role": "user", "content": PROSE}, {"role": "assistant", "content": "It is a fox."}],
    [{"role": "user", "content": "hi"}, {"role": "assistant", "content": None}],
    [],
    None,
]


@pytest.mark.parametrize("ending", [".parquet", ".jsonl"])
def test_messages_are_measured_as_text_and_come_out_unchanged(tmp_path, ending):
    (tmp_path / "in").mkdir()
    if ending == ".parquet":
        pq.write_table(pa.table({"chat": CHATS, "k": range(4)}), tmp_path / "in" / "a.parquet")
    else:
        write_lines(tmp_path / "in" / "a.jsonl", [{"chat": chat, "k": k} for k, chat in enumerate(CHATS)])
    rules = [{"reason": "short", "signal": "n_words", "min": 3}]
    recipe, run = write_recipe(
        tmp_path, "", input={"paths": [str(tmp_path / "in")], "messages": "chat"}, tier1={"rules": rules}
    )
    carry_out(recipe)
    assert documents(run, "reason, raw_n_bytes") == [
        (None, len(PROSE) + 2 + len("It is a fox.")), ("short", 4), ("empty_text", 0), ("empty_text", 0),
    ]  # fmt: skip
    table = output(run)
    assert table["chat"].to_pylist() == CHATS[:1]
    assert "text" not in table.schema.names
    assert corpus_rows(run, "input.chat[2].content")[0] == ("It is a fox.",)
    assert command("verify", run, "--inputs").returncode == 0


def test_where_only_chats_are_the_error_says_how_to_read_them(tmp_path):
    write_lines(tmp_path / "in" / "a.jsonl", [{"chat": CHATS[0]}])
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    with pytest.raises(InputError, match=r"no column 'text' \(has: chat\); set input.messages: chat$"):
        carry_out(recipe)


def test_rule_sets_that_cut_lines_are_refused_for_messages(tmp_path):
    pq.write_table(pa.table({"chat": CHATS}), tmp_path / "a.parquet")
    source = {"paths": [str(tmp_path / "a.parquet")], "messages": "chat"}
    recipe, _ = write_recipe(tmp_path, "", input=source, tier1={"rules": ["gopher", "c4"]})
    with pytest.raises(RecipeError, match=r"tier1\.rules: c4 cuts lines, and chats .* come out unchanged; remove it"):
        carry_out(recipe)


@pytest.mark.parametrize("codec", [None, "gzip"])
def test_a_plan_of_json_lines_reads_their_beginning_and_writes_nothing(tmp_path, codec):
    rows = [{"text": f"{PROSE} {k}" if k % 4 else "short"} for k in range(60_000)]
    write_lines(tmp_path / "in" / f"a.jsonl{'.gz' if codec else ''}", rows, codec)
    rule = {"reason": "few", "signal": "n_words", "min": 5}
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": [rule]})
    done = command("plan", recipe, "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["input"]["documents"] == pytest.approx(60_000, rel=0.1)
    assert plan["dropped"][0]["share"] == pytest.approx(0.25, abs=0.02)
    assert not run.exists()


def test_messages_and_text_are_told_apart(tmp_path):
    pq.write_table(pa.table({"chat": CHATS, "text": ["x"] * 4}), tmp_path / "a.parquet")
    recipe, _ = write_recipe(tmp_path, tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"column 'chat' holds messages; set input.messages: chat"):
        carry_out(recipe, "input.text=chat")
    with pytest.raises(InputError, match="column 'text' holds string, not messages"):
        carry_out(recipe, "input.messages=text")
    with pytest.raises(RecipeError, match="messages takes the place of text; set one of them"):
        carry_out(recipe, "input.messages=chat", "input.text=k")


@pytest.fixture(scope="module")
def bucket(s3_server):
    """An S3 server on this machine with the sample in its bucket, and the environment that leads there."""
    store = pyarrow.fs.S3FileSystem(
        endpoint_override=s3_server["AWS_ENDPOINT_URL"], access_key="key", secret_key="x", region="us-east-1",
        allow_bucket_creation=True,
    )  # fmt: skip
    store.create_dir("corpus")
    for path in SAMPLE.glob("*.parquet"):
        with store.open_output_stream(f"corpus/web/{path.name}") as stream:
            stream.write(path.read_bytes())
    with store.open_output_stream("corpus/lines/a.jsonl.gz", compression=None) as stream:
        stream.write(gzip.compress("".join(json.dumps(row) + "\n" for row in ROWS).encode()))
    return s3_server


@pytest.mark.parametrize("pattern", ["s3://corpus/**/*.parquet", *repeats("s3://corpus/web")])
def test_an_object_store_gives_what_local_files_give(tmp_path, bucket, pattern):
    outputs = []
    for name, place in (("local", SAMPLE), ("store", pattern)):
        (tmp_path / name).mkdir()
        recipe, run = write_recipe(tmp_path / name, place, tier1={"rules": ["gopher"]})
        done = command("run", recipe, "--quiet", **bucket)
        assert done.returncode == 0, done.stderr
        outputs.append(output(run))
    assert outputs[0].equals(outputs[1])
    assert documents(run, "file")[0][0].startswith("s3://corpus/web/")
    told = "".join(p.read_text() for p in [run / "run.log", run / "run.json", run / "manifest.json"])
    assert "a-secret-that-nobody-may-see" not in told


def test_json_lines_come_from_an_object_store_too(tmp_path, bucket):
    recipe, run = write_recipe(tmp_path, "s3://corpus/lines/*.jsonl.gz")
    done = command("run", recipe, "--quiet", **bucket)
    assert done.returncode == 0, done.stderr
    assert len(documents(run)) == 20


def test_what_an_object_store_lacks_is_one_line(tmp_path, bucket):
    recipe, _ = write_recipe(tmp_path, "s3://corpus/none/*.parquet")
    done = command("run", recipe, **bucket)
    assert (done.returncode, done.stderr) == (1, "Error: input.paths: s3://corpus/none/*.parquet matches no file\n")
    recipe, _ = write_recipe(tmp_path, "nowhere://x")
    assert command("run", recipe).stderr == "Error: input.paths: nowhere://: Protocol not known: nowhere\n"


def test_a_dataset_is_loaded_once_by_the_library_that_made_it(tmp_path):
    write_lines(tmp_path / "set" / "train.jsonl", ROWS)
    write_lines(tmp_path / "set" / "test.jsonl", ROWS[:3])
    recipe, run = write_recipe(tmp_path, "", input={"paths": [{"dataset": str(tmp_path / "set"), "source": "mine"}]})
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    done = command("run", recipe, "--quiet", **offline)
    assert done.returncode == 0, done.stderr
    assert documents(run, "file, row, kept")[19] == (f"datasets://{tmp_path}/set/train", 19, True)
    assert output(run)["url"].to_pylist() == [row["url"] for row in ROWS]
    spooled = [p.stat().st_mtime_ns for p in (run / "inputs").iterdir()]
    assert command("run", recipe, "--quiet", **offline).returncode == 0
    assert [p.stat().st_mtime_ns for p in (run / "inputs").iterdir()] == spooled
    write_lines(tmp_path / "set" / "train.jsonl", ROWS[:19])
    assert command("run", recipe, "--quiet", **offline).returncode == 0
    assert len(output(run)) == 19
    done = command(
        "run",
        recipe,
        "--set",
        "input.paths=[{dataset: nobody/nothing}]",
        "--set",
        f"output={tmp_path / 'other'}",
        "--quiet",
        **offline,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: datasets://nobody/nothing/train: `datasets` cannot load it: ")
    assert done.stderr.count("\n") == 1
