"""What can go wrong, and what the user is told: one line each, and nothing lost."""

import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import PROSE, SAMPLE, carry_out, command, documents, write_recipe, write_shard

from curate.errors import CurateError, EmptyOutputError, InputError, RecipeError, RunError


def refused(recipe, error, *changes):
    """The message with which a run is refused; it is one line."""
    with pytest.raises(error) as caught:
        carry_out(recipe, *changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def good(tmp_path):
    return write_shard(tmp_path / "in" / "a.parquet", [f"{PROSE} {k}" for k in range(20)])


def test_a_truncated_file_is_named(tmp_path, good):
    broken = tmp_path / "in" / "b.parquet"
    broken.write_bytes(good.read_bytes()[:-100])
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    assert refused(recipe, InputError).startswith(f"{broken}: not a whole Parquet file")


def test_a_file_with_broken_pages_is_named(tmp_path, good):
    data = bytearray(good.read_bytes())
    data[4:400] = bytes(396)
    broken = tmp_path / "in" / "b.parquet"
    broken.write_bytes(data)
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    assert f"{broken}: rows 0 to 20 cannot be read" in refused(recipe, InputError)


@pytest.mark.parametrize("damage", ["truncated", "broken pages"])
def test_quarantine_sets_a_bad_file_aside_and_lists_it(tmp_path, good, damage):
    data = bytearray(good.read_bytes())
    data = data[:-100] if damage == "truncated" else data[:4] + bytes(396) + data[400:]
    (tmp_path / "in" / "b.parquet").write_bytes(data)
    write_shard(tmp_path / "in" / "c.parquet", [f"{PROSE} c{k}" for k in range(5)])
    recipe, run = write_recipe(tmp_path, tmp_path / "in", on_error="quarantine")
    summary = carry_out(recipe)
    assert summary["quarantined"] == ["b.parquet"]
    assert summary["documents_in"] == summary["documents_out"] == 25
    assert {file for (file,) in documents(run, "file")} == {"a.parquet", "c.parquet"}
    import json

    manifest = json.loads((run / "manifest.json").read_text())
    assert [("error" in file) for file in manifest["inputs"]] == [False, True, False]
    assert str(tmp_path) not in manifest["inputs"][1]["error"]
    assert command("verify", run).returncode == 0
    # the file is repaired: it comes in, and the rest is not measured again
    write_shard(tmp_path / "in" / "b.parquet", [PROSE + "repaired"])
    assert carry_out(recipe)["documents_out"] == 26


def test_a_missing_text_column_is_named_with_those_that_are_there(tmp_path):
    pq.write_table(pa.table({"content": ["x"], "url": ["y"]}), tmp_path / "a.parquet")
    recipe, _ = write_recipe(tmp_path, tmp_path / "a.parquet")
    expected = f"{tmp_path}/a.parquet: no column 'text' (has: content, url); set input.text: content"
    assert refused(recipe, InputError) == expected


def test_a_text_column_that_holds_no_strings_is_refused_with_those_that_do(tmp_path):
    pq.write_table(pa.table({"text": [1, 2], "body": ["x", "y"]}), tmp_path / "a.parquet")
    recipe, _ = write_recipe(tmp_path, tmp_path / "a.parquet")
    expected = f"{tmp_path}/a.parquet: column 'text' holds int64, not strings; set input.text to one of: body"
    assert refused(recipe, InputError) == expected


def test_schemas_that_contradict_are_refused_with_file_and_column(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", ["x"], score=pa.array([1]))
    write_shard(tmp_path / "in" / "b.parquet", ["y"], score=pa.array(["high"]))
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    assert "b.parquet: column 'score' holds string, and int64 in the files before it" in refused(recipe, InputError)


def test_a_file_without_rows_is_fine_and_a_corpus_without_documents_is_not(tmp_path, good):
    empty = write_shard(tmp_path / "in" / "b.parquet", pa.array([], pa.string()))
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    assert carry_out(recipe)["documents_out"] == 20
    recipe, _ = write_recipe(tmp_path, empty)
    assert "no documents in the 1 file(s)" in refused(recipe, InputError, f"output={tmp_path / 'other'}")


def test_a_document_of_two_hundred_megabytes_is_a_row_with_a_reason(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [PROSE, "word " * 40_000_000, PROSE + "b"])
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    assert documents(run, "reason, n_words") == [(None, 48), ("too_large", 40_000_000), (None, 49)]


def test_clashing_and_null_ids_are_named(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", ["x", "y"], id=pa.array(["one", "two"]))
    write_shard(tmp_path / "in" / "b.parquet", ["z"], id=pa.array(["one"]))
    recipe, _ = write_recipe(tmp_path, tmp_path / "in", allow_empty=True)
    message = refused(recipe, InputError, "input.id=id")
    assert message.startswith("b.parquet row 0: id 'one' stands 2 times, first in a.parquet row 0")
    write_shard(tmp_path / "in" / "b.parquet", ["z"], id=pa.array([None], pa.string()))
    assert "b.parquet row 0: column 'id' (input.id) is null" in refused(recipe, InputError, "input.id=id")


def test_a_run_that_keeps_nothing_fails_with_the_reasons_and_can_be_looked_into(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", ["too short"] * 3)
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": ["gopher"]})
    assert "none of 3 documents is kept (too_few_words 3)" in refused(recipe, EmptyOutputError)
    assert documents(run, "reason") == [("too_few_words",)] * 3
    assert not (run / "manifest.json").exists()
    assert carry_out(recipe, "allow_empty=true")["shards"] == 0
    assert list((run / "data").glob("*")) == []


def test_two_runs_on_one_directory_are_refused_with_the_owner(tmp_path, good):
    from curate.ledger import locked

    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    with locked(run):
        message = refused(recipe, RunError)
    assert message.startswith(f"{run}: in use by process {os.getpid()} on ")
    carry_out(recipe)


def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(tmp_path):
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs to mount a small file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        recipe, _ = write_recipe(tmp_path, SAMPLE)
        done = command("run", recipe, "--quiet", "--set", f"output={disk / 'run'}")
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1, done.stderr
        assert "No space left on device" in done.stderr
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        done = command("run", recipe, "--quiet", "--set", f"output={disk / 'run'}")
        assert done.returncode == 0, done.stderr
        assert command("verify", disk / "run").returncode == 0
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_run_directory_that_cannot_be_written_is_named(tmp_path, good):
    (tmp_path / "file").write_text("in the way")
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    assert "file/run: cannot be written: Not a directory" in refused(recipe, RunError, f"output={tmp_path}/file/run")


def test_a_damaged_snapshot_is_named(tmp_path, good):
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    (run / "ledger" / "snapshot.json").write_text('{"ledger_version": 1')
    assert "snapshot.json: damaged" in refused(recipe, RunError)


def test_an_input_that_changes_is_measured_anew(tmp_path, good):
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    write_shard(good, [f"{PROSE} changed {k}" for k in range(3)])
    assert carry_out(recipe)["documents_out"] == 3
    assert command("verify", run).returncode == 0


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ([], "not a manifest of version 1"),
        ({"manifest_version": 2}, "not a manifest of version 1"),
        ({"stages": [{"stage": "rules"}]}, "damaged: its field 'stages' is not as it was written"),
        ({"shards": {}}, "damaged: its field 'shards'"),
        ({"totals": {"documents_in": "20"}}, "damaged: its field 'totals'"),
        ({"signal_groups": None}, "damaged: its field 'signal_groups'"),
    ],
)
def test_a_manifest_that_is_none_is_named(tmp_path, good, changes, told):
    import json

    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(manifest | changes if changes else changes))
    for arguments in (["verify", run], ["gc", run, "--all"]):
        done = command(*arguments)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert f"manifest.json: {told}" in done.stderr
    carry_out(recipe)
    assert command("verify", run).returncode == 0


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({"reason": "x", "signal": "n_word", "min": 1}, "no signal 'n_word'; did you mean 'n_words'?"),
        ({"reason": "x", "when": "n_word > 3"}, "x: no signal 'n_word'; did you mean 'n_words'?"),
        ({"reason": "x", "when": "n_words > "}, "is not a condition"),
        ({"reason": "x", "when": "n_words + 1"}, "a condition is true or false, not BIGINT"),
        ({"reason": "x", "when": "true) OR (true"}, "is not a condition"),
        ({"reason": "x", "when": "n_words > 3 AS y"}, "is not a condition"),
        ({"reason": "x", "when": "random() < 0.5"}, "random does not depend on the document's own row alone"),
        ({"reason": "x", "when": "COLUMNS(*) IS NULL"}, "star does not depend on"),
        ({"reason": "x", "when": "N_WORD > 3"}, "no signal 'N_WORD'; did you mean 'n_words'?"),
        ({"reason": "x", "when": "count(*) > 5"}, "count_star does not depend on"),
        ({"reason": "x", "when": "n_words IN (SELECT 1)"}, "subquery does not depend on"),
        ({"reason": "x", "signal": "n_words", "min": 1, "if": "n_lines"}, "a condition is true or false, not BIGINT"),
        ({"reason": "x", "when": "input.score = 'high'"}, "Conversion Error"),
        ({"reason": "x", "signal": "n_words", "min": 10**19}, "Conversion Error"),
        ({"reason": "x", "when": "unnest([true, false])"}, "x: a condition has one value, not 2"),
        ({"reason": "x", "when": "input.nope = 1"}, "the input has no column 'nope'"),
        ({"reason": "empty_text", "when": "true"}, "the reason 'empty_text' is built in"),
        ("gophr", "no rule set 'gophr'; did you mean 'gopher'?"),
    ],
)
def test_a_bad_rule_is_refused_before_any_document_is_read(tmp_path, good, rule, told):
    write_shard(tmp_path / "in" / "b.parquet", [PROSE], score=pa.array([1]))
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": [rule]})
    assert told in refused(recipe, RecipeError)
    assert not (run / "ledger" / "signals").exists()


def test_a_condition_that_fails_on_the_data_is_one_line(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [PROSE], score=pa.array(["high"]))
    rule = {"reason": "low", "when": "CAST(input.score AS INTEGER) < 3"}
    recipe, _ = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": [rule]})
    told = refused(recipe, RecipeError)
    assert "a condition fails on the data: Conversion Error" in told
    assert "high" not in told  # a value may be personal data


@pytest.mark.parametrize("name", ["2024-13-45", "!!int one", "[" * 3000 + "]" * 3000])
def test_a_recipe_that_yaml_itself_cannot_make_values_of_is_one_line(tmp_path, name):
    (tmp_path / "recipe.yaml").write_text(f"name: {name}\ninput: {{paths: [in]}}\n")
    assert "recipe.yaml: not YAML: " in refused(tmp_path / "recipe.yaml", RecipeError)


def test_no_document_stands_in_an_error(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [PROSE * 10] * 2)
    rule = {"reason": "low", "when": "input.text::INTEGER > 3"}
    recipe, _ = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": [rule]})
    assert len(refused(recipe, RecipeError)) < 500
    assert len(refused(recipe, InputError, "tier1.rules=[]", "input.id=text")) < 500


def test_a_folder_that_is_no_run_directory_is_not_touched(tmp_path, good):
    precious = write_shard(tmp_path / "project" / "data" / "precious.parquet", [PROSE])
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    assert "is not empty and not a run directory" in refused(recipe, RunError, f"output={tmp_path / 'project'}")
    assert [path.name for path in (tmp_path / "project").iterdir()] == ["data"]
    assert precious.exists()


def test_a_file_that_a_user_put_into_a_run_directory_stays(tmp_path, good):
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    mine = write_shard(run / "data" / "mine.parquet", ["x"])
    carry_out(recipe, "shard_size=2000")
    assert mine.exists()
    assert "data/train-00000-of-00001.parquet" not in {f"data/{path.name}" for path in (run / "data").iterdir()}


def test_when_every_file_is_quarantined_the_first_reason_is_told(tmp_path, good):
    good.write_bytes(good.read_bytes()[:4] + bytes(396) + good.read_bytes()[400:])
    recipe, _ = write_recipe(tmp_path, tmp_path / "in", on_error="quarantine")
    assert "every input file is quarantined, the first because: " in refused(recipe, InputError)


def test_other_runs_within_an_input_folder_are_passed_over(tmp_path, good):
    recipe, _run = write_recipe(tmp_path, tmp_path)
    carry_out(recipe)
    assert carry_out(recipe, f"output={tmp_path / 'second'}")["documents_in"] == 20


def test_verify_of_the_inputs_does_not_pass_where_it_can_check_nothing(tmp_path, good):
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    write_shard(good, [PROSE])
    rule = "tier1.rules=[{reason: low, when: \"CAST('x' || n_words AS INTEGER) < 3\"}]"
    refused(recipe, RecipeError, rule)
    done = command("verify", run, "--inputs")
    assert done.returncode == 1
    assert "manifest.json: is of other inputs than the ledger" in done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_large_other_columns_and_dictionaries_do_not_swell_a_worker(tmp_path):
    repeated = pa.array(["x" * 200_000] * 4000).dictionary_encode()
    write_shard(tmp_path / "in" / "a.parquet", [f"{PROSE} {k}" for k in range(4000)], html=repeated)
    write_shard(tmp_path / "in" / "b.parquet", pa.array(["y " * 100_000] * 4000).dictionary_encode())
    recipe, _run = write_recipe(tmp_path, tmp_path / "in")
    # From /proc, because getrusage would count what this process held when it started the other.
    code = (
        "import pathlib, sys; from conftest import carry_out; carry_out(pathlib.Path(sys.argv[1]));"
        "print(*[line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')])"
    )
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(__file__)}
    arguments = [sys.executable, "-c", code, str(recipe)]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True)
    peak = int(done.stdout) / 2**20
    assert peak < 0.9, f"{peak:.1f} GiB for 1.6 GB of values in small batches"


def test_a_lost_or_damaged_output_shard_is_written_again(tmp_path, good):
    recipe, run = write_recipe(tmp_path, tmp_path / "in", shard_size=2000)
    carry_out(recipe)
    first, second, *_ = sorted((run / "data").iterdir())
    expected = {path.name: path.read_bytes() for path in (run / "data").iterdir()}
    first.unlink()
    with second.open("ab") as file:
        file.write(b"x")
    assert carry_out(recipe)["shards"] == len(expected)
    assert {path.name: path.read_bytes() for path in (run / "data").iterdir()} == expected
    assert command("verify", run).returncode == 0


def test_verify_reads_the_inputs_again_where_it_is_asked_to(tmp_path, good):
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    assert command("verify", run, "--inputs").returncode == 0
    status = good.stat()
    texts = pq.read_table(good)["text"].to_pylist()
    write_shard(good, ["X" + texts[0][1:], *texts[1:]])
    os.utime(good, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert command("verify", run).returncode == 0
    done = command("verify", run, "--inputs")
    assert done.returncode == 1
    assert done.stdout == "a.parquet rows 0 to 20: the text is not the one that was measured\n"


def test_a_file_with_fewer_rows_than_a_reader_was_told_is_named(tmp_path, good):
    from curate.corpus import read_rows

    for start, stop in ((0, 21), (20, 40), (30, 40)):
        with pytest.raises(InputError, match=f"has fewer rows than the {stop} it had"):
            list(read_rows(str(good), start, stop, ["text"]))


def test_inputs_that_move_keep_what_was_measured(tmp_path, good):
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    part = next((run / "ledger" / "signals" / "words").iterdir())
    measured = part.stat().st_mtime_ns
    (tmp_path / "in").rename(tmp_path / "moved")
    more = write_shard(tmp_path / "more" / "b.parquet", [PROSE + "more"])
    paths = f"input.paths=[{tmp_path / 'moved'}, {more}]"
    assert carry_out(recipe, paths)["documents_out"] == 21
    assert part.stat().st_mtime_ns == measured
    assert [file for (file,) in documents(run, "DISTINCT file")] == ["more/b.parquet", "moved/a.parquet"]


def test_a_folder_below_a_hidden_one_is_read(tmp_path, monkeypatch):
    write_shard(tmp_path / ".hidden" / "in" / "a.parquet", [PROSE])
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    recipe, _ = write_recipe(tmp_path, "../.hidden/in")
    assert carry_out(recipe)["documents_out"] == 1


def test_a_signal_outside_the_measured_groups_is_measured_where_a_rule_names_it(tmp_path, good):
    rule = {"reason": "odd", "when": "text_hash_low % 2 = 1"}
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": [rule]}, dedup={"exact": False})
    carry_out(recipe)
    assert {bool(low % 2) == (reason == "odd") for low, reason in documents(run, "text_hash_low, reason")} == {True}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "nowhere.yaml"], "Error: nowhere.yaml: no such file"),
        (["demo", "--set", "shard_size=99999999999999999999"], "Error: "),
        (["demo", "--set", "name={[1]: 2}"], "Error: "),
        (["demo", "--set", "input.paths=['']"], "Error: input.paths: an empty path"),
        (["demo", "--set", "seed=2024-13-45"], "Error: --set seed=2024-13-45: '2024-13-45' is not YAML"),
        (
            ["demo", "--set", "input.paths=[~no-such-user/x]"],
            "Error: input.paths: ~no-such-user/x: Could not determine home",
        ),
        (["demo", "--set", f"input.paths=[{'a' * 300}]"], f"Error: input.paths: {'a' * 300}: File name too long"),
        (["demo", "--set", "input.paths=['://']"], "Error: input.paths: ://: a URI begins with a scheme"),
        (["demo", "--set", "input.paths=['hf://datasets/x']"], "Error: input.paths: hf://datasets/x: Invalid HF URI"),
        (
            ["demo", "--set", "input.paths=['file:///*[z-a]']"],
            "Error: input.paths: file:///*[z-a]: bad character range",
        ),
        (["demo", "--set", "input.paths=[{dataset: ''}]"], "Error: "),
        (["demo", "--set", "input.paths=[{paths: [a], split: test}]"], "Error: "),
        (["demo", "--set", f"output={'b' * 300}"], f"Error: {'b' * 300}: File name too long; choose another output"),
        (["sql", "nowhere", "SELECT 1"], "Error: nowhere: no run.duckdb: not a run directory"),
        (["verify", "nowhere"], "Error: nowhere: no manifest.json: not a run directory"),
        (["rules", "gofer"], "Error: tier1.rules: no rule set 'gofer'"),
        (["signals", "word"], "Error: signals: no group 'word'; did you mean 'words'?"),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_code_one(tmp_path, arguments, told):
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(told)
    assert done.stderr.count("\n") == 1


def test_every_error_that_a_user_meets_is_a_curate_error():
    import curate.errors

    raised = [kind for kind in vars(curate.errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert all(issubclass(kind, CurateError) for kind in raised)


def test_a_run_that_fails_leaves_the_result_before_it_with_its_own_recipe(tmp_path, good):
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    names = ("manifest.json", "recipe.yaml", "run.json")
    before = [(run / name).read_bytes() for name in names]
    table = pa.table({"text": [PROSE, PROSE], "key": ["a", "a"]})
    pq.write_table(table, tmp_path / "b.parquet")
    changes = [f'input.paths=["{tmp_path / "b.parquet"}"]', "input.id=key"]
    assert "ids must differ" in refused(recipe, InputError, *changes)
    assert [(run / name).read_bytes() for name in names] == before
    assert command("verify", run).returncode == 0
