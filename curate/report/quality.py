"""The figures of an evaluation, and of tracked stages, in sentences and for the report.

They have two names, because they are measured on different texts by different tokens: *retained R* is of
`curate evaluate`, *tracked R* of a run's closing table, on a small sample.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from curate.display import counted
from curate.distill.evaluate.arms import WEIGHTED, WITHOUT_CURVE
from curate.distill.evaluate.results import TrackedStage, augmentation_claims, facts_of
from curate.distill.evaluate.retention import ArmRetention
from curate.inspect.documents import OpenRun
from curate.ledger.names import AUGMENT as AUGMENT
from curate.ledger.names import DECISIONS, RETENTION, TRACKING
from curate.report.charts import Placed, axis, percent
from curate.storage.mirror import by_uri

Facts = Mapping[str, Any]  # the JSON of an evaluation's facts

# What the arms `without …` of an evaluation lack.
ABLATED = {
    "rules": "Rule filtering",
    "duplicates": "Deduplication",
    "bands": "The perplexity band",
    "lines": "Cutting repeated lines",
    "purify": "Tier 2",
    AUGMENT: "Tier 3",
}
# The tracked stages of each tier.
TIERS = {
    "Rule filtering": ("rules",),
    "Deduplication": ("exact", "near"),
    "The perplexity band": ("bands",),
    "Cutting repeated lines": ("lines",),
    "Tier 2": ("purify",),
    "The budget": ("distil",),
}
MODELS = "proxy <> 'ngram', proxy, budget DESC"  # the order of models: n-grams, then decoders by name
PLACED = ("retained", "retained_low", "retained_high", "control_retained")  # columns that a row's chart shows


def claims(arms: Sequence[ArmRetention]) -> list[str]:
    """The claims on our arm, each with its random control."""
    lines = []
    total = next(arm.tokens for arm in arms if arm.arm == "full")
    ours = [arm for arm in arms if arm.arm == "ours" and arm.domain is None]
    for arm in ours:
        model = f" by {arm.model}" if len(ours) > 1 else ""
        lines.append(
            f"The output keeps {arm.tokens / total:.1%} of the tokens ({arm.tokens:,} of {total:,}, by the "
            f"evaluation's own tokenizer) and retains R {arm.retained:.3f} "
            f"({arm.retained_low:.3f} to {arm.retained_high:.3f}){model}; random documents of as many tokens "
            f"retain {arm.control_retained:.3f}: {_against_random(arm)}"
        )
    return lines


def weight_claims(arms: Sequence[ArmRetention]) -> list[str]:
    """What the output retains read by its weights, and what a flat cut of the same budget does."""
    lines = []
    for arm in (arm for arm in arms if arm.arm == WEIGHTED and arm.domain is None):
        flat = next((a for a in arms if (a.arm, a.domain, a.model) == (WITHOUT_CURVE, None, arm.model)), None)
        beside = f"; a flat cut of {flat.tokens:,} tokens retains {flat.retained:.3f}" if flat else ""
        lines.append(
            f"Read as often as its weights say, the output has {arm.tokens:,} tokens and retains R {arm.retained:.3f} "
            f"({arm.retained_low:.3f} to {arm.retained_high:.3f}){beside}; random documents of as many tokens "
            f"retain {arm.control_retained:.3f}: {_against_random(arm)}"
        )
    return lines


def _against_random(arm: ArmRetention) -> str:
    if arm.gain_low is not None and arm.gain_low > 0:
        return "better than random documents"
    if arm.gain_high is not None and arm.gain_high < 0:
        return "worse than random documents"
    return "no better than random documents, as far as can be told"


def tier_claims(arms: Sequence[ArmRetention]) -> list[str]:
    """The effect of each stage: the arm without it against ours, by the interval of their difference."""
    lines = []
    models = list(dict.fromkeys(arm.model for arm in arms))
    for model in models:
        by_name = {arm.arm: arm for arm in arms if arm.domain is None and arm.model == model}
        for name, stage in ABLATED.items():
            ablated = by_name.get(f"without {name}")
            if ablated is None or ablated.behind_low is None or ablated.behind_high is None:
                continue
            figures = _with_and_without(by_name["ours"].retained, ablated.retained)
            by_model = f" ({model})" if len(models) > 1 else ""
            lines.append(f"{stage} {_effect(ablated.behind_low, ablated.behind_high)}: R {figures}{by_model}")
    return lines


def _effect(behind_low: float, behind_high: float) -> str:
    if behind_low > 0:
        return "raises quality by this measure"
    return "lowers quality by this measure" if behind_high < 0 else "changes nothing that this can see"


def _with_and_without(retained: float, without: float) -> str:
    """Two figures in words, as in `0.935 with it and without it`."""
    ours, theirs = f"{retained:.3f}", f"{without:.3f}"
    return f"{ours} with it and without it" if ours == theirs else f"{ours} with it, {theirs} without"


def scope(facts: Facts) -> str:
    """The models, documents and held-out texts that the figures of an evaluation are about."""
    heldout = facts["heldout"]
    models = " and ".join(facts["models"])
    return (
        f"This holds for {models}, {facts['tokens']:,} tokens of {counted(facts['documents'], 'document')} "
        f"({_part_of_input(facts)}; "
        f"the evaluation's own tokenizer has a vocabulary of {facts['vocabulary']:,}) and "
        f"{counted(heldout['documents'], 'held-out text')} of {counted(len(heldout['domains']), 'domain')}; "
        "larger models want less filtering"
    )


def agreement_claims(facts: Facts) -> list[str]:
    """How far each two kinds of models agree on arms of one size."""
    return [
        f"{' and '.join(row['models'])} {_in_order(row)} {row['arms']} arms of one size: rank correlation "
        f"{row['rank_correlation']:.2f} ({row['low']:.2f} to {row['high']:.2f}), {row['same_order']} of {row['pairs']} "
        "pairs in the same order"
        for row in facts["agreement"]
    ]


def _in_order(row: Mapping[str, Any]) -> str:
    if row["low"] > 0:
        return "agree on"
    return "contradict each other on" if row["high"] < 0 else "need not agree on"


def _part_of_input(facts: Facts) -> str:
    return "all of the input" if facts["whole_input"] else "a sample of the input"


def tracked_claims(stages: Sequence[TrackedStage]) -> list[str]:
    """The effect of each tier, by the figures after each stage.

    A tier changed something if neither figure is in the other's interval.
    """
    lines = []
    previous = stages[0] if stages else None
    total = stages[0].tokens_out if stages else 0
    for tier, names in TIERS.items():
        of_tier = [stage for stage in stages if stage.stage in names]
        if not of_tier or previous is None:
            continue
        last = of_tier[-1]
        dropped = (previous.tokens_out - last.tokens_out) / max(total, 1)
        is_effect = not (_within(previous, last) or _within(last, previous))
        effect = _moved(previous, last) if is_effect else _unmoved(previous, last)
        lines.append(f"{tier} took {dropped:.1%} of the tokens{effect}")
        previous = last
    return lines


def _moved(before: TrackedStage, after: TrackedStage) -> str:
    """How far quality moved, with the random control."""
    control = after.control_retained
    random = "" if control is None else f"; random documents of as many tokens as are left have {control:.3f}"
    return f", and tracked R went from {before.retained:.3f} to {after.retained:.3f}{random}"


def _unmoved(before: TrackedStage, after: TrackedStage) -> str:
    figures = _with_and_without(after.retained, before.retained)
    return f" and changed nothing that this can see: tracked R {figures}"


def _within(stage: TrackedStage, other: TrackedStage) -> bool:
    """Whether the figure of a stage is in the interval of another."""
    return other.retained_low is not None and other.retained_low <= stage.retained <= other.retained_high


def tracked_scope(stages: Sequence[TrackedStage], facts: Facts) -> str:
    """The documents and tokens that tracked figures are about, and why an evaluation has others."""
    return (
        f"Tracked R is that of n-grams on {counted(facts['documents'], 'document')} ({_part_of_input(facts)}), "
        f"{stages[0].sample_tokens:,} tokens by a tokenizer of their own of at most {facts['vocabulary']:,}, and "
        f"{counted(facts['heldout'], 'held-out text')}; tokens left are counted by the recipe's tokenizer, "
        f"{facts['tokenizer']}. `curate evaluate` measures retained R on more of both, so it differs: "
        "take that one for the claim"
    )


def _decisions(run: OpenRun) -> str:
    """The digest of the decisions in force."""
    return run.ledger.of(DECISIONS)[0].digest


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `curate evaluate` says of the output; without claims, the command that evaluates it."""

    claims: Sequence[str]
    caveat: str | None
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Arms:
    """Retained R of all arms over all domains, and of our arm by domain; each with its axis."""

    title: str
    rows: Sequence[Placed[ArmRetention]]
    axis: tuple[float, float]
    domains: Sequence[Placed[ArmRetention]]
    domain_axis: tuple[float, float]
    several: bool  # whether there are models of more than one kind
    full: float  # the position of R = 1, in percent


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedQuality:
    """Tracked R after each stage, with its axis."""

    title: str
    rows: Sequence[Placed[TrackedStage]]
    axis: tuple[float, float]
    scope: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Section "Quality"."""

    tiers: Sequence[str]
    augmentation: Sequence[str]
    agreement: Sequence[str]
    arms: Arms | None
    stages: TrackedQuality | None


def verdict_of(run: OpenRun) -> Verdict:
    """The verdict of an evaluation of the decisions in force, if there is one."""
    heldout = "" if run.recipe.evaluate is not None else " --heldout FILE"
    command = f"curate evaluate {by_uri(str(run.folder))}{heldout}"
    facts = facts_of(run.folder, RETENTION, _decisions(run)) if "retention" in run.views else None
    if facts is None:
        return Verdict([], None, command)
    arms = _all_arms(run)
    return Verdict([*claims(arms), *weight_claims(arms)], scope(facts), command)


def _all_arms(run: OpenRun) -> list[ArmRetention]:
    return [ArmRetention(**row) for row in run.query("FROM retention")]


def quality_section(run: OpenRun) -> Quality | None:
    """The arms of an evaluation, and the tracked stages; None without either."""
    if not {"retention", "tracking"} & run.views:
        return None
    tiers: list[str] = []
    augmentation: list[str] = []
    facts = facts_of(run.folder, RETENTION, _decisions(run)) if "retention" in run.views else None
    if "retention" in run.views:
        arms = _all_arms(run)
        augmentation, tiers = augmentation_claims(arms), tier_claims(arms)
    stages = [TrackedStage(**row) for row in run.query("FROM tracking")] if "tracking" in run.views else []
    return Quality(
        tiers=tiers or tracked_claims(stages),
        augmentation=augmentation,
        agreement=agreement_claims(facts) if facts else [],
        arms=_arms(run) if "retention" in run.views else None,
        stages=_tracked(run, stages) if stages else None,
    )


def _arms(run: OpenRun) -> Arms:
    overall = run.query(f"FROM retention WHERE domain IS NULL ORDER BY {MODELS}, arm <> 'ours', retained DESC, arm")
    domains = run.query(f"FROM retention WHERE domain IS NOT NULL AND arm = 'ours' ORDER BY {MODELS}, domain")
    arms_axis, domain_axis = axis(overall, *PLACED), axis(domains, *PLACED)
    arms = [ArmRetention(**row) for row in overall]
    full = next(arm for arm in arms if arm.arm == "full")
    size = f"{full.tokens:,} tokens of {counted(full.documents, 'document')}"
    return Arms(
        title=f"Retained R by arm: full has {size}, by the evaluation’s own tokenizer",
        rows=[Placed(arm, _positions(arm, arms_axis)) for arm in arms],
        axis=arms_axis,
        domains=[Placed(arm, _positions(arm, domain_axis)) for arm in (ArmRetention(**row) for row in domains)],
        domain_axis=domain_axis,
        several=len({arm.model for arm in arms}) > 1,
        full=percent(1, *arms_axis),
    )


def _tracked(run: OpenRun, stages: Sequence[TrackedStage]) -> TrackedQuality:
    stage_axis = axis([asdict(stage) for stage in stages], *PLACED)
    size = stages[0].sample_tokens
    return TrackedQuality(
        title=f"Tracked R, stage by stage: a small sample of {size:,} tokens by its own tokenizer",
        rows=[Placed(stage, _positions(stage, stage_axis)) for stage in stages],
        axis=stage_axis,
        scope=_tracked_scope_of(run, stages),
    )


def _tracked_scope_of(run: OpenRun, stages: Sequence[TrackedStage]) -> str | None:
    """`tracked_scope` of a run, where its tracking is of the decisions in force."""
    facts = facts_of(run.folder, TRACKING, _decisions(run))
    if facts is None or run.recipe.evaluate is None:
        return None
    settings = {"vocabulary": run.recipe.evaluate.vocabulary, "tokenizer": run.recipe.tokenizer}
    return tracked_scope(stages, facts | settings)


def _positions(row: ArmRetention | TrackedStage, ends: tuple[float, float]) -> dict[str, float | None]:
    """The positions of a row's figures on an axis, in percent."""
    figures = {name: getattr(row, name) for name in PLACED}
    return {name: None if figure is None else percent(figure, *ends) for name, figure in figures.items()}
