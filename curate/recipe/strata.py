"""Strata of documents, as SQL over the signals."""

from collections.abc import Collection, Container

from curate.recipe.recipe import Recipe
from curate.sql import quoted


def strata_of(recipe: Recipe, inputs: Collection[str]) -> dict[str, str]:
    """The columns whose values form the strata of bands, the widest first, with SQL for each over the signals.

    `inputs` are the input's columns; an optional column that is not among them is ignored.
    """
    section = recipe.tier1.perplexity
    if section is None:
        return {}
    return _input_strata(recipe, inputs) | {name: name for name in section.by}


def strata_of_documents(recipe: Recipe, columns: Container[str], measured: Container[str]) -> dict[str, str]:
    """The columns whose values form strata with or without bands: those of `input.strata`, language, length.

    Each comes with its SQL over the signals. `columns` are the input columns in the ledger; `measured` are the measured
    signals or groups.
    """
    return (
        _input_strata(recipe, columns)
        | ({"language": "language"} if "language" in measured else {})
        | {"length_bucket": "length_bucket"}
    )


def _input_strata(recipe: Recipe, columns: Container[str]) -> dict[str, str]:
    """The columns of `input.strata` that are among `columns`, with SQL for each."""
    names = [name.removesuffix("?") for name in recipe.input.strata]
    return {f"input.{name}": f"input.{quoted(name)}::VARCHAR" for name in names if name in columns}
