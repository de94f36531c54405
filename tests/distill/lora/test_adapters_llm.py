"""Adapters are trained with real models: exactly resumed, used again where nothing has changed, and worth something."""

import json
import os
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner
from support.commands import program
from support.corpora import SAMPLE, write_shard
from support.language_models import random_adapter, smollm2, tiny_llama
from support.llm_server import ON_CPU
from support.paths import ROOT
from support.small_adapters import SMALL, TEXTS, trained

from curate.cli import main
from curate.distill.lora.files import CHECKPOINT, CONFIG, FACTS, WEIGHTS, load_checkpoint
from curate.distill.lora.train import train_adapter
from curate.distill.teacher.open import open_teacher
from curate.distill.teacher.protocol import Request, Sampling
from curate.errors import RecipeError
from curate.progress import unwritten_log
from curate.recipe.teacher import Teacher
from curate.recipe.tier3 import Adapter
from curate.storage.files import ASIDE

pytestmark = pytest.mark.llm


@pytest.fixture(scope="session", autouse=True)
def on_cpu():
    os.environ.update(ON_CPU)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("tiny") / "tiny")


KILLED = """
import os, signal, sys, time
from pathlib import Path
import peft, torch, transformers  # before the forks, which then need not wait for them
from curate.distill.lora.files import CHECKPOINT
from curate.distill.lora.files import FACTS
from support.small_adapters import SMALL
from support.small_adapters import trained

def start(name):
    if child := os.fork():
        return child
    trained(sys.argv[1], Path(name), SMALL.model_copy(update={"check_every": 1, "steps": 40}))
    os._exit(0)

assert os.waitpid(start("whole"), 0)[1] == 0
checkpoint = Path("killed") / CHECKPOINT
for _ in range(3):
    before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
    child = start("killed")
    while not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before:
        time.sleep(0.01)
    time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert not (Path("killed") / FACTS).exists()
assert os.waitpid(start("killed"), 0)[1] == 0
"""


def test_a_training_that_was_killed_ends_with_the_same_bytes_as_one_that_was_not(tiny, tmp_path):
    environment = os.environ | ON_CPU | {"PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), *sys.path])}
    subprocess.run([sys.executable, "-c", KILLED, str(tiny)], env=environment, cwd=tmp_path, check=True)
    whole, killed = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("whole", "killed")
    )
    assert set(whole) == {CONFIG, FACTS, WEIGHTS}
    assert killed == whole


def sorted_list(value):
    return sorted(value) if isinstance(value, list) else value


def test_what_is_written_names_no_place_and_is_loaded_by_peft(tiny, tmp_path):
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    facts = trained(tiny, tmp_path / "adapter")
    written = json.loads((tmp_path / "adapter" / FACTS).read_text())
    assert (written["steps"], written["tokens"], written["texts"], written["heldout_texts"]) == (12, 12 * 48, 40, 3)
    assert [row["step"] for row in facts.history] == [0, 3, 6, 9, 12]
    assert facts.bits_per_byte_after == min(row["bits_per_byte"] for row in facts.history) < facts.bits_per_byte_before
    assert set(written["base"]) == {"model", "content_xxh3_128"}
    for name in (CONFIG, FACTS, WEIGHTS):
        assert str(tmp_path).encode() not in (tmp_path / "adapter" / name).read_bytes()
        assert str(tiny.parent).encode() not in (tmp_path / "adapter" / name).read_bytes()
    network = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny), tmp_path / "adapter")
    network.save_pretrained(tmp_path / "again")
    config, again = (json.loads((tmp_path / name / CONFIG).read_text()) for name in ("adapter", "again"))
    assert {name for name in again if sorted_list(again[name]) != config[name]} <= {"base_model_name_or_path"}
    theirs = load_file(tmp_path / "again" / WEIGHTS)
    ours = load_file(tmp_path / "adapter" / WEIGHTS)
    assert set(theirs) == set(ours)
    assert all(theirs[name].equal(ours[name]) for name in ours)
    changed = [bool(value.any()) for name, value in network.named_parameters() if "lora_B" in name]
    assert len(changed) == 4
    assert all(changed)


def test_an_adapter_is_trained_once_and_anew_for_other_settings_or_texts(tiny, tmp_path, capsys):
    first = trained(tiny, tmp_path / "a")
    stamp = (tmp_path / "a" / WEIGHTS).stat().st_mtime_ns
    capsys.readouterr()
    assert trained(tiny, tmp_path / "a") == first
    assert capsys.readouterr().err == f"{tmp_path}/a: the adapter is trained already\n"
    assert (tmp_path / "a" / WEIGHTS).stat().st_mtime_ns == stamp
    second = trained(tiny, tmp_path / "a", SMALL.model_copy(update={"rank": 2}))
    assert capsys.readouterr().err.startswith(f"{tmp_path}/a: trained anew, with other rank\n")
    assert trained(tiny, tmp_path / "a", SMALL.model_copy(update={"rank": 2}), texts=TEXTS[1:]).key != second.key
    assert capsys.readouterr().err.startswith(f"{tmp_path}/a: trained anew, with other texts\n")
    weights = tmp_path / "a" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    assert trained(tiny, tmp_path / "a") == first


def test_training_stops_where_nothing_is_gained_and_then_changes_nothing(tiny, tmp_path):
    from safetensors.torch import load_file

    facts = trained(
        tiny, tmp_path / "a", SMALL.model_copy(update={"learning_rate": 1e-12, "check_every": 1, "patience": 2})
    )
    assert (facts.steps, facts.best_step) == (2, 0)
    assert facts.bits_per_byte_after == facts.bits_per_byte_before
    assert not any(value.any() for name, value in load_file(tmp_path / "a" / WEIGHTS).items() if "lora_B" in name)


def test_computing_layers_again_to_save_memory_changes_no_byte(tiny, tmp_path):
    import torch

    from curate.distill.lora.model import Heldout, deterministic, load, save_memory, train

    kept = []
    for saves in (False, True):
        with deterministic():
            stream = torch.arange(2000).numpy() * 7 % 999
            loaded = load((str(tiny), None), "tiny", SMALL, 1, stream, Heldout(([1, 2, 3],), 10))
            if saves:
                save_memory(loaded.network)
            train(loaded, SMALL, 1, lambda state: None, None, unwritten_log(quiet=True))
            assert loaded.network.is_gradient_checkpointing == saves
            kept.append([value.detach().clone() for value in loaded.parameters.values()])
    assert all(torch.equal(one, other) for one, other in zip(*kept, strict=True))


def test_a_damaged_checkpoint_is_passed_over_and_what_is_half_written_removed(tiny, tmp_path):
    assert load_checkpoint(tmp_path, "key") is None
    (tmp_path / CHECKPOINT).write_bytes(b"\xff" * 40)
    assert load_checkpoint(tmp_path, "key") is None
    (tmp_path / f"{ASIDE}99-{CHECKPOINT}").write_bytes(b"half")
    trained(tiny, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [CONFIG, WEIGHTS, FACTS]


@pytest.mark.parametrize(
    ("change", "said"),
    [({"target_modules": ["q_proj", "v_prj"]},
      r"target_modules: tiny has no layer 'v_prj' \(has: down_proj, gate_proj, k_proj, o_proj, q_proj, up_pr"),
     ({"learning_rate": 3e37}, r"learning_rate: with 3e\+37, the loss is no number any more at step 2; lower it"),
     ({"context": 600}, "context: 600 tokens are more than the 512 of tiny"),
     ({"batch": 400, "context": 500}, r" 40 texts of [\d,]+ tokens are too few: one step reads 200,000, which")],
)  # fmt: skip
def test_settings_that_do_not_fit_are_one_line(change, said, tiny, tmp_path):
    with pytest.raises(RecipeError, match=rf"^tier3\.adapter[.:]{said}"):
        trained(tiny, tmp_path / "a", SMALL.model_copy(update=change))
    assert not (tmp_path / "a").exists()


def test_a_base_that_is_not_there_and_a_folder_that_is_taken_are_one_line(tiny, tmp_path):
    with pytest.raises(RecipeError, match=r"tier3\.adapter\.base: \./gone: no such folder"):
        trained("./gone", tmp_path / "a")
    with pytest.raises(RecipeError, match=r"tier3\.adapter\.base: no/such-model-anywhere: cannot be loaded"):
        trained("no/such-model-anywhere", tmp_path / "a")
    random_adapter(tiny, tmp_path / "other")
    with pytest.raises(RecipeError, match="other: holds an adapter that curate did not train; name another folder"):
        trained(tiny, tmp_path / "other")


def test_the_command_trains_in_the_run_directory_and_tells_what_it_gained(tiny, tmp_path, monkeypatch):
    write_shard(tmp_path / "seeds" / "a.parquet", TEXTS)
    domain = {"name": "finance", "seeds": ["seeds"], "target_tokens": 1000}
    adapter = SMALL.model_dump(mode="json") | {"documents": 30}
    fields = {"name": "web", "input": {"paths": ["data"]}, "teacher": {"transformers": str(tiny)}}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(fields | {"tier3": {"domains": [domain], "adapter": adapter}}))
    done = program("adapter", "train", "r.yaml", "--domain", "finance", "--quiet", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("runs/web/models/adapters/finance: the adapter\n")
    monkeypatch.chdir(tmp_path)
    told = json.loads(CliRunner().invoke(main, ["adapter", "train", "r.yaml", "--domain", "finance", "--json"]).stdout)
    assert (told["folder"], told["texts"], told["steps"]) == ("runs/web/models/adapters/finance", 30, 12)
    assert json.loads((tmp_path / told["folder"] / FACTS).read_text()).items() <= told.items()


def test_an_adapter_of_a_real_model_foretells_its_domain_better_and_the_teacher_writes_otherwise_with_it(tmp_path):
    table = pq.read_table(sorted(SAMPLE.glob("*.parquet")))
    good = [row["text"] for row in table.to_pylist() if row["label"] == "good" and "rate" in row["text"]][:60]
    section = Adapter(context=256, batch=2, steps=16, check_every=8)
    base = (str(smollm2()), None)
    facts = train_adapter(good[6:], good[:3], section, base, tmp_path / "a", 1, unwritten_log(quiet=True))
    assert facts.bits_per_byte_after < 0.995 * facts.bits_per_byte_before
    kind = {"model": base[0], "lora": {"mine": str(tmp_path / "a")}}
    prompt, sampling = "Once upon a time", Sampling(24)
    with open_teacher(
        Teacher.model_validate({"transformers": kind}), tmp_path / "cache", unwritten_log(quiet=True)
    ) as teacher:
        plain, tuned = teacher.generate([Request(prompt, sampling), Request(prompt, sampling, "mine")])
        scores = teacher.score(good[3:6]), teacher.score(good[3:6], "mine")
    assert plain.text != tuned.text
    assert sum(s.log_probability for s in scores[1]) > sum(s.log_probability for s in scores[0])
