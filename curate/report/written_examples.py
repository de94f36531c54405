"""What the report shows of thin domains: what there is, was written and is wanting still, gates, and some texts."""

from typing import Any

from curate.inspect.documents import Look
from curate.inspect.domains import tables_of
from curate.inspect.why_written import TABLE, gates_of, texts_of_pairs
from curate.report.charts import percent
from curate.report.examples import beginning
from curate.sql import literal

ACCEPTED = 3  # examples
REASONS = 5  # of which one is shown that was dropped for it

Row = dict[str, Any]


def domains_section(look: Look) -> Row | None:
    """Domains, what was written by form, gates, and examples of both verdicts; None for a run without a third tier.

    `problem` says why originals cannot be shown, if so.
    """
    if TABLE not in look.views:
        return None
    found: Row = {name: list(rows) for name, rows in tables_of(look.connection).items()}
    wholes = [
        max(row["target_tokens"], row["tokens"] + row["written"] + row["wanting_still"]) for row in found["domains"]
    ]
    for row in found["domains"]:
        names = ("tokens", "written", "wanting_still", "target_tokens")
        row["at"] = {name: percent(row[name], 0, max(wholes)) for name in names}
    found["candidates"] = sum(row["candidates"] for row in found["gates"])
    rows = _drawn(look)
    texts, problem = texts_of_pairs(look, rows)
    found["examples"] = [_shown(look, row, *pair) for row, pair in zip(rows, texts, strict=True)]
    return found | {"problem": problem}


def _drawn(look: Look) -> list[Row]:
    """Some accepted texts, and one for each of the commonest reasons, the same for a seed."""
    order = f"md5({literal(f'{look.recipe.seed} ')} || doc_id), doc_id"
    return look.query(
        f"""SELECT * EXCLUDE (turn, n) FROM (
            SELECT *, row_number() OVER (PARTITION BY reason ORDER BY {order}) AS turn,
                count(*) OVER (PARTITION BY reason) AS n FROM {TABLE}
        ) WHERE turn <= if(accepted, {ACCEPTED}, 1)
        ORDER BY accepted DESC, n DESC, reason, turn LIMIT {ACCEPTED + REASONS}"""
    )


def _shown(look: Look, row: Row, written: str | None, original: str | None) -> Row:
    names = ("doc_id", "domain", "form", "accepted", "reason", "source_doc_id", "new_facts", "n_tokens")
    texts = {"written": beginning(written), "original": beginning(original)}
    return {**{name: row[name] for name in names}, **texts, "measures": gates_of(look, row)}
