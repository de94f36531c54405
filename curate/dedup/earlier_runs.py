"""What earlier runs kept, from their ledgers alone: documents that equal one of these are not kept again.

In the tables of a run they stand beside its own documents, under negative numbers of files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from curate.errors import RecipeError, RunError
from curate.ledger.ledger import NOT_READ, Ledger, fetched, read_ledger
from curate.ledger.names import JUDGED, SIGNATURES, SYNTHETIC, WRITTEN_FOLDER
from curate.ledger.parts import Part, is_whole
from curate.manifests.schema.reading import read_manifest
from curate.recipe.recipe import Recipe
from curate.sql import literal, read_parquet
from curate.storage.files import sha256_of

FILE_BITS = 20  # of a file's number within its run
NAMES = ("normal_hash_high", "normal_hash_low", "text_hash_high", "text_hash_low")


@dataclass(frozen=True)
class Earlier:
    """A finished run that another is held against."""

    number: int  # among those that the recipe names
    name: str  # stands before the ids of its documents
    ledger: Ledger
    groups: dict[str, str]  # group to digest
    manifest: str  # its hash: what the run kept
    accepted: Path | None = None  # the table of those that count, of a run that judged what was written for another

    @property
    def first_file_no(self) -> int:
        """The number of its file 0 in another run's tables; further ones are less."""
        return -(self.number << FILE_BITS) - 1

    def parts(self, group: str) -> list[Part]:
        """The parts of a group; none where the run did not use it."""
        return self.ledger.of(group, self.groups[group]) if group in self.groups else []


def open_earlier(recipe: Recipe) -> tuple[Earlier, ...]:
    """The runs of `dedup.against`.

    One with a third tier is two: its documents, and those that a model wrote, which another run judged.

    Errors: RunError for a folder that is no finished run; RecipeError for one that cannot be compared with.
    """
    if recipe.dedup.against and not (recipe.dedup.exact or recipe.dedup.near):
        raise RecipeError("dedup.against: compares nothing without dedup.exact or dedup.near; set one of them")
    found: list[Earlier] = []
    for name in recipe.dedup.against:
        try:
            place = fetched(name, NOT_READ)
            manifest = read_manifest(place)
            ledger = read_ledger(place)
        except RunError as error:
            raise RunError(f"dedup.against: {error}") from None
        _check(recipe, place, manifest)
        if manifest["name"] in {known.name for known in found}:
            raise RecipeError(
                f"dedup.against: two runs are named {manifest['name']!r}; documents are told by that name"
            )
        digest = sha256_of(place / "manifest.json")
        run = Earlier(len(found), manifest["name"], ledger, manifest["signal_groups"], digest)
        _check_parts(recipe, place, run)
        found.append(run)
        if manifest["synthetic"]["documents"]:
            found.append(_written(recipe, place, len(found), run))
    return tuple(found)


def _written(recipe: Recipe, place: Path, number: int, by: Earlier) -> Earlier:
    """What a model wrote for an earlier run: as documents of that."""
    judged = place / WRITTEN_FOLDER / JUDGED
    try:
        groups, ledger = read_manifest(judged)["signal_groups"], read_ledger(judged)
    except RunError as error:
        raise RunError(f"dedup.against: {error}") from None
    run = Earlier(number, by.name, ledger, groups, by.manifest, place / WRITTEN_FOLDER / SYNTHETIC)
    _check_parts(recipe, judged, run)
    return run


def _check_parts(recipe: Recipe, place: Path, run: Earlier) -> None:
    """Refuse a run that lacks what documents are compared by."""
    held = [*run.ledger.of("decisions"), *(run.parts("hashes") if recipe.dedup.exact else [])]
    held += run.parts(SIGNATURES) if recipe.dedup.near else []
    lost = [part.path for part in held if not is_whole(place, part)] if held else ["ledger/snapshot.json"]
    if lost:
        raise RunError(f"dedup.against: {place}/{lost[0]}: missing or damaged; run {run.name} again")
    if recipe.dedup.near and not run.parts(SIGNATURES):
        raise RecipeError(
            f"dedup.against: {place} has forgotten its signatures; run it again with dedup.keep_signatures: true"
        )


def _check(recipe: Recipe, place: Path, manifest: dict[str, Any]) -> None:
    """Refuse a run that is this one, or that measured other things by which documents are compared."""
    if place.resolve() == recipe.run_directory.resolve():
        raise RecipeError(f"dedup.against: {place} is the run itself; name earlier ones")
    if recipe.dedup.exact and "hashes" not in manifest["signal_groups"]:
        raise RecipeError(
            f"dedup.against: {place} has no hashes: it ran with dedup.exact: false; run it again with true"
        )
    if near := recipe.dedup.near:
        had = manifest["recipe"]["dedup"]["near"]
        if had is None or any(had[name] != getattr(near, name) for name in ("permutations", "shingle")):
            what = f"permutations: {near.permutations}, shingle: {near.shingle}"
            raise RecipeError(
                f"dedup.against: {place} has no signatures with {what}; run it again with dedup.near: {{{what}}}"
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
