"""Refuse a run directory of other input, such as that of another recipe with the same name."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import yaml

from curate.corpus.inputs import InputListing, NamedInput, identity_of
from curate.display import counted
from curate.errors import InputError, RunError
from curate.ledger.ledger import KnownFile, Ledger, read_facts
from curate.recipe.recipe import Recipe
from curate.storage.mirror import by_uri
from curate.storage.places import status


def refuse_other_paths(ledger: Ledger, listed: InputListing) -> None:
    """Refuse a run directory of other input before an input is opened or anything is written.

    Other paths alone are no reason, since files may have been moved. So sizes and times are compared too.

    Errors: RunError.
    """
    paths = [place for entry in listed.inputs for place in (_place(listed.root, entry.path), entry.location)]
    if _is_other(ledger, ledger.files, paths) and not _may_have_moved(ledger.files, listed.inputs):
        raise _refusal(ledger, ledger.files)


def refuse_other_recipe(ledger: Ledger, listed: InputListing, recipe: Recipe, file: Path | None) -> None:
    """Refuse the run directory of another recipe file whose input overlaps with this recipe's input.

    The same recipe file, the same `input.paths` or the same files mean that it is the same corpus, grown or with other
    settings. Files that are gone from the disk do not count as left out.

    Errors: RunError.
    """
    facts = read_facts(ledger.run)
    other = facts.get("recipe_file")
    if file is None or other in (None, str(file.resolve())) or not ledger.parts or _has_paths(ledger.run, recipe):
        return
    previous = {_place(_root(ledger), entry.path) for entry in ledger.files}
    current = {_place(listed.root, entry.path) for entry in listed.inputs}
    left_out = sorted(path for path in previous - current if "://" in path or os.path.exists(path))
    added = sorted(current - previous)
    if previous.isdisjoint(current) or not (left_out or added):  # see refuse_other_paths
        return
    parts = ((left_out, "leaves out"), (added, "adds"))
    changes = " and ".join(f"{verb} {counted(len(files), 'file')} such as {files[0]}" for files, verb in parts if files)
    raise RunError(
        f"{by_uri(str(ledger.run))}: holds the run of {other}, and this recipe {changes}; give this recipe another "
        "name or output, or replace that run with --force"
    )


def _has_paths(run: Path, recipe: Recipe) -> bool:
    """Whether the run's recipe has the same `input.paths` as this one."""
    try:
        fields = yaml.safe_load((run / "recipe.yaml").read_text("utf-8"))
        previous = fields["input"]["paths"]
    except (OSError, ValueError, yaml.YAMLError, LookupError, TypeError):  # missing or damaged
        return False
    same: bool = previous == recipe.model_dump(mode="json", by_alias=True)["input"]["paths"]
    return same


def refuse_other_files(ledger: Ledger, previous: Sequence[KnownFile], root: Path) -> None:
    """Refuse a run directory whose `previous` files share none with those that the ledger has now.

    Errors: RunError.
    """
    marks = [mark for file in ledger.files for mark in (_place(root, file.path), file.location, file.identity)]
    if _is_other(ledger, previous, marks):
        raise _refusal(ledger, previous)


def _is_other(ledger: Ledger, previous: Sequence[KnownFile], marks: Iterable[str]) -> bool:
    """Whether the ledger has parts of `previous` files of which none has one of these paths, places or identities."""
    root = _root(ledger)
    previous_marks = {mark for file in previous for mark in (_place(root, file.path), file.location, file.identity)} - {
        ""
    }
    return bool(previous) and bool(ledger.parts) and previous_marks.isdisjoint(marks)


def _may_have_moved(previous: Sequence[KnownFile], inputs: Iterable[NamedInput]) -> bool:
    """Whether an input has the size and time of a previous file, or is a previous dataset. No file is opened."""
    identities = {file.identity for file in previous}
    sizes_and_times = {tuple(identity.split("-")[0:3:2]) for identity in identities}
    for named_input in inputs:
        try:
            if named_input.location and tuple(map(str, status(named_input.location))) in sizes_and_times:
                return True
            if not named_input.location and identity_of(named_input)[1] in identities:
                return True
        except (OSError, pa.ArrowException, InputError):  # the run reports or quarantines it
            continue
    return False


def _refusal(ledger: Ledger, previous: Sequence[KnownFile]) -> RunError:
    return RunError(
        f"{by_uri(str(ledger.run))}: holds a run of other input, {counted(len(previous), 'file')} such as "
        f"{_place(_root(ledger), previous[0].path)}; give this recipe another name or output, or replace that run with "
        "--force"
    )


def _root(ledger: Ledger) -> Path:
    """The corpus root of the last run that decided."""
    return Path(read_facts(ledger.run).get("corpus_root", ""))


def _place(root: Path, path: str) -> str:
    """The path of an input: below the corpus root, unless its name is a URI."""
    return path if "://" in path else (root / path).as_posix()
