"""A teacher as judge: grades of a sample, and a linear model that grades all other documents after its example.

A grade is the expected value over the labels of the rubric, weighted by the probabilities that the teacher gives them:
finer than the most probable label, and less biased (Liu et al. 2023, G-Eval, arXiv 2303.16634). Distilling grades to a
small model is what FineWeb-Edu did (Penedo et al. 2024, arXiv 2406.17557).
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curate.distill.attacks.by_teacher import beginning
from curate.distill.scoring.calibration import spearman
from curate.distill.scoring.discriminator import Model, groups_of
from curate.distill.scoring.grades import GRADES as SETTINGS
from curate.distill.scoring.grades import score_grades, train_grades
from curate.distill.teacher.prompts import Prompt, all_prompts, load, read, render
from curate.distill.teacher.protocol import Request, Teacher
from curate.errors import RecipeError
from curate.recipe.tier2 import Judge

NUMBER = re.compile(r"-?\d+(\.\d+)?")
GRADES = pa.schema(
    [
        ("doc_id", pa.string()),
        ("grade", pa.float64()),  # the teacher's: the expected value over its labels
        ("label", pa.string()),  # the most probable one
        ("probability", pa.float64()),  # of that label
        ("distilled", pa.float64()),  # by a linear model that has not seen the document
    ]
)


@dataclass(frozen=True)
class Graded:
    """A sample that was graded, and what was learnt of it."""

    model: Model
    grades: pa.Table  # GRADES
    facts: dict[str, Any]


def grade(teacher: Teacher, documents: pa.Table, section: Judge, excerpt: int, seed: int) -> Graded:
    """Have documents (doc_id, text) graded by their first characters, and learn to grade like that.

    Errors: RecipeError for a prompt that is no rubric, or where the teacher gives all the same grade.
    """
    prompt = rubric_of(section)
    values = {label: float(label) for label in prompt.choices or ()}
    texts = documents["text"].to_pylist()
    requests = [Request(render(prompt, text=beginning(text, excerpt)), prompt.sampling_with(seed)) for text in texts]
    answers = teacher.choose(requests, list(values))
    answered = [k for k, answer in enumerate(answers) if answer is not None]
    rows = [_row(answer, values) for answer in answers if answer is not None]
    grades = np.array([row["grade"] for row in rows])
    if len(rows) < 2 or np.ptp(grades) == 0:
        raise RecipeError(
            f"tier2.judge: {teacher.name} gave {len(rows)} of {len(texts)} documents a grade, "
            f"{'all the same; ' if rows else ''}use a larger model, or leave judge out"
        )
    some = documents["text"].combine_chunks().take(pa.array(answered)).cast(pa.large_string())
    groups = groups_of(some)
    model = train_grades(some, grades, groups, SETTINGS, seed)
    distilled = np.asarray(score_grades(model, some, groups).to_numpy(zero_copy_only=False), np.float64)
    ids = documents["doc_id"].to_pylist()
    table = pa.Table.from_pylist(
        [row | {"doc_id": ids[k], "distilled": float(d)} for row, k, d in zip(rows, answered, distilled, strict=True)],
        GRADES,
    )
    facts = {
        "prompt": prompt.name, "prompt_digest": prompt.digest, "asked": len(texts), "graded": len(rows),
        **agreement(grades, distilled),
    }  # fmt: skip
    return Graded(model, table, facts)


def rubric_of(section: Judge) -> Prompt:
    """The prompt by which documents are graded: a packaged one, or a file.

    Errors: RecipeError where there is none, where its labels are no numbers, or where it has other places than {text}.
    """
    is_file = section.prompt not in all_prompts() and Path(section.prompt).suffix in (".yaml", ".yml")
    prompt = read(Path(section.prompt)) if is_file else load(section.prompt)
    where = f"tier2.judge.prompt: {section.prompt}"
    if len(prompt.choices or ()) < 2 or not all(NUMBER.fullmatch(label) for label in prompt.choices or ()):
        raise RecipeError(f"{where}: its choices are no grades; numbers such as 0 to 5 are")
    if prompt.placeholders != {"text"}:
        raise RecipeError(f"{where}: has the places {sorted(prompt.placeholders)}, and only {{text}} is filled in")
    return prompt


def _row(answer: Mapping[str, float], values: Mapping[str, float]) -> dict[str, Any]:
    """A grade from the log-probabilities of labels."""
    label = max(answer, key=lambda name: (answer[name], name))
    total = sum(math.exp(chance) for chance in answer.values())
    return {"grade": expected(answer, values), "label": label, "probability": math.exp(answer[label]) / total}


def expected(answer: Mapping[str, float], values: Mapping[str, float]) -> float:
    """The expected value over labels with log-probabilities, which need not sum to 1."""
    chances = {name: math.exp(chance) for name, chance in answer.items()}
    return sum(chance * values[name] for name, chance in chances.items()) / sum(chances.values())


def agreement(grades: np.ndarray, distilled: np.ndarray) -> dict[str, float]:
    """How far grades of documents that a model has not seen agree with the teacher's.

    Spearman's rank correlation, Pearson's correlation, and the root of the mean squared error.
    """
    pearson = np.corrcoef(grades, distilled)[0, 1]
    error = math.sqrt(float(np.mean((grades - distilled) ** 2)))
    return {
        "spearman": round(spearman(grades, distilled), 6),
        "pearson": round(float(pearson), 6),
        "rmse": round(error, 6),
    }
