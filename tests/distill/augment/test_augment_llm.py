"""Texts that a real model writes after chunks, and grades: transformers with SmolLM2, on a CPU."""

import pyarrow as pa
import pytest
from support.language_models import smollm2
from support.llm_server import ON_CPU
from support.texts import documents

from curate.distill.augment.write import CANDIDATES, grade_faithfulness, write
from curate.distill.teacher.open import open_teacher
from curate.distill.text.chunks import chunks_of
from curate.progress import unwritten_log
from curate.recipe.teacher import Teacher

pytestmark = pytest.mark.llm

TEXT = "The Elbe is a river in Europe. It is 1,094 km long and flows into the North Sea at Cuxhaven."
OTHER = "Bread is made of flour, water, salt and yeast."


def test_a_small_model_writes_and_grades_and_is_asked_nothing_twice(tmp_path, monkeypatch):
    for name, value in ON_CPU.items():
        monkeypatch.setenv(name, value)
    section = Teacher.model_validate({"transformers": {"model": str(smollm2()), "max_model_len": 1024}})
    chunks = chunks_of(documents(TEXT), 200)
    tables = []
    for _ in range(2):
        with open_teacher(section, tmp_path, unwritten_log(quiet=True)) as teacher:
            forms = ("rewrite", "questions", "explanation")
            table, counts = write(teacher, chunks, "world", forms, None, 17, None)
            grades = grade_faithfulness(teacher, pa.array([TEXT, TEXT]), pa.array([TEXT, OTHER]), 17)
            tables.append((table, grades))
            answered = teacher.counts.get("answered", 0)
    assert tables[0][0].equals(tables[1][0])
    assert tables[0][1].equals(tables[1][1])
    assert answered == 0
    assert table.schema == CANDIDATES
    assert counts["asked"] == 3 == sum(counts[fate] for fate in counts if fate != "asked")
    assert counts["written"] == len(table) > 0
    assert set(table["model"].to_pylist()) == {"SmolLM2-135M-Instruct"}
    assert all(0 <= grade <= 5 for grade in grades.to_pylist())
