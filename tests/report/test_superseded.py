"""A report and exports say when they are of other decisions, and two recipes of one name do not share a directory."""

import json
import os
import shlex
import shutil

import pytest
import yaml
from support.commands import carry_out, command
from support.corpora import PROSE, write_shard
from support.recipes import write_recipe
from tokenizers import Tokenizer, models

from curate.errors import EmptyOutputError, RunError
from curate.ledger.ledger import read_ledger
from curate.ledger.superseded import HIDDEN_NOTICE, NOTICE, VISIBLE_NOTICE, export_command
from curate.report.page import write_report
from curate.storage.mirror import run_of

RULE = {"reason": "few", "signal": "n_words", "min": 5, "source": "x"}


@pytest.fixture
def ran(tmp_path):
    """A finished run of 20 documents that grow longer, its recipe, and how many are kept."""
    write_shard(tmp_path / "in" / "a.parquet", [" ".join(PROSE.split()[:k]) for k in range(1, 21)])
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": [RULE]}, export=["hf"])
    carry_out(recipe)
    return recipe, run


def test_a_report_is_made_anew_with_the_decisions(ran):
    recipe, run = ran
    page = write_report(run)
    before = page.read_text("utf-8")
    assert (HIDDEN_NOTICE in before, "16 of 20 documents are kept" in before) == (True, True)
    carry_out(recipe)
    assert page.read_text("utf-8") == before  # of the same decisions
    carry_out(recipe, "tier1.thresholds.few=11")
    after = page.read_text("utf-8")
    assert (HIDDEN_NOTICE in after, "10 of 20 documents are kept" in after) == (True, True)


def test_a_run_without_a_report_makes_none(ran):
    recipe, run = ran
    carry_out(recipe, "tier1.thresholds.few=11")
    assert not (run / "report.html").exists()


def test_a_report_says_on_top_that_it_is_of_earlier_decisions_where_the_run_did_not_end(ran):
    recipe, run = ran
    page = write_report(run)
    with pytest.raises(EmptyOutputError):
        carry_out(recipe, "tier1.thresholds.few=999")
    text = page.read_text("utf-8")
    assert (VISIBLE_NOTICE in text, HIDDEN_NOTICE in text) == (True, False)
    assert "no longer in force" in text
    assert text.index(VISIBLE_NOTICE) < text.index("16 of 20 documents are kept")


def test_exports_within_a_run_are_made_anew_or_say_that_they_are_of_earlier_decisions(ran):
    recipe, run = ran
    write = ("export", run, "--to", "jsonl", "--out", run / "export")
    assert command(*write).returncode == 0
    done = command("run", recipe, "--set", "tier1.thresholds.few=11")
    told = f"{run / 'export' / 'jsonl'}: shows earlier decisions; rebuild it: curate export {run} --to jsonl"
    assert told in done.stderr
    assert f"--to jsonl --out {run / 'export'} --overwrite" in (run / "export" / "jsonl" / NOTICE).read_text("utf-8")
    assert not (run / "export" / "hf" / NOTICE).exists()  # the recipe names it: it is of the new decisions
    assert json.loads((run / "export" / "hf" / "export.json").read_text())["splits"]["train"]["documents"] == 10
    assert command("verify", run / "export" / "jsonl").returncode == 0
    assert command(*write, "--overwrite").returncode == 0
    assert not (run / "export" / "jsonl" / NOTICE).exists()


def test_the_command_that_is_told_makes_the_same_export_anew(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [" ".join(PROSE.split()[:k]) for k in range(1, 21)])
    recipe, _ = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": [RULE]})
    place, run = f"output={tmp_path / 'my run'}", tmp_path / "my run"
    carry_out(recipe, place)
    words = {word: k for k, word in enumerate(["the end", "[UNK]", *sorted(set(PROSE.split()))])}
    tokenizer = Tokenizer(models.WordLevel(words, "[UNK]"))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    options = ("--tokenizer", tmp_path / "tokenizer.json", "--eos", "the end", "--validation", "40%")
    assert command("export", run, "--to", "megatron,jsonl", "--out", run / "export", *options).returncode == 0
    before = {path: json.loads(path.read_text()) for path in (run / "export").glob("*/export.json")}
    assert len(before) == 2
    carry_out(recipe, place, "tier1.thresholds.few=11")
    for path, export in before.items():
        notice = path.with_name(NOTICE)
        curate, *told = shlex.split(notice.read_text("utf-8").splitlines()[-1])
        assert curate == "curate"
        done = command(*told, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert not notice.exists()
        assert json.loads(path.read_text())["options"] == export["options"]


def test_the_command_for_a_run_on_an_object_store_does_not_name_its_mirror(tmp_path, monkeypatch):
    monkeypatch.setenv("CURATE_RUNS", str(tmp_path))
    run = run_of("s3://bucket/my run")
    command = export_command(run, run / "export" / "hf")
    assert command == "curate export 's3://bucket/my run' --to hf --out export --overwrite"


def test_an_export_that_is_of_the_decisions_again_says_nothing_any_more(ran):
    recipe, run = ran
    assert command("export", run, "--to", "jsonl", "--out", run / "export").returncode == 0
    carry_out(recipe, "tier1.thresholds.few=11")
    assert (run / "export" / "jsonl" / NOTICE).exists()
    carry_out(recipe)
    assert not (run / "export" / "jsonl" / NOTICE).exists()


def test_another_recipe_of_the_same_name_is_refused_the_directory_unless_it_is_forced(ran, tmp_path):
    recipe, run = ran
    write_shard(tmp_path / "other" / "a.parquet", [f"{PROSE} {k}" for k in range(7)])
    manifest = (run / "manifest.json").read_bytes()
    place = f"input.paths=[{tmp_path / 'other'}]"
    done = command("run", recipe, "--set", place)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"Error: {run}: holds a run of other input, 1 file such as {tmp_path / 'in' / 'a.parquet'}; give this recipe "
        "another name or output, or replace that run with --force"
    )
    assert (run / "manifest.json").read_bytes() == manifest
    assert command("run", recipe, "--set", place, "--force").returncode == 0
    assert json.loads((run / "manifest.json").read_text())["totals"]["documents_in"] == 7


def two_recipes(folder, first, second, **changed):
    """The recipe of a finished run, its directory, and another recipe in a file of its own with that directory."""
    for name in "abc":
        write_shard(folder / "in" / f"{name}.parquet", [f"{PROSE} {name} {k}" for k in range(5)])
    run = folder / "runs" / "web"
    files = []
    for file, names, fields in (("one.yaml", first, {}), ("two.yaml", second, changed)):
        paths = [str(folder / "in" / f"{name}.parquet") for name in names]
        recipe = {"name": "web", "output": str(run), "input": {"paths": paths}, "tier1": {"rules": [RULE]}, **fields}
        (folder / file).write_text(yaml.safe_dump(recipe))
        files.append(folder / file)
    assert command("run", files[0], "--quiet").returncode == 0
    return files[1], run


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ("ab", "bc", "leaves out 1 file such as {in}/a.parquet and adds 1 file such as {in}/c.parquet"),
        ("abc", "b", "leaves out 2 files such as {in}/a.parquet"),
        ("a", "abc", "adds 2 files such as {in}/b.parquet"),
    ],
)
def test_another_recipe_of_a_part_of_the_same_files_is_asked_for_a_name_or_force(tmp_path, first, second, told):
    recipe, run = two_recipes(tmp_path, first, second)
    before = contents(run)
    done = command("run", recipe)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"Error: {run}: holds the run of {tmp_path / 'one.yaml'}, and this recipe "
        f"{told.replace('{in}', str(tmp_path / 'in'))}; give this recipe another name or output, or replace that run "
        "with --force"
    )
    assert contents(run) == before


def test_with_another_output_or_force_it_runs_and_then_needs_neither(tmp_path):
    recipe, run = two_recipes(tmp_path, "ab", "bc")
    assert command("run", recipe, "--set", f"output={tmp_path / 'runs' / 'other'}").returncode == 0
    assert command("run", recipe, "--force").returncode == 0
    assert command("run", recipe).returncode == 0
    assert json.loads((run / "manifest.json").read_text())["totals"]["documents_in"] == 10


def test_another_recipe_of_the_same_corpus_decides_it_anew(tmp_path):
    recipe, run = two_recipes(
        tmp_path, "ab", "ab", tier1={"rules": [RULE], "thresholds": {"few": 900}}, allow_empty=True
    )
    assert command("run", recipe).returncode == 0
    assert json.loads((run / "manifest.json").read_text())["totals"]["documents_out"] == 0


def test_a_recipe_that_is_edited_and_an_input_that_grew_or_lost_a_file_need_no_force(tmp_path):
    recipe, run = two_recipes(tmp_path, "a", "a")
    first = tmp_path / "one.yaml"
    for names in ("abc", "bc"):  # edited
        paths = [str(tmp_path / "in" / f"{name}.parquet") for name in names]
        first.write_text(yaml.safe_dump(yaml.safe_load(first.read_text()) | {"input": {"paths": paths}}))
        assert command("run", first).returncode == 0
    for path in (first, recipe):  # of one folder
        fields = yaml.safe_load(path.read_text()) | {"input": {"paths": [str(tmp_path / "in")]}}
        path.write_text(yaml.safe_dump(fields))
    assert command("run", first).returncode == 0
    write_shard(tmp_path / "in" / "d.parquet", [f"{PROSE} d {k}" for k in range(5)])
    (tmp_path / "in" / "a.parquet").unlink()
    assert command("run", recipe).returncode == 0
    assert json.loads((run / "manifest.json").read_text())["totals"]["documents_in"] == 15


def test_more_files_changed_files_and_files_that_were_moved_need_no_force(ran, tmp_path):
    recipe, _ = ran
    write_shard(tmp_path / "in" / "b.parquet", [f"{PROSE} {k}" for k in range(7)])
    carry_out(recipe)
    (tmp_path / "in" / "a.parquet").unlink()
    write_shard(tmp_path / "in" / "b.parquet", [f"{PROSE} again {k}" for k in range(9)])
    carry_out(recipe)
    shutil.move(tmp_path / "in", tmp_path / "moved")
    carry_out(recipe, f"input.paths=[{tmp_path / 'moved'}]")
    write_shard(tmp_path / "new" / "b.parquet", [f"{PROSE} new {k}" for k in range(9)])
    with pytest.raises(RunError, match="holds a run of other input"):
        carry_out(recipe, f"input.paths=[{tmp_path / 'new'}]")


def test_a_directory_that_is_refused_is_left_as_it_is(tmp_path):
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": [RULE]})
    write_shard(tmp_path / "in" / "a.parquet", [f"{PROSE} {k}" for k in range(7)])
    carry_out(recipe)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "b.jsonl").write_text(json.dumps({"text": PROSE}) + "\n")
    write_shard(tmp_path / "sets" / "benchmark.parquet", [PROSE])
    before = contents(run)
    for more in ([], [f"tier1.decontaminate.against=[{tmp_path / 'sets'}]"]):
        with pytest.raises(RunError, match="holds a run of other input"):
            carry_out(recipe, f"input.paths=[{tmp_path / 'other'}]", *more)
        assert contents(run) == before


def contents(run):
    """The files of a run but for its log, with their bytes."""
    return {
        path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name not in ("run.log", "lock")
    }


def test_a_file_that_only_has_the_size_and_time_of_a_known_one_is_refused_when_it_is_opened(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text(json.dumps({"text": f"{PROSE} 1"}) + "\n")
    recipe, _ = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": [RULE]})
    carry_out(recipe)
    shutil.move(tmp_path / "in", tmp_path / "moved")
    place = f"input.paths=[{tmp_path / 'moved'}]"
    carry_out(recipe, place)  # the same file elsewhere: nothing is measured again
    (tmp_path / "new").mkdir()
    other = tmp_path / "new" / "b.jsonl"
    other.write_text((tmp_path / "moved" / "a.jsonl").read_text().replace("1", "2"))
    found = (tmp_path / "moved" / "a.jsonl").stat()
    os.utime(other, ns=(found.st_atime_ns, found.st_mtime_ns))
    with pytest.raises(RunError, match="holds a run of other input"):
        carry_out(recipe, f"input.paths=[{other}]")


def test_a_run_that_was_stopped_before_it_measured_anything_needs_no_force(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [f"{PROSE} {k}" for k in range(7)])
    write_shard(tmp_path / "other" / "b.parquet", [f"{PROSE} {k}" for k in range(5)])
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": [RULE]})
    carry_out(recipe)
    ledger = read_ledger(run)
    ledger.parts = []
    ledger.commit()
    carry_out(recipe, f"input.paths=[{tmp_path / 'other'}]")
    assert json.loads((run / "manifest.json").read_text())["totals"]["documents_in"] == 5
