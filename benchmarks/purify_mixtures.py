"""Measure tier 2 on corpora of 10, 30, 60 and 90 % good text: how well it separates bad text, and what it drops.

Usage: python benchmarks/purify_mixtures.py CORPORA [FOLDER [HALF [SEEDS]]]

CORPORA, FOLDER and HALF are as in benchmarks/purify.py; SEEDS is such as 1,2. The bad text of each corpus is whole web
pages. Its good text is either of kinds that the reference has (`like`), or half of it is of kinds that the reference
lacks: main texts of web pages and honest mail (`unlike`). Nothing of a corpus is tested on. Each row is a run of
`curate run` with one round, 100 documents per attack, and 2,500 good texts.

It uses nothing but recipes and the files of a run, so that it also measures older versions. An hour on one core for
three seeds.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from purify_corpus import Material, part_corpora

from curate.distill.purify.stage import bounds_of
from curate.distill.scoring.calibration import roc_auc
from curate.distill.scoring.discriminator import load, score
from curate.engine.base import InProcess
from curate.ledger.names import CALIBRATION, PURIFY_MODEL
from curate.pipeline.run import run
from curate.recipe.load import load_recipe
from curate.recipe.tier2 import Tier2
from curate.sql import literal

SHARES = (0.1, 0.3, 0.6, 0.9)
DOCUMENTS = 900
IN_CORPUS = 0.4  # share of mail and of good documents that corpora take from; the others are tested
SECTION = {"rounds": 1, "attacks": 100, "good": 2500, "max_false_drop": 0.02}
LACKING = ("legal", "source_code_docs")
PARTS = ("mail", "lingspam", "ocr", "web")
NAMES = ("mail", "lingspam", "OCR", "pages")
SPLITS = 20
Row = Sequence[object]
Cell = tuple[int, str, float]  # seed, make and share of the good text
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Measured:
    """The figures of one corpus, and for each domain the share of good documents that is dropped, by split."""

    figures: list[float]
    dropped: dict[str, npt.NDArray[np.float64]]


def main(corpora: Path, folder: Path, half: str, seeds: Sequence[int]) -> None:
    """Print the tables."""
    cells = [(seed, kind, share) for kind in ("like", "unlike") for share in SHARES for seed in seeds]
    found = {cell: measured(corpora, folder, cell, half) for cell in cells}
    tell(f"ROC-AUC of p_bad and drops at a bound of 2%: means of {len(seeds)} seeds, half `{half}`", mean_rows(found))
    tell(f"Held-out good documents: the share that is dropped, means of {SPLITS} splits each", bound_rows(found))
    tell("A domain that the reference lacks: the share of it that is dropped", lacking_rows(corpora, folder, seeds[0]))


def tell(title: str, rows: Iterable[Row]) -> None:
    """Print a table, the first row of which are its names."""
    print(f"\n{title}\n")
    for k, row in enumerate(rows):
        cells = [f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row]
        print(f"| {' | '.join(cells)} |", flush=True)
        if k == 0:
            print(f"|{'---|' * len(cells)}", flush=True)


def mean_rows(found: dict[Cell, Measured]) -> Iterable[Row]:
    """Means over seeds."""
    yield ("good text", "share", *NAMES, "bad share, estimated", "mined", "of them bad, estimated",
           "honest mail dropped", "main texts dropped", "CPU seconds")  # fmt: skip
    for kind, share in dict.fromkeys(cell[1:] for cell in found):
        figures = np.array([one.figures for cell, one in found.items() if cell[1:] == (kind, share)], float)
        yield kind, f"{share:.0%}", *(float(value) for value in np.nanmean(figures, axis=0))


def bound_rows(found: dict[Cell, Measured]) -> Iterable[Row]:
    """The share of good documents beyond a bound of 2 % by domain, which other ones of them set: means over splits.

    In bold where the mean over seeds is above the bound by more than its 95 % interval (normal).
    """
    names = list(next(iter(found.values())).dropped)
    yield "good text", "share", *names
    for kind, share in dict.fromkeys(cell[1:] for cell in found):
        cells = []
        for name in names:
            shares = np.concatenate([one.dropped[name] for cell, one in found.items() if cell[1:] == (kind, share)])
            low = shares.mean() - 1.96 * shares.std() / len(shares) ** 0.5
            text = f"{shares.mean():.1%}"
            cells.append(f"**{text}**" if low > SECTION["max_false_drop"] else text)
        yield kind, f"{share:.0%}", *cells


def measured(corpora: Path, folder: Path, cell: Cell, half: str) -> Measured:
    """The figures of one corpus."""
    seed, kind, share = cell
    output = folder / f"{seed}-{kind}-{share}"
    material = part_corpora(corpora, folder / f"material-{seed}", seed)
    corpus = mixture(material, corpora, cell)
    tested = pq.read_table(material.tested).filter(pa.array(is_tested(material, half)))
    assert set(corpus["text"].to_pylist()).isdisjoint(tested["text"].to_pylist())
    return figures_of(train(material, output, corpus, seed), tested)


def is_tested(material: Material, half: str) -> Flags:
    """Which of the tested documents no corpus takes, and are of a half."""
    table = pq.read_table(material.tested, columns=["part", "half", "place", "text"])
    part, place = np.array(table["part"].to_pylist(), object), table["place"].to_numpy()
    usable = np.array([len(text.encode()) >= 200 for text in table["text"].to_pylist()]) | (part != "good")
    apart = (place >= IN_CORPUS) | np.isin(part, ["web", "ocr"])
    return usable & apart & (np.array(table["half"].to_pylist(), object) == half)


def mixture(material: Material, corpora: Path, cell: Cell) -> pa.Table:
    """A corpus of DOCUMENTS documents (text, domain), a share of which is good."""
    seed, kind, share = cell
    pages = literal(str(corpora / "web/web_pages.parquet"))
    mined, tested = literal(str(material.mined)), literal(str(material.tested))
    labelled = f"SELECT DISTINCT m.text, m.domain, p.label FROM {mined} m JOIN {pages} p USING (text)"
    from_tested = f"SELECT text, domain FROM {tested} WHERE place < {IN_CORPUS}"
    sides = {
        "bad": f"SELECT text, domain FROM ({labelled}) WHERE label = 'noisy'",
        "good": f"{from_tested} AND part = 'good'",
        "unlike": f"SELECT text, domain FROM ({labelled}) WHERE label <> 'noisy' UNION ALL "
        f"{from_tested} AND part IN ('mail', 'lingspam') AND NOT bad",
    }
    sizes = {"bad": round(DOCUMENTS * (1 - share)), "good": round(DOCUMENTS * share), "unlike": 0}
    if kind == "unlike":
        sizes |= {"unlike": sizes["good"] // 2, "good": sizes["good"] - sizes["good"] // 2}
    drawn = [
        duckdb.sql(
            f"""FROM ({sql}) WHERE strlen(text) BETWEEN 200 AND 100_000
            ORDER BY md5({literal(str(seed))} || text) LIMIT {sizes[name]}"""
        ).to_arrow_table()
        for name, sql in sides.items()
    ]
    return pa.concat_tables(drawn)


def train(material: Material, output: Path, corpus: pa.Table, seed: int) -> Path:
    """A run that trains on a corpus."""
    output.mkdir(parents=True, exist_ok=True)
    pq.write_table(corpus, output / "corpus.parquet")
    recipe = {
        "name": "mixture",
        "seed": seed,
        "output": str(output / "run"),
        "input": {"paths": [str(output / "corpus.parquet")], "strata": ["domain"]},
        "reference": [str(path) for path in sorted(material.reference.glob("*.parquet"))],
        "dedup": {"exact": False},
        "tier2": SECTION,
        "allow_empty": True,
    }
    (output / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    if not (output / "cpu_seconds.txt").exists():
        started = time.process_time()
        run(load_recipe(output / "recipe.yaml", ()), InProcess(), threads=1, quiet=True)
        (output / "cpu_seconds.txt").write_text(str(time.process_time() - started))
    return output / "run"


def figures_of(trained: Path, tested: pa.Table) -> Measured:
    """AUC by task, what was mined, and what is dropped."""
    p_bad, beyond = judged(trained, tested)
    part, domain, bad = (np.array(tested[name].to_pylist(), object) for name in ("part", "domain", "bad"))
    aucs = [roc_auc(p_bad[part == name], bad[part == name].astype(bool)) for name in PARTS]
    facts = json.loads((trained / "manifest.json").read_text())["purify"]
    mining = facts.get("mining", {})
    harmless = np.array([value is False for value in bad])
    figures = [*aucs, mining.get("bad_share") or np.nan, facts["mined"], mining.get("selected_bad") or np.nan,
               *(float(beyond[harmless & (part == name)].mean()) for name in ("mail", "web")),
               float((trained.parent / "cpu_seconds.txt").read_text())]  # fmt: skip
    good = part == "good"
    held_out = pa.table({"p_bad": p_bad[good].astype(np.float32), "input.domain": domain[good]})
    return Measured(figures, dropped_by_split(pq.read_table(calibration_of(trained)), held_out))


def dropped_by_split(calibration: pa.Table, held_out: pa.Table) -> dict[str, npt.NDArray[np.float64]]:
    """Shares of good documents beyond the bounds of their domains, which as many others set as in the run.

    No model was trained on any of these, so those that set the bounds are drawn again from all of them SPLITS times.
    """
    names = ["p_bad", "input.domain"]
    pool = pa.concat_tables([calibration.select(names), held_out.cast(calibration.select(names).schema)])
    domains = sorted(set(held_out["input.domain"].to_pylist()))
    shares: dict[str, list[float]] = {name: [] for name in [*domains, "all"]}
    for split in range(SPLITS):
        order = np.random.default_rng(split).permutation(len(pool))
        setting, rest = (pool.take(pa.array(rows)) for rows in np.split(order, [len(calibration)]))
        beyond = beyond_bounds(rest["p_bad"].to_numpy(), rest["input.domain"].to_pylist(), setting)
        domain = np.array(rest["input.domain"].to_pylist(), object)
        for name in domains:
            shares[name].append(float(beyond[domain == name].mean()))
        shares["all"].append(float(beyond.mean()))
    return {name: np.array(values) for name, values in shares.items()}


def calibration_of(trained: Path) -> Path:
    """The file of good documents that set the bounds of a run."""
    [path] = (trained / "ledger" / "signals" / CALIBRATION).glob("*.parquet")
    return path


def beyond_bounds(p_bad: npt.NDArray[np.floating], domains: Sequence[str], calibration: pa.Table) -> Flags:
    """Which documents lie beyond the bound of 2 % of their domain, or of all for domains without one."""
    strata = ["input.domain"]
    bounds = bounds_of(calibration, Tier2(max_false_drop=SECTION["max_false_drop"]), strata).to_pylist()
    own = {row["input.domain"]: row["bound"] for row in bounds if row["depth"]}
    [rest] = [row["bound"] for row in bounds if not row["depth"]]
    return p_bad > np.array([own.get(name, rest) for name in domains])


def judged(trained: Path, tested: pa.Table) -> tuple[npt.NDArray[np.float64], Flags]:
    """p_bad of texts, and which of them the run would drop."""
    [model] = (trained / "models").glob(f"{PURIFY_MODEL}-*.npz")
    texts = tested["text"].combine_chunks().cast(pa.large_string())
    p_bad = np.nan_to_num(score(load(model), texts).to_numpy(zero_copy_only=False).astype(np.float64))
    return p_bad, beyond_bounds(p_bad, tested["domain"].to_pylist(), pq.read_table(calibration_of(trained)))


def lacking_rows(corpora: Path, folder: Path, seed: int) -> Iterable[Row]:
    """The share of a domain's good documents that is dropped where the reference lacks it."""
    yield "good text in the corpus", *LACKING
    for share in SHARES[1:]:
        cells = []
        for name in LACKING:
            material = part_corpora(corpora, folder / f"material-{seed}-without-{name}", seed, name)
            output = folder / f"{seed}-without-{name}-{share}"
            tested = pq.read_table(material.tested)
            tested = tested.filter(pa.array(np.array(tested["domain"].to_pylist(), object) == name))
            tested = tested.filter(pa.array(tested["place"].to_numpy() >= IN_CORPUS))
            corpus = mixture(material, corpora, (seed, "like", share))
            cells.append(f"{judged(train(material, output, corpus, seed), tested)[1].mean():.1%}")
        yield f"{share:.0%}", *cells


if __name__ == "__main__":
    place, *more = sys.argv[1:]
    with tempfile.TemporaryDirectory() as aside:
        half = more[1] if len(more) > 1 else "testing"
        seeds = [int(seed) for seed in more[2].split(",")] if len(more) > 2 else [1, 2, 3]
        main(Path(place), Path(more[0]) if more else Path(aside), half, seeds)
