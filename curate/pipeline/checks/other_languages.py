"""What rules made for English do to documents in other languages, and how many `other_language` is true of."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from curate.decide.plan import Plan
from curate.display import counted
from curate.filters import registry
from curate.filters.language.identify import likeliest
from curate.ledger.ledger import Ledger
from curate.ledger.names import DECISIONS
from curate.pipeline.checks.sample_texts import SampledText, sampled_texts
from curate.recipe.recipe import Recipe
from curate.recipe.tier1 import MIN_CONFIDENCE
from curate.sql import literal, read_parquet, rows_of

OTHER = "other_language"
LANGUAGE = "language"  # the signal group and its signal
CHARACTERS = 1500  # of a text, by which its language is told where it is not measured
MOST = 2048  # documents whose languages are told
LEAST = 10  # documents of other languages, below which nothing is said
TELLING = 0.02  # of all documents whose language is clear, from which it is
HARSHER = 1.5  # times the share of English that is dropped
HARSH = 0.25  # the same where there is no English
SHOWN = 6


@dataclass(frozen=True)
class Loss:
    """Documents of one language, and those of them that rules made for English dropped."""

    language: str
    documents: int
    dropped: int


@dataclass(frozen=True)
class Losses:
    """What rules made for English dropped, by language, most documents first; of a sample, estimates."""

    rule_sets: tuple[str, ...]
    most: str  # the reason that fired most in other languages
    by_language: tuple[Loss, ...]  # other than English
    english: Loss
    sampled: int  # documents that were looked at; 0 for all

    @property
    def is_telling(self) -> bool:
        """Whether so much is lost that it must be said."""
        documents, dropped = self.documents, self.dropped
        english = self.english.dropped / self.english.documents if self.english.documents >= LEAST else None
        bound = HARSH if english is None else HARSHER * english
        return dropped >= max(LEAST, TELLING * (documents + self.english.documents)) and dropped > bound * documents

    @property
    def documents(self) -> int:
        """Documents in other languages."""
        return sum(loss.documents for loss in self.by_language)

    @property
    def dropped(self) -> int:
        """Those of them that rules for English dropped."""
        return sum(loss.dropped for loss in self.by_language)

    def scaled(self, of: int, documents: int) -> "Losses":
        """The same where what was judged (`of` documents, or the sample of them) stands for so many documents."""
        if not self.sampled and of == documents:
            return self
        factor = documents / max(1, self.sampled or of)

        def large(loss: Loss) -> Loss:
            return Loss(loss.language, round(loss.documents * factor), round(loss.dropped * factor))

        rows = tuple(map(large, self.by_language))
        return Losses(self.rule_sets, self.most, rows, large(self.english), self.sampled or of)

    def told(self) -> str:
        """One line."""
        about = f"by a sample of {self.sampled:,} about " if self.sampled else ""
        each = ", ".join(f"{loss.language} {loss.dropped:,} of {loss.documents:,}" for loss in self.by_language[:SHOWN])
        more = len(self.by_language) - SHOWN
        more_told = f" and {counted(more, 'more language', 'more languages')}" if more > 0 else ""
        return (
            f"rules made for English ({', '.join(self.rule_sets)}) drop {about}{self.dropped:,} of {self.documents:,} "
            f"documents in other languages, most for {self.most}: {each}{more_told}; what to do: docs/language.md"
        )


def losses(recipe: Recipe, plan: Plan, ledger: Ledger, connection: duckdb.DuckDBPyConnection) -> Losses | None:
    """What rules for English dropped of other languages: of all documents where languages are measured, or of a sample.

    None where no rule is for English, or such rules drop next to nothing. Languages that the recipe does not keep are
    not counted.
    """
    english = [found for found in plan.rules if _made_for(found.rule_set) == "en"]
    listed = ", ".join(literal(found.reason) for found in english)
    if not english or not _drops_much(ledger, listed, connection):
        return None
    sample: Sequence[SampledText] = ()
    measured = LANGUAGE in plan.groups and ledger.of(LANGUAGE, plan.groups[LANGUAGE])
    if measured:
        parts = read_parquet(ledger.run / part.path for part in ledger.of(LANGUAGE, plan.groups[LANGUAGE]))
        told = f"(SELECT file_no, row, language FROM {parts} WHERE language_confidence >= {MIN_CONFIDENCE})"
    else:
        sample = sampled_texts(plan, MOST)
        _load_languages(connection, sample)
        told = "sampled_languages"
    rows = connection.execute(
        f"""SELECT language, fired, count(*) FROM (
            SELECT language, list_filter(reasons, lambda one: one IN ({listed})) AS fired
            FROM {_decisions(ledger)} JOIN {told} USING (file_no, row) WHERE stage IS NULL OR stage <> 'input'
        ) GROUP BY ALL ORDER BY ALL"""
    ).fetchall()
    sets = tuple(dict.fromkeys(found.rule_set for found in english))
    is_whole = len(sample) == sum(file.rows for file in plan.files.values())
    return _counted(recipe, sets, rows, 0 if measured or is_whole else len(sample))


def _made_for(rule_set: str) -> str | None:
    """The language that a named set of rules was made for; None for any."""
    made_for: str | None = registry.rule_sets().get(rule_set, {}).get("made_for")
    return made_for


def _drops_much(ledger: Ledger, reasons: str, connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether some reasons are true of so many documents that languages are worth a look."""
    [(fired, documents)] = connection.execute(
        f"SELECT count_if(list_has_any(reasons, [{reasons}])), count(*) FROM {_decisions(ledger)}"
    ).fetchall()
    return bool(fired >= max(LEAST, TELLING * documents))


def _load_languages(connection: duckdb.DuckDBPyConnection, sample: Sequence[SampledText]) -> None:
    """Table `sampled_languages`: file_no, row, language of those whose language is clear."""
    found: list[tuple[int, int, str]] = []
    for one in sample:
        share, language = likeliest(" ".join(one.text[:CHARACTERS].split()))
        if share is not None and language is not None and share >= MIN_CONFIDENCE:
            found.append((one.file_no, one.row, language))
    columns = [list(column) for column in zip(*found, strict=True)] or [[], [], []]
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
    wanted: Collection[str] = documents if keep is None else keep
    losses = [Loss(name, documents[name], dropped[name]) for name in documents if name != "en" and name in wanted]
    return Losses(
        sets,
        max(fired, key=lambda reason: (fired[reason], reason), default=""),
        tuple(sorted(losses, key=lambda loss: (-loss.dropped, -loss.documents, loss.language))),
        Loss("en", documents.get("en", 0), dropped.get("en", 0)),
        sampled,
    )


def other_language(ledger: Ledger, connection: duckdb.DuckDBPyConnection) -> Mapping[str, int] | None:
    """Documents of which `other_language` is true, and those of them that have another reason first; None without."""
    [row] = rows_of(
        f"""SELECT count(*) AS documents, count_if(reasons[1] <> '{OTHER}') AS behind_another_reason
        FROM {_decisions(ledger)} WHERE list_contains(reasons, '{OTHER}')""",
        connection,
    )
    return row if row["documents"] else None


def told_of_other(found: Mapping[str, Any]) -> str:
    """One line on documents in languages that are not kept."""
    first = found["documents"] - found["behind_another_reason"]
    return (
        f"{OTHER}: {found['documents']:,} documents, {first:,} with it as the first reason and "
        f"{found['behind_another_reason']:,} behind another one"
    )


def _decisions(ledger: Ledger) -> str:
    return read_parquet(ledger.run / part.path for part in ledger.of(DECISIONS))
