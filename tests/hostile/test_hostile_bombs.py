"""Small files that unpack to gigabytes, and models that would end the process: one line, and bounded memory."""

import gzip
import json
import struct
import zipfile

import numpy as np
import pytest
from support.commands import command, refused
from support.corpora import PROSE, write_shard
from support.recipes import write_recipe
from support.soak import repeats

from curate.distill.scoring import model_file
from curate.distill.scoring.linear_model import load as load_linear
from curate.distill.teacher.weights import adapter_contents
from curate.errors import InputError, RecipeError
from curate.filters.language.kenlm_binary import PARAMETERS, SANITY

ORDER, COUNTS, WORDS = len(SANITY), len(SANITY) + PARAMETERS.size, 144  # places in a binary model of three orders


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The bytes of a binary model."""
    folder = tmp_path_factory.mktemp("lm")
    write_shard(folder / "a.parquet", [f"{PROSE} {k}" for k in range(20)])
    done = command("lm", "train", folder / "a.parquet", "--output", folder / "m.binary", "--order", "3")
    assert done.returncode == 0, done.stderr
    return (folder / "m.binary").read_bytes()


def changed(content, place, new):
    return content[:place] + new + content[place + len(new) :]


HARMS = {
    "no orders": (lambda m: changed(m, ORDER, b"\0"), "its header is damaged: order 0"),
    "counts that overflow": (lambda m: changed(m, COUNTS, b"\xff" * 24), "more than its file has room for"),
    "no words": (lambda m: changed(m, COUNTS, bytes(8)), "it counts no n-grams"),
    "no room for a word": (lambda m: changed(m, ORDER + 4, struct.pack("<f", 0.0)), "its header is damaged: order 3"),
    "a word beyond the last": (lambda m: changed(m, WORDS, b"\xff" * 120), "numbers beyond"),
    "cut in its header": (lambda m: m[: ORDER + 5], "cut off within its header"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_language_model_is_refused_before_kenlm_dies_of_it(tmp_path, good, model, harm):
    damage, said = HARMS[harm]
    (tmp_path / "m.binary").write_bytes(damage(model))
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    done = command("run", recipe, "--set", f"tier1.perplexity={{model: {tmp_path / 'm.binary'}, form: words-1}}")
    assert done.returncode == 1, done.stderr
    assert "KenLM cannot read it" in done.stderr
    assert said in done.stderr
    assert done.stderr.splitlines()[-1].startswith("Error: ")


@pytest.mark.slow  # half a minute of reading: the test below has one line
def test_lines_with_fields_of_their_own_are_refused_before_they_fill_the_memory(tmp_path):
    (tmp_path / "in").mkdir()
    lines = "".join(f'{{"text": "{PROSE}", "k{k}": 1}}\n' for k in range(6000))
    (tmp_path / "in" / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    assert "different fields up to line" in refused(recipe, InputError)


def test_one_line_with_a_million_fields_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    fields = {"text": PROSE} | {f"k{k}": 1 for k in range(1_000_000)}
    (tmp_path / "in" / "a.jsonl.gz").write_bytes(gzip.compress(json.dumps(fields).encode(), 1))
    recipe, _ = write_recipe(tmp_path, tmp_path / "in")
    assert "has 1,000,001 different fields" in refused(recipe, InputError)


def test_a_model_file_that_unpacks_to_gigabytes_is_refused_unread(tmp_path, monkeypatch):
    path = tmp_path / "model.npz"
    header = np.lib.format.header_data_from_array_1_0(np.zeros(0, np.float32)) | {"shape": (3 << 29,)}
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed,
        packed.open("weights.npy", "w", force_zip64=True) as file,
    ):
        np.lib.format.write_array_header_1_0(file, header)
        for _ in range(1 << 6):
            file.write(bytes(1 << 20))
    assert path.stat().st_size < 1 << 20
    monkeypatch.setattr(model_file, "MAX_BYTES", 1 << 26)
    monkeypatch.setattr(zipfile.ZipExtFile, "read", pytest.fail)
    with pytest.raises(InputError, match="not a discriminator, or damaged"):
        load_linear(path)


def test_pickled_weights_of_an_adapter_are_refused(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 8}))
    (tmp_path / "adapter_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(RecipeError, match=r"no adapter_model\.safetensors; pickled weights"):
        adapter_contents({"a": str(tmp_path)}, "teacher.transformers")


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[" * 100_000, b'{"model": 5}', b"\x80\x04.", b'{"version": "1.0", "model": {"type": "BPE"}}'],
)
def test_a_tokenizer_that_is_none_is_refused_in_one_line(tmp_path, demo, content):
    (tmp_path / "tokenizer.json").write_bytes(content)
    done = command(
        "export", demo, "--to", "olmo", "--out", tmp_path / "out", "--tokenizer", tmp_path / "tokenizer.json"
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "tokenizer.json" in done.stderr


@pytest.mark.parametrize("depth", [60_000, *repeats(2_000)])
@pytest.mark.parametrize("opening", ["[", *repeats('{"a":')])
def test_a_line_that_is_nested_deeply_is_a_bad_line(tmp_path, depth, opening):
    closing = "]" if opening == "[" else "}"
    deep = f'{{"text": {opening * depth}1{closing * depth}}}'
    (tmp_path / "in.jsonl").write_text(
        "\n".join([json.dumps({"text": PROSE}), deep, json.dumps({"text": PROSE + "2"})])
    )
    recipe, _ = write_recipe(tmp_path, tmp_path / "in.jsonl")
    done = command("run", recipe, "--quiet", "--workers", 1)
    assert done.returncode == 1
    assert (
        done.stderr == f"Error: {tmp_path / 'in.jsonl'}: line 2 is nested too deeply\n"
        or "line 2 is nested" in done.stderr
    )
    assert command("run", recipe, "--quiet", "--workers", 1, "--set", "on_error=quarantine").returncode == 0
