"""A run that is looked at: damage is told in one line, and what a column holds is shown without personal data."""

import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from support.commands import carry_out, command
from support.corpora import PROSE, write_shard
from support.recipes import write_recipe

from curate.cli import main

COMMANDS = {
    "why": ("why", "RUN", "d1"),
    "sample": ("sample", "RUN", "--kept", "-n", "2"),
    "report": ("report", "RUN"),
    "what-if": ("what-if", "RUN", "--set", "seed=3"),
    "compare": ("compare", "RUN", "RUN"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decided")
    texts = [f"{PROSE} Number {k} writes to jane.doe{k}@gmail.com." for k in range(30)]
    ids = [f"d{k}" for k in range(30)]
    write_shard(folder / "in" / "a.parquet", texts, id=pa.array(ids))
    source = {"paths": [str(folder / "in")], "id": "id"}
    recipe, run = write_recipe(folder, folder / "in", input=source, tier1={"pii": "redact"}, dedup={"near": {}})
    carry_out(recipe)
    return run


def remove(pattern):
    def damage(run):
        [path] = run.glob(pattern)
        path.unlink()

    return damage


def overwrite(pattern):
    def damage(run):
        [path] = run.glob(pattern)
        path.write_bytes(b"\xff" * path.stat().st_size)

    return damage


DAMAGES = {
    "edits gone": remove("ledger/edits/*.parquet"),
    "edits overwritten": overwrite("ledger/edits/*.parquet"),
    "documents gone": remove("ledger/signals/documents/*.parquet"),
    "documents overwritten": overwrite("ledger/signals/documents/*.parquet"),
    "snapshot gone": remove("ledger/snapshot.json"),
    "snapshot overwritten": overwrite("ledger/snapshot.json"),
    "facts gone": remove("run.json"),
    "facts overwritten": overwrite("run.json"),
    "recipe gone": remove("recipe.yaml"),
    "recipe overwritten": overwrite("recipe.yaml"),
    "index overwritten": overwrite("run.duckdb"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_told_in_one_line_by_whatever_reads_it(run, tmp_path, damage):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    DAMAGES[damage](copy)
    for arguments in COMMANDS.values():
        done = CliRunner().invoke(main, [str(copy) if word == "RUN" else word for word in arguments])
        assert done.exception is None or isinstance(done.exception, SystemExit), (arguments, done.exception)
        assert (done.exit_code, len(done.stderr.splitlines())) in ((0, 0), (1, 1)), (arguments, done.stderr)
        assert done.exit_code == 0 or done.stderr.startswith("Error: "), done.stderr


def test_what_columns_hold_within_is_shown_without_personal_data(tmp_path):
    meta = pa.array([{"author": "jane.doe@corp.com", "seen": ["bob.smith@corp.com"]}] * 5)
    write_shard(tmp_path / "in" / "a.parquet", [f"{PROSE} {k}" for k in range(5)], meta=meta)
    rule = {"reason": "written_by_someone", "when": "input.meta.author IS NOT NULL"}
    recipe, run = write_recipe(tmp_path, tmp_path / "in", tier1={"rules": [rule]}, allow_empty=True)
    carry_out(recipe)
    page = tmp_path / "page.html"
    told = command("sample", run).stdout + command("sample", run, "--json").stdout
    told += command("what-if", run, "--set", "tier1.rules=[]").stdout
    assert command("report", run, "--output", page).returncode == 0
    assert "<EMAIL>" in told
    assert "corp.com" not in told + page.read_text()


def test_a_condition_that_fails_on_the_data_does_not_quote_it(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", [PROSE] * 3, author=pa.array(["jane.doe@corp.com"] * 3))
    recipe, run = write_recipe(tmp_path, tmp_path / "in", dedup={"exact": False})
    carry_out(recipe)
    done = command("sample", run, "--where", "input.author::INTEGER > 3")
    assert done.returncode == 1
    assert "Could not convert string '…'" in done.stderr
    assert "jane.doe" not in done.stderr


def test_an_input_that_was_broken_since_is_told_and_its_columns_are_not_shown(tmp_path):
    texts = [f"{PROSE} {k}" for k in range(6)]
    ids, urls = [f"d{k}" for k in range(6)], [f"https://example.com/{k}" for k in range(6)]
    path = write_shard(tmp_path / "in" / "a.parquet", texts, id=pa.array(ids), url=pa.array(urls))
    source = {"paths": [str(tmp_path / "in")], "id": "id"}
    recipe, run = write_recipe(tmp_path, tmp_path / "in", input=source, dedup={"near": {}})
    carry_out(recipe)
    assert "https://example.com/2" in command("why", run, "d2").stdout
    shifted = {"id": pa.array(ids[1:] + ids[:1]), "url": pa.array(urls[1:] + urls[:1])}
    for damage, problem in {
        "shifted": "a.parquet:2: is not the text that was measured",
        "no text": "a.parquet: has no column 'text' now; run again",
        "no Parquet": "cannot be read as Parquet",
        "empty": "cannot be read as Parquet",
    }.items():
        if damage == "shifted":
            write_shard(path, texts[1:] + texts[:1], **shifted)
        elif damage == "no text":
            pq.write_table(pa.table({"id": ids}), path)
        else:
            path.write_bytes(b"garbage" if damage == "no Parquet" else b"")
        done = command("why", run, "d2")
        assert (done.returncode, done.stderr) == (0, "")
        assert problem in done.stdout
        assert "example.com" not in done.stdout
        for arguments in COMMANDS.values():
            words = [{"RUN": str(run), "d1": "d2"}.get(word, word) for word in arguments]
            done = CliRunner().invoke(main, words)
            assert done.exit_code == 0, (arguments, done.stderr, done.exception)
