"""What the comparisons share: environments, a fixed selection of documents, our verdicts."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curate.filters import registry

HERE = Path(__file__).parent
PYTHON = HERE / ".venv-datatrove" / "bin" / "python"
THEIRS = HERE / "theirs_datatrove.py"
NEWEST = {"text-dedup": (3, 12)}  # the Python that a tool asks for, where ours may be too old
# Our sets and the filter that each is compared with; theirs_datatrove.py knows the same names.
FILTER_OF = {
    "gopher": "GopherQualityFilter",
    "gopher_repetition": "GopherRepetitionFilter",
    "c4": "C4QualityFilter",
    "fineweb": "FineWebQualityFilter",
}


def make_environment(name: str) -> Path:
    """Install what requirements-NAME.txt lists into .venv-NAME, unless it is there as the file asks for it; its Python.

    Errors: RuntimeError where that fails.
    """
    environment, wanted = HERE / f".venv-{name}", HERE / f"requirements-{name}.txt"
    python, installed = environment / "bin" / "python", environment / "requirements.txt"
    if installed.exists() and installed.read_text() == wanted.read_text():
        return python
    base = interpreter(NEWEST.get(name, (3, 11)))
    uv = shutil.which("uv")
    if uv:
        make = [uv, "venv", "--quiet", "--clear", "--python", base, str(environment)]
        install = [uv, "pip", "install", "--quiet", "--python", str(python)]
    else:
        make = [base, "-m", "venv", "--clear", str(environment)]
        install = [str(python), "-m", "pip", "install", "--quiet"]
    for command in (make, [*install, "--requirement", str(wanted)]):
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"not installed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    shutil.copy(wanted, installed)
    return python


def interpreter(newest: tuple[int, int]) -> str:
    """A Python of at least this version: ours, or one on the path.

    Errors: RuntimeError where there is none.
    """
    if sys.version_info[:2] >= newest:
        return sys.executable
    for minor in range(newest[1], newest[1] + 3):
        command = [f"python3.{minor}", "-c", "import sys; print(sys.executable)"]
        if shutil.which(command[0]):  # a version manager's may be there and not work
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if not done.returncode:
                return done.stdout.strip()
    raise RuntimeError(f"not installed: no python{newest[0]}.{newest[1]} on the path")


def known_sets(asked: Iterable[str]) -> list[str]:
    """Those of the sets asked for that curate has."""
    return [name for name in asked if name in registry.rule_sets()]


def select(folders: Sequence[Path], number: int) -> pa.Table:
    """`number` documents (name, text), in turn from every file of every folder, in the order of the files' names."""
    columns: list[list[dict[str, str]]] = []
    for folder in folders:
        for path in [folder] if folder.is_file() else sorted(folder.rglob("*.parquet")):
            schema = pq.read_schema(path)
            if "text" in schema.names:
                texts = pq.read_table(path, columns=["text"])["text"].slice(0, number).to_pylist()
                names = [f"{path.stem}:{row}" for row in range(len(texts))]
                columns.append([{"name": n, "text": t} for n, t in zip(names, texts, strict=True) if t and t.strip()])
    turns = (column[k] for k in range(number) for column in columns if k < len(column))
    return pa.Table.from_pylist([row for row, _ in zip(turns, range(number), strict=False)])


def write_recipe(path: Path, documents: Path, rules: Sequence[str], run: Path) -> Path:
    """A recipe that judges documents by rules and does nothing else."""
    path.write_text(json.dumps({
        "name": "peers",
        "output": str(run),
        "input": {"paths": [str(documents)]},
        "tier1": {"rules": list(rules)},
        "dedup": {"exact": False},
        "allow_empty": True,
    }))  # fmt: skip
    return path


def curate_run(recipe: Path) -> list[str]:
    """The command that carries out a recipe."""
    return [sys.executable, "-m", "curate", "run", str(recipe), "--quiet"]
