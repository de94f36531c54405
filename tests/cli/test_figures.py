"""Numbers are written in one way, wherever they are printed."""

import ast
import re

from support.paths import ROOT

from curate.display import place, share

SPACED = re.compile(r"\d[ \u00a0\u2009\u202f]%(?!\s*[\d{}])")  # but for what is left of a division, as in SQL


def printed(path):
    """The texts of a Python file that are no docstrings; what a field holds stands as 0."""
    tree = ast.parse(path.read_text("utf-8"))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "0" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def test_every_percentage_is_written_without_a_space():
    assert share(1, 3) == "33.3%"
    templates = list((ROOT / "curate" / "report" / "templates").glob("*.html"))
    assert templates
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *templates]
    assert [page.name for page in pages if SPACED.search(page.read_text("utf-8"))] == []
    sources = [path for name in ("curate", "filters", "distill", "manifests") for path in (ROOT / name).rglob("*.py")]
    assert len(sources) > 200
    assert [(path.name, text) for path in sources for text in printed(path) if SPACED.search(text)] == []


def test_a_place_is_file_and_row():
    assert place("a/b.parquet", 1234) == "a/b.parquet:1234"
