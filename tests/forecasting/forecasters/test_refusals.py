"""Impossible settings and panels are refused, with what must hold and what was found."""

from datetime import date, timedelta

import polars as pl
import pytest

from tests.forecasting.models import every, model_of
from tidecast.features import PanelSchema
from tidecast.forecasting import RandomWalk, SeasonalNaive


@every
def test_a_lazy_frame_is_refused_by_name(name, breathing, fitted):
    for call in (model_of(name).fit, fitted[name].predict, fitted[name].score):
        with pytest.raises(TypeError, match="LazyFrame"):
            call(breathing.lazy())


@every
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"horizon": 0}, "horizon must be at least 1, got 0"),
        ({"lookback": 2.5}, r"lookback must be a whole number, got 2\.5"),
        ({"quantiles": [0.1, 1.0]}, r"quantiles must lie between 0 and 1, both excluded; found \[1\.0\]"),
        ({"quantiles": "many"}, "quantiles must be numbers"),
        ({"target": "Close"}, "must have a column 'Close', found 'series_id', 'time', 'close'. Did you mean 'close'"),
        ({"target": None}, "target must be the name of a column, got None"),
        ({"schema": "daily"}, "schema must be a PanelSchema or None, got str"),
        ({"schema": PanelSchema(calendar="TARGTE")}, "TARGET"),
        ({"lookback": 400}, r"lookback \+ horizon = 400 \+ 5 rows; all 4 series .* the longest has 320 rows"),
        ({"lookback": 318}, r"Step 3 needs at least one series with lookback \+ horizon = 318 \+ 5 rows"),
        ({"horizon": 10**12}, r"Step 305 needs at least one series with lookback \+ horizon = 16 \+ 1000000000000"),
    ],
)
def test_impossible_settings_are_refused_in_fit(name, settings, message, breathing):
    with pytest.raises((ValueError, TypeError), match=message):
        model_of(name, **settings).fit(breathing)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_size": 0}, "hidden_size must be at least 1"),
        ({"num_layers": 1.0}, "num_layers must be a whole number"),
        ({"max_epochs": -1}, "max_epochs must be at least 0"),
        ({"batch_size": True}, "batch_size must be a whole number"),
        ({"dropout": 1}, "dropout must be at least 0 and below 1"),
        ({"dropout": "some"}, "dropout must be a number"),
        ({"learning_rate": 0}, "learning_rate must lie between 0 and 1"),
        ({"learning_rate": None}, "learning_rate must be a number"),
        ({"device": "gpu"}, "device must be"),
        ({"device": "cuda:77"}, "device must be"),
        ({"device": None}, "device must be a name"),
        ({"random_state": -1}, "random_state must be at least 0"),
        ({"random_state": "seed"}, "random_state must be a whole number"),
    ],
)
def test_impossible_settings_of_networks_are_refused_in_fit(settings, message, breathing):
    with pytest.raises((ValueError, TypeError), match=message):
        model_of("GRUForecaster", **settings).fit(breathing)


def test_an_unknown_season_is_refused(breathing):
    with pytest.raises(ValueError, match="season must be at least 1"):
        SeasonalNaive(season=0).fit(breathing)


@every
def test_panels_without_an_origin_are_refused(name, breathing, fitted):
    model = fitted[name]
    with pytest.raises(ValueError, match=r"lookback=16 .* leave none of the panel's 60 rows"):
        model.predict(breathing.group_by("series_id", maintain_order=True).head(15), origins="all")
    with pytest.raises(ValueError, match=r"No origin .* reaches 5 sessions or more past fit_end_, 20"):
        model.score(breathing.filter(pl.col("time") <= model.fit_end_))
    with pytest.raises(ValueError, match='Without a panel, origins must be "last"'):
        model.predict(origins="all")
    late = pl.int_range(pl.len()).over("series_id") >= 310
    paused = breathing.with_columns(
        time=pl.when(late).then(pl.col("time") + timedelta(weeks=52)).otherwise(pl.col("time"))
    )
    model = model_of(name).fit(paused)
    assert model.skipped_ == ("A", "B", "C", "D")
    with pytest.raises(ValueError, match="none of the 4 series has lookback=16 rows up to its last one"):
        model.predict()
    assert len(model.predict(paused, origins=[paused["time"][300]])) == 20


def test_a_time_that_is_not_a_session_is_refused_if_the_calendar_was_named_and_else_left_out(breathing, fitted):
    sunday = breathing.with_columns(pl.col("time").replace(date(2019, 12, 2), date(2019, 12, 1)))
    named = RandomWalk(lookback=16, schema=PanelSchema(calendar="weekdays")).fit(breathing)
    with pytest.raises(ValueError, match=r"session of the calendar 'weekdays', found '2019-12-01'"):
        named.predict(sunday)
    with pytest.warns(UserWarning, match=r"calendar 'weekdays', found 4 rows .*'A' at 2019-12-01"):
        fitted["RandomWalk"].predict(sunday)
