"""Sizes that keep the code readable, and that ruff does not count. Kernels, which are loops, are left out."""

import ast
import re

import pytest
from support.paths import ROOT

LINES, POSITIONAL = 40, 6  # of a function; arguments of a call without names
SKIPS = 40  # tables that are laid out by hand
UNTYPED = 60  # where JSON of unknown shape is read or written
FOLDERS = ("curate", "filters", "distill", "manifests")
SOURCES = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
    for folder in FOLDERS
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "kernels" not in path.parts and not any(parent.is_symlink() for parent in path.parents)
}
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


def nodes(kind):
    for name, text in SOURCES.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, kind):
                yield f"{name}:{node.lineno}", node


def lines_with(pattern):
    return [f"{name}: {line}" for name, text in SOURCES.items() for line in re.findall(f".*{pattern}.*", text)]


def test_all_sources_are_looked_at():
    assert len(SOURCES) > 300
    assert {name.partition("/")[0] for name in SOURCES} == set(FOLDERS)


def test_no_function_is_longer_than_a_screen():
    long = [
        f"{place} {node.name}: {node.end_lineno - node.lineno + 1} lines"
        for place, node in nodes(FUNCTIONS)
        if node.end_lineno - node.lineno + 1 > LINES
    ]
    assert long == []


def test_no_call_has_so_many_arguments_without_names_that_they_must_be_counted():
    counted = [
        f"{place} {ast.unparse(node.func)}: {len(node.args)} arguments"
        for place, node in nodes(ast.Call)
        if len(node.args) > POSITIONAL and not any(isinstance(argument, ast.Starred) for argument in node.args)
    ]
    assert counted == []


@pytest.mark.parametrize(("pattern", "most"), [("# fmt: skip", SKIPS), (r"dict\[str, Any\]", UNTYPED)])
def test_what_is_to_stay_rare_stays_rare(pattern, most):
    found = lines_with(pattern)
    assert len(found) < most, "\n".join(found)
