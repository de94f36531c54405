"""What a file is for, by its name, its folders and its columns: the corpus, or something beside it."""

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

# Words of names, as they stand between marks and without digits at their ends; TEST is settled by the columns.
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

ASKED = frozenset({"question", "query", "problem", "goal", "ctx", "context", "premise", "sentence", "prompt", "stem"})
CHOSEN = frozenset({
    "choices", "options", "endings", "distractors", "answerkey", "answer_key", "correct_answer", "incorrect_answers",
    "mc1_targets", "mc2_targets", "canonical_solution", "sol1", "option1", "option_a", "gold",
})  # fmt: skip
ANSWERED = frozenset({"answer", "answers", "label", "target", "solution", "response"})


WHOLE = ("reference", "seeds")  # in the name of a file they stand alone: an api_reference.jsonl is a text like others


def _pattern(words: str) -> re.Pattern[str]:
    return re.compile(rf"(?:^|_)(?:{'|'.join(words.split())})(?=_|$)")


_NAMES = {role: _pattern(words) for role, words in NAMES.items()}
_TEST, _DOUBTFUL = _pattern(TEST), _pattern(DOUBTFUL)


def items_in(columns: Collection[str]) -> tuple[str, ...]:
    """The columns that make rows items of an evaluation set: a question with choices or a key; none in other files."""
    lower = {name.lower(): name for name in columns}
    asked, chosen = ASKED & lower.keys(), CHOSEN & lower.keys()
    return tuple(lower[name] for name in sorted(asked) + sorted(chosen)) if asked and chosen else ()


def answers_in(columns: Collection[str]) -> tuple[str, ...]:
    """The columns of questions with answers, which may be an evaluation set or something to train on."""
    lower = {name.lower(): name for name in columns}
    asked, answered = {"question", "problem", "query"} & lower.keys(), ANSWERED & lower.keys()
    return tuple(lower[name] for name in sorted(asked) + sorted(answered)) if asked and answered else ()


def role_of(parts: Sequence[str], columns: Collection[str]) -> tuple[Role | None, str]:
    """What a file is for and what tells so, by the names of its folders and its own, and its columns.

    The outermost name that says more than `data` decides. None with a reason is what cannot be told; `input` without
    one is a file of which nothing says otherwise.
    """
    items = items_in(columns)
    for k, part in enumerate(parts):
        is_file = k == len(parts) - 1
        told = f"{'file name' if is_file else 'folder'} {part}"
        name = words_of(part.split(".")[0] if is_file else part)
        if _TEST.search(name):
            return ("evaluation", f"{told}, columns {', '.join(items)}") if items else ("heldout", told)
        for role in ("evaluation", "heldout", "reference", "seeds"):
            if (_NAMES[role].fullmatch if role in WHOLE and is_file else _NAMES[role].search)(name):
                return role, told
        if _DOUBTFUL.search(name):
            return None, f"{told} does not tell what it is for"
    if items:
        return "evaluation", f"columns {', '.join(items)}"
    answers = answers_in(columns)
    if answers and not {"text", "content"} & set(columns):
        return None, f"columns {', '.join(answers)}: an evaluation set, or something to train on"
    named = next((part for part in parts[:-1] if _NAMES["input"].search(words_of(part))), None)
    return "input", f"folder {named}" if named else ""


def words_of(name: str) -> str:
    """The words of a name, as in held_out for Held-Out-2; names with the same words have the same role."""
    words = (re.sub(r"\d+$", "", word) for word in re.findall(r"[^\W_]+", name.lower()))
    return "_".join(word for word in words if word)
