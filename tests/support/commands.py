"""The command as a user starts it, a run in this process, and the one line of a refusal."""

import os
import subprocess
import sys

import pytest


def command(*arguments, cwd=None, timeout=240, **environment):
    """Run `curate` as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "curate", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=cwd,
        env={**os.environ, **environment},
        check=False,
    )


def carry_out(recipe, *changes):
    """Run a recipe in this process and return the summary."""
    from curate.engine.base import InProcess
    from curate.pipeline.run import run
    from curate.recipe.load import load_recipe

    return run(load_recipe(recipe, changes), InProcess(), threads=2, quiet=True)


def refused(recipe, error, *changes):
    """The message with which a run is refused; it is one line."""
    with pytest.raises(error) as caught:
        carry_out(recipe, *changes)
    return told_by(caught.value)


def told_by(error):
    """What an error tells, which is one line."""
    assert len(str(error).splitlines()) == 1, str(error)
    return str(error)
