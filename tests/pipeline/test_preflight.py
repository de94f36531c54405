"""What a recipe names and is not there is told at once: before kernels are imported and JSON lines are converted."""

import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.commands import carry_out, command, refused
from support.corpora import PROSE, write_shard
from support.recipes import write_recipe

from curate.decide.ids import SeenIds
from curate.errors import InputError
from curate.ledger.ledger import read_ledger
from curate.ledger.names import DOCUMENTS

LINES = "".join(json.dumps({"text": f"{PROSE} {k}", "id": k}) + "\n" for k in range(50))
MISSING = [
    ('input.paths=["gone/*.jsonl"]', "input.paths: gone/*.jsonl matches no file in"),
    ("tier1.rules=[gofer]", "tier1.rules: no rule set 'gofer'; did you mean 'gopher'?"),
    ("tier1.language.keep=[english]", "tier1.language.keep: the model knows no language 'english'; did you mean 'en'?"),
    ("tier1.perplexity.model={german: x}", "tier1.perplexity.model: no language 'german'; did you mean 'de'?"),
    ("tier1.perplexity.model=de.binary", "tier1.perplexity.model: de.binary: no such file"),
    ("tier1.decontaminate.against=[evals]", "tier1.decontaminate.against: evals matches no file in"),
    ("tier1.block=[{reason: bad, words: bad.txt}]", "tier1.block: bad: bad.txt: no such file"),
    ("evaluate.heldout=[heldout]", "evaluate.heldout: heldout matches no file in"),
    ("exclude=[gone.txt]", "exclude: gone.txt: no such file"),
    ("export=[parquet]", "export: parquet: no such format"),
    ("dedup.against=[runs/old]", "dedup.against: runs/old: no such folder; "),
    ("models.pin=runs/old", "models.pin: runs/old: no such folder; "),
    ("distill={vectors: {static: ./model}}", "distill.vectors.static: ./model: no such folder"),
    ("distill={grades: grades.parquet, scores: {grades: 1}}", "distill.grades: grades.parquet matches no file in"),
]


@pytest.mark.parametrize(("change", "told"), MISSING, ids=[change for change, _ in MISSING])
def test_what_is_missing_is_told_before_json_lines_are_converted(tmp_path, monkeypatch, change, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.jsonl").write_text(LINES)
    recipe, run = write_recipe(tmp_path, "in.jsonl")
    assert told in refused(recipe, Exception, change)
    assert not (run / "inputs").exists()


@pytest.mark.parametrize("name", ["run", "plan"])
def test_what_is_missing_is_told_before_kernels_are_imported_and_workers_start(tmp_path, name):
    (tmp_path / "in.jsonl").write_text(LINES)
    recipe, run = write_recipe(tmp_path, tmp_path / "in.jsonl", export=["hff"])
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "curate", name, str(recipe)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    imported = {line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "Error: export: hff: no such format; did you mean 'hf'?"
    assert "curate.recipe.recipe" in imported
    assert not imported & {"numba", "duckdb", "scipy", "curate.pipeline.run", "multiprocessing.spawn"}
    assert not run.exists()


def test_a_reference_that_pinned_models_do_not_need_may_be_gone(tmp_path, purified):
    path, run = purified
    with pytest.raises(InputError, match="reference: gone"):
        carry_out(path, f"output={tmp_path / 'run'}", "reference=[gone]")
    carry_out(path, f"output={tmp_path / 'run'}", "reference=[gone]", f"models.pin={run}")
    assert (tmp_path / "run" / "manifest.json").exists()


def test_an_id_that_stands_twice_is_told_while_the_corpus_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("curate.maps.measure.TASK_BYTES", 1)
    for name, first in (("a", 0), ("b", 5), ("c", 100), ("d", 200)):
        texts = [f"{PROSE} {name} {k}" for k in range(10)]
        write_shard(tmp_path / "in" / f"{name}.parquet", texts, key=list(range(first, first + 10)))
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    told = refused(recipe, InputError, "input.id=key")
    assert told.startswith("b.parquet:0: id '5' occurs 2 times, first in a.parquet:5; ids must differ")
    events = [json.loads(line) for line in (run / "run.log").read_text().splitlines()]
    assert len([event for event in events if event["event"] == "measured"]) == 2  # files c and d were not read
    # A run that goes on knows the ids that an earlier one read.
    table = pq.read_table(tmp_path / "in" / "b.parquet")
    pq.write_table(table.set_column(1, "key", pa.array(range(200, 210))), tmp_path / "in" / "b.parquet")
    assert "d.parquet:0: id '200' occurs 2 times, first in b.parquet:0" in refused(recipe, InputError, "input.id=key")


def test_ids_are_compared_with_those_of_every_part_before(tmp_path, monkeypatch):
    monkeypatch.setattr("curate.maps.measure.TASK_BYTES", 1)
    keys = iter(range(10**6))
    for k in range(12):
        write_shard(tmp_path / "in" / f"{k:02}.parquet", [f"{PROSE} {k} {n}" for n in range(k + 1)],
                    key=[next(keys) for _ in range(k + 1)])  # fmt: skip
    recipe, run = write_recipe(tmp_path, tmp_path / "in")
    carry_out(recipe, "input.id=key")
    ledger = read_ledger(run)
    [digest] = {part.digest for part in ledger.of(DOCUMENTS)}
    seen = SeenIds("key", DOCUMENTS, digest, ledger)  # a clash would end it
    parts = ledger.of(DOCUMENTS, digest)
    assert len(parts) == 12
    assert sum(map(len, seen._runs)) == 78
    assert len(seen._runs) < 5  # merged
    assert all(seen._repeats(seen._hashes(part)) for part in parts)


def test_the_command_tells_of_a_missing_file_in_one_line(tmp_path):
    recipe, _ = write_recipe(tmp_path, tmp_path / "gone")
    done = command("run", recipe, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: input.paths: {tmp_path}/gone matches no file in {tmp_path}\n"
