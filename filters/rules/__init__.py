"""Named rule sets, one YAML file each."""

from functools import cache
from pathlib import Path


@cache
def set_names() -> tuple[str, ...]:
    """The names of all sets, sorted."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.yaml")))
