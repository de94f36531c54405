"""Exports that hold tokens, read by Megatron's and OLMo-core's own code."""

import json
from contextlib import contextmanager
from itertools import chain, pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from support.token_exports import FORMATS, ROWS, alone, made, of_olmo, texts_of, written

pytestmark = pytest.mark.trainers
SEQUENCE = 64


@pytest.fixture(scope="module")
def mixed(token_run, tokenizers, tmp_path_factory):
    """Exports of two runs, with some documents held out."""
    folder = tmp_path_factory.mktemp("mixed")
    made(folder, texts_of(190)[90:], "code")
    sources = {"web": {"run": str(token_run), "weight": 0.7}, "code": {"run": "code", "weight": 0.3}}
    (folder / "mix.yaml").write_text(yaml.safe_dump({"name": "mix", "sources": sources}, sort_keys=False))
    written(folder / "mix.yaml", folder, FORMATS, tokenizers[False], "10%")
    return folder


@pytest.mark.parametrize("large", [False, True])
def test_megatron_reads_every_document_and_writes_the_same_bytes(token_run, tokenizers, tmp_path, large):
    from megatron.core.datasets.indexed_dataset import DType, IndexedDataset, IndexedDatasetBuilder

    [told] = written(token_run, tmp_path, ["megatron"], tokenizers[large])
    vocabulary = told.options["tokenizer"]
    dtype, wanted = DType.optimal_dtype(vocabulary["size"]), alone(tokenizers[large], vocabulary["eos"], texts_of(ROWS))
    prefixes = sorted({file.path.rsplit(".", 1)[0] for file in told.files if file.path.endswith(".idx")})
    assert len(prefixes) > 4
    for prefix in prefixes:
        dataset = IndexedDataset(str(tmp_path / "megatron" / prefix))
        assert dataset.index.dtype == dtype
        here, wanted = wanted[: len(dataset)], wanted[len(dataset) :]
        assert [document.tolist() for document in dataset[0 : len(dataset)]] == here
        builder = IndexedDatasetBuilder(str(tmp_path / "again.bin"), dtype=dtype)
        for document in here:
            builder.add_document(document, [len(document)])
        builder.finalize(str(tmp_path / "again.idx"))
        for ending in (".bin", ".idx"):
            ours = (tmp_path / "megatron" / (prefix + ending)).read_bytes()
            assert ours == (tmp_path / f"again{ending}").read_bytes()
    assert wanted == []


@pytest.fixture
def alone_in_the_group():
    """A training of one process."""
    from torch import distributed

    distributed.init_process_group("gloo", rank=0, world_size=1, store=distributed.HashStore())
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("alone_in_the_group")
def test_megatron_trains_on_the_blends(mixed, monkeypatch):
    from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
    from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
    from megatron.core.datasets.indexed_dataset import IndexedDataset
    from megatron.core.datasets.utils import get_blend_from_list

    monkeypatch.chdir(mixed / "megatron")  # prefixes are looked up from there
    told = json.loads((mixed / "megatron/blend.json").read_text())
    blends = [get_blend_from_list(told[split]) for split in ("train", "valid", "test")]
    prefixes, weights = get_blend_from_list((mixed / "megatron/blend.txt").read_text().split())
    assert (prefixes, weights) == blends[0]
    assert sum(weights) == pytest.approx(1)
    facts = json.loads((mixed / "megatron/export.json").read_text())["options"]["tokenizer"]
    tokenizer = SimpleNamespace(vocab_size=facts["size"], eod=facts["eos_id"], pad=-1, unique_identifiers={"name": "t"})
    common = {
        "random_seed": 1, "sequence_length": SEQUENCE, "tokenizer": tokenizer, "reset_position_ids": False,
        "reset_attention_mask": False, "eod_mask_loss": False, "path_to_cache": str(mixed / "cache"),
    }  # fmt: skip
    opened = [IndexedDataset(prefix) for prefix in prefixes]  # whose documents are views: they must stay open
    documents = {tuple(document.tolist()) for dataset in opened for document in dataset[0 : len(dataset)]}
    for config, sizes in (
        (GPTDatasetConfig(blend_per_split=blends, **common), [300, 20, None]),
        (GPTDatasetConfig(blend=(prefixes, weights), split="100,0,0", **common), [300, 0, 0]),
    ):
        train, valid, test = BlendedMegatronDatasetBuilder(GPTDataset, sizes, lambda: True, config).build()
        assert len(train) >= 300
        drawn = train.dataset_index[:300]
        share = np.isin(drawn, [k for k, prefix in enumerate(prefixes) if "/web/" in prefix]).mean()
        assert share == pytest.approx(0.7, abs=0.02)
        assert test is None
        assert (valid is not None) == (sizes[1] > 0)
        samples = [train[k]["tokens"].tolist() for k in range(300)]
        assert {len(sample) for sample in samples} == {SEQUENCE}
        inner = [one for sample in samples for one in between(sample, facts["eos_id"])]
        assert len(inner) > 50
        assert documents.issuperset(inner)


def between(sample, end):
    """The documents that lie within a sample as a whole, each with its end."""
    ends = [k for k, token in enumerate(sample) if token == end]
    return [tuple(sample[first + 1 : last + 1]) for first, last in pairwise(ends)]


@pytest.mark.parametrize("large", [False, True])
def test_olmo_reads_every_document(token_run, tokenizers, tmp_path, monkeypatch, large):
    from olmo_core.data import NumpyFSLDatasetConfig, TokenizerConfig
    from olmo_core.data.utils import iter_document_indices, load_array_slice

    [told] = written(token_run, tmp_path, ["olmo"], tokenizers[large])
    facts = told.options["tokenizer"]
    tokenizer = TokenizerConfig(vocab_size=facts["size"], eos_token_id=facts["eos_id"], pad_token_id=0)
    paths = sorted(str(path) for path in (tmp_path / "olmo/data").glob("*.npy"))
    config = NumpyFSLDatasetConfig(tokenizer=tokenizer, paths=paths, sequence_length=SEQUENCE, work_dir=str(tmp_path))
    dtype = config.get_dtype()
    assert f"dtype={np.dtype(dtype).name!r}" in told.load
    wanted = list(of_olmo(tmp_path / "olmo", "train", np.dtype(dtype).name))
    assert wanted == alone(tokenizers[large], facts["eos"], texts_of(len(wanted)))
    for by_index in (False, True):  # documents as .csv.gz has them, and as their ends tell
        told_by = {"eos_token_id": facts["eos_id"], "dtype": dtype} if by_index else {}
        found = [load_array_slice(path, start, end, dtype).tolist() for path in paths
                 for start, end in iter_document_indices(path, use_array_if_local=by_index, **told_by)]  # fmt: skip
        assert found == wanted
    dataset = config.build()
    dataset.prepare()
    assert len(dataset) == sum(len(np.fromfile(path, dtype)) // SEQUENCE for path in paths) > 100
    assert dataset[0]["input_ids"].tolist() == list(chain.from_iterable(wanted))[:SEQUENCE]


def test_olmo_mixes_the_sources(mixed, monkeypatch):
    from olmo_core.data import NumpyFSLDatasetConfig, TokenizerConfig
    from olmo_core.data.source_mixture import SourceMixtureDatasetConfig, SourceMixtureList

    monkeypatch.chdir(mixed / "olmo")
    facts = json.loads((mixed / "olmo/export.json").read_text())["options"]["tokenizer"]
    most = int((mixed / "olmo/source_mixture.yaml").read_text().splitlines()[0].rsplit(" ", 1)[1])
    listed = SourceMixtureList.from_yaml(str(mixed / "olmo/source_mixture.yaml"))
    mixture = SourceMixtureDatasetConfig(
        source_list=listed, requested_tokens=most, global_batch_size=SEQUENCE, render_tables=False
    )
    tokenizer = TokenizerConfig(vocab_size=facts["size"], eos_token_id=facts["eos_id"], pad_token_id=0)
    config = NumpyFSLDatasetConfig.from_src_mix(
        mixture, tokenizer=tokenizer, sequence_length=SEQUENCE, work_dir=str(mixed / "work")
    )
    outcome = mixture.build(npdtype=config.get_dtype(), sequence_length=SEQUENCE)
    tokens = {source.name: sum(path.tokens for path in source.path_tokens) for source in outcome.sources}
    assert tokens["web"] / sum(tokens.values()) == pytest.approx(0.7, abs=0.02)
    assert sum(tokens.values()) == pytest.approx(most, rel=0.02)
    dataset = config.build()
    dataset.prepare()
    assert len(dataset) == sum(tokens.values()) // SEQUENCE
    assert dataset[len(dataset) - 1]["input_ids"].shape == (SEQUENCE,)


def test_olmo_finds_the_files_of_the_mix(mixed, monkeypatch):
    from olmo_core.data import mixes

    @contextmanager
    def ours(name):  # OLMo-core has the lists in its package, and no other way to name one
        yield mixed / "olmo/mix.txt"

    monkeypatch.setattr(mixes, "_get_data_mix_path", ours)
    paths, labels = mixes.DataMix.dolma17.build(str(mixed), "olmo")
    assert sorted(paths) == sorted(str(path) for path in (mixed / "olmo/data").rglob("train-*.npy"))
    assert set(labels) == {"web", "code"}
