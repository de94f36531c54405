"""Section "Domains": what a model wrote for thin domains, the verdicts on it, and examples."""

from collections.abc import Sequence
from dataclasses import dataclass

from curate.display import visible
from curate.inspect.documents import OpenRun, Row
from curate.inspect.domains import Domain, GateCount, WrittenForm, read_domains
from curate.inspect.why_written import TABLE, GateMeasure, gates_of, written_and_original
from curate.report.charts import Placed, percent
from curate.report.examples import EXCERPT
from curate.sql import literal

ACCEPTED = 3  # examples
REASONS = 5  # most frequent reasons, with one example of each


@dataclass(frozen=True, slots=True)
class Beginning:
    """The beginning of a text, and whether the rest is cut; None: it is not shown."""

    text: str | None
    cut: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenExample:
    """A text that a model wrote, its original, and what gates measured."""

    doc_id: str
    domain: str
    form: str
    accepted: bool
    reason: str | None
    source_doc_id: str
    new_facts: Sequence[str] | None
    n_tokens: int
    written: Beginning
    original: Beginning
    measures: Sequence[GateMeasure]


@dataclass(frozen=True, slots=True, kw_only=True)
class Domains:
    """Section "Domains"."""

    domains: Sequence[Placed[Domain]]
    written: Sequence[WrittenForm]
    gates: Sequence[GateCount]
    candidates: int
    examples: Sequence[WrittenExample]
    problem: str | None  # why originals are missing


def domains_section(run: OpenRun) -> Domains | None:
    """The domains of a run; None without a third tier."""
    if TABLE not in run.views:
        return None
    report = read_domains(run.connection)
    rows = _drawn_rows(run)
    texts, problem = written_and_original(run, rows)
    longest = max(
        max(domain.target_tokens, domain.tokens + domain.written + domain.wanting_still) for domain in report.domains
    )
    return Domains(
        domains=[_placed(domain, longest) for domain in report.domains],
        written=report.written,
        gates=report.gates,
        candidates=sum(gate.candidates for gate in report.gates),
        examples=[_example(run, row, *pair) for row, pair in zip(rows, texts, strict=True)],
        problem=problem,
    )


def _placed(domain: Domain, longest: int) -> Placed[Domain]:
    names = ("tokens", "written", "wanting_still", "target_tokens")
    return Placed(domain, {name: percent(getattr(domain, name), 0, longest) for name in names})


def _drawn_rows(run: OpenRun) -> list[Row]:
    """Accepted texts, and one for each of the most frequent reasons, the same for a seed."""
    order = f"md5({literal(f'{run.recipe.seed} ')} || doc_id), doc_id"
    return run.query(
        f"""SELECT * EXCLUDE (turn, n) FROM (
            SELECT *, row_number() OVER (PARTITION BY reason ORDER BY {order}) AS turn,
                count(*) OVER (PARTITION BY reason) AS n FROM {TABLE}
        ) WHERE turn <= if(accepted, {ACCEPTED}, 1)
        ORDER BY accepted DESC, n DESC, reason, turn LIMIT {ACCEPTED + REASONS}"""
    )


def _example(run: OpenRun, row: Row, written: str | None, original: str | None) -> WrittenExample:
    return WrittenExample(
        doc_id=row["doc_id"],
        domain=row["domain"],
        form=row["form"],
        accepted=row["accepted"],
        reason=row["reason"],
        source_doc_id=row["source_doc_id"],
        new_facts=row["new_facts"],
        n_tokens=row["n_tokens"],
        written=_beginning(written),
        original=_beginning(original),
        measures=gates_of(run, row),
    )


def _beginning(text: str | None) -> Beginning:
    return Beginning(None, False) if text is None else Beginning(visible(text[:EXCERPT]), len(text) > EXCERPT)
