"""`curate gc` removes what a ledger does not need, and nothing else; a run then repeats only what it must."""

import json
import shutil
from dataclasses import replace

import pytest
from support.commands import carry_out, command
from support.corpora import PROSE, write_shard
from support.recipes import write_recipe
from support.runs import digests

from curate.errors import RunError, WorkerError
from curate.ledger.ledger import locked, read_ledger
from curate.pipeline.gc import collect

RULE = "tier1.rules=[{reason: few, signal: n_words, min: 3}]"


@pytest.fixture(autouse=True)
def small_units(monkeypatch):
    """Each file is a task of its own, so that parts belong to one file."""
    monkeypatch.setattr("curate.maps.measure.TASK_BYTES", 1)


@pytest.fixture
def corpus(tmp_path):
    """Four files, and a recipe with its finished run."""
    for k in range(4):
        write_shard(tmp_path / "in" / f"{k}.parquet", [f"{PROSE} {k} {n}" for n in range(30)], license=["mit"] * 30)
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": ["gopher"]})
    carry_out(recipe)
    return recipe, run


def parts(run):
    """Signal parts on disk."""
    return {path.relative_to(run / "ledger" / "signals").as_posix() for path in (run / "ledger").glob("signals/*/*")}


def newly_written(run, before):
    """How many parts of each group came to be since `before`."""
    found = {}
    for name in parts(run) - before:
        found[name.split("/")[0]] = found.get(name.split("/")[0], 0) + 1
    return found


def verified(run):
    return command("verify", run).returncode == 0


def test_there_is_nothing_to_remove_after_a_run(corpus):
    _, run = corpus
    before = digests(run)
    assert collect(run, False, False).files == 0
    assert collect(run, True, False).files == 0
    assert digests(run) == before


def test_old_measurements_parts_of_removed_files_and_left_overs_go_and_a_run_changes_no_byte(corpus, tmp_path):
    recipe, run = corpus
    first = parts(run)
    write_shard(tmp_path / "in" / "0.parquet", [PROSE + "changed"], license=["mit"])
    (tmp_path / "in" / "1.parquet").unlink()
    carry_out(recipe)
    assert first < parts(run)
    left = [run / ".aside-1-run.duckdb", run / "data" / ".aside-1-x.parquet", run / "ledger" / "signals" / ".aside-2-y"]
    left.append(run / "ledger" / "spool" / "scratch.duckdb")
    for path in left:
        path.write_bytes(b"half")
    mine = run / "ledger" / "notes.parquet"
    mine.write_bytes(b"mine")
    before, files = digests(run), set(run.rglob("*"))
    told = collect(run, False, True)
    assert set(run.rglob("*")) == files
    assert told.files == 2 * 5 + len(left)
    assert told.removed is False
    done = collect(run, False, False)
    gone = sum(row.bytes for row in told.takes) - sum(row.bytes for row in done.takes)
    assert done == replace(told, removed=True, takes=done.takes)
    assert gone == told.bytes > 0
    assert not any(path.exists() for path in left)
    assert mine.exists()
    in_force = {part.path for part in read_ledger(run).parts}
    assert {f"ledger/signals/{name}" for name in parts(run)} <= in_force
    assert digests(run) == {name: sha for name, sha in before.items() if name in in_force or name == "manifest.json"}
    assert verified(run)
    after = digests(run)
    carry_out(recipe)
    assert digests(run) == after
    assert collect(run, False, False).files == 0


def test_measurements_that_another_recipe_may_use_go_only_with_all(corpus):
    recipe, run = corpus
    carry_out(recipe, "dedup.exact=false")
    assert collect(run, False, False).files == 0
    told = collect(run, True, False)
    assert [(kind.folder, kind.why) for kind in told.kinds] == [("ledger/signals/hashes", "not used by the recipe")]
    assert verified(run)
    assert not (run / "ledger" / "signals" / "hashes").exists()
    before, held = digests(run), parts(run)
    carry_out(recipe, "dedup.exact=false")
    assert digests(run) == before
    carry_out(recipe)
    assert newly_written(run, held) == {"hashes": 4}
    assert verified(run)


@pytest.mark.parametrize("everything", [False, True])
def test_a_crash_in_the_middle_leaves_a_run_that_is_whole_and_the_next_call_goes_on(corpus, monkeypatch, everything):
    from pathlib import Path

    recipe, run = corpus
    carry_out(recipe, "input.id=null", "dedup.exact=false", "tier1.thresholds.too_few_words=40")
    for k in range(3):
        (run / "ledger" / "signals" / "words" / f"0123abcd-{k}.parquet").write_bytes(b"old")
    expected = collect(run, everything, True).files
    assert expected == (7 if everything else 3)
    unlink, calls = Path.unlink, []

    def dies(path, missing_ok=False):
        if path.suffix == ".parquet":
            calls.append(path)
            if len(calls) == 3:
                raise OSError(5, "Input/output error")
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", dies)
    with pytest.raises(WorkerError, match="Input/output error"):
        collect(run, everything, False)
    monkeypatch.undo()
    assert verified(run)
    assert collect(run, everything, False).files == expected - 2
    assert verified(run)


def test_work_of_a_run_that_was_stopped_stays(corpus, tmp_path):
    _, run = corpus
    ledger = read_ledger(run)
    fresh = [part for part in ledger.parts if part.path.startswith("ledger/signals/words")]
    ledger.parts = [part for part in ledger.parts if part not in fresh]
    ledger.commit()
    ledger.add(fresh)  # as a run does before it is killed
    (run / "manifest.json").unlink()
    assert collect(run, False, False).files == 0
    assert read_ledger(run).parts[-len(fresh) :] == fresh
    with pytest.raises(RunError, match="its run did not get far enough; run it again"):
        collect(run, True, False)


def test_it_waits_for_no_run_and_makes_no_folder(corpus, tmp_path):
    _, run = corpus
    with locked(run), pytest.raises(RunError, match="in use by process"):
        collect(run, False, False)
    done = command("gc", tmp_path / "nothing")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert not (tmp_path / "nothing").exists()


def test_the_command_tells_what_it_did(corpus):
    _, run = corpus
    (run / "ledger" / "signals" / "words" / "0123abcd-7.parquet").write_bytes(b"old")
    done = command("gc", run, "--dry-run")
    assert "ledger/signals/words   not in force" in done.stdout
    assert done.stdout.endswith(f"{run}: would remove 1 file, 3 B\n")
    assert json.loads(command("gc", run, "--json").stdout)["bytes"] == 3
    told = command("gc", run).stdout
    assert " ledger/signals     measurements " in told
    assert told.endswith(f"\n{run}: nothing to remove\n")


def test_new_files_alone_are_measured(corpus, tmp_path):
    recipe, run = corpus
    before = parts(run)
    write_shard(tmp_path / "in" / "2b.parquet", [PROSE + "new"], license=["mit"])
    write_shard(tmp_path / "in" / "9.parquet", [PROSE + "last"], license=["mit"])
    carry_out(recipe)
    groups = ("documents", "hashes", "characters", "words", "lines")
    assert newly_written(run, before) == dict.fromkeys(groups, 2)
    assert before < parts(run)
    assert verified(run)


def test_a_changed_section_measures_only_what_depends_on_it(corpus):
    recipe, run = corpus
    before = parts(run)
    for change, written in [
        ("tier1.thresholds.too_few_words=40", {}),
        ("dedup.keep=first", {}),
        ("input.max_document_bytes=1MB", {}),
        ("shard_size=3000", {}),
        ("name=other", {}),
        (RULE, {}),
        ("input.strata=[license]", {"input": 4}),
        ("tier1.rules=[gopher, {reason: mit, when: \"input.license = 'gpl'\"}]", {}),  # which is measured now
    ]:
        held = parts(run)
        carry_out(recipe, change)
        assert newly_written(run, held) == written, change
    assert verified(run)
    now = digests(run)
    collect(run, False, False)
    assert verified(run)
    carry_out(recipe, change)
    assert digests(run) == {name: sha for name, sha in now.items() if name in digests(run)}
    carry_out(recipe)
    assert parts(run) == before | {name for name in parts(run) if name.startswith("input/")}


def test_a_condition_on_a_column_measures_that_column_alone(corpus):
    recipe, run = corpus
    before = parts(run)
    carry_out(recipe, "tier1.rules=[gopher, {reason: mit, when: \"input.license = 'gpl'\"}]")
    assert newly_written(run, before) == {"input": 4}


def test_a_rule_that_needs_another_group_measures_that_group_alone(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [f"{PROSE} {k}" for k in range(9)])
    recipe, run = write_recipe(tmp_path, tmp_path / "in", dedup={"exact": False})
    carry_out(recipe)
    before = parts(run)
    carry_out(recipe, "tier1.rules=[{reason: lucky, when: text_hash_low = 7}]")
    assert newly_written(run, before) == {"hashes": 1}


def test_removed_and_renamed_files_measure_nothing(corpus, tmp_path):
    recipe, run = corpus
    before = parts(run)
    (tmp_path / "in" / "1.parquet").unlink()
    (tmp_path / "in" / "2.parquet").rename(tmp_path / "in" / "z.parquet")
    summary = carry_out(recipe)
    assert summary["documents_in"] == 90
    assert newly_written(run, before) == {}
    assert collect(run, False, False).files == 5
    assert parts(run) == {name for name in before if "-00001-" not in name}
    assert verified(run)
    fresh = tmp_path / "fresh"
    carry_out(recipe, f"output={fresh}")
    assert (fresh / "manifest.json").read_bytes() == (run / "manifest.json").read_bytes()
    shutil.rmtree(fresh)


def test_a_converted_input_goes_when_its_file_is_no_longer_in_the_input(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{name}.jsonl").write_text(json.dumps({"text": f"{PROSE} {name}"}) + "\n")
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    (tmp_path / "in" / "b.jsonl").unlink()
    carry_out(recipe)
    assert len(list((run / "inputs").iterdir())) == 2
    assert "of no input now" in [kind.why for kind in collect(run, False, False).kinds]
    assert len(list((run / "inputs").iterdir())) == 1
    assert carry_out(recipe)["documents_out"] == 1
