"""What the comparisons share: datatrove's environment, a fixed selection of documents, our verdicts."""

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
ENVIRONMENT = HERE / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
THEIRS = HERE / "theirs.py"
# Our sets and the filter that each is compared with; theirs.py knows the same names.
FILTER_OF = {
    "gopher": "GopherQualityFilter",
    "gopher_repetition": "GopherRepetitionFilter",
    "c4": "C4QualityFilter",
    "fineweb": "FineWebQualityFilter",
}


def make_environment(environment: Path = ENVIRONMENT, wanted: Path = HERE / "requirements.txt") -> Path:
    """Install tools into an environment of their own, unless it is there as a file asks for it; its Python."""
    python, installed = environment / "bin" / "python", environment / "requirements.txt"
    if installed.exists() and installed.read_text() == wanted.read_text():
        return python
    uv = shutil.which("uv")
    if uv:
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(environment)], check=True)
        install = [uv, "pip", "install", "--quiet", "--python", str(python)]
    else:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet"]
    subprocess.run([*install, "--requirement", str(wanted)], check=True)
    shutil.copy(wanted, installed)
    return python


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
