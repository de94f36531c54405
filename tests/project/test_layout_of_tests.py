"""Tests share by support/ and by fixtures, never by one another."""

import ast

from support.paths import ROOT

TESTS = ROOT / "tests"
MODULES = sorted(path for path in TESTS.rglob("*.py") if "__pycache__" not in path.parts)
OF_TESTS = {path.stem for path in MODULES if path.stem.startswith("test_")} | {"conftest"}


def imported(source):
    """Every module that a source imports, lazily and in the programs that it holds as text too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "import" in node.value:
            yield from within(node.value)


def within(text):
    try:
        return list(imported(text))
    except SyntaxError:
        return []


def test_no_module_imports_a_test_or_a_conftest():
    found = {path.relative_to(TESTS).as_posix(): {*parts_of(path)} & OF_TESTS for path in MODULES}
    assert {name: tests for name, tests in found.items() if tests} == {}


def parts_of(path):
    return (part for name in imported(path.read_text("utf-8")) for part in name.split("."))


def test_base_names_of_tests_are_unique():
    names = [path.name for path in MODULES if path.stem.startswith("test_")]
    assert sorted(names) == sorted(set(names))


def test_what_tests_share_is_named_by_what_it_gives_and_says_so():
    for path in (TESTS / "support").glob("*.py"):
        assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), path
        assert not path.stem.startswith("test_")
