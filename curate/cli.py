"""The command line: parse, call one function, print."""

import glob
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

import curate
from curate.cli_adapter import adapter
from curate.cli_domains import domains
from curate.cli_evaluate import evaluate
from curate.cli_export import export
from curate.cli_manifest import card, verify
from curate.cli_models import lm, serve
from curate.commands import (
    GroupedCommands,
    RunPath,
    available_cores,
    chosen_engine,
    engine_options,
    print_json,
    process_seconds,
)
from curate.errors import CurateError

FORMATS = ("table", "csv", "json", "parquet")


@click.group(cls=GroupedCommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(curate.__version__, prog_name="curate")
def main() -> None:
    """Turn a large pile of text into a small, clean, explained training set."""


def _run_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say where and how fast a run goes."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON."),
        click.option("--quiet", is_flag=True, help="No progress on stderr."),
        click.option("--set", "changes", multiple=True, metavar="A.B=C", help="Change a field of the recipe."),
    ):
        command = option(command)
    return engine_options(command)


@main.command()
@click.argument("path", type=click.Path(path_type=Path), default="recipe.yaml")
@click.argument("places", metavar="[FOLDER]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--full", is_flag=True, help="Every field, each explained.")
@click.option("--force", is_flag=True, help="Write over PATH where it exists.")
def init(path: Path, places: tuple[Path, ...], full: bool, force: bool) -> None:
    """Write a recipe to PATH (default: recipe.yaml) for the files of this folder, or of each FOLDER or file.

    Evaluation sets, held-out texts, reference and seeds are distinguished from the corpus by names, columns and texts.
    What stays unclear is asked on a terminal, and left out elsewhere.

    \b
    Examples:
        curate init web.yaml
        curate init data/web
        curate init chats.yaml data/chats --full
    """
    from curate.kernels.arrow import spare_pandas
    from curate.recipe_errors import no_recipe
    from curate.starter import write_recipe
    from curate.terminal import visible

    if no_recipe(path) is not None:  # a folder or data file alone
        path, places = Path("recipe.yaml"), (path, *places)
    spare_pandas()
    for line in write_recipe(path, Path.cwd(), places, full, force, _ask_role if sys.stdin.isatty() else None):
        click.echo(visible(line))


def _ask_role(question: str) -> Any:  # noqa: ANN401 - a late import
    """What a file is for, as the user says; None leaves it out."""
    from curate.roles import ROLES

    said = click.prompt(question, type=click.Choice([*ROLES, "skip"]), default="skip", err=True)
    return None if said == "skip" else said


@main.command()
@click.option("--manifest", is_flag=True, help="The schema of manifest.json instead.")
@click.option("--mixture", is_flag=True, help="The schema of a mixture's file, for `curate export`, instead.")
def schema(manifest: bool, mixture: bool) -> None:
    """Print the recipe's JSON schema, for editors that complete and check YAML.

    \b
    Examples:
        curate schema > recipe.schema.json
        curate schema --mixture > mixture.schema.json
    """
    if manifest:
        from curate.manifests.model import manifest_schema

        print_json(manifest_schema())
        return
    from curate.schema import mixture_schema, recipe_schema

    print_json(mixture_schema() if mixture else recipe_schema())


@main.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--set", "changes", multiple=True, metavar="A.B=C", help="Change a field of the recipe.")
@click.option("--workers", type=click.IntRange(1), help="Processes that the run would have; default: one per core.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def plan(recipe: Path, changes: tuple[str, ...], workers: int | None, quiet: bool, as_json: bool) -> None:
    """Tell what a run of RECIPE would read, reuse, drop and cost, by trying it on a sample; nothing is written.

    \b
    Example:
        curate plan recipes/gopher.yaml --set tier1.thresholds.too_few_words=30
    """
    from curate.engine import Processes
    from curate.preflight import check_names
    from curate.recipe import load_recipe

    found = load_recipe(recipe, changes)
    inputs = check_names(found)
    if found.output is not None and "://" in found.output:
        from curate.ledger import NOT_READ, fetched

        fetched(found.output, NOT_READ)
    with Processes(1) as engine:
        engine.start(1)  # it imports while this process does
        from curate.compiling import prepare_process
        from curate.estimate import estimate
        from curate.show import print_plan

        prepare_process(quiet or as_json)
        forecast = estimate(found, engine, workers or available_cores(), quiet or as_json, inputs)
    if as_json:
        print_json(forecast)
    else:
        print_plan(forecast)


@main.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Let the run take the place of one of other input in its directory.")
@_run_options
def run(
    recipe: Path, changes: tuple[str, ...], workers: int | None, engine: str, address: str | None, quiet: bool,
    as_json: bool, force: bool,
) -> None:  # fmt: skip
    """Carry out RECIPE: measure, decide, write shards and the manifest.

    A run that was stopped goes on where it was; a finished one is redone only where the recipe changed.

    \b
    Example:
        curate run recipes/gopher.yaml --set output=runs/try --set tier1.thresholds.too_few_words=30
    """
    from curate.recipe import load_recipe

    _run(load_recipe(recipe, changes), recipe, workers, engine, address, quiet, as_json, force)


@main.command()
@_run_options
def demo(
    changes: tuple[str, ...], workers: int | None, engine: str, address: str | None, quiet: bool, as_json: bool
) -> None:
    """Run the packaged recipe on the packaged sample, into runs/demo.

    \b
    Example:
        curate demo
    """
    import curate.sample
    from curate.recipe import load_recipe

    folder = Path(curate.sample.__path__[0])
    place = f"input.paths=[{json.dumps(glob.escape(str(folder)) + '/*.parquet')}]"
    file = folder / "demo.yaml"
    _run(load_recipe(file, (place, *changes)), file, workers, engine, address, quiet, as_json)


def _run(
    recipe: Any,  # noqa: ANN401 - a late import
    file: Path,
    workers: int | None, kind: str, address: str | None, quiet: bool, as_json: bool, force: bool = False,
) -> None:  # fmt: skip
    from curate.preflight import check_names

    inputs = check_names(recipe)
    with chosen_engine(kind, address, workers, start=2) as (engine, threads):
        from curate.compiling import prepare_process
        from curate.inspect import print_summary
        from curate.pipeline import run as carry_out

        prepare_process(quiet or as_json)
        summary = carry_out(recipe, engine, threads, quiet or as_json, force=force, file=file, found=inputs)
        summary["seconds"] = process_seconds()
    if as_json:
        print_json(summary)
    else:
        print_summary(summary, quiet)


def _difference_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of commands that tell two verdicts apart."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print everything as JSON."),
        click.option("--quiet", is_flag=True, help="No progress on stderr."),
        click.option(
            "--output", type=click.Path(path_type=Path),
            help="Also write every document whose verdict differs: .parquet, .csv, .jsonl or .json.",
        ),
        click.option("-n", "--examples", type=click.IntRange(0), default=5, show_default=True, help="Of each kind."),
    ):  # fmt: skip
        command = option(command)
    return command


@main.command("what-if")
@click.argument("run", type=RunPath("data/", "export/"))
@click.option("--set", "changes", multiple=True, required=True, metavar="A.B=C", help="Change a field of the recipe.")
@click.option("--save", type=click.Path(path_type=Path), help="Write the changed recipe to a new file.")
@click.option("--no-text", is_flag=True, help="Judge pairs in doubt by estimates in place of a look at their texts.")
@_difference_options
def what_if(
    run: Path, changes: tuple[str, ...], save: Path | None, no_text: bool, examples: int, output: Path | None,
    quiet: bool, as_json: bool,
) -> None:  # fmt: skip
    """Tell what another recipe would keep and drop of RUN, from its ledger; the run stays as it is.

    \b
    Example:
        curate what-if runs/demo --set tier1.thresholds.too_few_words=30 --save looser.yaml
    """
    from curate.compiling import prepare_process

    prepare_process(quiet or as_json)
    from curate.difference import what_if as tell
    from curate.mirror import named
    from curate.show import print_difference
    from curate.whatif import ask, check_save, save_recipe

    check_save(save)
    asked = ask(run, changes, quiet or as_json)
    found = tell(asked, available_cores(), not no_text, examples, output)
    if save is not None:
        save_recipe(asked, save)
    if as_json:
        print_json(found)
    else:
        print_difference(found)
        if save is not None:
            click.echo(f"{save}: written; `curate run {save}` decides {named(str(run))} anew by it")


@main.command()
@click.argument("run_a", type=RunPath("data/", "export/"))
@click.argument("run_b", type=RunPath("data/", "export/"))
@_difference_options
def compare(run_a: Path, run_b: Path, examples: int, output: Path | None, quiet: bool, as_json: bool) -> None:
    """Tell which documents RUN_A and RUN_B decided otherwise, and why.

    \b
    Example:
        curate compare runs/web runs/web-looser --output differences.parquet
    """
    from curate.compiling import prepare_process

    prepare_process(quiet or as_json)
    from curate.difference import compare as tell
    from curate.mirror import named
    from curate.progress import Steps, unwritten_log
    from curate.show import print_difference

    with Steps(unwritten_log(quiet or as_json), "comparing") as steps:
        steps(named(f"{run_a}, {run_b}"))
        found = tell(run_a, run_b, examples, output)
    if as_json:
        print_json(found)
    else:
        print_difference(found)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path), default="runs")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def runs(folder: Path, as_json: bool) -> None:
    """List the runs in FOLDER (default: runs) with their closing figures, and whether each is whole or was stopped.

    \b
    Example:
        curate runs
    """
    from curate.runs import list_runs

    found = list_runs(folder)
    if as_json:
        print_json([vars(run) for run in found])
        return
    from curate.show_runs import print_runs
    from curate.terminal import console

    print_runs(found, folder, console())


@main.command()
@click.argument("run", type=RunPath("data/", "export/"))
@click.argument("query", required=False)
@click.option("--file", type=click.Path(path_type=Path), help="Read the query from a file.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True, help="How to print.")
def sql(run: Path, query: str | None, file: Path | None, form: str) -> None:
    """Query RUN's documents, decisions and clusters in SQL; nothing can be changed.

    Without a query: a shell, if this is a terminal; else the query is read from stdin.

    \b
    Example:
        curate sql runs/demo "SELECT reason, count(*) FROM dropped GROUP BY 1 ORDER BY 2 DESC"
    """
    from curate.inspect import print_query, read_query

    if query is not None and file is not None:
        raise CurateError("sql: a query and --file are given; leave one out")
    if file is not None:
        query = read_query(file)
    elif query is None and not (sys.stdin.isatty() and sys.stdout.isatty()):
        query = sys.stdin.read()
    if query is not None:
        print_query(run, query, form)
        return
    from curate.shell import shell

    shell(run, form)


@main.command()
@click.argument("run", type=RunPath("data/", "export/"))
@click.argument("doc_id")
@click.option("--signals", "whole", is_flag=True, help="Show all signals, not only the unusual ones.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def why(run: Path, doc_id: str, whole: bool, as_json: bool) -> None:
    """Tell the whole story of a document of RUN: by its DOC_ID, the first 8 letters of a hash, or FILE:ROW.

    \b
    Example:
        curate why runs/demo qs-00660
    """
    from curate.compiling import prepare_process
    from curate.why import explain

    prepare_process(as_json)
    story = explain(run, doc_id)
    if as_json:
        print_json(story)
        return
    from curate.tell import print_story

    print_story(story, whole)


@main.command()
@click.argument("run", type=RunPath("data/", "export/"))
@click.option("--reason", help="Those that were dropped, or lost something, for this reason.")
@click.option("--stage", help="Those that this stage dropped.")
@click.option("--kept", is_flag=True, help="Those that are kept.")
@click.option("--where", metavar="SQL", help="Those of which a condition over `documents`, or input.x, is true.")
@click.option("-n", "n", type=click.IntRange(1), default=20, show_default=True, help="How many.")
@click.option("--seed", type=int, help="Draws others; default: the recipe's.")
@click.option("--full", is_flag=True, help="Whole texts, not excerpts.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def sample(
    run: Path, reason: str | None, stage: str | None, kept: bool, where: str | None, n: int, seed: int | None,
    full: bool, as_json: bool,
) -> None:  # fmt: skip
    """Show documents of RUN, drawn by seed, with what they were dropped for marked in their texts.

    \b
    Example:
        curate sample runs/demo --reason too_many_hashes -n 3
    """
    from curate.compiling import prepare_process
    from curate.draw import Wanted, draw, without_pieces

    prepare_process(as_json)
    found = draw(run, Wanted(reason, stage, kept, where, n, seed, full))
    if as_json:
        print_json([without_pieces(one) for one in found])
        return
    from curate.tell import print_samples

    print_samples(run, found)


@main.command()
@click.argument("run", type=RunPath("data/", "export/"))
@click.option("--output", type=click.Path(path_type=Path), help="The file to write; default: report.html in RUN.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def report(run: Path, output: Path | None, quiet: bool) -> None:
    """Write a page on RUN: what was kept, what was dropped and why, in charts and tables that need no network.

    \b
    Example:
        curate report runs/demo
    """
    from curate.compiling import prepare_process
    from curate.mirror import named, send
    from curate.progress import Steps, unwritten_log
    from curate.report import write_report

    prepare_process(quiet)
    with Steps(unwritten_log(quiet), "reporting") as steps:
        steps(named(str(run)))
        path = write_report(run, output)
        send(path)
    click.echo(named(str(path)))


@main.command()
@click.argument("group", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def signals(group: str | None, as_json: bool) -> None:
    """List the signals that are measured, or those of one GROUP.

    \b
    Example:
        curate signals words
    """
    from curate.inspect import list_signals, print_signals

    found = list_signals(group)
    if as_json:
        print_json(found)
    else:
        print_signals(found)


@main.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def rules(name: str | None, as_json: bool) -> None:
    """List the named rule sets, or what the set NAME drops and cuts.

    \b
    Example:
        curate rules gopher
    """
    from curate.inspect import list_rules, list_sets, print_rules

    found = list_sets() if name is None else list_rules(name)
    if as_json:
        print_json(found)
    else:
        print_rules(found)


@main.command()
@click.argument("run", type=RunPath("data/", "export/"))
@click.option("--dry-run", is_flag=True, help="Only tell what would be removed.")
@click.option("--all", "everything", is_flag=True, help="Also remove measurements that the finished run did not use.")
@click.option("--json", "as_json", is_flag=True, help="Print what was removed as JSON.")
def gc(run: Path, dry_run: bool, everything: bool, as_json: bool) -> None:
    """Remove from RUN the files that are not in force, and tell what each kind takes; results and verdicts stay.

    \b
    Example:
        curate gc runs/demo --dry-run
    """
    from curate.garbage import collect
    from curate.show import print_garbage

    found = collect(run, everything, dry_run)
    if as_json:
        print_json(found)
    else:
        print_garbage(found)


main.add_command(adapter)
main.add_command(card)
main.add_command(domains)
main.add_command(evaluate)
main.add_command(export)
main.add_command(lm)
main.add_command(serve)
main.add_command(verify)
