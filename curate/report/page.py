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
from curate.decide.counts import UNITS as STAGE_UNITS
from curate.decide.counts import count_stages
from curate.decide.readings import Reading, count_readings, training_of
from curate.decide.scorecard import QUANTILES
from curate.display import brief, fields_of, place, share, shown
from curate.errors import RunError
from curate.filters.rules.resolve import DECONTAMINATE
from curate.inspect.documents import OpenRun
from curate.ledger.ledger import read_facts
from curate.ledger.names import AUGMENT as AUGMENT
from curate.ledger.names import DATA
from curate.ledger.run import connect, open_finished, readable
from curate.ledger.superseded import HIDDEN_NOTICE, REPORT
from curate.process.machine import available_cores
from curate.redaction import redacted
from curate.report.charts import UNITS, Placed, StageBar, flow
from curate.report.examples import Documents, documents_section
from curate.report.groups import (
    Dropped,
    Strata,
    dropped_section,
    strata_section,
)
from curate.report.quality import Quality, Verdict, quality_section, verdict_of
from curate.report.reasons import ReasonRow, reasons_section
from curate.report.signals import Signals, signals_section
from curate.report.stages import (
    Bands,
    Budget,
    Clusters,
    EvaluationSet,
    Purification,
    WeightBand,
    bands,
    budget,
    clusters,
    evaluation_sets,
    purification,
    weights,
)
from curate.report.summary import sentences, when
from curate.report.training import TrainingSection, training_section
from curate.report.written_examples import Domains, domains_section
from curate.sql import literal
from curate.storage.files import committed
from curate.storage.mirror import by_uri
from curate.who.cells import LEAST
from curate.who.dimensions import MOST_GROUPS
from curate.who.documents import from_index
from curate.who.rates import LEAST_DIFFERENCE

MEMORY = "2GB"  # that DuckDB may use; the rest spills
THREADS = 8  # at most, for that memory
TEMPLATES = Path(__file__).parent / "templates"
MOST_FILES = 200  # of the input, that are listed
# The facts of run.json that are shown, with their labels.
FACTS = {
    "started": "started",
    "at": "decided",
    "finished": "finished",
    "host": "host",
    "platform": "platform",
    "threads": "threads",
    "corpus_root": "corpus",
    "working_directory": "started in",
}
DATES = ("started", "at", "finished")
# The sections in their order, with their titles.
CONTENTS = {
    "summary": "Summary",
    "flow": "From input to output",
    "quality": "Quality",
    "training": "Training",
    "reasons": "Reasons",
    "dropped": "Who is dropped",
    "documents": "Documents",
    "benchmarks": "Evaluation sets",
    "purify": "Purification",
    "budget": "Budget",
    "weights": "Weights",
    "clusters": "Copies",
    "domains": "Domains",
    "strata": "Strata",
    "signals": "Signals",
    "scorecard": "Scorecard",
    "facts": "Run and recipe",
}
MEASURES = ("mean", *(f"p{quantile * 100:.0f}" for quantile in QUANTILES))


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitTotals:
    """Documents, or tokens, in and out, and how many of those out a model wrote."""

    entering: int
    leaving: int
    written: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """The totals of a run."""

    documents: UnitTotals
    tokens: UnitTotals
    bytes_in: int  # of text
    documents_kept: int  # of the input
    shards: int
    finished: bool


@dataclass(frozen=True, slots=True)
class InputFile:
    """An input file; `error` says why it is in quarantine."""

    file: str
    documents: int | None
    bytes: int | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InputTotals:
    """All input files together."""

    files: int
    quarantined: int
    bytes: int
    documents: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Section "Run and recipe": facts of run.json, and the input files, those in quarantine first."""

    tokenizer: str
    run: Sequence[tuple[str, object]]  # label and value
    versions: Mapping[str, str]
    files: Sequence[InputFile]
    totals: InputTotals


@dataclass(frozen=True, slots=True)
class Build:
    """When the page was written, and by which version."""

    at: str | None
    curate: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """All sections of the page; None for a section that has nothing to show."""

    name: str
    run: str
    decided_at: str | None
    summary: Sequence[str]
    verdict: Verdict
    headline: Headline
    flow: Sequence[StageBar]
    reasons: Sequence[ReasonRow]
    signals: Signals | None
    strata: Strata | None
    bands: Bands | None
    benchmarks: Sequence[Placed[EvaluationSet]]
    contaminated: str | None  # the reason of documents that were dropped as contaminated
    purify: Purification | None
    budget: Budget | None
    weights: Sequence[WeightBand]
    domains: Domains | None
    quality: Quality | None
    training: TrainingSection | None
    clusters: Clusters | None
    scorecard: Sequence[Mapping[str, Any]]
    excerpts: Documents | None
    dropped: Dropped | None
    unread: str | None  # why the input's own columns cannot be read
    warnings: Sequence[str]
    facts: Facts
    recipe: str
    build: Build

    @property
    def contents(self) -> list[tuple[str, str]]:
        """Id and title of each section that has something to show."""
        sections = fields_of(self) | {"summary": True, "documents": self.excerpts}
        if self.dropped is not None and not self.dropped.dimensions:
            sections["dropped"] = None
        return [(id_, title) for id_, title in CONTENTS.items() if sections[id_]]


def write_report(folder: Path, output: Path | None = None, train_tokens: float | None = None) -> Path:
    """Write a page on a run, with everything inline, and return its path.

    `train_tokens` takes the place of those of the recipe.

    Errors: RunError where `folder` is no run directory, or of an earlier version; RecipeError where its recipe is
    damaged or of another version.
    """
    path = output or folder / REPORT
    if path.is_dir():
        raise RunError(f"--output {path}: a folder; name a file in it")
    with readable(folder), tempfile.TemporaryDirectory() as spool:
        threads = str(min(available_cores(), THREADS))
        with connect(folder, memory_limit=MEMORY, threads=threads, temp_directory=spool) as connection:
            html = render(page_of(folder, connection, train_tokens))
    with committed(path) as aside:
        aside.write_text(html, "utf-8")
    return path


def page_of(folder: Path, connection: duckdb.DuckDBPyConnection, train_tokens: float | None = None) -> Page:
    """The sections of a run's page; `connection` is to its index."""
    run = _opened(folder, connection)
    by_stage = count_stages(connection)
    stages = [*by_stage, *_augment_stage(run)]
    facts = read_facts(folder)
    scorecard = run.query("FROM scorecard") if "scorecard" in run.views else []
    dimensions, inputs = from_index(run.recipe, run.ledger, connection)
    total, kept = by_stage[0]["documents_in"], by_stage[-1]["documents_out"]
    reasons = reasons_section(run, stages)
    return Page(
        name=run.recipe.name,
        run=by_uri(str(folder)),
        decided_at=when(facts.get("at")),
        summary=sentences(stages, reasons),
        verdict=verdict_of(run),
        headline=_headline(run, stages, kept),
        flow=flow(_shown_stages(run, stages)) if total else [],
        reasons=reasons,
        signals=signals_section(run, scorecard),
        strata=strata_section(run, dimensions) if total else None,
        bands=bands(run),
        benchmarks=evaluation_sets(run),
        contaminated=next((row.reason for row in reasons if row.reason == DECONTAMINATE.reason), None),
        purify=purification(run),
        budget=budget(run),
        weights=weights(run),
        domains=domains_section(run),
        quality=quality_section(run),
        training=_training(run, train_tokens or run.recipe.train_tokens, stages),
        clusters=clusters(run),
        scorecard=scorecard,
        excerpts=documents_section(run) if total else None,
        dropped=dropped_section(connection, dimensions) if total > kept else None,
        unread=inputs.unread,
        warnings=facts.get("warnings", []),
        facts=_facts(run),
        recipe=(folder / "recipe.yaml").read_text("utf-8"),
        build=Build(when(time.strftime("%Y-%m-%dT%H:%M:%S%z")), curate.__version__),
    )


def _opened(folder: Path, connection: duckdb.DuckDBPyConnection) -> OpenRun:
    """Open a run.

    Errors: RunError where its decisions lack a column that earlier versions did not write.
    """
    if "n_bytes_cut" not in connection.sql("FROM decisions LIMIT 0").columns:
        raise RunError(f"{folder}: was decided by an earlier version of curate; run its recipe again")
    decided = open_finished(folder)
    return OpenRun(folder, decided.recipe, decided.ledger, connection)


def _training(run: OpenRun, train_tokens: float | None, stages: Sequence[Mapping[str, Any]]) -> TrainingSection | None:
    if train_tokens is None:
        return None
    written = [Reading(None, 1.0, stage["written"]["tokens"]) for stage in stages if "written" in stage]
    readings = [*count_readings(run.connection), *written]
    training = training_of(train_tokens, run.recipe, stages, readings)
    return training_section(training, readings, run.recipe.tokenizer)


def _headline(run: OpenRun, stages: Sequence[Mapping[str, Any]], kept: int) -> Headline:
    [shards] = run.query("SELECT coalesce(max(shard) + 1, 0) AS n FROM decisions")
    first, last, finished = stages[0], stages[-1], (run.folder / "manifest.json").is_file()
    documents, tokens = (
        UnitTotals(
            entering=first[f"{unit}_in"],
            leaving=last[f"{unit}_out"],
            written=last["written"][unit] if "written" in last else 0,
        )
        for unit in UNITS
    )
    return Headline(
        documents=documents,
        tokens=tokens,
        bytes_in=first["bytes_in"],
        documents_kept=kept,
        shards=len(run.ledger.of(DATA)) if finished else shards["n"],
        finished=finished,
    )


def _augment_stage(run: OpenRun) -> list[Mapping[str, Any]]:
    """The stage that adds written documents, if there is one."""
    if "stages" not in run.views:
        return []
    return [
        row | {"dropped": {}, "written": {name: row[f"{name}_out"] - row[f"{name}_in"] for name in STAGE_UNITS}}
        for row in run.query(f"SELECT * EXCLUDE (number) FROM stages WHERE stage = {literal(AUGMENT)}")
    ]


def _shown_stages(run: OpenRun, stages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The stages that the recipe has, or that changed something."""
    dedup, tier1 = run.recipe.dedup, run.recipe.tier1
    in_recipe = {
        "input": True,
        "rules": True,
        "exact": dedup.exact or dedup.against,
        "near": dedup.near,
        "bands": tier1.perplexity,
        "lines": dedup.lines,
        "purify": run.recipe.tier2,
        "distil": run.recipe.distill,
    }
    return [
        stage
        for stage in stages
        if in_recipe.get(stage["stage"]) or stage["dropped"] or "cut" in stage or "written" in stage
    ]


def _facts(run: OpenRun) -> Facts:
    facts = read_facts(run.folder)
    files = run.query(
        f"""SELECT file, documents, bytes, error FROM inputs WHERE file_no IS NOT NULL
        ORDER BY error IS NULL, position LIMIT {MOST_FILES}"""
    )
    [totals] = run.query(
        """SELECT count(*) AS files, count(error) AS quarantined, coalesce(sum(bytes), 0)::BIGINT AS bytes,
            coalesce(sum(documents) FILTER (error IS NULL), 0)::BIGINT AS documents FROM inputs
            WHERE file_no IS NOT NULL"""
    )
    values = {
        name: when(facts[name]) or facts[name] if name in DATES else facts[name] for name in FACTS if name in facts
    }
    return Facts(
        tokenizer=run.recipe.tokenizer,
        run=[(FACTS[name], value) for name, value in values.items()],
        versions=facts.get("versions", {}),
        files=[InputFile(**file) for file in files],
        totals=InputTotals(**totals),
    )


def render(page: Page) -> str:
    """The page as HTML: templates, a style, and a script that the page's policy allows by its hash."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_without_credentials,
    )
    groups = itertools.count()
    environment.filters |= {"n": lambda value: "" if value is None else shown(value), "brief": brief}
    environment.globals |= {"share": share, "place": place, "measures": MEASURES}
    environment.globals |= {"least": LEAST, "most_groups": MOST_GROUPS, "points": 100 * LEAST_DIFFERENCE}
    environment.globals |= {"units_group": lambda: f"unit-{next(groups)}"}
    script = (TEMPLATES / "report.js").read_text("utf-8")
    return environment.get_template("report.html").render(
        **fields_of(page),
        contents=page.contents,
        superseded=_superseded(page.run),
        style=Markup((TEMPLATES / "report.css").read_text("utf-8")),
        script=Markup(script),
        policy=f"'sha256-{_hash(script)}'",
    )


def _without_credentials(value: object) -> object:
    """A template's value, with credentials redacted where it is text; our own markup is not of type str."""
    return redacted(value) if type(value) is str else value


def _superseded(run: str) -> str:
    """The hidden paragraph that `curate.ledger.superseded` reveals."""
    from markupsafe import escape

    command = escape(f"curate report {shlex.quote(run)}")
    return (
        f"{HIDDEN_NOTICE}This page shows decisions that are no longer in force: the run was executed again after the "
        f"page was made. <code>{command}</code> rebuilds it.</p>"
    )


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
