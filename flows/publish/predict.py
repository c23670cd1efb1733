"""The champion's forecasts of one session, ready to be published."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import polars as pl

from tidecast.features.calendars.per_series import PanelCalendar, mark_long_periods
from tidecast.features.volatility import with_volatility
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import TidecastError
from tidecast.flows.training.champion import Champion

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
    """

    table: pl.DataFrame
    left_out: dict[str, tuple[str, ...]]
    pegged: tuple[str, ...]
    live_series: int


def predict(
    panel: pl.DataFrame, champion: Champion, settings: Settings, as_of: date, run_id: str, live: bool
) -> Forecasts:
    """Forecast every series that is still quoted, from its last row.

    A series may be some sessions behind, also behind the end of the model's training: the model knew nothing that was
    not known at `as_of`. Its first steps then lie at or before `as_of`; they are not live.

    Parameters
    ----------
    panel : DataFrame
        Prices known at `as_of`.
    champion : Champion
        Trained on no row after `as_of`.
    settings : Settings
        With the calendar decided.
    as_of : date
    run_id : str
        Stored with the forecasts.
    live : bool
        Whether they are issued in time. A step whose session is not after `as_of` never counts as live.

    Returns
    -------
    Forecasts

    Raises
    ------
    TidecastError
        No series can be forecast, or the champion was trained on later rows.
    """
    if champion.trained_through > as_of:
        raise TidecastError(
            f"A forecast may use only what was known on its session; version {champion.version} was trained through "
            f"{champion.trained_through}, after {as_of}."
        )
    behind = sessions_behind(panel, settings, as_of)
    quoted = behind.filter(pl.col("sessions") <= LATE)["series_id"]
    current = panel.filter(pl.col("series_id").is_in(quoted.implode()))
    try:
        table = champion.model.predict(current)
    except ValueError as error:
        raise TidecastError(f"No series can be forecast as of {as_of}. {error}") from error
    short = champion.model.skipped_
    table = table.with_columns(trained_through=_last_seen(table, current, settings, champion.trained_through))
    ended = behind.filter(pl.col("sessions") > LATE)["series_id"]
    reasons = {
        f"no price for more than {LATE} sessions: ended, or pausing": ended,
        f"fewer than lookback = {settings.lookback} rows since the start or the last long pause": short,
    }
    moves = with_volatility(mark_long_periods(current, settings.calendar), positive=settings.positive)
    pegged = moves.group_by("series_id", maintain_order=True).agg(pl.col("pegged").last()).filter("pegged")
    marks = {"as_of": as_of, "model": champion.name, "run_id": run_id}
    ahead = pl.lit(live) & (pl.col("time") > as_of)
    return Forecasts(
        table=table.with_columns(live=ahead, **{name: pl.lit(value) for name, value in marks.items()}),
        left_out={reason: tuple(series) for reason, series in reasons.items() if len(series)},
        pegged=tuple(pegged["series_id"]),
        live_series=len(quoted),
    )


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
