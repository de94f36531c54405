"""The figure of docs/retention.md as SVG: R and G by budget side by side, a row for each pool, a line for each way."""

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import NamedTuple

LINES = {  # colours that can be told apart by the colour-blind (Okabe and Ito), and whether a line is dashed
    "ours": ("#0072b2", ""), "classifier only": ("#009e73", ""), "lowest perplexity": ("#d55e00", ""),
    "rules only": ("#cc79a7", ""), "random": ("#666666", "4 3"),
}  # fmt: skip
PANEL_WIDTH, PANEL_HEIGHT, LEFT, TOP, GAP, LEGEND = 320, 220, 40, 34, 46, 40
TICKS = (0.02, 0.05, 0.15, 0.3, 0.5)
COLUMNS = (("retained R", "retained"), ("gap closed G", "gap_closed"))
FONT = 'font-family="sans-serif" font-size="12"'
LEAST_G = -1.0  # points below lie on the edge of the panel
Place = Callable[[float], float]


class Point(NamedTuple):
    """What one way to select retains at one budget; G is None where there is no gap to close, or for random texts."""

    pool: str
    arm: str
    budget: float
    tokens: int
    retained: float | None
    retained_low: float | None
    retained_high: float | None
    gap_closed: float | None
    gap_low: float | None
    gap_high: float | None


def figure(points: Sequence[Point]) -> str:
    """The whole figure."""
    pools = list(dict.fromkeys(point.pool for point in points))
    width = LEFT + len(COLUMNS) * (PANEL_WIDTH + GAP)
    height = TOP + len(pools) * (PANEL_HEIGHT + GAP) + LEGEND
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {FONT}>',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for column, (title, name) in enumerate(COLUMNS):
        low, high = _ends(points, name)
        for row, pool in enumerate(pools):
            left, top = LEFT + column * (PANEL_WIDTH + GAP), TOP + row * (PANEL_HEIGHT + GAP)
            parts.append(f'<g transform="translate({left} {top})">')
            parts.append(f'<text x="0" y="-10" font-weight="bold">{escape(f"{title}, pool {pool}")}</text>')
            parts += _panel([point for point in points if point.pool == pool], name, low, high)
            parts.append("</g>")
    parts += _legend(height - LEGEND / 2)
    return "\n".join([*parts, "</svg>", ""])


def _ends(points: Sequence[Point], name: str) -> tuple[float, float]:
    """The ends of an axis, in twentieths."""
    values = [value for point in points if (value := getattr(point, name)) is not None]
    least = max(min(values), LEAST_G) if name == "gap_closed" else min(values)
    return math.floor(least * 20) / 20, math.ceil(max([*values, 1.0]) * 20) / 20


def _panel(points: Sequence[Point], name: str, low: float, high: float) -> Iterator[str]:
    def x(budget: float) -> float:
        return round(PANEL_WIDTH * math.log(budget / TICKS[0]) / math.log(TICKS[-1] / TICKS[0]), 1)

    def y(value: float) -> float:
        return round(PANEL_HEIGHT * (1 - (min(max(value, low), high) - low) / (high - low)), 1)

    for budget in TICKS:
        yield f'<text x="{x(budget)}" y="{PANEL_HEIGHT + 15}" text-anchor="middle" fill="#444">{budget:.0%}</text>'
    step = 0.1 if high - low < 0.75 else 0.2 if high - low < 1.3 else 0.5
    for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1):
        value = k * step
        colour = "#999" if abs(value - 1) < 1e-9 else "#e4e4e4"
        yield _level(y(value), colour)
        yield f'<text x="-6" y="{y(value) + 4}" text-anchor="end" fill="#444">{value:.1f}</text>'
    for arm, (colour, dashes) in LINES.items():
        of_arm = sorted((point for point in points if point.arm == arm), key=lambda point: point.budget)
        if arm == "random" and name == "gap_closed":
            yield _level(y(0), colour, f' stroke-dasharray="{dashes}"')
        elif of_arm:
            yield from _line(of_arm, name, colour, dashes, x, y)


def _level(y: float, colour: str, dash: str = "") -> str:
    return f'<line x1="0" x2="{PANEL_WIDTH}" y1="{y}" y2="{y}" stroke="{colour}"{dash}/>'


def _line(points: Sequence[Point], name: str, colour: str, dashes: str, x: Place, y: Place) -> Iterator[str]:
    """The line of an arm, with an interval and a dot at each budget."""
    prefix = name.partition("_")[0]
    shown = [point for point in points if getattr(point, name) is not None]
    path = " ".join(f"{x(point.budget)},{y(getattr(point, name))}" for point in shown)
    dash = f' stroke-dasharray="{dashes}"' if dashes else ""
    yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'
    for point in shown:
        low, high = getattr(point, f"{prefix}_low"), getattr(point, f"{prefix}_high")
        at = x(point.budget)
        if low is not None and high is not None:
            yield f'<line x1="{at}" x2="{at}" y1="{y(low)}" y2="{y(high)}" stroke="{colour}" stroke-opacity="0.5"/>'
        yield f'<circle cx="{at}" cy="{y(getattr(point, name))}" r="2.5" fill="{colour}"/>'


def _legend(at: float) -> Iterator[str]:
    left = LEFT
    for arm, (colour, dashes) in LINES.items():
        dash = f' stroke-dasharray="{dashes}"' if dashes else ""
        yield f'<line x1="{left}" x2="{left + 22}" y1="{at}" y2="{at}" stroke="{colour}" stroke-width="2"{dash}/>'
        yield f'<text x="{left + 28}" y="{at + 4}">{escape(arm)}</text>'
        left += 48 + 7 * len(arm)
