"""Whatever lies in a folder of the input is read, listed as passed over, or an error; nothing is skipped in silence."""

import glob
import json
import os
import shutil
import socket
import subprocess
import sys

import pytest
from support.commands import carry_out, command, refused
from support.corpora import PROSE, write_shard
from support.recipes import write_recipe
from support.runs import documents
from support.soak import repeats

from curate.corpus.folders import HIDDEN, KNOWN_FOLDER, PERHAPS_LINES, RUN, SET_ASIDE, SPECIAL, expand_glob
from curate.errors import InputError
from curate.ledger.run import connect

# A superuser may read everything; without these two capabilities, no more than the owner of a file.
CAPABILITIES = "-dac_override,-dac_read_search"
DROP = ["setpriv", "--bounding-set", CAPABILITIES, "--inh-caps", CAPABILITIES]


def as_ordinary_user(*arguments):
    """Run `curate` with no right that the permissions of files do not give."""
    line = [sys.executable, "-m", "curate", *map(str, arguments)]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None or subprocess.run([*DROP, "true"], check=False).returncode:
            pytest.skip("a superuser reads everything, and there is no setpriv to give that up")
        line = [*DROP, *line]
    return subprocess.run(line, capture_output=True, text=True, timeout=240, check=False)


def inputs(run, columns):
    with connect(run) as connection:
        return connection.execute(f"SELECT {columns} FROM inputs ORDER BY position NULLS LAST, file").fetchall()


@pytest.fixture
def locked(tmp_path, good):
    """A folder of the input that nobody may read, beside the good documents."""
    write_shard(tmp_path / "in" / "sub" / "b.parquet", [f"{PROSE} sub {k}" for k in range(300)])
    folder = tmp_path / "in" / "sub"
    folder.chmod(0)
    yield folder
    folder.chmod(0o755)


@pytest.mark.parametrize(
    ("act", "paths"),
    [
        ("plan", "in"),
        ("run", "in/**/*.parquet"),
        *repeats(("run", "in"), ("run", "in/*/b.parquet"), ("run", "in/sub/*.parquet"), ("run", "in/sub/b.parquet")),
    ],
)
def test_a_folder_that_cannot_be_read_is_an_error_that_names_it(tmp_path, locked, act, paths):
    recipe, run = write_recipe(tmp_path, tmp_path / paths)
    done = as_ordinary_user(act, recipe, "--workers", 1)
    problem = "this folder cannot be read: Permission denied; let it be read, or name the files that are meant"
    assert (done.returncode, done.stderr) == (1, f"Error: {locked}: {problem}\n")
    assert not (run / "manifest.json").exists()


def test_a_folder_that_may_be_listed_and_not_entered_is_an_error(tmp_path, locked):
    locked.chmod(0o444)
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    done = as_ordinary_user("run", recipe, "--workers", 1)
    assert done.returncode == 1
    assert f"{locked}/b.parquet: " in done.stderr
    assert "Permission denied" in done.stderr
    assert done.stderr.count("\n") == 1


def test_quarantine_lists_a_folder_that_cannot_be_read(tmp_path, locked):
    recipe, run = write_recipe(tmp_path, tmp_path / "in", on_error="quarantine")
    done = as_ordinary_user("run", recipe, "--json", "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["quarantined"] == ["sub"]
    assert inputs(run, "file, documents, error IS NULL") == [("a.parquet", 20, True), ("sub", 0, False)]
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["inputs"][1]["error"].startswith("sub: this folder cannot be read: Permission denied")
    locked.chmod(0o755)
    assert carry_out(recipe)["documents_in"] == 320


def test_a_folder_of_reference_texts_that_cannot_be_read_is_an_error_too(tmp_path, locked):
    write_shard(tmp_path / "more" / "a.parquet", [PROSE])
    recipe, _ = write_recipe(tmp_path, tmp_path / "more", reference=[str(tmp_path / "in")], tier2={})
    done = as_ordinary_user("run", recipe, "--workers", 1)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith(f"Error: reference: {locked}: this folder cannot be read: Permission denied")


def test_a_local_dataset_with_a_folder_that_cannot_be_read_is_an_error(tmp_path, locked):
    recipe, _ = write_recipe(tmp_path, "", input={"paths": [{"dataset": str(tmp_path / "in")}]})
    done = as_ordinary_user("run", recipe, "--workers", 1)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith(f"Error: {locked}: this folder cannot be read: Permission denied")


def test_what_lies_beside_the_input_is_listed_with_the_reason(tmp_path, good):
    folder = tmp_path / "in"
    for name in ("b.csv", "c.json", "d.txt", "e.json.gz", "README", "_SUCCESS", ".DS_Store"):
        (folder / name).write_text("x\n")
    write_shard(folder / ".trash" / "gone.parquet", [PROSE])
    write_shard(folder / "_old" / "gone.parquet", [PROSE])
    (folder / "earlier" / "ledger").mkdir(parents=True)
    (folder / "earlier" / "ledger" / "snapshot.json").write_text("{}")
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe.parquet")
    expected = {
        "b.csv": ".csv files are not read", "c.json": PERHAPS_LINES, "d.txt": ".txt files are not read",
        "e.json.gz": PERHAPS_LINES, "README": "files without an ending are not read",
        "_SUCCESS": "files without an ending are not read", ".DS_Store": HIDDEN, ".trash": HIDDEN, "_old": SET_ASIDE,
        "earlier": RUN, "loop": KNOWN_FOLDER, "pipe.parquet": SPECIAL,
    }  # fmt: skip
    recipe, run = write_recipe(tmp_path, folder)
    planned = command("plan", recipe, "--json")
    assert planned.returncode == 0, planned.stderr
    found = json.loads(planned.stdout)["input"]
    assert {row["path"]: row["reason"] for row in found["passed_over"]} == expected
    told = command("plan", recipe).stdout
    assert f"passed over: c.json, e.json.gz ({PERHAPS_LINES})\n" in told
    assert carry_out(recipe)["documents_in"] == 20
    rows = inputs(run, "file, file_no, passed_over")
    assert rows[0] == ("a.parquet", 0, None)
    assert {file: reason for file, number, reason in rows[1:] if number is None} == expected


def test_the_run_says_what_it_passes_over(tmp_path, good):
    (tmp_path / "in" / "b.csv").write_text("x\n")
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    done = command("run", recipe)
    assert "passed over beside the input: 1 (.csv files are not read); view `inputs` lists them\n" in done.stderr


def test_endings_in_capitals_are_as_good_as_small_ones(tmp_path, good):
    good.rename(good.with_name("A.PARQUET"))
    (tmp_path / "in" / "B.JSONL").write_text(json.dumps({"text": PROSE}) + "\n")
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    assert carry_out(recipe)["documents_in"] == 21
    assert inputs(run, "file, passed_over") == [("A.PARQUET", None), ("B.JSONL", None)]


def test_a_folder_without_a_file_that_is_read_says_what_is_there_instead(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("x\n")
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    expected = "no .parquet or .jsonl file in this folder; passed over: 1 (.csv files are not read)"
    assert refused(recipe, InputError).endswith(expected)


def test_a_name_that_is_no_text_is_told_as_far_as_it_can_be(tmp_path, good):
    with open(os.fsencode(tmp_path / "in") + b"/caf\xe9.csv", "wb"):
        pass
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe)
    assert inputs(run, "file, passed_over")[1] == ("caf\ufffd.csv", ".csv files are not read")


def test_a_folder_that_two_links_lead_to_is_read_once_under_its_own_name(tmp_path):
    write_shard(tmp_path / "in" / "real" / "a.parquet", [PROSE])
    write_shard(tmp_path / "out" / "b.parquet", [PROSE + "b"])
    for name, place in (("again", "in/real"), ("first", "out"), ("second", "out")):
        (tmp_path / "in" / name).symlink_to(tmp_path / place)
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    assert carry_out(recipe)["documents_in"] == 2
    assert len({file for (file,) in documents(run, "file")} & {"real/a.parquet"}) == 1
    assert [why for _, why in inputs(run, "file, passed_over") if why] == [KNOWN_FOLDER] * 2


@pytest.mark.parametrize(
    "pattern",
    ["*", "**", "**/*", "**/*.parquet", "*/*.parquet", "a*/**/x?.parquet", "*/[ab].parquet", "**/b/**/*", "b/../*.p*",
     ".h/*", "**/.h/*", "*/.*", "?", "[[]x].parquet", "nowhere/*", "a.parquet/*", "**/**/x1.parquet"],
)  # fmt: skip
def test_a_glob_matches_what_the_library_matches(tmp_path, monkeypatch, pattern):
    for name in ("a.parquet", "[x].parquet", "a1/x1.parquet", "a1/b/xx.parquet", "b/a.parquet", "b/b/b/a.json", "q",
                 ".h/x1.parquet", "b/.hidden", "b/.h/a.parquet"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "to_b").symlink_to("b")
    monkeypatch.chdir(tmp_path)
    for given in (tmp_path / pattern, pattern):
        names = {os.path.abspath(name) for name in glob.glob(str(given), recursive=True)}
        wanted = sorted(name for name in names if not os.path.isdir(name))
        found = expand_glob(type(tmp_path)(given))
        if "**" in pattern:  # `glob` follows each link again; a folder is enough once
            wanted = sorted({os.path.realpath(name) for name in wanted})
            assert sorted({os.path.realpath(path) for path in found.files}) == wanted
        else:
            assert [str(path) for path in found.files] == wanted
        assert not found.unreadable


def test_a_socket_is_passed_over(tmp_path, good, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("in/s.parquet")
        recipe, run = write_recipe(tmp_path, "in")
        carry_out(recipe)
    assert inputs(run, "file, passed_over")[1] == ("s.parquet", SPECIAL)
