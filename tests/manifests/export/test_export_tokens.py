"""Exports that hold tokens: every token of every document, ends, weights, going on after a stop, what is refused."""

import csv
import gzip
import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner
from support.commands import carry_out, command
from support.exports import killed_and_gone_on
from support.token_exports import END, FORMATS, ROWS, alone, made, of_olmo, texts_of, written
from tokenizers import Tokenizer, models

from curate.cli import main
from curate.errors import CurateError
from curate.manifests.export import tokens
from curate.manifests.export.format import Options, Piece
from curate.manifests.export.mixture import open_sources
from curate.manifests.export.tokens import open_vocabulary, tokens_of

WITHOUT_TOKENS = "train"  # the split of the document that has none


def of_megatron(folder, split, dtype):
    """Documents as the specification of .idx has them."""
    for index in sorted(folder.glob(f"data/{split}-*.idx")):
        content = index.read_bytes()
        assert content[:9] == b"MMIDIDX\0\0"
        version, code, sequences, bounds = struct.unpack("<QBQQ", content[9:34])
        assert (version, code, bounds) == (1, {"uint16": 8, "int32": 4}[dtype], sequences + 1)
        lengths = np.frombuffer(content, "<i4", sequences, 34)
        starts = np.frombuffer(content, "<i8", sequences, 34 + 4 * sequences)
        assert list(np.frombuffer(content, "<i8", -1, 34 + 12 * sequences)) == list(range(sequences + 1))
        data = index.with_suffix(".bin").read_bytes()
        for length, start in zip(lengths, starts, strict=True):
            yield np.frombuffer(data, dtype, length, start).tolist()
        assert len(data) == int(lengths.sum(dtype=np.int64)) * np.dtype(dtype).itemsize


def of_nanotron(folder, split, dtype):
    for path in sorted(folder.glob(f"data/{split}/*.ds")):
        data, start = np.fromfile(path, dtype).tolist(), 0
        ends = np.fromfile(f"{path}.index", "<u8").tolist()
        for end in ends:
            yield data[start:end]
            start = end
        size = np.dtype(dtype).itemsize
        assert Path(f"{path}.metadata").read_text().splitlines()[:2] == [f"tokenizer.json|{size}", str(len(data))]
        assert start == len(data)


@pytest.mark.parametrize("large", [False, True])
def test_every_document_has_the_tokens_of_its_text_and_one_end(token_run, tokenizers, tmp_path, large):
    path, eos = tokenizers[large], "<|reserved_5|>" if large else END
    written(token_run, tmp_path, (*FORMATS, "jsonl"), path, "20%")
    for split in ("train", "validation"):
        lines = [line for file in sorted((tmp_path / "jsonl/data").glob(f"{split}-*"))
                 for line in file.read_text("utf-8").splitlines()]  # fmt: skip
        wanted = alone(path, eos, [json.loads(line)["text"] for line in lines])
        assert len(wanted) > 40
        for name, read in zip(FORMATS, (of_megatron, of_olmo, of_nanotron), strict=True):
            dtype = ("int32" if name == "megatron" else "uint32") if large else "uint16"
            assert list(read(tmp_path / name, split, dtype)) == wanted
            told = json.loads((tmp_path / name / "export.json").read_text())["splits"][split]
            assert told == {"documents": len(wanted), "tokens": sum(map(len, wanted))}
        lengths = [len(one) for one in wanted]
        assert (min(lengths) == 1) == (split == WITHOUT_TOKENS)
    lines = [line for file in (tmp_path / "olmo/data").glob("*.gz")
             for line in gzip.decompress(file.read_bytes()).decode().splitlines()]  # fmt: skip
    assert {row[2] for row in csv.reader(lines)} == {f"tokens, {k}" for k in range(ROWS)}


def test_no_text_ends_a_document(token_run, tokenizers, tmp_path):
    written(token_run, tmp_path, ["megatron"], tokenizers[False])
    documents = list(of_megatron(tmp_path / "megatron", "train", "uint16"))
    assert sum(one.count(1) for one in documents) == len(documents) == ROWS
    tokenizer = Tokenizer.from_file(str(tokenizers[False]))
    assert tokenizer.decode(documents[50][:-1], skip_special_tokens=False).count(END) == 0  # as letters, with gaps
    spelled = "".join(tokenizer.id_to_token(n) for n in documents[50][:-1])
    assert spelled.count(END) == 3


@pytest.mark.parametrize("model", ["Unigram", "BPE"])
def test_a_model_that_knows_the_end_as_a_piece_spells_it(token_run, tmp_path, model):
    letters = sorted({letter for text in texts_of(ROWS) for letter in text})
    if model == "Unigram":
        tokenizer = Tokenizer(models.Unigram([("<unk>", 0.0), ("</s>", 0.0), *((one, -3.0) for one in letters)], 0))
    else:
        tokenizer = Tokenizer(models.BPE({one: k for k, one in enumerate(["<unk>", *letters])}, [], unk_token="<unk>"))
        tokenizer.add_tokens(["</s>"])  # no special one: it is found in text whatever one asks for
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    end = tokenizer.token_to_id("</s>")
    assert end in tokenizer.encode("a </s> b").ids
    written(token_run, tmp_path, ["megatron"], tmp_path)
    documents = list(of_megatron(tmp_path / "megatron", "train", "uint16"))
    assert sum(one.count(end) for one in documents) == len(documents) == ROWS
    spelled = "".join(tokenizer.id_to_token(n) for n in documents[50][:-1])
    assert spelled == texts_of(ROWS)[50]


def test_batches_do_not_change_tokens(token_run, tokenizers, monkeypatch):
    [source] = open_sources(token_run)
    vocabulary = open_vocabulary(str(tokenizers[False]), None)
    piece = Piece(source, source.shards[0].path, "train", "", "", 0, 0, Options(vocabulary=vocabulary))
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")  # so that what a worker sets ends with this test
    once = [(one, tuple(n)) for ids, numbers in tokens_of(piece) for one, n in zip(ids, numbers, strict=True)]
    monkeypatch.setattr(tokens, "BATCH_BYTES", 300)
    parts = list(tokens_of(piece))
    assert [(one, tuple(n)) for ids, numbers in parts for one, n in zip(ids, numbers, strict=True)] == once
    assert 5 < len(parts) <= len(once)


@pytest.mark.slow  # test_export.py has it for other formats
def test_the_bytes_do_not_depend_on_the_workers(token_run, tokenizers, tmp_path):
    written(token_run, tmp_path / "one", FORMATS, tokenizers[False], "5%")
    done = command("export", token_run, "--to", ",".join(FORMATS), "--tokenizer", tokenizers[False], "--validation",
                   "5%", "--out", tmp_path / "three", "--workers", 3, "--quiet")  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name in FORMATS:
        first, second = ((tmp_path / out / name / "export.json").read_bytes() for out in ("one", "three"))
        assert first == second
        assert len(list((tmp_path / "one" / name / "data").rglob("*.*"))) > 8


@pytest.mark.slow  # test_export.py has it for another format
def test_an_export_that_was_killed_goes_on(token_run, tokenizers, tmp_path):
    killed_and_gone_on(tmp_path, "megatron", token_run, "--tokenizer", tokenizers[False])


def test_a_changed_tokenizer_is_noticed_and_a_moved_one_is_the_same(token_run, tokenizers, tmp_path):
    first = shutil.copy(tokenizers[False], tmp_path / "tokenizer.json")
    [told] = written(token_run, tmp_path / "out", ["olmo"], first)
    second = shutil.copy(first, tmp_path / "other.json")
    assert written(token_run, tmp_path / "out", ["olmo"], second) == [told]
    fields = json.loads(Path(first).read_text())
    fields["normalizer"] = None
    Path(first).write_text(json.dumps(fields))
    for options in ((first,), (second, "0", "<s>")):
        with pytest.raises(CurateError, match="has an export of something else; choose another --out"):
            written(token_run, tmp_path / "out", ["olmo"], *options)


def test_what_is_written_tells_of_the_tokenizer_and_of_no_place(token_run, tokenizers, tmp_path):
    written(token_run, tmp_path / "out", (*FORMATS, "jsonl"), tokenizers[False].parent)
    content = tokenizers[False].read_bytes()
    for name in FORMATS:
        told = json.loads((tmp_path / "out" / name / "export.json").read_text())
        facts = told["options"]["tokenizer"]
        assert facts == {
            "name": "small", "sha256": next(f["sha256"] for f in told["files"] if f["path"] == "tokenizer.json"),
            "size": Tokenizer.from_str(content.decode()).get_vocab_size(), "eos": END, "eos_id": 1,
        }  # fmt: skip
        assert (tmp_path / "out" / name / "tokenizer.json").read_bytes() == content
    for path in (tmp_path / "out").rglob("*"):
        assert path.is_dir() or str(tmp_path.parent.parent).encode() not in path.read_bytes()
    assert json.loads((tmp_path / "out/jsonl/export.json").read_text())["options"] == {"validation": 0.0}


@pytest.mark.parametrize(
    ("beside", "eos", "ends"),
    [
        ({}, None, END),
        ({}, "<s>", "<s>"),
        ({"tokenizer_config.json": {"eos_token": "<s>"}}, None, "<s>"),
        ({"tokenizer_config.json": {"eos_token": {"content": "<s>"}}}, None, "<s>"),
        ({"tokenizer_config.json": {"eos_token": None}, "special_tokens_map.json": {"eos_token": "<s>"}}, None, "<s>"),
        ({"generation_config.json": {"eos_token_id": [0, 1]}}, None, "<s>"),
        ({"config.json": {"eos_token_id": 0}}, None, "<s>"),
        ({"tokenizer_config.json": {"eos_token": "<s>"}}, END, END),
    ],
)
def test_the_end_is_what_one_asks_for_or_what_is_named(tokenizers, tmp_path, beside, eos, ends):
    shutil.copy(tokenizers[False], tmp_path / "tokenizer.json")
    for name, fields in beside.items():
        (tmp_path / name).write_text(json.dumps(fields))
    assert open_vocabulary(str(tmp_path), eos).eos == ends


def test_weights_give_each_run_its_share(token_run, tokenizers, tmp_path):
    made(tmp_path, texts_of(150)[90:], "code")
    mixture = tmp_path / "mix.yaml"
    mixture.write_text(
        yaml.safe_dump({"name": "mix", "sources": {"web": {"run": str(token_run), "weight": 0.75},
                                                   "code": {"run": "code", "weight": 0.25}},
                        "tokens": 60_000, "max_epochs": 50}, sort_keys=False)
    )  # fmt: skip
    written(mixture, tmp_path / "out", FORMATS, tokenizers[False], "9%")
    words = (tmp_path / "out/megatron/blend.txt").read_text().split()
    blend = dict(zip(words[1::2], map(float, words[::2]), strict=True))
    by_source = {name: sum(w for p, w in blend.items() if f"/{name}/" in p) for name in ("web", "code")}
    assert by_source == pytest.approx({"web": 0.75, "code": 0.25})
    sizes = {p: (tmp_path / f"out/megatron/{p}.bin").stat().st_size for p in blend if "/web/" in p}
    assert len(sizes) > 2
    per_byte = [blend[prefix] / size for prefix, size in sizes.items()]
    assert per_byte == pytest.approx([per_byte[0]] * len(per_byte))
    told = json.loads((tmp_path / "out/megatron/blend.json").read_text())
    assert (told["train"], told["test"]) == (words, None)
    assert sum(map(float, told["valid"][::2])) == pytest.approx(1)
    assert all(p.split("/")[-1].startswith("validation-") for p in told["valid"][1::2])
    olmo = yaml.safe_load((tmp_path / "out/olmo/source_mixture.yaml").read_text())["sources"]
    assert {source["source_name"]: source["target_ratio"] for source in olmo} == {"web": 0.75, "code": 0.25}
    assert all(source["max_repetition_ratio"] >= 1 for source in olmo)
    assert all((tmp_path / "out/olmo" / path).is_file() for source in olmo for path in source["paths"])
    nanotron = yaml.safe_load((tmp_path / "out/nanotron/nanotron.yaml").read_text())["dataset"]
    assert nanotron["dataset_folder"] == ["data/web/train", "data/code/train"]
    assert nanotron["dataset_weights"] == pytest.approx([0.75, 0.25])


def test_a_split_without_documents_is_null(token_run, tokenizers, tmp_path):
    [done] = written(token_run, tmp_path, ["megatron"], tokenizers[False])
    told = json.loads((tmp_path / "megatron/blend.json").read_text())
    assert (told["valid"], told["test"]) == (None, None)
    assert "--data-args-path blend.txt --split 100,0,0" in done.load
    assert f"start the training in {tmp_path}/megatron" in done.load


def test_what_is_no_tokenizer_is_one_line(token_run, tokenizers, tmp_path):
    good, bad = tokenizers[False], tmp_path / "bad.json"
    bad.write_text('{"model": {"type": "BPE"')
    nameless = tmp_path / "nameless.json"
    Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(nameless))
    (tmp_path / "wrong").mkdir()
    shutil.copy(good, tmp_path / "wrong")
    (tmp_path / "wrong/tokenizer_config.json").write_text('{"eos_token": "<eos>"}')
    (tmp_path / "broken").mkdir()
    shutil.copy(good, tmp_path / "broken")
    (tmp_path / "broken/tokenizer_config.json").write_text("{")
    gone = tmp_path / "none.json"
    some = "(special tokens: <s>, <|endoftext|>)"
    for options, said in (
        ([], "--to megatron: holds tokens; give --tokenizer, a tokenizer.json or a Hub name"),
        (["--tokenizer", gone], f"--tokenizer {gone}: no such file; give a tokenizer.json, a folder that has one, or "
                                "a name on the Hub"),
        (["--tokenizer", tmp_path], f"--tokenizer {tmp_path}: the folder has no tokenizer.json"),
        (["--tokenizer", bad], f"--tokenizer {bad}: is no tokenizer.json: EOF while parsing an object at line 1 "
                               "column 24"),
        (["--tokenizer", good, "--eos", "<end>"],
         f"--eos <end>: is not in the vocabulary; give --eos with one that is {some}"),
        (["--tokenizer", tmp_path / "wrong"], f"--tokenizer {tmp_path}/wrong: its eos_token <eos> is not in the "
                                              f"vocabulary; give --eos with one that is {some}"),
        (["--tokenizer", tmp_path / "broken"],
         f"{tmp_path}/broken/tokenizer_config.json: is no JSON: Expecting property name enclosed in double quotes: "
         "line 1 column 2 (char 1)"),
        (["--tokenizer", nameless],
         f"--tokenizer {nameless}: names no token that ends a document; give --eos (special tokens: none)"),
    ):  # fmt: skip
        words = ["export", token_run, "--to", "megatron", "--out", tmp_path / "out", *options]
        done = CliRunner().invoke(main, list(map(str, words)))
        assert (done.exit_code, done.stderr, done.stdout) == (1, f"Error: {said}\n", "")
        assert not (tmp_path / "out").exists()


def test_a_name_that_the_hub_cannot_be_asked_for_is_one_line(token_run, tmp_path):
    done = command("export", token_run, "--to", "olmo", "--out", tmp_path / "out", "--tokenizer", "nobody/nothing",
                   HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))  # fmt: skip
    [line] = done.stderr.splitlines()
    assert line.startswith("Error: --tokenizer nobody/nothing: neither a file here nor to be had from the Hugging Face")


def test_chats_hold_no_plain_text(tokenizers, tmp_path):
    chats = [
        [{"role": "user", "content": f"What is {k}?"}, {"role": "assistant", "content": "A word."}] for k in range(9)
    ]
    pq.write_table(pa.table({"messages": chats}), tmp_path / "in.parquet")
    recipe = {"name": "chats", "output": str(tmp_path / "run"), "tier1": {"rules": []},
              "input": {"paths": [str(tmp_path / "in.parquet")], "messages": "messages"}}  # fmt: skip
    (tmp_path / "chats.yaml").write_text(yaml.safe_dump(recipe))
    carry_out(tmp_path / "chats.yaml")
    with pytest.raises(CurateError, match=r"^--to olmo: holds plain text, and the documents of chats are chats$"):
        written(tmp_path / "run", tmp_path / "out", ["olmo"], tokenizers[False])
