"""The fits of a backtest as tasks, and their forecasts fold by fold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from time import process_time
from typing import Any

import polars as pl
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.features.calendars.periodic import is_of_periods
from tidecast.features.error_text import check_whole
from tidecast.features.frames import Frame, like, to_polars
from tidecast.features.panel import PanelSchema, check_columns
from tidecast.forecasting.backtesting.averaged_tables import averaged_members, averaged_tables, unnamed_members
from tidecast.forecasting.backtesting.outside_models import as_trained, check_model, forecast_each_origin, is_ours
from tidecast.forecasting.backtesting.settled_panel import settled_frame
from tidecast.forecasting.estimator.engine import on_engine, runs_apart
from tidecast.forecasting.estimator.fit_notes import FitNote, fits_of
from tidecast.forecasting.estimator.freed_memory import give_back_memory
from tidecast.forecasting.estimator.orphans import EndsWithParent
from tidecast.forecasting.estimator.panel_reference import PanelReference, opened
from tidecast.forecasting.estimator.threads import one_thread
from tidecast.forecasting.evaluation.splits import Fold, RollingOrigin
from tidecast.forecasting.tables.check import check_forecasts
from tidecast.forecasting.tables.names import RANDOM_WALK
from tidecast.forecasting.tables.quantiles import check_quantiles

SHARED = ("horizon", "lookback", "quantiles", "target", "schema")
"""Settings that the random walk takes from the first model that has them."""


@dataclass(frozen=True)
class BlockForecasts:
    """The forecasts of one fit.

    Attributes
    ----------
    name : str
        The model's.
    tables : list of (int, polars.DataFrame)
        A forecast table for each fold.
    seconds : float
        CPU seconds.
    learning_curve : polars.DataFrame or None
        Of a network.
    """

    name: str
    tables: list[tuple[int, pl.DataFrame]]
    seconds: float
    learning_curve: pl.DataFrame | None


@dataclass(frozen=True)
class FoldForecasts:
    """The forecasts of a fold.

    Attributes
    ----------
    number : int
        1 is the oldest.
    tables : dict of str to polars.DataFrame
        By model, in the order of names: ``model``, ``fold``, and the columns of a forecast table, sorted by series_id,
        origin and step.
    """

    number: int
    tables: dict[str, pl.DataFrame]

    @property
    def table(self) -> pl.DataFrame:
        """All models' forecasts under each other, without a copy."""
        return pl.concat(self.tables.values())


@dataclass(frozen=True)
class Costs:
    """CPU seconds and learning curves of a backtest's models.

    Attributes
    ----------
    seconds : dict of str to float
        As `BacktestRun` has them.
    learning_curves : dict of str to polars.DataFrame
        As `BacktestRun` has them.
    """

    seconds: dict[str, float]
    learning_curves: dict[str, pl.DataFrame]


def backtest_by_fold(
    models: Any,
    panel: Frame,
    cv: RollingOrigin,
    take: Callable[[FoldForecasts], None],
    refit: bool | int = True,
    n_jobs: int = 1,
    on_fit: Callable[[str, int], None] | None = None,
) -> Costs:
    """Backtest, and hand over each fold when all models have forecast it. No fold is kept.

    Parameters
    ----------
    models, panel, cv, refit, n_jobs, on_fit
        As for `backtest`.
    take : callable
        Called with each fold, the oldest first. Meanwhile other processes go on with the next.

    Returns
    -------
    Costs

    Raises
    ------
    ValueError, TypeError
        As `backtest`.
    """
    named = with_random_walk(models)
    check_agreement(named, cv)
    if isinstance(refit, bool):
        refit = 1 if refit else cv.n_splits
    check_whole("refit", refit, at_least=1)
    frame = to_polars(panel)
    check_columns(frame, ["series_id", "time"])
    folds = list(enumerate(cv.folds(frame), start=1))
    blocks = [list(block) for _, block in groupby(folds, key=lambda fold: (fold[0] - 1) // refit)]
    unnamed = unnamed_members(named)
    members = averaged_members(named | unnamed)
    fitted = {name: model for name, model in (named | unnamed).items() if name not in members}
    first = sorted(fitted.items(), key=lambda item: is_ours(item[1]))  # errors of models of your own show early
    work = [(name, model, block) for block in blocks for name, model in first]

    found: dict[int, dict[str, pl.DataFrame]] = {number: {} for number, _ in folds}
    seconds = dict.fromkeys(fitted, 0.0)
    curves: dict[str, tuple[int, pl.DataFrame]] = {}
    counted = fits_of("Backtest", [forecaster_of(model) for _, model, _ in work], runs_apart(n_jobs))
    with on_engine(panel, n_jobs) as reference, counted as fits:
        parallel = Parallel(return_as="generator_unordered", batch_size=1)
        forecast, common = delayed(EndsWithParent(forecast_block)), named[RANDOM_WALK]
        for done in parallel(forecast(*item, reference, common, fits.note(k)) for k, item in enumerate(work)):
            name, first_fold = done.name, done.tables[0][0]
            fits.one_ended(forecaster_of(fitted[name]))
            seconds[name] += done.seconds
            if done.learning_curve is not None and curves.get(name, (0,))[0] < first_fold:
                curves[name] = first_fold, done.learning_curve
            for number, table in done.tables:
                found[number][name] = _sharing_keys(table, found[number])
                if on_fit is not None:
                    on_fit(name, number)
            del done, table
            while found and len(found[number := min(found)]) == len(fitted):
                take(_whole_fold(number, found.pop(number), members, named))
    return Costs(seconds, {name: curve for name, (_, curve) in curves.items()})


def _sharing_keys(table: pl.DataFrame, others: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """The table with the keys of another model's where they are equal, in memory once: a sixth of a table."""
    keys = ["series_id", "origin", "step", "time"]
    other = next(iter(others.values())).select(keys) if others else None
    return table.with_columns(other) if other is not None and table.select(keys).equals(other) else table


def _whole_fold(
    number: int, tables: dict[str, pl.DataFrame], members: dict[str, list[str]], named: dict[str, Any]
) -> FoldForecasts:
    """The forecasts of all named models, the averages' from their members'."""
    tables |= averaged_tables(tables, members)
    for name in {*tables} - {*named}:
        del tables[name]
    for name in named:
        of_model = _in_order(tables[name])
        tables[name] = of_model.select(pl.lit(name).alias("model"), pl.lit(number).alias("fold"), pl.all())
    return FoldForecasts(number, {name: tables[name] for name in sorted(tables)})


def _in_order(table: pl.DataFrame) -> pl.DataFrame:
    """The table sorted by series_id, origin and step. Ours is already, and then not copied: the tables are large."""
    keys = table.select("series_id", "origin", "step")
    return table if keys.equals(keys.sort(keys.columns)) else table.sort(keys.columns)


def forecast_block(
    name: str, model: Any, block: list[tuple[int, Fold]], panel: Frame | PanelReference, common: Any = None,
    note: FitNote | None = None,
) -> BlockForecasts:  # fmt: skip
    """Fit on the first fold of a block, and forecast from the origins of each fold.

    Parameters
    ----------
    name : str
        The model's, for errors.
    model : forecaster, PanelModel, or Pipeline that ends in one
    block : list of (int, Fold)
    panel : polars or pandas DataFrame, or a reference to it
    common : RandomWalk, optional
        The random walk to compare with; required for models of your own.
    note : FitNote, optional
        Where to note how far the fit is.

    Returns
    -------
    BlockForecasts
    """
    begun = process_time()
    given = opened(panel)
    frame = to_polars(given)
    time, first = pl.col("time"), block[0][1]
    train = frame.filter(time.is_between(first.train_start, first.train_end))
    tables = []
    with one_thread(linear_algebra=True), note.noted() if note is not None else nullcontext():
        fitted = clone(model, safe=False)
        fitted.fit(like(train if is_ours(model) else as_trained(train, common), given))
        for number, fold in block:
            if not is_ours(model):
                table = forecast_each_origin(name, fitted, forecaster_of(fitted), common, frame, given, train, fold)
                tables.append((number, table))
                continue
            known = frame.filter(time <= fold.end)
            forecaster = forecaster_of(fitted)
            table = to_polars(fitted.predict(like(known, given), origins=_origins(known, fold, forecaster, train)))
            kind = pl.Datetime("us") if isinstance(forecaster.fit_end_, datetime) else pl.Date()
            table = table.with_columns(pl.col("origin", "time").cast(kind))  # pandas has no days
            check_forecasts(table, f"Model {name!r} in fold {number}")
            tables.append((number, table))
    curve = getattr(forecaster_of(fitted), "learning_curve_", None)
    give_back_memory()
    return BlockForecasts(name, tables, process_time() - begun, curve)


def _origins(known: pl.DataFrame, fold: Fold, forecaster: Any, train: pl.DataFrame) -> list[Any]:
    """Times of a fold's origins; of a row that moves to its session, that session."""
    calendar: PanelCalendar = forecaster.calendar_
    if not any(is_of_periods(one) for one in calendar.calendars) or not calendar.was_inferred(known["series_id"]).any():
        times = known["time"].unique().sort()
        return times.filter(times.is_between(fold.first_origin, fold.last_origin)).to_list()
    schema = forecaster.schema or PanelSchema()
    return settled_frame(known, calendar, schema, forecaster.target, train["series_id"]).origins(fold)


def with_random_walk(models: Any) -> dict[str, Any]:
    """Return the models by name, with the random walk.

    Parameters
    ----------
    models : forecaster, PanelModel, Pipeline that ends in one, or dict of them by name

    Returns
    -------
    dict of str to model

    Raises
    ------
    TypeError, ValueError
        A model does not follow `PanelModel`, or another model has the random walk's name.
    """
    from tidecast.forecasting.forecasters.baselines import RandomWalk  # loads torch, which takes seconds

    named = dict(models) if isinstance(models, Mapping) else {_name_of(forecaster_of(models)): models}
    if not named:
        raise ValueError("models must hold at least one forecaster, got none.")
    for name, model in named.items():
        check_model(name, model, forecaster_of(model))
    if not isinstance(named.get(RANDOM_WALK, RandomWalk()), RandomWalk):
        raise ValueError(
            f"The name {RANDOM_WALK!r} must be the random walk's, found {named[RANDOM_WALK]!r}. Give it another name."
        )
    shared: dict[str, Any] = {}
    for forecaster in map(forecaster_of, named.values()):
        shared = {name: getattr(forecaster, name) for name in SHARED if hasattr(forecaster, name)} | shared
    return {RANDOM_WALK: RandomWalk(**shared), **named}


def _name_of(model: Any) -> str:
    return (model if isinstance(model, type) else type(model)).__name__


def check_agreement(named: dict[str, Any], cv: RollingOrigin) -> None:
    """Refuse models whose forecasts could not be compared, and folds that are too short for them.

    Parameters
    ----------
    named : dict
        Models by name, the random walk among them.
    cv : RollingOrigin
        The folds.

    Raises
    ------
    ValueError
        Naming the model or the horizon.
    """
    random_walk = named[RANDOM_WALK]
    for name, model in named.items():
        forecaster = forecaster_of(model)
        for setting in ("horizon", "quantiles", "target"):
            ours, theirs = getattr(random_walk, setting), getattr(forecaster, setting, None)
            if setting == "quantiles" and theirs is not None:
                ours, theirs = check_quantiles(ours), check_quantiles(theirs)
            if theirs is not None and ours != theirs:
                raise ValueError(f"Models must share their {setting}; {name!r} has {theirs!r}, others {ours!r}.")
    if cv.horizon < random_walk.horizon:
        raise ValueError(
            f"The folds' horizon must be at least the models' {random_walk.horizon}, got {cv.horizon}: "
            f"the last origins would have no truth. Use RollingOrigin(horizon={random_walk.horizon}, …)."
        )


def forecaster_of(model: Any) -> Any:
    """Return the forecaster itself, or the last step of a Pipeline.

    Parameters
    ----------
    model : estimator
        Forecaster or Pipeline.
    """
    return model[-1] if isinstance(model, Pipeline) else model
