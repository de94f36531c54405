"""`coarse_score`: how well formed a document is, from 0 to 1, computed from its own row.

It selects which copy of a duplicate is kept, and ranks documents for which there is no better score. The parts and
their equal weights were chosen by measurement (benchmarks/quality.py): weights fitted to some of the corpora were worse
on the other corpora.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass

from curate.recipe.tier1 import LengthPenalty


@dataclass(frozen=True)
class ScorePart:
    """A signal scaled linearly from 0 at `worst` to 1 at `best`, and clipped."""

    name: str
    signal: str
    sql: str  # expression over the signal; null where the signal is
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
        "length",
        "n_words",
        "ln(greatest(n_words, 1))",
        worst=math.log(10),
        best=math.log(1000),
        about="words, from 10 to 1,000, by their logarithm",
    ),
    ScorePart("stop_words", "stop_word_ratio", "stop_word_ratio", 0, 0.35, "stop words per word, up to 0.35"),
    ScorePart("sentences", "terminal_line_ratio", "terminal_line_ratio", 0, 1, "lines that end as sentences do"),
    ScorePart("letters", "alpha_word_ratio", "alpha_word_ratio", 0.6, 0.95, "words with a letter, from 0.6 to 0.95"),
    ScorePart("lines", "short_line_ratio", "short_line_ratio", 1, 0, "lines that are not short"),
    ScorePart(
        "line_length",
        "mean_line_length",
        "ln(greatest(mean_line_length, 1))",
        worst=math.log(20),
        best=math.log(200),
        about="characters of a line, from 20 to 200, by their logarithm",
    ),
    ScorePart("capitals", "uppercase_ratio", "uppercase_ratio", 0.18, 0.03, "few capitals, from 0.18 down to 0.03"),
    ScorePart("symbols", "symbol_ratio", "symbol_ratio", 0.03, 0, "few symbols, from 0.03 down to 0"),
)
LANGUAGE = (  # only where there is a language model for the document
    ScorePart("likelihood", "bits_per_byte", "bits_per_byte", 2.8, 1.2, "bits per byte, from 2.8 down to 1.2"),
    ScorePart(
        "common_words",
        "token_prior_mean",
        "token_prior_mean",
        worst=-8.7,
        best=-7.2,
        about="how common the words are, from -8.7 to -7.2",
    ),
)


def coarse_score_sql(columns: Collection[str], penalty: LengthPenalty | None) -> str:
    """SQL for the mean of the parts (those of a language model where there is one), times the length penalty."""
    parts = [f"coalesce({part.share}, 0)" for part in FORM]
    parts += [part.share for part in LANGUAGE if part.signal in columns]
    lines = ",\n                ".join(parts)
    factor = f" * {penalty_sql(penalty)}" if penalty else ""
    return f"(list_avg([\n                {lines}\n            ]){factor})::FLOAT"


def penalty_sql(penalty: LengthPenalty) -> str:
    """SQL for a factor that is 1 between `low` and `high` words, and a Gaussian of the log of the ratio outside.

    It is 0.79 for half of `low` or twice `high`, and 0.07 for a tenth or ten times.
    """
    words = "greatest(n_words, 1)"
    outside = f"(ln(greatest(1, {penalty.low} / {words})) + ln(greatest(1, {words} / {penalty.high})))"
    return f"exp(-0.5 * pow({outside}, 2))"
