"""Files and modules that comments, docstrings, docs and programs within tests name are where they say."""

import ast
import importlib
import io
import re
import tokenize

from support.docs import blocks
from support.paths import ROOT

FOLDERS = ("curate", "filters", "distill", "manifests", "benchmarks", "tests")
PAGES = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
FILE = re.compile(r"(?<![\w./<*{}-])(?:\.\./)*[\w/]+\.(?:py|md)\b")
ELSEWHERE = {"doc/xxhash_spec.md"}  # a file of another project


def modules():
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            inner = path.relative_to(ROOT)
            hidden = any(part.startswith(".") for part in inner.parts)
            if not hidden and not any((ROOT / part).is_symlink() for part in inner.parents):
                yield path


def remarks(path):
    """Comments and docstrings of a module."""
    source = path.read_text("utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            yield ast.get_docstring(node) or ""
    yield from (t.string for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.type == tokenize.COMMENT)


def is_there(name, path):
    """Whether a file is there, named from the root, or from the module's folder or one above it.

    Tests are named without their folder too: their names are unique.
    """
    if re.fullmatch(r"test_\w+\.py", name):
        return any((ROOT / "tests").rglob(name))
    places = [folder for folder in path.parents if folder == ROOT or ROOT in folder.parents]
    return any((place / name).is_file() for place in [*places, ROOT / "curate"])


def test_every_file_that_a_comment_or_a_docstring_names_is_there():
    named = [(path, name) for path in modules() for text in remarks(path) for name in FILE.findall(text)]
    assert len(named) > 100
    lost = {(str(path.relative_to(ROOT)), name) for path, name in named if not is_there(name, path)}
    assert {(path, name) for path, name in lost if name not in ELSEWHERE} == set()


def programs():
    """(where, source) of what is run: tests, benchmarks, programs that they hold as text, and those of the docs."""
    for path in modules():
        if path.relative_to(ROOT).parts[0] in ("tests", "benchmarks"):
            source = path.read_text("utf-8")
            yield path.name, source
            texts = (n.value for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Constant))
            yield from ((path.name, text) for text in texts if isinstance(text, str) and "import" in text)
    yield from ((page.name, block) for page in PAGES for block in blocks(page.read_text("utf-8"), "python"))


def imports_of_ours(source):
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a sentence, or a part of a program
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "curate":
            yield from ((node.module, name.name) for name in node.names)
        elif isinstance(node, ast.Import):
            yield from ((name.name, None) for name in node.names if name.name.split(".")[0] == "curate")


def is_importable(module, name):
    try:
        found = importlib.import_module(module)
        if name is not None and not hasattr(found, name):
            importlib.import_module(f"{module}.{name}")
    except ModuleNotFoundError as error:
        return not (error.name or "").startswith("curate")  # or it needs an extra that is not installed
    return True


def test_every_import_that_tests_benchmarks_and_docs_show_works():
    shown = {(where, *found) for where, source in programs() for found in imports_of_ours(source)}
    assert len(shown) > 500
    gone = {pair for pair in {(module, name) for _, module, name in shown} if not is_importable(*pair)}
    assert {entry for entry in shown if entry[1:] in gone} - {("test_digest.py", "curate.nothing", None)} == set()
