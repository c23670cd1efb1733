"""Other models in a backtest: their protocol, and forecasts made origin by origin.

Forecasters of this package are known to be causal, so one pass over a fold gives all their forecasts. Any other model
might look ahead, so it gets only the rows known at each origin, one origin after the other.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, Protocol, Self, runtime_checkable

import polars as pl
from sklearn.pipeline import Pipeline

from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.features.error_text import check_whole
from tidecast.features.frames import Frame, like
from tidecast.features.known_ahead.table import has_lists
from tidecast.features.panel import AHEAD, PanelSchema, check_panel
from tidecast.features.transformers.base import PanelTransformer
from tidecast.forecasting.backtesting.forecast_check import checked_forecasts
from tidecast.forecasting.backtesting.settled_panel import settled_frame
from tidecast.forecasting.evaluation.splits import Fold
from tidecast.forecasting.tables.quantiles import DEFAULT_QUANTILES, check_quantiles

HARMLESS = {"__init__", "__repr__", "search_space"}
"""Methods that a subclass of a forecaster may override without a change to its forecasts."""


@runtime_checkable
class PanelModel(Protocol):
    """A model that `backtest` can compare with the forecasters of this package.

    `backtest` copies it, fits it on each fold's training rows, and asks it for forecasts from each origin with the
    rows that were known there: rows at or before the origin. If the model has a `schema` that names future covariates,
    the next `horizon` sessions follow as rows without a target that hold only these covariates; those from
    `with_future` as they were known at the origin.

    Attributes
    ----------
    horizon : int
        Sessions that it forecasts. The attributes `quantiles`, `target` and `schema` are optional; where a model has
        them, they must agree with those of the other models.
    """

    horizon: int

    def fit(self, X: Any) -> Self:
        """Fit on a panel: `series_id`, `time`, the target and the panel's further columns.

        Parameters
        ----------
        X : polars or pandas DataFrame
            The training rows, of the kind that `backtest` was given.
        """
        ...

    def predict(self, X: Any) -> Any:
        """Forecast from the last row of each series of a panel.

        Parameters
        ----------
        X : polars or pandas DataFrame
            The rows known at one origin, of the kind that `backtest` was given. A model whose `predict` also takes
            `origins` gets the origin as a list of one time.

        Returns
        -------
        DataFrame
            polars or pandas, in any order: `series_id`, `origin` (time of the series' last row), `step` (1 to
            `horizon`), `time` (the session of that step), `forecast`, and a column for each quantile level, such as
            `q0.05`. Without any quantile column the model is scored by its point forecasts only, and its CRPS is null.
            A series may be left out.
        """
        ...


OUR_PACKAGES = ("tidecast.features.", "tidecast.forecasting.")
"""Prefixes of the modules whose classes use nothing after an origin."""


def is_ours(model: Any) -> bool:
    """Whether one pass over a fold may forecast from all its origins.

    True for the forecasters of this package, for subclasses that override none of their methods, and for pipelines of
    them with the transformers of this package. Any other transformer may look ahead, so the whole model is then not
    one of ours.

    Parameters
    ----------
    model : estimator
        Forecaster, transformer or Pipeline.
    """
    if isinstance(model, Pipeline):
        return type(model) is Pipeline and all(
            step in (None, "passthrough") or is_ours(step) for _, step in model.steps
        )
    if not _trusted(type(model)):
        return False
    return all(is_ours(part) for value in model.get_params(deep=False).values() for part in _estimators(value))


def _trusted(kind: type) -> bool:
    own = [each for each in kind.__mro__ if each.__module__.startswith(OUR_PACKAGES)]
    if not own or own[0] is PanelTransformer:
        return False
    known = {name for each in own for name in vars(each)} - HARMLESS
    for each in kind.__mro__[: kind.__mro__.index(own[0])]:
        for name, value in vars(each).items():
            requests = name.startswith("set_") and name.endswith("_request")  # added by scikit-learn to each class
            if name in known and not requests and (callable(value) or hasattr(value, "__get__")):
                return False
    return True


def _estimators(value: Any) -> Iterator[Any]:
    """Estimators in a parameter: itself, or in a list of them, named or not."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from _estimators(item)
    elif hasattr(value, "fit") and not isinstance(value, type):
        yield value


def check_model(name: str, model: Any, forecaster: Any) -> None:
    """Refuse a model that does not follow `PanelModel`, before anything is fitted.

    Parameters
    ----------
    name : str
        The model's, for errors.
    model : model, or Pipeline that ends in one
    forecaster : model
        The last step of `model`.

    Raises
    ------
    TypeError
        Naming what is missing.
    ValueError
        The horizon is below 1.
    """
    if isinstance(model, type):
        raise TypeError(f"models must be unfitted models, not classes; {name!r} is {model.__name__}. Write it with ().")
    if not isinstance(forecaster, PanelModel):
        lacking = [part for part in ("horizon", "fit", "predict") if not hasattr(forecaster, part)]
        raise TypeError(
            f"models must be forecasters, or Pipelines that end in one; {name!r} is {model!r} and has no "
            f"{' and no '.join(lacking)}. A model of your own needs horizon, fit(panel) and predict(panel): see "
            "forecasting.PanelModel."
        )
    check_whole(f"horizon of {name!r}", forecaster.horizon, at_least=1)
    for method, n_passed in ((forecaster.fit, 1), (forecaster.predict, 1)):
        needed = [
            each.name
            for each in inspect.signature(method).parameters.values()
            if each.default is each.empty and each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
        ]
        if len(needed) > n_passed:
            raise TypeError(
                f"{method.__name__} of {name!r} must be callable with a panel only, found that it needs "
                f"{', '.join(needed)}. Give the others a default."
            )


def takes_origins(forecaster: Any) -> bool:
    """Whether `predict` has a parameter `origins`.

    Parameters
    ----------
    forecaster : estimator
    """
    parameters = inspect.signature(forecaster.predict).parameters.values()
    return any(each.name == "origins" for each in parameters)


def as_trained(train: pl.DataFrame, common: Any) -> pl.DataFrame:
    """Return training rows as the forecasters of this package learn from them: each at a session of its calendar.

    Parameters
    ----------
    train : polars.DataFrame
        Rows of a panel.
    common : estimator
        A forecaster whose schema and target are those of the panel.

    Raises
    ------
    ValueError
        As `check_panel`.
    """
    schema = common.schema or PanelSchema()
    checked = check_panel(train, schema, common.target)
    return settled_frame(train, _calendar_of(checked, schema), schema, common.target, checked["series_id"]).frame


def _calendar_of(trained: pl.DataFrame, schema: PanelSchema) -> PanelCalendar:
    return PanelCalendar.of(trained, schema.calendar).meeting(trained)


def forecast_each_origin(
    name: str,
    fitted: Any,
    forecaster: Any,
    common: Any,
    frame: pl.DataFrame,
    panel: Frame,
    train: pl.DataFrame,
    fold: Fold,
) -> pl.DataFrame:
    """Checked forecasts of a fold, each made with the rows that were known at its origin.

    Parameters
    ----------
    name : str
        The model's, for errors.
    fitted : model, or Pipeline that ends in one
    forecaster : model
        The last step of `fitted`.
    common : forecaster
        The random walk that all models are compared with; its quantiles, target and schema apply.
    frame : polars.DataFrame
        The whole panel.
    panel : polars or pandas DataFrame
        As the user passed it: the model gets rows of the same kind.
    train : polars.DataFrame
        Rows that the model was fitted on; the calendar comes from them.
    fold : Fold

    Returns
    -------
    polars.DataFrame
        A forecast table.

    Raises
    ------
    TypeError, ValueError
        A forecast does not follow `PanelModel`.
    """
    schema, target = common.schema or PanelSchema(), common.target
    future = (getattr(forecaster, "schema", None) or schema).future
    trained = check_panel(train, schema, target)
    calendar = _calendar_of(trained, schema)
    settled = settled_frame(frame.filter(pl.col("time") <= fold.end), calendar, schema, target, trained["series_id"])
    frame, priced = settled.frame, settled.priced
    levels = check_quantiles(getattr(common, "quantiles", DEFAULT_QUANTILES))
    times = frame["time"].unique().sort()
    tables = []
    for origin in settled.origins(fold):
        known = _known_at(frame, origin, future, times, forecaster.horizon)
        if lists := [name for name in future if has_lists(frame, name)]:
            known = _with_lists(known, origin, lists, settled.calendar, forecaster.horizon)
        here = {"origins": [origin]} if takes_origins(forecaster) else {}
        found = fitted.predict(like(known, panel), **here)
        live = priced.filter(pl.col("__tidecast_given") == origin)
        expected = _sessions_ahead(live, settled.calendar, forecaster.horizon)
        tables.append(checked_forecasts(found, name, expected, frame["series_id"], origin, levels))
    table = pl.concat(tables)
    if table.is_empty():
        raise ValueError(
            f"The model {name!r} must forecast at least one series in each fold, found none from "
            f"{fold.first_origin} to {fold.last_origin}. Check what its predict returns for the newest rows."
        )
    return table


def _known_at(
    frame: pl.DataFrame, origin: Any, future: tuple[str, ...], times: pl.Series, horizon: int
) -> pl.DataFrame:
    """Rows at or before the origin, and only the future covariates of the sessions after it."""
    time = pl.col("time")
    known = frame.filter(time <= origin)
    if not future:
        return known
    later = frame.filter((time > origin) & time.is_in(times.filter(times > origin).head(horizon).implode()))
    kept = {"series_id", "time", "calendar", *future}
    hidden = [pl.lit(None, kind).alias(name) for name, kind in frame.schema.items() if name not in kept]
    return pl.concat([known, later.with_columns(hidden)])


def _with_lists(
    known: pl.DataFrame, origin: Any, lists: list[str], calendar: PanelCalendar, horizon: int
) -> pl.DataFrame:
    """The rows known at an origin, with the covariates ahead that the origin's own rows list, and no later value."""
    here = known.filter(pl.col("time") == origin)
    number = pl.Series(calendar.numbers(here.select("series_id", "time")))
    parts = []
    for step in range(1, horizon + 1):
        time = calendar.times(here["series_id"], (number + step).to_numpy()).cast(known.schema["time"])
        values = [
            pl.col(name + AHEAD)
            .cast(pl.List(pl.Float64))
            .list.get(step - 1, null_on_oob=True)
            .fill_nan(None)
            .alias(name)
            for name in lists
        ]
        parts.append(here.select("series_id", *values, time=time))
    hidden = [pl.when(pl.col("time") <= origin).then(pl.col(name)).alias(name) for name in lists]
    known = known.with_columns(hidden).cast(dict.fromkeys(lists, pl.Float64))
    joined = known.update(pl.concat(parts), on=["series_id", "time"], how="full", include_nulls=False)
    return joined.select(known.columns).sort("series_id", "time")


def _sessions_ahead(live: pl.DataFrame, calendar: PanelCalendar, horizon: int) -> pl.DataFrame:
    """`series_id`, `origin`, `step` and `time` of the forecasts that are possible from these rows."""
    keys = [name for name in ("series_id", "time", "calendar") if name in live.columns]
    numbers = pl.Series(calendar.numbers(live.select(keys)), dtype=pl.Int64)
    known = calendar.joined(live) if "calendar" in live.columns else calendar
    steps = pl.DataFrame({"step": pl.Series(range(1, horizon + 1), dtype=pl.Int32)})
    rows = live.select("series_id", origin="time", number=numbers).join(steps, how="cross")
    later = (rows["number"] + rows["step"]).to_numpy()
    time = known.times(rows["series_id"], later).cast(live.schema["time"])
    return rows.select("series_id", "origin", "step", time=time)
