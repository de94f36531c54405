"""The domains of a run's recipe: documents and tokens of each, and the verdicts on texts written for them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from curate.errors import RunError
from curate.ledger.run import connect
from curate.sql import rows_of

WRITTEN_SQL = """
    SELECT domain, form, count(*) AS candidates, count_if(accepted) AS accepted,
        coalesce(sum(n_tokens) FILTER (accepted), 0)::BIGINT AS tokens
    FROM synthetic GROUP BY ALL ORDER BY domain, form"""
REASONS_SQL = """
    SELECT coalesce(reason, 'accepted') AS reason, count(*) AS candidates
    FROM synthetic GROUP BY ALL ORDER BY 2 DESC, 1"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """A domain: its row of table `domains`, the tokens written for it, and its remaining deficit."""

    domain: str
    seeds: int
    least_importance: float
    distance: float
    documents: int
    tokens: int
    share: float
    mean_importance: float
    dropped_for_form: int
    dropped_tokens: int
    target_tokens: int
    wanting: int  # tokens that the corpus lacks
    cap: int
    written: int  # tokens of accepted written documents
    wanting_still: int  # tokens that are lacking after these


@dataclass(frozen=True, slots=True)
class WrittenForm:
    """Candidates that a model wrote for a domain in one form."""

    domain: str
    form: str
    candidates: int
    accepted: int
    tokens: int  # of the accepted ones


@dataclass(frozen=True, slots=True)
class GateCount:
    """Candidates with one reason, or `accepted`."""

    reason: str
    candidates: int


@dataclass(frozen=True, slots=True)
class DomainReport:
    """What `curate domains` reports of a run."""

    domains: Sequence[Domain]
    written: Sequence[WrittenForm]
    gates: Sequence[GateCount]


def domains_of(run: Path) -> DomainReport:
    """The domains of a run.

    Errors: RunError where its recipe names no domains.
    """
    with connect(run) as connection:
        try:
            return read_domains(connection)
        except duckdb.CatalogException:
            raise RunError(f"{run}: names no domains; add tier3.domains to its recipe, and run it again") from None


def read_domains(connection: duckdb.DuckDBPyConnection) -> DomainReport:
    """The domains of a run, by a connection to its index.

    Errors: duckdb.CatalogException where the run has no third tier.
    """
    written = [WrittenForm(**row) for row in rows_of(WRITTEN_SQL, connection)]
    tokens: Counter[str] = Counter()
    for form in written:
        tokens[form.domain] += form.tokens
    domains = []
    for row in rows_of("FROM domains", connection):
        of_domain = tokens[row["domain"]]
        domains.append(Domain(**row, written=of_domain, wanting_still=max(0, row["wanting"] - of_domain)))
    return DomainReport(domains, written, [GateCount(**row) for row in rows_of(REASONS_SQL, connection)])
