"""Disks that are full and folders that cannot be written."""

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

import pytest
from support.commands import carry_out, command, refused, told_by
from support.corpora import PROSE, SAMPLE, write_shard
from support.processes import seen, start, wait_until
from support.recipes import write_recipe
from support.soak import SOAK, tell
from support.whole_runs import UNIT, files_of_run, undisturbed, whole_recipe

from curate.errors import CurateError, RunError
from curate.manifests.verify import verify
from curate.progress import unwritten_log


@contextmanager
def small_disk(folder, size):
    """A file system of some kilobytes in memory."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs to mount a small file system")
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # this process may hold files of it


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    """A recipe of a small run, and its finished directory."""
    folder = tmp_path_factory.mktemp("small")
    write_shard(folder / "in" / "a.parquet", [f"{PROSE} {k}" for k in range(200)])
    recipe, run = write_recipe(folder, folder / "in")
    carry_out(recipe)
    return recipe, run


def resize(folder, size):
    subprocess.run(["mount", "-o", f"remount,size={size}k", str(folder)], check=True)


def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(tmp_path):
    recipe, _ = write_recipe(tmp_path, SAMPLE)
    with small_disk(tmp_path / "disk", 700) as disk:
        done = command("run", recipe, "--quiet", "--set", f"output={disk / 'run'}")
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1, done.stderr
        assert "No space left on device" in done.stderr
        resize(disk, 100_000)
        done = command("run", recipe, "--quiet", "--set", f"output={disk / 'run'}")
        assert done.returncode == 0, done.stderr
        assert command("verify", disk / "run").returncode == 0


@pytest.mark.slow  # at three sizes: the test above has one
def test_a_disk_that_is_full_at_any_stage_is_one_line_and_loses_nothing(tmp_path, tmp_path_factory):
    corpus, (wanted, exported), _ = undisturbed(tmp_path_factory)
    steps = range(200, 30_000, 400) if SOAK else (200, 1500, 4000)
    refused_at = 0
    with small_disk(tmp_path / "disk", 100) as disk:
        recipe, _ = whole_recipe(tmp_path / "x", corpus)
        for size in steps:
            resize(disk, size)
            try:
                carry_out_in_units(recipe, disk / "run")
            except CurateError as error:
                told_by(error)
                refused_at += 1
            else:
                break
        resize(disk, 100_000)
        carry_out_in_units(recipe, disk / "run")
        assert files_of_run(disk / "run") == (wanted, exported)
        assert verify(disk / "run", 1, unwritten_log(True)) == []
    assert refused_at > 2
    tell(f"full disks: {refused_at} sizes, each refused in one line")


def carry_out_in_units(recipe, run):
    """Run a recipe in this process with small units."""
    with pytest.MonkeyPatch.context() as patch:
        small = int(UNIT["CURATE_UNIT_BYTES"])
        patch.setattr("curate.corpus.units.MIN_UNIT_BYTES", small)
        patch.setattr("curate.corpus.units.MAX_UNIT_BYTES", 2 * small)
        patch.setattr("curate.maps.measure.TASK_BYTES", int(1.5 * small))
        return carry_out(recipe, f"output={run}")


@pytest.mark.slow  # three whole runs: the tests below have a run that cannot begin
def test_a_run_directory_that_becomes_unwritable_is_one_line_and_loses_nothing(tmp_path, tmp_path_factory):
    corpus, wanted, _ = undisturbed(tmp_path_factory)
    recipe, _ = whole_recipe(tmp_path / "x", corpus)
    with small_disk(tmp_path / "disk", 100_000) as disk:
        driver = start(recipe, 2, "--set", f"output={disk / 'run'}")
        wait_until(driver, lambda: seen(disk / "run", "measured"), 120)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(disk / "run" / "ledger")], check=True)
        told = driver.communicate(timeout=120)[1]
        subprocess.run(["umount", str(disk / "run" / "ledger")], check=True)
        assert driver.returncode == 1, told
        assert told.count("\n") == 1, told
        assert "Read-only file system" in told or "No such file" in told
        carry_out_in_units(recipe, disk / "run")
        assert files_of_run(disk / "run") == wanted


def test_a_read_only_place_is_one_line(tmp_path, good):
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    with small_disk(tmp_path / "disk", 100) as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        told = refused(recipe, CurateError, f"output={disk / 'run'}")
    assert "Read-only file system" in told


def test_a_run_directory_that_cannot_be_written_is_named(tmp_path, good):
    (tmp_path / "file").write_text("in the way")
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    assert "file/run: cannot be written: Not a directory" in refused(recipe, RunError, f"output={tmp_path}/file/run")


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


@pytest.mark.parametrize("words", [
    ["card", "RUN"], ["card", "RUN", "--format", "openlineage"], ["runs", "FOLDER"], ["runs", "FOLDER", "--json"],
    ["sql", "RUN", "FROM inputs"], ["sql", "RUN", "FROM inputs", "--format", "json"], ["plan", "RECIPE"], ["schema"],
], ids=" ".join)  # fmt: skip
def test_what_is_printed_onto_a_full_disk_ends_in_one_line(small_run, words):
    recipe, run = small_run
    places = {"RUN": run, "RECIPE": recipe, "FOLDER": recipe.parent}
    command_line = [sys.executable, "-m", "curate", *(str(places.get(word, word)) for word in words)]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command_line, stdout=full, stderr=subprocess.PIPE, text=True, timeout=240, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Error: the output: No space left on device")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [
    ["report", "RUN"], ["export", "RUN", "--to", "hf,jsonl", "--out", "OUT"], ["run", "RECIPE", "--set", "name=other"],
], ids=lambda words: words[0])  # fmt: skip
def test_a_writer_beside_a_full_run_tells_one_line_and_ends_well_when_there_is_room(tmp_path, small_run, words):
    recipe, run = small_run
    with small_disk(tmp_path / "disk", 100_000) as disk:
        shutil.copytree(run, disk / "run")
        places = {"RUN": disk / "run", "RECIPE": recipe, "OUT": disk / "out"}
        command_line = [places.get(word, word) for word in words]
        command_line += ["--set", f"output={disk / 'run'}"] if words[0] == "run" else []
        (disk / "rest").write_bytes(b"x" * (os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize - 4096))
        done = command(*command_line)
        assert done.returncode == 1, done.stderr
        assert done.stderr.splitlines()[-1].startswith("Error: ")
        assert "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
        (disk / "rest").unlink()
        done = command(*command_line)
        assert done.returncode == 0, done.stderr
        assert command("verify", disk / "run").returncode == 0
