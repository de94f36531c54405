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


def test_every_module_stands_in_the_file_map():
    """But formats of exports, each of which is a file named after it."""
    root = ROOT
    files = [path for folder in ("curate", "distill", "filters", "manifests") for path in (root / folder).glob("*.py")]
    formats = {path for path in files if path.parent.name == "manifests" and "FORMAT = " in path.read_text("utf-8")}
    modules = [path.name for path in files if path not in formats and not path.name.startswith("__")]
    assert [name for name in modules if not re.search(rf"(?<!\w){name}", README)] == []
