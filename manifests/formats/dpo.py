"""Pairs for preference training: an original and what an attack made of it.

They are read from the ledger, as run.duckdb may be deleted. A pair is in the split of its document; a source exported
in part gives the pairs of the exported documents. Pairs are neither weighted nor repeated.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.errors import InputError, RunError
from curate.ledger.ledger import read_ledger
from curate.ledger.names import ATTACKS
from curate.ledger.parts import is_intact
from curate.manifests.export.format import Export, Format
from curate.manifests.export.sources import DOC_ID, TRAIN, VALIDATION, Source, in_split
from curate.manifests.schema.reading import read_manifest
from curate.maps.shards import write_tables
from curate.sql import open_database, read_parquet

BATCH_ROWS = 1024

# Spans count bytes. Both texts are the same before the first one.
PREFERENCE_SQL = """
    CREATE VIEW preference_pairs AS
    SELECT doc_id, attack, family, "by", round,
        decode(encode(original)[1:spans[1].original_start]) AS prompt,
        decode(encode(original)[spans[1].original_start + 1:]) AS chosen,
        decode(encode(text)[spans[1].start + 1:]) AS rejected
    FROM attacks WHERE bad"""


def finish(exported: Export) -> list[Path]:
    """A Parquet file for each split, with the columns that TRL's DPOTrainer reads.

    Errors: RunError where a run has no pairs, or none is left to train on.
    """
    for source in exported.sources:
        if not _attacks(source):
            raise RunError(f"{source.run}: has no preference pairs: its recipe has no tier2, which makes them")
        if not has_pairs(source):
            raise RunError(f"{source.run}: has no preference pairs: no round of attacks was kept (table rounds)")
    paths = write_pairs(exported, exported.folder)
    if TRAIN not in paths:
        share = exported.options.validation
        raise RunError(f"--validation {share:.6g}: leaves no preference pair to train on; give less")
    return list(paths.values())


def has_pairs(source: Source) -> bool:
    """Whether a run has preference pairs."""
    return any(pc.any(pq.read_table(path, columns=["bad"])["bad"]).as_py() for path in _attacks(source))


def write_pairs(exported: Export, folder: Path) -> dict[str, Path]:
    """The pairs of all sources: for each split with pairs a file, train.parquet or validation.parquet.

    Errors: RunError, InputError where the pairs of a ledger are missing or changed.
    """
    paths = {}
    for split in (TRAIN, VALIDATION):
        tables = (
            table.filter(pa.array(in_split(source, table[DOC_ID], split, exported.options.validation)))
            for source in exported.sources
            for table in _pairs(source)
        )
        if write_tables(folder / f"{split}.parquet", tables):
            paths[split] = folder / f"{split}.parquet"
    return paths


def _attacks(source: Source) -> list[Path]:
    """The ledger's files of attacks; none for a recipe without attacks."""
    run = Path(source.run)
    parts = read_ledger(run).of(ATTACKS)
    if not parts and read_manifest(run).purify:
        raise RunError(f"{run}: its ledger has no attacks, though its manifest tells of them; run the recipe again")
    for part in parts:
        if not is_intact(run, part):
            problem = "its bytes changed since the run" if (run / part.path).is_file() else "missing"
            raise InputError(f"{run / part.path}: {problem}; run the recipe again to write it anew")
    return [(run / part.path).absolute() for part in parts]


def _pairs(source: Source) -> Iterator[pa.Table]:
    """The pairs of a run in a fixed order."""
    if not (attacks := _attacks(source)):
        return
    with open_database() as connection:
        connection.execute(f"CREATE VIEW attacks AS FROM {read_parquet(attacks)}")
        connection.execute(PREFERENCE_SQL)
        pairs = connection.sql(
            'SELECT prompt, chosen, rejected, doc_id, attack, family, "by" FROM preference_pairs '
            'ORDER BY doc_id, round, attack, "by", rejected'
        )
        for batch in pairs.to_arrow_reader(BATCH_ROWS):
            yield pa.Table.from_batches([batch])


FORMAT = Format("dpo", "TRL's DPOTrainer", finish=finish, of_shards=False, chats=True, pairs=True)
