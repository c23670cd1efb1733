"""The tables of the results, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from statistics import mean, median

from benchmarks.memory.learning import BUILT, OPEN
from benchmarks.memory.store import Line, lines_of
from benchmarks.memory.tasks import TASKS
from tidecast.forecasting.network.cell_registry import CELLS

APART = 0.05
"""Scores that differ by more are shown with their range."""


def tables(path: Path) -> str:
    """Return all tables that the results allow.

    Parameters
    ----------
    path : Path
    """
    parts = [*(_by_lag(lines_of(path, "tasks"), task) for task in TASKS), _truncated(lines_of(path, "truncated")),
             _profiles(lines_of(path, "profile")), _stretches(lines_of(path, "stretches")),
             _speed(lines_of(path, "speed"), lines_of(path, "speed_alone"))]  # fmt: skip
    return "\n\n".join(part for part in parts if part)


def _by_lag(lines: list[Line], task: str) -> str:
    lines = [line for line in lines if line["task"] == task]
    budgets, lags = (sorted({line[name] for line in lines}) for name in ("budget", "lag"))
    found = []
    for cell, start, budget in [
        (cell, start, budget) for start in (BUILT, OPEN) for cell in CELLS for budget in budgets
    ]:
        of_row = [line for line in lines if (line["cell"], line["start"], line["budget"]) == (cell, start, budget)]
        if of_row:
            by_lag = [[line["score"] for line in of_row if line["lag"] == lag] for lag in lags]
            seeds = ", ".join(str(len(scores)) for scores in by_lag if scores)
            found.append([CELLS[cell].label, start, f"{budget:,}", *map(_score, by_lag), seeds])
    return _markdown([TASKS[task].title, "start", "updates at most", *(f"lag {lag:,}" for lag in lags), "seeds"], found)


def _score(scores: list[float]) -> str:
    """Mean in per cent, and the range if seeds differ by more than 5 points; a dash if it was not run."""
    if not scores:
        return "–"
    low, middle, high = (_whole(100 * value) for value in (min(scores), mean(scores), max(scores)))
    return f"{middle} ({low} to {high})" if max(scores) - min(scores) > APART else middle


def _whole(value: float) -> str:
    return f"{round(value)}".replace("-", "−")


def _truncated(lines: list[Line]) -> str:
    found = []
    for cell in dict.fromkeys(line["cell"] for line in lines):
        for rows in sorted({line["rows"] for line in lines}):
            of_row = [line for line in lines if (line["cell"], line["rows"]) == (cell, rows)]
            if of_row:
                seconds = mean(line["seconds"] for line in of_row)
                scores = [line["score"] for line in of_row]
                found.append([CELLS[cell].label, f"{rows}", _score(scores), f"{seconds:.1f}", str(len(of_row))])
    return _markdown(["recall at lag 100", "rows that the gradient reaches", "recalled, %", "CPU s", "seeds"], found)


def _profiles(lines: list[Line]) -> str:
    found = []
    for cell in CELLS:
        of_cell = [line for line in lines if line["cell"] == cell]
        if of_cell:
            own = [100 * line["share_of_own_row"] for line in of_cell if line["share_of_own_row"] is not None]
            nine, nearly_all = ([line[name] for line in of_cell] for name in ("rows_of_90", "rows_of_99"))
            far = [_relative(line, 64) for line in of_cell]
            found.append([CELLS[cell].label, _range(own, ".0f"), _range(nine, "d"), _range(nearly_all, "d"),
                          _range(far, ".0e").replace("0e+00", "below 1e-8"), str(len(of_cell))])  # fmt: skip
    names = ["cell", "influence of the origin's own row, %", "rows that hold 90 %", "99 %", "row 64 ÷ own row", "seeds"]
    return _markdown(names, found)


def _relative(line: Line, row: int) -> float:
    influence = line["influence"]
    return influence[row] / influence[0] if influence[0] else 0.0


def _stretches(lines: list[Line]) -> str:
    found = []
    for rows in sorted({line["rows"] for line in lines}):
        of_row = [line for line in lines if line["rows"] == rows]
        loss, seconds = mean(line["crps"] for line in of_row), mean(line["seconds"] for line in of_row)
        skills = ", ".join(f"{100 * line['skill']:+.2f}".replace("-", "−") for line in of_row)
        found.append([str(rows), f"{loss:.4f}", skills, f"{seconds:.1f}"])
    return _markdown(
        ["rows of a stretch", "CRPS", "skill, % (seed by seed)", "CPU s of a fit and its forecasts"], found
    )


def _speed(fits: list[Line], alone: list[Line]) -> str:
    found = [_pairs("whole fit, 32 units, 2 epochs, 4 rates", fits)] if fits else []
    found += [
        _pairs(f"cells alone, {width} units", [line for line in alone if line["width"] == width])
        for width in sorted({line["width"] for line in alone})
    ]
    return _markdown(["", "GRU, CPU s", "LSTM, CPU s", "GRU ÷ LSTM, median of pairs", "range", "pairs"], found)


def _pairs(name: str, lines: list[Line]) -> list[str]:
    ratios = [line["gru"] / line["lstm"] for line in lines]
    seconds = [f"{median(line[cell] for line in lines):.3f}" for cell in ("gru", "lstm")]
    return [name, *seconds, f"{median(ratios):.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}", str(len(lines))]


def _range(values: list[float], form: str) -> str:
    if not values:
        return "–"
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"


def _markdown(names: Iterable[str], rows: list[list[str]]) -> str:
    if not rows:
        return ""
    names = list(names)
    return "\n".join(f"| {' | '.join(line)} |" for line in (names, ["---"] * len(names), *rows))
