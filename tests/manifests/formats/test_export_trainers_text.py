"""Exports of text, chats and pairs, read by the trainers' own code: every document arrives."""

import importlib.machinery
import json
import os
import re
import subprocess
import sys
import types
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from support.commands import command
from support.exports import exported, kept, made
from support.paths import ROOT

from curate.manifests.export.format import MODULES

pytestmark = pytest.mark.trainers
ROWS = 90
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}"


@pytest.fixture(scope="module", autouse=True)
def offline(tmp_path_factory):
    """No trainer asks the network, none reports, and what they cache is gone afterwards."""
    import datasets

    patch = pytest.MonkeyPatch()
    cache = tmp_path_factory.mktemp("cache")
    for name in ("HF_HUB_OFFLINE", "DISABLE_VERSION_CHECK", "AXOLOTL_DO_NOT_TRACK", "TRL_EXPERIMENTAL_SILENCE"):
        patch.setenv(name, "1")
    patch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    sound = types.ModuleType("torchaudio")  # LLaMA-Factory imports it for sounds; it has no build beside this torch
    sound.__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)
    patch.setitem(sys.modules, "torchaudio", sound)
    yield cache
    patch.undo()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of text, one of chats."""
    folder = tmp_path_factory.mktemp("runs")
    for name, length in (("web", 3), ("code", 20)):
        texts = [f"{name} document {k} tells of {k * k} things. " * (k % 7 + length) for k in range(ROWS)]
        pq.write_table(pa.table({"text": texts}), folder / f"{name}.parquet")
        made(folder / name, folder / f"{name}.parquet", name)
    chats = [
        [{"role": "user", "content": f"What is {k}?"}, {"role": "assistant", "content": f"It is the number {k}."}]
        for k in range(ROWS)
    ]
    pq.write_table(pa.table({"messages": chats}), folder / "chats.parquet")
    fields = f"name: chats\noutput: {folder / 'chats'}\nshard_size: 5kB\ntier1: {{rules: []}}\n"
    recipe = folder / "chats.yaml"
    recipe.write_text(f"{fields}input: {{paths: [{folder / 'chats.parquet'}], messages: messages}}\n")
    assert command("run", recipe, "--quiet").returncode == 0
    sources = {"web": {"run": "web", "weight": 0.5}, "code": {"run": "code", "weight": 0.5}}
    tokens = sum(row["n_tokens"] for row in kept(folder / "web")) * 5  # web is seen 2.5 times
    (folder / "mixture.yaml").write_text(
        yaml.safe_dump({"name": "mix", "tokens": tokens, "sources": sources}, sort_keys=False)
    )
    return folder


@pytest.fixture(scope="module")
def tokenizer():
    """A token for each byte."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {letter: k for k, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    raw = Tokenizer(models.BPE(vocabulary, []))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    whole = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    whole.chat_template = TEMPLATE
    return whole


def texts_of(folder, split="train"):
    """The texts of an export's Parquet files."""
    files = sorted(folder.rglob(f"{split}-*.parquet"))
    return [text for path in files for text in pq.read_table(path)["text"].to_pylist()]


def test_torchtitan_reads_every_token_of_every_document_in_order(runs, tmp_path, tokenizer, monkeypatch):
    from torchtitan.components.tokenizer import HuggingFaceTokenizer
    from torchtitan.hf_datasets.text_datasets import HuggingFaceTextDataset

    exported(runs / "web", tmp_path, "--to", "torchtitan", "--validation", "10%")
    monkeypatch.syspath_prepend(tmp_path / "torchtitan")
    monkeypatch.delitem(sys.modules, "torchtitan_dataset", raising=False)
    import torchtitan_dataset

    assert torchtitan_dataset.dataloader().dataset == "web"
    reader = HuggingFaceTokenizer(tokenizer_path=saved(tokenizer, tmp_path))
    for name, split in (("web", "train"), ("web_validation", "validation")):
        data = HuggingFaceTextDataset(name, None, reader, seq_len=64)
        labels = [int(token) for _, row in data for token in row]
        texts = texts_of(tmp_path / "torchtitan", split)
        wanted = [token for text in texts for token in reader.encode(text, add_bos=True, add_eos=True)[1:]]
        assert len(texts) > 3
        assert labels == wanted[: len(labels)]
        assert len(wanted) - len(labels) < 64


def saved(tokenizer, folder):
    tokenizer.save_pretrained(folder / "tokenizer")
    return str(folder / "tokenizer")


def test_torchtitan_draws_tokens_of_several_sources_in_their_shares(runs, tmp_path, tokenizer, monkeypatch):
    from torchtitan.components.tokenizer import HuggingFaceTokenizer
    from torchtitan.hf_datasets.text_datasets import InterleavedHuggingFaceTextDataLoader

    exported(runs / "mixture.yaml", tmp_path, "--to", "torchtitan")
    monkeypatch.syspath_prepend(tmp_path / "torchtitan")
    monkeypatch.delitem(sys.modules, "torchtitan_dataset", raising=False)
    import torchtitan_dataset

    reader = HuggingFaceTokenizer(tokenizer_path=saved(tokenizer, tmp_path))
    loader = InterleavedHuggingFaceTextDataLoader(
        torchtitan_dataset.dataloader(), dp_world_size=1, dp_rank=0, tokenizer=reader, seq_len=64, local_batch_size=1
    )
    drawn = Counter()
    for (batch, _), _ in zip(loader, range(600), strict=False):
        drawn["web" if "web" in reader.decode(batch["input"][0].tolist()) else "code"] += 1
    assert drawn["web"] / drawn.total() == pytest.approx(0.5, abs=0.08)


def of_llama_factory(folder, names, stage, cache, monkeypatch):
    """What LLaMA-Factory's loader makes of datasets that are named in a folder."""
    from llamafactory.data.loader import _get_merged_dataset
    from llamafactory.hparams import DataArguments, ModelArguments

    monkeypatch.chdir(folder)
    training = types.SimpleNamespace(seed=42, dataloader_num_workers=0, local_process_index=0)
    data = DataArguments(dataset=names, dataset_dir=".", mix_strategy="concat", template="default")
    model = ModelArguments(model_name_or_path="none", cache_dir=str(cache))
    return _get_merged_dataset(data.dataset, model, data, training, stage)


def test_llama_factory_reads_every_document_of_each_split(runs, tmp_path, offline, monkeypatch):
    exported(runs / "web", tmp_path, "--to", "llama-factory", "--validation", "10%")
    folder = tmp_path / "llama-factory"
    lines = yaml.safe_load((folder / "train.yaml").read_text())
    assert (lines["stage"], lines["dataset_dir"]) == ("pt", ".")
    for key, split in (("dataset", "train"), ("eval_dataset", "validation")):
        rows = of_llama_factory(folder, lines[key], "pt", offline, monkeypatch)
        assert Counter(row["_prompt"][0]["content"] for row in rows) == Counter(texts_of(folder, split))


def test_llama_factory_sees_each_document_of_a_mixture_as_often_as_any_other_or_once_more(
    runs, tmp_path, offline, monkeypatch
):
    exported(runs / "mixture.yaml", tmp_path, "--to", "llama-factory")
    folder = tmp_path / "llama-factory"
    names = yaml.safe_load((folder / "train.yaml").read_text())["dataset"]
    rows = of_llama_factory(folder, names, "pt", offline, monkeypatch)
    often = Counter(row["_prompt"][0]["content"] for row in rows)
    web = [often[text] for text in texts_of(folder / "data" / "web")]
    assert Counter(web) == {2: ROWS // 2, 3: ROWS // 2}


def test_llama_factory_reads_every_chat(runs, tmp_path, offline, monkeypatch):
    exported(runs / "chats", tmp_path, "--to", "llama-factory")
    folder = tmp_path / "llama-factory"
    lines = yaml.safe_load((folder / "train.yaml").read_text())
    rows = of_llama_factory(folder, lines["dataset"], lines["stage"], offline, monkeypatch)
    found = sorted([*row["_prompt"], *row["_response"]][k]["content"] for row in rows for k in (0, 1))
    wanted = [message["content"] for row in kept(runs / "chats") for message in row["messages"]]
    assert found == sorted(wanted)
    assert {row["_response"][0]["role"] for row in rows} == {"assistant"}


def of_axolotl(folder, name, tokenizer, cache, monkeypatch):
    """What Axolotl makes of the datasets that a file names."""
    from axolotl.utils.data.sft import _load_raw_datasets, _prepare_streaming_dataset
    from axolotl.utils.dict import DictDefault

    monkeypatch.chdir(folder)
    more = {
        "seed": 42, "dataset_prepared_path": str(cache / "prepared"), "sequence_len": 2048, "train_on_inputs": True,
        "micro_batch_size": 1, "batch_size": 1, "world_size": 1, "dataset_num_proc": 1,
        "chat_template": "tokenizer_default",
    }  # fmt: skip
    settings = DictDefault(more | yaml.safe_load((folder / name).read_text()))
    if settings.pretraining_dataset:
        return list(_prepare_streaming_dataset(settings, tokenizer, None)[0].with_format(None))
    return _load_raw_datasets(settings, settings.datasets, tokenizer, "train")[0]


def test_axolotl_reads_every_document_and_ends_each(runs, tmp_path, tokenizer, offline, monkeypatch):
    exported(runs / "web", tmp_path, "--to", "axolotl", "--validation", "10%")
    rows = of_axolotl(tmp_path / "axolotl", "axolotl.yaml", tokenizer, offline, monkeypatch)
    assert [tokenizer.decode(row["input_ids"]) for row in rows] == [
        f"{text}</s>" for text in texts_of(tmp_path / "axolotl")
    ]
    rows = of_axolotl(tmp_path / "axolotl", "axolotl-streaming.yaml", tokenizer, offline, monkeypatch)
    tokens = [token for row in rows for token in row["input_ids"]]
    found = tokenizer.decode(tokens).replace("<pad>", "").split("</s>")
    assert set(texts_of(tmp_path / "axolotl")) <= {text.removeprefix("<s>") for text in found}


def test_axolotl_sees_the_sources_of_a_mixture_as_often_as_they_are_to_be_seen(
    runs, tmp_path, tokenizer, offline, monkeypatch
):
    exported(runs / "mixture.yaml", tmp_path, "--to", "axolotl")
    rows = of_axolotl(tmp_path / "axolotl", "axolotl.yaml", tokenizer, offline, monkeypatch)
    often = Counter(tokenizer.decode(row["input_ids"]).removesuffix("</s>") for row in rows)
    web = [often[text] for text in texts_of(tmp_path / "axolotl" / "data" / "web")]
    assert Counter(web) == {2: ROWS // 2, 3: ROWS // 2}
    told = json.loads((tmp_path / "axolotl" / "mixture.json").read_text())["sources"]
    code = sum(often[text] for text in texts_of(tmp_path / "axolotl" / "data" / "code"))
    assert code == pytest.approx(told[1]["epochs"] * ROWS, rel=0.05)


def test_axolotl_reads_every_chat(runs, tmp_path, tokenizer, offline, monkeypatch):
    exported(runs / "chats", tmp_path, "--to", "axolotl")
    rows = of_axolotl(tmp_path / "axolotl", "axolotl.yaml", tokenizer, offline, monkeypatch)
    wanted = ["".join(f"{m['role']}: {m['content']}</s>" for m in row["messages"]) for row in kept(runs / "chats")]
    assert [tokenizer.decode(row["input_ids"]) for row in rows] == wanted


def tiny(tokenizer):
    """A random Llama of one layer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=512, **sizes))


def settings(folder):
    """Two steps on a CPU."""
    return {"output_dir": str(folder / "out"), "max_steps": 2, "per_device_train_batch_size": 2, "use_cpu": True,
            "report_to": [], "save_strategy": "no", "disable_tqdm": True, "max_length": 256}  # fmt: skip


def test_trl_trains_on_text_and_on_chats(runs, tmp_path, tokenizer, offline):
    from datasets import load_dataset
    from trl import SFTConfig, SFTTrainer

    for name in ("web", "chats"):
        exported(runs / name, tmp_path / name, "--to", "trl")
        files = str(tmp_path / name / "trl" / "data" / "train-*.parquet")
        train = load_dataset("parquet", data_files=files, split="train", cache_dir=str(offline))
        assert len(train) == len(kept(runs / name)) == ROWS
        trainer = SFTTrainer(
            tiny(tokenizer), args=SFTConfig(**settings(tmp_path)), train_dataset=train, processing_class=tokenizer
        )
        assert len(trainer.train_dataset) == ROWS
        assert trainer.train().global_step == 2


def test_trl_and_llama_factory_read_every_pair_of_a_run(purified, tmp_path, tokenizer, offline, monkeypatch):
    from datasets import load_dataset
    from trl import DPOConfig, DPOTrainer

    exported(purified[1], tmp_path, "--to", "trl,llama-factory,dpo")
    pairs = pq.read_table(tmp_path / "dpo" / "train.parquet").to_pylist()
    assert len(pairs) > 10
    train = load_dataset("parquet", data_files=str(tmp_path / "trl/dpo/train.parquet"), split="train",
                         cache_dir=str(offline))  # fmt: skip
    trainer = DPOTrainer(
        tiny(tokenizer),
        tiny(tokenizer),
        DPOConfig(**settings(tmp_path) | {"max_length": None}),
        train_dataset=train,
        processing_class=tokenizer,
    )
    assert len(trainer.train_dataset) == len(pairs)
    assert trainer.train().global_step == 2
    rows = of_llama_factory(tmp_path / "llama-factory", "dpo.pairs", "rm", offline, monkeypatch)
    found = [tuple(answer["content"] for answer in row["_response"]) for row in rows]
    assert found == [(pair["chosen"], pair["rejected"]) for pair in pairs]


def examples():
    """(format, code) of the sections of docs/trainers.md that have Python and whose format there is."""
    page = (ROOT / "docs" / "trainers.md").read_text("utf-8")
    for section in page.split("\n## ")[1:]:
        named = re.search(r"^curate export runs/web --to ([\w-]+) ", section, re.MULTILINE)
        if named and named[1] in MODULES:
            for code in re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL):
                yield pytest.param(named[1], code, id=named[1])


@pytest.mark.parametrize(("name", "code"), list(examples()))
def test_the_code_of_the_docs_reads_an_export(runs, tmp_path, name, code):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "web").symlink_to(runs / "web")
    done = command("export", "runs/web", "--to", name, "--out", "exports", "--validation", "10%", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    environment = {**os.environ, "HF_DATASETS_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
