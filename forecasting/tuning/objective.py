"""The objective of a trial: its loss on each fold, as a share of the random walk's on the same rows."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import polars as pl
from sklearn.base import clone

from tidecast.features.frames import Frame, to_polars
from tidecast.features.panel import PanelSchema
from tidecast.forecasting.backtesting.fold_by_fold import forecast_block, forecaster_of, with_random_walk
from tidecast.forecasting.estimator.threads import one_thread
from tidecast.forecasting.evaluation.metrics import evaluate
from tidecast.forecasting.evaluation.splits import RollingOrigin
from tidecast.forecasting.network.progress import Epoch, StopTraining
from tidecast.forecasting.network.training import Training
from tidecast.forecasting.tables.names import CRPS, PINBALL, RANDOM_WALK
from tidecast.forecasting.tuning.budget import Budget, Cost, FitClock

METRICS = {CRPS: (CRPS, PINBALL), "mae": ("mae",)}
"""Metrics to minimise, and their columns in the summary of `evaluate`."""

CANDIDATE = "candidate"


class TrialScorer:
    """Scores trials on the folds, against the random walk's forecasts there.

    Parameters
    ----------
    model : forecaster, or Pipeline that ends in one
    panel : polars or pandas DataFrame
    cv : RollingOrigin
    lookback : int
        The largest of any trial: all are scored on origins with at least this many rows.
    metric : {"crps", "mae"}

    Attributes
    ----------
    loss : float
        The random walk's, pooled over all folds.
    metric : str
        Its column in the summary of `evaluate`.
    """

    def __init__(self, model: Any, panel: Frame, cv: RollingOrigin, lookback: int, metric: str) -> None:
        self.panel: Any = panel
        self.frame: Any = to_polars(panel)
        self.folds = list(enumerate(cv.folds(self.frame), start=1))
        self._forecaster = forecaster_of(model)
        self._random_walk = random_walk = with_random_walk(model)[RANDOM_WALK]
        longest = clone(random_walk).set_params(lookback=lookback)
        self._random_walk_tables = []
        for k in range(len(self.folds)):
            shared = self.forecast(longest, k).select("series_id", "origin", "step")
            self._random_walk_tables.append(self.forecast(random_walk, k).join(shared, on=shared.columns, how="semi"))
        pooled = [self._pooled(k, table) for k, table in enumerate(self._random_walk_tables)]
        self.metric = next(name for name in METRICS[metric] if name in pooled[0][RANDOM_WALK])
        sums = [self._sum(found[RANDOM_WALK]) for found in pooled]
        self.loss = sum(sums) / sum(found[RANDOM_WALK]["n_origins"] for found in pooled)

    def with_panel(self, panel: Any) -> TrialScorer:
        """Return this scorer on the same panel, read elsewhere; with None, without it, to be sent to another process.

        Parameters
        ----------
        panel : polars or pandas DataFrame, or None
        """
        twin = copy.copy(self)
        twin.panel, twin.frame = panel, None if panel is None else to_polars(panel)
        return twin

    def forecast(self, model: Any, k: int) -> pl.DataFrame:
        """Fit a model on the training rows of fold k, and forecast from its origins.

        Parameters
        ----------
        model : estimator
            An unfitted model.
        k : int
            Number of a fold.
        """
        return forecast_block(CANDIDATE, model, [self.folds[k]], self.panel, self._random_walk).tables[0][1]

    def losses(self, k: int, table: pl.DataFrame) -> tuple[float, float]:
        """Return the loss of forecasts on fold k, summed over origins, and the random walk's on the same rows.

        Parameters
        ----------
        k : int
            Number of a fold.
        table : polars.DataFrame
            Forecasts on that fold.
        """
        found = self._pooled(k, self._random_walk_tables[k], table)
        return self._sum(found[CANDIDATE]), self._sum(found[RANDOM_WALK])

    def description(self) -> dict[str, Any]:
        """Describe the evaluation as JSON holds it; losses are comparable if descriptions are equal."""
        return {
            "metric": self.metric,
            "folds": [f"{fold.train_start} … {fold.first_origin} … {fold.last_origin}" for _, fold in self.folds],
            "loss of the random walk": f"{self.loss:.9g}",
        }

    def _pooled(
        self, k: int, random_walk: pl.DataFrame, table: pl.DataFrame | None = None
    ) -> dict[str, dict[str, Any]]:
        """Pooled numbers of fold k, by model, on the rows that both have."""
        tables = [random_walk.with_columns(model=pl.lit(RANDOM_WALK))]
        if table is not None:
            tables.append(table.with_columns(model=pl.lit(CANDIDATE)))
        known = self.frame.filter(pl.col("time") <= self.folds[k][1].end)
        positive = (self._forecaster.schema or PanelSchema()).positive
        summary = evaluate(pl.concat(tables), known, self._forecaster.target, positive).summary
        return {row["model"]: row for row in summary.filter(pl.col("group") == "pooled").to_dicts()}

    def _sum(self, pooled: dict[str, Any]) -> float:
        value = pooled[self.metric]
        if value is None:
            raise ArithmeticError("A trial must forecast finite prices; it did not.")
        return float(value * pooled["n_origins"])


def judge(
    model: Any, scorer: TrialScorer, on_epoch: Callable[[int, Epoch], None], on_fold: Callable[[int, float, Cost], None]
) -> float:
    """Compute the loss of a model on all folds, as a share of the random walk's.

    Parameters
    ----------
    model : forecaster, or Pipeline that ends in one
        Unfitted.
    scorer : TrialScorer
    on_epoch : callable
        Called with the number of the fold, from 0, and the `Epoch` that ended; an exception ends the trial.
    on_fold : callable
        Called with the number of the fold, the share so far, and the `Cost` of a fit on the whole panel.

    Returns
    -------
    float
    """
    of_model = of_random_walk = 0.0
    n_rows = len(scorer.frame)
    for k, (_, fold) in enumerate(scorer.folds):
        clock = FitClock()
        table = scorer.forecast(_with_listeners(model, clock.on_epoch, partial(on_epoch, k)), k)
        n_train = scorer.frame.filter(pl.col("time").is_between(fold.train_start, fold.train_end)).height
        cost = clock.cost(n_rows / n_train)
        loss, reference = scorer.losses(k, table)
        of_model, of_random_walk = of_model + loss, of_random_walk + reference
        on_fold(k, of_model / of_random_walk, cost)
    return of_model / of_random_walk


def refit(model: Any, panel: Frame, budget: Budget, expected: Cost) -> Any:
    """Fit the model on a whole panel, like a trial; training stops when the time is over.

    Parameters
    ----------
    model : forecaster, or Pipeline that ends in one
        Unfitted.
    panel : polars or pandas DataFrame
    budget : Budget
    expected : Cost
        Of this fit.

    Warns
    -----
    UserWarning
        Training was stopped before its last epoch.
    """
    own = getattr(forecaster_of(model), "training", None)
    keep, ended = budget.keeper(expected), []

    def on_epoch(epoch: Epoch) -> None:
        try:
            keep(epoch)
        except StopTraining:
            ended.append(epoch.epoch)
            raise

    with one_thread(linear_algebra=True):
        fitted = _with_listeners(model, *([own.on_epoch] if own and own.on_epoch else []), on_epoch).fit(panel)
    if hasattr(forecaster_of(model), "training"):
        forecaster_of(fitted).set_params(training=own)
    if ended and ended[0] < forecaster_of(model).max_epochs:
        warnings.warn(
            f"The last fit must end in time, it was stopped after epoch {ended[0]} of at most "
            f"{forecaster_of(model).max_epochs}. Fit a model with these settings again, or raise timeout.",
            stacklevel=3,
        )
    return fitted


def _with_listeners(model: Any, *listeners: Callable[[Epoch], None]) -> Any:
    """Clone the model so that its training calls all listeners after each epoch; baselines are only cloned."""
    copy = clone(model)
    forecaster = forecaster_of(copy)
    if hasattr(forecaster, "training"):

        def on_epoch(epoch: Epoch) -> None:
            for listener in listeners:
                listener(epoch)

        forecaster.set_params(training=replace(forecaster.training or Training(), on_epoch=on_epoch))
    return copy
