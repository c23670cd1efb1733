"""The champion's forecasts of one session, ready to be published."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import polars as pl

from tidecast.features.calendars.per_series import PanelCalendar, mark_long_periods
from tidecast.features.panel import PanelSchema
from tidecast.features.volatility import with_volatility
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import TidecastError
from tidecast.flows.publish.bucket_tasks import each_bucket, references
from tidecast.flows.publish.missing_ahead import MissingAhead, missing_ahead
from tidecast.flows.training.champion import Champion
from tidecast.flows.training.model_panel import fill_ahead, model_panel, reads_ahead
from tidecast.flows.warehouse.warehouse import Warehouse
from tidecast.forecasting.forecasters.baselines import RandomWalk
from tidecast.forecasting.panel.origins import NoOriginError
from tidecast.forecasting.tables.names import RANDOM_WALK

LATE = 5
"""Sessions a series may be behind and still be forecast; a series further behind has ended, or pauses."""


@dataclass(frozen=True)
class Forecasts:
    """Forecasts of a session, not published yet.

    Attributes
    ----------
    table : DataFrame
        As the warehouse publishes it, without year.
    left_out : dict of str to tuple of str
        Series without a forecast, by reason.
    pegged : tuple of str
        Series whose price has not moved for long: forecast, but never scored.
    live_series : int
        Series that are quoted: they have a price of the last sessions.
    missing_ahead : str
        A sentence on future covariates that are missing for the sessions ahead; empty without any.
    why_none : str
        Why the table is empty, as that of a bucket of series may be; empty otherwise.
    """

    table: pl.DataFrame
    left_out: dict[str, tuple[str, ...]]
    pegged: tuple[str, ...]
    live_series: int
    missing_ahead: str = ""
    why_none: str = ""


@dataclass(frozen=True)
class Request:
    """What to forecast. The prices are read by each bucket.

    Attributes
    ----------
    champion : Champion
        Trained on no row after `as_of`.
    settings : Settings
        With the calendar decided.
    as_of : date
    run_id : str
        Stored with the forecasts.
    live : bool
        Whether they are issued in time. A step whose session is not after `as_of` never counts as live.
    """

    champion: Champion
    settings: Settings
    as_of: date
    run_id: str
    live: bool


def predict_panel(warehouse: Warehouse, request: Request, versions: dict[str, int]) -> Forecasts:
    """Forecast every series that is still quoted, as `predict` does; a large panel by buckets of series.

    Each bucket is read and forecast by itself, where the settings say. What looks across series is forecast in one
    piece: see `needs_whole_panel`. The numbers are the same to the last digit.

    Parameters
    ----------
    warehouse : Warehouse
    request : Request
    versions : dict of str to int
        Of the tables.

    Returns
    -------
    Forecasts

    Raises
    ------
    TidecastError
        As `predict`.
    """
    champion, settings, as_of = request.champion, request.settings, request.as_of
    _refuse_later(champion, as_of)
    if warehouse.is_large() and not needs_whole_panel(champion.model, warehouse, settings):
        series = warehouse.series(as_of, version=versions.get("prices"))
        behind = sessions_behind(series, settings, as_of)
        quoted = pl.when(pl.Series(behind["sessions"] <= LATE)).then("rows").otherwise(0)  # both sorted by series
        buckets = references(warehouse, as_of, versions, series.with_columns(rows=quoted))
        if len(buckets) > 1:
            light = replace(champion, model=champion.model.for_panels(), evidence=None)
            parts = each_bucket(_of_bucket, replace(request, champion=light), buckets, settings)
            return _joined(parts, request)
    panel = model_panel(warehouse, settings, as_of, versions, filled=False)
    return predict(panel, champion, settings, as_of, request.run_id, request.live)


def needs_whole_panel(model: Any, warehouse: Warehouse, settings: Settings) -> bool:
    """Whether forecasts of a series depend on others: features may, and what is usually known ahead does.

    Parameters
    ----------
    model : forecaster
        Fitted.
    warehouse : Warehouse
    settings : Settings
    """
    return model.looks_across or reads_ahead(warehouse, settings)


def _of_bucket(request: Request, warehouse: Warehouse) -> Forecasts:
    """The forecasts of a bucket, of which no series may be long enough, or still quoted."""
    return _forecasts(model_panel(warehouse, request.settings, request.as_of, filled=False), request)


def _joined(parts: Sequence[Forecasts], request: Request) -> Forecasts:
    """The forecasts of all buckets, in the order of their series."""
    tables = [part.table for part in parts if not part.why_none]
    if not tables:
        raise TidecastError(f"No series can be forecast as of {request.as_of}. {parts[0].why_none}")
    left_out: dict[str, tuple[str, ...]] = {}
    for reason in _with_reasons(request.settings, ["any"], ["any"]):
        if series := tuple(name for part in parts for name in part.left_out.get(reason, ())):
            left_out[reason] = series
    return Forecasts(
        table=pl.concat(tables),
        left_out=left_out,
        pegged=tuple(name for part in parts for name in part.pegged),
        live_series=sum(part.live_series for part in parts),
    )


def predict(
    panel: pl.DataFrame, champion: Champion, settings: Settings, as_of: date, run_id: str, live: bool
) -> Forecasts:
    """Forecast every series that is still quoted, from its last row.

    A series may be some sessions behind, also behind the end of the model's training: the model knew nothing that was
    not known at `as_of`. Its first steps then lie at or before `as_of`; they are not live.

    Parameters
    ----------
    panel : DataFrame
        Prices known at `as_of`, with what was known ahead, not filled in.
    champion, settings, as_of, run_id, live
        As for `Request`.

    Returns
    -------
    Forecasts

    Raises
    ------
    TidecastError
        No series can be forecast, or the champion was trained on later rows.
    """
    _refuse_later(champion, as_of)
    found = _forecasts(panel, Request(champion, settings, as_of, run_id, live))
    if found.why_none:
        raise TidecastError(f"No series can be forecast as of {as_of}. {found.why_none}")
    return found


def _refuse_later(champion: Champion, as_of: date) -> None:
    if champion.trained_through > as_of:
        raise TidecastError(
            f"A forecast may use only what was known on its session; version {champion.version} was trained through "
            f"{champion.trained_through}, after {as_of}."
        )


def _forecasts(panel: pl.DataFrame, request: Request) -> Forecasts:
    """As `predict`; without a series to forecast, an empty table, and why."""
    champion, settings, as_of = request.champion, request.settings, request.as_of
    behind = sessions_behind(panel, settings, as_of)
    quoted = behind.filter(pl.col("sessions") <= LATE)["series_id"]
    ended = behind.filter(pl.col("sessions") > LATE)["series_id"]
    current = panel.filter(pl.col("series_id").is_in(quoted.implode()))
    missing, why_none = missing_ahead(current, settings), ""
    try:
        table = _of_champion(champion, current, settings, missing, request.run_id)
        short = champion.model.skipped_
    except NoOriginError as error:
        table, short, why_none = pl.DataFrame(), tuple(quoted), str(error)
    except ValueError as error:
        raise TidecastError(f"No series can be forecast as of {as_of}. {error}") from error
    moves = with_volatility(mark_long_periods(current, settings.calendar), positive=settings.positive)
    pegged = moves.group_by("series_id", maintain_order=True).agg(pl.col("pegged").last()).filter("pegged")
    if not why_none:
        table = table.with_columns(live=pl.lit(request.live) & (pl.col("time") > as_of), as_of=pl.lit(as_of))
    return Forecasts(
        table=table,
        left_out=_with_reasons(settings, ended, short),
        pegged=tuple(pegged["series_id"]),
        live_series=len(quoted),
        missing_ahead=missing.text,
        why_none=why_none,
    )


def _with_reasons(settings: Settings, ended: Iterable[str], short: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Series without a forecast, by reason."""
    reasons = {
        f"no price for more than {LATE} sessions: ended, or pausing": tuple(ended),
        f"fewer than lookback = {settings.lookback} rows since the start or the last long pause": tuple(short),
    }
    return {reason: series for reason, series in reasons.items() if series}


def _of_champion(
    champion: Champion, panel: pl.DataFrame, settings: Settings, missing: MissingAhead, run_id: str
) -> pl.DataFrame:
    """The champion's forecasts; the random walk's of series that lack what the champion reads, if declared so."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The future covariate")  # `missing` says it
        table = champion.model.predict(fill_ahead(panel, settings))
    lacking = pl.Series(missing.series, dtype=pl.String)
    reads = set((champion.model.schema or PanelSchema()).future) & set(settings.future_covariates)
    if settings.future_missing != "random_walk" or not reads:
        lacking = lacking.clear()
    own = table.filter(~pl.col("series_id").is_in(lacking.implode()))
    tables = [_marked(own, panel, settings, champion.trained_through, champion.name, run_id)]
    if len(lacking):
        schema = PanelSchema(positive=settings.positive, calendar=settings.calendar)
        walk = RandomWalk(settings.horizon, settings.lookback, settings.quantiles, schema=schema).fit(panel)
        instead = walk.predict(panel).filter(pl.col("series_id").is_in(lacking.implode()))
        newest = panel["time"].max()
        assert isinstance(newest, date)
        tables.append(_marked(instead, panel, settings, newest, RANDOM_WALK, ""))
    return pl.concat(tables).sort("series_id", "origin", "step")


def _marked(
    table: pl.DataFrame, panel: pl.DataFrame, settings: Settings, through: date, model: str, run_id: str
) -> pl.DataFrame:
    """The forecasts with the model that made them, and the session through which it can have seen each series."""
    marks = {"model": pl.lit(model), "run_id": pl.lit(run_id)}
    return table.with_columns(trained_through=_last_seen(table, panel, settings, through), **marks)


def _last_seen(table: pl.DataFrame, panel: pl.DataFrame, settings: Settings, trained_through: date) -> pl.Series:
    """The session through which the model can have seen each forecast's series, by the series' own calendar.

    A Sunday's training on crypto has seen stocks through Friday. A series that is behind may have an earlier origin.
    """
    calendar = PanelCalendar.of(panel, settings.calendar or "weekdays")
    return calendar.times(table["series_id"], calendar.through(table["series_id"], trained_through))


def sessions_behind(panel: pl.DataFrame, settings: Settings, as_of: date) -> pl.DataFrame:
    """Return ``series_id`` and ``sessions``: how far a series' last row lies before `as_of`, by its own calendar.

    Parameters
    ----------
    panel : polars.DataFrame
        ``series_id`` and ``time``; no row after `as_of`.
    settings : Settings
    as_of : date

    Returns
    -------
    polars.DataFrame
        One row per series, sorted by series.
    """
    calendar = PanelCalendar.of(panel, settings.calendar or "weekdays")
    last = panel.group_by("series_id").agg(pl.col("time").max()).sort("series_id")
    behind = calendar.through(last["series_id"], as_of) - calendar.numbers(last)
    return last.select("series_id", sessions=pl.Series(behind))
