"""Strata of documents: SQL of what the recipe tells documents apart by."""

from collections.abc import Collection, Container

from curate.recipe.recipe import Recipe
from curate.sql import quoted


def strata_of(recipe: Recipe, inputs: Collection[str]) -> dict[str, str]:
    """The columns that bands are taken within, the widest first, and SQL for each over the signals.

    `inputs` are the input's columns: an optional one that is not there makes no strata.
    """
    section = recipe.tier1.perplexity
    if section is None:
        return {}
    return _input_strata(recipe, inputs) | {name: name for name in section.by}


def strata_of_documents(recipe: Recipe, columns: Container[str], measured: Container[str]) -> dict[str, str]:
    """What documents are told apart by with or without bands: columns of `input.strata`, language, length.

    Each has its SQL over the signals. `columns` are the input's that the ledger holds, `measured` the signals or their
    groups.
    """
    return (
        _input_strata(recipe, columns)
        | ({"language": "language"} if "language" in measured else {})
        | {"length_bucket": "length_bucket"}
    )


def _input_strata(recipe: Recipe, columns: Container[str]) -> dict[str, str]:
    """The columns of `input.strata` that there are, with SQL for each."""
    names = [name.removesuffix("?") for name in recipe.input.strata]
    return {f"input.{name}": f"input.{quoted(name)}::VARCHAR" for name in names if name in columns}
