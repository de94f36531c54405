"""All three tiers from one recipe with real models: what is written, whether that is worth it, and again the same."""

import json
import os
import runpy
import shutil

import pyarrow.parquet as pq
import pytest
from support.commands import program
from support.language_models import smollm2
from support.llm_server import ON_CPU
from support.paths import ROOT
from support.runs import digests
from support.teachers import successes

pytestmark = pytest.mark.llm

RECIPES = ROOT / "recipes"
WRITTEN = 2500  # tokens that are to be written
NONE = {"tier3.adapter": "null", "tier3.compare": "false"}
SMALL = {
    "evaluate.track": "false", "tier3.adapter.steps": 2, "tier3.adapter.context": 64, "tier3.adapter.batch": 2,
    "tier3.chunk": 500, "tier3.forms": "[rewrite]", "tier3.oversample": 1, "tier3.copy_band": "[0%, 100%]",
}  # fmt: skip
SECONDS = 900


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """The folder with the parts of the sample, a run without a model, and how much of the domain it found."""
    os.environ.update(ON_CPU)
    folder = tmp_path_factory.mktemp("three")
    runpy.run_path(str(RECIPES / "three_tiers.py"))["main"](folder / "three-tiers")
    done(folder, "run", NONE)
    [domain] = pq.read_table(folder / "runs" / "three-tiers" / "synthetic" / "domains.parquet").to_pylist()
    return folder, domain["tokens"]


def done(folder, name, changes, *further):
    """Run the recipe with changes, or another command."""
    given = [word for place, value in changes.items() for word in ("--set", f"{place}={value}")]
    found = program(name, *further or (RECIPES / "three-tiers.yaml", "--quiet"), *given, cwd=folder, timeout=SECONDS)
    assert found.returncode == 0, found.stderr
    return found.stdout


def small(tokens, **changes):
    seeds = "three-tiers/seeds.parquet"
    domains = json.dumps([{"name": "finance", "seeds": [seeds], "target_tokens": tokens + WRITTEN}])
    return SMALL | {"tier3.domains": domains, "tier3.adapter.base": smollm2(), **changes}


def made(run):
    return json.loads((run / "manifest.json").read_text())["synthetic"]


def check(run):
    """What was written has passed the gates, stands in the output and its export, and is held against other arms."""
    told = made(run)
    assert told["documents"] > 0
    candidates = pq.read_table(run / "synthetic" / "synthetic.parquet").to_pylist()
    accepted = [row for row in candidates if row["accepted"]]
    assert {row["adapter"] for row in candidates} == {"finance"}
    assert all(row["n_new_facts"] == 0 for row in accepted)
    assert {row["adapter"] for row in pq.read_table(run / "synthetic" / "comparison.parquet").to_pylist()} == {None}
    for folder in ("data", "export/hf"):
        rows = [row for path in (run / folder).rglob("*.parquet") for row in pq.read_table(path).to_pylist()]
        assert {row["doc_id"] for row in rows if row["synthetic"]} == {row["doc_id"] for row in accepted}
    facts = told["written"]
    assert facts["adapters"]["finance"]["bits_per_byte_before"] > 0
    assert len(facts["teacher"]["adapters"]["finance"]) == 32
    asked = facts["questions"]["finance"]
    assert asked["asked"] == sum(asked.values()) - asked["asked"] > 0


def test_three_tiers_with_a_model_in_this_process(sample):
    folder, tokens = sample
    run = folder / "runs" / "three-tiers"
    changes = small(tokens)
    done(folder, "run", changes)
    check(run)
    evaluated = json.loads(done(folder, "evaluate", {}, "runs/three-tiers", "--json"))
    arms = {row["arm"] for row in evaluated["arms"]}
    assert arms >= {"ours", "up-sampled", "base model", "without augment", "without purify", "random", "full"}
    said = done(folder, "evaluate", {}, "runs/three-tiers")
    assert "up-sampling on held-out texts of finance" in said
    before, answers = digests(run), teacher_bytes(run)
    done(folder, "run", changes)
    assert (digests(run), teacher_bytes(run)) == (before, answers)


def test_three_tiers_with_a_server_that_runs_already(server, sample):
    folder, tokens = sample
    run = folder / "runs" / "served"
    teacher = json.dumps({"vllm": {"urls": [server], "concurrency": 16}})
    changes = small(tokens, output="runs/served", teacher=teacher) | {"tier2.written": 0}
    done(folder, "run", changes)
    check(run)
    before, asked = digests(run), successes(server)
    shutil.rmtree(run / "synthetic")
    done(folder, "run", changes)  # of what was written nothing but the request cache is left
    assert successes(server) == asked
    assert digests(run) == before


def teacher_bytes(run):
    return {path.name: path.stat().st_size for path in (run / "teacher").glob("*.jsonl")}
