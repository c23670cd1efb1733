"""Backtest: simulate every fold in time order, and return one table of forecasts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import polars as pl

from tidecast.features.frames import Frame, FrameLike, like
from tidecast.features.panel import PanelSchema
from tidecast.forecasting.backtesting.fold_by_fold import FoldForecasts, backtest_by_fold, with_random_walk
from tidecast.forecasting.evaluation.splits import RollingOrigin
from tidecast.forecasting.tables.facts import noted
from tidecast.forecasting.tables.names import RANDOM_WALK


def backtest(
    models: Any,
    panel: FrameLike,
    cv: RollingOrigin,
    refit: bool | int = True,
    n_jobs: int = 1,
    on_fit: Callable[[str, int], None] | None = None,
) -> FrameLike:
    """Forecast with every model and the random walk, from every origin of every fold.

    A forecast from an origin uses rows at or before it, of a model fitted on rows at or before its fold's cut. The
    table is the same for any `n_jobs`, and on a cluster (`open_engine`): each fit has one thread.

    Parameters
    ----------
    models : forecaster, PanelModel, Pipeline that ends in one, or dict of them by name
        Unfitted; they are cloned. A single model is named after its class. A model of your own follows `PanelModel`
        and gets the rows known at each origin, one origin after the other; its forecasts are checked. ``random_walk``
        is always added, with the horizon, lookback, quantiles, target and schema of the first model that has each.
    panel : polars or pandas DataFrame
        The prices, with all the history.
    cv : RollingOrigin
        The folds; the horizon must be at least that of the models.
    refit : bool or int, default=True
        True: fit on every fold, like a daily pipeline. False: on the first only. k: on every k-th.
    n_jobs : int, default=1
        Processes, as in joblib: -1 is one per core.
    on_fit : callable, optional
        Called with the model's name and the number of a fold when that has been forecast.

    Returns
    -------
    DataFrame
        ``model``, ``fold`` (1 is the oldest), then the columns of a forecast table; sorted by model, fold, series_id,
        origin and step; polars for polars, pandas for pandas.

    Raises
    ------
    ValueError, TypeError
        Models differ in horizon, quantiles or target, a setting is impossible, the panel is too short, a forecast is
        missing, not finite, or has quantiles that cross, or the forecasts of a model of your own do not follow
        `PanelModel`.

    Examples
    --------
    >>> import numpy as np
    >>> from tidecast.forecasting.forecasters.baselines import Drift
    >>> days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 6, 30), eager=True)
    >>> steps = 0.01 * np.random.default_rng(0).normal(size=len(days))
    >>> prices = pl.DataFrame({"series_id": "a", "time": days, "close": np.exp(steps.cumsum())})
    >>> table = backtest(Drift(horizon=2, lookback=10), prices, RollingOrigin(n_splits=3, horizon=2, stride=10))
    >>> table.group_by("model", "fold").len().sort("model", "fold")["len"].to_list()
    [20, 20, 20, 20, 20, 20]
    """
    return cast("FrameLike", run_backtest(models, panel, cv, refit, n_jobs, on_fit).table)


def timed_backtest(
    models: Any,
    panel: FrameLike,
    cv: RollingOrigin,
    refit: bool | int = True,
    n_jobs: int = 1,
    on_fit: Callable[[str, int], None] | None = None,
) -> tuple[FrameLike, dict[str, float]]:
    """Backtest, and measure what each model costs.

    Parameters
    ----------
    models, panel, cv, refit, n_jobs, on_fit
        As for `backtest`.

    Returns
    -------
    table : DataFrame
        As from `backtest`.
    seconds : dict of str to float
        As `BacktestRun` has them.

    Raises
    ------
    ValueError, TypeError
        As `backtest`.
    """
    run = run_backtest(models, panel, cv, refit, n_jobs, on_fit)
    return cast("FrameLike", run.table), run.seconds


@dataclass(frozen=True)
class BacktestRun:
    """A backtest, with what it cost and how networks learned.

    Attributes
    ----------
    table : DataFrame
        As from `backtest`.
    seconds : dict of str to float
        CPU seconds of each model's fits and forecasts, by name; of each member of an average as well, which has none of
        its own.
    learning_curves : dict of str to polars.DataFrame
        ``learning_curve_`` of each network's newest fit, by name.
    """

    table: Frame
    seconds: dict[str, float]
    learning_curves: dict[str, pl.DataFrame]


def run_backtest(
    models: Any,
    panel: FrameLike,
    cv: RollingOrigin,
    refit: bool | int = True,
    n_jobs: int = 1,
    on_fit: Callable[[str, int], None] | None = None,
) -> BacktestRun:
    """Backtest, measure what each model costs, and keep how networks learned.

    Parameters
    ----------
    models, panel, cv, refit, n_jobs, on_fit
        As for `backtest`.

    Returns
    -------
    BacktestRun

    Raises
    ------
    ValueError, TypeError
        As `backtest`.
    """
    folds: list[FoldForecasts] = []
    costs = backtest_by_fold(models, panel, cv, folds.append, refit, n_jobs, on_fit)
    random_walk = with_random_walk(models)[RANDOM_WALK]
    table = like(pl.concat(fold.tables[name] for name in folds[0].tables for fold in folds), panel)
    table = noted(table, random_walk.target, (random_walk.schema or PanelSchema()).positive)
    return BacktestRun(table, costs.seconds, costs.learning_curves)
