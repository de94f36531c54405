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
from collections.abc import Iterable, Sequence
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
Row = Sequence[object]
Flags = npt.NDArray[np.bool_]


def main(corpora: Path, folder: Path, half: str, seeds: Sequence[int]) -> None:
    """Print the tables."""
    rows = [
        (kind, share, *measured(corpora, folder, (seed, kind, share), half))
        for kind in ("like", "unlike")
        for share in SHARES
        for seed in seeds
    ]
    tell(f"ROC-AUC of p_bad and drops at a bound of 2%: means of {len(seeds)} seeds, half `{half}`", mean_rows(rows))
    tell("A domain that the reference lacks: the share of it that is dropped", lacking_rows(corpora, folder, seeds[0]))


def tell(title: str, rows: Iterable[Row]) -> None:
    """Print a table, the first row of which are its names."""
    print(f"\n{title}\n")
    for k, row in enumerate(rows):
        cells = [f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row]
        print(f"| {' | '.join(cells)} |", flush=True)
        if k == 0:
            print(f"|{'---|' * len(cells)}", flush=True)


def mean_rows(rows: Sequence[tuple[str, float, list[float]]]) -> Iterable[Row]:
    """Means over seeds."""
    yield ("good text", "share", *NAMES, "bad share, estimated", "mined", "of them bad, estimated",
           "good dropped", "domain with most dropped", "honest mail dropped", "main texts dropped")  # fmt: skip
    for kind, share in dict.fromkeys((kind, share) for kind, share, _ in rows):
        figures = np.array([row[2] for row in rows if row[:2] == (kind, share)], float)
        yield kind, f"{share:.0%}", *(float(value) for value in figures.mean(axis=0))


def measured(corpora: Path, folder: Path, cell: tuple[int, str, float], half: str) -> tuple[list[float]]:
    """The figures of one corpus."""
    seed, kind, share = cell
    output = folder / f"{seed}-{kind}-{share}"
    told = output / f"{half}.json"
    if not told.exists():
        material = part_corpora(corpora, folder / f"material-{seed}", seed)
        trained = train(material, output, mixture(material, corpora, cell), seed)
        tested = pq.read_table(material.tested).filter(pa.array(is_tested(material, half)))
        told.write_text(json.dumps(figures_of(trained, tested)))
    return (json.loads(told.read_text()),)


def is_tested(material: Material, half: str) -> Flags:
    """Which of the tested documents no corpus takes, and are of a half."""
    table = pq.read_table(material.tested, columns=["part", "half", "place", "text"])
    part, place = np.array(table["part"].to_pylist(), object), table["place"].to_numpy()
    usable = np.array([len(text.encode()) >= 200 for text in table["text"].to_pylist()]) | (part != "good")
    apart = (place >= IN_CORPUS) | np.isin(part, ["web", "ocr"])
    return usable & apart & (np.array(table["half"].to_pylist(), object) == half)


def mixture(material: Material, corpora: Path, cell: tuple[int, str, float]) -> pa.Table:
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
    run(load_recipe(output / "recipe.yaml", ()), InProcess(), threads=1, quiet=True)
    return output / "run"


def figures_of(trained: Path, tested: pa.Table) -> list[float]:
    """AUC by task, what was mined, and what is dropped."""
    p_bad, beyond = judged(trained, tested)
    part, domain, bad = (np.array(tested[name].to_pylist(), object) for name in ("part", "domain", "bad"))
    aucs = [roc_auc(p_bad[part == name], bad[part == name].astype(bool)) for name in PARTS]
    facts = json.loads((trained / "manifest.json").read_text())["purify"]
    mining = facts.get("mining", {})
    good = part == "good"
    by_domain = [beyond[good & (domain == name)] for name in sorted(set(domain[good]))]
    honest = (part == "mail") & (bad == False)  # noqa: E712 - of objects
    main_text = (part == "web") & (bad == False)  # noqa: E712
    return [*aucs, mining.get("bad_share") or np.nan, facts["mined"], mining.get("selected_bad") or np.nan,
            float(beyond[good].mean()), max(float(rows.mean()) for rows in by_domain),
            float(beyond[honest].mean()), float(beyond[main_text].mean())]  # fmt: skip


def judged(trained: Path, tested: pa.Table) -> tuple[npt.NDArray[np.float64], Flags]:
    """p_bad of texts, and which lie beyond the bound of 2 % of their domain, or of all for domains without one."""
    [model] = (trained / "models").glob(f"{PURIFY_MODEL}-*.npz")
    [calibration] = (trained / "ledger" / "signals" / CALIBRATION).glob("*.parquet")
    texts = tested["text"].combine_chunks().cast(pa.large_string())
    p_bad = np.nan_to_num(score(load(model), texts).to_numpy(zero_copy_only=False).astype(np.float64))
    strata = ["input.domain"]
    bounds = bounds_of(pq.read_table(calibration), Tier2(max_false_drop=SECTION["max_false_drop"]), strata).to_pylist()
    own = {row["input.domain"]: row["bound"] for row in bounds if row["depth"]}
    [rest] = [row["bound"] for row in bounds if not row["depth"]]
    return p_bad, p_bad > np.array([own.get(name, rest) for name in tested["domain"].to_pylist()])


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
