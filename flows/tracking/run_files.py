"""The files of a run: decision, tables, exact numbers, environment and pictures. No MLflow here."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from tidecast.flows.reporting import calibration_plots, learning_plots
from tidecast.flows.reporting import forecast_plots as plots
from tidecast.flows.reporting.calibration_tables import coverage_by_volatility, coverage_over_time
from tidecast.flows.reporting.figure import Picture
from tidecast.flows.tracking.environment import machine
from tidecast.flows.tracking.metric_names import POOLED_METRICS, PooledMetric
from tidecast.flows.training.result import TrainingResult
from tidecast.forecasting.tables.names import RANDOM_WALK

EVIDENCE = "evaluation/summary.parquet"
DECISION = "decision.json"

DIRECTION = PooledMetric("direction", "direction_percent", 100.0)
"""In tables only: the share of moves whose sign the median had."""

STANDARD_ERRORS = ("skill_se", "ae_skill_se")
"""Columns that tables for readers leave out, because they have the intervals."""


def write_files(training: TrainingResult, folder: Path) -> None:
    """Write the files of a training's run into `folder`.

    Parameters
    ----------
    training : TrainingResult
    folder : Path
        It exists.
    """
    for name in ("evaluation", "pictures", "tables"):
        (folder / name).mkdir(parents=True)
    for name, document in {DECISION: _decision(training), "environment.json": machine()}.items():
        text = json.dumps(document, indent=2, default=str, ensure_ascii=False)
        (folder / name).write_text(text, encoding="utf-8")
    for name, table in _tables(training).items():
        table = in_percent(table)
        content = {"columns": table.columns, "data": [[plain(value) for value in row] for row in table.rows()]}
        text = json.dumps(content, default=str, ensure_ascii=False)
        (folder / "tables" / name).write_text(text, encoding="utf-8")
    if training.evaluation is not None:
        training.evaluation.summary.write_parquet(folder / EVIDENCE)
        training.evaluation.losses.write_parquet(folder / "evaluation/losses.parquet")
    for name, picture in _pictures(training):
        (folder / "pictures" / f"{name}.png").write_bytes(picture.png())


def _decision(training: TrainingResult) -> dict[str, Any]:
    decision = training.decision
    return {
        "as_of": training.as_of.isoformat(),
        "winner": training.winner,
        "outcome": training.outcome,
        "reason": training.reason,
        "verdict": None if decision is None else decision.verdict,
        "decision": None if decision is None else decision.to_dict(),
    }


def _tables(training: TrainingResult) -> dict[str, pl.DataFrame]:
    """Tables for MLflow's pages: the most important columns first, the best rows first."""
    summary = None if training.evaluation is None else training.evaluation.summary
    tables = {}
    if training.selection.height:
        tables["selection.json"] = training.selection
    if summary is not None:
        first = ["model", "series_id", "step", "skill", "skill_low", "skill_high", "p", "crps", "pinball", "coverage"]
        order = [name for name in first if name in summary.columns]
        ordered = summary.select("group", *order, pl.exclude("group", *order))
        for group, name, by in (
            ("pooled", "models", []),
            ("series", "series", ["model"]),
            ("step", "steps", ["model", "step"]),
        ):
            rows = ordered.filter(pl.col("group") == group).drop("group")
            rows = rows.sort(*by, -pl.col("skill"), nulls_last=True, maintain_order=True)
            tables[f"{name}.json"] = rows.select(column.name for column in rows if column.null_count() < rows.height)
    return tables


def _pictures(training: TrainingResult) -> Iterator[tuple[str, Picture]]:
    """Yield (name, picture); the names are numbered in reading order."""
    forecasts, prices = training.model.predict(), training.panel
    newest = forecasts.filter(pl.col("origin") == forecasts["origin"].max())["series_id"].unique(maintain_order=True)
    yield "1_forecasts", plots.fans(prices, forecasts, plots.calm_to_wild(prices, newest.to_list()))
    if training.decision is not None and training.evaluation is not None and training.gate_shares is not None:
        summary, losses = training.evaluation.summary, training.evaluation.losses
        models = summary.filter(pl.col("group") == "pooled")["model"].to_list()
        shares = training.gate_shares
        levels = shares["level"].to_list()
        nominal = max(levels) - min(levels)
        yield "2_skill_by_step", plots.skill_by_step(summary, [name for name in models if name != RANDOM_WALK])
        yield "3_skill_by_series", plots.skill_by_series(summary, training.decision.candidate)
        judged = [name for name in models if name != "drift" or name == training.decision.candidate]
        yield "4_reliability", calibration_plots.reliability(shares.filter(pl.col("model").is_in(judged)))
        yield "5_coverage_by_step", calibration_plots.coverage_by_step(summary, judged, nominal)
        losses = losses.filter(pl.col("model").is_in(judged))
        over_time = coverage_over_time(losses)
        by_volatility = coverage_by_volatility(losses, prices, training.settings.positive)
        yield "6_coverage_over_time", calibration_plots.coverage_over_time(over_time, by_volatility, nominal)
    curves = {name: curve for name, curve in training.learning_curves.items() if curve.height}
    if curves:
        yield "7_learning_curves", learning_plots.learning_curves(curves)
    if training.memory.height:
        yield "8_memory", learning_plots.memory(training.memory)


def in_percent(table: pl.DataFrame) -> pl.DataFrame:
    """Return a table with the names and units of metrics in MLflow: shares in per cent.

    Parameters
    ----------
    table : polars.DataFrame
        Columns of ``evaluate(...).summary``, or of trials.
    """
    shown = {each.column: each for each in (*POOLED_METRICS, DIRECTION) if each.column in table.columns}
    scaled = [pl.col(name) * each.factor for name, each in shown.items() if each.factor != 1.0]
    table = table.with_columns(scaled).drop(STANDARD_ERRORS, strict=False)
    return table.rename({name: each.name for name, each in shown.items()})


def plain(value: Any) -> Any:
    """A value for a table in JSON: five digits, None for NaN and infinity. Exact values are in the Parquet files.

    Parameters
    ----------
    value : object
    """
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value.isoformat() if isinstance(value, date) else value
