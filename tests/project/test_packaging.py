"""The package: four folders in one import, complete in the wheel, usable outside the checkout."""

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from support.paths import ROOT

import curate

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MAPPED = PROJECT["tool"]["setuptools"]["package-dir"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)  # a wheel from the sdist
    assert done.returncode == 0, done.stderr[-2000:]
    return next(folder.glob("*.whl"))


def test_links_in_the_checkout_and_the_package_map_say_the_same():
    links = {f"curate.{path.name}": os.readlink(path) for path in (ROOT / "curate").iterdir() if path.is_symlink()}
    assert links == {name: f"../{folder}" for name, folder in MAPPED.items() if name != "curate"}


def test_no_function_hides_another_of_its_name():
    """In tests, where ruff cannot tell: a fixture that is imported has the name of a parameter."""
    for path in (ROOT / "tests").rglob("*.py"):
        names = [node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
        assert len(names) == len(set(names)), (path, sorted(name for name in names if names.count(name) > 1))


def test_every_folder_with_modules_is_a_package_of_the_project():
    found = set()
    for name, folder in MAPPED.items():
        for path in (ROOT / folder).rglob("*.py"):
            inner = path.parent.relative_to(ROOT / folder).parts
            if not any((ROOT / folder).joinpath(*inner[: k + 1]).is_symlink() for k in range(len(inner))):
                found.add(".".join((name, *inner)))
    assert found == set(PROJECT["tool"]["setuptools"]["packages"])


def test_the_wheel_holds_every_file_that_the_checkout_has(wheel):
    expected = set()
    for name, folder in MAPPED.items():
        for path in (ROOT / folder).rglob("*"):
            inner = path.relative_to(ROOT / folder)
            linked = any((ROOT / folder / parent).is_symlink() for parent in inner.parents if parent != Path())
            if path.is_file() and not linked and not path.is_symlink() and "__pycache__" not in inner.parts:
                expected.add("/".join((*name.split("."), *inner.parts)))
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == expected


@pytest.mark.slow  # builds and unpacks the wheel, and runs the demo
def test_the_wheel_runs_outside_the_checkout(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    where = [sys.executable, "-c", "import curate.filters; print(curate.filters.__file__)"]
    options = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "check": True}
    assert subprocess.run(where, **options).stdout.startswith(str(tmp_path / "site"))
    subprocess.run([sys.executable, "-m", "curate", "demo", "--quiet"], **options)
    assert (tmp_path / "runs" / "demo" / "manifest.json").exists()


def test_help_answers_without_importing_anything_heavy():
    heavy = {"numba", "pyarrow", "duckdb", "pydantic", "datasets", "prompt_toolkit"}
    code = f"import sys, curate.cli; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_package_and_the_project_have_one_version():
    assert curate.__version__ == PROJECT["project"]["version"]


def test_constraints_pin_every_dependency_by_name_and_version_only():
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(line.count("==") == 1 and "/" not in line and "@" not in line for line in pins)
    pinned = {line.split("==")[0].lower() for line in pins}
    wanted = PROJECT["project"]["dependencies"] + PROJECT["project"]["optional-dependencies"]["dev"]
    assert {re.split(r"[>\[]", name)[0].lower() for name in wanted} <= pinned


CORE_ONLY = """
import importlib.metadata as metadata, re, sys
from packaging.requirements import Requirement
needed, queue = set(), ["curate-lm"]
while queue:
    name = re.sub(r"[-_.]+", "-", queue.pop()).lower()
    if name not in needed:
        needed.add(name)
        wanted = map(Requirement, metadata.requires(name) or ())
        queue += [one.name for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
known = metadata.packages_distributions()
spelled = {module: {re.sub(r"[-_.]+", "-", one).lower() for one in found} for module, found in known.items()}
others = {module for module, found in spelled.items() if not needed & found}
sys.modules.update(dict.fromkeys(others - set(sys.modules)))  # None: cannot be imported
"""


@pytest.mark.slow  # runs the demo without the other packages
def test_nothing_is_needed_but_what_the_project_depends_on(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(CORE_ONLY)  # also for workers
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    options = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "check": False}
    for module in ("scipy", "datasketch", "ray", "pytest"):
        assert subprocess.run([sys.executable, "-c", f"import {module}"], **options).returncode == 1
    modules = sorted(
        ".".join((*name.split("."), *path.relative_to(ROOT / folder).with_suffix("").parts))
        for name, folder in MAPPED.items() for path in (ROOT / folder).glob("*.py") if not path.stem.startswith("__")
    )  # fmt: skip
    done = subprocess.run([sys.executable, "-c", f"import {', '.join(modules)}"], **options)
    assert done.returncode == 0, done.stderr
    done = subprocess.run([sys.executable, "-m", "curate", "demo", "--quiet"], **options)
    assert done.returncode == 0, done.stderr


def test_make_demo_installs_what_users_install_and_no_more():
    words = ["make", "--dry-run", "--always-make", "demo"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--editable '.'" in done.stdout
    assert "[dev]" not in done.stdout
