"""Named rule sets, one YAML file each, and rules as SQL conditions.

Start in `resolve.py`. May import the registry, the other filters and the recipe.
"""

from functools import cache
from pathlib import Path


@cache
def set_names() -> tuple[str, ...]:
    """The names of all sets, sorted."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.yaml")))
