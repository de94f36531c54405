"""The sample as many small files, and what an undisturbed run over them writes."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.commands import program
from support.corpora import SAMPLE
from support.recipes import write_recipe
from support.runs import digests
from support.soak import ALL

UNIT = {"CURATE_UNIT_BYTES": "200000"}  # so small that the sample makes a dozen tasks


@pytest.fixture(scope="module")
def small_files(tmp_path_factory):
    """The sample as many small files, one large row group and an empty file."""
    folder = tmp_path_factory.mktemp("corpus")
    table = pa.concat_tables([pq.read_table(path) for path in sorted(SAMPLE.glob("*.parquet"))])
    for k in range(0, 300, 20):
        pq.write_table(table.slice(k, 20), folder / f"a{k:03d}.parquet", row_group_size=7)
    pq.write_table(table.slice(300, None if ALL else 250), folder / "b.parquet")
    pq.write_table(table.slice(0, 0), folder / "c.parquet")
    return folder


def recipe_for(folder, small_files):
    folder.mkdir()
    tier1 = {"rules": ["gopher"], "language": {"min_confidence": 0.3}, "perplexity": {"band": [2, 98]}, "pii": "redact"}
    dedup = {"near": {}, "lines": {"max_repeats": 5}}
    fields = {"tier1": tier1, "dedup": dedup, "distill": {"keep_tokens": 0.6}, "shard_size": 100_000}
    return write_recipe(folder, small_files / "*.parquet", **fields)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The folder of a run that nothing disturbs."""
    return tmp_path_factory.mktemp("expected") / "x"


@pytest.fixture(scope="module")
def expected_digests(small_files, undisturbed):
    """What an undisturbed run with one worker writes."""
    recipe, run = recipe_for(undisturbed, small_files)
    done = program("run", recipe, "--workers", 1, "--quiet", **UNIT)
    assert done.returncode == 0, done.stderr
    found = digests(run)
    assert len([name for name in found if name.startswith("data/")]) > 3
    assert len([name for name in found if name.startswith("ledger/signals/words/")]) > 4
    return found
