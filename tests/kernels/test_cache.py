"""The folder of compiled kernels is ours alone: as an ordinary user, with a second one who was there first."""

import atexit
import json
import os
import shutil
import stat
import tempfile
from pathlib import Path

import pytest

from curate.cache import cache_folder, cache_home, private_folder, private_leaf
from curate.cli.shell import _history
from curate.errors import RunError
from curate.storage.mirror import run_of

MODE = 0o700
US, THEM = 61_001, 61_002


@pytest.fixture
def machine(tmp_path_factory):
    """A folder that all users reach, with a home of ours and a temporary folder as `/tmp` is."""
    root = Path(tempfile.mkdtemp(prefix="machine-"))
    os.chmod(root, 0o755)
    home, temporary = root / "home", root / "tmp"
    home.mkdir(mode=0o755)
    os.chown(home, US, US)
    temporary.mkdir()
    os.chmod(temporary, 0o1777)
    yield home, temporary
    shutil.rmtree(root)


def ask(home, temporary, look=None, **environment):
    """What a process of an ordinary user finds: its cache, or what `look` returns."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            atexit._clear()
            os.chdir("/")
            os.setgroups([])
            os.setgid(US)
            os.setuid(US)
            os.environ.clear()
            named = {"HOME": str(home), "TMPDIR": str(temporary), **environment}
            os.environ.update({name: value for name, value in named.items() if value is not None})
            tempfile.tempdir = None
            cache_home.cache_clear()
            os.write(writing, json.dumps((look or cache)()).encode())
            atexit._run_exitfuncs()
        except BaseException as error:
            os.write(writing, json.dumps({"error": repr(error)}).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as pipe:
        found = json.loads(pipe.read())
    os.waitpid(child, 0)
    return found


def cache():
    """Where the cache is, whose, and with which modes."""
    folder = cache_folder("kernels/x")
    found = [os.stat(place) for place in (folder, cache_home())]
    return {
        "home": str(cache_home()),
        "owners": [one.st_uid for one in found],
        "modes": [stat.S_IMODE(one.st_mode) for one in found],
    }


def mirror():
    """Where the copy of a run on an object store is, or why it is nowhere."""
    try:
        return {"run": str(run_of("s3://bucket/run"))}
    except RunError as error:
        return {"refused": str(error)}


def history():
    """How the shell of `curate sql` keeps what was written before."""
    return {"history": type(_history()).__name__}


others = pytest.mark.skipif(os.getuid() != 0, reason="acts as two other users")


@others
def test_the_cache_is_in_the_home_of_the_user_with_mode_0700(machine):
    home, temporary = machine
    found = ask(home, temporary)
    assert found["home"] == str(home / ".cache" / "curate")
    assert (found["owners"], found["modes"]) == ([US, US], [MODE, MODE])


@others
@pytest.mark.parametrize("planted", ["folder", "link", "link to ours", "open folder", "file"])
def test_without_a_home_a_folder_that_somebody_made_before_us_is_not_taken(machine, planted):
    home, temporary = machine
    os.chown(home, 0, 0)
    predictable = temporary / f"curate-{US}"
    assert ask(home, temporary)["home"] == str(predictable / "curate")  # where nobody else was before us
    shutil.rmtree(predictable)
    plant(predictable, planted, home.parent)
    before = sorted(str(path) for path in home.parent.rglob("*"))
    found = ask(home, temporary)
    assert Path(found["home"]).parent != predictable
    assert Path(found["home"]).parent.parent == temporary
    assert (found["owners"], found["modes"]) == ([US, US], [MODE, MODE])
    assert sorted(str(path) for path in home.parent.rglob("*")) == before  # ours is gone, and theirs has nothing new


def plant(place, planted, root):
    """What an attacker made before us, in place of a folder that is easy to predict."""
    if planted == "file":
        place.write_text("")
    elif planted.startswith("link"):
        target = root / "target"
        target.mkdir()
        os.chown(target, *((US, US) if planted == "link to ours" else (THEM, THEM)))
        place.symlink_to(target)
    else:
        place.mkdir()
        os.chmod(place, 0o777)
    if planted == "open folder":  # of ours, as one that an unlucky umask made
        (place / "curate").mkdir()
        os.chown(place / "curate", THEM, THEM)
    os.lchown(place, *((US, US) if planted == "open folder" else (THEM, THEM)))


@others
@pytest.mark.parametrize("where", ["CURATE_CACHE", "XDG_CACHE_HOME"])
@pytest.mark.parametrize("flaw", ["others can write", "theirs", "above it theirs"])
def test_a_folder_that_is_named_but_that_others_can_change_is_not_taken(machine, where, flaw):
    home, temporary = machine
    named = home.parent / "shared" / "cache"
    named.mkdir(parents=True)
    os.chown(named, US, US)
    if flaw == "others can write":
        os.chmod(named, 0o777)
    else:
        os.chown(named if flaw == "theirs" else named.parent, THEM, THEM)
        os.chmod(named, 0o777 if flaw == "theirs" else 0o755)
    found = ask(home, temporary, **{where: str(named)})
    assert found["home"] == str(temporary / f"curate-{US}" / "curate")
    assert list(named.iterdir()) == []


@others
def test_a_refused_folder_of_the_environment_is_told_once_with_what_is_used_instead(machine, capfd):
    home, temporary = machine
    shared = home.parent / "shared"
    shared.mkdir()
    os.chown(shared, US, THEM)
    os.chmod(shared, 0o2775)  # as clusters set up the folder of a project
    assert ask(home, temporary, CURATE_CACHE=str(shared))["home"] == str(temporary / f"curate-{US}" / "curate")
    assert capfd.readouterr().err == (
        f"CURATE_CACHE: {shared}: others can write there; {temporary}/curate-{US}/curate is used instead: "
        "name a folder that nobody else can write to, nor replace anything above it\n"
    )
    ask(home, temporary, XDG_CACHE_HOME=str(shared))
    assert capfd.readouterr().err == ""


@others
def test_a_user_without_a_home_gets_the_folder_in_the_temporary_one(machine):
    home, temporary = machine
    without_home = {"HOME": None, "XDG_CACHE_HOME": None}
    assert ask(home, temporary, **without_home)["home"] == str(temporary / f"curate-{US}" / "curate")
    assert ask(home, temporary, history, **without_home) == {"history": "InMemoryHistory"}
    assert ask(home, temporary, mirror, **without_home, CURATE_RUNS="~/runs")["refused"] == (
        "s3://bucket/run: its copy on this machine: ~/runs: this user has no home; set CURATE_RUNS to a folder of yours"
    )


@others
def test_the_copy_of_a_run_that_others_could_change_is_refused_and_not_replaced_by_a_new_one(machine):
    home, temporary = machine
    run = Path(ask(home, temporary, mirror)["run"])
    os.chmod(run.parent, 0o2770)
    os.chown(run.parent, US, THEM)
    refused = ask(home, temporary, mirror)["refused"]
    assert refused.startswith(f"s3://bucket/run: its copy on this machine: {run.parent}: others can write there; set ")
    assert list(temporary.iterdir()) == []


@others
def test_a_link_of_our_own_is_followed_and_its_target_is_what_is_used(machine):
    home, temporary = machine
    scratch = home.parent / "scratch"
    scratch.mkdir()
    os.chown(scratch, US, US)
    (home / ".cache").symlink_to(scratch)
    os.lchown(home / ".cache", US, US)
    assert ask(home, temporary)["home"] == str(scratch / "curate")


@others
def test_the_copy_of_a_run_on_an_object_store_is_refused_in_a_folder_of_somebody_else(machine):
    home, temporary = machine
    runs = home.parent / "runs"
    runs.mkdir()
    os.chmod(runs, 0o1777)
    run = Path(ask(home, temporary, mirror, CURATE_RUNS=str(runs))["run"])
    found = run.parent.stat()
    assert (run.parent.parent, found.st_uid, stat.S_IMODE(found.st_mode)) == (runs, US, MODE)
    os.chown(run.parent, THEM, THEM)
    refused = ask(home, temporary, mirror, CURATE_RUNS=str(runs))["refused"]
    assert refused == (
        f"s3://bucket/run: its copy on this machine: {run.parent}: belongs to user {THEM}; "
        "set CURATE_RUNS to a folder of yours"
    )


def test_a_folder_that_others_can_write_to_is_refused_and_one_that_they_can_read_is_closed(tmp_path):
    os.chmod(tmp_path, 0o700)
    for mode in (0o777, 0o702):
        (tmp_path / f"{mode:o}").mkdir()
        os.chmod(tmp_path / f"{mode:o}", mode)
        with pytest.raises(PermissionError, match="others can write there"):
            private_folder(tmp_path / f"{mode:o}")
    (tmp_path / "read").mkdir(mode=0o755)
    assert stat.S_IMODE(private_folder(tmp_path / "read").stat().st_mode) == MODE
    (tmp_path / "link").symlink_to(tmp_path / "read")
    with pytest.raises(NotADirectoryError):
        private_leaf(tmp_path / "link")
    assert private_folder(tmp_path / "a" / "b") == (tmp_path / "a" / "b").resolve()
