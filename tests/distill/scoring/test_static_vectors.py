"""Clusters by a static embedding model: what model2vec says of each text, in one run with all else."""

import json
import shutil
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from model2vec import StaticModel
from support.commands import carry_out, command
from support.recipes import distilling
from support.runs import digests, documents
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from curate.distill.scoring import clusters, static_vectors
from curate.distill.scoring.static_vectors import load_once, open_static, vectors_of
from curate.errors import InputError, RecipeError
from curate.inspect.what_if import propose, redecide
from curate.ledger.names import CLUSTERS, STATIC_VECTORS

DIMENSIONS = 32
BUDGET = {"keep_tokens": "20%", "ladder": ["10%"], "weights": {"quality": 0.7, "diversity": 0.3}, "quotas": None}


def tokenizer_of(texts):
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=2000, special_tokens=["[UNK]"], limit_alphabet=60, show_progress=False
    )  # letters beyond these are unknown
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def model_of(texts, **how):
    """A model of the sample: latent semantic analysis of the tokens of its documents."""
    tokenizer = tokenizer_of(texts)
    counts = np.zeros((tokenizer.get_vocab_size(), len(texts)), np.float32)
    for k, encoding in enumerate(tokenizer.encode_batch(texts)):
        np.add.at(counts, (encoding.ids, k), 1)
    idf = np.log((1 + len(texts)) / (1 + (counts > 0).sum(axis=1)))
    left, sizes, _ = np.linalg.svd(np.log1p(counts) * idf[:, None].astype(np.float32), full_matrices=False)
    return StaticModel((left[:, :DIMENSIONS] * sizes[:DIMENSIONS]).astype(np.float32), tokenizer, normalize=True, **how)


@pytest.fixture(scope="module")
def texts(corpus):
    return [text for text in pq.read_table(corpus / "corpus.parquet")["text"].to_pylist() if text]


@pytest.fixture(scope="module")
def model(texts):
    return model_of(texts[:: len(texts) // 400])


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    place = tmp_path_factory.mktemp("static") / "small"
    model.save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def finished(corpus, folder, tmp_path_factory):
    path, run = distilling(
        corpus, tmp_path_factory.mktemp("run"), BUDGET | {"vectors": {"static": str(folder)}}, reference=[]
    )
    carry_out(path)
    return path, run


def model_file(run, group):
    [path] = (run / "models").glob(f"{group}-*.npz")
    return path


@pytest.mark.parametrize("how", ["plain", "weights and a vector for many tokens", "no end", "half precision"])
def test_vectors_are_those_of_model2vec(model, texts, tmp_path, how):
    draw = np.random.default_rng(1)
    vectors, tokenizer, size = model.embedding, model.tokenizer, len(model.embedding)
    if how == "weights and a vector for many tokens":
        model = StaticModel(vectors[:200], tokenizer, normalize=True, weights=draw.uniform(0.1, 2, size),
                            token_mapping=draw.integers(0, 200, size))  # fmt: skip
    if how == "no end":
        model = StaticModel(vectors, tokenizer, normalize=True, max_length=None)
    if how == "half precision":
        model = StaticModel(vectors.astype(np.float16), tokenizer, normalize=True)
    model.save_pretrained(tmp_path / "model")
    some = [*texts[:300], "one " * 5000 + "two " * 5000, "", "ЖЖЖ", "ΣΟΦΟΣ and others"]
    found = vectors_of(open_static(str(tmp_path / "model"), None), pa.array([*some, None]))
    assert found.dtype == np.float32
    assert found[:-1] == pytest.approx(model.encode(some), abs=2e-3 if how == "half precision" else 1e-5)
    assert not found[-1].any()
    assert not found[len(some) - 2].any()


def test_vectors_do_not_depend_on_what_is_read_beside(folder, texts):
    opened, some = open_static(str(folder), None), pa.array(texts[:100])
    parts = [vectors_of(opened, some.slice(k, 7)) for k in range(0, 100, 7)]
    assert np.array_equal(np.concatenate(parts), vectors_of(opened, some))


def test_a_model_survives_its_file(folder, texts, tmp_path):
    opened = open_static(str(folder), None)
    static_vectors.save(opened, tmp_path / "a.npz")
    static_vectors.save(open_static(str(folder), None), tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    some = pa.array(texts[:50])
    assert np.array_equal(vectors_of(load_once(tmp_path / "a.npz"), some), vectors_of(opened, some))
    clusters.save(clusters.clusters_of(vectors_of(opened, some), 3, 1), tmp_path / "c.npz")
    with pytest.raises(InputError, match="a static model of another version"):
        load_once(tmp_path / "c.npz")


def test_the_clusters_of_a_run_are_nearest_to_what_model2vec_says(finished, model, corpus):
    _, run = finished
    by_id = dict(documents(run, "doc_id, cluster", "cluster IS NOT NULL"))
    held = pq.read_table(corpus / "corpus.parquet").to_pylist()
    held = [row for row in held if row["id"] in by_id]
    products = model.encode([row["text"] for row in held]) @ clusters.load(model_file(run, CLUSTERS)).centres.T
    own = products[np.arange(len(held)), [by_id[row["id"]] for row in held]]
    assert len(held) > 500
    assert own == pytest.approx(products.max(axis=1), abs=1e-5)


def test_other_vectors_make_other_clusters_and_tell_so(finished, folder, corpus, tmp_path):
    _, run = finished
    path, hashed = distilling(corpus, tmp_path, BUDGET, reference=[])
    carry_out(path)
    pairs = [np.unique([f"{a}" for _, a in documents(of, "doc_id, cluster")], return_inverse=True)[1]
             for of in (run, hashed)]  # fmt: skip
    together = [own[:, None] == own[None, :] for own in pairs]
    assert (together[0] != together[1]).mean() > 0.02
    told = [json.loads((of / "manifest.json").read_text())["distil"] for of in (run, hashed)]
    facts = {"model": "small", "content_xxh3_128": open_static(str(folder), None).facts["content_xxh3_128"]}
    assert [one.get("vectors") for one in told] == [facts, None]
    assert [set(one["models"]) & {"projection", STATIC_VECTORS} for one in told] == [{STATIC_VECTORS}, {"projection"}]


@pytest.mark.slow  # test_same_bytes.py has a budget too
def test_the_number_of_workers_changes_no_byte(finished, corpus, folder, tmp_path):
    _, run = finished
    path, other = distilling(corpus, tmp_path, BUDGET | {"vectors": {"static": str(folder)}}, reference=[])
    done = command("run", path, "--workers", "2", "--quiet")
    assert done.returncode == 0, done.stderr
    assert digests(run) == digests(other)


def test_the_run_stands_without_the_folder_of_the_model(corpus, model, tmp_path):
    model.save_pretrained(tmp_path / "gone")
    budget = BUDGET | {"scores": {"importance": 1}}
    path, run = distilling(corpus, tmp_path, budget | {"vectors": {"static": str(tmp_path / "gone")}}, reference=[])
    carry_out(path)
    shutil.rmtree(tmp_path / "gone")
    (tmp_path / "next").mkdir()
    pinned, other = distilling(corpus, tmp_path / "next", budget, reference=[], models={"pin": str(run)})
    carry_out(pinned)
    assert documents(run, "doc_id, cluster, kept") == documents(other, "doc_id, cluster, kept")
    with redecide(propose(run, ["tier1.rules=[]", "distill.keep_tokens=10%"], quiet=True), 2) as database:
        assert database.execute("SELECT count(*) FROM after WHERE kept").fetchall()[0][0] > 0


def test_another_model_in_the_same_folder_is_learnt_from_anew(corpus, texts, model, tmp_path):
    place = tmp_path / "model"
    model.save_pretrained(place)
    path, run = distilling(corpus, tmp_path, BUDGET | {"vectors": {"static": str(place)}}, reference=[])
    carry_out(path)
    before = documents(run, "doc_id, cluster"), model_file(run, STATIC_VECTORS).name
    turned = np.random.default_rng(2).permutation(model.embedding)
    StaticModel(turned, model.tokenizer, normalize=True).save_pretrained(place)
    carry_out(path)
    after = documents(run, "doc_id, cluster"), model_file(run, STATIC_VECTORS).name
    assert before[0] != after[0]
    assert before[1] != after[1]


def broken(kind, folder, place):
    """A model's folder with something wrong."""
    shutil.copytree(folder, place)
    weights, tokenizer = place / "model.safetensors", place / "tokenizer.json"
    if kind == "cut off":
        weights.write_bytes(weights.read_bytes()[:5000])
    elif kind == "no weights":
        weights.unlink()
    elif kind == "no tokenizer":
        tokenizer.unlink()
    elif kind == "odd tokenizer":
        tokenizer.write_text('{"model": 1}')
    elif kind == "odd config":
        (place / "config.json").write_text("{")
    elif kind == "not finite":
        model = StaticModel.from_pretrained(folder)
        model.embedding[3, 4] = np.nan
        model.save_pretrained(place)
    elif kind == "too few vectors":
        model = StaticModel.from_pretrained(folder)
        ids = np.arange(len(model.embedding))
        StaticModel(model.embedding[:50], model.tokenizer, token_mapping=ids).save_pretrained(place)
    return place


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("cut off", "model2vec cannot read it: "),
        ("no weights", "no weights in this folder"),
        ("no tokenizer", "model2vec cannot read it: Could not find expected model files"),
        ("odd tokenizer", "model2vec cannot read it: "),
        ("odd config", "model2vec cannot read it: "),
        ("not finite", "its vectors are no numbers"),
        ("too few vectors", "it has tokens without a vector"),
    ],
)
def test_a_broken_model_is_one_line_before_data_is_read(corpus, folder, tmp_path, kind, told):
    place = broken(kind, folder, tmp_path / "broken")
    assert told in refused(corpus, tmp_path, {"static": str(place)})


@pytest.mark.parametrize(
    ("vectors", "told"),
    [
        ({"static": "./nonesuch"}, "distill.vectors.static: ./nonesuch: no such folder"),
        ({"static": ""}, "distill.vectors.static: string should have at least 1 character"),
        ({"static": "a/b/c"}, "no such folder"),
        ({"statik": "x"}, "distill.vectors has no field 'statik'; did you mean 'static'?"),
        ("hashd", 'distill.vectors: is hashed, or {static: MODEL}, got "hashd"'),
        ({"revision": "main"}, "distill.vectors.static is missing"),
    ],
)
def test_what_is_no_model_is_one_line(corpus, tmp_path, vectors, told):
    assert told in refused(corpus, tmp_path, vectors)


def test_a_name_that_the_hub_does_not_give_is_one_line(corpus, folder, tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "nobody/nothing: neither a folder here nor to be had" in refused(
        corpus, tmp_path, {"static": "nobody/nothing"}
    )
    assert "leave revision out" in refused(corpus, tmp_path, {"static": str(folder), "revision": "main"})


def test_a_name_on_the_hub_is_looked_up_in_the_cache_and_told_by_that_name(folder, tmp_path, monkeypatch):
    import huggingface_hub.constants

    place = tmp_path / "models--somebody--small"
    shutil.copytree(folder, place / "snapshots" / "0123456789abcdef0123456789abcdef01234567")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("0123456789abcdef0123456789abcdef01234567")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    opened, of_folder = open_static("somebody/small", None), open_static(str(folder), None)
    assert opened.facts["model"] == "somebody/small"
    assert np.array_equal(opened.table, of_folder.table)
    assert open_static("somebody/small", "0123456789abcdef0123456789abcdef01234567").facts == opened.facts


def test_a_missing_extra_is_told_of_with_what_to_install(corpus, folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "model2vec", None)
    assert "pip install 'curate-lm[static]', or take hashed" in refused(corpus, tmp_path, {"static": str(folder)})


def refused(corpus, folder, vectors):
    path, run = distilling(corpus, folder, BUDGET | {"vectors": vectors}, reference=[])
    with pytest.raises(RecipeError) as error:
        carry_out(path)
    assert "\n" not in str(error.value)
    assert not list(run.glob("ledger/signals/*"))
    return str(error.value)
