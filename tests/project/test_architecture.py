"""ARCHITECTURE.md has every package and module, and neither it nor CONTRIBUTING.md names what is not there."""

import re

import pytest
from support.docs import blocks
from support.paths import ROOT

ARCHITECTURE, CONTRIBUTING = ((ROOT / name).read_text("utf-8") for name in ("ARCHITECTURE.md", "CONTRIBUTING.md"))
ROOTS = ("curate", "filters", "distill", "manifests")
MOST_WORDS = 10  # of a line of the tree
NAME = re.compile(r"[\w.]+(?:\.py|/)")
PATH = re.compile(r"(?<![\w./:-])(?:(?:curate|filters|distill|manifests|tests|docs|benchmarks|recipes|\.ci)/[\w./-]*)")


def tree():
    """(path, description) of every name in the tree: two spaces a level, names, at least two spaces, description."""
    for block in blocks(ARCHITECTURE.split("\n## The tree\n")[1], "text"):
        above = []
        for line in block.splitlines():
            names, _, about = line.strip().partition("  ")
            above = above[: (len(line) - len(line.lstrip())) // 2]
            for name in names.split():
                assert NAME.fullmatch(name), line
                yield "".join([*above, name]), about.strip()
            above.append(names)


TREE = dict(tree())
SOURCES = sorted(
    path.relative_to(ROOT).as_posix()
    for root in ROOTS
    for path in (ROOT / root).rglob("*.py")
    if not any((ROOT / part).is_symlink() for part in path.relative_to(ROOT).parents)
)


def test_every_module_has_a_place_in_the_tree():
    assert len(SOURCES) > 200
    assert [path for path in SOURCES if not path.endswith("/__init__.py") and path not in TREE] == []


def test_every_package_has_a_line_that_says_what_is_in_it():
    packages = {path.rpartition("/")[0] + "/" for path in SOURCES}
    assert [package for package in sorted(packages) if not TREE.get(package)] == []


def test_nothing_stands_in_the_tree_twice_or_without_a_description():
    names = [path for path, _ in tree()]
    assert sorted(names) == sorted(TREE)
    assert [path for path, about in TREE.items() if not about] == []


def test_no_line_of_the_tree_has_more_than_ten_words():
    assert {path: about for path, about in TREE.items() if len(about.split()) > MOST_WORDS} == {}


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_every_path_that_a_page_names_exists(page):
    text = {"ARCHITECTURE.md": ARCHITECTURE, "CONTRIBUTING.md": CONTRIBUTING}[page]
    named = {path.rstrip(".-") for path in PATH.findall(text)} | (set(TREE) if text is ARCHITECTURE else set())
    assert len(named) > 20
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_every_make_target_that_contributing_names_exists():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^ *)make ([a-z][\w-]*)", CONTRIBUTING, re.MULTILINE))
    assert {"test", "check", "soak"} <= named
    assert named - targets == set()


def test_the_readme_links_both_pages():
    readme = (ROOT / "README.md").read_text("utf-8")
    assert "](ARCHITECTURE.md)" in readme
    assert "](CONTRIBUTING.md)" in readme
