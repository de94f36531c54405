"""Bad passages and retention: a pool of whole web pages, with `tier2.passages` and without it, at the same budgets.

Usage: python benchmarks/passages_retention.py CORPORA FOLDER [BUDGET ...]

Half of the web pages by site, and of the speeches, are the pool, as whole pages. A quarter gives its main texts to the
reference, beside some books, medical texts and manuals, and a quarter to the held-out texts. Prints what
`curate evaluate` says of each run; of the input 30 % of the tokens are kept by default. A budget takes some 10 minutes.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from passages import share, site_of

TEXT = [("id", pa.string()), ("text", pa.string())]


def write(path: Path, rows: list[tuple[str, str]]) -> None:
    """Write documents (id, text)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([{"id": i, "text": t} for i, t in rows], pa.schema(TEXT)), path)


def pairs_of(corpora: Path) -> list[tuple[str, str, str, float]]:
    """Kind, whole page, main text, and a place from 0 to 1 by site or speech."""
    by_page: dict[str, dict[str, dict[str, str]]] = {}
    for file in ("web_pages", "fed_speeches_pairs"):
        for row in pq.read_table(corpora / f"web/{file}.parquet").to_pylist():
            by_page.setdefault(row["id"].rsplit("|", 1)[0], {})[row["label"]] = row
    pairs = []
    for name, rows in sorted(by_page.items()):
        main = rows.get("clean") or rows.get("clean_auto")
        if "noisy" in rows and main and len(main["text"]) >= 400:
            is_speech = name.startswith("fedpair")
            key = name if is_speech else site_of(name, rows["noisy"]["url"])
            pairs.append(("speeches" if is_speech else "web", rows["noisy"]["text"], main["text"], share(key, 11)))
    return pairs


def write_pool(corpora: Path, folder: Path) -> None:
    """Write the pool, the reference and the held-out texts."""
    pairs = pairs_of(corpora)
    write(folder / "pool/a.parquet", [(f"p{k}", p[1]) for k, p in enumerate(pairs) if p[3] < 0.5])
    for kind in ("web", "speeches"):
        of_kind = [(f"{kind}{k}", p[2], p[3]) for k, p in enumerate(pairs) if p[0] == kind]
        write(folder / f"reference/{kind}.parquet", [(i, t) for i, t, at in of_kind if 0.5 <= at < 0.75])
        write(folder / f"heldout/{kind}.parquet", [(i, t) for i, t, at in of_kind if at >= 0.75])
    for kind in ("literature", "medical", "technical_docs"):
        rows = pq.read_table(corpora / f"reference/{kind}.parquet").to_pylist()
        write(folder / f"reference/{kind}.parquet", [(r["id"], r["text"]) for r in rows if share(r["id"], 11) < 0.1])


def evaluated(folder: Path, budget: str, passages: bool) -> str:
    """What `curate evaluate` prints of a run."""
    name = f"{budget.rstrip('%')}-{'with' if passages else 'without'}"
    recipe = {
        "name": name, "output": str(folder / "runs" / name),
        "input": {"paths": [str(folder / "pool")], "id": "id"},
        "reference": [str(folder / "reference/*.parquet")],
        "tier2": {"rounds": 1, "max_false_drop": 0.05, "passages": passages},
        "distill": {"keep_tokens": budget},
        "evaluate": {"heldout": [str(folder / "heldout/*.parquet")], "ablate": False},
    }  # fmt: skip
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(recipe))
    curate = [sys.executable, "-m", "curate"]
    subprocess.run([*curate, "run", str(path), "--quiet"], check=True, stdout=sys.stderr)
    done = subprocess.run(
        [*curate, "evaluate", str(folder / "runs" / name), "--quiet"], check=True, capture_output=True, text=True
    )
    return f"## {name}\n{done.stdout}"


def main(corpora: Path, folder: Path, budgets: Sequence[str]) -> None:
    """Print the evaluations of both runs at each budget."""
    write_pool(corpora, folder)
    for budget in budgets:
        for passages in (False, True):
            print(evaluated(folder, budget, passages), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:] or ["30%"])
