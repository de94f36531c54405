"""Resolve the rules and edits of a recipe from its rule sets, own rules and thresholds."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydantic import ValidationError

from curate.errors import RecipeError, did_you_mean
from curate.filters import registry
from curate.filters.contamination.signals import REASON as CONTAMINATED
from curate.filters.edits import pii
from curate.filters.language.names import model_codes, suggest_code
from curate.recipe.tier1 import MIN_CONFIDENCE, Language, Rule, Tier1
from curate.sql import literal

PERSONAL_DATA = "personal_data"  # the name of the redacting edit, and the reason of the dropping rule

# Reasons that every run has, in order of precedence.
BUILT_IN = {
    "empty_text": "the text is null or blank",
    "invalid_utf8": "the text is not well-formed UTF-8",
    "too_large": "the text has more bytes than input.max_document_bytes",
    "excluded": "the document stands in a file of `exclude`",
    "exact_duplicate": "the text equals that of a document that is kept",
    "normalised_duplicate": "the text equals that of a document that is kept but for case and white space",
    "near_duplicate": "the text nearly equals that of a document that is kept",
    "perplexity_too_low": "the perplexity lies below the band of the document's stratum",
    "perplexity_too_high": "the perplexity lies above the band of the document's stratum",
    "p_bad_too_high": "the discriminator of tier2 holds the text for bad beyond the bound of its stratum",
    "too_little_left": "tier2.passages leaves fewer bytes of the document than its least",
    "over_budget": "the budget of distill was filled by documents of its stratum that are wanted more",
    "redundant": "too little of the text is new to what distill keeps",
    "too_much_boilerplate": "dedup.lines cut a larger share of the document than its max_cut",
    CONTAMINATED: "the text holds words of an evaluation set that tier1.decontaminate names",
}

# The rule of tier1.decontaminate: a single n-gram is enough.
DECONTAMINATE = Rule(
    reason=CONTAMINATED, signal="n_contaminated_ngrams", max=0, source="after Brown et al. 2020, appendix C"
)


@dataclass(frozen=True)
class ResolvedRule:
    """A rule with its threshold, and the set that it is from (`recipe` for the recipe's own rules)."""

    rule: Rule
    rule_set: str

    @property
    def reason(self) -> str:
        """The reason for which the rule drops documents."""
        return self.rule.reason


def resolve(tier1: Tier1) -> list[ResolvedRule]:
    """The rules of a recipe in order, with thresholds applied and without those switched off.

    Errors: RecipeError for unknown sets, signals and reasons, and for duplicate reasons.
    """
    rules = _rules(tier1)
    reasons = _distinct_reasons(rules, tier1)
    if tier1.decontaminate and tier1.decontaminate.action == "drop":
        rules.insert(0, ResolvedRule(DECONTAMINATE, "decontaminate"))
        reasons.add(CONTAMINATED)
    for reason in tier1.thresholds:
        if reason not in reasons and reason in BUILT_IN and reason != CONTAMINATED:
            field = "tier1.perplexity.band" if reason.startswith("perplexity") else "the section that it comes from"
            raise RecipeError(f"tier1.thresholds: {reason} is built in; move it by {field}")
        if reason not in reasons:
            raise RecipeError(f"tier1.thresholds: no rule has the reason {reason!r}{did_you_mean(reason, reasons)}")
    adjusted = (_with_threshold(resolved, tier1.thresholds) for resolved in rules)
    return [resolved for resolved in adjusted if resolved is not None]


def _rules(tier1: Tier1) -> list[ResolvedRule]:
    """The rules of the recipe's sets, its own, and those of the sections pii, block and language, in this order."""
    rules: list[ResolvedRule] = []
    for entry in tier1.rules:
        if isinstance(entry, Rule):
            rules.append(ResolvedRule(entry, "recipe"))
        else:  # skip rules that an earlier set has, too
            for resolved in rules_of_set(entry):
                if not any(_equal_but_source(resolved.rule, other.rule) for other in rules):
                    rules.append(resolved)
    if tier1.pii.action == "drop":
        personal = pii.has_any_sql(tier1.pii.kinds, tier1.pii.keep_reserved)
        rules.append(ResolvedRule(Rule(reason=PERSONAL_DATA, when=personal), "pii"))
    for block in tier1.block:
        rule = Rule(reason=block.reason, when=f"block_{block.reason} > {block.max}")
        rules.append(ResolvedRule(rule, "block"))
    if tier1.language:
        rules += [ResolvedRule(rule, "language") for rule in _language_rules(tier1.language)]
    return rules


def _distinct_reasons(rules: Sequence[ResolvedRule], tier1: Tier1) -> set[str]:
    """The reasons of rules and of the recipe's edits.

    Errors: RecipeError for a reason that is built in or occurs twice, and for an unknown signal.
    """
    reasons: set[str] = set()
    for resolved in rules:
        if resolved.reason in reasons or resolved.reason in BUILT_IN:
            problem = "is built in" if resolved.reason in BUILT_IN else "stands twice"
            raise RecipeError(f"tier1.rules: the reason {resolved.reason!r} {problem}; give each rule its own")
        reasons.add(resolved.reason)
        if resolved.rule.signal is not None:
            registry.check_signal(resolved.rule.signal)
    for reason in [rule.reason for edit in _edits(tier1) for rule in edit.rules]:
        if reason in reasons or reason in BUILT_IN:
            raise RecipeError(f"tier1.rules: the reason {reason!r} stands twice; give each rule its own")
        reasons.add(reason)
    return reasons


def _language_rules(section: Language) -> list[Rule]:
    """The rules that keep the recipe's languages, and drop documents whose language is uncertain.

    Errors: RecipeError for a language that the model does not know.
    """
    confidence = section.min_confidence
    bounds, default = (confidence, MIN_CONFIDENCE) if isinstance(confidence, dict) else ({}, confidence)
    for field, codes in (("keep", section.keep or []), ("min_confidence", bounds)):
        for code in codes:
            if code not in model_codes():
                raise RecipeError(f"tier1.language.{field}: the model knows no language {code!r}{suggest_code(code)}")
    confident = Rule(
        reason="uncertain_language", signal="language_confidence", min=default, source="Penedo et al. 2024, 3.3"
    )
    if bounds:
        cases = " ".join(f"WHEN {literal(code)} THEN {bound!r}" for code, bound in bounds.items())
        confident = Rule(
            reason=confident.reason, when=f"language_confidence < (CASE language {cases} ELSE {default} END)::FLOAT"
        )
    if section.keep is None:
        return [confident]
    listed = ", ".join(map(literal, section.keep))
    return [Rule(reason="other_language", when=f"language NOT IN ({listed})"), confident]


def _equal_but_source(a: Rule, b: Rule) -> bool:
    return a.model_copy(update={"source": ""}) == b.model_copy(update={"source": ""})


def rules_of_set(name: str) -> list[ResolvedRule]:
    """The rules of a rule set.

    Errors: RecipeError for an unknown name.
    """
    rules = _rule_set(name)["rules"]
    try:
        return [ResolvedRule(Rule.model_validate_json(json.dumps(rule)), name) for rule in rules]
    except ValidationError as error:
        raise TypeError(f"filters/rules/{name}.yaml: {error}") from None


def resolve_editors(tier1: Tier1) -> list[registry.Editor]:
    """The distinct edits of a recipe in order, with their bounds, and without those wholly switched off.

    Errors: RecipeError for unknown sets, and for a bound for a reason that has none.
    """
    editors = []
    for edit in _edits(tier1):
        bounds = registry.published_bounds(edit)
        for reason in bounds.keys() & tier1.thresholds.keys():
            bound = tier1.thresholds[reason]
            if bound is not None and bounds[reason] is True:
                raise RecipeError(f"tier1.thresholds: {reason} has no threshold to move; null switches it off")
            bounds[reason] = _check_bound(reason, bound, is_integer=isinstance(bounds[reason], int))
        if edit.name == PERSONAL_DATA:
            bounds |= {kind: None for kind in bounds if kind not in tier1.pii.kinds}
        if any(bound is not None for bound in bounds.values()):
            options = {"keep_reserved": True} if edit.name == PERSONAL_DATA and tier1.pii.keep_reserved else {}
            editors.append(registry.Editor(edit.name, tuple((bounds | options).items())))
    return editors


def _check_bound(reason: str, bound: registry.Bound, is_integer: bool) -> registry.Bound:
    """Check the bound of an edit: a count or a share that fits into 32 bits, as kernels require."""
    if bound is not None and not (0 <= bound < 2**31 and (not is_integer or bound == int(bound))):
        kind = "a whole number" if is_integer else "a number"
        raise RecipeError(f"tier1.thresholds: {reason} takes {kind} from 0 to {2**31 - 1}, or null, got {bound}")
    return bound


def _edits(tier1: Tier1) -> list[registry.Edit]:
    """The distinct edits of the rule sets in order, then that of personal data.

    Errors: RecipeError where sets disagree on a bound, and the recipe's thresholds do not set it.
    """
    edits_by_name: dict[str, tuple[str, registry.Edit]] = {}
    for name in (entry for entry in tier1.rules if isinstance(entry, str)):
        for edit in edits_of_set(name):
            other_set, other_edit = edits_by_name.setdefault(edit.name, (name, edit))
            for rule, other_rule in zip(edit.rules, other_edit.rules, strict=True):
                if rule != other_rule and rule.reason not in tier1.thresholds:
                    raise RecipeError(
                        f"tier1.rules: {other_set} has {other_rule.reason}: {other_rule.bound}, {name} has "
                        f"{rule.bound}; name one of the two sets, or set tier1.thresholds.{rule.reason}"
                    )
    personal = [registry.edits()[PERSONAL_DATA]] if tier1.pii.action == "redact" else []
    return [edit for _, edit in edits_by_name.values()] + personal


def edits_of_set(name: str) -> list[registry.Edit]:
    """The edits of a rule set, with the set's bounds.

    Errors: RecipeError for an unknown name.
    """
    edits: list[registry.Edit] = []
    for entry in _rule_set(name).get("edits", []):
        bounds_by_edit = {entry: {}} if isinstance(entry, str) else entry
        edits += [registry.with_bounds(registry.edits()[edit], bounds) for edit, bounds in bounds_by_edit.items()]
    return edits


def _rule_set(name: str) -> registry.RuleSet:
    sets = registry.rule_sets()
    if name not in sets:
        raise RecipeError(f"tier1.rules: no rule set {name!r}{did_you_mean(name, sets)}")
    return sets[name]


def _with_threshold(resolved: ResolvedRule, thresholds: dict[str, float | int | None]) -> ResolvedRule | None:
    if resolved.reason not in thresholds:
        return resolved
    bound = thresholds[resolved.reason]
    if bound is None:
        return None
    if resolved.rule.when is not None:
        raise RecipeError(f"tier1.thresholds: {resolved.reason} has no threshold to move; null switches it off")
    side = "min" if resolved.rule.min is not None else "max"
    return replace(resolved, rule=resolved.rule.model_copy(update={side: bound}))


def list_sets() -> list[dict[str, str | int]]:
    """All rule sets with numbers of rules and cuts, and descriptions; then the built-in reasons."""
    rows: list[dict[str, str | int]] = [
        {
            "set": name,
            "rules": len(content["rules"]),
            "cuts": sum(len(edit.rules) for edit in edits_of_set(name)),
            "about": " ".join(content["about"].split()),
        }
        for name, content in registry.rule_sets().items()
    ]
    about = "; ".join(f"{reason}: {meaning}" for reason, meaning in BUILT_IN.items())
    return [*rows, {"set": "(built in)", "rules": len(BUILT_IN), "cuts": 0, "about": about}]


def list_rules(name: str) -> list[dict[str, str]]:
    """What a rule set drops and cuts, with sources.

    Errors: RecipeError for an unknown set.
    """
    rows = [
        {"reason": cut.reason, "acts_on": "text: cuts", "what": str(cut), "source": cut.source}
        for edit in edits_of_set(name)
        for cut in edit.rules
    ]
    for rule in (resolved.rule for resolved in rules_of_set(name)):
        bound = f"{rule.signal} < {rule.min}" if rule.min is not None else f"{rule.signal} > {rule.max}"
        condition = rule.when or (f"{bound}, if {rule.if_}" if rule.if_ else bound)
        rows.append({"reason": rule.reason, "acts_on": "document: drops", "what": condition, "source": rule.source})
    return rows
