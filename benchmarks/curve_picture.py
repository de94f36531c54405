"""Draw docs/curve.svg: the weights that curves of several budgets give, beside the flat cut.

Usage: python benchmarks/curve_picture.py
"""

from pathlib import Path

import numpy as np

from curate.distill.budget.curve import fit_weights

TARGET = Path(__file__).parents[1] / "docs" / "curve.svg"
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 640, 300, 46, 40, 16
MOST, CLASSES = 7, 400
LINES = (  # share of the stratum's tokens to read, the most repeats, colour
    (0.15, 1, "#8a8a8a"),
    (0.15, 7, "#0b6e99"),
    (0.6, 7, "#d9730d"),
    (1.0, 7, "#448361"),
)


def main() -> None:
    """Write the picture."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"',
        'font-family="sans-serif" font-size="12">',
        "<title>Weight by quality within a stratum</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
    ]
    for weight in range(MOST + 1):
        parts.append(f'<path d="M{x_of(0)} {y_of(weight)}H{x_of(1)}" stroke="#e3e3e3"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y_of(weight) + 4}" text-anchor="end">{weight}</text>')
    for tenth in range(0, 11, 2):
        parts.append(f'<text x="{x_of(tenth / 10)}" y="{HEIGHT - 20}" text-anchor="middle">{tenth * 10}%</text>')
    for k, (share, most, colour) in enumerate(LINES):
        name = f"curve that reads {share:.0%}, at most {most} times" if most > 1 else f"flat cut of {share:.0%}"
        points = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in points_of(share, most))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{LEFT + 14}" y="{TOP + 20 + 18 * k}" fill="{colour}">{name}</text>')
    parts.append(f'<text x="{x_of(0.5)}" y="{HEIGHT - 4}" text-anchor="middle">tokens of lower quality</text></svg>')
    TARGET.write_text("\n".join(parts) + "\n", "utf-8")


def points_of(share: float, most: int) -> list[tuple[float, float]]:
    """Quantiles and weights of a stratum of fine classes."""
    x = (np.arange(CLASSES) + 0.5) / CLASSES
    if most == 1:
        return [(0, 0), (1 - share, 0), (1 - share, 1), (1, 1)]
    tokens = np.full(CLASSES, 1000)
    weights = fit_weights(np.zeros(CLASSES, np.int64), tokens, np.array([int(share * tokens.sum())]), most)
    return list(zip(x.tolist(), weights.tolist(), strict=True))


def x_of(quantile: float) -> float:
    """Where a quantile is drawn."""
    return LEFT + quantile * (WIDTH - LEFT - 16)


def y_of(weight: float) -> float:
    """Where a weight is drawn."""
    return HEIGHT - BOTTOM - weight / MOST * (HEIGHT - BOTTOM - TOP)


if __name__ == "__main__":
    main()
