"""Some documents that were kept and some that were dropped, with what was measured, and how their texts begin."""

from collections.abc import Mapping
from itertools import islice, zip_longest
from typing import Any

import duckdb
import pyarrow as pa

from curate.decide import STAGES
from curate.errors import InputError
from curate.evidence import Fired, evidence_of, rules_by_reason
from curate.figures import shown
from curate.ledger import Ledger
from curate.look import ROWS, Look
from curate.sections import Rule
from curate.terminal import visible
from curate.texts import masked, read_texts

SHOWN = 30  # documents kept, and as many dropped
EXCERPT = 600  # characters
LINES = 14
LARGEST = 5_000_000  # bytes of a text that is read to show its beginning

Rows = list[dict[str, Any]]


def drawn(connection: duckdb.DuckDBPyConnection, seed: int) -> tuple[Rows, Rows]:
    """Documents kept and documents dropped, the same for a seed; of those dropped as many for each reason as can be."""
    rows = connection.execute(
        """SELECT kept, reason, min_by({file_no: file_no, row: row, doc_id: doc_id, n_tokens: n_tokens, stage: stage,
                reasons: reasons, duplicate_of: duplicate_of, similarity: similarity}, order_key, ?)
        FROM (SELECT *, md5(concat_ws(':', ?::VARCHAR, 'report', doc_id)) AS order_key FROM decisions)
        GROUP BY kept, reason ORDER BY count(*) DESC, reason""",
        [SHOWN, str(seed)],
    ).fetchall()
    kept = [found for verdict, _, found in rows if verdict]
    turns = zip_longest(*(found for verdict, _, found in rows if not verdict))
    dropped = (row for turn in turns for row in turn if row is not None)
    return kept[0] if kept else [], sorted(
        islice(dropped, SHOWN), key=lambda row: (STAGES.index(row["stage"]), row["reasons"])
    )


def with_measures(rows: Rows, look: Look) -> Rows:
    """Rows with the file, the size, and for every reason what was measured against which bound."""
    places = [[row[name] for row in rows] for name in ("file_no", "row")]
    found = look.query(
        f"""SELECT * FROM ({ROWS})
        SEMI JOIN (SELECT unnest(?::INTEGER[]) AS file_no, unnest(?::BIGINT[]) AS row) USING (file_no, row)""",
        places,
    )
    documents = {(document["file_no"], document["row"]): document for document in found}
    rules = rules_by_reason(look.recipe)
    result = []
    for row in rows:
        document = documents[row["file_no"], row["row"]]
        why = [(one.reason, _told(one, row)) for one in evidence_of(look, rules, document)]
        result.append(row | {"file": document["file"], "raw_n_bytes": document["raw_n_bytes"], "why": why})
    return result


def _told(one: Fired, row: Mapping[str, Any]) -> str:
    """What was measured against which bound, and the condition or the other copy that belong to it."""
    parts = [str(one)] if one.values else []
    if one.condition is not None:
        parts.append(f"{'dropped when' if one.signal is None else 'if'} {one.condition}")
    if row["duplicate_of"] is not None:
        parts.insert(0, f"copy of {row['duplicate_of']}")
    return ", ".join(parts) or one.source


def bound_of(rule: Rule) -> str:
    """The bound of a rule, as in `at least 50`."""
    bound = f"at least {shown(rule.min)}" if rule.min is not None else f"at most {shown(rule.max)}"
    return f"{bound}, if {rule.if_}" if rule.if_ else bound


def with_excerpts(rows: Rows, ledger: Ledger, column: str) -> tuple[Rows, str | None]:
    """Rows with the beginning of each text without personal data; why there are none, where the inputs cannot be read.

    Texts are masked whole: one that was cut first might hold half an address, which nothing would find.
    """
    wanted = sorted({(row["file_no"], row["row"]) for row in rows if row["raw_n_bytes"] <= LARGEST})
    places = pa.table({name: [place[k] for place in wanted] for k, name in enumerate(("file_no", "row"))})
    try:
        found = read_texts(ledger, column, places)
    except InputError as error:
        return [row | {"text": None} for row in rows], str(error)
    texts = dict(zip(wanted, map(beginning, masked(found["text"].combine_chunks()).to_pylist()), strict=True))
    return [row | texts.get((row["file_no"], row["row"]), {"text": None}) for row in rows], None


def beginning(whole: str | None) -> dict[str, Any]:
    """How a text begins, and whether it goes on."""
    if whole is None:
        return {"text": None}
    begin = "\n".join(whole[:EXCERPT].split("\n")[:LINES])
    return {"text": visible(begin), "cut": len(whole) > len(begin)}
