"""The sentences at the top of the report: how much is kept, and what drops most."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from curate.decide.counts import UNITS
from curate.display import counted, share
from curate.report.reasons import ReasonRow

MOST = 3  # reasons that are named


def sentences(stages: Sequence[Mapping[str, Any]], reasons: Sequence[ReasonRow]) -> list[str]:
    """How much of the input is kept, and which stages and reasons drop most of it."""
    first, last = stages[0], stages[-1]
    total, tokens = first["documents_in"], first["tokens_in"]
    written = last.get("written", dict.fromkeys(UNITS, 0))
    kept, kept_tokens, kept_bytes = (last[f"{unit}_out"] - written[unit] for unit in UNITS)
    if not total:
        return ["The input has no documents."]
    lines = [
        f"{kept:,} of {counted(total, 'document')} {'is' if kept == 1 else 'are'} kept ({share(kept, total)}), "
        f"and with them {share(kept_tokens, tokens) or 'none'} of the tokens and "
        f"{share(kept_bytes, first['bytes_in']) or 'none'} of the bytes of text."
    ]
    if written["documents"]:
        verb = "was" if written["documents"] == 1 else "were"
        lines.append(f"{counted(written['documents'], 'document')} in the output {verb} written by a model.")
    if reasons:
        listed = ", ".join(f"{row.reason} ({row.documents:,})" for row in reasons[:MOST])
        more = f" and {counted(len(reasons) - MOST, 'other reason')}" if len(reasons) > MOST else ""
        lines.append(f"Dropped by {listed}{more}.")
    dropped, stage = max((_dropped_tokens(stage), stage["stage"]) for stage in stages)
    if dropped:
        lines.append(f"Most tokens go at stage {stage}: {share(dropped, tokens)} of the input.")
    return lines


def _dropped_tokens(stage: Mapping[str, Any]) -> int:
    return int(stage["tokens_in"] + stage.get("written", {}).get("tokens", 0) - stage["tokens_out"])


def when(stamp: str | None) -> str | None:
    """A time of run.json as people write it, as in `27 November 2026, 03:21 UTC`; None where there is none."""
    try:
        at = datetime.strptime(stamp or "", "%Y-%m-%dT%H:%M:%S%z")
    except ValueError:
        return None
    zone = at.tzname() or ""
    return f"{at.day} {at:%B %Y, %H:%M} {'UTC' if zone == 'UTC' else zone}".strip()
