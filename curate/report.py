"""report.html: a run on one page that needs no network."""

import base64
import hashlib
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

import curate
from curate.augmented import STAGE as AUGMENT
from curate.bands import BANDS
from curate.counts import STABLE, count_stages
from curate.decided import open_decided, read_facts, readable
from curate.distil import QUOTAS, RUNGS
from curate.errors import InputError, RunError
from curate.examples import EXCERPT, LINES, bound_of, drawn, with_excerpts, with_measures
from curate.figures import brief, share, shown
from curate.files import committed
from curate.groups import LEAST, MOST_GROUPS, Inputs, drop_rates, find_inputs, gather, strata
from curate.histograms import histograms, signals_of
from curate.inspect import connect
from curate.ledger import Ledger
from curate.look import Look
from curate.purify import THRESHOLDS
from curate.recipe import Recipe
from curate.retained import quality_of
from curate.rules import BUILT_IN, ResolvedRule, columns_named, resolve
from curate.scorecard import QUANTILES
from curate.shards import DATA
from curate.sql import first_line, literal, quoted, rows_of
from curate.written_examples import domains_section

REPORT = "report.html"
MEMORY = "2GB"  # that DuckDB may hold; the rest spills
THREADS = 8  # at most, for that memory
TEMPLATES = Path(__file__).parent / "templates"
LARGEST_CLUSTERS = 20
MOST_FILES = 200  # of the input, that are listed
MOST_BANDS = 100
UNITS = ("documents", "tokens")
PLACES = ("corpus_root", "working_directory")
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
    with readable(run), connect(run) as connection, tempfile.TemporaryDirectory() as spool:
        [(cores,)] = connection.execute("SELECT current_setting('threads')").fetchall()
        connection.execute(
            f"SET memory_limit = '{MEMORY}'; SET threads = {min(cores, THREADS)}; SET temp_directory = {literal(spool)}"
        )
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
    return {
        "name": reading.recipe.name,
        "run": str(reading.run),
        "headline": _headline(reading, stages),
        "flow": _flow(reading, stages),
        "reasons": _reasons(reading, stages),
        "signals": _signals(reading, scorecard),
        "strata": _strata(reading, columns) if total else None,
        "purify": _purify(reading),
        "budget": _budget(reading),
        "domains": domains_section(look),
        "quality": quality_of(reading.connection, reading.tables),
        "clusters": _clusters(reading),
        "scorecard": scorecard,
        "excerpts": _excerpts(reading, look) if total else None,
        "dropped": _dropped(reading, dimensions, total, total - kept) if total > kept else None,
        "unread": unread,
        "facts": _facts(reading),
        "recipe": (reading.run / "recipe.yaml").read_text("utf-8"),
        "made": {"at": time.strftime("%Y-%m-%d %H:%M"), "curate": curate.__version__},
    }


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
    return sorted(found, key=lambda row: (-row["documents"], row["reason"]))


def rule_text(found: ResolvedRule) -> str:
    """What a rule asks of a document, as in `n_words at least 50`."""
    rule = found.rule
    return f"{rule.signal} {bound_of(rule)}" if rule.signal is not None else f"dropped when {rule.when}"


def _signals(reading: Reading, scorecard: Sequence[Row]) -> Row | None:
    """Histograms of all signals that vary: first those that rules name, then what moved most, then the rest."""
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
        first = bool(rules or name in lines) or (psi or 0) > STABLE
        cards.append({"name": name, "about": about.get(name, ""), "psi": psi, "rules": rules, "first": first,
                      "marks": lines.get(name, []), "bins": _bins(counts), **counts})  # fmt: skip
    cards.sort(key=lambda card: (not (card["rules"] or card["marks"]), -(card["psi"] or 0), card["name"]))
    return {"first": [card for card in cards if card["first"]], "rest": [card for card in cards if not card["first"]]}


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
    return {
        "columns": names,
        "bounds": [_named(row, names) for row in bounds],
        "families": families,
        "resembled": resembled,
        "max_false_drop": reading.recipe.tier2.max_false_drop,
    }


def _budget(reading: Reading) -> Row | None:
    """The rungs of the budget, and what it keeps of each stratum, the largest first."""
    if RUNGS not in reading.tables:
        return None
    return {
        "rungs": reading.rows(f"FROM {RUNGS} ORDER BY rung"),
        "strata": reading.rows(
            f"""SELECT * FROM {QUOTAS} WHERE rung = (SELECT max(rung) FROM {RUNGS})
            ORDER BY available DESC, stratum LIMIT {MOST_BANDS}"""
        ),
    }


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
    return {"sizes": sizes, "largest": largest, "clusters": count, "documents": held}


def _excerpts(reading: Reading, look: Look) -> Row:
    """Documents kept and dropped; `problem` says why there are no texts."""
    kept, dropped = drawn(reading.connection, reading.recipe.seed)
    rows = with_measures([*kept, *dropped], look)
    rows, problem = with_excerpts(rows, reading.ledger, reading.recipe.input.column)
    return {"kept": rows[: len(kept)], "dropped": rows[len(kept) :], "problem": problem}


def _dropped(reading: Reading, dimensions: Sequence[str], total: int, dropped: int) -> Row:
    found = [drop_rates(reading.connection, title, total, dropped) for title in dimensions]
    return {"overall": dropped / total, "dimensions": [one for one in found if one is not None]}


def _facts(reading: Reading) -> Row:
    """What run.json says, and the input files, those in quarantine first."""
    facts = read_facts(reading.run)
    order = "ORDER BY error IS NULL, position"
    files = reading.rows(f"SELECT file, documents, bytes, error FROM inputs {order} LIMIT {MOST_FILES}")
    [totals] = reading.rows(
        """SELECT count(*) AS files, count(error) AS quarantined, coalesce(sum(bytes), 0)::BIGINT AS bytes,
            coalesce(sum(documents) FILTER (error IS NULL), 0)::BIGINT AS documents FROM inputs"""
    )
    versions = facts.get("versions", {})
    facts = {name: value for name, value in facts.items() if name in ("at", "host", "platform", "threads", *PLACES)}
    return {"tokenizer": reading.recipe.tokenizer, "run": facts, "versions": versions, "files": files,
            "totals": totals}  # fmt: skip


def render(found: Mapping[str, Any]) -> str:
    """The page: a template, a style, two scripts that its policy names by their hashes, and the charts' numbers."""
    import jinja2
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"n": lambda value: "" if value is None else shown(value), "brief": brief}
    environment.globals |= {"share": share, "least": LEAST, "most_groups": MOST_GROUPS, "excerpt": EXCERPT}
    environment.globals |= {"lines": LINES, "measures": MEASURES}
    scripts = [get_plotlyjs(), (TEMPLATES / "report.js").read_text("utf-8")]
    return environment.get_template("report.html").render(
        **found,
        charts=_charts(found),
        style=Markup((TEMPLATES / "report.css").read_text("utf-8")),
        scripts=[Markup(script) for script in scripts],
        policy=" ".join(f"'sha256-{_hash(script)}'" for script in scripts),
    )


def _charts(found: Mapping[str, Any]) -> Row:
    """The numbers that charts are drawn from."""
    signals = found["signals"] or {"first": [], "rest": []}
    names = ("scale", "edges", "zero", "names", "all", "kept", "marks")
    return {
        "flow": found["flow"],
        "reasons": found["reasons"],
        "signals": {card["name"]: {name: card[name] for name in names} for card in signals["first"] + signals["rest"]},
        "strata": found["strata"],
        "clusters": found["clusters"]["sizes"] if found["clusters"] else [],
        "dropped": found["dropped"]["dimensions"] if found["dropped"] else [],
        "quality": found["quality"]["arms"] if found["quality"] else [],
        "domains": found["domains"]["domains"] if found["domains"] else [],
    }


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
