"""What benchmarks/purify.py trains on and tests on never meets."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.paths import ROOT

BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def parts(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import purify_corpus

    return purify_corpus


@pytest.fixture
def corpora(tmp_path, parts):
    """Good documents, each twice; pages, each with a clean twin; and the other files."""
    folder = tmp_path / "corpora"
    labels = {"mail": ("spam", "easy_ham"), "lingspam": ("spam", "ham"), "ocr": ("clean", "ocr;level=2"),
              "edu": ("edu=0.5;tokens=9", "edu=3.25;tokens=9")}  # fmt: skip
    for name in ("law", "news"):
        _write(folder / f"reference/{name}.parquet", [(f"{k % 60}", f"{name} {k % 60}", name) for k in range(120)])
    for name, (file, _) in parts.FILES.items():
        if name == "web":
            rows = [(f"p{k}|{label}", f"page {k} {label}", label) for k in range(80) for label in ("noisy", "clean")]
        else:
            rows = [(f"{k}", f"{name} {k}", labels[name][k % 2]) for k in range(20)]
        _write(folder / f"{file}.parquet", rows)
    return folder


def _write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(dict(zip(("id", "text", "label"), zip(*rows, strict=True), strict=True))), path)


def test_no_text_and_no_page_that_is_trained_on_is_tested(parts, corpora, tmp_path):
    material = parts.part_corpora(corpora, tmp_path / "out", 1)
    tested = pq.read_table(material.tested).to_pylist()
    good = {text for path in material.reference.glob("*") for text in pq.read_table(path)["text"].to_pylist()}
    pages = {text.split()[1] for text in pq.read_table(material.mined)["text"].to_pylist()}
    assert good.isdisjoint(row["text"] for row in tested)
    assert len(good) + sum(row["part"] == "good" for row in tested) == 120
    assert pages.isdisjoint(row["text"].split()[1] for row in tested if row["part"] == "web")
    assert pq.read_metadata(material.mined).num_rows == 2 * len(pages)
    assert {row["half"] for row in tested} == {"testing", "tuning"}
    assert {(row["label"], row["grade"]) for row in tested if row["part"] == "edu"} == {
        ("edu=0.5;tokens=9", 0.5), ("edu=3.25;tokens=9", 3.25)
    }  # fmt: skip


def test_a_domain_that_the_reference_lacks_is_tested_as_before(parts, corpora, tmp_path):
    whole = parts.part_corpora(corpora, tmp_path / "whole", 1)
    lacking = parts.part_corpora(corpora, tmp_path / "lacking", 1, without="law")
    assert [path.stem for path in lacking.reference.glob("*")] == ["news"]
    assert pq.read_table(lacking.tested).equals(pq.read_table(whole.tested))


def test_another_seed_parts_otherwise(parts, corpora, tmp_path):
    one, other = (parts.part_corpora(corpora, tmp_path / str(seed), seed) for seed in (1, 2))
    assert not pq.read_table(one.mined).equals(pq.read_table(other.mined))
