"""A sweep over a weight as SVG: values with intervals over a logarithmic axis."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

from benchmarks.bench.cells import Figure

WIDTH, HEIGHT = 640, 340
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 30, 60
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
"""Okabe and Ito's, told apart with every kind of colour vision."""
INK, FAINT = "#1f2933", "#d5dae0"


def curve_svg(lines: Mapping[str, Sequence[tuple[float, Figure]]]) -> str:
    """One line per title: accuracy in percent over the weight, ends of intervals as bars.

    Args:
        lines: (weight above 0, figure) of each point by title, at least one point in all.
    """
    points = [point for line in lines.values() for point in line]
    low, high = _exponents([weight for weight, _ in points])
    ends = [end for _, figure in points for end in _ends(figure)]
    bottom, top = 10 * math.floor(10 * min(ends)), 10 * math.ceil(10 * max(ends))
    top = max(top, bottom + 10)

    def x(weight: float) -> float:
        share = (math.log10(weight) - low) / (high - low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (100 * value - bottom) / (top - bottom) * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12" fill="{INK}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for percent in range(bottom, top + 1, 10):
        at = y(percent / 100)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="{FAINT}"/>'
        )
        parts.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{percent} %</text>')
    for exponent in range(low, high + 1):
        at = x(10.0**exponent)
        parts.append(
            f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">'
            f"{10.0**exponent:g}</text>"
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text x="{middle:.0f}" y="{HEIGHT - 22}" text-anchor="middle">weight alpha</text>'
    )
    for number, (title, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        ordered = sorted(line, key=lambda point: point[0])
        path = " ".join(f"{x(weight):.1f},{y(found.value):.1f}" for weight, found in ordered)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for weight, found in ordered:
            first, last = _ends(found)
            at = x(weight)
            parts.append(
                f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y(first):.1f}" y2="{y(last):.1f}" '
                f'stroke="{colour}"/>'
            )
            parts.append(f'<circle cx="{at:.1f}" cy="{y(found.value):.1f}" r="4" fill="{colour}"/>')
        parts.append(
            f'<text x="{LEFT + 150 * number}" y="{HEIGHT - 6}" fill="{colour}">'
            f"{html.escape(title)}</text>"
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _exponents(weights: Sequence[float]) -> tuple[int, int]:
    """Whole powers of ten around all weights."""
    logs = [math.log10(weight) for weight in weights]
    low, high = math.floor(min(logs)), math.ceil(max(logs))
    return (low, high) if high > low else (low - 1, high + 1)


def _ends(found: Figure) -> tuple[float, float]:
    if found.interval is None:
        return found.value, found.value
    return found.interval.low, found.interval.high
