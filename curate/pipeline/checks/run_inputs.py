"""Whether a run directory is of the same input: one of another recipe of the same name is left as it is."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import yaml

from curate.corpus.inputs import Found, Named, identity_of
from curate.display import counted
from curate.errors import InputError, RunError
from curate.ledger.ledger import KnownFile, Ledger, read_facts
from curate.recipe.recipe import Recipe
from curate.storage.mirror import named
from curate.storage.places import status


def refuse_other_paths(ledger: Ledger, found: Found) -> None:
    """Refuse a run directory before anything is written there, by what is known before an input is opened.

    That none of the paths is known does not suffice: files may have been moved. So size and time are looked at too.

    Errors: RunError.
    """
    paths = [place for one in found.inputs for place in (_place(found.root, one.path), one.location)]
    if _is_other(ledger, ledger.files, paths) and not _may_have_moved(ledger.files, found.inputs):
        raise _refusal(ledger, ledger.files)


def refuse_other_recipe(ledger: Ledger, found: Found, recipe: Recipe, file: Path | None) -> None:
    """Refuse a run directory that another recipe's file decided, of an input of which this one's has a part.

    It is the same corpus with other settings, or grown, where the recipe's file, its `input.paths` or all files are the
    same. A file that is gone from the disk is left out by nobody.

    Errors: RunError.
    """
    facts = read_facts(ledger.run)
    other = facts.get("recipe_file")
    if file is None or other in (None, str(file.resolve())) or not ledger.parts or _has_paths(ledger.run, recipe):
        return
    before = {_place(_root(ledger), one.path) for one in ledger.files}
    now = {_place(found.root, one.path) for one in found.inputs}
    left_out = sorted(place for place in before - now if "://" in place or os.path.exists(place))
    added = sorted(now - before)
    if before.isdisjoint(now) or not (left_out or added):  # of other input altogether: see refuse_other_paths
        return
    parts = ((left_out, "leaves out"), (added, "adds"))
    told = " and ".join(f"{does} {counted(len(some), 'file')} such as {some[0]}" for some, does in parts if some)
    raise RunError(
        f"{named(str(ledger.run))}: holds the run of {other}, and this recipe {told}; give this recipe another name or "
        "output, or replace that run with --force"
    )


def _has_paths(run: Path, recipe: Recipe) -> bool:
    """Whether the run's recipe names the input as this one does."""
    try:
        fields = yaml.safe_load((run / "recipe.yaml").read_text("utf-8"))
        before = fields["input"]["paths"]
    except (OSError, ValueError, yaml.YAMLError, LookupError, TypeError):  # of a run that was stopped, or damaged
        return False
    same: bool = before == recipe.model_dump(mode="json", by_alias=True)["input"]["paths"]
    return same


def refuse_other_files(ledger: Ledger, before: Sequence[KnownFile], root: Path) -> None:
    """Refuse a run directory whose run, of the files `before`, read none of those that the ledger has now.

    Errors: RunError.
    """
    now = [known for file in ledger.files for known in (_place(root, file.path), file.location, file.identity)]
    if _is_other(ledger, before, now):
        raise _refusal(ledger, before)


def _is_other(ledger: Ledger, before: Sequence[KnownFile], now: Iterable[str]) -> bool:
    """Whether something was made of files before, none of which is among those of now."""
    root = _root(ledger)
    known = {mark for file in before for mark in (_place(root, file.path), file.location, file.identity)} - {""}
    return bool(before) and bool(ledger.parts) and known.isdisjoint(now)


def _may_have_moved(before: Sequence[KnownFile], now: Iterable[Named]) -> bool:
    """Whether a file has the size and time of one that is known, or a dataset is one: cheap, and no file is opened."""
    identities = {file.identity for file in before}
    sizes_and_times = {tuple(identity.split("-")[0:3:2]) for identity in identities}
    for one in now:
        try:
            if one.location and tuple(map(str, status(one.location))) in sizes_and_times:
                return True
            if not one.location and identity_of(one)[1] in identities:
                return True
        except (OSError, pa.ArrowException, InputError):  # the run tells of it, or sets it aside
            continue
    return False


def _refusal(ledger: Ledger, before: Sequence[KnownFile]) -> RunError:
    return RunError(
        f"{named(str(ledger.run))}: holds a run of other input, {counted(len(before), 'file')} such as "
        f"{_place(_root(ledger), before[0].path)}; give this recipe another name or output, or replace that run with "
        "--force"
    )


def _root(ledger: Ledger) -> Path:
    """The corpus root of the run that decided last."""
    return Path(read_facts(ledger.run).get("corpus_root", ""))


def _place(root: Path, path: str) -> str:
    """Where an input lies: below the corpus root, unless its name is a URI."""
    return path if "://" in path else (root / path).as_posix()
