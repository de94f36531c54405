"""The commands that start and end a run: init, schema, plan, run, demo, gc."""

import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from curate.cli.options import RunPath, chosen_engine, engine_options, print_json
from curate.process.machine import available_cores, process_seconds

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from curate.engine.base import Engine
    from curate.recipe.recipe import Recipe


def _run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options for where and how fast a run is executed."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON."),
        click.option("--quiet", is_flag=True, help="No progress on stderr."),
        click.option("--set", "changes", multiple=True, metavar="A.B=C", help="Change a field of the recipe."),
    ):
        command = option(command)
    return engine_options(command)


@click.command()
@click.argument("path", type=click.Path(path_type=Path), default="recipe.yaml")
@click.argument("folders", metavar="[FOLDER]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--full", is_flag=True, help="Every field, each explained.")
@click.option("--force", is_flag=True, help="Write over PATH where it exists.")
def init(path: Path, folders: tuple[Path, ...], full: bool, force: bool) -> None:
    """Write a recipe to PATH (default: recipe.yaml) for the files of this folder, or of each FOLDER or file.

    Evaluation sets, held-out texts, reference and seeds are distinguished from the corpus by names, columns and texts.
    What stays unclear is asked on a terminal, and left out elsewhere.

    \b
    Examples:
        curate init web.yaml
        curate init data/web
        curate init chats.yaml data/chats --full
    """
    from curate.display import visible
    from curate.init.recipe import write_recipe
    from curate.kernels.arrow import spare_pandas
    from curate.recipe.errors import not_a_recipe

    if not_a_recipe(path) is not None:  # a folder or data file alone
        path, folders = Path("recipe.yaml"), (path, *folders)
    spare_pandas()
    for line in write_recipe(path, Path.cwd(), folders, full, force, _ask_role if sys.stdin.isatty() else None):
        click.echo(visible(line))


def _ask_role(question: str) -> Any:  # noqa: ANN401 - a late import
    """The role that the user gives a file; None leaves it out."""
    from curate.init.roles import ROLES

    answer = click.prompt(question, type=click.Choice([*ROLES, "skip"]), default="skip", err=True)
    return None if answer == "skip" else answer


@click.command()
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
        from curate.manifests.schema.model import manifest_schema

        print_json(manifest_schema())
        return
    from curate.cli.schema import mixture_schema, recipe_schema

    print_json(mixture_schema() if mixture else recipe_schema())


@click.command()
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
    from curate.engine.processes import Processes
    from curate.pipeline.checks.preflight import check_names
    from curate.pipeline.worker_start import load_worker
    from curate.recipe.load import load_recipe

    loaded = load_recipe(recipe, changes)
    inputs = check_names(loaded)
    if loaded.output is not None and "://" in loaded.output:
        from curate.ledger.ledger import OUTPUT_FOLDERS, fetch_run

        fetch_run(loaded.output, OUTPUT_FOLDERS)
    with Processes(1, load_worker) as engine:
        engine.start(1)  # it imports while this process does
        from curate.cli.output.run import print_plan
        from curate.maps.compile_notice import prepare_process
        from curate.pipeline.forecast.forecast import estimate

        prepare_process(quiet or as_json)
        forecast = estimate(loaded, engine, workers or available_cores(), quiet or as_json, inputs)
    if as_json:
        print_json(forecast)
    else:
        print_plan(forecast)


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Let the run take the place of one of other input in its directory.")
@_run_options
def run(
    recipe: Path,
    changes: tuple[str, ...],
    workers: int | None,
    engine: str,
    address: str | None,
    quiet: bool,
    as_json: bool,
    force: bool,
) -> None:
    """Carry out RECIPE: measure, decide, write shards and the manifest.

    A run that was stopped goes on where it was; a finished one is redone only where the recipe changed.

    \b
    Example:
        curate run recipes/gopher.yaml --set output=runs/try --set tier1.thresholds.too_few_words=30
    """
    from curate.recipe.load import load_recipe

    engines = chosen_engine(engine, address, workers, start=2)
    _run(load_recipe(recipe, changes), recipe, engines, quiet, as_json, force)


@click.command()
@_run_options
def demo(
    changes: tuple[str, ...], workers: int | None, engine: str, address: str | None, quiet: bool, as_json: bool
) -> None:
    """Run the packaged recipe on the packaged sample, into runs/demo.

    \b
    Example:
        curate demo
    """
    import glob
    import json

    import curate.sample
    from curate.recipe.load import load_recipe

    folder = Path(curate.sample.__path__[0])
    paths = f"input.paths=[{json.dumps(glob.escape(str(folder)) + '/*.parquet')}]"
    file = folder / "demo.yaml"
    engines = chosen_engine(engine, address, workers, start=2)
    _run(load_recipe(file, (paths, *changes)), file, engines, quiet, as_json)


def _run(
    recipe: "Recipe",
    file: Path,
    engines: "AbstractContextManager[tuple[Engine, int]]",
    quiet: bool,
    as_json: bool,
    force: bool = False,
) -> None:
    """Execute a recipe that was read from `file`, and print the summary."""
    from curate.pipeline.checks.preflight import check_names

    inputs = check_names(recipe)
    with engines as (engine, threads):
        from curate.cli.output.tables import print_summary
        from curate.maps.compile_notice import prepare_process
        from curate.pipeline.run import run as run_recipe
        from curate.pipeline.state import RunOptions

        prepare_process(quiet or as_json)
        options = RunOptions(force=force, file=file, inputs=inputs)
        summary = replace(run_recipe(recipe, engine, threads, quiet or as_json, options), seconds=process_seconds())
    if as_json:
        print_json(summary)
    else:
        print_summary(summary, quiet)


@click.command()
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
    from curate.cli.output.run import print_garbage
    from curate.pipeline.gc import collect

    garbage = collect(run, everything, dry_run)
    if as_json:
        print_json(asdict(garbage))
    else:
        print_garbage(garbage)
