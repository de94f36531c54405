"""The commands that look at a finished run, or try another recipe on it."""

import sys
from collections.abc import Callable
from pathlib import Path

import click

from curate.cli.options import RunPath, TokenCount, print_json, read_query
from curate.errors import CurateError
from curate.process.machine import available_cores

FORMATS = ("table", "csv", "json", "parquet")


def _difference_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of commands that compare two verdicts."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print everything as JSON."),
        click.option("--quiet", is_flag=True, help="No progress on stderr."),
        click.option(
            "--output",
            type=click.Path(path_type=Path),
            help="Also write every document whose verdict differs: .parquet, .csv, .jsonl or .json.",
        ),
        click.option("-n", "--examples", type=click.IntRange(0), default=5, show_default=True, help="Of each kind."),
    ):
        command = option(command)
    return command


@click.command("what-if")
@click.argument("run", type=RunPath("data/", "export/"))
@click.option("--set", "changes", multiple=True, required=True, metavar="A.B=C", help="Change a field of the recipe.")
@click.option("--save", type=click.Path(path_type=Path), help="Write the changed recipe to a new file.")
@click.option("--no-text", is_flag=True, help="Judge pairs in doubt by estimates in place of a look at their texts.")
@_difference_options
def what_if(
    run: Path,
    changes: tuple[str, ...],
    save: Path | None,
    no_text: bool,
    examples: int,
    output: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Tell what another recipe would keep and drop of RUN, from its ledger; the run stays as it is.

    \b
    Example:
        curate what-if runs/demo --set tier1.thresholds.too_few_words=30 --save looser.yaml
    """
    from curate.maps.compile_notice import prepare_process

    prepare_process(quiet or as_json)
    from curate.cli.output.difference import print_difference
    from curate.inspect.compare import what_if as compare_with_recipe
    from curate.inspect.what_if import check_save, propose, save_recipe
    from curate.storage.mirror import by_uri

    check_save(save)
    proposal = propose(run, changes, quiet or as_json)
    result = compare_with_recipe(proposal, available_cores(), not no_text, examples, output)
    if save is not None:
        save_recipe(proposal, save)
    if as_json:
        print_json(result)
    else:
        print_difference(result)
        if save is not None:
            click.echo(f"{save}: written; `curate run {save}` decides {by_uri(str(run))} anew by it")


@click.command()
@click.argument("run_a", type=RunPath("data/", "export/"))
@click.argument("run_b", type=RunPath("data/", "export/"))
@_difference_options
def compare(run_a: Path, run_b: Path, examples: int, output: Path | None, quiet: bool, as_json: bool) -> None:
    """Tell which documents RUN_A and RUN_B decided otherwise, and why.

    \b
    Example:
        curate compare runs/web runs/web-looser --output differences.parquet
    """
    from curate.maps.compile_notice import prepare_process

    prepare_process(quiet or as_json)
    from curate.cli.output.difference import print_difference
    from curate.inspect.compare import compare as compare_runs
    from curate.progress import Steps, unwritten_log
    from curate.storage.mirror import by_uri

    with Steps(unwritten_log(quiet or as_json), "comparing") as steps:
        steps(by_uri(f"{run_a}, {run_b}"))
        result = compare_runs(run_a, run_b, examples, output)
    if as_json:
        print_json(result)
    else:
        print_difference(result)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default="runs")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def runs(folder: Path, as_json: bool) -> None:
    """List the runs in FOLDER (default: runs) with their closing figures, and whether each is whole or was stopped.

    \b
    Example:
        curate runs
    """
    from curate.ledger.runs import list_runs

    listed = list_runs(folder)
    if as_json:
        print_json(listed)
        return
    from curate.cli.output.runs import print_runs
    from curate.display import console

    print_runs(listed, folder, console())


@click.command()
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
    from curate.cli.output.tables import print_query

    if query is not None and file is not None:
        raise CurateError("sql: a query and --file are given; leave one out")
    if file is not None:
        query = read_query(file)
    elif query is None and not (sys.stdin.isatty() and sys.stdout.isatty()):
        query = sys.stdin.read()
    if query is not None:
        print_query(run, query, form)
        return
    from curate.cli.shell import shell

    shell(run, form)


@click.command()
@click.argument("run", type=RunPath("data/", "export/"))
@click.argument("doc_id")
@click.option("--signals", "all_signals", is_flag=True, help="Show all signals, not only the unusual ones.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def why(run: Path, doc_id: str, all_signals: bool, as_json: bool) -> None:
    """Tell the whole story of a document of RUN: by its DOC_ID, the first 8 letters of a hash, or FILE:ROW.

    \b
    Example:
        curate why runs/demo qs-00660
    """
    from curate.inspect.why import explain
    from curate.maps.compile_notice import prepare_process

    prepare_process(as_json)
    story = explain(run, doc_id)
    if as_json:
        print_json(story)
        return
    from curate.cli.output.document import print_story

    print_story(story, all_signals)


@click.command()
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
    run: Path,
    reason: str | None,
    stage: str | None,
    kept: bool,
    where: str | None,
    n: int,
    seed: int | None,
    full: bool,
    as_json: bool,
) -> None:
    """Show documents of RUN, drawn by seed, with what they were dropped for marked in their texts.

    \b
    Example:
        curate sample runs/demo --reason too_many_hashes -n 3
    """
    from curate.inspect.sample import Selection, draw
    from curate.maps.compile_notice import prepare_process

    prepare_process(as_json)
    selection = Selection(reason=reason, stage=stage, kept=kept, where=where, n=n, seed=seed, full=full)
    samples = draw(run, selection)
    if as_json:
        print_json(samples)
        return
    from curate.cli.output.document import print_samples

    print_samples(run, samples)


@click.command()
@click.argument("run", type=RunPath("data/", "export/"))
@click.option("--output", type=click.Path(path_type=Path), help="The file to write; default: report.html in RUN.")
@click.option(
    "--train-tokens", type=TokenCount(), metavar="20B", help="Tokens of a training to come; default: the recipe's."
)
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def report(run: Path, output: Path | None, train_tokens: float | None, quiet: bool) -> None:
    """Write a page on RUN: what was kept, what was dropped and why, in charts and tables that need no network.

    \b
    Example:
        curate report runs/demo
    """
    from curate.maps.compile_notice import prepare_process
    from curate.progress import Steps, unwritten_log
    from curate.report.page import write_report
    from curate.storage.mirror import by_uri, send

    prepare_process(quiet)
    with Steps(unwritten_log(quiet), "reporting") as steps:
        steps(by_uri(str(run)))
        path = write_report(run, output, train_tokens)
        send(path)
    click.echo(by_uri(str(path)))


@click.command()
@click.argument("group", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def signals(group: str | None, as_json: bool) -> None:
    """List the signals that are measured, or those of one GROUP.

    \b
    Example:
        curate signals words
    """
    from curate.cli.output.tables import print_signals
    from curate.filters.registry import list_signals

    listed = list_signals(group)
    if as_json:
        print_json(listed)
    else:
        print_signals(listed)


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def rules(name: str | None, as_json: bool) -> None:
    """List the named rule sets, or what the set NAME drops and cuts.

    \b
    Example:
        curate rules gopher
    """
    from curate.cli.output.tables import print_rules
    from curate.filters.rules.resolve import list_rules, list_sets

    listed = list_sets() if name is None else list_rules(name)
    if as_json:
        print_json(listed)
    else:
        print_rules(listed)


@click.command()
@click.argument("run", type=RunPath("data/", "export/"))
@click.option("--json", "as_json", is_flag=True, help="Print the tables as JSON.")
def domains(run: Path, as_json: bool) -> None:
    """Tell how much RUN has of each domain of its recipe, what is wanting, and what came of what was written for it.

    \b
    Example:
        curate domains runs/web
    """
    from curate.cli.output.domains import print_domains
    from curate.inspect.domains import domains_of

    result = domains_of(run)
    if as_json:
        print_json(result)
    else:
        print_domains(result)


@click.command()
@click.argument("run", type=RunPath("data/", "export/"))
@click.option("--by", multiple=True, metavar="NAME[,NAME]", help="Only this dimension, or combinations of two.")
@click.option("--stage", default="all", show_default=True, help="What this stage drops of the documents that reach it.")
@click.option("--json", "as_json", is_flag=True, help="Print the rates at all stages as JSON.")
def who(run: Path, by: tuple[str, ...], stage: str, as_json: bool) -> None:
    """Tell who RUN drops: the share of each group of documents, against the rest, with intervals.

    \b
    Example:
        curate who runs/demo --by input.source --by language,length_bucket
    """
    from curate.cli.output.who import print_who
    from curate.inspect.who import who_of_run

    result = who_of_run(run, by, stage)
    if as_json:
        print_json(result)
    else:
        print_who(result, stage)
