"""What earlier runs kept, read from their ledgers: documents that equal one of these are not kept again.

In the cascade's tables they have negative file numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from curate.errors import RecipeError, RunError
from curate.ledger.ledger import OUTPUT_FOLDERS, Ledger, fetch_run, read_ledger
from curate.ledger.names import JUDGED, SIGNATURES, SYNTHETIC, WRITTEN_FOLDER
from curate.ledger.parts import Part, is_intact
from curate.manifests.schema.model import Manifest
from curate.manifests.schema.reading import read_manifest
from curate.recipe.recipe import Recipe
from curate.sql import literal, read_parquet
from curate.storage.files import sha256_of

FILE_BITS = 20  # bits of a file number within its run
NAMES = ("normal_hash_high", "normal_hash_low", "text_hash_high", "text_hash_low")


@dataclass(frozen=True)
class Earlier:
    """A finished run whose kept documents count as duplicates."""

    number: int  # position in `dedup.against`
    name: str  # prefix of its documents' ids
    ledger: Ledger
    groups: dict[str, str]  # group to digest
    manifest: str  # SHA-256 of the manifest, which says what the run kept
    accepted: Path | None = None  # for a run over written documents: the table of those that were accepted

    @property
    def first_file_no(self) -> int:
        """The number of its file 0 in the cascade's tables; later files count down."""
        return -(self.number << FILE_BITS) - 1

    def parts(self, group: str) -> list[Part]:
        """The parts of a group; empty if the run did not use it."""
        return self.ledger.of(group, self.groups[group]) if group in self.groups else []


def open_earlier(recipe: Recipe) -> tuple[Earlier, ...]:
    """Open the runs of `dedup.against`.

    A run with a third tier counts as two: its documents, and those that a model wrote and an inner run judged.

    Errors: RunError for a folder that is no finished run; RecipeError for one that cannot be compared with.
    """
    if recipe.dedup.against and not (recipe.dedup.exact or recipe.dedup.near):
        raise RecipeError("dedup.against: compares nothing without dedup.exact or dedup.near; set one of them")
    runs: list[Earlier] = []
    for name in recipe.dedup.against:
        try:
            folder = fetch_run(name, OUTPUT_FOLDERS)
            manifest = read_manifest(folder)
            ledger = read_ledger(folder)
        except RunError as error:
            raise RunError(f"dedup.against: {error}") from None
        _check(recipe, folder, manifest)
        if manifest.name in {earlier.name for earlier in runs}:
            raise RecipeError(f"dedup.against: two runs are named {manifest.name!r}; documents are told by that name")
        digest = sha256_of(folder / "manifest.json")
        run = Earlier(len(runs), manifest.name, ledger, manifest.signal_groups, digest)
        _check_parts(recipe, folder, run)
        runs.append(run)
        if manifest.synthetic.documents:
            runs.append(_written(recipe, folder, len(runs), run))
    return tuple(runs)


def _written(recipe: Recipe, folder: Path, number: int, by: Earlier) -> Earlier:
    """The written documents of an earlier run."""
    judged_run = folder / WRITTEN_FOLDER / JUDGED
    try:
        groups, ledger = read_manifest(judged_run).signal_groups, read_ledger(judged_run)
    except RunError as error:
        raise RunError(f"dedup.against: {error}") from None
    run = Earlier(number, by.name, ledger, groups, by.manifest, folder / WRITTEN_FOLDER / SYNTHETIC)
    _check_parts(recipe, judged_run, run)
    return run


def _check_parts(recipe: Recipe, folder: Path, run: Earlier) -> None:
    """Refuse a run whose decisions, hashes or signatures are missing or damaged."""
    parts = [*run.ledger.of("decisions"), *(run.parts("hashes") if recipe.dedup.exact else [])]
    parts += run.parts(SIGNATURES) if recipe.dedup.near else []
    missing = [part.path for part in parts if not is_intact(folder, part)] if parts else ["ledger/snapshot.json"]
    if missing:
        raise RunError(f"dedup.against: {folder}/{missing[0]}: missing or damaged; run {run.name} again")
    if recipe.dedup.near and not run.parts(SIGNATURES):
        raise RecipeError(
            f"dedup.against: {folder} has forgotten its signatures; run it again with dedup.keep_signatures: true"
        )


def _check(recipe: Recipe, folder: Path, manifest: Manifest) -> None:
    """Refuse this run itself, and a run whose hashes or signatures cannot be compared with this recipe's."""
    if folder.resolve() == recipe.run_directory.resolve():
        raise RecipeError(f"dedup.against: {folder} is the run itself; name earlier ones")
    if recipe.dedup.exact and "hashes" not in manifest.signal_groups:
        raise RecipeError(
            f"dedup.against: {folder} has no hashes: it ran with dedup.exact: false; run it again with true"
        )
    if near := recipe.dedup.near:
        earlier_near = manifest.recipe.more["dedup"]["near"]
        if earlier_near is None or any(
            earlier_near[name] != getattr(near, name) for name in ("permutations", "shingle")
        ):
            sizes = f"permutations: {near.permutations}, shingle: {near.shingle}"
            raise RecipeError(
                f"dedup.against: {folder} has no signatures with {sizes}; run it again with dedup.near: {{{sizes}}}"
            )


def earlier_columns(exact: bool) -> dict[str, str]:
    """Columns of table `earlier` that exact duplicates need, by SQL type."""
    return dict.fromkeys(NAMES, "UBIGINT") if exact else {}


def load_earlier(earlier: Sequence[Earlier], exact: bool, connection: duckdb.DuckDBPyConnection) -> None:
    """Fill `earlier` with what the runs kept; with hashes if `exact`."""
    for run in earlier:
        decisions = read_parquet(run.ledger.run / part.path for part in run.ledger.of("decisions"))
        source = f"(SELECT file_no, row, doc_id FROM {decisions} WHERE kept)"
        if run.accepted is not None:
            source += f" SEMI JOIN (FROM {read_parquet([run.accepted.absolute()])} WHERE accepted) USING (doc_id)"
        if exact:
            measured = read_parquet(run.ledger.run / part.path for part in run.parts("hashes"))
            source += f" JOIN (SELECT file_no, row, {', '.join(NAMES)} FROM {measured}) USING (file_no, row)"
        connection.execute(
            f"INSERT INTO earlier BY NAME SELECT * REPLACE ({run.first_file_no} - file_no AS file_no, "
            f"{literal(run.name + ':')} || doc_id AS doc_id) FROM {source}"
        )
