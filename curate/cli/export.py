"""The commands for the results of a run: export, card, verify."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from curate.cli.options import RunPath, chosen_engine, engine_options, print_json
from curate.errors import CurateError
from curate.process.machine import available_cores

if TYPE_CHECKING:
    from curate.manifests.export.records import ExportRecord

FORMS = ("markdown", "croissant", "openlineage")


def _listed(context: click.Context, parameter: click.Parameter, names: str) -> str:
    """The names of formats; for `list`, print all formats and exit."""
    if names != "list":
        return names
    from curate.cli.output.export import print_formats
    from curate.manifests.export.format import all_formats

    print_formats(all_formats())
    context.exit()


@click.command()
@click.argument("run", type=RunPath("export/"))
@click.option(
    "--to",
    "names",
    required=True,
    metavar="NAME[,NAME...]",
    is_eager=True,
    callback=_listed,
    help="Formats; --to list tells of them.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A folder; each format has its own within.")
@click.option("--validation", default="0", metavar="SHARE", help="Of the documents, by a hash of doc_id, such as 0.5%.")
@click.option("--tokenizer", metavar="FILE|NAME", help="A tokenizer.json or a Hub name, for formats that hold tokens.")
@click.option("--eos", metavar="TOKEN", help="Ends each document; default: the tokenizer's own.")
@click.option("--once", is_flag=True, help="Write each document once, whatever its weight.")
@click.option("--overwrite", is_flag=True, help="Replace an export of something else that is there.")
@engine_options
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def export(
    run: Path,
    names: str,
    out: Path,
    validation: str,
    tokenizer: str | None,
    eos: str | None,
    once: bool,
    overwrite: bool,
    workers: int | None,
    engine: str,
    address: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write what RUN kept in the form that a trainer reads. RUN is a run directory, or the YAML file of a mixture.

    An export that was stopped goes on where it was. What each trainer needs next stands in docs/trainers.md.

    \b
    Examples:
        curate export runs/web --to hf,jsonl --out exports --validation 0.5%
        curate export runs/web --to dpo --out pairs
        curate export mixture.yaml --to llama-factory --out exports
        curate export --to list
    """
    from curate.manifests.export.export import export as export_sources
    from curate.manifests.export.format import options_of
    from curate.manifests.export.mixture import open_sources
    from curate.maps.compile_notice import prepare_process
    from curate.progress import unwritten_log

    prepare_process(quiet or as_json)
    _check_local(out)
    options, formats = options_of(validation, tokenizer, eos), [name.strip() for name in names.split(",")]
    with chosen_engine(engine, address, workers) as (opened, _):
        log = unwritten_log(quiet or as_json)
        sources = open_sources(run, options.validation, opened, once)
        exports = export_sources(sources, formats, out, options, opened, log, overwrite=overwrite)
    _print_exports(exports, out, as_json)


def _check_local(out: Path) -> None:
    """Refuse a URI.

    Errors: CurateError.
    """
    if out.parts and out.parts[0].endswith(":"):
        raise CurateError(f"--out {out.parts[0]}//…: exports are written to a local folder; copy them from there")


def _print_exports(exports: Sequence["ExportRecord"], out: Path, as_json: bool) -> None:
    from curate.cli.output.export import print_exports
    from curate.manifests.export.records import export_json

    if as_json:
        print_json([{**export_json(record), "load": record.load} for record in exports])
    else:
        print_exports(exports, out)


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
    from curate.manifests.schema.reading import read_manifest, read_run_facts

    manifest = read_manifest(run)
    if form == "markdown":
        from curate.manifests.cards.card import card as written

        click.echo(written(manifest), nl=False)
    elif form == "croissant":
        from curate.manifests.cards.croissant import croissant

        print_json(croissant(manifest))
    else:
        import json

        from curate.manifests.cards.openlineage import events

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
    from curate.display import visible
    from curate.manifests import verify as checks
    from curate.progress import unwritten_log
    from curate.storage.mirror import by_uri

    log = unwritten_log(quiet or as_json)
    problems = checks.verify(run, available_cores(), log)
    if inputs:
        problems += checks.verify_inputs(run, available_cores(), log)
    if as_json:
        print_json({"run": by_uri(str(run)), "problems": problems})
    for problem in problems if not as_json else ():
        click.echo(visible(problem))
    if problems:
        raise CurateError(f"{run}: {len(problems)} {'thing is' if len(problems) == 1 else 'things are'} not as written")
    if not as_json:
        click.echo(f"{by_uri(str(run))}: all files are as they were written")
