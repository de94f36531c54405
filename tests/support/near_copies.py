"""Families of nearly equal texts, and what any engine must find in them."""

import random

from support.corpora import write_shard
from support.recipes import write_recipe
from support.runs import documents
from support.soak import ALL

from curate.engine.base import InProcess
from curate.ledger.ledger import read_ledger
from curate.ledger.run import connect
from curate.pipeline.run import run as carried_out
from curate.recipe.load import load_recipe

VOCABULARY = [f"word{k}" for k in range(3000)]


def edited_copies(seed, families=60, copies=4):
    """Texts of 80 to 300 words and copies of them, and of copies, with some words replaced; in no order."""
    draw = random.Random(seed)
    texts = []
    for _ in range(families):
        family = [draw.choices(VOCABULARY, k=draw.randint(80, 300))]
        for _ in range(copies):
            words = list(draw.choice(family))
            for place in draw.sample(range(len(words)), draw.choice([0, 1, 2, 3, 5, 8, 13])):
                words[place] = draw.choice(VOCABULARY)
            family.append(words)
        texts += [" ".join(words) for words in family]
    draw.shuffle(texts)
    return texts


def slices_find_what_one_slice_does(monkeypatch, folder, engine, keep="best", key_files=1 << 30):
    """Near duplicates by an engine, in many slices and ranges, and in this process in one."""
    texts = edited_copies(6, families=60 if ALL else 24)
    for k in range(10):
        write_shard(folder / "in" / f"{k}.parquet", texts[k::10])
    monkeypatch.setattr("curate.maps.measure.TASK_BYTES", 1)  # a part of signatures for each file

    def found(name, engine):
        (folder / name).mkdir()
        recipe, path = write_recipe(folder / name, folder / "in", dedup={"exact": False, "keep": keep, "near": {}})
        carried_out(load_recipe(recipe), engine, threads=2, quiet=True)
        assert not (path / "ledger" / "spool" / "near").exists()
        with connect(path) as connection:
            pairs = connection.execute("FROM duplicate_pairs ORDER BY ALL").fetchall()
        return pairs, documents(path, "file, row, reason, similarity, duplicate_of"), read_ledger(path)

    *whole, _ = found("a", InProcess())
    monkeypatch.setattr("curate.dedup.near.stage.KEYS_AT_ONCE", 20)
    monkeypatch.setattr("curate.dedup.near.stage.SLICE_ROWS", 30)
    monkeypatch.setattr("curate.dedup.near.stage.PAIRS_AT_ONCE", 7)
    monkeypatch.setattr("curate.dedup.near.stage.KEY_FILES", key_files)
    monkeypatch.setattr("curate.dedup.near.best_copies.BUCKET", 3)
    *pieces, ledger = found("b", engine)
    assert len(ledger.of("signatures")) == 10
    assert len(ledger.of("pairs")) > 2
    assert pieces == whole
