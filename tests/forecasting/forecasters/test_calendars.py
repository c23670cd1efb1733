"""Forecasters on calendars: bars within the day, and a calendar per series."""

from datetime import date, datetime

import numpy as np
import polars as pl
import pytest

from tidecast.features import PanelSchema, assert_causal, get_calendar
from tidecast.forecasting import GRUForecaster, RandomWalk

MARKETS = ("XNYS", "XTKS", "24/7")


def walk(n_rows, seed):
    return 100 * np.exp(np.random.default_rng(seed).normal(0, 0.01, n_rows).cumsum())


def bars(name, until, n_rows=300):
    """A series with a price on each of the last bars."""
    calendar = get_calendar(name)
    last = calendar.number_at(until)
    times = calendar.times(np.arange(last - n_rows + 1, last + 1))
    return pl.DataFrame({"series_id": "a", "time": times, "close": walk(n_rows, 1)})


@pytest.fixture(scope="module")
def markets():
    """A year of three markets up to the eve of Golden Week's second half: a Thursday."""
    days = pl.date_range(date(2023, 5, 1), date(2024, 5, 2), eager=True)
    parts = []
    for seed, name in enumerate(MARKETS):
        own = days.filter(pl.Series(get_calendar(name).is_session(days)))
        parts.append(pl.DataFrame({"series_id": name, "time": own, "close": walk(len(own), seed), "calendar": name}))
    return pl.concat(parts)


@pytest.mark.parametrize("model", [RandomWalk, GRUForecaster])
def test_bars_are_forecast_over_the_night_a_half_day_and_a_holiday(model):
    settings = {"max_epochs": 1, "random_state": 0} if model is GRUForecaster else {}
    panel = bars("XNYS 30m", datetime(2024, 7, 3, 16, 30))  # the bar before the last of a half day
    schema = PanelSchema(calendar="XNYS 30m")
    table = model(horizon=3, lookback=20, schema=schema, **settings).fit(panel).predict()
    assert table["time"].to_list() == [
        datetime(2024, 7, 3, 17), datetime(2024, 7, 5, 14), datetime(2024, 7, 5, 14, 30),
    ]  # fmt: skip


def test_bars_around_the_clock_continue_over_midnight():
    panel = bars("every 1h", datetime(2024, 7, 3, 23))
    for schema in (PanelSchema(calendar="every 1h"), None):  # named, or inferred
        table = RandomWalk(horizon=2, lookback=20, schema=schema).fit(panel).predict()
        assert table["time"].to_list() == [datetime(2024, 7, 4), datetime(2024, 7, 4, 1)]


def test_a_panel_of_several_calendars_looks_at_no_later_day(markets):
    assert_causal(RandomWalk(horizon=2, lookback=20), markets)


def test_a_series_is_forecast_as_if_alone_whatever_the_other_calendars(markets, tmp_path):
    model = RandomWalk(horizon=2, lookback=20).fit(markets)
    model.save(tmp_path)
    again = RandomWalk.load(tmp_path)
    for name in MARKETS:
        alone = model.predict(markets.filter(series_id=name))
        assert alone.equals(again.predict(markets.filter(series_id=name).drop("calendar")))
        assert alone.equals(model.predict(markets).filter(series_id=name))
