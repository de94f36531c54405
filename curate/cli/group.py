"""The command `curate`: its group, and every command in it."""

import click

import curate
from curate.cli import evaluate, export, inspect, models, run
from curate.cli.options import GroupedCommands


@click.group(cls=GroupedCommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(curate.__version__, prog_name="curate")
def main() -> None:
    """Turn a large pile of text into a small, clean, explained training set."""


COMMANDS = (
    *(run.init, run.schema, run.plan, run.run, run.demo, run.gc),
    *(inspect.what_if, inspect.compare, inspect.runs, inspect.sql, inspect.why, inspect.sample, inspect.report),
    *(inspect.who, inspect.signals, inspect.rules, inspect.domains),
    *(evaluate.evaluate, export.export, export.card, export.verify),
    *(models.lm, models.adapter, models.serve),
)
for command in COMMANDS:
    main.add_command(command)
