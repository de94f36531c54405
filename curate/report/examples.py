"""Some documents that were kept and some that were dropped: what was measured, and where in their texts it stands."""

import shlex
from collections.abc import Mapping, Sequence
from itertools import islice, zip_longest
from typing import Any

import duckdb

from curate.display import shown, visible
from curate.inspect.documents import ROWS, Look, Text
from curate.inspect.domains import tables_of
from curate.inspect.evidence import Fired, Rules, evidence_of, rules_by_reason
from curate.inspect.sample import Wanted, shown_of
from curate.inspect.text_diff import Change
from curate.inspect.why import compared
from curate.inspect.why_written import TABLE, gates_of, texts_of_pairs
from curate.ledger.names import STAGES
from curate.recipe.tier1 import Rule
from curate.report.charts import percent
from curate.report.written_examples import Row
from curate.sql import literal
from curate.storage.mirror import by_uri

KEPT = 30  # documents
DROPPED = 60
EXCERPT = 600  # characters
DIFFERENCE = 1500  # characters of two copies compared
LARGEST = 5_000_000  # bytes of a text that is read to show its beginning
COMPARED = 50_000  # bytes of a text that is compared with its copy

Rows = list[dict[str, Any]]
Texts = Mapping[tuple[int, int], Text]

ACCEPTED = 3  # examples
REASONS = 5  # of which one is shown that was dropped for it


def documents_section(look: Look) -> dict[str, Any]:
    """Documents kept and dropped, the reasons that dropped them, and why there are no texts, where there are none."""
    kept, dropped = drawn(look.connection, look.recipe.seed)
    rows = _whole([*kept, *dropped], look)
    survivors = _survivors(rows, look)
    read = [row for row in (*rows, *survivors.values()) if row["raw_n_bytes"] <= LARGEST]
    texts, problem = look.texts(read)
    rules = rules_by_reason(look.recipe)
    found = [_told(look, rules, row, texts, survivors) for row in rows]
    reasons = look.query(
        "SELECT reason, count(*) AS documents FROM decisions WHERE NOT kept GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    first: dict[str, int] = {}
    for k, row in enumerate(found):
        for reason in row["reasons"]:
            first.setdefault(reason, k)
    for k, row in enumerate(found):
        row["first_of"] = [reason for reason, place in first.items() if place == k]
    shown_of_reason = {one["reason"]: sum(one["reason"] in row["reasons"] for row in found) for one in reasons}
    return {
        "kept": found[: len(kept)],
        "dropped": found[len(kept) :],
        "reasons": [one | {"shown": shown_of_reason[one["reason"]]} for one in reasons],
        "sample": f"curate sample {shlex.quote(by_uri(str(look.run)))}",
        "problem": problem,
    }


def drawn(connection: duckdb.DuckDBPyConnection, seed: int) -> tuple[Rows, Rows]:
    """Documents kept and documents dropped, the same for a seed; of those dropped as many for each reason as can be."""
    rows = connection.execute(
        """SELECT kept, reason, min_by({file_no: file_no, row: row, stage: stage, reasons: reasons}, order_key, ?)
        FROM (SELECT *, md5(concat_ws(':', ?::VARCHAR, 'report', doc_id)) AS order_key FROM decisions)
        GROUP BY kept, reason ORDER BY count(*) DESC, reason""",
        [DROPPED, str(seed)],
    ).fetchall()
    kept = [found[:KEPT] for verdict, _, found in rows if verdict]
    turns = zip_longest(*(found for verdict, _, found in rows if not verdict))
    dropped = (row for turn in turns for row in turn if row is not None)
    return kept[0] if kept else [], sorted(
        islice(dropped, DROPPED), key=lambda row: (STAGES.index(row["stage"]), row["reasons"])
    )


def _whole(rows: Rows, look: Look) -> Rows:
    """The rows of the view `documents` of some documents, in their order."""
    places = [[row[name] for row in rows] for name in ("file_no", "row")]
    found = look.query(
        f"""SELECT * FROM ({ROWS})
        SEMI JOIN (SELECT unnest(?::INTEGER[]) AS file_no, unnest(?::BIGINT[]) AS row) USING (file_no, row)""",
        places,
    )
    documents = {(document["file_no"], document["row"]): document for document in found}
    return [documents[row["file_no"], row["row"]] for row in rows]


def _survivors(rows: Rows, look: Look) -> dict[str, dict[str, Any]]:
    """The documents of this run that stayed instead of copies among `rows`, by their ids."""
    wanted = sorted({row["duplicate_of"] for row in rows if row["duplicate_of"] is not None})
    found = look.query(f"{ROWS} SEMI JOIN (SELECT unnest(?::VARCHAR[]) AS doc_id) USING (doc_id)", [wanted])
    return {row["doc_id"]: row for row in found}


def _told(
    look: Look, rules: Rules, row: dict[str, Any], texts: Texts, survivors: Mapping[str, dict[str, Any]]
) -> dict[str, Any]:
    """A document with what fired, its text with marks, its difference from the copy that stays, and the command."""
    text = texts.get((row["file_no"], row["row"]))
    # A search by reason reports that reason alone, but all that fired are shown beside the text.
    whole = shown_of(look, rules, row, text, None, Wanted(reason=row["reason"], limit=EXCERPT))
    why = [(one.reason, _why(one, row)) for one in evidence_of(look, rules, row)]
    pieces = None if whole["pieces"] is None else [(kind, visible(part)) for kind, part in whole["pieces"]]
    names = ("doc_id", "file", "row", "kept", "stage", "reason", "reasons", "n_tokens", "raw_n_bytes", "duplicate_of")
    command = f"curate why {shlex.quote(by_uri(str(look.run)))} {shlex.quote(visible(row['doc_id']))}"
    return {name: row[name] for name in names} | {
        "why": why, "pieces": pieces, "diff": _difference(row, text, texts, survivors), "command": command,
    }  # fmt: skip


def _difference(
    row: Mapping[str, Any], text: Text | None, texts: Texts, survivors: Mapping[str, dict[str, Any]]
) -> list[Change] | None:
    """Where a copy differs from the one that stays; None for what is no copy, or cannot be compared here."""
    other = survivors.get(row["duplicate_of"] or "")
    theirs = texts.get((other["file_no"], other["row"])) if other else None
    if text is None or theirs is None or max(len(text.raw), len(theirs.raw)) > COMPARED:
        return None
    return _limited(compared(text.measured, theirs.measured))


def _limited(found: Sequence[Change]) -> list[Change]:
    """The first changes, of so many characters."""
    left = DIFFERENCE
    limited: list[Change] = []
    for kind, part in found:
        if left <= 0:
            limited.append(("gap", "…"))
            break
        limited.append((kind, visible(part[:left])))
        left -= len(part)
    return limited


def _why(one: Fired, row: Mapping[str, Any]) -> str:
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


def beginning(whole: str | None) -> dict[str, Any]:
    """How a text begins, and whether it goes on."""
    if whole is None:
        return {"text": None}
    return {"text": visible(whole[:EXCERPT]), "cut": len(whole) > EXCERPT}


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
