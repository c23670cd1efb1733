"""Small pictures of forecasts as SVG of a few paths: the newest prices, then median and intervals."""

from __future__ import annotations

from collections.abc import Sequence

WIDTH, HEIGHT = 160, 56
MARGIN = 3


def fan_svg(
    past: Sequence[float], steps: Sequence[int], median: Sequence[float],
    spans: Sequence[tuple[Sequence[float], Sequence[float]]],
) -> str:  # fmt: skip
    """Return the paths of a fan as an ``<svg>`` element that only repeats what is written next to it.

    Parameters
    ----------
    past : sequence of float
        Prices up to the origin, at least one.
    steps : sequence of int
        Steps ahead, in rising order.
    median : sequence of float
        One for each step.
    spans : sequence of (sequence of float, sequence of float)
        Lower and upper ends of each interval, the widest first.
    """
    values = [*past, *median, *(value for span in spans for end in span for value in end)]
    low, high = min(values), max(values)
    size = (high - low) or abs(high) or 1.0
    before, total = len(past) - 1, len(past) - 1 + steps[-1]

    def point(position: float, value: float) -> str:
        x = MARGIN + (WIDTH - 2 * MARGIN) * position / total
        y = HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * ((value - low) / size if high > low else 0.5)
        return f"{x:.1f} {y:.1f}"

    def line(positions: Sequence[float], numbers: Sequence[float]) -> str:
        return "L".join(point(x, y) for x, y in zip(positions, numbers, strict=True))

    ahead = [before, *(before + step for step in steps)]
    bands = [
        f'<path class="band" d="M{line(ahead, [past[-1], *upper])}L{line(ahead[::-1], [*lower[::-1], past[-1]])}Z"/>'
        for lower, upper in spans
    ]
    lines = (
        f'<path class="past" d="M{line(range(len(past)), past)}"/>'
        f'<path class="median" d="M{line(ahead, [past[-1], *median])}"/>'
    )
    return f'<svg class="fan" viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true">{"".join(bands)}{lines}</svg>'
