"""Section "Signals": a histogram of each signal that varies, with the thresholds of the rules."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curate.decide.counts import STABLE
from curate.filters.rules.conditions import columns_named
from curate.inspect.documents import OpenRun
from curate.ledger.names import BANDS
from curate.report.charts import Histogram, histogram
from curate.report.histograms import Counts, Mark, histograms, signals_of
from curate.report.reasons import rule_text
from curate.sql import quoted

UNFOLDED = 9  # histograms


@dataclass(frozen=True, slots=True)
class BinCount:
    """A bin that has documents."""

    name: str
    all: int
    kept: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalCard:
    """A signal with its histogram, the rules that read it, and how far it drifted."""

    name: str
    about: str
    psi: float | None  # population stability index
    rules: Sequence[str]
    marks: Sequence[Mark]
    counts: Counts
    chart: Histogram

    @property
    def bins(self) -> list[BinCount]:
        """The bins that have documents."""
        rows = zip(self.counts.names, self.counts.all, self.counts.kept, strict=True)
        return [BinCount(name, every, kept) for name, every, kept in rows if every]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """Cards of signals that moved, of further ones (folded), and of those that hardly moved (folded)."""

    first: Sequence[SignalCard]
    more: Sequence[SignalCard]
    stable: Sequence[SignalCard]


def signals_section(run: OpenRun, scorecard: Sequence[Mapping[str, Any]]) -> Signals | None:
    """Histograms of all signals that vary, signals with thresholds first; None without any."""
    from curate.filters import registry

    signals = [signal for group in registry.groups().values() for signal in group]
    about = {name: text for signal in signals for name, text in signal.about.items()}
    about |= {name: derived.about for name, derived in registry.DERIVED.items()}
    marks = _marks(run)
    scores = {row["signal"]: row for row in scorecard}
    values = {name: [mark.at for mark in of_signal] for name, of_signal in marks.items()}
    counts = histograms(run.connection, values, scores)
    if not counts:
        return None
    rules = _rules_by_signal(run)
    cards = [
        SignalCard(
            name=name,
            about=about.get(name, ""),
            psi=scores.get(name, {}).get("psi"),
            rules=rules.get(name, []),
            marks=marks.get(name, []),
            counts=of_signal,
            chart=histogram(of_signal, marks.get(name, [])),
        )
        for name, of_signal in counts.items()
    ]
    cards.sort(key=lambda card: (not (card.rules or card.marks), -(card.psi or 0), card.name))
    moved = [card for card in cards if (card.psi or 0) > STABLE]
    stable = [card for card in cards if not (card.psi or 0) > STABLE]
    return Signals(first=moved[:UNFOLDED], more=moved[UNFOLDED:], stable=stable)


def _rules_by_signal(run: OpenRun) -> dict[str, list[str]]:
    """The rules that read each signal, in words."""
    rules: dict[str, list[str]] = {}
    for rule in run.rules:
        for name in columns_named([rule])[0]:
            rules.setdefault(name, []).append(f"{rule.reason}: {rule_text(rule)}")
    return rules


def _marks(run: OpenRun) -> dict[str, list[Mark]]:
    """Thresholds by signal: the bounds of rules, and the band of all documents."""
    marks: dict[str, list[Mark]] = {}
    whole = signals_of(run.connection)
    for rule in (resolved.rule for resolved in run.rules):
        if rule.signal is not None:
            bound, beyond = (rule.min, -0.5) if rule.min is not None else (rule.max, 0.5)
            assert bound is not None
            line = bound + beyond if whole.get(rule.signal) else bound  # between kept and dropped values
            marks.setdefault(rule.signal, []).append(Mark(bound, line))
    if BANDS in run.views:
        for row in run.query(f"SELECT low, high FROM {quoted(BANDS)} WHERE depth = 0"):
            ends = [end for end in (row["low"], row["high"]) if end is not None]
            if ends:
                marks.setdefault("perplexity", []).extend(Mark(end, end) for end in ends)
    return marks
