"""By what documents are grouped: dimensions, as SQL over a document's signals and the input's columns."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from curate.errors import CurateError, did_you_mean
from curate.recipe.recipe import Recipe
from curate.sql import literal, quoted

FILE, LANGUAGE, LENGTH, REGISTER, MENTIONS = "file", "language", "length_bucket", "register", "mentions"
SITE, REGION, SITE_KIND = "site", "region", "site_kind"
SOURCE, URL = "input.source", "url"
MOST_GROUPS = 20  # of one dimension, the largest
PREFIX = "who."  # of a column in a table that has others too
TIMES = " × "  # between the groups of two dimensions

HOST = r"^\s*(?:(?:[a-z][a-z0-9+.-]*:)?//)?(?:[^/@?#]*@)?(?:www\.)?([^/:?#\s]+\.[^/:?#.\s]+)"
# Domains of countries that are used for any purpose: Google's list of generic country-code domains ("Managing
# multi-regional and multilingual sites", Search Central).
GENERIC = "ad ai as bz cc cd co dj fm io la me ms nu sc sr su tk tv ws"
KINDS = {  # second-level domains below that of a country, by the kind that they stand for
    "education": ("edu", r"\.(edu|ac|sch)\.[a-z]{2}$"),
    "government": ("gov", "mil", r"\.(gov|gouv|gob|go|gv|govt|gc|mil)\.[a-z]{2}$"),
    "organisation": ("org", r"\.(org|or|ngo)\.[a-z]{2}$"),
    "company": ("com", "biz", r"\.(com|co|ltd|plc)\.[a-z]{2}$"),
}


@dataclass(frozen=True, slots=True)
class Dimension:
    """A way to group documents."""

    name: str
    sql: str  # of the group's name; with `several`, of a list of them
    most: int = MOST_GROUPS
    several: bool = False  # a document may be of several groups, or of none
    known: bool = False  # documents without a value are neither a group nor part of the rest
    folded: str | None = None  # SQL over the column of that name: groups that are shown as one


def dimensions(recipe: Recipe, signals: Collection[str], inputs: Mapping[str, str]) -> dict[str, Dimension]:
    """All dimensions that documents have, by name.

    `signals` are those measured, `inputs` the input's columns in lower case with their SQL, as text.
    """
    language = recipe.tier1.language
    found = [Dimension(FILE, "f.file")]
    if LANGUAGE in signals:
        found.append(Dimension(LANGUAGE, LANGUAGE, folded=_kept_sql(language.keep if language else None)))
    found += [Dimension(f"input.{name}", inputs[name]) for name in (LANGUAGE, "source") if name in inputs]
    strata = [name.removesuffix("?").lower() for name in recipe.input.strata]
    found += [
        Dimension(f"input.{name}", inputs[name])
        for name in dict.fromkeys(strata)
        if name in inputs and name not in (LANGUAGE, "source")
    ]
    if URL in inputs:
        host = f"nullif(regexp_extract(lower({inputs[URL]}), '{HOST}', 1), '')"
        found += [Dimension(SITE, host), Dimension(REGION, _region_sql(host)), Dimension(SITE_KIND, _kind_sql(host))]
    found += [Dimension(LENGTH, LENGTH)] if LENGTH in signals else []
    found += [Dimension(REGISTER, REGISTER, known=True)] if REGISTER in signals else []
    found += [Dimension(MENTIONS, MENTIONS, most=100, several=True)] if MENTIONS in signals else []
    return {dimension.name: dimension for dimension in found}


def group_columns(dimensions: Mapping[str, Dimension]) -> dict[str, str]:
    """The SQL of dimensions by names that no other column has."""
    return {f"{PREFIX}{name}": dimension.sql for name, dimension in dimensions.items()}


def of_columns(dimensions: Mapping[str, Dimension]) -> list[Dimension]:
    """Dimensions of a table with the columns of `group_columns`."""
    return [
        replace(
            dimension,
            sql=quoted(f"{PREFIX}{name}"),
            folded=(dimension.folded or quoted(name)).replace(quoted(name), quoted(f"{PREFIX}{name}")),
        )
        for name, dimension in dimensions.items()
    ]


def _kept_sql(keep: Sequence[str] | None) -> str | None:
    """A document's language, where all that the recipe does not keep are one."""
    if not keep:
        return None
    listed = ", ".join(map(literal, keep))
    name = quoted(LANGUAGE)
    return f"CASE WHEN {name} IN ({listed}) THEN {name} WHEN {name} IS NOT NULL THEN {literal(LEFT_OUT)} END"


LEFT_OUT = "languages that tier1.language.keep leaves out"


def _top(host: str) -> str:
    return rf"regexp_extract({host}, '\.([a-z]+|xn--[a-z0-9-]+)$', 1)"


def _region_sql(host: str) -> str:
    """The country's domain of an address, as in .de; `no country` for domains that say none."""
    top, general = _top(host), ", ".join(map(literal, GENERIC.split()))
    return (
        f"CASE WHEN {host} IS NULL THEN NULL WHEN {top} = 'xn--p1ai' THEN '.ru' "
        f"WHEN length({top}) = 2 AND {top} NOT IN ({general}) THEN '.' || {top} ELSE 'no country' END"
    )


def _kind_sql(host: str) -> str:
    """What an address says of who is behind it: education, government, organisation, company, or other."""
    cases = ""
    for kind, (*tops, pattern) in KINDS.items():
        listed = ", ".join(map(literal, tops))
        cases += f" WHEN {_top(host)} IN ({listed}) OR regexp_matches({host}, '{pattern}') THEN {literal(kind)}"
    return f"CASE WHEN {host} IS NULL THEN NULL{cases} ELSE 'other' END"


def chosen(available: Mapping[str, Dimension], names: Sequence[str]) -> list[Dimension]:
    """The dimensions of these names; one of several names with commas has a group for each combination.

    Their SQL is over the narrow table, which has a column for each of `available`.

    Errors: CurateError for a name that the run has no dimension of.
    """
    picked = []
    for name in names:
        parts = [part.strip() for part in name.split(",")]
        for part in parts:
            if part not in available:
                raise CurateError(f"--by: the run has no {part!r}{_why_not(part, available)}")
        if len(set(parts)) < len(parts):
            raise CurateError(f"--by {name}: names the same twice")
        picked.append(_combined([_of_table(available[part]) for part in parts]))
    return picked


def _of_table(dimension: Dimension) -> Dimension:
    """A dimension with its SQL over the narrow table."""
    return replace(dimension, sql=dimension.folded or quoted(dimension.name))


def _why_not(name: str, available: Collection[str]) -> str:
    if name in (REGISTER, MENTIONS):
        return ": add `who: true` to its recipe and run it again"
    return did_you_mean(name, available)


def _combined(parts: Sequence[Dimension]) -> Dimension:
    """The dimension whose groups are the combinations of those of others."""
    first, *more = sorted(parts, key=lambda part: not part.several)
    for part in more:
        left = "name" if first.several else _named(first)
        joined = f"{left} || {literal(TIMES)} || {_named(part)}"
        names = f"list_transform({first.sql}, lambda name: {joined})"
        sql = f"list_filter({names}, lambda name: name IS NOT NULL)" if first.several else joined
        name, known = f"{first.name}{TIMES}{part.name}", first.known or part.known
        first = replace(first, name=name, sql=sql, known=known, folded=None)
    return first


def _named(part: Dimension) -> str:
    """SQL of a group's name; null where documents without a value are not compared."""
    return part.sql if part.known else f"coalesce({part.sql}, '(none)')"
