"""Edits from the first map to the output: signals read the edited text, and the original stays reachable."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import PROSE, documents, write_recipe, write_shard

from curate.edits import FOUND
from curate.engine import InProcess
from curate.filters import registry
from curate.inspect import connect
from curate.pipeline import run
from curate.recipe import load_recipe


@pytest.fixture
def secret_editor():
    """A local edit that blanks the word "secret"."""

    @registry.edit("hide_secret")
    def hide_secret(texts):
        found = []
        for row, text in enumerate(texts.to_pylist()):
            raw = (text or "").encode()
            start = raw.find(b"secret")
            while start >= 0:
                found.append((row, start, start + 6, "[…]", "secret"))
                start = raw.find(b"secret", start + 6)
        columns = list(zip(*found, strict=True)) or [[]] * 5
        return pa.table([pa.array(list(c), f.type) for c, f in zip(columns, FOUND, strict=True)], schema=FOUND)

    yield "hide_secret"
    del registry.edits()["hide_secret"]


def test_the_output_carries_the_edited_text_and_the_ledger_every_cut(tmp_path, secret_editor):
    texts = [f"{PROSE} é secret {k} secret" if k % 3 else f"{PROSE} plain {k}" for k in range(50)]
    texts[7] = None
    write_shard(tmp_path / "in" / "a.parquet", texts[:20])
    write_shard(tmp_path / "in" / "b.parquet", texts[20:])
    recipe, directory = write_recipe(tmp_path, tmp_path / "in", shard_size=3000)
    summary = run(load_recipe(recipe), InProcess(), threads=2, quiet=True, editors=[secret_editor])
    expected = [text.replace("secret", "[…]") for text in texts if text is not None]
    assert summary["shards"] > 2
    assert pq.read_table(directory / "data")["text"].to_pylist() == expected
    sizes = [size for (size,) in documents(directory, "n_bytes", "kept")]
    assert sizes == [len(text.encode()) for text in expected]
    with connect(directory) as connection:
        cuts = connection.execute(
            "SELECT file, row, start, replacement, reason, stage FROM edits JOIN inputs USING (file_no)"
        )
        cuts = cuts.fetchall()
        raw = connection.execute("SELECT input.text FROM corpus ORDER BY file, row").fetchall()
    assert len(cuts) == sum((text or "").count("secret") for text in texts)
    assert {cut[3:] for cut in cuts} == {("[…]", "secret", "input")}
    assert [text for (text,) in raw] == texts
    assert np.unique([cut[0] for cut in cuts]).tolist() == ["a.parquet", "b.parquet"]


def test_copies_that_differ_only_in_what_is_cut_are_duplicates(tmp_path, secret_editor):
    write_shard(tmp_path / "in" / "a.parquet", [PROSE + "secret", PROSE + "[…]"])
    recipe, directory = write_recipe(tmp_path, tmp_path / "in", dedup={"keep": "first"})
    run(load_recipe(recipe), InProcess(), threads=2, quiet=True, editors=[secret_editor])
    assert documents(directory, "reason") == [(None,), ("exact_duplicate",)]
