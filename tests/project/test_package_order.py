"""The order of packages: each imports those before it alone, and shows what is in it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOTS = {"curate": "curate", "filters": "curate.filters", "distill": "curate.distill", "manifests": "curate.manifests"}
# A level may import itself and the levels before it. A module that is not named belongs to its package.
LEVELS = (
    ("curate", "curate.cache", "curate.digest", "curate.display", "curate.epochs", "curate.errors", "curate.kernels",
     "curate.models", "curate.process", "curate.progress", "curate.redaction", "curate.sample", "curate.sql"),
    ("curate.storage",),
    ("curate.recipe",),
    ("curate.distill.teacher",),
    ("curate.engine",),
    ("curate.filters.registry", "curate.filters.block"),
    ("curate.corpus",),
    ("curate.ledger",),
    ("curate.manifests.schema",),
    ("curate.filters.coarse_score", "curate.filters.contamination", "curate.filters.edits", "curate.filters.language",
     "curate.filters.people", "curate.filters.rules", "curate.filters.signals"),
    ("curate.init",),
    ("curate.maps",),
    ("curate.distill.attacks", "curate.distill.draws", "curate.distill.reference", "curate.distill.scoring",
     "curate.distill.text"),
    ("curate.distill.evaluate", "curate.distill.leaks", "curate.distill.lora", "curate.distill.purify",
     "curate.distill.scoring_stage", "curate.distill.schedule"),
    ("curate.distill.budget",),
    ("curate.dedup",),
    ("curate.decide",),
    ("curate.distill.augment",),
    ("curate.who",),
    ("curate.manifests",),
    ("curate.inspect",),
    ("curate.report",),
    ("curate.pipeline",),
    ("curate.cli", "curate.__main__"),
)  # fmt: skip
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
NO_LEDGER = ("curate.distill.attacks", "curate.distill.scoring", "curate.distill.teacher", "curate.distill.text")
MOST_MODULES = 16  # of a folder but that of the kernels


def modules():
    """Every module with its file; the links in curate/ lead to files that have another name already."""
    for folder, package in ROOTS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            inner = path.relative_to(ROOT / folder).with_suffix("").parts
            if folder == "curate" and inner[0] in ROOTS:
                continue
            yield ".".join((package, *(part for part in inner if part != "__init__"))), path


MODULES = dict(modules())


def imported(path):
    """The modules of curate that a module imports, wherever in it, and for types alone too."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "curate":
            assert not node.level, f"{path}: write imports out"
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                yield whole if whole in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name in MODULES)


def level_of(module):
    """The level of a module, or of the nearest package around it that has one; the root alone has that of `curate`."""
    name = module
    while name not in LEVEL or (name == "curate" and module != "curate"):
        name = name.rpartition(".")[0]
        if not name:
            pytest.fail(f"{module} has no place in LEVELS")
    return LEVEL[name]


def test_imports_go_from_the_right_to_the_left():
    wrong = [
        f"{module} imports {other}"
        for module, path in MODULES.items()
        if module not in ("curate.distill", "curate.filters")
        for other in imported(path)
        if level_of(other) > level_of(module)
    ]
    assert wrong == []


def test_every_name_of_the_order_is_a_package_or_a_module():
    assert [name for name in LEVEL if name not in MODULES] == []


def test_what_is_about_texts_alone_knows_no_ledger():
    ledger = LEVEL["curate.ledger"]
    wrong = [
        f"{module} imports {other}"
        for module, path in MODULES.items()
        if module.startswith(tuple(f"{name}." for name in NO_LEDGER))
        for other in imported(path)
        if other.startswith(("curate.ledger", "curate.maps", "curate.pipeline", "curate.decide"))
    ]
    assert wrong == []
    assert level_of("curate.distill.teacher.open") < ledger


def test_decisions_read_no_texts():
    readers = {"read_documents", "read_rows"}
    for module, path in MODULES.items():
        if module.startswith("curate.decide"):
            named = {name for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.ImportFrom)
                     for name in (alias.name for alias in node.names)}  # fmt: skip
            assert not named & readers, module
            maps = {other for other in imported(path) if other.startswith("curate.maps.")}
            assert maps <= {"curate.maps.reading", "curate.maps.reread"}  # what is read, and by which plan


def test_a_folder_shows_few_modules_and_says_what_is_in_it():
    folders = {path.parent for path in MODULES.values()}
    counts = {folder: len([p for p in folder.glob("*.py") if p.name != "__init__.py"]) for folder in folders}
    kernels = ROOT / "curate" / "kernels"
    assert {str(folder): n for folder, n in counts.items() if n > MOST_MODULES and folder != kernels} == {}
    for folder in sorted(folders - {kernels}):
        said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8"))) or ""
        assert "Start in" in said or counts[folder] < 2, f"{folder}: what is in it, and where does one start?"


def test_the_architecture_shows_this_order():
    section = (ROOT / "ARCHITECTURE.md").read_text("utf-8").split("\n## The order of packages\n")[1].split("\n## ")[0]
    shown = [line.split()[1:] for line in section.splitlines() if line.split()[:1] and line.split()[0].isdigit()]
    unsaid = {"curate", "curate.__main__"}
    assert shown == [[name.removeprefix("curate.") for name in sorted(set(names) - unsaid)] for names in LEVELS]
