"""Names and values out of the data on a terminal: they move no cursor, turn no text around, and are no markup."""

import csv
import io
import json
import os
import pty
import subprocess
import sys

import pytest
from support.commands import command
from support.corpora import PROSE, write_shard
from support.recipes import write_recipe

from curate.display import UNSAFE, visible

ODD = ["[/red]", "[bold]x", ":smile:", "\x1b[31mred", "\u202eback", "\x9b2J", "\u2066x", "\U000e0041", "a\tb", "\\[x]"]


@pytest.fixture(scope="module")
def odd_run(tmp_path_factory):
    """A run of which rules, ids, strata, columns and files are odd, and what its command printed."""
    folder = tmp_path_factory.mktemp("odd")
    texts = [f"{PROSE} {k}" for k in range(4 * len(ODD))]
    marks = [ODD[k % len(ODD)] for k in range(len(texts))]
    ids = [f"{mark}{k}" for k, mark in enumerate(marks)]
    write_shard(folder / "in" / "a[b]\x1b[1m.parquet", texts, id=ids, mark=marks, **{mark: marks for mark in ODD})
    (folder / "in" / "[").mkdir()
    (folder / "in" / "[/b]\x1b[2m\u202e.parquet").write_text("broken")
    rules = [{"reason": "odd", "when": "input.mark = '[bold]x' AND '[/red]' <> ''", "source": "[/red]\x1b[1m"}]
    recipe, run = write_recipe(folder, folder / "in", tier1={"rules": rules}, on_error="quarantine", allow_empty=True)
    done = command("run", recipe, "--workers", "1", "--set", "input.id=id", "--set", "input.strata=[mark]")
    assert done.returncode == 0, done.stderr
    return recipe, run, done


def is_safe(text):
    return not UNSAFE.search(text)


def test_the_closing_table_shows_odd_files_as_they_are(odd_run):
    _, _, done = odd_run
    assert is_safe(done.stdout)
    assert is_safe(done.stderr)
    assert "[/b]␛[2m⟨202E⟩.parquet" in done.stdout


@pytest.mark.parametrize("words", [
    ["plan", "RECIPE"], ["compare", "RUN", "RUN"], ["verify", "RUN"], ["sample", "RUN"], ["runs", "FOLDER"],
    ["what-if", "RUN", "--set", "tier1.rules=[]"], ["card", "RUN"], ["sql", "RUN", "FROM inputs"],
    ["sql", "RUN", "FROM documents"], ["why", "RUN", "[/red]0"], ["gc", "RUN"], ["export", "RUN"], ["rules"],
], ids=lambda words: " ".join(words[:1]))  # fmt: skip
def test_no_command_fails_at_odd_names_or_passes_them_to_the_terminal(odd_run, tmp_path, words):
    recipe, run, _ = odd_run
    places = {"RUN": run, "RECIPE": recipe, "FOLDER": recipe.parent}
    more = ["--to", "hf,jsonl", "--out", tmp_path / "ou[/t]"] if words[0] == "export" else []
    done = command(*(places.get(word, word) for word in words), *more)
    assert done.returncode == 0, done.stderr
    assert is_safe(done.stdout)
    assert is_safe(done.stderr)


def test_json_of_a_query_is_the_same_value_without_a_character_that_a_terminal_obeys(odd_run):
    _, run, _ = odd_run
    query = 'SELECT input.id AS "\u202ename", input.mark FROM corpus ORDER BY row'
    done = command("sql", run, query, "--format", "json")
    assert is_safe(done.stdout)
    rows = json.loads(done.stdout)
    assert rows == [{"\u202ename": f"{ODD[k % len(ODD)]}{k}", "mark": ODD[k % len(ODD)]} for k in range(len(rows))]
    assert len(rows) == 4 * len(ODD)


def test_csv_of_a_query_is_as_it_is_in_a_file_and_seen_on_a_terminal(odd_run):
    _, run, _ = odd_run
    words = [sys.executable, "-m", "curate", "sql", str(run), "SELECT input.mark FROM corpus ORDER BY row", "--format"]
    there = subprocess.run([*words, "csv"], capture_output=True, check=True).stdout.decode()
    marks = [mark for (mark,) in csv.reader(io.StringIO(there, newline=""))]
    assert marks == ["mark", *ODD * 4]
    master, slave = pty.openpty()
    process = subprocess.Popen([*words, "csv"], stdout=slave, stderr=subprocess.DEVNULL)
    os.close(slave)
    seen = bytearray()
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # Linux's end of a terminal
            break
        if not piece:
            break
        seen += piece
    os.close(master)
    assert process.wait(60) == 0
    assert seen.decode().replace("\r\n", "\n") == visible(there)
