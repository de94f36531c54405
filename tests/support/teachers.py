"""Requests to real models, and teachers opened for them."""

import json
import urllib.request

from support.corpora import PROSE

from curate.distill.teacher.open import open_teacher
from curate.distill.teacher.protocol import Request, Sampling
from curate.progress import unwritten_log
from curate.recipe.teacher import Teacher as Section

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def opened(folder, **kind):
    return open_teacher(Section.model_validate(kind), folder, unwritten_log(quiet=False))


def chat(text, *sampling, **fields):
    return Request((("user", text),), Sampling(*sampling, **fields))


def successes(url):
    """Requests that the server has answered since it started."""
    with urllib.request.urlopen(f"{url}/metrics") as response:
        lines = response.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:request_success_total"))


LIMITED = [
    chat("Is the sea blue?", 8, choices=("yes", "no")),
    chat("Say a year.", 8, regex="(1|2)[0-9]{3}"),
    chat("Is the sea blue?", 8, temperature=1.0, seed=5, choices=('say "yes"', "no\\maybe", "it depends")),
    chat("Describe a person as JSON.", 60, schema=json.dumps(PERSON)),
]


def check_limits(replies):
    choice, year, odd, *person = (reply.text for reply in replies)
    assert choice in ("yes", "no")
    assert year[0] in "12"
    assert len(year) == 4
    assert odd in LIMITED[2].sampling.choices
    assert [set(json.loads(one)) for one in person] in ([], [{"name", "age"}])


LABELS = [
    ("yes", "no"),
    ("0", "1", "2", "3", "4", "5"),
    ("certainly not", "it is so", "unbelievable"),  # several tokens each
    ("10", "12", "7"),
]
TO_CHOOSE = [
    chat("Is the sea blue?", 1),
    chat("How good is bread?", 1),
    Request("Question: is it so? Answer: ", Sampling(1)),
]
TO_SCORE = [PROSE, "The sea is blue.", "xkcd jfjf 00 ;;; qqq", "Ü 你好 \U0001f600", "a"]
