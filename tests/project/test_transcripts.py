"""The transcripts of some pages of the docs are what a user sees."""

import re
import shlex
import subprocess
import sys

from support.commands import command
from support.corpora import SAMPLE
from support.paths import ROOT

DOCS = ROOT / "docs"


def steps(page):
    """(arguments, printed) of every command in the page's transcripts."""
    sessions = re.findall(r"^```console\n(.*?)^```$", (DOCS / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)
    parts = [part for session in sessions for part in re.split(r"^\$ curate ", session, flags=re.MULTILINE)[1:]]
    return [(shlex.split(part.partition("\n")[0].split(" > ")[0]), part.partition("\n")[2]) for part in parts]


def shown(text):
    """Printed lines without what differs by machine and version: costs, sizes of files, widths of tables."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip(" ─")]
    lines = [re.sub(r"^(time|CPU|memory|disk) .*", r"\1", line) for line in lines]
    return [re.sub(r" [\d.,]+( [kM]?B)?$", " N", line) for line in lines]


def copy_sample(folder):
    folder.mkdir()
    for path in SAMPLE.glob("*.parquet"):
        (folder / path.name).write_bytes(path.read_bytes())


def test_the_transcripts_are_what_is_printed(tmp_path):
    copy_sample(tmp_path / "data")
    told = steps("plan.md")
    assert [arguments[0] for arguments, _ in told] == ["init", "plan", "run", "plan"]
    for arguments, printed in told:
        done = command(*arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        if arguments[0] != "run":
            assert shown(done.stdout) == shown(printed)
    changes = ("--set", "dedup.exact=false", "--set", "input.id=id")
    assert command("run", "web.yaml", "--quiet", *changes, cwd=tmp_path).returncode == 0
    told = steps("ledger.md")
    assert [arguments[0] for arguments, _ in told] == ["gc", "gc"]
    for arguments, printed in told:
        assert shown(command(*arguments, cwd=tmp_path).stdout) == shown(printed)


def test_what_is_told_of_documents_is_what_the_docs_show(demo, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "demo").symlink_to(demo)
    told = steps("look.md")
    assert [arguments[0] for arguments, _ in told] == ["sample", "why", "why", "why"]
    for arguments, printed in told:
        done = command(*arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert shown(done.stdout) == shown(printed)


def test_a_model_is_trained_and_used_as_the_docs_show(tmp_path):
    copy_sample(tmp_path / "data")
    [(arguments, printed)] = steps("language-models.md")
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert shown(done.stdout) == shown(printed)
    page = (DOCS / "language-models.md").read_text("utf-8")
    [(code, output)] = re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == output


def test_another_recipe_gains_and_loses_what_the_docs_show(tmp_path):
    assert command("demo", "--quiet", cwd=tmp_path).returncode == 0
    [(arguments, printed)] = steps("what-if.md")
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert shown(done.stdout) == shown(printed)
    page = (DOCS / "what-if.md").read_text("utf-8")
    saved, run, compared = (
        re.search(rf"^curate ({name} .*)$", page, re.MULTILINE)[1] for name in ("what-if", "run", "compare")
    )
    assert command(*shlex.split(saved), cwd=tmp_path).returncode == 0
    assert command(*shlex.split(run), cwd=tmp_path).returncode == 0
    done = command(*shlex.split(compared), cwd=tmp_path)
    [told] = re.findall(r"^It ends with\n\n```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert done.stdout.endswith(told)
