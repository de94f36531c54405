"""How the second tier judged single documents: p_bad against the bound of their stratum, and what speaks for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from curate.distill.purify.training import learnt_of
from curate.inspect.documents import Look, Row, Text, stratum_value
from curate.ledger.names import THRESHOLDS
from curate.maps.documents import masked
from curate.sql import quoted

SHOWN = 8  # n-grams and surface features


@dataclass(frozen=True)
class Bound:
    """The bound on p_bad that a document was held against."""

    stratum: Mapping[str, str | None]  # the columns that count, with the document's values
    documents: int  # good ones that were set aside, by which it was set
    bound: float
    drop_low: float | None  # the 95 % interval of the share of good documents that it drops; None: nothing is promised
    drop_high: float | None


def bound_on(look: Look, row: Row) -> Bound | None:
    """The bound that a document was held against: that of its stratum, or of the wider one around it that has one.

    None where nothing judged it: without a second tier, or when an earlier stage dropped it.
    """
    if THRESHOLDS not in look.views or row.get("p_bad") is None:
        return None
    rows = look.query(f"FROM {quoted(THRESHOLDS)} ORDER BY depth DESC")
    names = [name for name in rows[0] if name not in ("depth", "documents", "bound", "drop_low", "drop_high")]
    own = {name: stratum_value(look, row, name) for name in names}
    for found in rows:
        counted = names[: found["depth"]]
        if all(found[name] == own[name] for name in counted):
            numbers = {name: found[name] for name in ("documents", "bound", "drop_low", "drop_high")}
            return Bound({name: own[name] for name in counted}, **numbers)
    return None


def reasons_of(look: Look, text: Text) -> list[dict[str, Any]]:
    """What speaks most for and against a text, with what it adds to the log-odds of being bad; no personal data."""
    import pyarrow as pa

    from curate.distill.scoring.discriminator import explain, groups_of, load

    learnt = learnt_of(look.run, look.ledger.parts)
    if learnt is None:
        return []
    [shown] = masked(pa.array([text.output], pa.large_string())).to_pylist()
    groups = groups_of(pa.array([text.measured], pa.large_string()))
    found = explain(load(look.run / learnt.model.path), shown, SHOWN, groups)
    return [{"what": what, "log_odds": round(adds, 4)} for what, adds in found]
