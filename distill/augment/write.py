"""Have a teacher rewrite chunks of real documents, and measure how good the results are.

Every text is written from one chunk, and compared with it.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice

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
        ("faithful", pa.float32()),  # null: not requested
    ]
)
FAITHFUL = "augment_faithful"  # name of the prompt
MIN_BYTES_PER_TOKEN = 2  # so low that a reply may be about twice as long as its chunk
EXTRA_TOKENS = 64  # in addition

THOUGHT = re.compile(r"\A\s*<think>.*?(?:</think>|\Z)", re.DOTALL)
RULE = re.compile(r"\A\s*={5,}[ \t]*\n|\n[ \t]*={5,}\s*\Z")  # the lines around the text in prompts
NOUN = (  # how models call their replies
    r"(?:re-?written|rewriting|rewrite|revised|cleaned|version|explanation|explained|explains|text|prose|output"
    r"|questions and (?:their )?answers|question-answer pairs)"
)
LEAD = re.compile(
    r"(?:(?:sure|certainly|of course|absolutely|okay|ok|great|yes)\b[!,.]*\s+)?[#*_]*\s*(?:"
    rf"(?:here(?: is|'s|’s| are)|below (?:is|are)|the following (?:is|are))\b[^\n:]{{0,100}}\b{NOUN}\b[^\n:]{{0,60}}"
    rf"|(?:the |my )?(?:re-?written |revised |cleaned |clean )?{NOUN}(?: of the text)?)"
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


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenText:
    """A written text and how it was written. The fields are columns of CANDIDATES, but for `row`."""

    row: int  # of the chunk
    doc_id: str
    text: str
    domain: str
    form: Form
    source_doc_id: str
    prompt: str
    prompt_sha256: str
    model: str
    adapter: str | None
    seed: int
    temperature: float
    top_p: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A request to rewrite a chunk in a form."""

    row: int  # of the chunk
    source_doc_id: str
    chunk: int
    form: Form
    prompt: Prompt
    request: Request


def write(
    teacher: Teacher,
    chunks: pa.Table,
    domain: str,
    forms: Sequence[Form],
    adapter: str | None,
    seed: int,
    limit: int | None,
) -> tuple[pa.Table, Counter[str]]:
    """Have a teacher rewrite chunks of documents (CHUNKS), each in each form, with at most `limit` requests.

    The order is random by seed: one chunk of each document, then a second of each, and so on, with forms in turn. Fewer
    requests are a prefix of it.

    Out:    CANDIDATES in the order of the requests; counts of requests `asked` and their outcomes: `refused` by the
            model, `cut_off` at the maximum length, `empty`, `no_text` (the model declines in words), `written`.
    Errors: RecipeError for a form without a prompt; those of the teacher.
    """
    texts = chunks["text"].to_pylist()
    jobs = _jobs(chunks, forms, adapter, seed, limit)
    counts = Counter(asked=len(jobs), refused=0, cut_off=0, empty=0, no_text=0, written=0)
    written: list[WrittenText] = []
    adapter_digest = _adapter_digest(teacher, adapter)
    replies = teacher.generate([job.request for job in jobs])
    for job, reply in zip(jobs, replies, strict=True):
        text, outcome = _parse_reply(reply, texts[job.row])
        counts[outcome] += 1
        if outcome == "written":
            key = "\0".join((domain, job.source_doc_id, str(job.chunk), job.form, adapter_digest, str(seed)))
            doc_id = xxh3_128_hexdigest(key.encode())
            written.append(_written_text(doc_id, text, domain, job, teacher))
    return _with_measurements(written, chunks), counts


def _jobs(chunks: pa.Table, forms: Sequence[Form], adapter: str | None, seed: int, limit: int | None) -> list[Job]:
    """The requests to rewrite chunks, in order."""
    prompts = {form: prompt_of(form) for form in forms}
    ids, numbers, texts = (chunks[name].to_pylist() for name in ("doc_id", "chunk", "text"))
    jobs = []
    for row, form in islice(schedule(ids, numbers, forms, seed), limit):
        prompt, doc_id, number, text = prompts[form], ids[row], numbers[row], texts[row]
        request_seed = random_for(seed, f"augment {form}", f"{doc_id} {number}").getrandbits(31)
        request = Request(render(prompt, text=text), _sampling(prompt, text, request_seed), adapter)
        jobs.append(Job(row=row, source_doc_id=doc_id, chunk=number, form=form, prompt=prompt, request=request))
    return jobs


def _written_text(doc_id: str, text: str, domain: str, job: Job, teacher: Teacher) -> WrittenText:
    return WrittenText(
        row=job.row,
        doc_id=doc_id,
        text=text,
        domain=domain,
        form=job.form,
        source_doc_id=job.source_doc_id,
        prompt=job.prompt.name,
        prompt_sha256=job.prompt.digest,
        model=str(teacher.facts.get("model", teacher.model)),
        adapter=job.request.adapter,
        seed=job.request.sampling.seed,
        temperature=job.request.sampling.temperature,
        top_p=job.request.sampling.top_p,
    )


def prompt_of(form: Form) -> Prompt:
    """The prompt for a form.

    Errors: RecipeError where there is none.
    """
    for prompt in all_prompts().values():
        if prompt.form == form:
            return prompt
    raise RecipeError(f"tier3.forms: no prompt writes {form!r}")


def schedule(
    ids: Sequence[str], numbers: Sequence[int], forms: Sequence[Form], seed: int
) -> Iterator[tuple[int, Form]]:
    """Schedule every row of chunks in every form, in a random order by seed that balances documents and forms.

    Documents take turns, each with its next chunk, in the least used of the chunk's remaining forms.
    """
    rows_of: dict[str, list[int]] = {}
    for row in sorted(range(len(ids)), key=lambda row: (_hash(seed, f"{ids[row]} {numbers[row]}"), numbers[row])):
        rows_of.setdefault(ids[row], []).append(row)
    turns = [rows_of[doc_id] for doc_id in sorted(rows_of, key=lambda doc_id: (_hash(seed, doc_id), doc_id))]
    remaining_forms = {row: list(forms) for row in range(len(ids))}
    used = Counter(dict.fromkeys(forms, 0))
    for turn in range(max(map(len, turns), default=0) * len(forms)):
        turns = [rows for rows in turns if turn < len(rows) * len(forms)]
        for rows in turns:
            row = rows[turn % len(rows)]
            form = min(remaining_forms[row], key=lambda form: (used[form], forms.index(form)))
            remaining_forms[row].remove(form)
            used[form] += 1
            yield row, form


def _hash(seed: int, key: str) -> int:
    return xxh3_64_intdigest(f"{seed} augment {key}".encode())


def _sampling(prompt: Prompt, text: str, seed: int) -> Sampling:
    """The prompt's sampling, with `max_tokens` limited to about twice the text's, in any script."""
    sampling = prompt.sampling_with(seed)
    return replace(
        sampling, max_tokens=min(sampling.max_tokens, EXTRA_TOKENS + len(text.encode()) // MIN_BYTES_PER_TOKEN)
    )


def _adapter_digest(teacher: Teacher, adapter: str | None) -> str:
    """The hash of an adapter's weights, or its name where the teacher does not know the hash."""
    return "" if adapter is None else str(teacher.facts.get("adapters", {}).get(adapter, adapter))


def _parse_reply(reply: Reply | None, original: str) -> tuple[str, str]:
    """The text of a reply, and the outcome: `written`, or why the reply is dropped."""
    if reply is None:
        return "", "refused"
    if reply.finish_reason == "length":
        return "", "cut_off"
    text = clean_reply(reply.text, original)
    if not text:
        return "", "empty"
    return text, "no_text" if REFUSAL.match(text) and not REFUSAL.match(original) else "written"


def clean_reply(reply: str, original: str) -> str:
    """Strip everything around the text of a reply: thoughts, an introduction, closing remarks, fences, quotation marks.

    Keeps what the original begins or ends with, too.
    """
    text = THOUGHT.sub("", reply, 1).strip()
    if not LEAD.match(original.lstrip()):
        text = LEAD.sub("", text, 1).strip() if LEAD.match(text) else text
    for fence in ("```", "~~~"):
        inner = text.removeprefix(fence).removesuffix(fence)
        is_wrapped = text.startswith(fence) and text.endswith(fence) and "\n" in text and fence not in inner
        if is_wrapped and not original.lstrip().startswith(fence):
            text = text.partition("\n")[2].removesuffix(fence).strip()
    if "=====" not in original:
        text = RULE.sub("", RULE.sub("", text)).strip()
    for opening, closing in (('"', '"'), ("“", "”")):
        inner = text[1:-1]
        is_wrapped = (
            len(text) > 1 and text[0] == opening and text[-1] == closing and not {opening, closing} & set(inner)
        )
        if is_wrapped and not original.lstrip().startswith(opening):
            text = inner.strip()
    if not CLOSING.search(original):
        text = CLOSING.sub("", text).strip()
    return text


def _with_measurements(written: Sequence[WrittenText], chunks: pa.Table) -> pa.Table:
    """The written texts as CANDIDATES, compared with their chunks."""
    names = [field.name for field in fields(WrittenText) if field.name != "row"]
    columns = {name: pa.array([getattr(text, name) for text in written], CANDIDATES.field(name).type) for name in names}
    source = chunks.take(pa.array([text.row for text in written], pa.int64()))
    columns |= {name: source[name].combine_chunks() for name in ("chunk", "start", "end")}
    original, texts = source["text"].combine_chunks(), columns["text"]
    columns |= kept_facts(original, texts)
    columns |= {"copy_share": copy_share(original, texts), "length_ratio": length_ratio(original, texts)}
    columns["faithful"] = pa.nulls(len(written), pa.float32())
    return pa.table({name: columns[name] for name in CANDIDATES.names}).cast(CANDIDATES)


def grade_faithfulness(teacher: Teacher, original: pa.Array, written: pa.Array, seed: int) -> pa.Array:
    """Grade the faithfulness of texts to their originals by a teacher: from 0 to 5, the expected value over its labels.

    Null where the teacher refuses or a text is null (float32).
    """
    prompt = load(FAITHFUL)
    values = {label: float(label) for label in prompt.choices or ()}
    pairs = list(zip(original.to_pylist(), written.to_pylist(), strict=True))
    rows = [k for k, pair in enumerate(pairs) if None not in pair]
    requests = [
        Request(render(prompt, original=pairs[k][0], text=pairs[k][1]), prompt.sampling_with(seed)) for k in rows
    ]
    grades: list[float | None] = [None] * len(pairs)
    for k, answer in zip(rows, teacher.choose(requests, list(values)) if rows else [], strict=True):
        grades[k] = None if answer is None else expected(answer, values)
    return pa.array(grades, pa.float32())
