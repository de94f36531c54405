"""The commands about what a run hands on: its card and lineage, and whether its files are as they were written."""

import json
from pathlib import Path

import click

from curate.commands import RunPath, available_cores, print_json
from curate.errors import CurateError

FORMS = ("markdown", "croissant", "openlineage")


@click.command()
@click.argument("run", type=RunPath("data/", "export/"))
@click.option(
    "--format", "form", type=click.Choice(FORMS), default="markdown", show_default=True, help="What to print."
)
def card(run: Path, form: str) -> None:
    """Print the card of RUN's data: for the Hugging Face Hub, as Croissant, or as OpenLineage events.

    \b
    Example:
        curate card runs/demo
    """
    from curate.manifests.reading import read_manifest, read_run_facts

    manifest = read_manifest(run)
    if form == "markdown":
        from curate.manifests.card import card as written

        click.echo(written(manifest), nl=False)
    elif form == "croissant":
        from curate.manifests.croissant import croissant

        print_json(croissant(manifest))
    else:
        from curate.manifests.lineage import events

        for event in events(manifest, read_run_facts(run), str(run.resolve())):
            click.echo(json.dumps(event))


@click.command()
@click.argument("run", type=RunPath())
@click.option("--inputs", is_flag=True, help="Read the inputs again too, and compare their text.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
@click.option("--json", "as_json", is_flag=True, help="Print the problems as JSON.")
def verify(run: Path, inputs: bool, quiet: bool, as_json: bool) -> None:
    """Check every file of RUN, or of an export, against the hash it was written with, and the counts of the manifest.

    \b
    Example:
        curate verify runs/demo
    """
    from curate.manifests import verify as checks
    from curate.mirror import named
    from curate.progress import unwritten_log
    from curate.terminal import visible

    log = unwritten_log(quiet or as_json)
    problems = checks.verify(run, available_cores(), log)
    if inputs:
        problems += checks.verify_inputs(run, available_cores(), log)
    if as_json:
        print_json({"run": named(str(run)), "problems": problems})
    for problem in problems if not as_json else ():
        click.echo(visible(problem))
    if problems:
        raise CurateError(f"{run}: {len(problems)} {'thing is' if len(problems) == 1 else 'things are'} not as written")
    if not as_json:
        click.echo(f"{named(str(run))}: all files are as they were written")
