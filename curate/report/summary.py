"""What the report says first, in sentences: how much is kept, what took most, and what the selection is worth."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from curate.display import counted, share

Row = Mapping[str, Any]
MOST = 3  # reasons that are named


def sentences(stages: Sequence[Row], reasons: Sequence[Row]) -> list[str]:
    """How much of the input is kept, and which stages and reasons took most of it."""
    first, last = stages[0], stages[-1]
    total, tokens = first["documents_in"], first["tokens_in"]
    written = last.get("written", {"documents": 0, "tokens": 0})
    kept, kept_tokens = (last[f"{unit}_out"] - written[unit] for unit in ("documents", "tokens"))
    if not total:
        return ["The input has no documents."]
    found = [
        f"{kept:,} of {counted(total, 'document')} {'is' if kept == 1 else 'are'} kept ({share(kept, total)}), "
        f"and with them {share(kept_tokens, tokens) or 'none'} of the tokens."
    ]
    if written["documents"]:
        verb = "was" if written["documents"] == 1 else "were"
        found.append(f"{counted(written['documents'], 'document')} in the output {verb} written by a model.")
    if reasons:
        named = ", ".join(f"{row['reason']} ({row['documents']:,})" for row in reasons[:MOST])
        more = f" and {counted(len(reasons) - MOST, 'other reason')}" if len(reasons) > MOST else ""
        found.append(f"Dropped by {named}{more}.")
    takes = [(stage["tokens_in"] + stage.get("written", {}).get("tokens", 0) - stage["tokens_out"], stage["stage"])
             for stage in stages]  # fmt: skip
    taken, stage = max(takes)
    if taken:
        found.append(f"Most tokens go at stage {stage}: {share(taken, tokens)} of the input.")
    return found


def when(stamp: str | None) -> str | None:
    """A time of run.json as people write it, as in `27 November 2026, 03:21 UTC`; None where there is none."""
    try:
        at = datetime.strptime(stamp or "", "%Y-%m-%dT%H:%M:%S%z")
    except ValueError:
        return None
    zone = at.tzname() or ""
    return f"{at.day} {at:%B %Y, %H:%M} {'UTC' if zone == 'UTC' else zone}".strip()
