"""A teacher as judge: it grades a sample, and a linear model trained on these grades grades all other documents.

A grade is the expected value over the labels of the rubric under the teacher's probabilities: finer than the most
probable label, and less biased (Liu et al. 2023, G-Eval, arXiv 2303.16634). FineWeb-Edu distils grades to a small model
in the same way (Penedo et al. 2024, arXiv 2406.17557).
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

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
        ("grade", pa.float64()),  # of the teacher: the expected value over its labels
        ("label", pa.string()),  # the most probable one
        ("probability", pa.float64()),  # of that label
        ("distilled", pa.float64()),  # grade by a linear model that did not see the document
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeFacts:
    """How a sample was graded, and how well a linear model learned the grades."""

    prompt: str
    prompt_digest: str
    asked: int
    graded: int
    spearman: float
    pearson: float
    rmse: float


@dataclass(frozen=True)
class GradedSample:
    """The grades of a sample, and the model that was trained on them."""

    model: Model
    grades: pa.Table  # GRADES
    facts: JudgeFacts


class _Grade(TypedDict):
    grade: float
    label: str
    probability: float


def grade(teacher: Teacher, documents: pa.Table, section: Judge, excerpt: int, seed: int) -> GradedSample:
    """Have a teacher grade documents (doc_id, text) by their first characters, and train a model on the grades.

    Errors: RecipeError for a prompt that is no rubric, or where the teacher gives all the same grade.
    """
    prompt = rubric_of(section)
    values = {label: float(label) for label in prompt.choices or ()}
    texts = documents["text"].to_pylist()
    requests = [Request(render(prompt, text=beginning(text, excerpt)), prompt.sampling_with(seed)) for text in texts]
    answers = {k: answer for k, answer in enumerate(teacher.choose(requests, list(values))) if answer is not None}
    rows = [_grade_of(answer, values) for answer in answers.values()]
    grades = np.array([row["grade"] for row in rows])
    if len(rows) < 2 or np.ptp(grades) == 0:
        raise RecipeError(
            f"tier2.judge: {teacher.name} gave {len(rows)} of {len(texts)} documents a grade, "
            f"{'all the same; ' if rows else ''}use a larger model, or leave judge out"
        )
    graded = documents.take(pa.array(list(answers)))
    graded_texts = graded["text"].combine_chunks().cast(pa.large_string())
    groups = groups_of(graded_texts)
    model = train_grades(graded_texts, grades, groups, SETTINGS, seed)
    distilled = np.asarray(score_grades(model, graded_texts, groups).to_numpy(zero_copy_only=False), np.float64)
    columns = {"doc_id": graded["doc_id"], "distilled": distilled}
    columns |= {name: [row[name] for row in rows] for name in ("grade", "label", "probability")}
    facts = JudgeFacts(
        prompt=prompt.name,
        prompt_digest=prompt.digest,
        asked=len(texts),
        graded=len(rows),
        **agreement(grades, distilled),
    )
    table = pa.table({name: columns[name] for name in GRADES.names}).cast(GRADES)
    return GradedSample(model, table, facts)


def rubric_of(section: Judge) -> Prompt:
    """The prompt by which documents are graded: a packaged one or a file.

    Errors: RecipeError where it is missing, its labels are no numbers, or it has placeholders other than {text}.
    """
    is_file = section.prompt not in all_prompts() and Path(section.prompt).suffix in (".yaml", ".yml")
    prompt = read(Path(section.prompt)) if is_file else load(section.prompt)
    field = f"tier2.judge.prompt: {section.prompt}"
    if len(prompt.choices or ()) < 2 or not all(NUMBER.fullmatch(label) for label in prompt.choices or ()):
        raise RecipeError(f"{field}: its choices are no grades; numbers such as 0 to 5 are")
    if prompt.placeholders != {"text"}:
        raise RecipeError(f"{field}: has the places {sorted(prompt.placeholders)}, and only {{text}} is filled in")
    return prompt


def _grade_of(answer: Mapping[str, float], values: Mapping[str, float]) -> _Grade:
    """The grade of a document from the log-probabilities of labels."""
    label = max(answer, key=lambda name: (answer[name], name))
    total = sum(math.exp(log_p) for log_p in answer.values())
    return {"grade": expected(answer, values), "label": label, "probability": math.exp(answer[label]) / total}


def expected(answer: Mapping[str, float], values: Mapping[str, float]) -> float:
    """The expected value over labels with log-probabilities, whose probabilities need not sum to 1."""
    probabilities = {name: math.exp(log_p) for name, log_p in answer.items()}
    return sum(p * values[name] for name, p in probabilities.items()) / sum(probabilities.values())


def agreement(grades: np.ndarray, distilled: np.ndarray) -> dict[str, float]:
    """How well grades of documents that a model has not seen agree with the teacher's.

    Spearman's rank correlation, Pearson's correlation, and the root of the mean squared error.
    """
    pearson = np.corrcoef(grades, distilled)[0, 1]
    error = math.sqrt(float(np.mean((grades - distilled) ** 2)))
    return {
        "spearman": round(spearman(grades, distilled), 6),
        "pearson": round(float(pearson), 6),
        "rmse": round(error, 6),
    }
