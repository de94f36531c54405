"""What a model writes for thin domains, and the run that judges it, by the rules, bands and models of real documents.

Candidates are a corpus like any other. The run over them has the recipe of the run that they are made for, its models
for `p_bad`, and what it keeps as documents that are not to be had again. What must hold of a written text beside its
original stands in columns `written_…` of the input, and in further rules.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.decide.bands import REASONS
from curate.decide.plan import Given, Plan
from curate.dedup.earlier_runs import Earlier
from curate.distill.augment.write import CANDIDATES, faithful, write
from curate.distill.lora.files import Facts
from curate.distill.lora.texts import base_of, domain_named, domain_texts, folder_of
from curate.distill.lora.train import train_adapter
from curate.distill.teacher.open import open_teacher
from curate.distill.teacher.protocol import OpenModel
from curate.distill.teacher.protocol import Teacher as Asked
from curate.distill.teacher.vllm.client import check_loads
from curate.distill.text.chunks import chunks_of
from curate.distill.text.passages import claims, is_latin
from curate.errors import InputError
from curate.filters.language.identify import language
from curate.ledger.ledger import Ledger
from curate.ledger.models import PURIFY, models_in_force
from curate.ledger.names import BANDS, JUDGED, SIGNATURES
from curate.ledger.run import connect
from curate.progress import Log
from curate.recipe.load import parse_recipe
from curate.recipe.recipe import Recipe
from curate.recipe.teacher import LocalModel, Teacher
from curate.recipe.tier3 import Adapter, Tier3
from curate.sql import literal, quoted
from curate.storage.files import committed

PREFIX = "written_"
CORPUS = "candidates.parquet"
LENGTHS = (0.2, 3.0)  # of a written text to its original
TOKEN_BYTES = 4  # of a token, more or less: how much is asked for hangs on it, and nothing else
LEAST_CLAIMS = 3  # sentences of a chunk
SURE = 0.5  # confidence of a language
PROMPT = ["prompt", "prompt_sha256"]
VERDICT = {
    "n_tokens": pa.int64(), "language": pa.string(), "perplexity": pa.float32(), "p_bad": pa.float32(),
    "stage": pa.string(), "reason": pa.string(), "reasons": pa.list_(pa.string()),
}  # fmt: skip
TOLD = ("base", "texts", "texts_xxh3_128", "seed", "settings", "steps", "bits_per_byte_before", "bits_per_byte_after",
        "weights_xxh3_128")  # fmt: skip
HASHES = ("model_hash", "adapter_hash")  # of weights, or a commit on the Hub; null where a server does not tell
FACTS = [*(name for name in CANDIDATES.names if name not in ("doc_id", "text")), *HASHES]


@dataclass(frozen=True)
class Written:
    """Candidates, in the order of their turn, and what is to be known of how they came about."""

    rows: pa.Table  # CANDIDATES
    facts: Mapping[str, Any] = field(default_factory=dict)


def writer_of(recipe: Recipe) -> Teacher | None:
    """The model that writes: the recipe's teacher, or the adapters' base, run here; None where there is none."""
    section = recipe.tier3
    assert section is not None
    if recipe.teacher != "rules":
        return recipe.teacher
    if section.adapter is None or section.adapter.base is None:
        return None
    return Teacher(transformers=LocalModel(model=section.adapter.base))


def with_adapters(teacher: Teacher, adapters: Mapping[str, str]) -> Teacher:
    """The same model with further adapters: folders by name."""
    [(kind, section)] = [(k, v) for k in ("transformers", "vllm", "vllm_engine") if (v := getattr(teacher, k))]
    return teacher.model_copy(update={kind: section.model_copy(update={"lora": {**section.lora, **adapters}})})


def write_candidates(
    recipe: Recipe, documents: pa.Table, caps: Mapping[str, int], run: Path, models: OpenModel, log: Log
) -> tuple[Written, Written | None]:
    """Have the documents (doc_id, domain, kept, n_tokens, text) of each domain written anew, up to its cap of tokens.

    `models` opens the teacher's model.

    The second is what the model writes without adapter, where that is to be compared.

    Errors: what a teacher fails with, and what cannot be trained.
    """
    section, teacher = recipe.tier3, writer_of(recipe)
    assert section is not None
    if teacher is None or not len(documents):
        return Written(_with_hashes(CANDIDATES.empty_table(), {})), None
    if section.adapter and teacher.vllm and teacher.vllm.urls:
        check_loads(teacher.vllm, section.adapter.rank)  # training takes a while
    trained = _trained(recipe, section.adapter, documents, run, log) if section.adapter else {}
    adapters = {name: str(folder_of(run, name)) for name in trained}
    with open_teacher(with_adapters(teacher, adapters), run / "teacher", log, models) as opened:
        asked = partial(_written, opened, documents, caps, section, recipe.seed)
        found, plain = asked(adapters), asked({}) if section.compare else None
        about = {
            "teacher": dict(opened.facts),
            "adapters": {name: {one: getattr(facts, one) for one in TOLD} for name, facts in trained.items()},
            "prompts": {one["prompt"]: one["prompt_sha256"] for one in found.rows.select(PROMPT).to_pylist()},
        }
    return Written(found.rows, {**found.facts, **about}), plain


def _trained(recipe: Recipe, section: Adapter, documents: pa.Table, run: Path, log: Log) -> dict[str, Facts]:
    """An adapter for each domain of the documents, trained on its seeds and on the documents that are kept."""
    found = {}
    for name in dict.fromkeys(documents["domain"].to_pylist()):
        own = documents.filter(pc.and_(pc.equal(documents["domain"], name), documents["kept"]))
        texts = domain_texts(recipe, domain_named(recipe, name), section.documents, own["text"].combine_chunks())
        folder = folder_of(run, name)
        found[name] = train_adapter(texts.training, texts.heldout, section, base_of(recipe), folder, recipe.seed, log)
    return found


def _written(
    teacher: Asked, documents: pa.Table, caps: Mapping[str, int], section: Tier3, seed: int, adapters: Mapping[str, str]
) -> Written:
    tables, counts = [CANDIDATES.empty_table()], {}
    for name in dict.fromkeys(documents["domain"].to_pylist()):
        counts[name] = Counter[str]()
        left = caps[name] * section.oversample  # tokens to ask for
        for kept in (False, True):  # first those that were dropped for their form
            own = documents.filter(pc.and_(pc.equal(documents["domain"], name), pc.equal(documents["kept"], kept)))
            chunks = _worth_asking(chunks_of(own.select(["doc_id", "text"]), section.chunk))
            each = (pc.sum(pc.binary_length(chunks["text"])).as_py() or 0) / TOKEN_BYTES / max(1, len(chunks))
            most = min(math.ceil(left / max(1.0, each)), len(chunks) * len(section.forms)) if left > 0 else 0
            if not most:
                continue
            left -= most * each
            found, counted = write(teacher, chunks, name, section.forms, name if name in adapters else None, seed, most)
            if section.faithful is not None:
                found = _with_grades(teacher, found, chunks, seed)
            tables.append(found)
            counts[name].update(counted)
    rows = _with_hashes(pa.concat_tables(tables), teacher.facts)
    return Written(rows, {"written": {name: dict(one) for name, one in counts.items()}})


def _with_hashes(found: pa.Table, facts: Mapping[str, Any]) -> pa.Table:
    """Candidates with what the model and the adapter are known by."""
    own = facts.get("content_xxh3_128") or facts.get("revision")
    adapters = dict(facts.get("adapters") or {})
    of = {"model_hash": [own] * len(found), "adapter_hash": [adapters.get(one) for one in found["adapter"].to_pylist()]}
    for name in HASHES:
        found = found.append_column(name, pa.array(of[name], pa.string()))
    return found


def _worth_asking(chunks: pa.Table) -> pa.Table:
    """The chunks that have sentences to write anew."""
    return chunks.filter(pa.array([says_something(text) for text in chunks["text"].to_pylist()], pa.bool_()))


def says_something(text: str) -> bool:
    """Whether a text has sentences to write anew, as menus and tables have not; other scripts than Latin go unasked."""
    return not is_latin(text) or len(claims(text)) >= LEAST_CLAIMS


def _with_grades(teacher: Asked, found: pa.Table, chunks: pa.Table, seed: int) -> pa.Table:
    """Candidates with a grade of how faithful each is to its original."""
    keys = list(zip(chunks["doc_id"].to_pylist(), chunks["chunk"].to_pylist(), strict=True))
    texts = dict(zip(keys, chunks["text"].to_pylist(), strict=True))
    of = zip(found["source_doc_id"].to_pylist(), found["chunk"].to_pylist(), strict=True)
    original = pa.array([texts[one] for one in of], pa.large_string())
    grades = faithful(teacher, original, found["text"].combine_chunks(), seed)
    return found.set_column(found.schema.get_field_index("faithful"), "faithful", grades)


def judge_candidates(
    recipe: Recipe, plan: Plan, ledger: Ledger, before: str, documents: pa.Table, originals: pa.Table,
    judge: Callable[[Recipe, Given], object], written: pa.Table, folder: Path,
) -> tuple[pa.Table, list[Path]]:  # fmt: skip
    """A row for each candidate with the verdict of the run over all of them, and the output shards of that run.

    `documents` have a doc_id, `originals` the columns of the input, row by row; `before` is the digest of the decisions
    of this run. `judge` carries out a recipe.
    """
    if not len(written):
        return _verdicts(written, None), []
    with committed(folder / CORPUS) as aside:
        pq.write_table(_as_corpus(recipe.input.text, written, documents, originals), aside)
    run = folder / JUDGED
    known = hashlib.sha256(before.encode()).hexdigest()  # the run has no manifest yet
    own = Earlier(0, recipe.name, ledger, dict(plan.groups), known)
    lacking = {group for group in (SIGNATURES, "hashes") if group not in plan.groups}  # nothing is compared by them
    others = [
        replace(run, number=k, groups={group: digest for group, digest in run.groups.items() if group not in lacking})
        for k, run in enumerate(plan.earlier, 1)
    ]
    pinned = models_in_force(PURIFY, ledger.run, ledger.parts) if recipe.tier2 else None
    judge(_recipe_of(recipe, ledger, folder / CORPUS, run), Given((own, *others), pinned))
    return _verdicts(written, run), sorted((run / "data").glob("*.parquet"))


def _as_corpus(text: str, written: pa.Table, documents: pa.Table, originals: pa.Table) -> pa.Table:
    """Candidates with the columns of the input that their originals have, and what is known of them."""
    places = pc.index_in(written["source_doc_id"].combine_chunks(), documents["doc_id"].combine_chunks())
    table = originals.take(places)
    k = table.schema.get_field_index(text)
    table = table.set_column(k, table.schema.field(k), written["text"].cast(table.schema.field(k).type))
    for name in ("doc_id", *FACTS):
        if PREFIX + name in table.schema.names:
            raise InputError(f"the input has a column {PREFIX + name!r}, which the third tier has too; rename it")
        table = table.append_column(PREFIX + name, written[name])
    told = language(documents["text"].combine_chunks())["language"]
    return table.append_column(f"{PREFIX}language", told.take(places))


def _recipe_of(recipe: Recipe, ledger: Ledger, candidates: Path, output: Path) -> Recipe:
    """The recipe that candidates are judged by."""
    section = recipe.tier3
    assert section is not None
    fields = recipe.model_dump(mode="json", by_alias=True)
    fields |= {"name": f"{recipe.name}-candidates", "output": str(output), "allow_empty": True, "exclude": [],
               "teacher": "rules", "tier3": None, "distill": None, "evaluate": None, "export": []}  # fmt: skip
    fields["input"] |= {"paths": [str(candidates)], "id": f"{PREFIX}doc_id"}
    fields["dedup"] |= {
        "exact": recipe.dedup.exact,
        "near": fields["dedup"]["near"] or {},
        "lines": None,
        "keep": "first",
        "against": [],
    }
    fields["tier1"]["rules"] = gates(section) + band_rules(ledger) + fields["tier1"]["rules"]
    if fields["tier1"]["perplexity"]:
        fields["tier1"]["perplexity"]["band"] = [0, 100]  # those of this run hold instead
    return parse_recipe(fields, "tier3")


def gates(section: Tier3) -> list[dict[str, str]]:
    """The rules that hold for written text alone."""
    low, high = section.copy_band
    conditions = {
        "new_facts": "n_new_facts > 0",
        "not_grounded": f"copy_share < {low}",
        "too_much_copied": f"copy_share > {high}",
        "too_short_for_original": f"length_ratio < {LENGTHS[0]}",
        "too_long_for_original": f"length_ratio > {LENGTHS[1]}",
        **({"unfaithful": f"faithful < {section.faithful}"} if section.faithful is not None else {}),
    }
    found = [{"reason": reason, "when": f"input.{PREFIX}{when}"} for reason, when in conditions.items()]
    other = f"language <> input.{PREFIX}language AND language_confidence >= {SURE}"
    return [*found, {"reason": "other_language_than_original", "when": other}]


def band_rules(ledger: Ledger) -> list[dict[str, str]]:
    """The bands of perplexity of a run as rules, the narrowest stratum of a document first."""
    rows = [row for part in ledger.of(BANDS) for row in pq.read_table(ledger.run / part.path).to_pylist()]
    rows.sort(key=lambda row: -row["depth"])
    found = []
    for reason, bound, sign in zip(REASONS, ("low", "high"), ("<", ">"), strict=True):
        cases = "".join(f" WHEN {_in_stratum(row)} THEN perplexity {sign} {row[bound]!r}" for row in rows)
        if cases:
            found.append({"reason": f"original_{reason}", "when": f"CASE{cases} ELSE false END"})
    return found


def _in_stratum(row: Mapping[str, Any]) -> str:
    """SQL that is true for the documents of a row of table `bands`."""
    names = [name for name in row if name not in ("depth", "documents", "low", "high")][: row["depth"]]
    return " AND ".join(f"{_column(name)} IS NOT DISTINCT FROM {_value(row[name])}" for name in names) or "true"


def _column(name: str) -> str:
    stem = name.removeprefix("input.")
    return f"input.{quoted(stem)}::VARCHAR" if stem != name else name


def _value(value: object) -> str:
    return "NULL" if value is None else literal(str(value))


def _verdicts(written: pa.Table, run: Path | None) -> pa.Table:
    """The candidates without their texts, with n_tokens, perplexity, p_bad, stage, reason and reasons of each."""
    facts = written.drop_columns(["text"])
    if run is None:
        for name, kind in VERDICT.items():
            facts = facts.append_column(name, pa.nulls(0, kind))
        return facts
    with connect(run) as connection:
        names = connection.sql("SELECT * FROM documents LIMIT 0").columns
        perplexity = "perplexity" if "perplexity" in names else "NULL"
        connection.register("facts", facts)
        return connection.sql(
            f"""SELECT facts.*, n_tokens, d.language, {perplexity}::FLOAT AS perplexity, p_bad, stage, reason, reasons
            FROM facts JOIN documents d USING (doc_id) ORDER BY d.row"""
        ).to_arrow_table()
