"""A run from end to end: what it keeps, what it says of every document, and what it writes."""

import json

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.commands import carry_out, command
from support.corpora import PROSE, SAMPLE, write_shard
from support.recipes import write_recipe
from support.runs import documents

from curate.ledger.run import connect


def labels(run, label):
    with connect(run) as connection:
        query = "SELECT kept, reason, duplicate_of FROM corpus WHERE input.label LIKE ?"
        return connection.execute(query, [label]).fetchall()


STAGES = ["input", "rules", "exact", "near", "bands", "lines", "purify", "distil"]


def test_every_input_document_stands_once_in_the_documents_view(demo):
    expected = pq.read_table(SAMPLE / "part-00000.parquet", columns=["id"])["id"].to_pylist()
    rows = documents(demo, "doc_id", "file = 'part-00000.parquet'")
    assert [doc_id for (doc_id,) in rows] == expected
    assert len(documents(demo, "file, row")) == len(set(documents(demo, "file, row"))) == 1309


def test_short_gibberish_and_foreign_documents_of_the_sample_are_dropped(demo):
    for label in ("too_short", "gibberish", "non_english%"):
        assert not any(kept for kept, _, _ in labels(demo, label)), label


def test_of_good_documents_of_the_sample_at_most_one_in_fifty_is_dropped_for_anything_but_a_copy(demo):
    good = labels(demo, "good")
    dropped = [reason for kept, reason, duplicate_of in good if not kept and duplicate_of is None]
    assert len(dropped) <= len(good) / 50, dropped


def test_a_dropped_duplicate_names_one_that_no_earlier_stage_drops_and_its_cluster_one_that_no_copy_replaces(demo):
    rows = documents(demo, "stage, duplicate_of", "duplicate_of IS NOT NULL")
    kept = {doc_id for (doc_id,) in documents(demo, "doc_id", "kept OR stage = 'bands'")}
    near = {doc_id for (doc_id,) in documents(demo, "doc_id", "stage = 'near'")}
    assert len(rows) == 187
    assert {survivor for stage, survivor in rows if stage == "near"} <= kept
    assert {survivor for stage, survivor in rows if stage == "exact"} <= kept | near
    with connect(demo) as connection:
        clusters = connection.execute("SELECT survivor, doc_id FROM clusters").fetchall()
    assert {survivor for survivor, _ in clusters} <= kept
    assert len({doc_id for _, doc_id in clusters} - kept) == 187


def test_no_two_kept_documents_are_equal_but_for_case_and_white_space(demo):
    texts = pq.read_table(demo / "data", columns=["text"])["text"].to_pylist()
    assert len({" ".join(text.lower().split()) for text in texts}) == len(texts)


def test_the_output_holds_the_kept_documents_in_input_order_with_the_input_columns(demo):
    table = pq.read_table(demo / "data")
    assert table.schema.names == ["id", "text", "source", "url", "license", "label", "doc_id", "n_tokens"]
    kept = [doc_id for (doc_id,) in documents(demo, "doc_id", "kept")]
    assert table["doc_id"].to_pylist() == table["id"].to_pylist() == kept
    originals = pq.read_table(sorted(SAMPLE.glob("*.parquet")), columns=["id", "text"]).to_pydict()
    text_of = dict(zip(originals["id"], originals["text"], strict=True))
    assert table["text"].to_pylist() == [text_of[doc_id] for doc_id in kept]


def test_stages_reasons_and_totals_of_the_manifest_add_up(demo):
    manifest = json.loads((demo / "manifest.json").read_text())
    assert [stage["stage"] for stage in manifest["stages"]] == STAGES
    counted = {}
    for (reason,) in documents(demo, "reason", "NOT kept"):
        counted[reason] = counted.get(reason, 0) + 1
    told = {reason: n["documents"] for stage in manifest["stages"] for reason, n in stage["dropped"].items()}
    assert told == counted
    assert manifest["totals"]["documents_in"] - sum(counted.values()) == manifest["totals"]["documents_out"]
    with connect(demo) as connection:
        sums = "sum(n_tokens + n_tokens_cut), sum(n_tokens) FILTER (kept)"
        [(before, after)] = connection.execute(f"SELECT {sums} FROM decisions").fetchall()
    assert (manifest["totals"]["tokens_in"], manifest["totals"]["tokens_out"]) == (before, after)
    assert before > after
    assert sum(shard["documents"] for shard in manifest["shards"]) == manifest["totals"]["documents_out"]


def test_the_manifest_holds_neither_clock_nor_host_nor_place(demo):
    import platform

    text = (demo / "manifest.json").read_text()
    assert platform.node() not in text
    assert str(demo.parent) not in text
    assert not any(word in text for word in ("seconds", "started", "2026-"))


def test_reasons_lists_all_that_fired_in_the_stage_and_reason_is_the_first(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", ["### xyz", PROSE * 3])
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": ["gopher"]})
    carry_out(recipe)
    [(stage, reason, reasons), kept] = documents(run, "stage, reason, reasons")
    assert (stage, reason) == ("rules", "too_few_words")
    assert reasons == ["too_few_words", "too_many_hashes", "too_few_alpha_words", "too_few_stop_words"]
    assert kept == (None, None, [])


def test_null_blank_broken_large_and_excluded_documents_are_rows_with_a_reason(tmp_path):
    raw = [PROSE.encode() * 2, None, b" \n\t\xe2\x80\x83", b"caf\xe9 " * 60, b"word " * 5000, PROSE.encode() * 3]
    texts = pa.array(raw, pa.binary()).view(pa.string())
    write_shard(tmp_path / "in" / "a.parquet", texts, id=pa.array(["a", "b", "c", "d", "e", "f"]))
    (tmp_path / "remove.txt").write_text("f\nnot there\n")
    recipe, run = write_recipe(tmp_path, tmp_path / "in", exclude=[str(tmp_path / "remove.txt")])
    fields = ["input.id=id", "input.max_document_bytes=20kB"]
    carry_out(recipe, *fields)
    found = dict(documents(run, "doc_id, reason"))
    assert found == {
        "a": None,
        "b": "empty_text",
        "c": "empty_text",
        "d": "invalid_utf8",
        "e": "too_large",
        "f": "excluded",
    }


def test_a_document_can_be_excluded_by_its_hash_and_by_its_url(tmp_path):
    urls = pa.array(["http://a", "http://b", "http://c"])
    write_shard(tmp_path / "in" / "a.parquet", [PROSE + "a", PROSE + "b", PROSE + "c"], url=urls)
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    doc_id = documents(run, "doc_id")[0][0]
    pq.write_table(pa.table({"url": ["http://b"], "other": [1]}), tmp_path / "urls.parquet")
    (tmp_path / "hashes.txt").write_text(doc_id, "utf-8-sig")  # as some editors save text
    place = f"exclude=[{tmp_path / 'urls.parquet'},{tmp_path / 'hashes.txt'}]"
    carry_out(recipe, place)
    assert documents(run, "reason") == [("excluded",), ("excluded",), (None,)]


def test_without_an_id_column_doc_id_is_the_hash_of_the_text_and_repeats_are_numbered(tmp_path):
    import xxhash

    write_shard(tmp_path / "in" / "a.parquet", [PROSE, "other", PROSE])
    write_shard(tmp_path / "in" / "b.parquet", [PROSE])
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    same, other = (xxhash.xxh3_128_hexdigest(text.encode()) for text in (PROSE, "other"))
    assert documents(run, "doc_id") == [(same,), (other,), (f"{same}#2",), (f"{same}#3",)]


@pytest.mark.parametrize(("keep", "survivor"), [("first", "a"), ("longest", "b"), ("best", "c")])
def test_keep_chooses_which_copy_survives(tmp_path, keep, survivor):
    heading = PROSE.strip().replace(". ", ".\n")
    broken = heading.replace("dog,", "dog,\n")  # a line that does not end as a sentence does
    copies = [broken, broken + " " * 9, heading]
    write_shard(tmp_path / "in" / "a.parquet", copies, id=pa.array(["a", "b", "c"]))
    recipe, run = write_recipe(tmp_path, tmp_path / "in", dedup={"keep": keep})
    carry_out(recipe, "input.id=id")
    assert documents(run, "doc_id", "kept") == [(survivor,)]
    assert {reason for (reason,) in documents(run, "reason", "NOT kept")} == {"normalised_duplicate"}


def test_own_rules_see_signals_and_input_columns_and_thresholds_move(tmp_path):
    texts = [PROSE, PROSE + "x", "short one", "LOUD " * 60]
    columns = {"license": pa.array(["MIT", "proprietary", "MIT", "MIT"]), "row": pa.array([7, 8, 9, 10])}
    write_shard(tmp_path / "in" / "a.parquet", texts, **columns)
    rules = [
        "gopher",
        {"reason": "not_ours", "when": "input.license = 'proprietary' AND n_words > 3"},
        {"reason": "loud", "signal": "uppercase_ratio", "max": 0.5, "if": "input.row > 5"},
    ]
    thresholds = {"too_few_words": 2, "too_few_stop_words": None}
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": rules, "thresholds": thresholds})
    carry_out(recipe)
    assert documents(run, "reason") == [(None,), ("not_ours",), (None,), ("loud",)]


def test_a_bound_is_inclusive_and_compared_as_the_column_is_stored(tmp_path):
    words = "the be to of and that have with " * 10
    texts = [words + "# " * 8, words + "# " * 9]  # 8 hashes in 88 words; 9 in 89
    write_shard(tmp_path / "in" / "a.parquet", texts)
    rule = {"reason": "hashes", "signal": "hash_word_ratio", "max": 8 / 88}
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": [rule]})
    carry_out(recipe)
    assert documents(run, "reason") == [(None,), ("hashes",)]


def test_a_new_threshold_measures_nothing_again(tmp_path):
    recipe, run = write_recipe(tmp_path, SAMPLE, tier1={"rules": ["gopher"]})
    carry_out(recipe)
    before = {path: path.stat().st_mtime_ns for path in (run / "ledger" / "signals").rglob("*.parquet")}
    first = json.loads((run / "manifest.json").read_text())["totals"]["documents_out"]
    carry_out(recipe, "tier1.thresholds.too_few_words=200")
    assert {path: path.stat().st_mtime_ns for path in (run / "ledger" / "signals").rglob("*.parquet")} == before
    assert json.loads((run / "manifest.json").read_text())["totals"]["documents_out"] < first
    assert command("verify", run).returncode == 0


def test_shards_are_cut_at_shard_size_and_none_is_empty(tmp_path):
    texts = [f"{k} " + PROSE * (1 if k % 7 else 40) for k in range(200)]
    write_shard(tmp_path / "in" / "a.parquet", texts)
    recipe, run = write_recipe(tmp_path, tmp_path / "in", shard_size=20000)
    carry_out(recipe)
    manifest = json.loads((run / "manifest.json").read_text())
    assert len(manifest["shards"]) > 5
    assert all(shard["documents"] > 0 for shard in manifest["shards"])
    names = [shard["path"] for shard in manifest["shards"]]
    assert names == [f"data/train-{k:05d}-of-{len(names):05d}.parquet" for k in range(len(names))]
    assert [text for name in names for text in pq.read_table(run / name)["text"].to_pylist()] == texts
    # fewer shards later: none of the old ones stays
    carry_out(recipe, "shard_size=10MB")
    assert [path.name for path in (run / "data").iterdir()] == ["train-00000-of-00001.parquet"]


def test_columns_of_any_kind_are_carried_through_unchanged(tmp_path):
    messages = [[{"role": "user", "content": "hi"}, {"role": "assistant", "content": None}], None, [], [None]]
    columns = {
        "messages": pa.array(messages, pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        "doc_id": pa.array([1, None, 3, 4]),
        "meta": pa.array([{"a": None}, None, {"a": [1, None]}, {"a": []}], pa.struct([("a", pa.list_(pa.int32()))])),
        "kind": pa.array(["x", "y", None, "x"]).dictionary_encode(),
    }
    texts = [f"{PROSE} {k}" for k in range(4)]
    write_shard(tmp_path / "in" / "a.parquet", texts, **columns)
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    table = pq.read_table(run / "data")
    assert table["messages"].to_pylist() == messages
    assert table["doc_id"].to_pylist() == [1, None, 3, 4]
    assert table["meta"].to_pylist() == columns["meta"].to_pylist()
    assert table["kind"].to_pylist() == ["x", "y", None, "x"]
    assert table["curate_doc_id"].to_pylist() == [doc_id for (doc_id,) in documents(run, "doc_id")]


def test_columns_of_views_are_carried_through_as_what_they_view(tmp_path):
    views = {
        "text": pa.array([PROSE, None, "x"], pa.string_view()),
        "b": pa.array([b"1", None, b"2"], pa.binary_view()),
    }
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table(views), tmp_path / "in" / "a.parquet")
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    table = pq.read_table(run / "data")
    assert table.select(["text", "b"]).to_pylist() == [{"text": PROSE, "b": b"1"}, {"text": "x", "b": b"2"}]


def test_a_text_column_with_a_dot_in_its_name_has_a_size(tmp_path):
    from curate.corpus.parquet import open_footer
    from curate.recipe.input import Input, Source

    path = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({"a.b": [PROSE], "a": [{"b": "x"}]}), path)
    found = open_footer("a.parquet", path, path, Source(paths=[path]), Input(paths=[path], text="a.b"))
    assert found.group_bytes[0] >= len(PROSE)


def test_the_output_of_a_run_on_the_output_of_a_run_can_be_read(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [PROSE])
    source = tmp_path / "in"
    for k in range(3):
        (tmp_path / str(k)).mkdir()
        recipe, run = write_recipe(tmp_path / str(k), source)
        carry_out(recipe)
        source = run / "data" / "train-00000-of-00001.parquet"
    ids = [name for name in pq.read_schema(source).names if name.endswith("doc_id")]
    assert ids == ["doc_id", "curate_doc_id", "curate_curate_doc_id"]


def test_shards_with_missing_columns_and_other_string_widths_become_one_schema(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [PROSE + "a"], score=pa.array([1], pa.int32()))
    write_shard(tmp_path / "in" / "b.parquet", pa.array([PROSE + "b"], pa.large_string()), extra=pa.array(["e"]))
    write_shard(tmp_path / "in" / "c.parquet", [None], score=pa.array([3], pa.int64()))
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    table = pq.read_table(run / "data")
    assert table.schema.field("score").type == pa.int64()
    assert table.drop_columns(["doc_id", "n_tokens", "text"]).to_pylist() == [
        {"score": 1, "extra": None},
        {"score": None, "extra": "e"},
    ]


def test_the_datasets_library_loads_the_output(demo, tmp_path):
    datasets = pytest.importorskip("datasets")
    files = str(demo / "data" / "train-*.parquet")
    loaded = datasets.load_dataset("parquet", data_files={"train": files}, cache_dir=str(tmp_path))["train"]
    assert len(loaded) == len(documents(demo, "row", "kept"))
    assert loaded[0]["doc_id"] == documents(demo, "doc_id", "kept")[0][0]


def test_the_index_answers_from_anywhere_after_a_move_and_in_any_duckdb_started_in_the_run(demo, tmp_path):
    import shutil

    moved = tmp_path / "moved here"
    shutil.copytree(demo, moved)
    query = "SELECT count(*) AS n, sum(n_words) > 0 AS words FROM documents"
    done = command("sql", moved, query, "--format", "json", cwd=tmp_path)
    assert json.loads(done.stdout) == [{"n": 1309, "words": True}]
    with duckdb.connect(moved / "run.duckdb", read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (682,)


def test_sql_prints_table_csv_json_and_parquet_and_changes_nothing(demo, tmp_path):
    query = "SELECT reason, count(*) AS n FROM dropped GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 2 -- a comment"
    assert "too_few_words" in command("sql", demo, query).stdout
    assert command("sql", demo, query, "--format", "csv").stdout.splitlines()[:2] == ["reason,n", "too_few_words,225"]
    assert json.loads(command("sql", demo, query, "--format", "json").stdout)[0] == {
        "reason": "too_few_words",
        "n": 225,
    }
    done = command("sql", demo, "DROP TABLE decisions")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    done = command("sql", demo, "SELECT nope FROM documents")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: sql: Binder Error")
    assert done.stderr.count("\n") == 1


def test_json_prints_the_summary_alone(tmp_path):
    done = command("demo", "--json", "--set", f"output={tmp_path / 'run'}")
    summary = json.loads(done.stdout)
    assert (summary["documents_in"], summary["documents_out"]) == (1309, 682)
    assert done.stderr == ""


def test_verify_names_a_flipped_bit_a_missing_file_and_a_stranger(demo, tmp_path):
    import shutil

    run = tmp_path / "run"
    shutil.copytree(demo, run)
    assert command("verify", run).returncode == 0
    shard = run / "data" / "train-00000-of-00001.parquet"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    next((run / "ledger" / "signals" / "words").iterdir()).unlink()
    (run / "data" / "stranger.parquet").write_bytes(b"")
    done = command("verify", run)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 3
    assert "data/train-00000-of-00001.parquet: its bytes changed" in done.stdout
    assert done.stderr == f"Error: {run}: 3 things are not as written\n"


def test_the_recipe_in_the_run_directory_repeats_the_run(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [PROSE, "short"])
    rules = ["gopher", {"reason": "own", "signal": "n_lines", "max": 9, "if": "n_words > 3"}]
    rules.append({"reason": "free", "when": "n_words > 1000"})
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": rules, "thresholds": {"too_few_words": 3}})
    carry_out(recipe)
    before = (run / "manifest.json").read_bytes()
    (tmp_path / "again.yaml").write_bytes((run / "recipe.yaml").read_bytes())
    carry_out(tmp_path / "again.yaml", f"output={tmp_path / 'again'}")
    assert (tmp_path / "again" / "manifest.json").read_bytes() == before
