"""Series of one panel that trade on calendars of their own."""

from datetime import date

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.base import clone

from tidecast.features import PanelCalendar, PanelSchema, get_calendar
from tidecast.forecasting import GRUForecaster, RandomWalk, load_forecaster
from tidecast.forecasting.panel.flat_panel import panel_rows
from tidecast.forecasting.panel.segments import Segments

NAMES = {"AAPL": "XNYS", "BTC": "24/7", "TYO": "XTKS"}
MODELS = {
    "RandomWalk": RandomWalk(lookback=16),
    "GRUForecaster": GRUForecaster(lookback=16, hidden_size=8, max_epochs=1, learning_rate=5e-2, batch_size=8),
}


@pytest.fixture(scope="module")
def mixed():
    """Three series of 2023 and the first days of 2024, each on the sessions of its own calendar."""
    days = pl.date_range(date(2023, 1, 2), date(2024, 1, 5), eager=True)
    generator, parts = np.random.default_rng(0), []
    for series, name in NAMES.items():
        own = days.filter(pl.Series(get_calendar(name).is_session(days)))
        walk = np.exp(0.01 * generator.standard_normal(len(own)).cumsum())
        parts.append(pl.DataFrame({"series_id": series, "time": own, "close": walk, "calendar": name}))
    return pl.concat(parts).rechunk()


@pytest.fixture(scope="module")
def fitted(mixed):
    return {name: clone(model).fit(mixed) for name, model in MODELS.items()}


@pytest.mark.parametrize("name", MODELS)
def test_each_series_is_forecast_for_its_own_sessions(name, mixed, fitted):
    table = fitted[name].predict()
    assert table.equals(fitted[name].predict(mixed))
    for series, calendar in NAMES.items():
        own = get_calendar(calendar)
        times = table.filter(series_id=series)["time"]
        assert np.array_equal(own.numbers(times), own.numbers(pl.Series([date(2024, 1, 5)])) + np.arange(1, 6))


def test_no_target_crosses_a_cut_whatever_its_calendar(mixed):
    rows = panel_rows(mixed, True, "close", PanelCalendar.of(mixed), 16)
    until = date(2023, 5, 4)  # a holiday in Tokyo
    inputs_N1 = torch.arange(len(rows), dtype=torch.float32)[:, None]
    segments = Segments(rows, inputs_N1, inputs_N1[:, 0] * 0 + 1, 16, 3)
    found = set()
    for batch in segments.epoch(until, 8, np.random.default_rng(0)):
        b, t, h = batch.weight_BTH.nonzero(as_tuple=True)
        found |= set(zip(batch.x_BTF[b, t, 0].int().tolist(), (h + 1).tolist(), strict=True))
    expected = set()
    for row, (series, time) in enumerate(rows.keys.rows()):
        calendar = get_calendar(NAMES[series])
        number = calendar.numbers(pl.Series([time]))[0]
        for step, truth in enumerate(calendar.times(number + np.arange(1, 4)), start=1):
            if rows.moving[row] and truth <= until:
                expected.add((row, step))
    assert found == expected


@pytest.mark.parametrize("name", MODELS)
def test_new_origins_have_their_whole_horizon_before_the_newest_day(name, mixed):
    model = clone(MODELS[name]).fit(mixed.filter(pl.col("time") <= date(2023, 12, 1)))
    table = model.predict(mixed, origins="new")
    assert table["origin"].min() == date(2023, 12, 1)
    assert table["time"].max() == date(2024, 1, 5)
    last = dict(table.group_by("series_id").agg(pl.col("origin").max()).rows())
    assert last["BTC"] == date(2023, 12, 31)  # five days before
    assert last["AAPL"] == date(2023, 12, 28)  # New Year and a weekend are no sessions
    assert model.score(mixed) < 0


@pytest.mark.parametrize("name", MODELS)
def test_calendars_are_saved_with_the_model(name, fitted, tmp_path):
    fitted[name].save(tmp_path)
    back = load_forecaster(tmp_path)
    assert back.calendar_ == fitted[name].calendar_
    assert back.predict().equals(fitted[name].predict())


def test_a_series_that_appears_later_brings_its_calendar(mixed, fitted):
    late = mixed.filter(series_id="TYO").with_columns(series_id=pl.lit("ZZZ"))
    table = fitted["RandomWalk"].predict(pl.concat([mixed, late]))
    assert table.filter(series_id="ZZZ")["time"].to_list() == table.filter(series_id="TYO")["time"].to_list()
    assert RandomWalk(lookback=16, schema=PanelSchema(calendar="24/7")).fit(mixed.drop("calendar")).predict().height
