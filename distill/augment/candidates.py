"""Have a model write candidates for thin domains, and judge them by the rules, bands and models for real documents.

Candidates are a corpus like any other. A separate run judges them. It has this run's recipe and models for `p_bad`, and
drops duplicates of documents that this run keeps. Comparisons with originals are columns `written_…` of its input, with
rules of their own.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.decide.bands import REASONS
from curate.decide.plan import Given, Plan
from curate.dedup.earlier_runs import Earlier
from curate.distill.augment.write import CANDIDATES, grade_faithfulness, write
from curate.distill.lora.files import AdapterFacts
from curate.distill.lora.texts import base_of, domain_texts, find_domain, folder_of
from curate.distill.lora.train import train_adapter
from curate.distill.teacher.open import open_teacher
from curate.distill.teacher.protocol import ModelFacts, OpenModel
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
TOKEN_BYTES = 4  # estimate; only the number of requests depends on it
MIN_CLAIMS = 3  # sentences in a chunk worth rewriting
MIN_CONFIDENCE = 0.5  # in the language of a candidate
PROMPT = ["prompt", "prompt_sha256"]
VERDICT = {
    "n_bytes": pa.int64(),
    "n_tokens": pa.int64(),
    "language": pa.string(),
    "perplexity": pa.float32(),
    "p_bad": pa.float32(),
    "stage": pa.string(),
    "reason": pa.string(),
    "reasons": pa.list_(pa.string()),
}
REPORTED = (  # facts of adapters in the manifest
    "base",
    "texts",
    "texts_xxh3_128",
    "seed",
    "settings",
    "steps",
    "bits_per_byte_before",
    "bits_per_byte_after",
    "weights_xxh3_128",
)
HASHES = ("model_hash", "adapter_hash")  # of weights, or a commit on the Hub; null where a server does not report them
FACTS = [*(name for name in CANDIDATES.names if name not in ("doc_id", "text")), *HASHES]


class WritingFacts(TypedDict, total=False):
    """How candidates were written, as in the manifest. Absent where nothing was."""

    written: dict[str, dict[str, int]]  # counts of outcomes by domain
    teacher: ModelFacts
    adapters: dict[str, dict[str, object]]  # REPORTED facts by domain
    prompts: dict[str, str]  # SHA-256 by name


@dataclass(frozen=True)
class Candidates:
    """Candidates, in the order of their requests, and facts about them for the manifest."""

    rows: pa.Table  # CANDIDATES
    facts: WritingFacts = field(default_factory=lambda: WritingFacts())


def writer_of(recipe: Recipe) -> Teacher | None:
    """The model that writes: the recipe's teacher, else the base of adapters in this process, else None."""
    section = recipe.tier3
    assert section is not None
    if recipe.teacher != "rules":
        return recipe.teacher
    if section.adapter is None or section.adapter.base is None:
        return None
    return Teacher(transformers=LocalModel(model=section.adapter.base))


def with_adapters(teacher: Teacher, adapters: Mapping[str, str]) -> Teacher:
    """The same model with additional adapters (folders by name)."""
    [(kind, section)] = [(k, v) for k in ("transformers", "vllm", "vllm_engine") if (v := getattr(teacher, k))]
    return teacher.model_copy(update={kind: section.model_copy(update={"lora": {**section.lora, **adapters}})})


def write_candidates(
    recipe: Recipe, documents: pa.Table, caps: Mapping[str, int], run: Path, models: OpenModel, log: Log
) -> tuple[Candidates, Candidates | None]:
    """Have a model rewrite documents (doc_id, domain, kept, n_tokens, text) of each domain, up to its cap of tokens.

    `models` opens the teacher's model. The second result is what the model writes without adapter, if the recipe
    compares the two.

    Errors: those of the teacher and of training adapters.
    """
    section, teacher = recipe.tier3, writer_of(recipe)
    assert section is not None
    if teacher is None or not len(documents):
        return Candidates(_with_hashes(CANDIDATES.empty_table(), {})), None
    if section.adapter and teacher.vllm and teacher.vllm.urls:
        check_loads(teacher.vllm, section.adapter.rank)  # before the training, which takes a while
    trained = _train_adapters(recipe, section.adapter, documents, run, log) if section.adapter else {}
    folders = {name: str(folder_of(run, name)) for name in trained}
    with open_teacher(with_adapters(teacher, folders), run / "teacher", log, models) as opened:
        write_with = partial(_write_domains, opened, documents, caps, section, recipe.seed)
        written, plain = write_with(set(trained)), write_with(set()) if section.compare else None
        facts: WritingFacts = {
            **written.facts,
            "teacher": opened.facts,
            "adapters": {
                name: {field: getattr(adapter, field) for field in REPORTED} for name, adapter in trained.items()
            },
            "prompts": {row["prompt"]: row["prompt_sha256"] for row in written.rows.select(PROMPT).to_pylist()},
        }
    return Candidates(written.rows, facts), plain


def _train_adapters(
    recipe: Recipe, section: Adapter, documents: pa.Table, run: Path, log: Log
) -> dict[str, AdapterFacts]:
    """Train an adapter for each domain of the documents, on its seeds and the documents that are kept."""
    adapters = {}
    for name in dict.fromkeys(documents["domain"].to_pylist()):
        kept = documents.filter(pc.and_(pc.equal(documents["domain"], name), documents["kept"]))
        texts = domain_texts(recipe, find_domain(recipe, name), section.documents, kept["text"].combine_chunks())
        adapters[name] = train_adapter(
            texts.training,
            texts.heldout,
            section=section,
            base=base_of(recipe),
            folder=folder_of(run, name),
            seed=recipe.seed,
            log=log,
        )
    return adapters


def _write_domains(
    teacher: Asked, documents: pa.Table, caps: Mapping[str, int], section: Tier3, seed: int, adapters: Set[str]
) -> Candidates:
    """Rewrite the documents of each domain, with its adapter if there is one."""
    tables, counts = [CANDIDATES.empty_table()], {}
    for name in dict.fromkeys(documents["domain"].to_pylist()):
        of_domain = documents.filter(pc.equal(documents["domain"], name))
        adapter = name if name in adapters else None
        written, counts[name] = _write_domain(teacher, of_domain, name, caps[name], section, seed, adapter=adapter)
        tables += written
    rows = _with_hashes(pa.concat_tables(tables), teacher.facts)
    return Candidates(rows, {"written": {name: dict(outcomes) for name, outcomes in counts.items()}})


def _write_domain(
    teacher: Asked, documents: pa.Table, name: str, cap: int, section: Tier3, seed: int, adapter: str | None
) -> tuple[list[pa.Table], Counter[str]]:
    """Rewrite documents of one domain: candidates, and counts of outcomes."""
    tables, counts = [], Counter[str]()
    tokens_left = cap * section.oversample
    for kept in (False, True):  # first those that were dropped for their form
        selected = documents.filter(pc.equal(documents["kept"], kept)).select(["doc_id", "text"])
        chunks = _with_content(chunks_of(selected, section.chunk))
        size = (pc.sum(pc.binary_length(chunks["text"])).as_py() or 0) / TOKEN_BYTES / max(1, len(chunks))
        most = len(chunks) * len(section.forms)
        n_requests = min(math.ceil(tokens_left / max(1.0, size)), most) if tokens_left > 0 else 0
        if not n_requests:
            continue
        tokens_left -= n_requests * size
        rows, outcomes = write(teacher, chunks, name, forms=section.forms, adapter=adapter, seed=seed, limit=n_requests)
        if section.faithful is not None:
            rows = _with_faithfulness(teacher, rows, chunks, seed)
        tables.append(rows)
        counts.update(outcomes)
    return tables, counts


def _with_hashes(candidates: pa.Table, facts: ModelFacts) -> pa.Table:
    """Add the columns HASHES to candidates."""
    model_hash = facts.get("content_xxh3_128") or facts.get("revision")
    adapters = facts.get("adapters") or {}
    model_hashes = [model_hash] * len(candidates)
    adapter_hashes = [adapters.get(name) for name in candidates["adapter"].to_pylist()]
    for name, hashes in zip(HASHES, (model_hashes, adapter_hashes), strict=True):
        candidates = candidates.append_column(name, pa.array(hashes, pa.string()))
    return candidates


def _with_content(chunks: pa.Table) -> pa.Table:
    """The chunks that are worth rewriting."""
    return chunks.filter(pa.array([has_content(text) for text in chunks["text"].to_pylist()], pa.bool_()))


def has_content(text: str) -> bool:
    """Whether a text has enough sentences to rewrite, unlike menus and tables. Always true for non-Latin scripts."""
    return not is_latin(text) or len(claims(text)) >= MIN_CLAIMS


def _with_faithfulness(teacher: Asked, candidates: pa.Table, chunks: pa.Table, seed: int) -> pa.Table:
    """Set the column `faithful` of candidates to the teacher's grades."""
    keys = list(zip(chunks["doc_id"].to_pylist(), chunks["chunk"].to_pylist(), strict=True))
    texts = dict(zip(keys, chunks["text"].to_pylist(), strict=True))
    sources = zip(candidates["source_doc_id"].to_pylist(), candidates["chunk"].to_pylist(), strict=True)
    original = pa.array([texts[source] for source in sources], pa.large_string())
    grades = grade_faithfulness(teacher, original, candidates["text"].combine_chunks(), seed)
    return candidates.set_column(candidates.schema.get_field_index("faithful"), "faithful", grades)


@dataclass(frozen=True, kw_only=True)
class CandidateJudge:
    """Judges candidates in a separate run, as documents of this run would be judged."""

    recipe: Recipe
    plan: Plan
    ledger: Ledger
    decisions: str  # digest of this run's decisions
    documents: pa.Table  # the originals: doc_id, text
    originals: pa.Table  # the same documents with the columns of the input
    run_recipe: Callable[[Recipe, Given], object]

    def judge(self, written: pa.Table, folder: Path) -> tuple[pa.Table, list[Path]]:
        """Judge candidates in a run below `folder`: a row with the verdict for each, and the run's output shards."""
        if not len(written):
            return _verdicts(written, None), []
        with committed(folder / CORPUS) as temporary:
            corpus = _as_corpus(self.recipe.input.text, written, self.documents, self.originals)
            pq.write_table(corpus, temporary)
        run = folder / JUDGED
        recipe = _recipe_of(self.recipe, self.ledger, folder / CORPUS, run)
        models = models_in_force(PURIFY, self.ledger.run, self.ledger.parts) if self.recipe.tier2 else None
        self.run_recipe(recipe, Given(self._earlier_runs(), models))
        return _verdicts(written, run), sorted((run / "data").glob("*.parquet"))

    def _earlier_runs(self) -> tuple[Earlier, ...]:
        """The runs whose documents candidates must not duplicate: this run, and the earlier runs of its recipe."""
        decisions_hash = hashlib.sha256(self.decisions.encode()).hexdigest()  # this run has no manifest yet
        this_run = Earlier(0, self.recipe.name, self.ledger, dict(self.plan.groups), decisions_hash)
        absent = {SIGNATURES, "hashes"} - self.plan.groups.keys()  # this recipe does not compare by them
        earlier = []
        for number, run in enumerate(self.plan.earlier, 1):
            groups = {group: digest for group, digest in run.groups.items() if group not in absent}
            earlier.append(replace(run, number=number, groups=groups))
        return (this_run, *earlier)


def _as_corpus(text: str, written: pa.Table, documents: pa.Table, originals: pa.Table) -> pa.Table:
    """Candidates as a corpus: with the columns of their originals' rows, and columns `written_…`."""
    indices = pc.index_in(written["source_doc_id"].combine_chunks(), documents["doc_id"].combine_chunks())
    table = originals.take(indices)
    k = table.schema.get_field_index(text)
    table = table.set_column(k, table.schema.field(k), written["text"].cast(table.schema.field(k).type))
    for name in ("doc_id", *FACTS):
        if PREFIX + name in table.schema.names:
            raise InputError(f"the input has a column {PREFIX + name!r}, which the third tier has too; rename it")
        table = table.append_column(PREFIX + name, written[name])
    languages = language(documents["text"].combine_chunks())["language"]
    return table.append_column(f"{PREFIX}language", languages.take(indices))


def _recipe_of(recipe: Recipe, ledger: Ledger, candidates: Path, output: Path) -> Recipe:
    """The recipe of the run that judges candidates."""
    section = recipe.tier3
    assert section is not None
    fields = recipe.model_dump(mode="json", by_alias=True)
    fields |= {
        "name": f"{recipe.name}-candidates",
        "output": str(output),
        "allow_empty": True,
        "exclude": [],
        "teacher": "rules",
        "tier3": None,
        "distill": None,
        "evaluate": None,
        "export": [],
    }
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
        fields["tier1"]["perplexity"]["band"] = [0, 100]  # band_rules apply the bands of this run
    return parse_recipe(fields, "tier3")


def gates(section: Tier3) -> list[dict[str, str]]:
    """The rules for written texts only."""
    low, high = section.copy_band
    conditions = {
        "new_facts": "n_new_facts > 0",
        "not_grounded": f"copy_share < {low}",
        "too_much_copied": f"copy_share > {high}",
        "too_short_for_original": f"length_ratio < {LENGTHS[0]}",
        "too_long_for_original": f"length_ratio > {LENGTHS[1]}",
        **({"unfaithful": f"faithful < {section.faithful}"} if section.faithful is not None else {}),
    }
    rules = [{"reason": reason, "when": f"input.{PREFIX}{when}"} for reason, when in conditions.items()]
    other_language = f"language <> input.{PREFIX}language AND language_confidence >= {MIN_CONFIDENCE}"
    return [*rules, {"reason": "other_language_than_original", "when": other_language}]


def band_rules(ledger: Ledger) -> list[dict[str, str]]:
    """The perplexity bands of a run as rules. The narrowest stratum of a document comes first."""
    rows = [row for part in ledger.of(BANDS) for row in pq.read_table(ledger.run / part.path).to_pylist()]
    rows.sort(key=lambda row: -row["depth"])
    rules = []
    for reason, bound, sign in zip(REASONS, ("low", "high"), ("<", ">"), strict=True):
        cases = "".join(f" WHEN {_in_stratum(row)} THEN perplexity {sign} {row[bound]!r}" for row in rows)
        if cases:
            rules.append({"reason": f"original_{reason}", "when": f"CASE{cases} ELSE false END"})
    return rules


def _in_stratum(row: Mapping[str, Any]) -> str:
    """SQL condition for the documents in the stratum of a row of table `bands`."""
    names = [name for name in row if name not in ("depth", "documents", "low", "high")][: row["depth"]]
    return " AND ".join(f"{_column(name)} IS NOT DISTINCT FROM {_value(row[name])}" for name in names) or "true"


def _column(name: str) -> str:
    stem = name.removeprefix("input.")
    return f"input.{quoted(stem)}::VARCHAR" if stem != name else name


def _value(value: object) -> str:
    return "NULL" if value is None else literal(str(value))


def _verdicts(written: pa.Table, run: Path | None) -> pa.Table:
    """The candidates without texts, with the columns VERDICT."""
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
            f"""SELECT facts.*, n_bytes, n_tokens, d.language, {perplexity}::FLOAT AS perplexity, p_bad,
                stage, reason, reasons
            FROM facts JOIN documents d USING (doc_id) ORDER BY d.row"""
        ).to_arrow_table()
