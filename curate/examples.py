"""Some documents that were kept and some that were dropped, with what was measured, and how their texts begin."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, zip_longest
from typing import Any

import duckdb
import pyarrow as pa

from curate.bands import BANDS, REASONS
from curate.decide import STAGES
from curate.errors import InputError
from curate.figures import PICTURES, shown
from curate.groups import Inputs, columns_of_strata
from curate.ledger import Ledger
from curate.recipe import Recipe, Rule
from curate.rules import BUILT_IN, ResolvedRule, columns_named
from curate.sql import quoted
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


def with_measures(
    rows: Rows,
    connection: duckdb.DuckDBPyConnection,
    recipe: Recipe,
    rules: Sequence[ResolvedRule],
    inputs: Inputs,
) -> Rows:
    """Rows with the file, the size, and for every reason what was measured against which bound."""
    rule_of = {found.reason: found for found in rules}
    measured = _measured(rows, connection, recipe, inputs)
    bands = _bands(connection)
    result = []
    for row in rows:
        values = measured[row["file_no"], row["row"]]
        why = [
            (reason, _why(reason, row, values, rule_of.get(reason), recipe, bands)) for reason in row["reasons"] or ()
        ]
        result.append(row | {"file": values["file"], "raw_n_bytes": values["raw_n_bytes"], "why": why})
    return result


def _measured(
    rows: Rows, connection: duckdb.DuckDBPyConnection, recipe: Recipe, inputs: Inputs
) -> dict[tuple[int, int], dict[str, Any]]:
    """By place: the file, all signals, and the columns of strata, which bands are taken within."""
    banded = any(row["stage"] == "bands" for row in rows)
    columns = columns_of_strata(recipe, inputs) if banded else {}
    own = "".join(f", {sql} AS {quoted(f'input.{name}')}" for name, sql in columns.items())
    found = connection.execute(
        f"""SELECT s.*, file{own} FROM signals s JOIN inputs USING (file_no){inputs.joined(list(columns))}
        SEMI JOIN (SELECT unnest(?::INTEGER[]) AS file_no, unnest(?::BIGINT[]) AS row) USING (file_no, row)""",
        [[row[name] for row in rows] for name in ("file_no", "row")],
    )
    names = [name for name, *_ in found.description or ()]
    values = (dict(zip(names, row, strict=True)) for row in found.fetchall())
    return {(row["file_no"], row["row"]): row for row in values}


def _why(
    reason: str,
    row: Mapping[str, Any],
    signals: Mapping[str, Any],
    found: ResolvedRule | None,
    recipe: Recipe,
    bands: Rows,
) -> str:
    """What was measured of a document, and the bound that it breaks."""
    if found is not None:
        return _against_rule(found, signals)
    if reason in REASONS:
        return _against_band(signals, recipe, bands)
    if reason == "too_large":
        return f"{signals['raw_n_bytes']:,} bytes, at most {recipe.input.max_document_bytes:,}"
    if row["duplicate_of"] is not None:
        least = recipe.dedup.near.threshold if recipe.dedup.near and row["stage"] == "near" else None
        likeness = f", {shown(row['similarity'])} similar, from {shown(least)} on" if least else ""
        return f"copy of {row['duplicate_of']}{likeness}"
    return BUILT_IN.get(reason, "")


def _against_rule(found: ResolvedRule, signals: Mapping[str, Any]) -> str:
    rule = found.rule
    if rule.signal is not None:
        value, bound = signals.get(rule.signal), rule.min if rule.min is not None else rule.max
        digits = 4 if shown(value) != shown(bound) else 9  # what is just beyond its bound
        return f"{rule.signal} is {shown(value, digits)}, {bound_of(rule)}"
    values = [f"{name} is {shown(signals[name])}" for name in columns_named([found])[0] if name in signals]
    return "; ".join([*values, f"dropped when {rule.when}"])


def bound_of(rule: Rule) -> str:
    """The bound of a rule, as in `at least 50`."""
    bound = f"at least {shown(rule.min)}" if rule.min is not None else f"at most {shown(rule.max)}"
    return f"{bound}, if {rule.if_}" if rule.if_ else bound


def _bands(connection: duckdb.DuckDBPyConnection) -> Rows:
    """The bands of all strata, the narrowest strata first."""
    if not connection.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = ?", [BANDS]).fetchall()[0][0]:
        return []
    found: Rows = connection.sql(f"FROM {quoted(BANDS)} ORDER BY depth DESC").to_arrow_table().to_pylist()
    return found


def _against_band(signals: Mapping[str, Any], recipe: Recipe, bands: Rows) -> str:
    """The perplexity and the band of its stratum; by percentile, where columns of strata cannot be read."""
    value = f"perplexity is {shown(signals.get('perplexity'))}"
    section = recipe.tier1.perplexity
    names = [name for name in (bands[0] if bands else {}) if name not in ("depth", "documents", "low", "high")]
    if section is not None and not all(name in signals for name in names):
        return f"{value}, outside percentiles {shown(section.band[0])} to {shown(section.band[1])} of its stratum"
    for band in bands:
        if all(band[name] == signals.get(name) for name in names[: band["depth"]]):
            return f"{value}, the band of its stratum is {shown(band['low'])} to {shown(band['high'])}"
    return value


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
    texts = dict(zip(wanted, _beginnings(masked(found["text"].combine_chunks())), strict=True))
    return [row | texts.get((row["file_no"], row["row"]), {"text": None}) for row in rows], None


def _beginnings(texts: pa.Array) -> Iterator[dict[str, Any]]:
    for text in texts:
        whole = text.as_py()
        if whole is None:
            yield {"text": None}
        else:
            begin = "\n".join(whole[:EXCERPT].split("\n")[:LINES])
            yield {"text": begin.translate(PICTURES), "cut": len(whole) > len(begin)}
