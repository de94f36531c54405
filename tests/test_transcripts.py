"""The transcripts of docs/plan.md and of `curate gc` in docs/ledger.md are what a user sees."""

import re
import shlex
from pathlib import Path

from conftest import SAMPLE, command

DOCS = Path(__file__).parent.parent / "docs"


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


def test_the_transcripts_are_what_is_printed(tmp_path):
    (tmp_path / "data").mkdir()
    for path in SAMPLE.glob("*.parquet"):
        (tmp_path / "data" / path.name).write_bytes(path.read_bytes())
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
