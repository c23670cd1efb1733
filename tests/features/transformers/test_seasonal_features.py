"""Seasonal features: by hand, by a slow reference, causal, and row by row."""

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from tidecast.features import PriceFeatures, SeasonalFeatures, assert_causal


def hours(n, seed=0, series_id="a"):
    """A panel of hourly values with a daily pattern and one covariate."""
    rng = np.random.default_rng(seed)
    times = [datetime(2024, 3, 1) + timedelta(hours=k) for k in range(n)]
    load = np.sin(np.arange(n) * 2 * np.pi / 24) + 0.1 * rng.normal(size=n)
    return pl.DataFrame({"series_id": series_id, "time": times, "close": load - 0.5, "load": load})


def reference(panel, seasons, horizon):
    """The columns of one series, value by value."""
    close, load = panel["close"].to_list(), panel["load"].to_list()
    found = []
    for t in range(len(close)):
        row = {}
        for lag in (1, *seasons):
            row[f"close_change_{lag}"] = close[t] - close[t - lag] if t >= lag else None
        for window in (*seasons, 4 * seasons[-1]):
            mean = sum(close[t - window + 1 : t + 1]) / window
            row[f"close_gap_{window}"] = close[t] - mean if t >= window - 1 else None
        for season in seasons:
            for k in range(1, horizon + 1):
                lag = season
                while lag < k:
                    lag += season
                row[f"close_after_{season}_{k}"] = close[t - lag + k] - close[t - lag] if t >= lag else None
            row[f"load_change_{season}"] = load[t] - load[t - season] if t >= season else None
        found.append(row)
    return found


def test_columns_equal_a_slow_reference():
    panel = hours(80)
    table = SeasonalFeatures((6, 12), horizon=8, columns=("load",), positive=False).fit_transform(panel)
    for row, wanted in zip(table.to_dicts(), reference(panel, (6, 12), 8), strict=True):
        for name, value in wanted.items():
            assert row[name] == (None if value is None else pytest.approx(value, abs=1e-12)), name


def test_the_time_of_day_and_of_the_week_are_those_of_the_clock():
    rows = {"series_id": ["a"] * 2, "time": [datetime(2024, 3, 4, 6), datetime(2024, 3, 5, 12)], "close": [1.0, 1.0]}
    table = SeasonalFeatures().fit_transform(pl.DataFrame(rows))
    assert table["day_sin_1"].to_list() == pytest.approx([1.0, 0.0], abs=1e-12)
    assert table["day_cos_2"].to_list() == pytest.approx([-1.0, 1.0])
    assert table["weekday_mon"].to_list() == [1.0, 0.0]
    assert table["weekday_tue"].to_list() == [0.0, 1.0]


def test_holidays_are_those_of_the_named_calendar():
    days = [date(2024, 12, 24), date(2024, 12, 25), date(2024, 12, 27), date(2024, 12, 28)]
    panel = pl.DataFrame({"series_id": "a", "time": days, "close": 1.0})
    table = SeasonalFeatures((7,), holidays="TARGET").fit_transform(panel)
    assert table["holiday"].to_list() == [0.0, 1.0, 0.0, 0.0]
    assert table["holiday_next"].to_list() == [1.0, 1.0, 0.0, 0.0]


def test_levels_of_positive_targets_are_logs():
    days = [date(2024, 1, 1) + timedelta(days=k) for k in range(8)]
    panel = pl.DataFrame({"series_id": "a", "time": days, "close": [2.0] * 7 + [4.0]})
    assert SeasonalFeatures((7,)).fit_transform(panel)["close_change_7"][-1] == pytest.approx(np.log(2))


def test_they_are_causal_and_continue_row_by_row():
    panel = pl.concat([hours(120), hours(110, seed=1, series_id="b")])
    features = SeasonalFeatures((6, 12), horizon=3, columns=("load",), holidays="TARGET", positive=False)
    assert_causal(features, panel)
    cut = panel["time"].max() - timedelta(hours=20)
    whole = features.fit(panel).transform(panel)
    stream = features.stream(panel.filter(pl.col("time") <= cut))
    for (_,), rows in panel.filter(pl.col("time") > cut).sort("time").group_by("time", maintain_order=True):
        pushed = stream.push(rows.sort("series_id"))
        wanted = rows.select("series_id", "time").sort("series_id").join(whole, on=["series_id", "time"])
        np.testing.assert_allclose(pushed, wanted.select(features.added_).to_numpy().astype(float), atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seasons": 24}, "seasons must be numbers of rows such as"),
        ({"seasons": ()}, "seasons must be rising"),
        ({"seasons": (168, 24)}, "seasons must be rising"),
        ({"seasons": (1, 7)}, "seasons must be at least 2"),
        ({"horizon": -1}, "horizon must be at least 0"),
        ({"holidays": "every 1h"}, "holidays must name a calendar of days"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises((TypeError, ValueError), match=message):
        SeasonalFeatures(**settings).fit(hours(5))


def test_price_features_are_unchanged_by_their_presence():
    panel = hours(40).with_columns(pl.col("close") + 3)
    alone = PriceFeatures().fit_transform(panel)
    both = SeasonalFeatures((6, 12)).fit_transform(alone)
    assert both.select(alone.columns).equals(alone)
