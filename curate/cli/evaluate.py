"""The command `evaluate`."""

from pathlib import Path

import click

from curate.cli.options import RunPath, chosen_engine, engine_options, print_json

PROXIES = ("ngram", "decoder_1m", "decoder_10m", "transformer")


@click.command()
@click.argument("run", type=RunPath())
@click.option("--heldout", multiple=True, metavar="FILE", help="Held-out text, in the place of the recipe's.")
@click.option("--domain", metavar="COLUMN", help="Its column with the domain; default: the recipe's, or a file is one.")
@click.option(
    "--proxy", multiple=True, type=click.Choice(PROXIES), help="The models, one or more; default: the recipe's."
)
@click.option("--draws", type=click.IntRange(1), help="Of random documents; default: the recipe's.")
@click.option("--no-ablate", is_flag=True, help="Leave out the runs without each stage.")
@engine_options
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def evaluate(
    run: Path,
    heldout: tuple[str, ...],
    domain: str | None,
    proxy: tuple[str, ...],
    draws: int | None,
    no_ablate: bool,
    workers: int | None,
    engine: str,
    address: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Tell how much quality RUN keeps, by models of its output, of all its input and of random documents.

    What was measured before is not measured again.

    \b
    Example:
        curate evaluate runs/web --heldout heldout/news.parquet --heldout heldout/law.parquet
    """
    given: dict[str, object] = {
        "heldout": list(heldout) or None, "domain": domain, "proxy": list(proxy) or None, "draws": draws,
    }  # fmt: skip
    changes = {name: value for name, value in given.items() if value is not None}
    with chosen_engine(engine, address, workers) as (opened, threads):
        from curate.cli.output.evaluation import print_evaluation
        from curate.maps.compile_notice import prepare_process
        from curate.pipeline.evaluate import evaluate as evaluate_run

        prepare_process(quiet or as_json)
        changes |= {"ablate": False} if no_ablate else {}
        result = evaluate_run(run, changes, opened, threads, quiet or as_json)
    if as_json:
        print_json(result)
    else:
        print_evaluation(result)
