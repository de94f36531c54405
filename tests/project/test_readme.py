"""README's transcript is what a user sees."""

import re
import shlex

from support.commands import program
from support.paths import ROOT

README = (ROOT / "README.md").read_text("utf-8")


def shown(text):
    """Printed lines without trailing blanks, empty lines and times."""
    lines = [re.sub(r"[\d.]+ s$", "N s", line.rstrip()) for line in text.splitlines()]
    return [line for line in lines if line]


def test_every_command_of_the_readme_prints_what_stands_there(tmp_path):
    [demo] = re.findall(r"^```text\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert shown(program("demo", "--quiet", cwd=tmp_path).stdout) == shown(demo)
    [session] = re.findall(r"^```console\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    steps = re.split(r"^\$ curate ", session, flags=re.MULTILINE)[1:]
    assert len(steps) == 3
    for step in steps:
        arguments, _, printed = step.partition("\n")
        assert shown(program(*shlex.split(arguments), cwd=tmp_path).stdout) == shown(printed)
