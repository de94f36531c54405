"""Folders that `curate init` writes a recipe for."""

import json

import yaml
from support.commands import command
from support.corpora import PROSE


def prose(start, count):
    """Texts that differ in their first words."""
    return [f"Story number {k} of the old town. {PROSE}" for k in range(start, start + count)]


def write_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def fields_written(folder, *arguments):
    """The recipe that `curate init` writes in a folder."""
    done = command("init", *arguments, cwd=folder)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    text = (folder / "recipe.yaml").read_text("utf-8")
    assert text.count("\n") <= 60
    return yaml.safe_load(text), done.stdout
