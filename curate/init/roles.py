"""The role of a file, by its name, folders and columns: the corpus, or a side file."""

import re
from collections.abc import Collection, Sequence
from typing import Literal, get_args

Role = Literal["input", "reference", "heldout", "evaluation", "seeds"]
ROLES: tuple[Role, ...] = get_args(Role)

FIELDS: dict[Role, str] = {
    "input": "input.paths",
    "reference": "reference",
    "heldout": "evaluate.heldout",
    "evaluation": "tier1.decontaminate.against",
    "seeds": "tier3.domains",
}

# Words in names, without punctuation and trailing digits. For TEST the columns decide.
NAMES: dict[Role, str] = {
    "evaluation": "evals? evaluations? bench benchmarks? agieval arc_challenge arc_easy bbh boolq commonsenseqa "
    "gpqa gsm8k hellaswag humaneval ifeval lambada mbpp mmlu mmlu_pro naturalquestions openbookqa piqa siqa "
    "squad triviaqa truthfulqa winogrande",
    "heldout": "heldout held_out holdout hold_out valid validation val dev",
    "reference": "references? gold golden",
    "seeds": "seeds? seed_texts?",
    "input": "data datasets? train training corpus corpora inputs? raw shards? pretrain pretraining",
}
TEST = "test tests testing testset test_set"
DOUBTFUL = "domains? backups? bak old tmp temp outputs? predictions? results? labels? metadata"

QUESTION_COLUMNS = frozenset({
    "question", "query", "problem", "goal", "ctx", "context", "premise", "sentence", "prompt", "stem",
})  # fmt: skip
CHOICE_COLUMNS = frozenset({
    "choices", "options", "endings", "distractors", "answerkey", "answer_key", "correct_answer", "incorrect_answers",
    "mc1_targets", "mc2_targets", "canonical_solution", "sol1", "option1", "option_a", "gold",
})  # fmt: skip
ANSWER_COLUMNS = frozenset({"answer", "answers", "label", "target", "solution", "response"})

# Roles whose words must be the whole name of a file: api_reference.jsonl is a text like others.
WHOLE_NAMES = ("reference", "seeds")


def _pattern(words: str) -> re.Pattern[str]:
    return re.compile(rf"(?:^|_)(?:{'|'.join(words.split())})(?=_|$)")


_NAMES = {role: _pattern(words) for role, words in NAMES.items()}
_TEST, _DOUBTFUL = _pattern(TEST), _pattern(DOUBTFUL)


def items_in(columns: Collection[str]) -> tuple[str, ...]:
    """The columns that mark an evaluation set: a question with choices or a key; empty for other files."""
    lower = {name.lower(): name for name in columns}
    questions, choices = QUESTION_COLUMNS & lower.keys(), CHOICE_COLUMNS & lower.keys()
    return tuple(lower[name] for name in sorted(questions) + sorted(choices)) if questions and choices else ()


def answers_in(columns: Collection[str]) -> tuple[str, ...]:
    """The columns of questions with answers, which may be an evaluation set or training data."""
    lower = {name.lower(): name for name in columns}
    questions, answers = {"question", "problem", "query"} & lower.keys(), ANSWER_COLUMNS & lower.keys()
    return tuple(lower[name] for name in sorted(questions) + sorted(answers)) if questions and answers else ()


def role_of(parts: Sequence[str], columns: Collection[str]) -> tuple[Role | None, str]:
    """The role of a file, and the reason, by its path and columns.

    The outermost name that says more than `data` decides. The role is None if it is unclear; it is `input` without a
    reason if nothing suggests another one.
    """
    items = items_in(columns)
    for k, part in enumerate(parts):
        is_file = k == len(parts) - 1
        reason = f"{'file name' if is_file else 'folder'} {part}"
        name = words_of(part.split(".")[0] if is_file else part)
        if _TEST.search(name):
            return ("evaluation", f"{reason}, columns {', '.join(items)}") if items else ("heldout", reason)
        for role in ("evaluation", "heldout", "reference", "seeds"):
            if (_NAMES[role].fullmatch if role in WHOLE_NAMES and is_file else _NAMES[role].search)(name):
                return role, reason
        if _DOUBTFUL.search(name):
            return None, f"{reason} does not tell what it is for"
    if items:
        return "evaluation", f"columns {', '.join(items)}"
    answers = answers_in(columns)
    if answers and not {"text", "content"} & set(columns):
        return None, f"columns {', '.join(answers)}: an evaluation set, or something to train on"
    named = next((part for part in parts[:-1] if _NAMES["input"].search(words_of(part))), None)
    return "input", f"folder {named}" if named else ""


def words_of(name: str) -> str:
    """The words of a name, such as held_out for Held-Out-2; names with the same words have the same role."""
    words = (re.sub(r"\d+$", "", word) for word in re.findall(r"[^\W_]+", name.lower()))
    return "_".join(word for word in words if word)
