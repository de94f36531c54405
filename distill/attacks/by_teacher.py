"""Attacks that a teacher writes: prompts, what is asked, and which replies count."""

import re
from collections import Counter
from dataclasses import replace

import pyarrow as pa

from curate.distill.attacks.changes import Changed
from curate.distill.attacks.registry import ATTACKED, random_for
from curate.distill.attacks.replies import from_reply
from curate.distill.teacher.prompts import Prompt, all_prompts, render
from curate.distill.teacher.protocol import Request, Sampling, Teacher
from curate.distill.teacher.structured import ask_structured
from curate.recipe.tier2 import Tier2

CHARACTERS = 2  # of a token, at least: what a reply may be longer than its text is within that
ENDS = re.compile(r"(?<=[.!?])\s|\n")


def prompts_of(section: Tier2) -> list[Prompt]:
    """The prompts by which a teacher writes attacks, of the families that a recipe wants."""
    found = [prompt for prompt in all_prompts().values() if prompt.family]
    return [prompt for prompt in found if section.families is None or prompt.family in section.families]


def write_attacks(teacher: Teacher, good: pa.Table, section: Tier2, seed: int) -> tuple[pa.Table, Counter[str]]:
    """Have a teacher corrupt good texts (doc_id, text): for each prompt `section.written` of them, drawn by seed.

    Of a long text its beginning is sent, and is the original of what comes back. A reply that is no such text is asked
    for again (see `ask_structured`).

    Out: the columns of ATTACKED and `original`, and how many were `asked` for, `malformed`, `refused` and `dropped`.
    """
    asked = []
    for prompt in prompts_of(section):
        if prompt.family != section.held_out:
            order = random_for(seed, prompt.name, "").sample(range(len(good)), min(section.written, len(good)))
            asked += [(prompt, row) for row in order]
    ids, texts = good["doc_id"].to_pylist(), good["text"].to_pylist()
    originals = [beginning(texts[row], section.excerpt) for _, row in asked]
    seeds = [random_for(seed, prompt.name, ids[row]).getrandbits(31) for prompt, row in asked]
    requests = [
        Request(render(prompt, text=original), _drawn(prompt, original, own))
        for (prompt, _), original, own in zip(asked, originals, seeds, strict=True)
    ]

    def changed(k: int, reply: str) -> Changed:
        found = from_reply(originals[k], reply)
        if found is None:
            raise ValueError("not the text rewritten")
        return found

    found, counts = ask_structured(teacher, requests, changed)
    by = str(teacher.facts.get("model", teacher.model))  # of a folder its name alone
    names = ("start", "end", "original_start", "original_end")
    rows = [
        {"doc_id": ids[row], "attack": prompt.name, "family": prompt.family, "bad": prompt.kind == "negative",
         "text": made.text, "spans": [dict(zip(names, span, strict=True)) for span in made.spans], "by": by,
         "original": original}
        for (prompt, row), original, made in zip(asked, originals, found, strict=True) if made is not None
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, pa.schema([*ATTACKED, ("original", pa.large_string())])), Counter(counts)


def _drawn(prompt: Prompt, original: str, seed: int) -> Sampling:
    """How a reply is drawn: with room for a longer text, but not for more than that, as a model may hold little."""
    drawn = prompt.drawn(seed)
    return replace(drawn, max_tokens=min(drawn.max_tokens, 64 + len(original) // CHARACTERS))


def beginning(text: str, most: int) -> str:
    """As much of a text as is sent to a teacher: at most so many characters, up to the end of a sentence or line."""
    if len(text) <= most:
        return text
    ends = [found.start() for found in ENDS.finditer(text, 0, most)]
    return text[: ends[-1] if ends and ends[-1] > most // 2 else most]
