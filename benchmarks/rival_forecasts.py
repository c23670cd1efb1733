"""Forecasts of other libraries' models, at the origins and with the refits of a backtest.

Each model runs in its library's interpreter (benchmarks/rivals/scales_of.py) and answers with volatilities; ours turns
them into calibrated quantiles. Files of a folder carry rows and answers.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.given_scales import GivenScales, scale_columns
from tidecast.features.panel import PanelSchema
from tidecast.features.segments import breaks
from tidecast.features.transformers.volatility_terms import VolatilityTerms
from tidecast.features.volatility import with_volatility
from tidecast.forecasting import RollingOrigin
from tidecast.forecasting.evaluation.splits import Fold

SCRIPTS = Path(__file__).parent / "rivals"
RIVALS = {
    "garch": ("scales_of.py", "GARCH(1,1), Student's t, each series (arch)"),
    "gjr": ("scales_of.py", "GJR-GARCH(1,1), Student's t, each series (arch)"),
    "har": ("scales_of.py", "HAR (1, 5, 22) of log variance, pooled least squares"),
    "lightgbm": ("scales_of.py", "LightGBM of log variance on the terms of VolatilityRegression"),
    "neural_lstm": ("neuralforecast_scales.py", "neuralforecast's LSTM, Student's t"),
}
"""By name: the script that runs it, and what it is."""

TOLD = 8
"""Failed series that are named in one line."""


@dataclass(frozen=True)
class RivalForecasts:
    """Forecasts of rivals.

    Attributes
    ----------
    table : polars.DataFrame
        As from `backtest`: one model's rows after another's.
    seconds : dict of str to float
        CPU seconds of each in its interpreter, fits and forecasts.
    failures : dict of str to list of str
        By model, what did not come out: "fold 1, ISK: ConvergenceWarning …". Such a series has the random walk's
        volatility.
    """

    table: pl.DataFrame
    seconds: dict[str, float]
    failures: dict[str, list[str]]


def forecasts_of_rivals(
    names: list[str], python: str, panel: pl.DataFrame, schema: PanelSchema, cv: RollingOrigin, horizon: int
) -> RivalForecasts:
    """Run rivals on the folds of a backtest.

    Parameters
    ----------
    names : list of str
        Of `RIVALS`.
    python : str
        Interpreter that has polars, arch and lightgbm, or neuralforecast.
    panel : polars.DataFrame
        ``series_id``, ``time``, ``close``.
    schema : PanelSchema
        Names the calendar.
    cv : RollingOrigin
    horizon : int
    """
    folds = list(enumerate(cv.folds(panel), start=1))
    tables, seconds, failures = [], dict.fromkeys(names, 0.0), {name: [] for name in names}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for number, fold in folds:
            _rows(panel, schema, fold, horizon).write_parquet(folder / f"rows_{number}.parquet")
        for name in names:
            said = _run(python, name, folder, horizon)
            seconds[name] = said["seconds"]
            failures[name] = [f"fold {fold}, {series}: {why}" for fold, series, why in said["failures"]]
            for number, fold in folds:
                scales = pl.read_parquet(folder / f"{name}_{number}.parquet")
                table = _calibrated(panel, schema, fold, horizon, scales)
                tables.append(table.select(pl.lit(name).alias("model"), pl.lit(number).alias("fold"), pl.all()))
    return RivalForecasts(pl.concat(tables), seconds, failures)


def _rows(panel: pl.DataFrame, schema: PanelSchema, fold: Fold, horizon: int) -> pl.DataFrame:
    """Return a rival's columns: changes, the random walk's volatility, terms, and targets where it may learn.

    ``change`` is the log return, null at the start of a series and after a pause; ``learn`` says that the row and its
    change lie before the sessions that calibrate; ``origin`` that a forecast is due.
    """
    known = panel.filter(pl.col("time") <= fold.end).sort("series_id", "time")
    none = known.with_columns(pl.lit(0.0).alias(name) for name in scale_columns(horizon))
    train = none.filter(pl.col("time").is_between(fold.train_start, fold.train_end))
    targets = GivenScales(horizon=horizon, schema=_with_scales(schema, horizon)).fit(train).targets_
    terms = VolatilityTerms(horizon).fit_transform(known)
    change = pl.col("close").log().diff().over("series_id", breaks(known).over("series_id"))
    rows = with_volatility(known).select("series_id", "time", "close", "volatility").with_columns(change=change)
    rows = rows.join(terms.drop("close"), on=["series_id", "time"], how="left", maintain_order="left")
    rows = rows.join(targets, on=["series_id", "time"], how="left", maintain_order="left")
    return rows.with_columns(
        learn=pl.col("time") <= targets["time"].max(),
        origin=pl.col("time").is_between(fold.first_origin, fold.last_origin),
    )


def _run(python: str, name: str, folder: Path, horizon: int) -> dict[str, Any]:
    """Run one model on every fold of the folder; return its CPU seconds and failures."""
    command = [python, str(SCRIPTS / RIVALS[name][0]), str(folder), name, str(horizon)]
    alone = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env={**os.environ, **alone})
    if done.returncode:
        raise SystemExit(f"{name} must run in {python}, but failed:\n{done.stderr[-3000:]}")
    return dict(json.loads((folder / f"{name}.json").read_text()))


def _calibrated(
    panel: pl.DataFrame, schema: PanelSchema, fold: Fold, horizon: int, scales: pl.DataFrame
) -> pl.DataFrame:
    """A fold's forecasts; rows without a scale are neither learned from nor calibrated on."""
    known = panel.filter(pl.col("time") <= fold.end)
    known = known.join(scales, on=["series_id", "time"], how="left", maintain_order="left")
    names = scale_columns(horizon)
    given = known.select("series_id", "time", known=pl.col(names[0]).is_not_null().cast(pl.Float64))
    known = known.with_columns(pl.col(names).fill_null(0.0))
    is_training = known["time"].is_between(fold.train_start, fold.train_end)
    model = GivenScales(horizon=horizon, schema=_with_scales(schema, horizon))
    model.fit(known.filter(is_training), sample_weight=given["known"].filter(is_training).to_numpy())
    times = known["time"].unique().sort()
    return model.predict(known, origins=times.filter(times.is_between(fold.first_origin, fold.last_origin)).to_list())


def _with_scales(schema: PanelSchema, horizon: int) -> PanelSchema:
    return replace(schema, covariates=tuple(scale_columns(horizon)))


def summary(found: RivalForecasts) -> list[str]:
    """One line for each rival: what it is, and which series it failed on.

    Parameters
    ----------
    found : RivalForecasts
    """
    lines = []
    for name, failed in found.failures.items():
        shown = "; ".join(failed[:TOLD]) + (f"; and {len(failed) - TOLD} more" if len(failed) > TOLD else "")
        count = (
            f"{len(failed)} fits failed: the random walk's volatility instead ({shown})" if failed else "none failed"
        )
        lines.append(f"{name}: {RIVALS[name][1]}; {count}.")
    return lines
