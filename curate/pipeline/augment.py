"""Stage `augment` of a run: a language model rewrites documents of thin domains.

It comes after the other stages and before the budget. Its results are in RUN/synthetic:

    domains.parquet     a row for each domain: its size, its distance from the corpus, its deficit
    candidates/         the written documents, with all columns of their originals
    judged/             a run over the candidates, with this run's rules, bands, models and duplicates
    synthetic.parquet   a row for each candidate, with its verdict
    augmented.json      what all of that depends on, and how much of it the output may have
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.decide.plan import Plan
from curate.digest import WRITING, code_of, digest_of
from curate.distill.augment.candidates import CandidateJudge, write_candidates, writer_of
from curate.distill.augment.domains import (
    KEY,
    Domains,
    classify_documents,
    collect_rows,
    learn_domains,
    plan_classification,
    plan_rows,
    read_seeds,
    seeds_key,
)
from curate.distill.draws import mixed
from curate.distill.purify.mining import MOST_BYTES
from curate.distill.purify.training import code_of_models
from curate.distill.reference import MIN_BYTES
from curate.filters import registry
from curate.filters.signals.hashes import hash_texts
from curate.ledger.augmented import Augmented, accept_within_caps, commit_accepted, commit_table
from curate.ledger.ledger import Ledger
from curate.ledger.names import (
    AUGMENT,
    AUGMENTED,
    COMPARISON,
    COMPARISON_FILE,
    DECISIONS,
    DOMAIN_MEMBERS,
    DOMAIN_ROWS,
    DOMAINS,
    LINE_EDITS,
    SYNTHETIC,
    WRITTEN_FOLDER,
)
from curate.ledger.parts import Part
from curate.pipeline.state import Judge, RunState
from curate.pipeline.text_reader import Rereader
from curate.progress import Log
from curate.recipe.recipe import Recipe
from curate.recipe.tier3 import Tier3
from curate.sql import literal, open_database, read_parquet

MARGIN = 4  # tokens of originals, relative to the tokens to request
FIXED = 1_000_000  # fixed-point steps: sums of doubles depend on their order
SAMPLE = 20_000  # documents that represent the corpus
DRAWN = pa.schema([("file_no", pa.int32()), ("row", pa.int64()), ("key", pa.uint64())])
NOT_FORM = ("refinedweb_urls",)  # sets whose rules check URLs, not form


def without_augment(recipe: Recipe) -> Recipe:
    """The recipe up to this stage."""
    return recipe.model_copy(update={"tier3": None, "distill": None, "evaluate": None, "export": []})


def augment_key(recipe: Recipe, decisions: str) -> str:
    """Digest of all that the third tier depends on; `decisions` is the digest of the earlier stages' decisions."""
    section = recipe.tier3
    assert section is not None
    code = code_of(*WRITING)
    fields = section.model_dump(mode="json", exclude={"domains": {"__all__": {"seeds"}}})
    return digest_of([code, code_of_models(), decisions, fields, seeds_key(section), recipe.resolved()["teacher"]])


def augment(state: RunState, key: str, judge: Judge) -> Augmented:
    """Measure the domains; then write, judge and select documents for thin ones, if there is a model to write them.

    The ledger of `state` has the decisions of the earlier stages; `judge` runs a recipe over the candidates.
    """
    recipe, plan, ledger = state.recipe, state.plan, state.ledger
    folder = ledger.run / WRITTEN_FOLDER
    (folder / AUGMENTED).unlink(missing_ok=True)
    rereader = Rereader(plan, ledger, state.engine, state.log)
    domains, members = _measure_domains(recipe, rereader, key)
    documents = _sources(recipe, ledger, domains, members)
    documents, originals = _with_texts(documents if writer_of(recipe) is not None else documents.slice(0, 0), rereader)
    caps = caps_of(folder)
    written, plain = write_candidates(recipe, documents, caps, ledger.run, state.engine.open_model, state.log)
    candidate_judge = CandidateJudge(
        recipe=recipe,
        plan=plan,
        ledger=ledger,
        decisions=state.decisions,
        documents=documents,
        originals=originals,
        run_recipe=judge,
    )
    if plain is not None:
        compared, _ = candidate_judge.judge(plain.rows, folder / COMPARISON)
        commit_table(folder / COMPARISON_FILE, accept_within_caps(compared, caps))
    judged, shards = candidate_judge.judge(written.rows, folder)
    facts = {
        "key": key,
        "caps": caps,
        "recipe": recipe.digest(),
        "least_importance": dict(domains.least),
        "members": len(members),
        "tables": [DOMAINS, SYNTHETIC, *([COMPARISON_FILE] if plain is not None else [])],
        **written.facts,
        "judged": [path.relative_to(folder).as_posix() for path in shards],
    }
    return commit_accepted(folder, facts, judged)


def _measure_domains(recipe: Recipe, rereader: Rereader, key: str) -> tuple[Domains, list[Part]]:
    """Train the domains, assign documents to them, and commit table `domains`."""
    section, ledger = recipe.tier3, rereader.ledger
    assert section is not None
    domains = _learn_domains(recipe, rereader, read_seeds(section, recipe.input.text), key)
    members = _members(rereader, domains)
    table = domain_rows(section, domains, ledger, members)
    _report(table, rereader.log)
    commit_table(ledger.run / WRITTEN_FOLDER / DOMAINS, table)
    return domains, members


def _with_texts(documents: pa.Table, rereader: Rereader) -> tuple[pa.Table, pa.Table]:
    """Read documents from the corpus: with their texts, and all columns of the input row by row."""
    plan, ledger = rereader.plan, rereader.ledger
    if not len(documents):
        return documents, plan.inputs.empty_table()
    rows = documents.select(["file_no", "row"]).sort_by([("file_no", "ascending"), ("row", "ascending")])
    originals = _in_order(_read_rows(rows, plan.inputs, ledger.of(LINE_EDITS), rereader), documents)
    return documents.append_column("text", originals[plan.reading.text].cast(pa.large_string())), originals


def _read_rows(rows: pa.Table, schema: pa.Schema, cuts: Sequence[Part], rereader: Rereader) -> pa.Table:
    """Read rows (file_no, row), sorted, from the corpus: their KEY and the columns of `schema`."""
    parts = rereader.run(collect_rows, plan_rows(rereader.corpus, rows, schema, cuts), "reading")
    table = pa.concat_tables([pq.read_table(rereader.ledger.run / part.path) for part in parts])
    rereader.ledger.put(DOMAIN_ROWS, [])
    return table


def caps_of(folder: Path) -> dict[str, int]:
    """How many tokens may be written for each domain, by table `domains`."""
    table = pq.read_table(folder / DOMAINS, columns=["domain", "cap"])
    return dict(zip(table["domain"].to_pylist(), table["cap"].to_pylist(), strict=True))


def caps_by_kept(
    recipe: Recipe, ledger: Ledger, augmented: Augmented, connection: duckdb.DuckDBPyConnection
) -> dict[str, int]:
    """How many written tokens of each domain the output may have, given what it keeps.

    They are at most the kept real tokens of the domain, and all domains together at most `max_share` of the output.
    Caps never grow, so that recomputing them terminates.
    """
    section = recipe.tier3
    assert section is not None
    decisions = decisions_sql(ledger)
    members = of_domain_sql(augmented.facts["least_importance"], ledger, ledger.of(DOMAIN_MEMBERS))
    kept = f"{members} JOIN {decisions} USING (file_no, row) WHERE kept"
    real = dict(connection.execute(f"SELECT domain, sum(n_tokens)::BIGINT FROM {kept} GROUP BY 1").fetchall())
    [[total]] = connection.execute(f"SELECT coalesce(sum(n_tokens), 0)::BIGINT FROM {decisions} WHERE kept").fetchall()
    caps = {name: min(cap, real.get(name, 0)) for name, cap in augmented.caps.items()}
    limit = int(total * section.max_share / (1 - section.max_share))
    written_tokens = sum(min(caps[name], augmented.tokens_of(name)) for name in caps)
    return caps if written_tokens <= limit else {name: int(cap * limit / written_tokens) for name, cap in caps.items()}


def _in_order(rows: pa.Table, documents: pa.Table) -> pa.Table:
    """Sort rows (KEY, …) by the order of their documents, and drop the key."""
    read_keys = _place(rows[KEY[0]], rows[KEY[1]])
    order = np.argsort(read_keys, kind="stable")
    positions = order[np.searchsorted(read_keys[order], _place(documents["file_no"], documents["row"]))]
    return rows.take(pa.array(positions)).drop_columns(list(KEY))


def _place(file_nos: pa.ChunkedArray, rows: pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    """File and row as one number."""
    high, low = (values.to_numpy().astype(np.uint64) for values in (file_nos, rows))
    return np.asarray(high << np.uint64(40) | low, np.uint64)


def _drawn(doc_ids: pa.ChunkedArray, seed: int, purpose: str) -> npt.NDArray[np.uint64]:
    """Random keys to draw documents by. They depend on doc_id, not on the file's number, which may change."""
    return mixed(np.asarray(hash_texts(doc_ids.combine_chunks())[1]), seed, purpose)


def _learn_domains(recipe: Recipe, rereader: Rereader, seeds: pa.Table, key: str) -> Domains:
    """Train the models of the domains on their seeds and on a sample of documents of usable length, kept or not."""
    plan, ledger = rereader.plan, rereader.ledger
    sample = DRAWN.empty_table()
    for part in ledger.of(DECISIONS):
        table = pq.read_table(ledger.run / part.path, columns=["file_no", "row", "doc_id", "n_bytes", "stage"])
        size = table["n_bytes"].to_numpy()
        read = pc.fill_null(pc.not_equal(table["stage"], "input"), True).to_numpy()
        usable = read & (size >= MIN_BYTES) & (size <= MOST_BYTES)
        keys = _drawn(table["doc_id"], recipe.seed, "domains")
        candidates = table.select(["file_no", "row"]).append_column("key", pa.array(keys)).filter(pa.array(usable))
        sample = pa.concat_tables([sample, candidates]).sort_by("key").slice(0, SAMPLE)
    rows = sample.select(["file_no", "row"]).sort_by([("file_no", "ascending"), ("row", "ascending")])
    texts = _read_rows(rows, _text_only(plan), (), rereader)[plan.reading.text]
    return learn_domains(seeds, texts.combine_chunks().cast(pa.large_string()), ledger.run / WRITTEN_FOLDER, key)


def _text_only(plan: Plan) -> pa.Schema:
    return pa.schema([plan.inputs.field(plan.reading.text)])


def _members(rereader: Rereader, domains: Domains) -> list[Part]:
    """Assign domains to all kept documents and to those dropped for their form."""
    ledger = rereader.ledger
    with open_database() as connection:
        documents = connection.sql(
            f"""SELECT file_no, row FROM {decisions_sql(ledger)}
            WHERE n_bytes >= {MIN_BYTES} AND (kept OR {_for_form(form_reasons(rereader.plan))})
            ORDER BY file_no, row"""
        ).to_arrow_table()
    tasks = plan_classification(rereader.corpus, documents, domains, ledger.of(LINE_EDITS))
    parts = rereader.run(classify_documents, tasks, "telling domains")
    ledger.put(DOMAIN_MEMBERS, parts)
    return parts


def form_reasons(plan: Plan) -> list[str]:
    """The reasons of packaged rules on the form of a text: they drop documents whose content may be good."""
    sets = registry.rule_sets().keys() - set(NOT_FORM)
    return [rule.reason for rule in plan.rules if rule.rule_set in sets]


def _for_form(reasons: Sequence[str]) -> str:
    """SQL condition for documents that were dropped for their form only."""
    listed = ", ".join(map(literal, reasons))
    by_rules = f"stage = 'rules' AND list_has_all([{listed}]::VARCHAR[], reasons)"
    return f"(stage = 'bands' OR {by_rules})"


def domain_rows(section: Tier3, domains: Domains, ledger: Ledger, members: Sequence[Part]) -> pa.Table:
    """Table `domains`: seeds, size, distance from the corpus, and deficit of each domain."""
    decisions = decisions_sql(ledger)
    with open_database() as connection:
        [[total_tokens]] = connection.execute(
            f"SELECT coalesce(sum(n_tokens), 0)::BIGINT FROM {decisions} WHERE kept"
        ).fetchall()
        counts = {
            name: values
            for name, *values in connection.execute(
                f"""SELECT domain, count(*) FILTER (kept), coalesce(sum(n_tokens) FILTER (kept), 0)::BIGINT,
                    count(*) FILTER (NOT kept), coalesce(sum(n_tokens) FILTER (NOT kept), 0)::BIGINT,
                    coalesce(sum((importance * {FIXED})::BIGINT) FILTER (kept), 0)::BIGINT
                FROM {of_domain_sql(domains.least, ledger, members)} JOIN {decisions} USING (file_no, row)
                GROUP BY 1"""
            ).fetchall()
        }
    rows = []
    for domain in section.domains:
        documents, tokens, dropped, dropped_tokens, total = counts.get(domain.name, (0, 0, 0, 0, 0))
        deficit = max(0, int(domain.target_tokens) - tokens)
        rows.append({
            "domain": domain.name, "seeds": domains.seeds[domain.name], "least_importance": domains.least[domain.name],
            "distance": domains.distance[domain.name], "documents": documents, "tokens": tokens,
            "share": tokens / max(1, total_tokens), "mean_importance": total / FIXED / max(1, documents),
            "dropped_for_form": dropped, "dropped_tokens": dropped_tokens,
            "target_tokens": int(domain.target_tokens), "wanting": deficit, "cap": min(deficit, tokens),
        })  # fmt: skip
    return pa.Table.from_pylist(rows)


def decisions_sql(ledger: Ledger) -> str:
    """SQL for the decisions, without the domains of the budget."""
    parts = read_parquet(ledger.run / part.path for part in ledger.of(DECISIONS))
    return f"(SELECT file_no, row, doc_id, kept, stage, reasons, n_bytes, n_tokens FROM {parts})"


def of_domain_sql(least: Mapping[str, float], ledger: Ledger, members: Sequence[Part]) -> str:
    """SQL for the documents that belong to a domain: file_no, row, domain, importance."""
    if not members:
        return "(SELECT 0 AS file_no, 0::BIGINT AS row, '' AS domain, 0::FLOAT AS importance WHERE false)"
    source = read_parquet(ledger.run / part.path for part in members)
    bounds = " OR ".join(f"(domain = {literal(name)} AND importance >= {bound!r})" for name, bound in least.items())
    return f"(SELECT file_no, row, domain::VARCHAR AS domain, importance FROM {source} WHERE {bounds})"


def _sources(recipe: Recipe, ledger: Ledger, domains: Domains, members: Sequence[Part]) -> pa.Table:
    """The documents to write candidates from, in the order to try them: file_no, row, doc_id, domain, kept.

    Those dropped for their form come first; both kinds are in random order. Each domain gets MARGIN times as many of
    each kind as it needs, if each form yields a token per token of the original: some documents have no sentences, and
    perhaps none of those dropped for their form has.
    """
    section = recipe.tier3
    assert section is not None
    decisions = decisions_sql(ledger)
    with open_database() as connection:
        documents = connection.sql(
            f"""SELECT file_no, row, doc_id, domain, kept, n_tokens
            FROM {of_domain_sql(domains.least, ledger, members)} JOIN {decisions} USING (file_no, row)
            ORDER BY file_no, row"""
        ).to_arrow_table()
    order = np.lexsort((_drawn(documents["doc_id"], recipe.seed, AUGMENT), documents["kept"].to_numpy()))
    documents = documents.take(pa.array(order))
    chosen = []
    for domain, cap in caps_of(ledger.run / WRITTEN_FOLDER).items():
        for kept in (False, True):
            is_candidate = pc.and_(pc.equal(documents["domain"], domain), pc.equal(documents["kept"], kept))
            candidates = documents.filter(is_candidate)
            available = np.cumsum(candidates["n_tokens"].to_numpy()) * len(section.forms)
            enough = int(np.searchsorted(available, MARGIN * cap * section.oversample)) + 1
            chosen.append(candidates.slice(0, enough if cap else 0))
    return pa.concat_tables(chosen)


def _report(table: pa.Table, log: Log) -> None:
    """Report the size and deficit of each domain."""
    for row in table.to_pylist():
        log.say(
            f"domain {row['domain']}: {row['tokens']:,} tokens in {row['documents']:,} documents "
            f"({row['share']:.2%}), {row['wanting']:,} are wanting"
        )
