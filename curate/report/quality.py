"""What an evaluation and the figures stage by stage say, in words and for the report.

Two figures have their own names, because they are measured on different texts by different tokens: *retained R* is that
of `curate evaluate`, *tracked R* that of a run's closing table, on a small sample.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from curate.display import counted
from curate.distill.evaluate.results import augmentation_claims, facts_of
from curate.inspect.documents import Look
from curate.ledger.names import AUGMENT as AUGMENT
from curate.ledger.names import DECISIONS, RETENTION, TRACKING
from curate.report.charts import axis, percent
from curate.storage.mirror import by_uri

Row = Mapping[str, Any]

WITHOUT = {
    "rules": "Rule filtering",
    "duplicates": "Deduplication",
    "bands": "The perplexity band",
    "lines": "Cutting repeated lines",
    "purify": "Tier 2",
    AUGMENT: "Tier 3",
}  # arms of an evaluation, `without …`, and what they lack
TIERS = {
    "Rule filtering": ("rules",),
    "Deduplication": ("exact", "near"),
    "The perplexity band": ("bands",),
    "Cutting repeated lines": ("lines",),
    "Tier 2": ("purify",),
    "The budget": ("distil",),
}  # and the stages that a run tracks
PLACED = ("retained", "retained_low", "retained_high", "control_retained")  # columns that a row's chart shows


def claims(found: Mapping[str, Any]) -> list[str]:
    """What may be said of the output, beside what random documents do."""
    lines = []
    arms = found["arms"]
    whole = next(row["tokens"] for row in arms if row["arm"] == "full")
    ours = [row for row in arms if row["arm"] == "ours" and row["domain"] is None]
    for row in ours:
        verdict = (
            "better than random documents" if row["gain_low"] > 0
            else "worse than random documents" if row["gain_high"] < 0
            else "no better than random documents, as far as can be told"
        )  # fmt: skip
        matched = f", matched {row['budget']}" if len(ours) > 1 else ""
        lines.append(
            f"The output keeps {row['tokens'] / whole:.1%} of the tokens ({row['tokens']:,} of {whole:,}, by the "
            f"evaluation's own tokenizer) and retains R {row['retained']:.3f} "
            f"({row['retained_low']:.3f} to {row['retained_high']:.3f}){matched}; random documents of as many tokens "
            f"retain {row['control_retained']:.3f}: {verdict}"
        )
    return lines


def tier_claims(arms: Sequence[Row]) -> list[str]:
    """What each stage brought: the run without it against ours, by the interval of their difference."""
    lines = []
    budgets = list(dict.fromkeys(row["budget"] for row in arms))
    for budget in budgets:
        rows = {row["arm"]: row for row in arms if row["domain"] is None and row["budget"] == budget}
        for name, what in WITHOUT.items():
            row = rows.get(f"without {name}")
            if row is None or row["behind_low"] is None:
                continue
            verdict = (
                "raises quality by this measure" if row["behind_low"] > 0
                else "lowers quality by this measure" if row["behind_high"] < 0
                else "changes nothing that this can see"
            )  # fmt: skip
            matched = f" (matched {budget})" if len(budgets) > 1 else ""
            lines.append(f"{what} {verdict}: R {_with_and_without(rows['ours'], row)}{matched}")
    return lines


def _with_and_without(with_it: Row, without_it: Row) -> str:
    """The figures of what has a stage and of what has not, as in `0.935 with it and without it`."""
    one, other = f"{with_it['retained']:.3f}", f"{without_it['retained']:.3f}"
    return f"{one} with it and without it" if one == other else f"{one} with it, {other} without"


def scope(found: Mapping[str, Any]) -> str:
    """For what the figures of an evaluation hold."""
    model = (
        f"n-grams of order {found['order']}" if found["proxy"] == "ngram"
        else f"decoders of {found['parameters']:,} parameters"
    )  # fmt: skip
    heldout = found["heldout"]
    what = "all of the input" if found["whole_input"] else "a sample of the input"
    return (
        f"This holds for {model}, {found['tokens']:,} tokens of {counted(found['documents'], 'document')} ({what}; "
        f"the evaluation's own tokenizer has a vocabulary of {found['vocabulary']:,}) and "
        f"{counted(heldout['documents'], 'held-out text')} of {counted(len(heldout['domains']), 'domain')}; "
        "larger models want less filtering"
    )


def tracked_claims(stages: Sequence[Row]) -> list[str]:
    """What each tier brought, by the figures stage by stage.

    A tier changed something if neither figure lies in the other's interval.
    """
    lines = []
    before = stages[0] if stages else None
    whole = stages[0]["tokens_out"] if stages else 0
    for tier, names in TIERS.items():
        rows = [row for row in stages if row["stage"] in names]
        if not rows or before is None:
            continue
        after = rows[-1]
        taken = (before["tokens_out"] - after["tokens_out"]) / max(whole, 1)
        seen = not (_within(before, after) or _within(after, before))
        lines.append(
            f"{tier} took {taken:.1%} of the tokens{_moved(before, after) if seen else _unseen(before, after)}"
        )
        before = after
    return lines


def _moved(before: Row, after: Row) -> str:
    """How far quality moved, beside what random documents do."""
    control = after["control_retained"]
    chance = "" if control is None else f"; random documents of as many tokens as are left have {control:.3f}"
    return f", and tracked R went from {before['retained']:.3f} to {after['retained']:.3f}{chance}"


def _unseen(before: Row, after: Row) -> str:
    """That nothing is seen of a tier, with both figures."""
    return f" and changed nothing that this can see: tracked R {_with_and_without(after, before)}"


def _within(one: Row, other: Row) -> bool:
    """Whether the figure of one lies in the interval of the other."""
    low, high = other["retained_low"], other["retained_high"]
    return low is not None and bool(low <= one["retained"] <= high)


def tracked_scope(stages: Sequence[Row], facts: Mapping[str, Any]) -> str:
    """For what the figures stage by stage hold, and why an evaluation has others."""
    what = "all of the input" if facts["whole_input"] else "a sample of the input"
    return (
        f"Tracked R is that of n-grams on {counted(facts['documents'], 'document')} ({what}), "
        f"{stages[0]['sample_tokens']:,} tokens by a tokenizer of their own of at most {facts['vocabulary']:,}, and "
        f"{counted(facts['heldout'], 'held-out text')}; tokens left are counted by the recipe's tokenizer, "
        f"{facts['tokenizer']}. `curate evaluate` measures retained R on more of both, so it differs: "
        "take that one for the claim"
    )


def _decisions(look: Look) -> str:
    """The digest of the decisions in force."""
    return look.ledger.of(DECISIONS)[0].digest


def verdict_of(look: Look) -> dict[str, Any]:
    """The verdict of `curate evaluate` and for what it holds; without it what was tracked, and how to get it."""
    heldout = "" if look.recipe.evaluate is not None else " --heldout FILE"
    command = f"curate evaluate {by_uri(str(look.run))}{heldout}"
    facts = facts_of(look.run, RETENTION, _decisions(look)) if "retention" in look.views else None
    if facts is None:
        return {"claims": [], "caveat": None, "command": command}
    found = facts | {"arms": look.query("FROM retention")}
    return {"claims": claims(found), "caveat": scope(found), "command": command}


def quality_section(look: Look) -> dict[str, Any] | None:
    """What the report shows of an evaluation: arms over all domains, those kept by domain, and stage by stage."""
    if not {"retention", "tracking"} & look.views:
        return None
    found: dict[str, Any] = {"arms": [], "domains": [], "stages": [], "augmentation": [], "tiers": [], "tracked": None}
    if "retention" in look.views:
        kind = "FROM retention SELECT *, arm LIKE 'random%' OR arm = 'full' AS by_chance"
        arms = look.query(f"{kind} WHERE domain IS NULL ORDER BY budget DESC, arm <> 'ours', retained DESC, arm")
        domains = look.query("FROM retention WHERE domain IS NOT NULL AND arm = 'ours' ORDER BY budget DESC, domain")
        every = look.query("FROM retention")
        found |= {"augmentation": augmentation_claims(every), "tiers": tier_claims(every)}
        found["axis"], found["arms"] = _placed(arms)
        found["domain_axis"], found["domains"] = _placed(domains)
        found["several"] = len({row["budget"] for row in arms}) > 1
        found["one"] = percent(1, *found["axis"])
        full = next(row for row in arms if row["arm"] == "full")
        size = f"{full['tokens']:,} tokens of {counted(full['documents'], 'document')}"
        found["arms_by"] = f"Retained R by arm: full has {size}, by the evaluation’s own tokenizer"
    if "tracking" in look.views:
        found["stage_axis"], found["stages"] = _placed(look.query("FROM tracking"))
        size = found["stages"][0]["sample_tokens"]
        found["stages_by"] = f"Tracked R, stage by stage: a small sample of {size:,} tokens by its own tokenizer"
        found["tiers"] = found["tiers"] or tracked_claims(found["stages"])
        found["tracked"] = _tracked_scope_of(look, found["stages"])
    return found


def _tracked_scope_of(look: Look, stages: Sequence[Row]) -> str | None:
    """`tracked_scope` of a run that lies there."""
    facts = facts_of(look.run, TRACKING, _decisions(look))
    if facts is None or look.recipe.evaluate is None:
        return None
    about = {"vocabulary": look.recipe.evaluate.vocabulary, "tokenizer": look.recipe.tokenizer}
    return tracked_scope(stages, facts | about)


def _placed(rows: Sequence[Row]) -> tuple[tuple[float, float], list[dict[str, Any]]]:
    """Rows with the places of their figures on one axis, and its ends."""
    ends = axis(rows, *PLACED)
    placed = [
        dict(row) | {"at": {name: None if row[name] is None else percent(row[name], *ends) for name in PLACED}}
        for row in rows
    ]
    return ends, placed
