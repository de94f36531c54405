"""Rules: from the recipe's named sets, own rules and thresholds to SQL conditions."""

import json
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from curate.errors import RecipeError, did_you_mean
from curate.filters import registry
from curate.filters.contamination.signals import REASON as CONTAMINATED
from curate.filters.edits import pii
from curate.filters.language.names import like_a_code, model_codes
from curate.recipe.tier1 import MIN_CONFIDENCE, Language, Rule, Tier1
from curate.sql import literal

PERSONAL_DATA = "personal_data"  # the edit that redacts, and the reason for dropping

# Reasons that every run knows, in the order in which they are given.
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
    "over_budget": "distill.keep_tokens was filled by documents of its stratum that are wanted more",
    "redundant": "too little of the text is new to what distill keeps",
    "too_much_boilerplate": "dedup.lines cut a larger share of the document than its max_cut",
    CONTAMINATED: "the text holds words of an evaluation set that tier1.decontaminate names",
}

# The rule of tier1.decontaminate: one n-gram is enough.
DECONTAMINATE = Rule(
    reason=CONTAMINATED, signal="n_contaminated_ngrams", max=0, source="after Brown et al. 2020, appendix C"
)


@dataclass(frozen=True)
class ResolvedRule:
    """A rule with its threshold settled and the set it came from (`recipe` for own rules)."""

    rule: Rule
    rule_set: str

    @property
    def reason(self) -> str:
        """What the rule says of a document that it drops."""
        return self.rule.reason


def resolve(tier1: Tier1) -> list[ResolvedRule]:
    """The rules of a recipe in order, thresholds applied, those switched off left out.

    Errors: RecipeError for unknown sets, signals and reasons, and for reasons that stand twice.
    """
    rules: list[ResolvedRule] = []
    for entry in tier1.rules:
        if isinstance(entry, Rule):
            rules.append(ResolvedRule(entry, "recipe"))
        else:  # a rule that two sets share stands once
            rules += [found for found in named_set(entry) if not any(_same(found.rule, known.rule) for known in rules)]
    if tier1.pii.action == "drop":
        personal = pii.any_of(tier1.pii.kinds, tier1.pii.keep_reserved)
        rules.append(ResolvedRule(Rule(reason=PERSONAL_DATA, when=personal), "pii"))
    rules += [
        ResolvedRule(Rule(reason=entry.reason, when=f"block_{entry.reason} > {entry.max}"), "block")
        for entry in tier1.block
    ]
    if tier1.language:
        rules += [ResolvedRule(rule, "language") for rule in _language_rules(tier1.language)]
    seen: set[str] = set()
    for found in rules:
        if found.reason in seen or found.reason in BUILT_IN:
            where = "is built in" if found.reason in BUILT_IN else "stands twice"
            raise RecipeError(f"tier1.rules: the reason {found.reason!r} {where}; give each rule its own")
        seen.add(found.reason)
        if found.rule.signal is not None:
            registry.check_signal(found.rule.signal)
    for cut in [rule.reason for edit in _edits_named(tier1) for rule in edit.rules]:
        if cut in seen or cut in BUILT_IN:
            raise RecipeError(f"tier1.rules: the reason {cut!r} stands twice; give each rule its own")
        seen.add(cut)
    if tier1.decontaminate and tier1.decontaminate.action == "drop":
        rules.insert(0, ResolvedRule(DECONTAMINATE, "decontaminate"))
        seen.add(CONTAMINATED)
    for reason in tier1.thresholds:
        if reason not in seen and reason in BUILT_IN and reason != CONTAMINATED:
            field = "tier1.perplexity.band" if reason.startswith("perplexity") else "the section that it comes from"
            raise RecipeError(f"tier1.thresholds: {reason} is built in; move it by {field}")
        if reason not in seen:
            raise RecipeError(f"tier1.thresholds: no rule has the reason {reason!r}{did_you_mean(reason, seen)}")
    return [changed for found in rules if (changed := _with_threshold(found, tier1.thresholds)) is not None]


def _language_rules(section: Language) -> list[Rule]:
    """What keeps some languages, and what drops a document whose language is not clear.

    Errors: RecipeError for a language that the model does not know.
    """
    given = section.min_confidence
    bounds, other = (given, MIN_CONFIDENCE) if isinstance(given, dict) else ({}, given)
    for field, codes in (("keep", section.keep or []), ("min_confidence", bounds)):
        for code in codes:
            if code not in model_codes():
                raise RecipeError(f"tier1.language.{field}: the model knows no language {code!r}{like_a_code(code)}")
    clear = Rule(reason="uncertain_language", signal="language_confidence", min=other, source="Penedo et al. 2024, 3.3")
    if bounds:
        cases = " ".join(f"WHEN {literal(code)} THEN {bound!r}" for code, bound in bounds.items())
        clear = Rule(reason=clear.reason, when=f"language_confidence < (CASE language {cases} ELSE {other} END)::FLOAT")
    if section.keep is None:
        return [clear]
    listed = ", ".join(map(literal, section.keep))
    return [Rule(reason="other_language", when=f"language NOT IN ({listed})"), clear]


def _same(a: Rule, b: Rule) -> bool:
    return a.model_copy(update={"source": ""}) == b.model_copy(update={"source": ""})


def named_set(name: str) -> list[ResolvedRule]:
    """The rules of a named set.

    Errors: RecipeError for a name that is not known.
    """
    rules = _known_set(name)["rules"]
    try:
        return [ResolvedRule(Rule.model_validate_json(json.dumps(rule)), name) for rule in rules]
    except ValidationError as error:
        raise TypeError(f"filters/rules/{name}.yaml: {error}") from None


def resolve_editors(tier1: Tier1) -> list[registry.Editor]:
    """The edits of the recipe in order, each once, with their bounds settled; those wholly switched off left out.

    Errors: RecipeError for unknown sets, and for a bound for a reason that has none.
    """
    editors = []
    for edit in _edits_named(tier1):
        bounds = registry.published_bounds(edit)
        for reason in bounds.keys() & tier1.thresholds.keys():
            bound = tier1.thresholds[reason]
            if bound is not None and bounds[reason] is True:
                raise RecipeError(f"tier1.thresholds: {reason} has no threshold to move; null switches it off")
            bounds[reason] = _checked_bound(reason, bound, whole=isinstance(bounds[reason], int))
        if edit.name == PERSONAL_DATA:
            bounds |= {kind: None for kind in bounds if kind not in tier1.pii.kinds}
        if any(bound is not None for bound in bounds.values()):
            kept = {"keep_reserved": True} if edit.name == PERSONAL_DATA and tier1.pii.keep_reserved else {}
            editors.append(registry.Editor(edit.name, tuple((bounds | kept).items())))
    return editors


def _checked_bound(reason: str, bound: registry.Bound, whole: bool) -> registry.Bound:
    """The bound of an edit: a count or a share, which kernels take as 32 bits at most."""
    if bound is not None and not (0 <= bound < 2**31 and (not whole or bound == int(bound))):
        kind = "a whole number" if whole else "a number"
        raise RecipeError(f"tier1.thresholds: {reason} takes {kind} from 0 to {2**31 - 1}, or null, got {bound}")
    return bound


def _edits_named(tier1: Tier1) -> list[registry.Edit]:
    """The edits of the named sets in order, each once, then that of personal data.

    Errors: RecipeError where two sets have other bounds for one edit, and the recipe's thresholds do not settle it.
    """
    found: dict[str, tuple[str, registry.Edit]] = {}
    for name in (entry for entry in tier1.rules if isinstance(entry, str)):
        for edit in edits_of_set(name):
            other, known = found.setdefault(edit.name, (name, edit))
            for ours, theirs in zip(edit.rules, known.rules, strict=True):
                if ours != theirs and ours.reason not in tier1.thresholds:
                    raise RecipeError(
                        f"tier1.rules: {other} has {theirs.reason}: {theirs.bound}, {name} has {ours.bound}; "
                        f"name one of the two sets, or set tier1.thresholds.{ours.reason}"
                    )
    personal = [registry.edits()[PERSONAL_DATA]] if tier1.pii.action == "redact" else []
    return [edit for _, edit in found.values()] + personal


def edits_of_set(name: str) -> list[registry.Edit]:
    """The edits that a named set switches on, with the bounds that it gives them.

    Errors: RecipeError for a name that is not known.
    """
    entries = [{entry: {}} if isinstance(entry, str) else entry for entry in _known_set(name).get("edits", [])]
    return [registry.with_bounds(registry.edits()[edit], moved) for entry in entries for edit, moved in entry.items()]


def _known_set(name: str) -> dict[str, Any]:
    sets = registry.rule_sets()
    if name not in sets:
        raise RecipeError(f"tier1.rules: no rule set {name!r}{did_you_mean(name, sets)}")
    return sets[name]


def _with_threshold(found: ResolvedRule, thresholds: dict[str, float | int | None]) -> ResolvedRule | None:
    if found.reason not in thresholds:
        return found
    bound = thresholds[found.reason]
    if bound is None:
        return None
    if found.rule.when is not None:
        raise RecipeError(f"tier1.thresholds: {found.reason} has no threshold to move; null switches it off")
    side = "min" if found.rule.min is not None else "max"
    return replace(found, rule=found.rule.model_copy(update={side: bound}))


def list_sets() -> list[dict[str, Any]]:
    """Rule sets with the number of their rules and cuts, and what they are; then the built-in reasons."""
    from curate.filters import registry
    from curate.filters.rules.resolve import BUILT_IN, edits_of_set

    found = [
        {
            "set": name,
            "rules": len(known["rules"]),
            "cuts": sum(len(edit.rules) for edit in edits_of_set(name)),
            "about": " ".join(known["about"].split()),
        }
        for name, known in registry.rule_sets().items()
    ]
    about = "; ".join(f"{reason}: {meaning}" for reason, meaning in BUILT_IN.items())
    return [*found, {"set": "(built in)", "rules": len(BUILT_IN), "cuts": 0, "about": about}]


def list_rules(name: str) -> list[dict[str, str]]:
    """What a rule set drops and cuts, with the sources.

    Errors: RecipeError for a set that is not known.
    """
    from curate.filters.rules.resolve import edits_of_set, named_set

    found = [
        {"reason": cut.reason, "acts_on": "text: cuts", "what": str(cut), "source": cut.source}
        for edit in edits_of_set(name) for cut in edit.rules
    ]  # fmt: skip
    for rule in (resolved.rule for resolved in named_set(name)):
        bound = f"{rule.signal} < {rule.min}" if rule.min is not None else f"{rule.signal} > {rule.max}"
        what = rule.when or (f"{bound}, if {rule.if_}" if rule.if_ else bound)
        found.append({"reason": rule.reason, "acts_on": "document: drops", "what": what, "source": rule.source})
    return found
