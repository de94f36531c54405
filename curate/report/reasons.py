"""Section "Reasons": what each reason drops, how often it applied, and how often it was the only one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curate.display import shown
from curate.filters.rules.resolve import BUILT_IN, ResolvedRule
from curate.inspect.documents import OpenRun
from curate.recipe.tier1 import Rule
from curate.report.charts import ByUnit, percent


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonRow:
    """What a reason drops; the width of its bar is in percent."""

    stage: str
    reason: str
    about: str
    documents: int
    tokens: int
    fired: int  # documents that it applied to in its stage
    alone: int  # those that no other reason of the stage applied to
    width: ByUnit


def reasons_section(run: OpenRun, stages: Sequence[Mapping[str, Any]]) -> list[ReasonRow]:
    """Every reason that dropped something, most documents first."""
    rows = run.query(
        """SELECT reason, count(*) AS fired, count_if(n = 1) AS alone
        FROM (SELECT unnest(reasons) AS reason, len(reasons) AS n FROM decisions WHERE NOT kept) GROUP BY reason"""
    )
    counts = {row["reason"]: row for row in rows}
    about = BUILT_IN | {rule.reason: rule_text(rule) for rule in run.rules}
    dropped = [(stage["stage"], reason, sizes) for stage in stages for reason, sizes in stage["dropped"].items()]
    most = [max((sizes[unit] for *_, sizes in dropped), default=0) for unit in ("documents", "tokens")]
    reasons = [
        ReasonRow(
            stage=stage,
            reason=reason,
            about=about.get(reason, ""),
            documents=sizes["documents"],
            tokens=sizes["tokens"],
            fired=counts[reason]["fired"],
            alone=counts[reason]["alone"],
            width=ByUnit(percent(sizes["documents"], 0, most[0]), percent(sizes["tokens"], 0, most[1])),
        )
        for stage, reason, sizes in dropped
    ]
    return sorted(reasons, key=lambda row: (-row.documents, row.reason))


def rule_text(resolved: ResolvedRule) -> str:
    """A rule in words, as in `n_words at least 50`."""
    rule = resolved.rule
    return f"{rule.signal} {bound_text(rule)}" if rule.signal is not None else f"dropped when {rule.when}"


def bound_text(rule: Rule) -> str:
    """The bound of a rule in words, as in `at least 50`."""
    bound = f"at least {shown(rule.min)}" if rule.min is not None else f"at most {shown(rule.max)}"
    return f"{bound}, if {rule.if_}" if rule.if_ else bound
