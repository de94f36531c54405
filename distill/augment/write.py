"""Texts that a teacher writes after chunks of real documents, with all that tells what they are worth.

Nothing is written out of nothing: each text is made after one chunk, and measured against it.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
from xxhash import xxh3_64_intdigest, xxh3_128_hexdigest

from curate.distill.attacks.registry import random_for
from curate.distill.purify.judge import expected
from curate.distill.teacher.prompts import Prompt, all_prompts, load, render
from curate.distill.teacher.protocol import Reply, Request, Sampling, Teacher
from curate.distill.text.facts import copy_share, kept_facts, length_ratio
from curate.errors import RecipeError
from curate.recipe.tier3 import Form

CANDIDATES = pa.schema(
    [
        ("doc_id", pa.string()),  # hex xxh3-128 of domain, source_doc_id, chunk, form, adapter and the run's seed
        ("text", pa.large_string()),
        ("domain", pa.string()),
        ("form", pa.string()),
        ("source_doc_id", pa.string()),
        ("chunk", pa.int32()),
        ("start", pa.int32()),  # of the chunk, in bytes of the source document
        ("end", pa.int32()),
        ("prompt", pa.string()),
        ("prompt_sha256", pa.string()),
        ("model", pa.string()),
        ("adapter", pa.string()),
        ("seed", pa.int64()),  # of the request
        ("temperature", pa.float64()),
        ("top_p", pa.float64()),
        ("n_facts", pa.int32()),
        ("facts_kept", pa.float32()),
        ("n_new_facts", pa.int32()),
        ("new_facts", pa.list_(pa.string())),
        ("copy_share", pa.float32()),
        ("length_ratio", pa.float32()),
        ("faithful", pa.float32()),  # null: not asked
    ]
)
FAITHFUL = "augment_faithful"  # the prompt
BYTES = 2  # of a token, at least: a reply may be about twice as long as its chunk
ROOM = 64  # tokens beyond that

THOUGHT = re.compile(r"\A\s*<think>.*?(?:</think>|\Z)", re.DOTALL)
RULE = re.compile(r"\A\s*={5,}[ \t]*\n|\n[ \t]*={5,}\s*\Z")  # the lines around the text in our prompts
MADE = (  # what a model calls its own reply
    r"(?:re-?written|rewriting|rewrite|revised|cleaned|version|explanation|explained|explains|text|prose|output"
    r"|questions and (?:their )?answers|question-answer pairs)"
)
LEAD = re.compile(
    r"(?:(?:sure|certainly|of course|absolutely|okay|ok|great|yes)\b[!,.]*\s+)?[#*_]*\s*(?:"
    rf"(?:here(?: is|'s|’s| are)|below (?:is|are)|the following (?:is|are))\b[^\n:]{{0,100}}\b{MADE}\b[^\n:]{{0,60}}"
    rf"|(?:the |my )?(?:re-?written |revised |cleaned |clean )?{MADE}(?: of the text)?)"
    r":[*_]*[ \t]*(?:\n+|(?=[\"“A-Z]))"
    r"|(?:sure|certainly|of course|absolutely)[!.][^\n]{0,120}\n+",
    re.IGNORECASE,
)
CLOSING = re.compile(
    r"\n\s*(?:let me know if\b|i hope (?:this|that)\b|feel free to\b|is there anything else\b"
    r"|\(?note: (?:i|this|the (?:above|text|rewritten))\b)[^\n]*\Z",
    re.IGNORECASE,
)
REFUSAL = re.compile(
    r"\W*(?:i(?:'m|’m| am) (?:sorry|unable|not able|an ai)|sorry\b|unfortunately, i\b|as an ai\b|as a language model"
    r"|i (?:cannot|can't|can’t|won't|will not) (?:help|assist|rewrite|write|answer|explain|provide|fulfil|complete)"
    r"|(?:please provide|you have(?:n't| not) provided|there is no text))",
    re.IGNORECASE,
)


def write(
    teacher: Teacher, chunks: pa.Table, domain: str, forms: Sequence[Form], adapter: str | None, seed: int,
    most_requests: int | None,
) -> tuple[pa.Table, Counter[str]]:  # fmt: skip
    """Have a teacher write chunks of documents (CHUNKS) anew, each in each form, or the first `most_requests` of these.

    The order is drawn by seed: each document once, then each a second time, and the forms in turn. With fewer requests
    the first ones are the same.

    Out:    CANDIDATES in the order of the requests; and how many were `asked` for, `refused` by the model, `cut_off` at
            their longest, `empty`, `no_text` (the model says that it will not), and `written`.
    Errors: RecipeError for a form without a prompt; what the teacher raises.
    """
    prompts = {form: prompt_of(form) for form in forms}
    ids, numbers, texts = (chunks[name].to_pylist() for name in ("doc_id", "chunk", "text"))
    asked = list(in_turn(ids, numbers, forms, seed))[:most_requests]
    seeds = [random_for(seed, f"augment {form}", f"{ids[row]} {numbers[row]}").getrandbits(31) for row, form in asked]
    requests = [
        Request(render(prompts[form], text=texts[row]), _drawn(prompts[form], texts[row], own), adapter)
        for (row, form), own in zip(asked, seeds, strict=True)
    ]
    counts = Counter(asked=len(asked), refused=0, cut_off=0, empty=0, no_text=0, written=0)
    rows: list[dict[str, Any]] = []
    own_adapter = _digest(teacher, adapter)
    for (row, form), request, reply in zip(asked, requests, teacher.generate(requests), strict=True):
        text, fate = _read(reply, texts[row])
        counts[fate] += 1
        if fate == "written":
            key = "\0".join((domain, ids[row], str(numbers[row]), form, own_adapter, str(seed)))
            rows.append({
                "doc_id": xxh3_128_hexdigest(key.encode()), "text": text, "domain": domain, "form": form,
                "source_doc_id": ids[row], "row": row, "prompt": prompts[form].name,
                "prompt_sha256": prompts[form].digest, "model": str(teacher.facts.get("model", teacher.model)),
                "adapter": adapter, "seed": request.sampling.seed, "temperature": request.sampling.temperature,
                "top_p": request.sampling.top_p,
            })  # fmt: skip
    return _measured(rows, chunks), counts


def prompt_of(form: Form) -> Prompt:
    """The prompt that has a text written in a form.

    Errors: RecipeError where there is none.
    """
    for prompt in all_prompts().values():
        if prompt.form == form:
            return prompt
    raise RecipeError(f"tier3.forms: no prompt writes {form!r}")


def in_turn(ids: Sequence[str], numbers: Sequence[int], forms: Sequence[Form], seed: int) -> Iterator[tuple[int, Form]]:
    """Every row of chunks in every form, in an order by seed in which documents and forms come evenly.

    Each document has its turn, with its next chunk, in that form of those left for it which was used least so far.
    """
    rows_of: dict[str, list[int]] = {}
    for row in sorted(range(len(ids)), key=lambda row: (_hash(seed, f"{ids[row]} {numbers[row]}"), numbers[row])):
        rows_of.setdefault(ids[row], []).append(row)
    turns = [rows_of[doc_id] for doc_id in sorted(rows_of, key=lambda one: (_hash(seed, one), one))]
    left = {row: list(forms) for row in range(len(ids))}
    used = Counter(dict.fromkeys(forms, 0))
    for turn in range(max(map(len, turns), default=0) * len(forms)):
        turns = [rows for rows in turns if turn < len(rows) * len(forms)]
        for rows in turns:
            row = rows[turn % len(rows)]
            form = min(left[row], key=lambda form: (used[form], forms.index(form)))
            left[row].remove(form)
            used[form] += 1
            yield row, form


def _hash(seed: int, key: str) -> int:
    return xxh3_64_intdigest(f"{seed} augment {key}".encode())


def _drawn(prompt: Prompt, text: str, seed: int) -> Sampling:
    """How a reply is drawn: with room for about twice the text, in any script."""
    drawn = prompt.sampling_with(seed)
    return replace(drawn, max_tokens=min(drawn.max_tokens, ROOM + len(text.encode()) // BYTES))


def _digest(teacher: Teacher, adapter: str | None) -> str:
    """What identifies an adapter: the hash of its weights, where the teacher knows it, else its name."""
    return "" if adapter is None else str(teacher.facts.get("adapters", {}).get(adapter, adapter))


def _read(reply: Reply | None, original: str) -> tuple[str, str]:
    """The text of a reply, and what becomes of it: `written`, or why it is dropped."""
    if reply is None:
        return "", "refused"
    if reply.finish_reason == "length":
        return "", "cut_off"
    text = cleaned(reply.text, original)
    if not text:
        return "", "empty"
    return text, "no_text" if REFUSAL.match(text) and not REFUSAL.match(original) else "written"


def cleaned(reply: str, original: str) -> str:
    """A reply without what is no part of the text: thoughts, an introduction, a fence or quotation marks around all.

    What the original begins with, or ends with, is left.
    """
    text = THOUGHT.sub("", reply, 1).strip()
    if not LEAD.match(original.lstrip()):
        text = LEAD.sub("", text, 1).strip() if LEAD.match(text) else text
    for fence in ("```", "~~~"):
        inside = text.removeprefix(fence).removesuffix(fence)
        around = text.startswith(fence) and text.endswith(fence) and "\n" in text and fence not in inside
        if around and not original.lstrip().startswith(fence):
            text = text.partition("\n")[2].removesuffix(fence).strip()
    if "=====" not in original:
        text = RULE.sub("", RULE.sub("", text)).strip()
    for opening, closing in (('"', '"'), ("“", "”")):
        inner = text[1:-1]
        around = len(text) > 1 and text[0] == opening and text[-1] == closing and not {opening, closing} & set(inner)
        if around and not original.lstrip().startswith(opening):
            text = inner.strip()
    if not CLOSING.search(original):
        text = CLOSING.sub("", text).strip()
    return text


def _measured(rows: Sequence[dict[str, Any]], chunks: pa.Table) -> pa.Table:
    """Written texts as CANDIDATES, measured against the chunks that they were written after."""
    names = [name for name in CANDIDATES.names if rows and name in rows[0]]
    columns = {name: pa.array([row[name] for row in rows], CANDIDATES.field(name).type) for name in names}
    source = chunks.take(pa.array([row["row"] for row in rows], pa.int64()))
    columns |= {name: source[name].combine_chunks() for name in ("chunk", "start", "end")}
    original, written = source["text"].combine_chunks(), columns.get("text", pa.array([], pa.large_string()))
    columns |= kept_facts(original, written)
    columns |= {"copy_share": copy_share(original, written), "length_ratio": length_ratio(original, written)}
    empty = {name: pa.nulls(len(rows), CANDIDATES.field(name).type) for name in CANDIDATES.names if name not in columns}
    return pa.table({name: (columns | empty)[name] for name in CANDIDATES.names}).cast(CANDIDATES)


def faithful(teacher: Teacher, original: pa.Array, written: pa.Array, seed: int) -> pa.Array:
    """How faithful texts are to their originals, by a teacher: from 0 to 5, the expected value over its labels.

    Null where the teacher refuses, or a text is null (float32).
    """
    prompt = load(FAITHFUL)
    values = {label: float(label) for label in prompt.choices or ()}
    pairs = list(zip(original.to_pylist(), written.to_pylist(), strict=True))
    asked = [k for k, pair in enumerate(pairs) if None not in pair]
    requests = [
        Request(render(prompt, original=pairs[k][0], text=pairs[k][1]), prompt.sampling_with(seed)) for k in asked
    ]
    grades: list[float | None] = [None] * len(pairs)
    for k, answer in zip(asked, teacher.choose(requests, list(values)) if asked else [], strict=True):
        grades[k] = None if answer is None else expected(answer, values)
    return pa.array(grades, pa.float32())
