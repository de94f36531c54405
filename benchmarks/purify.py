"""Measure what the second tier is worth: trained on some documents, asked about others of kinds that it never saw.

Usage: python benchmarks/purify.py [CORPORA [FOLDER [HALF]]]

CORPORA is a folder with the Parquet files that purify_corpus.py names, with columns `id`, `text` and `label`: by
default the one beside this project. FOLDER keeps the runs, so that a second call goes on from there. HALF is `testing`
or `tuning`, the half of the labelled documents that is looked at: settings may be chosen on the second only.

All is told by whole runs of `curate run`. One trains on half of the web pages and half of the reference; the others are
given its models by `models.pin`. Training and tested documents never meet. Times are CPU seconds of this process, those
of runs with all that a run does. It takes some ten minutes.
"""

import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from purify_arms import tell_arms
from purify_bounds import bound_rows, seed_rows, unseen_rows
from purify_corpus import Material, part_corpora
from timing import BATCH, least_of_five

from curate.distill.purify.stage import score_texts
from curate.distill.scoring.calibration import roc_auc, spearman
from curate.distill.scoring.discriminator import groups_of, load
from curate.engine.base import InProcess
from curate.ledger.names import PURIFY_MODEL
from curate.ledger.run import connect
from curate.pipeline.run import run
from curate.recipe.load import load_recipe

SEED = 1
DEFAULT = "4 rounds, the default"
MINED_ONLY: dict[str, Any] = {"families": [], "held_out": None, "rounds": 1}
TRIALS: dict[str, dict[str, Any]] = {
    "mined only": MINED_ONLY,
    "1 round": {"rounds": 1},
    DEFAULT: {},
    "4 rounds, no family held out": {"held_out": None},
}
PROTOTYPE = {  # trials of this method before it was built: other halves of the same files, single seeds
    "prototype: mined only, words": (0.751, 0.821, 0.838, 0.950),
    "prototype: mined only, words and looks": (0.744, 0.590, 0.981, 0.970),
    "prototype: mined and all attacks": (0.851, 0.636, 0.851, 0.938),
    "prototype: mined and only what fools, 3 rounds": (0.854, 0.786, 0.258, 0.928),
}
TASKS = {  # SQL for documents; which of them are bad stands in `bad`
    "mail": "part = 'mail'",
    "lingspam": "part = 'lingspam'",
    "OCR": "part = 'ocr'",
    "pages": "part = 'web'",
    "OCR against `clean`": "part = 'ocr' AND (bad OR label = 'clean')",
    "pages, `clean` alone": "part = 'web' AND label <> 'clean_auto'",
    "English pages": "part = 'web' AND language = 'en'",
}
KINDS = {
    "spam": "part IN ('mail', 'lingspam') AND bad",
    "other mail": "part IN ('mail', 'lingspam') AND NOT bad",
    "OCR, level 2 and 3": "part = 'ocr' AND bad",
    "OCR, level 0 and 1, clean": "part = 'ocr' AND NOT bad",
    "noisy pages": "part = 'web' AND bad",
    "clean pages, English": "part = 'web' AND NOT bad AND language = 'en'",
    "clean pages, others": "part = 'web' AND NOT bad AND language <> 'en'",
    "graded below 1": "grade < 1",
    "graded 2.5 and above": "grade >= 2.5",
}


def main(corpora: Path, folder: Path, half: str) -> None:
    """Print the tables."""
    material = part_corpora(corpora, folder / "material", SEED)
    trained, cost = {}, {}
    for k, (name, section) in enumerate(TRIALS.items()):
        started, told = time.process_time(), folder / f"trained-{k}" / "cpu_seconds.txt"
        trained[name] = train(material, folder / f"trained-{k}", section)
        if not told.exists():  # a second call finds the run finished
            told.write_text(str(time.process_time() - started))
        cost[name] = float(told.read_text())
    judged = {name: judge(material, folder / f"judged-{k}", trained[name]) for k, name in enumerate(trained)}
    tell("How well bad documents are told: ROC-AUC of p_bad", auc_rows(judged, half))
    tell("The share that a bound of 2 % drops, without any other filter", kind_rows(judged, half))
    for by in ("domain", "length_bucket"):
        tell(
            f"Held-out good documents: the share that is dropped, by {by}",
            bound_rows(judged[DEFAULT].parent, by, again),
        )
    tell("The same, means over runs with other seeds", seed_rows(corpora, folder, train, judge, again, MINED_ONLY))
    tell("A domain that the reference lacks: the share of it that a bound of 2 % drops",
         unseen_rows(corpora, folder, train, judge, {"mined only": MINED_ONLY, "1 round": {"rounds": 1}}))  # fmt: skip
    tell("What the rounds did", round_rows(trained[DEFAULT]))
    tell_arms(material, folder, trained[DEFAULT], half, carry_out, tell)
    tell("Cost", cost_rows(material, trained, cost))


def tell(title: str, rows: Iterable[Sequence[object]]) -> None:
    """Print a table, the first row of which are its names."""
    print(f"\n{title}\n")
    for k, row in enumerate(rows):
        cells = [f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row]
        print(f"| {' | '.join(cells)} |", flush=True)
        if k == 0:
            print(f"|{'---|' * len(cells)}", flush=True)


def carry_out(output: Path, inputs: Path, **fields: Any) -> Path:  # noqa: ANN401 - of a recipe
    """Run a recipe in this process; its run directory is returned."""
    output.mkdir(parents=True, exist_ok=True)
    path = output / "recipe.yaml"
    recipe = {"name": "purify", "seed": SEED, "output": str(output / "run"), "input": {"paths": [str(inputs)]}}
    path.write_text(yaml.safe_dump({**recipe, **fields}), "utf-8")
    return again(output)


def again(output: Path, *changes: str) -> Path:
    """Run the recipe of an output folder, with changes."""
    run(load_recipe(output / "recipe.yaml", changes), InProcess(), threads=1, quiet=True)
    return output / "run"


def train(material: Material, output: Path, section: dict[str, Any], seed: int = SEED) -> Path:
    """A run that trains. Its good documents know their domain, which changes nothing in the model."""
    inputs = {"paths": [str(material.mined)], "strata": ["domain"]}
    reference = [str(path) for path in sorted(material.reference.glob("*.parquet"))]
    fields = {"reference": reference, "tier2": section, "allow_empty": True, "dedup": {"exact": False}}
    return carry_out(output, material.mined, **fields, input=inputs, seed=seed)


def judge(material: Material, output: Path, trained: Path) -> Path:
    """A run that asks the models of another about all that is tested; the language is told, and drops nothing."""
    pin = {"pin": str(trained)}
    return carry_out(
        output, material.tested, models=pin, dedup={"exact": False}, tier1={"language": {"min_confidence": 0}}, tier2={}
    )


def auc_rows(judged: dict[str, Path], half: str) -> Iterable[Sequence[object]]:
    """ROC-AUC by task, and for graded documents also the rank correlation."""
    yield "trained on", *TASKS, "graded below 1.5 against 2.5 and above", "grades, Spearman"
    for name, directory in judged.items():
        found: list[float] = []
        with connect(directory) as connection:
            asked = "SELECT coalesce(p_bad, 0), {} FROM (SELECT input.*, p_bad, language FROM corpus) WHERE {}"
            for condition in TASKS.values():
                where = f"half = '{half}' AND {condition}"
                p_bad, bad = np.array(connection.execute(asked.format("bad", where)).fetchall(), np.float64).T
                found.append(roc_auc(p_bad, bad > 0))
            where = f"half = '{half}' AND part = 'edu'"
            p_bad, grade = np.array(connection.execute(asked.format("grade", where)).fetchall(), np.float64).T
        ends = (grade < 1.5) | (grade >= 2.5)
        yield name, *found, roc_auc(p_bad[ends], grade[ends] < 1.5), spearman(p_bad, grade)
    for name, figures in PROTOTYPE.items():
        yield name, *figures, "", "", "", "", ""


def kind_rows(judged: dict[str, Path], half: str) -> Iterable[Sequence[object]]:
    """The share of each kind of documents that is dropped."""
    with connect(judged[DEFAULT]) as connection:
        counted = connection.execute(kinds_sql("count(*)", half)).fetchall()
    yield "trained on", *(f"{name} ({count:,})" for name, count in zip(KINDS, counted[0], strict=True))
    for name, directory in judged.items():
        with connect(directory) as connection:
            [shares] = connection.execute(
                kinds_sql("avg((stage IS NOT DISTINCT FROM 'purify')::INTEGER)", half)
            ).fetchall()
        yield name, *(f"{share:.1%}" for share in shares)


def kinds_sql(what: str, half: str) -> str:
    """A query with a column for each kind."""
    columns = ", ".join(f"{what} FILTER ({condition})" for condition in KINDS.values())
    return f"SELECT {columns} FROM (SELECT input.*, stage, language FROM corpus) WHERE half = '{half}'"


def round_rows(trained: Path) -> Iterable[Sequence[object]]:
    """The first and the last round by family."""
    with connect(trained) as connection:
        [[last]] = connection.execute("SELECT max(round) FROM rounds").fetchall()
        rows = connection.execute(
            """SELECT family || if(any_value(bad), '', ' (still good)') || if(any_value(held_out), ' (held out)', '')
                || if(bool_or(trained) OR any_value(held_out), '', ' (not trained on)'),
                min_by(fool_rate, round) FILTER (made > 0), max_by(fool_rate, round) FILTER (made > 0),
                min_by(auc, round), max_by(auc, round) FILTER (round <= 1), max_by(auc, round),
                min_by(caught, round), max_by(caught, round) FILTER (round <= 1), max_by(caught, round)
            FROM rounds GROUP BY family ORDER BY any_value(bad) DESC, family"""
        ).fetchall()
    moments = ("before", "round 1", f"round {last}")
    yield ("family", "fool in round 1", f"in round {last}", *(f"AUC {m}" for m in moments),
           *(f"caught {m}" for m in moments))  # fmt: skip
    yield from (["" if cell is None else cell for cell in row] for row in rows)


def cost_rows(material: Material, trained: dict[str, Path], cost: dict[str, float]) -> Iterable[Sequence[object]]:
    """CPU seconds of runs that train, and speed of scoring."""
    yield "what", "CPU seconds", "MB per CPU second"
    good = sum(pq.read_table(path)["text"].nbytes for path in material.reference.glob("*.parquet"))
    size = (good + pq.read_table(material.mined)["text"].nbytes) / 1e6
    for name, seconds in cost.items():
        yield f"a run that trains, {size:.0f} MB: {name}", f"{seconds:.0f}", f"{size / seconds:.1f}"
    [path] = (trained[DEFAULT] / "models").glob(f"{PURIFY_MODEL}-*.npz")
    model = load(path)
    texts = pq.read_table(material.tested, columns=["text"])["text"].combine_chunks().cast(pa.large_string())
    texts = texts.take(pa.array(np.random.default_rng(SEED).permutation(len(texts))[: 2 * BATCH]))
    batches = [texts.slice(k, BATCH) for k in range(0, len(texts), BATCH)]

    def speed(least_told: float) -> str:
        def work() -> object:
            return [score_texts(some, groups_of(some), model, None, least_told) for some in batches]

        return f"{texts.nbytes / 1e6 / least_of_five(work):.0f}"

    yield "p_bad of documents", "", speed(2.0)
    yield "p_bad, attack and evidence of each document", "", speed(0.0)


if __name__ == "__main__":
    given = sys.argv[1:]
    place = Path(given[0]) if given else Path(__file__).parents[2] / "shared" / "corpora"
    with tempfile.TemporaryDirectory() as aside:
        main(place, Path(given[1]) if len(given) > 1 else Path(aside), given[2] if len(given) > 2 else "testing")
