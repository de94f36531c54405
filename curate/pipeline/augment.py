"""Stage `augment` of a run: documents of thin domains, written anew by a model that knows the domain.

It stands between what the other stages leave and the budget. What it makes is kept below RUN/synthetic:

    domains.parquet     a row for each domain: how much there is of it, how far it is from the corpus, what is wanting
    candidates/         what was written, with all columns of the document that it was written from
    judged/             a run over the candidates, by the rules, bands, models and duplicates of this one
    synthetic.parquet   a row for each candidate, with the verdict on it
    augmented.json      what all that follows from, and how much of it the output may have
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.decide.plan import Given, Plan
from curate.digest import WRITING, code_of, digest_of
from curate.distill.augment.candidates import judge_candidates, write_candidates, writer_of
from curate.distill.augment.domains import (
    KEY,
    Domains,
    collect_rows,
    learn_domains,
    plan_rows,
    plan_telling,
    read_seeds,
    seeds_key,
    tell_domains,
)
from curate.distill.draws import mixed
from curate.distill.purify.mining import MOST_BYTES
from curate.distill.purify.training import code_of_models
from curate.distill.reference import MIN_BYTES
from curate.engine.base import Engine
from curate.filters import registry
from curate.filters.signals.hashes import hash_texts
from curate.ledger.augmented import Augmented, commit, finished, within_caps
from curate.ledger.ledger import Ledger
from curate.ledger.names import (
    AUGMENT,
    AUGMENTED,
    COMPARED,
    COMPARISON,
    DECISIONS,
    DOMAINS,
    LINE_EDITS,
    MEMBERS,
    ROWS,
    SYNTHETIC,
    WRITTEN_FOLDER,
)
from curate.ledger.parts import Part
from curate.pipeline.text_reader import reread
from curate.progress import Log
from curate.recipe.recipe import Recipe
from curate.recipe.tier3 import Tier3
from curate.sql import literal, open_database, read_parquet

MARGIN = 4  # times the tokens that are to be asked for
FIXED = 1_000_000  # steps of a number that is summed: sums of doubles depend on their order
SAMPLE = 20_000  # documents that the corpus is learnt from
DRAWN = pa.schema([("file_no", pa.int32()), ("row", pa.int64()), ("key", pa.uint64())])
NOT_FORM = ("refinedweb_urls",)  # sets whose rules look at addresses, not at form


def recipe_before(recipe: Recipe) -> Recipe:
    """The recipe of the stages before this one."""
    return recipe.model_copy(update={"tier3": None, "distill": None, "evaluate": None, "export": []})


def augment_key(recipe: Recipe, before: str) -> str:
    """The digest of all that the third tier follows from; `before` is that of the decisions which it stands upon."""
    section = recipe.tier3
    assert section is not None
    code = code_of(*WRITING)
    fields = section.model_dump(mode="json", exclude={"domains": {"__all__": {"seeds"}}})
    return digest_of([code, code_of_models(), before, fields, seeds_key(section), recipe.resolved()["teacher"]])


def augment(
    recipe: Recipe, plan: Plan, ledger: Ledger, before: str, key: str, engine: Engine, log: Log,
    judge: Callable[[Recipe, Given], object],
) -> Augmented:  # fmt: skip
    """Measure the domains, and write, judge and choose documents of those that are thin, where there is a model.

    The ledger holds the decisions of the stages before, whose digest is `before`; `judge` carries out a recipe.
    """
    section = recipe.tier3
    assert section is not None
    folder = ledger.run / WRITTEN_FOLDER
    (folder / AUGMENTED).unlink(missing_ok=True)
    seeds = read_seeds(section, recipe.input.text)
    domains = _learnt(recipe, plan, ledger, seeds, key, engine, log)
    cuts = ledger.of(LINE_EDITS)
    members = _members(plan, ledger, domains, cuts, engine, log)
    table = domain_rows(section, domains, ledger, members)
    _tell(table, log)
    commit(folder / DOMAINS, table)
    documents = _sources(section, ledger, domains, members, table, recipe.seed)
    if len(documents) and writer_of(recipe) is not None:
        rows = documents.select(["file_no", "row"]).sort_by([("file_no", "ascending"), ("row", "ascending")])
        tasks = plan_rows(plan.corpus(ledger.run), rows, plan.inputs, cuts)
        parts = reread(collect_rows, tasks, "reading", plan, ledger, engine, log)
        read = pa.concat_tables([pq.read_table(ledger.run / part.path) for part in parts])
        ledger.put(ROWS, [])
        originals = _in_order(read, documents)
        documents = documents.append_column("text", originals[plan.reading.text].cast(pa.large_string()))
    else:
        originals, documents = plan.inputs.empty_table(), documents.slice(0, 0)
    caps = caps_of(folder)
    written, plain = write_candidates(recipe, documents, caps, ledger.run, engine.open_model, log)
    asked = partial(judge_candidates, recipe, plan, ledger, before, documents, originals, judge)
    facts: dict[str, Any] = {
        "key": key, "caps": caps, "recipe": recipe.digest(), "least_importance": dict(domains.least),
        "members": len(members),
        "tables": [DOMAINS, SYNTHETIC, *([COMPARED] if plain is not None else [])], **written.facts,
    }  # fmt: skip
    if plain is not None:
        judged, _ = asked(plain.rows, folder / COMPARISON)
        commit(folder / COMPARED, within_caps(judged, caps))
    judged, shards = asked(written.rows, folder)
    facts["judged"] = [path.relative_to(folder).as_posix() for path in shards]
    return finished(folder, facts, judged)


def caps_of(folder: Path) -> dict[str, int]:
    """What may be written of each domain before a budget is filled, as table `domains` has it."""
    table = pq.read_table(folder / DOMAINS, columns=["domain", "cap"])
    return dict(zip(table["domain"].to_pylist(), table["cap"].to_pylist(), strict=True))


def caps_by_kept(
    recipe: Recipe, ledger: Ledger, found: Augmented, connection: duckdb.DuckDBPyConnection
) -> dict[str, int]:
    """What the output may have of each domain: no more than it has real text of it, nor than its share of the whole.

    Never more than before, so that caps that are taken again and again come to rest.
    """
    section = recipe.tier3
    assert section is not None
    decisions = decisions_sql(ledger)
    members = of_domain_sql(found.facts["least_importance"], ledger, ledger.of(MEMBERS))
    kept = f"{members} JOIN {decisions} USING (file_no, row) WHERE kept"
    real = dict(connection.execute(f"SELECT domain, sum(n_tokens)::BIGINT FROM {kept} GROUP BY 1").fetchall())
    [[whole]] = connection.execute(f"SELECT coalesce(sum(n_tokens), 0)::BIGINT FROM {decisions} WHERE kept").fetchall()
    caps = {name: min(cap, real.get(name, 0)) for name, cap in found.caps.items()}
    most = int(whole * section.max_share / (1 - section.max_share))
    total = sum(min(caps[name], found.tokens_of(name)) for name in caps)
    return caps if total <= most else {name: int(cap * most / total) for name, cap in caps.items()}


def _in_order(read: pa.Table, documents: pa.Table) -> pa.Table:
    """What was read of documents (KEY, …), without the key and in their order."""
    known = _place(read[KEY[0]], read[KEY[1]])
    order = np.argsort(known, kind="stable")
    places = order[np.searchsorted(known[order], _place(documents["file_no"], documents["row"]))]
    return read.take(pa.array(places)).drop_columns(list(KEY))


def _place(file_nos: pa.ChunkedArray, rows: pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    """The key of documents as one number."""
    high, low = (values.to_numpy().astype(np.uint64) for values in (file_nos, rows))
    return np.asarray(high << np.uint64(40) | low, np.uint64)


def _drawn(doc_ids: pa.ChunkedArray, seed: int, purpose: str) -> npt.NDArray[np.uint64]:
    """Keys that documents are drawn by: not by their file's number, which another one gets that takes its place."""
    return mixed(np.asarray(hash_texts(doc_ids.combine_chunks())[1]), seed, purpose)


def _learnt(recipe: Recipe, plan: Plan, ledger: Ledger, seeds: pa.Table, key: str, engine: Engine, log: Log) -> Domains:
    """What tells the domains from a sample of the corpus: documents of some length, kept or not, drawn by seed."""
    held = DRAWN.empty_table()
    for part in ledger.of(DECISIONS):
        table = pq.read_table(ledger.run / part.path, columns=["file_no", "row", "doc_id", "n_bytes", "stage"])
        size = table["n_bytes"].to_numpy()
        read = pc.fill_null(pc.not_equal(table["stage"], "input"), True).to_numpy()
        usable = read & (size >= MIN_BYTES) & (size <= MOST_BYTES)
        keys = _drawn(table["doc_id"], recipe.seed, "domains")
        some = table.select(["file_no", "row"]).append_column("key", pa.array(keys)).filter(pa.array(usable))
        held = pa.concat_tables([held, some]).sort_by("key").slice(0, SAMPLE)
    drawn = held.select(["file_no", "row"]).sort_by([("file_no", "ascending"), ("row", "ascending")])
    tasks = plan_rows(plan.corpus(ledger.run), drawn, _text_only(plan), ())
    parts = reread(collect_rows, tasks, "reading", plan, ledger, engine, log)
    texts = pa.concat_tables([pq.read_table(ledger.run / part.path) for part in parts])[plan.reading.text]
    ledger.put(ROWS, [])
    return learn_domains(seeds, texts.combine_chunks().cast(pa.large_string()), ledger.run / WRITTEN_FOLDER, key)


def _text_only(plan: Plan) -> pa.Schema:
    return pa.schema([plan.inputs.field(plan.reading.text)])


def _members(
    plan: Plan, ledger: Ledger, domains: Domains, cuts: Sequence[Part], engine: Engine, log: Log
) -> list[Part]:
    """The domains of all documents that are left, and of those that were dropped for their form."""
    reasons = form_reasons(plan)
    decisions = decisions_sql(ledger)
    with open_database() as connection:
        documents = connection.sql(
            f"""SELECT file_no, row FROM {decisions}
            WHERE n_bytes >= {MIN_BYTES} AND (kept OR {_for_form(reasons)}) ORDER BY file_no, row"""
        ).to_arrow_table()
    tasks = plan_telling(plan.corpus(ledger.run), documents, domains, cuts)
    parts = reread(tell_domains, tasks, "telling domains", plan, ledger, engine, log)
    ledger.put(MEMBERS, parts)
    return parts


def form_reasons(plan: Plan) -> list[str]:
    """The reasons of packaged rule sets that look at the form of a text: what drops a document that may say much."""
    sets = registry.rule_sets().keys() - set(NOT_FORM)
    return [found.reason for found in plan.rules if found.rule_set in sets]


def _for_form(reasons: Sequence[str]) -> str:
    """SQL that is true for a decision to drop a document for its form alone."""
    listed = ", ".join(map(literal, reasons))
    by_rules = f"stage = 'rules' AND list_has_all([{listed}]::VARCHAR[], reasons)"
    return f"(stage = 'bands' OR {by_rules})"


def domain_rows(section: Tier3, domains: Domains, ledger: Ledger, members: Sequence[Part]) -> pa.Table:
    """Table `domains`: seeds, what is left of each domain in the corpus, how far it is from it, and what is wanting."""
    decisions = decisions_sql(ledger)
    with open_database() as connection:
        [[whole]] = connection.execute(
            f"SELECT coalesce(sum(n_tokens), 0)::BIGINT FROM {decisions} WHERE kept"
        ).fetchall()
        found = {
            name: counts
            for name, *counts in connection.execute(
                f"""SELECT domain, count(*) FILTER (kept), coalesce(sum(n_tokens) FILTER (kept), 0)::BIGINT,
                    count(*) FILTER (NOT kept), coalesce(sum(n_tokens) FILTER (NOT kept), 0)::BIGINT,
                    coalesce(sum((importance * {FIXED})::BIGINT) FILTER (kept), 0)::BIGINT
                FROM {of_domain_sql(domains.least, ledger, members)} JOIN {decisions} USING (file_no, row)
                GROUP BY 1"""
            ).fetchall()
        }
    rows = []
    for domain in section.domains:
        documents, tokens, dropped, dropped_tokens, total = found.get(domain.name, (0, 0, 0, 0, 0))
        wanting = max(0, int(domain.target_tokens) - tokens)
        rows.append({
            "domain": domain.name, "seeds": domains.seeds[domain.name], "least_importance": domains.least[domain.name],
            "distance": domains.distance[domain.name], "documents": documents, "tokens": tokens,
            "share": tokens / max(1, whole), "mean_importance": total / FIXED / max(1, documents),
            "dropped_for_form": dropped, "dropped_tokens": dropped_tokens,
            "target_tokens": int(domain.target_tokens), "wanting": wanting, "cap": min(wanting, tokens),
        })  # fmt: skip
    return pa.Table.from_pylist(rows)


def decisions_sql(ledger: Ledger) -> str:
    """SQL for the decisions, without what the budget knows of domains."""
    parts = read_parquet(ledger.run / part.path for part in ledger.of(DECISIONS))
    return f"(SELECT file_no, row, doc_id, kept, stage, reasons, n_bytes, n_tokens FROM {parts})"


def of_domain_sql(least: Mapping[str, float], ledger: Ledger, members: Sequence[Part]) -> str:
    """SQL for the documents that are of a domain: file_no, row, domain, importance."""
    if not members:
        return "(SELECT 0 AS file_no, 0::BIGINT AS row, '' AS domain, 0::FLOAT AS importance WHERE false)"
    source = read_parquet(ledger.run / part.path for part in members)
    bounds = " OR ".join(f"(domain = {literal(name)} AND importance >= {bound!r})" for name, bound in least.items())
    return f"(SELECT file_no, row, domain::VARCHAR AS domain, importance FROM {source} WHERE {bounds})"


def _sources(
    section: Tier3, ledger: Ledger, domains: Domains, members: Sequence[Part], table: pa.Table, seed: int
) -> pa.Table:
    """The documents that candidates are written from: file_no, row, doc_id, domain, kept, in the order of their turn.

    Those dropped for their form come first, each kind in an order drawn by seed; of each domain and kind several times
    as many as may be needed, at one token asked for a token of the document in each form: some have no sentences, and
    of those dropped for their form perhaps none has.
    """
    decisions = decisions_sql(ledger)
    with open_database() as connection:
        found = connection.sql(
            f"""SELECT file_no, row, doc_id, domain, kept, n_tokens
            FROM {of_domain_sql(domains.least, ledger, members)} JOIN {decisions} USING (file_no, row)
            ORDER BY file_no, row"""
        ).to_arrow_table()
    order = np.lexsort((_drawn(found["doc_id"], seed, AUGMENT), found["kept"].to_numpy()))
    found = found.take(pa.array(order))
    chosen = []
    for row in table.to_pylist():
        for kept in (False, True):
            own = found.filter(pc.and_(pc.equal(found["domain"], row["domain"]), pc.equal(found["kept"], kept)))
            given = np.cumsum(own["n_tokens"].to_numpy()) * len(section.forms)
            enough = int(np.searchsorted(given, MARGIN * row["cap"] * section.oversample)) + 1
            chosen.append(own.slice(0, enough if row["cap"] else 0))
    return pa.concat_tables(chosen)


def _tell(table: pa.Table, log: Log) -> None:
    """Say what is wanting."""
    for row in table.to_pylist():
        log.say(
            f"domain {row['domain']}: {row['tokens']:,} tokens in {row['documents']:,} documents "
            f"({row['share']:.2%}), {row['wanting']:,} are wanting"
        )
