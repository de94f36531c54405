"""The command `domains`."""

from pathlib import Path

import click

from curate.commands import RunPath, print_json


@click.command()
@click.argument("run", type=RunPath("data/", "export/"))
@click.option("--json", "as_json", is_flag=True, help="Print the tables as JSON.")
def domains(run: Path, as_json: bool) -> None:
    """Tell how much RUN has of each domain of its recipe, what is wanting, and what came of what was written for it.

    \b
    Example:
        curate domains runs/web
    """
    from curate.show_domains import domains_of, print_domains

    found = domains_of(run)
    if as_json:
        print_json(found)
    else:
        print_domains(found)
