"""The command `export`."""

from pathlib import Path

import click

from curate.commands import RunPath, chosen_engine, engine_options, print_json
from curate.errors import CurateError


def _listed(context: click.Context, parameter: click.Parameter, names: str) -> str:
    """The formats that are asked for; of `list`, print which there are, and end."""
    if names != "list":
        return names
    from curate.manifests.formats import all_formats
    from curate.show_export import print_formats

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
@click.option("--overwrite", is_flag=True, help="Replace an export of something else that is there.")
@engine_options
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def export(
    run: Path, names: str, out: Path, validation: str, tokenizer: str | None, eos: str | None, overwrite: bool,
    workers: int | None, engine: str, address: str | None, quiet: bool, as_json: bool,
) -> None:  # fmt: skip
    """Write what RUN kept in the form that a trainer reads. RUN is a run directory, or the YAML file of a mixture.

    An export that was stopped goes on where it was. What each trainer needs next stands in docs/trainers.md.

    \b
    Examples:
        curate export runs/web --to hf,jsonl --out exports --validation 0.5%
        curate export runs/web --to dpo --out pairs
        curate export mixture.yaml --to llama-factory --out exports
        curate export --to list
    """
    from curate.compiling import prepare_process
    from curate.manifests.export import export as write
    from curate.manifests.formats import options_of
    from curate.manifests.mixture import open_sources
    from curate.progress import unwritten_log
    from curate.show_export import print_exports

    prepare_process(quiet or as_json)
    if out.parts and out.parts[0].endswith(":"):
        raise CurateError(f"--out {out.parts[0]}//…: exports are written to a local folder; copy them from there")
    options = options_of(validation, tokenizer, eos)
    wanted = [name.strip() for name in names.split(",")]
    with chosen_engine(engine, address, workers) as (opened, _):
        log = unwritten_log(quiet or as_json)
        sources = open_sources(run, options.validation, opened)
        found = write(sources, wanted, out, options, opened, log, overwrite, thorough=overwrite)
    if as_json:
        print_json(found)
    else:
        print_exports(found, out)
