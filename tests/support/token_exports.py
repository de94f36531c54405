"""A run and tokenizers for exports that hold tokens, and their oracle."""

import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from support.commands import carry_out
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from curate.engine.base import InProcess
from curate.manifests.export.export import export
from curate.manifests.export.format import options_of
from curate.manifests.export.mixture import open_sources
from curate.progress import unwritten_log

END = "<|endoftext|>"
FORMATS = ("megatron", "olmo", "nanotron")
ROWS = 400


def texts_of(count):
    """Some of many languages, some that spell the end, one without a token, one long."""
    texts = [f"Document {k} tells of {k * k} things, naïve and 漢字 alike 🙂. " * (k % 5 + 1) for k in range(count)]
    texts[::50] = [f"{k}: a text that spells {END} and {END}{END}, and </s> as well" for k in range(0, count, 50)]
    texts[7] = "¤" * 40
    texts[11] = "long words " * 20_000
    return texts


def made(folder, texts, name):
    """A run of several shards."""
    ids = [f"{name}, {k}" for k in range(len(texts))]
    pq.write_table(pa.table({"text": texts, "id": ids}), folder / f"{name}.parquet")
    recipe = {"name": name, "output": str(folder / name), "tier1": {"rules": []}, "shard_size": "8kB",
              "input": {"paths": [str(folder / f"{name}.parquet")], "id": "id"}}  # fmt: skip
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    carry_out(folder / f"{name}.yaml")
    return folder / name


def written(token_run, out, names, tokenizer, validation="0", eos=None):
    """Exports in this process, as one worker writes them."""
    options = options_of(validation, str(tokenizer), eos)
    return export(open_sources(token_run), names, out, options, InProcess(), unwritten_log(True))


@pytest.fixture(scope="module")
def token_run(tmp_path_factory):
    return made(tmp_path_factory.mktemp("runs"), texts_of(ROWS), "tokens")


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    """A byte-level BPE, by whether its vocabulary is large; it asks to cut, to fill up, and to put a begin."""
    folder = tmp_path_factory.mktemp("tokenizers")
    paths = {}
    for large in (False, True):
        tokenizer = Tokenizer(models.BPE())
        tokenizer.normalizer = normalizers.Replace("¤", "")
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(
            vocab_size=600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<s>", END],
            show_progress=False,
        )  # fmt: skip
        tokenizer.train_from_iterator(texts_of(200), trainer)
        if large:  # the end is the last token of all
            tokenizer.add_special_tokens([f"<|reserved_{k}|>" for k in range(70_000 - tokenizer.get_vocab_size())])
        paths[large] = folder / ("large" if large else "small") / "tokenizer.json"
        paths[large].parent.mkdir()
        tokenizer.enable_truncation(5)
        tokenizer.enable_padding(length=9)
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A " + END, special_tokens=[("<s>", 0), (END, 1)]
        )
        tokenizer.save(str(paths[large]))
        if large:
            paths[large].with_name("tokenizer_config.json").write_text('{"eos_token": {"content": "<|reserved_5|>"}}')
    return paths


def alone(path, eos, text):
    """The oracle: one text at a time, special tokens as text, and one end."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return [[*tokenizer.encode(one, add_special_tokens=False).ids, tokenizer.token_to_id(eos)] for one in text]


def of_olmo(folder, split, dtype):
    for path in sorted(folder.glob(f"data/{split}-*.npy")):
        data, end = np.fromfile(path, dtype).tolist(), 0
        with gzip.open(path.with_name(path.name.replace(".npy", ".csv.gz")), "rt") as lines:
            for place, line in enumerate(lines):
                start, stop, _ = line.split(",", 2)
                assert (int(start), line.rstrip().split(",")[-2:]) == (end, ["tokens", str(place)])
                end = int(stop)
                yield data[int(start) : end]
        assert end == len(data)
