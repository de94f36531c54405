"""Which changed fields of a recipe need new measurements, as `plan` and `what-if` name them."""

from collections.abc import Collection

from curate.filters.registry import Editor
from curate.filters.rules.resolve import PERSONAL_DATA, resolve_editors
from curate.recipe.affects import changed_settings
from curate.recipe.recipe import Recipe


def changed_measurements(before: Recipe, after: Recipe, columns: Collection[str]) -> list[str]:
    """The changed fields that measurements depend on.

    `columns` are the input columns that the new recipe reads, without text and id.
    """
    changed = dict.fromkeys(changed_settings("measures", before, after))
    if not any(recipe.tier1.pii.action == "redact" for recipe in (before, after)):
        changed.pop("tier1.pii", None)
    if not (cuts_passages(before) or after.tier1.decontaminate):
        changed.pop("tier1.decontaminate", None)
    if _casts(before, after, columns) == _casts(after, after, columns):
        changed.pop("input.cast", None)
    named = {PERSONAL_DATA} if "tier1.pii" in changed else set()
    if _edits(before, named) != _edits(after, named):
        changed["tier1.rules"] = None
    changed.pop("tier1.block", None)
    return [*changed, *(f"tier1.block: {reason}" for reason in _new_lists(before, after))]


def cuts_passages(recipe: Recipe) -> bool:
    """Whether passages of evaluation sets are cut out before anything is measured."""
    section = recipe.tier1.decontaminate
    return section is not None and section.action == "cut"


def _edits(recipe: Recipe, without: Collection[str]) -> list[Editor]:
    """The edits that are made before texts are measured."""
    return [editor for editor in resolve_editors(recipe.tier1) if editor.name not in without]


def _casts(recipe: Recipe, reader: Recipe, columns: Collection[str]) -> dict[str, str]:
    """The casts of those columns that recipe `reader` reads."""
    urls = {"url"} if any(entry.urls for entry in reader.tier1.block) else set()
    read = {reader.input.column, reader.input.id, *columns, *urls}
    return {name: kind for name, kind in recipe.input.cast.items() if name in read}


def _new_lists(before: Recipe, after: Recipe) -> list[str]:
    """The reasons of lists that `before` does not count; how many occurrences are allowed is a matter of verdicts."""
    lists = [entry.model_copy(update={"max": 0}) for entry in before.tier1.block]
    return [entry.reason for entry in after.tier1.block if entry.model_copy(update={"max": 0}) not in lists]
