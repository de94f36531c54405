"""report.html: a run on one page that needs no network."""

import base64
import hashlib
import itertools
import shlex
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

import curate
from curate.decide.counts import STABLE, count_stages
from curate.decide.scorecard import QUANTILES
from curate.display import brief, place, share, shown
from curate.errors import InputError, RunError
from curate.filters.rules.conditions import columns_named
from curate.filters.rules.resolve import BUILT_IN, DECONTAMINATE, ResolvedRule, resolve
from curate.inspect.documents import Look
from curate.ledger.ledger import Ledger, read_facts
from curate.ledger.names import AUGMENT as AUGMENT
from curate.ledger.names import BANDS, DATA, QUOTAS, RUNGS, THRESHOLDS
from curate.ledger.run import connect, open_decided, readable
from curate.ledger.superseded import HIDDEN, REPORT
from curate.process.machine import available_cores
from curate.recipe.recipe import Recipe
from curate.redaction import redacted
from curate.report.charts import UNITS, flow, histogram, percent
from curate.report.examples import bound_of, documents_section, domains_section
from curate.report.groups import LEAST, MOST_GROUPS, Inputs, drop_rates, find_inputs, gather, strata
from curate.report.histograms import histograms, signals_of
from curate.report.quality import quality_section, verdict_of
from curate.report.summary import sentences, when
from curate.sql import first_line, literal, quoted, rows_of
from curate.storage.files import committed
from curate.storage.mirror import by_uri

MEMORY = "2GB"  # that DuckDB may hold; the rest spills
THREADS = 8  # at most, for that memory
TEMPLATES = Path(__file__).parent / "templates"
LARGEST_CLUSTERS = 20
SIGNALS = 9  # histograms that are not folded
MOST_FILES = 200  # of the input, that are listed
MOST_BANDS = 100
FACTS = {
    "started": "started", "at": "decided", "finished": "finished", "host": "host", "platform": "platform",
    "threads": "threads", "corpus_root": "corpus", "working_directory": "started in",
}  # fmt: skip  # of run.json that are shown, and what they are called
DATES = ("started", "at", "finished")
CONTENTS = {
    "summary": "Summary", "flow": "From input to output", "quality": "Quality", "reasons": "Reasons",
    "dropped": "Who is dropped", "documents": "Documents", "benchmarks": "Evaluation sets", "purify": "Purification",
    "budget": "Budget", "clusters": "Copies", "domains": "Domains", "strata": "Strata", "signals": "Signals",
    "scorecard": "Scorecard", "facts": "Run and recipe",
}  # fmt: skip  # the sections in their order
MEASURES = ("mean", *(f"p{quantile * 100:.0f}" for quantile in QUANTILES))

Row = dict[str, Any]


@dataclass(frozen=True)
class Reading:
    """A run that is being reported: its index, ledger, recipe and rules."""

    run: Path
    connection: duckdb.DuckDBPyConnection
    ledger: Ledger
    recipe: Recipe
    rules: tuple[ResolvedRule, ...]
    tables: frozenset[str]
    signals: tuple[str, ...]

    def rows(self, query: str, parameters: Sequence[object] = ()) -> list[Row]:
        """The rows of a query by the names of their columns."""
        return rows_of(query, self.connection, parameters)


def write_report(run: Path, output: Path | None = None) -> Path:
    """Write a page on a run, with everything inline, and return where it lies.

    Errors: RunError where `run` is no run directory; RecipeError where its recipe is damaged or of another version.
    """
    path = output or run / REPORT
    if path.is_dir():
        raise RunError(f"--output {path}: a folder; name a file in it")
    with readable(run), tempfile.TemporaryDirectory() as spool:
        threads = str(min(available_cores(), THREADS))
        with connect(run, memory_limit=MEMORY, threads=threads, temp_directory=spool) as connection:
            page = render(sections(open_run(run, connection)))
    with committed(path) as aside:
        aside.write_text(page, "utf-8")
    return path


def open_run(run: Path, connection: duckdb.DuckDBPyConnection) -> Reading:
    """What is known of a run before anything is counted."""
    found = open_decided(run)
    named = connection.execute(
        "SELECT table_name FROM duckdb_tables() UNION SELECT view_name FROM duckdb_views() WHERE NOT internal"
    )
    tables = frozenset(name for (name,) in named.fetchall())
    signals = tuple(connection.sql("SELECT * FROM signals LIMIT 0").columns)
    return Reading(run, connection, found.ledger, found.recipe, tuple(resolve(found.recipe.tier1)), tables, signals)


def sections(reading: Reading) -> Row:
    """Everything that the page shows, by section; None for a section that has nothing to show."""
    decided = count_stages(reading.connection)
    stages = [*decided, *_augmented(reading)]
    scorecard = reading.rows("FROM scorecard") if "scorecard" in reading.tables else []
    unread, dimensions, columns = _groups(reading)
    total, kept = decided[0]["documents_in"], decided[-1]["documents_out"]
    look = Look(reading.run, reading.recipe, reading.ledger, reading.connection)
    reasons, facts = _reasons(reading, stages), _facts(reading)
    found: Row = {
        "name": reading.recipe.name,
        "run": by_uri(str(reading.run)),
        "decided_at": when(read_facts(reading.run).get("at")),
        "summary": sentences(stages, reasons),
        "verdict": verdict_of(look),
        "headline": _headline(reading, stages) | {"documents_kept": kept},
        "flow": flow(_flow(reading, stages)) if total else [],
        "reasons": reasons,
        "signals": _signals(reading, scorecard),
        "strata": _strata(reading, columns) if total else None,
        "benchmarks": _benchmarks(reading),
        "contaminated": next((r["reason"] for r in reasons if r["reason"] == DECONTAMINATE.reason), None),
        "purify": _purify(reading),
        "budget": _budget(reading),
        "domains": domains_section(look),
        "quality": quality_section(look),
        "clusters": _clusters(reading),
        "scorecard": scorecard,
        "excerpts": documents_section(look) if total else None,
        "dropped": _dropped(reading, dimensions, total, total - kept) if total > kept else None,
        "unread": unread,
        "warnings": read_facts(reading.run).get("warnings", []),
        "facts": facts,
        "recipe": (reading.run / "recipe.yaml").read_text("utf-8"),
        "made": {"at": when(time.strftime("%Y-%m-%dT%H:%M:%S%z")), "curate": curate.__version__},
    }
    shown = found | {"summary": True, "documents": found["excerpts"]}
    if found["dropped"] and not found["dropped"]["dimensions"]:
        shown["dropped"] = None
    return found | {"contents": [(id_, title) for id_, title in CONTENTS.items() if shown[id_]]}


def _groups(reading: Reading) -> tuple[str | None, list[str], list[str]]:
    """Why the input's own columns cannot be read, where they cannot, and the names that `gather` returns."""
    try:
        inputs = find_inputs(reading.ledger, reading.connection)
        return None, *gather(reading.connection, reading.recipe, reading.signals, inputs)
    except InputError as error:
        unread = str(error)
    except duckdb.Error as error:
        unread = first_line(error)
    return unread, *gather(reading.connection, reading.recipe, reading.signals, Inputs())


def _headline(reading: Reading, stages: Sequence[Row]) -> Row:
    [shards] = reading.rows("SELECT coalesce(max(shard) + 1, 0) AS n FROM decisions")
    first, last, finished = stages[0], stages[-1], (reading.run / "manifest.json").is_file()
    found: Row = {"shards": len(reading.ledger.of(DATA)) if finished else shards["n"], "finished": finished}
    for name in UNITS:
        found |= {f"{name}_in": first[f"{name}_in"], f"{name}_out": last[f"{name}_out"]}
        found[f"{name}_written"] = last["written"][name] if "written" in last else 0
    return found


def _augmented(reading: Reading) -> list[Row]:
    """The stage in which written documents come in, if there is one."""
    if "stages" not in reading.tables:
        return []
    return [
        row | {"dropped": {}, "written": {name: row[f"{name}_out"] - row[f"{name}_in"] for name in UNITS}}
        for row in reading.rows(f"SELECT * EXCLUDE (number) FROM stages WHERE stage = {literal(AUGMENT)}")
    ]


def _flow(reading: Reading, stages: Sequence[Row]) -> list[Row]:
    """The stages that the recipe has, or that dropped something."""
    dedup, tier1 = reading.recipe.dedup, reading.recipe.tier1
    asked = {
        "input": True,
        "rules": True,
        "exact": dedup.exact or dedup.against,
        "near": dedup.near,
        "bands": tier1.perplexity,
        "lines": dedup.lines,
        "purify": reading.recipe.tier2,
        "distil": reading.recipe.distill,
    }
    return [
        stage for stage in stages
        if asked.get(stage["stage"]) or stage["dropped"] or "cut" in stage or "written" in stage
    ]  # fmt: skip


def _reasons(reading: Reading, stages: Sequence[Row]) -> list[Row]:
    """Every reason that dropped something, most documents first, and how often it stood alone."""
    fired = reading.rows(
        """SELECT reason, count(*) AS fired, count_if(n = 1) AS alone
        FROM (SELECT unnest(reasons) AS reason, len(reasons) AS n FROM decisions WHERE NOT kept) GROUP BY reason"""
    )
    more = {row["reason"]: row for row in fired}
    about = BUILT_IN | {found.reason: rule_text(found) for found in reading.rules}
    found = [
        {"stage": stage["stage"], "reason": reason, "about": about.get(reason, "")} | gone
        | {"fired": more[reason]["fired"], "alone": more[reason]["alone"]}
        for stage in stages for reason, gone in stage["dropped"].items()
    ]  # fmt: skip
    most = {unit: max((row[unit] for row in found), default=0) for unit in UNITS}
    for row in found:
        row["width"] = {unit: percent(row[unit], 0, most[unit]) for unit in UNITS}
    return sorted(found, key=lambda row: (-row["documents"], row["reason"]))


def rule_text(found: ResolvedRule) -> str:
    """What a rule asks of a document, as in `n_words at least 50`."""
    rule = found.rule
    return f"{rule.signal} {bound_of(rule)}" if rule.signal is not None else f"dropped when {rule.when}"


def _signals(reading: Reading, scorecard: Sequence[Row]) -> Row | None:
    """Histograms of all signals that vary: of those that moved first those that rules name, and the rest apart."""
    from curate.filters import registry

    about = {name: text for group in registry.groups().values() for one in group for name, text in one.about.items()}
    about |= {name: found.about for name, found in registry.DERIVED.items()}
    lines = _marks(reading)
    marks = {name: [mark["at"] for mark in found] for name, found in lines.items()}
    score = {row["signal"]: row for row in scorecard}
    found = histograms(reading.connection, marks, score)
    if not found:
        return None
    named: dict[str, list[str]] = {}
    for rule in reading.rules:
        for name in columns_named([rule])[0]:
            named.setdefault(name, []).append(f"{rule.reason}: {rule_text(rule)}")
    cards = []
    for name, counts in found.items():
        psi = score.get(name, {}).get("psi")
        rules = named.get(name, [])
        marks_here = lines.get(name, [])
        cards.append({"name": name, "about": about.get(name, ""), "psi": psi, "rules": rules,
                      "first": (psi or 0) > STABLE, "marks": marks_here, "bins": _bins(counts),
                      "chart": histogram(counts, marks_here), **counts})  # fmt: skip
    cards.sort(key=lambda card: (not (card["rules"] or card["marks"]), -(card["psi"] or 0), card["name"]))
    moved, still = ([card for card in cards if card["first"] is first] for first in (True, False))
    return {"first": moved[:SIGNALS], "more": moved[SIGNALS:], "rest": still}


def _marks(reading: Reading) -> dict[str, list[Row]]:
    """Thresholds to be drawn, by signal: bounds of rules, and of all bands the one of all documents."""
    found: dict[str, list[Row]] = {}
    whole = signals_of(reading.connection)
    for rule in (one.rule for one in reading.rules):
        if rule.signal is not None:
            bound, beyond = (rule.min, -0.5) if rule.min is not None else (rule.max, 0.5)
            assert bound is not None
            line = bound + beyond if whole.get(rule.signal) else bound  # between what is kept and what is not
            found.setdefault(rule.signal, []).append({"at": bound, "line": line})
    if BANDS in reading.tables:
        for row in reading.rows(f"SELECT low, high FROM {quoted(BANDS)} WHERE depth = 0"):
            for name in ("low", "high"):
                if row[name] is not None:
                    found.setdefault("perplexity", []).append({"at": row[name], "line": row[name]})
    return found


def _bins(counts: Mapping[str, Any]) -> list[Row]:
    """The bins of a histogram that have documents, for the table beside it."""
    rows = zip(counts["names"], counts["all"], counts["kept"], strict=True)
    return [{"name": name, "all": every, "kept": kept} for name, every, kept in rows if every]


def _strata(reading: Reading, columns: Sequence[str]) -> Row | None:
    found = strata(reading.connection, columns)
    if found is None:
        return None
    most = {name: max(row[name] for row in found["rows"]) for name in ("documents", "tokens_in")}
    for row in found["rows"]:
        whole = {"documents": "documents", "kept": "documents", "tokens_in": "tokens_in", "tokens_out": "tokens_in"}
        row["at"] = {name: percent(row[name], 0, most[of]) for name, of in whole.items()}
    found["bands"] = None
    if BANDS in reading.tables:
        bands = reading.rows(f"FROM {quoted(BANDS)} ORDER BY depth, documents DESC LIMIT {MOST_BANDS}")
        names = [name for name in bands[0] if name not in ("depth", "documents", "low", "high")] if bands else []
        found["bands"] = {"columns": names, "rows": [_named(row, names) for row in bands]}
    return found


def _purify(reading: Reading) -> Row | None:
    """The bounds on p_bad by stratum with what lies beyond, and each family of attacks before and after the rounds."""
    if THRESHOLDS not in reading.tables:
        return None
    bounds = reading.rows(f"FROM {quoted(THRESHOLDS)} ORDER BY depth, documents DESC LIMIT {MOST_BANDS}")
    names = [name for name in bounds[0] if name not in ("depth", "documents", "bound", "drop_low", "drop_high")]
    families = reading.rows(
        """SELECT family, any_value(bad) AS bad, bool_or(held_out) AS held_out, last(trained ORDER BY round) AS trained,
            sum(made) AS made, last(fool_rate ORDER BY round) AS fool_rate, first(auc ORDER BY round) AS auc_before,
            last(auc ORDER BY round) AS auc_after, first(caught ORDER BY round) AS caught_before,
            last(caught ORDER BY round) AS caught_after
        FROM rounds GROUP BY family ORDER BY bad DESC, family"""
    )
    resembled = reading.rows(
        """SELECT attack, count(*) AS documents FROM decisions WHERE stage = 'purify' AND attack IS NOT NULL
        GROUP BY attack ORDER BY documents DESC, attack"""
    )
    assert reading.recipe.tier2 is not None
    promised = reading.recipe.tier2.max_false_drop
    widest = max([2 * promised, *(row["drop_high"] for row in bounds if row["drop_high"] is not None)])
    for row in bounds:
        row["at"] = {end: None if row[f"drop_{end}"] is None else percent(row[f"drop_{end}"], 0, widest)
                     for end in ("low", "high")}  # fmt: skip
    for row in families:
        before, after = (None if row[name] is None else percent(row[name], 0, 1)
                         for name in ("caught_before", "caught_after"))  # fmt: skip
        both = sorted(at for at in (before, after) if at is not None)
        row["at"] = {"before": before, "after": after, "low": min(both, default=None), "high": max(both, default=None)}
    most = max((row["documents"] for row in resembled), default=0)
    return {
        "columns": names,
        "bounds": [_named(row, names) for row in bounds],
        "families": families,
        "resembled": [row | {"width": percent(row["documents"], 0, most)} for row in resembled],
        "max_false_drop": promised,
        "widest": widest,
        "promised": percent(promised, 0, widest),
    }


def _benchmarks(reading: Reading) -> list[Row]:
    """The evaluation sets that were looked for, those of which most items stand in the input first."""
    if "benchmarks" not in reading.tables:
        return []
    rows = reading.rows("FROM benchmarks ORDER BY items_hit DESC, documents_hit DESC, benchmark")
    return [row | {"width": percent(row["items_hit"], 0, row["items"])} for row in rows]


def _budget(reading: Reading) -> Row | None:
    """The rungs of the budget, and what it keeps of each stratum, the largest first."""
    if RUNGS not in reading.tables:
        return None
    rungs = reading.rows(f"FROM {RUNGS} ORDER BY rung")
    strata = reading.rows(
        f"""SELECT * FROM {QUOTAS} WHERE rung = (SELECT max(rung) FROM {RUNGS})
        ORDER BY available DESC, stratum LIMIT {MOST_BANDS}"""
    )
    most = max((max(row["available"], row["quota"], row["tokens"]) for row in strata), default=0)
    for row in strata:
        row["at"] = {name: percent(row[name], 0, most) for name in ("available", "quota", "tokens")}
    return {"rungs": [row | {"width": percent(row["share"], 0, 1)} for row in rungs], "strata": strata}


def _named(row: Row, names: Sequence[str]) -> Row:
    """A row of bounds or bands by strata, with the values of its columns in order; those that do not count are all."""
    return {"names": [row[name] if k < row["depth"] else "all" for k, name in enumerate(names)]} | row


def _clusters(reading: Reading) -> Row | None:
    """How many families of copies have which size, and the largest with their survivors."""
    if "clusters" not in reading.tables:
        return None
    reading.connection.execute(
        """CREATE TEMP TABLE families AS SELECT survivor, count(*) AS documents, count_if(stage = 'exact') AS exact,
            count_if(stage = 'near') AS near, min(similarity) AS least
        FROM (SELECT c.*, d.stage FROM clusters c JOIN decisions d USING (doc_id)) GROUP BY survivor"""
    )
    sizes = reading.rows(
        """SELECT low, any_value(high) AS high, count(*) AS clusters, sum(documents)::BIGINT AS documents FROM (
            SELECT documents, if(documents <= 8, documents, 2 ** floor(log2(documents - 1)) + 1)::BIGINT AS low,
                if(documents <= 8, documents, 2 ** (floor(log2(documents - 1)) + 1))::BIGINT AS high FROM families
        ) GROUP BY low ORDER BY low"""
    )
    largest = reading.rows(f"FROM families ORDER BY documents DESC, survivor LIMIT {LARGEST_CLUSTERS}")
    if not sizes:
        return None
    count, held = (sum(row[name] for row in sizes) for name in ("clusters", "documents"))
    most = max(row["clusters"] for row in sizes)
    for row in sizes:
        row["width"] = percent(row["clusters"], 0, most)
    return {"sizes": sizes, "largest": largest, "clusters": count, "documents": held}


def _dropped(reading: Reading, dimensions: Sequence[str], total: int, dropped: int) -> Row:
    section = reading.recipe.tier1.language
    keep = section.keep if section else None
    found = [drop_rates(reading.connection, title, total, dropped, keep if title == "language" else None)
             for title in dimensions]  # fmt: skip
    return {"overall": dropped / total, "dimensions": [one for one in found if one is not None]}


def _facts(reading: Reading) -> Row:
    """What run.json says, and the input files, those in quarantine first."""
    facts = read_facts(reading.run)
    order = "ORDER BY error IS NULL, position"
    files = reading.rows(
        f"SELECT file, documents, bytes, error FROM inputs WHERE file_no IS NOT NULL {order} LIMIT {MOST_FILES}"
    )
    [totals] = reading.rows(
        """SELECT count(*) AS files, count(error) AS quarantined, coalesce(sum(bytes), 0)::BIGINT AS bytes,
            coalesce(sum(documents) FILTER (error IS NULL), 0)::BIGINT AS documents FROM inputs
            WHERE file_no IS NOT NULL"""
    )
    shown = [(title, when(facts[name]) or facts[name] if name in DATES else facts[name])
             for name, title in FACTS.items() if name in facts]  # fmt: skip
    return {"tokenizer": reading.recipe.tokenizer, "run": shown, "versions": facts.get("versions", {}),
            "files": files, "totals": totals}  # fmt: skip


def render(found: Mapping[str, Any]) -> str:
    """The page: templates, a style, and a script that its policy names by its hash."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=_without_credentials,
    )  # fmt: skip
    groups = itertools.count()
    environment.filters |= {"n": lambda value: "" if value is None else shown(value), "brief": brief}
    environment.globals |= {
        "share": share,
        "place": place,
        "least": LEAST,
        "most_groups": MOST_GROUPS,
        "measures": MEASURES,
    }
    environment.globals |= {"units_group": lambda: f"unit-{next(groups)}"}
    script = (TEMPLATES / "report.js").read_text("utf-8")
    return environment.get_template("report.html").render(
        **found,
        superseded=_superseded(found["run"]),
        style=Markup((TEMPLATES / "report.css").read_text("utf-8")),
        script=Markup(script),
        policy=f"'sha256-{_hash(script)}'",
    )


def _without_credentials(value: object) -> object:
    """A value of a template, redacted where it is text; our own markup is none of it."""
    return redacted(value) if type(value) is str else value


def _superseded(run: str) -> str:
    """The paragraph that `curate.ledger.superseded` uncovers."""
    from markupsafe import escape

    command = escape(f"curate report {shlex.quote(run)}")
    return (
        f"{HIDDEN}This page shows decisions that are no longer in force: the run was executed again after the "
        f"page was made. <code>{command}</code> rebuilds it.</p>"
    )


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
