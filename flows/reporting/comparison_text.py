"""A comparison of models as text, the same on the command line and in benchmarks."""

from __future__ import annotations

from typing import Any

import polars as pl

from tidecast.flows.reporting.model_names import readable
from tidecast.forecasting.evaluation.decision import p_value, skill_text
from tidecast.forecasting.tables.names import RANDOM_WALK, loss_in

MODEL, SKILL, MEDIAN = "model", "distribution, % (95 %)", "median, % (95 %)"
AGAINST = "against the regression, % (95 %)"
COVERAGES = {
    "coverage": "coverage, %",
    "coverage_calm": "calm",
    "coverage_usual": "usual",
    "coverage_turbulent": "turbulent",
    "coverage_after_break": "after a break",
}
"""Heads of columns of coverage, by their names in a comparison."""
BY_STEP, IN_BAND, CPU = "by step", "series in band, %", "CPU s"
UNKNOWN = "–"


def skill_columns(compared: pl.DataFrame) -> dict[str, list[str]]:
    """Return the text of every model's skill with its 95 % interval, by head.

    Parameters
    ----------
    compared : polars.DataFrame
        As `forecasting.comparison` returns it. Without the second model, its columns are left out.
    """
    loss, rows = loss_in(compared.columns), list(compared.iter_rows(named=True))
    columns = {
        MODEL: [readable(row["model"]) for row in rows],
        loss: [_number(row[loss], 4) for row in rows],
        SKILL: [_skill(row, "skill", "skill") for row in rows],
        "p": ["" if row["model"] == RANDOM_WALK else _p(row["p"]) for row in rows],
    }
    if any(row["against_skill"] is not None for row in rows):
        columns[AGAINST] = [_skill(row, "against_skill", "against") for row in rows]
        columns["its p"] = ["" if row["against_skill"] == 0 else _p(row["against_p"]) for row in rows]
    return columns | {MEDIAN: [_skill(row, "mae_skill", "mae") for row in rows]}


def fit_columns(compared: pl.DataFrame) -> dict[str, list[str]]:
    """Return the text of how every model's distribution fits, and what the model costs, by head.

    Parameters
    ----------
    compared : polars.DataFrame
        As `forecasting.comparison` returns it.
    """
    rows = list(compared.iter_rows(named=True))
    return {
        MODEL: [readable(row["model"]) for row in rows],
        "QLIKE": [_number(row["qlike"], 3) for row in rows],
        "interval score": [_number(row["interval_score"], 3) for row in rows],
        **{head: [_number(row[name], 1, 100) for row in rows] for name, head in COVERAGES.items()},
        BY_STEP: [_range(row["coverage_lowest_step"], row["coverage_highest_step"]) for row in rows],
        IN_BAND: [_number(row["series_in_band"], 0, 100) for row in rows],
        CPU: [_number(row["cpu_seconds"], 2) for row in rows],
    }


def _number(value: float | None, digits: int, times: float = 1.0) -> str:
    return UNKNOWN if value is None else f"{times * value:.{digits}f}".replace("-", "−")


def _range(low: float | None, high: float | None) -> str:
    return UNKNOWN if low is None else f"{_number(low, 1, 100)} … {_number(high, 1, 100)}"


def _skill(row: dict[str, Any], name: str, ends: str) -> str:
    """The skill `name` of a row with its interval, ``ENDS_low`` to ``ENDS_high``."""
    return skill_text(row[name], row[f"{ends}_low"], row[f"{ends}_high"], unit=False)


def _p(p: float | None) -> str:
    """A p-value without its name: "0.028" or "< 0.001"."""
    return UNKNOWN if p is None else p_value(p).removeprefix("p ").removeprefix("= ")
