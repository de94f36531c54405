"""The packaged distribution of good prose: it tells prose from junk that it never saw, and holds no text."""

import json
import zipfile
from importlib.resources import files

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.distill.attacks.registry import apply_attacks
from curate.distill.scoring.calibration import roc_auc
from curate.distill.scoring.importance import PACKAGED, contrast_of, corpus_of, importance, packaged_prose
from curate.distill.scoring.linear_model import groups_of

PROSE = {  # a text of some domains
    "literature": "She had been walking in the garden when he came, and she turned away her face so that he should not "
    "see that she had wept. “You are late,” she said at last, “and my father has asked for you twice.”",
    "programming": "The method returns a new object which holds a reference to the given list, so that a change of the "
    "list is visible through it. An exception is raised if the argument is not a string or the file is missing.",
    "speeches": "The Congress will find that the revenues of the Government have been sufficient for the discharge of "
    "every obligation, and that the peace and prosperity of our people have been maintained with all nations.",
    "medicine and biology": "The process in which a cell takes up a protein and transports it across the membrane, "
    "resulting in the activation of the receptor and the regulation of cell growth and differentiation.",
}


@pytest.fixture(scope="module")
def sample():
    folder = files("curate.sample")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".parquet"))
    return pa.concat_tables(pq.read_table(str(folder / name), columns=["text", "label"]) for name in names)


def texts_of(table):
    return table["text"].cast(pa.large_string()).combine_chunks()


@pytest.fixture(scope="module")
def contrast(sample):
    target, texts = packaged_prose(), texts_of(sample)
    return contrast_of(target, corpus_of(texts, groups_of(texts), target.settings))


def test_texts_have_the_domain_that_they_are_of(contrast):
    assert importance(contrast, pa.array(list(PROSE.values())))["domain"].to_pylist() == list(PROSE)


@pytest.mark.parametrize(
    ("kind", "least"), [("boilerplate_only", 0.97), ("spam", 0.8), ("gibberish", 0.65), ("boilerplate_mixed", 0.9)]
)
def test_good_documents_of_the_sample_are_told_from_bad_ones(contrast, sample, kind, least):
    kinds = np.array([label.split(":")[0].split(";")[0] for label in sample["label"].to_pylist()])
    some = np.isin(kinds, ["good", kind])
    scores = importance(contrast, texts_of(sample.filter(pa.array(some))))["importance"].fill_null(-99).to_numpy()
    assert roc_auc(scores, kinds[some] == "good") > least


@pytest.mark.parametrize("attack", ["keyword_stuffing", "adverts", "boilerplate", "solicitation", "foreign_passages"])
def test_what_attacks_insert_lowers_the_score(contrast, sample, attack):
    kinds = np.array(sample["label"].to_pylist())
    good = texts_of(sample.filter(pa.array(kinds == "good")))
    ids = [str(k) for k in range(len(good))]
    made = apply_attacks(pa.table({"doc_id": ids, "text": good}), [attack], 100, 1, good.slice(0, 50).to_pylist())
    originals = good.take(pa.array([int(doc_id) for doc_id in made["doc_id"].to_pylist()]))
    before, after = (
        importance(contrast, texts.cast(pa.large_string()), groups_of(originals))["importance"].to_numpy()
        for texts in (originals, made["text"].combine_chunks())
    )
    assert (after < before).mean() > 0.7


def test_its_file_is_small_and_holds_numbers_and_names_alone():
    assert PACKAGED.stat().st_size < 1_500_000
    with zipfile.ZipFile(PACKAGED) as file:
        assert sorted(file.namelist()) == ["about.npy", "logs.npy"]
    about = json.loads(np.load(PACKAGED)["about"].tobytes())
    assert set(about) == {"domains", "format", "hash", "kind", "settings", "shares", "texts"}
    assert np.load(PACKAGED)["logs"].dtype == np.float16
