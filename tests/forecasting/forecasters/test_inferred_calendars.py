"""Forecasts of panels whose calendars are inferred: their times against the truth, and their widths."""

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from tidecast.features import PanelSchema, get_calendar
from tidecast.forecasting import GRUForecaster, RandomWalk, RollingOrigin, backtest, evaluate, load_forecaster

UNTIL = date(2024, 3, 1)


def series(name, calendar, n_rows, until=UNTIL, sigma=0.01):
    """A random walk on the sessions of a calendar."""
    sessions = get_calendar(calendar)
    last = sessions.number_at(until)
    times = sessions.times(np.arange(last - n_rows + 1, last + 1))
    walk = np.exp(np.random.default_rng(n_rows).normal(0, sigma, n_rows).cumsum())
    return pl.DataFrame({"series_id": name, "time": times, "close": 100 * walk})


def forecast_times(table, name):
    return table.filter(series_id=name)["time"].to_list()


def following(calendar, n, until=UNTIL):
    sessions = get_calendar(calendar)
    return sessions.times(sessions.number_at(until) + np.arange(1, n + 1)).to_list()


PANELS = {
    "share and coin": [("share", "weekdays", 300), ("coin", "24/7", 300)],
    "daily and month-end": [("d", "weekdays", 900), ("m", "monthly last weekday", 60)],
    "daily, weekly and quarterly": [("d", "weekdays", 600), ("w", "weekly FRI", 90), ("q", "quarterly-JAN last", 40)],
    "years": [("y", "yearly last", 60)],
    "hours of weekdays": [("h", "every 1h 09:30-15:30 MON-FRI", 400)],
}


@pytest.mark.parametrize("panel", PANELS)
def test_each_series_is_forecast_for_the_sessions_that_it_has(panel, tmp_path):
    until = datetime(2024, 3, 1, 15, 30) if panel.startswith("hours") else UNTIL
    parts = [series(*part, until=until) for part in PANELS[panel]]
    whole, known = pl.concat(parts), pl.concat([part.head(-3) for part in parts])
    model = RandomWalk(horizon=3, lookback=16).fit(known)
    table = model.predict()
    for (name, *_), part in zip(PANELS[panel], parts, strict=True):
        assert forecast_times(table, name) == part["time"].tail(3).to_list()
    assert table.equals(model.predict(known))
    model.save(tmp_path)
    assert load_forecaster(tmp_path).predict(known).equals(table)
    later = pl.concat([part.tail(3) for part in parts])
    updated, again = model.update(later).predict(), model.predict(whole)
    assert updated.drop_nulls().equals(updated)
    assert updated["time"].equals(again["time"])
    assert np.allclose(updated["q0.95"], again["q0.95"])


def test_a_month_end_series_has_the_width_of_a_month():
    """Once, its interval for tomorrow was as wide as one for a month, sixfold."""
    daily, monthly = series("d", "weekdays", 900), series("m", "monthly last weekday", 60, sigma=0.045)
    table = RandomWalk(horizon=1, lookback=16).fit(pl.concat([daily, monthly])).predict()
    wide = (table["q0.95"] / table["forecast"]).log() / 1.64
    assert wide[0] == pytest.approx(0.01, rel=0.4)
    assert wide[1] == pytest.approx(0.045, rel=0.4)
    assert forecast_times(table, "m") == [date(2024, 3, 29)]


@pytest.mark.parametrize("kind", [RandomWalk, GRUForecaster])
def test_one_saturday_changes_no_forecast(kind):
    """Once, it made every day a session, and the interval from Friday to Monday 40 % too wide."""
    settings = {"max_epochs": 1, "random_state": 0} if kind is GRUForecaster else {}
    model = kind(horizon=3, lookback=16, **settings)
    days = series("a", "weekdays", 400)
    saturday = pl.DataFrame({"series_id": "a", "time": [date(2023, 6, 10)], "close": [100.0]})
    expected = model.fit(days).predict()
    with pytest.warns(UserWarning, match=r"'a' at 2023-06-10; 1 left out"):
        table = model.fit(pl.concat([days, saturday]), sample_weight=np.ones(401)).predict()
    assert table["time"].to_list() == following("weekdays", 3)
    assert table.equals(expected)
    with pytest.warns(UserWarning, match="left out"):
        assert model.predict(pl.concat([days, saturday])).equals(table)
    with pytest.warns(UserWarning, match="'a' at 2024-03-02"):
        model.update(saturday.with_columns(time=date(2024, 3, 2)))
    assert model.predict().equals(table)
    named = RandomWalk(horizon=3, lookback=16, schema=PanelSchema(calendar="weekdays"))
    with pytest.raises(ValueError, match="must be a session of the calendar 'weekdays', found '2023-06-10'"):
        named.fit(pl.concat([days, saturday]))


def test_closes_stamped_with_a_clock_are_forecast_for_days_in_fit_update_and_predict():
    days = series("a", "weekdays", 100)
    stamped = days.with_columns(pl.col("time").cast(pl.Datetime("us")) + timedelta(hours=16))
    model = RandomWalk(horizon=2, lookback=16).fit(stamped.head(-3))
    assert model.update(stamped.tail(3)).predict()["time"].to_list() == following("weekdays", 2)
    assert model.predict(stamped.tail(20))["time"].to_list() == following("weekdays", 2)
    assert model.score(stamped) < 0


def test_a_sparse_series_that_comes_later_has_its_own_calendar_or_is_named():
    model = RandomWalk(horizon=2, lookback=10).fit(series("d", "weekdays", 300))
    monthly = series("m", "monthly last", 30)
    assert forecast_times(model.predict(pl.concat([series("d", "weekdays", 300), monthly])), "m") == [
        date(2024, 3, 31), date(2024, 4, 30),
    ]  # fmt: skip
    assert forecast_times(model.update(monthly).predict(), "m") == [date(2024, 3, 31), date(2024, 4, 30)]
    for row in series("w", "weekly FRI", 12).iter_slices(1):  # one at a time they show no calendar
        model.update(row)
    with pytest.warns(UserWarning, match=r"'w' .* Name its calendar in a column 'calendar', or fit again"):
        table = model.predict()
    assert "w" in model.skipped_
    assert "w" not in table["series_id"]
    named = RandomWalk(horizon=2, lookback=10, schema=PanelSchema(calendar="weekdays"))
    with pytest.warns(UserWarning, match=r"those of 'w' look like 'weekly FRI'"):
        named.fit(pl.concat([series("d", "weekdays", 300), series("w", "weekly FRI", 40)]))


def test_the_whole_history_of_a_series_that_came_row_by_row_was_once_forecast_for_tomorrow():
    days, weeks = series("d", "weekdays", 300), series("w", "weekly FRI", 30)
    model = RandomWalk(horizon=2, lookback=10).fit(days)
    for row in weeks.iter_slices(1):
        model.update(row)
    table = model.predict(pl.concat([days, weeks]))
    assert forecast_times(table, "w") == following("weekly FRI", 2)
    assert forecast_times(table, "d") == following("weekdays", 2)


def test_a_pause_is_counted_in_the_sessions_of_long_periods():
    """Once, 100 days were a pause in yearly rows, too, and every row began a series anew."""
    years = series("y", "yearly last", 40, until=date(2023, 12, 31))
    model = RandomWalk(horizon=1, lookback=10, schema=PanelSchema(calendar="yearly last")).fit(years)
    assert model.predict()["time"].to_list() == [date(2024, 12, 31)]
    gap = years.filter(~pl.col("time").dt.year().is_between(2010, 2014))
    table = RandomWalk(horizon=1, lookback=10).fit(gap).predict(gap, origins="all")
    assert [origin.year for origin in table["origin"]] == list(range(1993, 2010))  # afresh from 2015, nine rows


@pytest.mark.parametrize("named", ["column", "schema", "nothing"])
def test_yearly_forecasts_are_scored(named):
    """Once, each year was a pause for `evaluate`, which then knew no volatility and lost every row."""
    years = series("y", "yearly last", 60, until=date(2023, 12, 31))
    if named == "column":
        years = years.with_columns(calendar=pl.lit("yearly last"))
    schema = PanelSchema(calendar="yearly last" if named == "schema" else None)
    model = RandomWalk(horizon=2, lookback=10, schema=schema)
    table = backtest(model, years, RollingOrigin(n_splits=2, horizon=2, stride=10))
    found = evaluate(table, years)
    assert (found.pegged, len(found.losses)) == ((), len(table))
    assert found.summary["mase"].is_not_null().all()
    assert model.fit(years.head(50)).score(years) < 0


def test_names_of_another_type_than_in_fit_once_gave_a_raw_error_of_polars():
    days = series("d", "weekdays", 60)
    model = RandomWalk(horizon=2, lookback=10).fit(days)
    with pytest.raises(ValueError, match="'series_id' must hold String as in fit, got Int"):
        model.predict(days.with_columns(series_id=1))
