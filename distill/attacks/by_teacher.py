"""Attacks that a teacher writes: prompts, requests, and the check of replies."""

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

MIN_CHARACTERS_PER_TOKEN = 2  # so low that a reply may also be longer than its original
SENTENCE_END = re.compile(r"(?<=[.!?])\s|\n")


def prompts_of(section: Tier2) -> list[Prompt]:
    """The attack prompts of the families that a recipe enables."""
    prompts = [prompt for prompt in all_prompts().values() if prompt.family]
    return [prompt for prompt in prompts if section.families is None or prompt.family in section.families]


def write_attacks(teacher: Teacher, good: pa.Table, section: Tier2, seed: int) -> tuple[pa.Table, Counter[str]]:
    """Have a teacher corrupt `section.written` good texts (doc_id, text) per prompt, sampled by seed.

    A long text is truncated to its beginning, which becomes the original of the reply. Malformed replies are requested
    again (see `ask_structured`).

    Out: the columns of ATTACKED and `original`; counts of requests `asked`, `malformed`, `refused` and `dropped`.
    """
    jobs = []
    for prompt in prompts_of(section):
        if prompt.family != section.held_out:
            order = random_for(seed, prompt.name, "").sample(range(len(good)), min(section.written, len(good)))
            jobs += [(prompt, row) for row in order]
    ids, texts = good["doc_id"].to_pylist(), good["text"].to_pylist()
    originals = [beginning(texts[row], section.excerpt) for _, row in jobs]
    seeds = [random_for(seed, prompt.name, ids[row]).getrandbits(31) for prompt, row in jobs]
    requests = [
        Request(render(prompt, text=original), _sampling(prompt, original, reply_seed))
        for (prompt, _), original, reply_seed in zip(jobs, originals, seeds, strict=True)
    ]

    def changed(k: int, reply: str) -> Changed:
        rewrite = from_reply(originals[k], reply)
        if rewrite is None:
            raise ValueError("not the text rewritten")
        return rewrite

    results, counts = ask_structured(teacher, requests, changed)
    by = str(teacher.facts.get("model", teacher.model))  # a folder's name without its path
    rows = [
        {**_attack_row(ids[row], prompt, result), "by": by, "original": original}
        for (prompt, row), original, result in zip(jobs, originals, results, strict=True)
        if result is not None
    ]
    return pa.Table.from_pylist(rows, pa.schema([*ATTACKED, ("original", pa.large_string())])), Counter(counts)


def _attack_row(doc_id: str, prompt: Prompt, result: Changed) -> dict[str, object]:
    """The columns of ATTACKED that a result decides."""
    names = ("start", "end", "original_start", "original_end")
    return {
        "doc_id": doc_id,
        "attack": prompt.name,
        "family": prompt.family,
        "bad": prompt.kind == "negative",
        "text": result.text,
        "spans": [dict(zip(names, span, strict=True)) for span in result.spans],
    }


def _sampling(prompt: Prompt, original: str, seed: int) -> Sampling:
    """The prompt's sampling, with `max_tokens` limited by the original's length to fit small context windows."""
    sampling = prompt.sampling_with(seed)
    return replace(sampling, max_tokens=min(sampling.max_tokens, 64 + len(original) // MIN_CHARACTERS_PER_TOKEN))


def beginning(text: str, max_characters: int) -> str:
    """The beginning of a text that is sent to a teacher, cut at the end of a sentence or line where possible."""
    if len(text) <= max_characters:
        return text
    ends = [match.start() for match in SENTENCE_END.finditer(text, 0, max_characters)]
    return text[: ends[-1] if ends and ends[-1] > max_characters // 2 else max_characters]
