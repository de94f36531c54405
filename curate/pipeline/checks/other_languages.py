"""Documents in other languages: what rules made for English drop of them, and how many `other_language` drops."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import duckdb

from curate.decide.plan import Plan
from curate.display import counted
from curate.filters import registry
from curate.filters.language.identify import identify
from curate.ledger.ledger import Ledger
from curate.ledger.names import DECISIONS
from curate.pipeline.checks.sample_texts import SampledText, sampled_texts
from curate.recipe.recipe import Recipe
from curate.recipe.tier1 import MIN_CONFIDENCE
from curate.sql import literal, read_parquet

OTHER = "other_language"
LANGUAGE = "language"  # the signal group and its signal
CHARACTERS = 1500  # of a text, to identify its language where that is not measured
MOST = 2048  # documents whose languages are identified
# A warning needs all three:
LEAST = 10  # documents of other languages dropped
LARGE_SHARE = 0.02  # of all documents whose language is clear
HARSHER = 1.5  # the share dropped of other languages, relative to that of English
HARSH = 0.25  # the share dropped of other languages, where there are too few documents in English
SHOWN = 6  # languages


@dataclass(frozen=True, slots=True)
class OtherLanguage:
    """Documents with reason `other_language`."""

    documents: int
    behind_another_reason: int  # those of them that have another reason first

    def scaled(self, factor: float) -> "OtherLanguage":
        """The counts for a corpus that is `factor` times as large."""
        return OtherLanguage(round(self.documents * factor), round(self.behind_another_reason * factor))

    def message(self) -> str:
        """One line for the user."""
        first = self.documents - self.behind_another_reason
        return (
            f"{OTHER}: {self.documents:,} documents, {first:,} with it as the first reason and "
            f"{self.behind_another_reason:,} behind another one"
        )


@dataclass(frozen=True)
class Loss:
    """Documents in a language, and those of them that rules made for English dropped."""

    language: str
    documents: int
    dropped: int


@dataclass(frozen=True)
class Losses:
    """What rules made for English dropped, by language, most documents first; estimates if counted on a sample."""

    rule_sets: tuple[str, ...]
    most: str  # the reason that fired most in other languages
    by_language: tuple[Loss, ...]  # other than English
    english: Loss
    sampled: int  # size of the sample; 0 if all documents were counted

    @property
    def is_large(self) -> bool:
        """Whether the losses warrant a warning."""
        documents, dropped = self.documents, self.dropped
        english = self.english.dropped / self.english.documents if self.english.documents >= LEAST else None
        bound = HARSH if english is None else HARSHER * english
        least = max(LEAST, LARGE_SHARE * (documents + self.english.documents))
        return dropped >= least and dropped > bound * documents

    @property
    def documents(self) -> int:
        """Documents in other languages."""
        return sum(loss.documents for loss in self.by_language)

    @property
    def dropped(self) -> int:
        """Documents in other languages that rules for English dropped."""
        return sum(loss.dropped for loss in self.by_language)

    def scaled(self, judged: int, documents: int) -> "Losses":
        """The losses of a corpus of `documents`, given that these are of `judged` documents or a sample of them."""
        if not self.sampled and judged == documents:
            return self
        factor = documents / max(1, self.sampled or judged)

        def scale(loss: Loss) -> Loss:
            return Loss(loss.language, round(loss.documents * factor), round(loss.dropped * factor))

        rows = tuple(map(scale, self.by_language))
        return Losses(self.rule_sets, self.most, rows, scale(self.english), self.sampled or judged)

    def message(self) -> str:
        """One line for the user."""
        about = f"by a sample of {self.sampled:,} about " if self.sampled else ""
        each = ", ".join(f"{loss.language} {loss.dropped:,} of {loss.documents:,}" for loss in self.by_language[:SHOWN])
        hidden = len(self.by_language) - SHOWN
        more = f" and {counted(hidden, 'more language', 'more languages')}" if hidden > 0 else ""
        return (
            f"rules made for English ({', '.join(self.rule_sets)}) drop {about}{self.dropped:,} of {self.documents:,} "
            f"documents in other languages, most for {self.most}: {each}{more}; what to do: docs/language.md"
        )


def measure_losses(recipe: Recipe, plan: Plan, ledger: Ledger, connection: duckdb.DuckDBPyConnection) -> Losses | None:
    """Count what rules for English dropped of other languages: on all documents if languages are measured, or a sample.

    None if no rule is made for English, or if such rules drop next to nothing. Languages that the recipe does not keep
    are not counted.
    """
    english = [rule for rule in plan.rules if _made_for(rule.rule_set) == "en"]
    listed = ", ".join(literal(rule.reason) for rule in english)
    if not english or not _drops_much(ledger, listed, connection):
        return None
    sample: Sequence[SampledText] = ()
    measured = LANGUAGE in plan.groups and ledger.of(LANGUAGE, plan.groups[LANGUAGE])
    if measured:
        parts = read_parquet(ledger.run / part.path for part in ledger.of(LANGUAGE, plan.groups[LANGUAGE]))
        languages = f"(SELECT file_no, row, language FROM {parts} WHERE language_confidence >= {MIN_CONFIDENCE})"
    else:
        sample = sampled_texts(plan, MOST)
        _load_languages(connection, sample)
        languages = "sampled_languages"
    rows = connection.execute(
        f"""SELECT language, fired, count(*) FROM (
            SELECT language, list_filter(reasons, lambda one: one IN ({listed})) AS fired
            FROM {_decisions(ledger)} JOIN {languages} USING (file_no, row) WHERE stage IS NULL OR stage <> 'input'
        ) GROUP BY ALL ORDER BY ALL"""
    ).fetchall()
    sets = tuple(dict.fromkeys(rule.rule_set for rule in english))
    is_whole = len(sample) == sum(file.rows for file in plan.files.values())
    return _counted(recipe, sets, rows, 0 if measured or is_whole else len(sample))


def _made_for(rule_set: str) -> str | None:
    """The language that a rule set was made for; None for any language."""
    sets = registry.rule_sets()
    return sets[rule_set].get("made_for") if rule_set in sets else None


def _drops_much(ledger: Ledger, reasons: str, connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether so many documents have one of these reasons that their languages should be checked."""
    [(fired, documents)] = connection.execute(
        f"SELECT count_if(list_has_any(reasons, [{reasons}])), count(*) FROM {_decisions(ledger)}"
    ).fetchall()
    return bool(fired >= max(LEAST, LARGE_SHARE * documents))


def _load_languages(connection: duckdb.DuckDBPyConnection, sample: Sequence[SampledText]) -> None:
    """Create table `sampled_languages` (file_no, row, language) of the texts whose language is clear."""
    rows: list[tuple[int, int, str]] = []
    for sampled in sample:
        share, language = identify(" ".join(sampled.text[:CHARACTERS].split()))
        if share is not None and language is not None and share >= MIN_CONFIDENCE:
            rows.append((sampled.file_no, sampled.row, language))
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], []]
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE sampled_languages AS SELECT unnest(?::INTEGER[]) AS file_no, "
        "unnest(?::BIGINT[]) AS row, unnest(?::VARCHAR[]) AS language",
        columns,
    )


def _counted(recipe: Recipe, sets: tuple[str, ...], rows: Sequence[tuple[str, list[str], int]], sampled: int) -> Losses:
    keep = recipe.tier1.language.keep if recipe.tier1.language else None
    documents: dict[str, int] = {}
    dropped: dict[str, int] = {}
    fired: dict[str, int] = {}
    for language, reasons, count in rows:
        documents[language] = documents.get(language, 0) + count
        dropped[language] = dropped.get(language, 0) + (count if reasons else 0)
        for reason in reasons if language != "en" else ():
            fired[reason] = fired.get(reason, 0) + count
    kept: Collection[str] = documents if keep is None else keep
    by_language = [Loss(name, documents[name], dropped[name]) for name in documents if name != "en" and name in kept]
    return Losses(
        sets,
        max(fired, key=lambda reason: (fired[reason], reason), default=""),
        tuple(sorted(by_language, key=lambda loss: (-loss.dropped, -loss.documents, loss.language))),
        Loss("en", documents.get("en", 0), dropped.get("en", 0)),
        sampled,
    )


def count_other_language(ledger: Ledger, connection: duckdb.DuckDBPyConnection) -> OtherLanguage | None:
    """Count the documents with reason `other_language`; None if there are none."""
    [(documents, behind)] = connection.execute(
        f"""SELECT count(*), count_if(reasons[1] <> '{OTHER}')
        FROM {_decisions(ledger)} WHERE list_contains(reasons, '{OTHER}')"""
    ).fetchall()
    return OtherLanguage(documents, behind) if documents else None


def _decisions(ledger: Ledger) -> str:
    return read_parquet(ledger.run / part.path for part in ledger.of(DECISIONS))
