"""The commands about LoRA adapters of a recipe's domains."""

from dataclasses import asdict
from pathlib import Path

import click

from curate.commands import Commands, print_json


@click.group(cls=Commands)
def adapter() -> None:
    """Train LoRA adapters, by which a language model learns how texts of a domain read."""


@adapter.command("train")
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--domain", required=True, metavar="NAME", help="A domain of the recipe's tier3.")
@click.option("--out", type=click.Path(path_type=Path), help="The folder; default: in the run directory.")
@click.option("--set", "changes", multiple=True, metavar="A.B=C", help="Change a field of the recipe.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
@click.option("--json", "as_json", is_flag=True, help="Print what came of it as JSON.")
def adapter_train(
    recipe: Path, domain: str, out: Path | None, changes: tuple[str, ...], quiet: bool, as_json: bool
) -> None:
    """Train the adapter of a domain of RECIPE on the domain's seeds, or go on with a training that was stopped.

    \b
    Example:
        curate adapter train recipe.yaml --domain finance
    """
    from curate.adapters import train_domain
    from curate.progress import unwritten_log
    from curate.recipe import load_recipe
    from curate.show import print_adapter

    folder, facts = train_domain(load_recipe(recipe, changes), domain, out, unwritten_log(quiet or as_json))
    if as_json:
        print_json({"domain": domain, "folder": str(folder), **asdict(facts)})
    else:
        print_adapter(domain, folder, facts)
