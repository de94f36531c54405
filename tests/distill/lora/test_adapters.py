"""A domain's texts are parted by hash, and what is wrong with a recipe is told before anything is loaded."""

import importlib.util

import pyarrow as pa
import pytest
import yaml
from support.commands import command
from support.corpora import write_shard

from curate.distill.lora.texts import base_of, domain_texts
from curate.errors import CurateError, InputError, RecipeError
from curate.recipe.load import parse_recipe

WORDS = "bank rate loan bond fund price market credit growth trade money yield asset risk debt share".split()  # noqa: SIM905


def text(k):
    return f"Report {k}. " + " ".join(f"{WORDS[k * (j + 3) % 16]} {k * j % 97}" for j in range(60))


def recipe(folder, adapter=None, seeds=("seeds",), **fields):
    """A recipe with a domain `finance`."""
    domain = {"name": "finance", "seeds": [str(folder / name) for name in seeds], "target_tokens": 1000}
    tier3 = {"domains": [domain], "adapter": adapter}
    fields = {"name": "x", "output": str(folder / "run"), "input": {"paths": ["data"]}, "tier3": tier3, **fields}
    return parse_recipe(fields, "recipe.yaml")


def test_a_tenth_of_a_domain_is_held_out_and_each_text_stands_once(tmp_path):
    write_shard(tmp_path / "seeds" / "a.parquet", [text(k) for k in range(60)] + [None, "", " \n"])
    write_shard(tmp_path / "seeds" / "b.parquet", [text(k) for k in range(40, 100)])
    found = recipe(tmp_path)
    texts = domain_texts(found, found.tier3.domains[0], 2000)
    assert sorted(texts.training + texts.heldout) == sorted(text(k) for k in range(100))
    assert len(texts.heldout) == 10
    assert domain_texts(found, found.tier3.domains[0], 30).heldout == texts.heldout
    assert domain_texts(found, found.tier3.domains[0], 30).training == texts.training[:30]
    other = recipe(tmp_path, seed=1)
    assert set(domain_texts(other, other.tier3.domains[0], 2000).heldout) != set(texts.heldout)


def test_further_texts_are_trained_on_and_never_held_out(tmp_path):
    write_shard(tmp_path / "seeds" / "a.parquet", [text(k) for k in range(50)])
    found = recipe(tmp_path)
    alone = domain_texts(found, found.tier3.domains[0], 80)
    both = domain_texts(found, found.tier3.domains[0], 80, pa.array([text(k) for k in range(30, 300)]))
    assert both.training[:45] == alone.training
    assert len(set(both.training)) == 80
    assert set(both.training[45:]) <= {text(k) for k in range(50, 300)}
    assert both.heldout == alone.heldout


def test_a_held_out_text_that_nearly_stands_in_one_trained_on_is_left_out(tmp_path):
    write_shard(tmp_path / "seeds" / "a.parquet", [text(k) for k in range(50)])
    found = recipe(tmp_path)
    first, *others = domain_texts(found, found.tier3.domains[0], 80).heldout
    nearly = pa.array([f"{first} And so on.", text(500)])
    assert domain_texts(found, found.tier3.domains[0], 80, nearly).heldout == tuple(others)
    write_shard(tmp_path / "same" / "a.parquet", [f"{text(7)} {k}" for k in range(30)])
    found = recipe(tmp_path, seeds=["same"])
    with pytest.raises(InputError, match=r"tier3\.domains\.finance\.seeds: nothing is left to hold out"):
        domain_texts(found, found.tier3.domains[0], 80)


def test_personal_data_that_the_recipe_redacts_is_not_learnt(tmp_path):
    write_shard(tmp_path / "seeds" / "a.parquet", [f"{text(k)} Mail jane.doe@bank{k}.org." for k in range(20)])
    found = recipe(tmp_path, tier1={"pii": "redact"})
    texts = domain_texts(found, found.tier3.domains[0], 80)
    assert not [one for one in texts.training + texts.heldout if "jane" in one]


def test_one_text_is_too_few(tmp_path):
    write_shard(tmp_path / "seeds" / "a.parquet", [text(1), text(1)])
    found = recipe(tmp_path)
    with pytest.raises(InputError, match="1 different texts are too few to train on some and hold out others"):
        domain_texts(found, found.tier3.domains[0], 80)


@pytest.mark.parametrize(
    ("teacher", "base"),
    [({"transformers": {"model": "m", "revision": "r"}}, ("m", "r")),
     ({"vllm": {"serve": "m"}}, ("m", None)),
     ({"vllm_engine": "m"}, ("m", None))],
)  # fmt: skip
def test_an_adapter_is_for_the_base_that_is_named_or_else_for_the_teacher(teacher, base, tmp_path):
    assert base_of(recipe(tmp_path, {}, teacher=teacher)) == base
    assert base_of(recipe(tmp_path, {"base": "other"}, teacher=teacher)) == ("other", None)


@pytest.mark.parametrize(
    ("teacher", "said"),
    [("rules", "is null, and teacher is rules; set base"),
     ({"vllm": {"urls": ["http://127.0.0.1:1"]}}, "is null, and servers do not tell where")],
)  # fmt: skip
def test_an_adapter_without_a_base_is_refused(teacher, said, tmp_path):
    with pytest.raises(RecipeError, match=rf"tier3\.adapter\.base: {said}"):
        base_of(recipe(tmp_path, {}, teacher=teacher))


@pytest.mark.parametrize(
    ("tier3", "said"),
    [(None, "tier3.domains: no domain 'finance' (known: none)"),
     ({"adapter": {}, "domains": "finances"}, "tier3.domains: no domain 'finance'; did you mean 'finances'?"),
     ({"adapter": None}, "tier3.adapter: is null, so that no adapter is wanted; set it to {base: MODEL}"),
     ({"adapter": {"rnk": 3}}, "tier3.adapter has no field 'rnk'; did you mean 'rank'?"),
     ({"adapter": {"documents": 3}}, "tier3.adapter.documents: input should be greater than or equal to 20, got 3")],
)  # fmt: skip
def test_what_is_wrong_with_the_recipe_is_one_line(tier3, said, tmp_path):
    if tier3 is not None:
        named = tier3.get("domains", "finance")
        tier3 = tier3 | {"domains": [{"name": named, "seeds": ["s"], "target_tokens": 9}]}
    fields = {"name": "x", "input": {"paths": ["data"]}, "tier3": tier3}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(fields))
    done = command("adapter", "train", tmp_path / "r.yaml", "--domain", "finance", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(f"{said}\n")
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["r.yaml"]


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is installed")
def test_without_torch_it_is_told_what_to_install(tmp_path):
    domain = {"name": "finance", "seeds": ["s"], "target_tokens": 9}
    fields = {"name": "x", "input": {"paths": ["d"]}, "tier3": {"domains": [domain], "adapter": {"base": "m"}}}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(fields))
    done = command("adapter", "train", tmp_path / "r.yaml", "--domain", "finance", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        1, "Error: tier3.adapter: torch is not installed; pip install 'curate-lm[lora]'\n",
    )  # fmt: skip


def test_a_domain_is_no_recipe_with_two_of_a_name():
    domain = {"name": "a", "seeds": ["s"], "target_tokens": 9}
    fields = {"name": "x", "input": {"paths": ["d"]}, "tier3": {"domains": [domain, domain]}}
    with pytest.raises(CurateError, match="tier3: domains: a stands twice"):
        parse_recipe(fields, "r.yaml")
