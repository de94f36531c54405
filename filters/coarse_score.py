"""`coarse_score`: how well formed a document is, from 0 to 1, by its own row alone.

It chooses the copy of a duplicate that stays, and ranks documents where nothing better has judged them. The parts and
their equal weights were chosen by measurement (benchmarks/quality.py): weights fitted to some of the corpora there did
worse on the others.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass

from curate.recipe.tier1 import LengthPenalty


@dataclass(frozen=True)
class ScorePart:
    """A signal as a share: 0 at one bound and beyond, 1 at the other and beyond, straight between."""

    name: str
    signal: str
    sql: str  # over the signal, null where that is
    worst: float
    best: float
    about: str

    @property
    def share(self) -> str:
        """SQL for the part, from 0 to 1, or null."""
        share = f"({self.sql} - {self.worst}) / ({self.best} - {self.worst})"
        return f"CASE WHEN {self.signal} IS NOT NULL THEN greatest(0, least(1, {share})) END"  # least skips nulls


FORM = (
    ScorePart(
        "length", "n_words", "ln(greatest(n_words, 1))", math.log(10), math.log(1000),
        "words, from 10 to 1,000, by their logarithm",
    ),
    ScorePart("stop_words", "stop_word_ratio", "stop_word_ratio", 0, 0.35, "stop words per word, up to 0.35"),
    ScorePart("sentences", "terminal_line_ratio", "terminal_line_ratio", 0, 1, "lines that end as sentences do"),
    ScorePart("letters", "alpha_word_ratio", "alpha_word_ratio", 0.6, 0.95, "words with a letter, from 0.6 to 0.95"),
    ScorePart("lines", "short_line_ratio", "short_line_ratio", 1, 0, "lines that are not short"),
    ScorePart(
        "line_length", "mean_line_length", "ln(greatest(mean_line_length, 1))", math.log(20), math.log(200),
        "characters of a line, from 20 to 200, by their logarithm",
    ),
    ScorePart("capitals", "uppercase_ratio", "uppercase_ratio", 0.18, 0.03, "few capitals, from 0.18 down to 0.03"),
    ScorePart("symbols", "symbol_ratio", "symbol_ratio", 0.03, 0, "few symbols, from 0.03 down to 0"),
)  # fmt: skip
LANGUAGE = (  # only where a language model is for the document
    ScorePart("likelihood", "bits_per_byte", "bits_per_byte", 2.8, 1.2, "bits per byte, from 2.8 down to 1.2"),
    ScorePart(
        "common_words", "token_prior_mean", "token_prior_mean", -8.7, -7.2,
        "how common the words are, from -8.7 to -7.2",
    ),
)  # fmt: skip


def coarse_score_sql(columns: Collection[str], penalty: LengthPenalty | None) -> str:
    """SQL for the mean of the parts, those of a language model where there is one, times the penalty for length."""
    parts = [f"coalesce({part.share}, 0)" for part in FORM]
    parts += [part.share for part in LANGUAGE if part.signal in columns]
    lines = ",\n                ".join(parts)
    factor = f" * {penalty_sql(penalty)}" if penalty else ""
    return f"(list_avg([\n                {lines}\n            ]){factor})::FLOAT"


def penalty_sql(penalty: LengthPenalty) -> str:
    """SQL for a factor: 1 between both numbers of words, and falling as a normal curve of the logarithm outside.

    With half of `low` or twice `high` words it is 0.79, with a tenth or ten times 0.07.
    """
    words = "greatest(n_words, 1)"
    outside = f"(ln(greatest(1, {penalty.low} / {words})) + ln(greatest(1, {words} / {penalty.high})))"
    return f"exp(-0.5 * pow({outside}, 2))"
