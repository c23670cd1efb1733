"""Which series are forecast, from which rows, and what is said of the others."""

from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl
import pytest

from tidecast.features import get_calendar
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import TidecastError
from tidecast.flows.publish.predict import _last_seen, predict, sessions_behind
from tidecast.forecasting.forecasters.baselines import RandomWalk

SETTINGS = Settings(calendar="weekdays", horizon=2, lookback=16)


@dataclass(frozen=True)
class Published:
    name: str
    version: str
    trained_through: date
    model: Any


@pytest.fixture(scope="module")
def prices(random_walks):
    """C ended 100 sessions ago, B paused for its last 3 sessions, A is young."""
    panel = random_walks(n_series=5, n_rows=300)
    sessions = panel["time"].unique().sort()
    ended = (pl.col("series_id") == "C") & (pl.col("time") > sessions[200])
    paused = (pl.col("series_id") == "B") & (pl.col("time") > sessions[-4])
    young = (pl.col("series_id") == "A") & (pl.col("time") < sessions[-10])
    pegged = pl.when(pl.col("series_id") == "D").then(7.5).otherwise("close").alias("close")
    return panel.filter(~ended & ~paused & ~young).with_columns(pegged)


@pytest.fixture(scope="module")
def champion(prices):
    sessions = prices["time"].unique().sort()
    known = prices.filter(pl.col("time") <= sessions[-20])
    return Published("random_walk", "1", sessions[-20], RandomWalk(horizon=2, lookback=16).fit(known))


@pytest.fixture(scope="module")
def forecasts(prices, champion):
    return predict(prices, champion, SETTINGS, prices["time"].max(), "run", live=True)


def test_only_series_that_are_still_quoted_are_forecast(forecasts):
    assert set(forecasts.table["series_id"]) == {"B", "D", "E"}
    assert forecasts.live_series == 4


def test_whatever_is_left_out_is_named_with_its_reason(forecasts):
    reasons = {reason.split(":")[0].split(" rows")[0]: series for reason, series in forecasts.left_out.items()}
    assert reasons == {"no price for more than 5 sessions": ("C",), "fewer than lookback = 16": ("A",)}


def test_a_pegged_series_is_forecast_and_named(forecasts):
    assert forecasts.pegged == ("D",)
    assert set(forecasts.table.filter(pl.col("series_id") == "D")["q0.95"]) == {7.5}


def test_an_origin_is_the_series_last_row(forecasts, prices):
    origins = dict(forecasts.table.group_by("series_id").agg(pl.col("origin").first()).iter_rows())
    sessions = prices["time"].unique().sort()
    assert (origins["B"], origins["E"]) == (sessions[-4], sessions[-1])


def test_a_champion_that_has_seen_later_rows_is_refused(prices, champion):
    with pytest.raises(TidecastError, match="trained through"):
        predict(prices, champion, SETTINGS, date(2015, 6, 1), "run", live=False)


def test_a_series_behind_the_training_is_forecast_and_what_is_not_ahead_is_not_live(prices, champion):
    """Once, a model trained through the newest session left out every series that was a session behind."""
    sessions = prices["time"].unique().sort()
    newest = Published("random_walk", "2", sessions[-1], champion.model)
    found = predict(prices, newest, SETTINGS, sessions[-1], "run", live=True)
    assert set(found.table["series_id"]) == {"B", "D", "E"}
    behind = found.table.filter(series_id="B")
    assert behind["time"].to_list() == [sessions[-3], sessions[-2]]  # both are not after as_of
    assert behind["live"].to_list() == [False, False]
    assert found.table.filter(pl.col("series_id") != "B")["live"].all()
    assert (found.table["trained_through"] <= sessions[-1]).all()


def test_sessions_behind_are_counted_on_the_calendar():
    panel = pl.DataFrame({"series_id": ["a", "b"], "time": [date(2024, 1, 5), date(2024, 1, 8)], "close": [1.0, 1.0]})
    assert sessions_behind(panel, SETTINGS, date(2024, 1, 8))["sessions"].to_list() == [1, 0]


def several_markets(last=date(2024, 5, 5)):
    """A series per market up to a Sunday, on which only one of them is open."""
    days = pl.date_range(date(2024, 1, 2), last, eager=True)
    parts = []
    for name in ("XNYS", "XTKS", "24/7"):
        own = days.filter(pl.Series(get_calendar(name).is_session(days)))
        price = 100 * (1 + 0.01 * ((pl.int_range(own.len(), eager=True) * 7) % 5))
        parts.append(pl.DataFrame({"series_id": name, "time": own, "close": price, "calendar": name}))
    return pl.concat(parts)


def test_each_series_is_behind_by_sessions_of_its_own_calendar():
    panel = several_markets()
    behind = dict(sessions_behind(panel, SETTINGS, date(2024, 5, 6)).iter_rows())
    assert behind == {"24/7": 1, "XNYS": 1, "XTKS": 0}  # Monday the 6th is a holiday in Tokyo


def test_training_on_a_sunday_has_seen_stocks_through_friday_and_forecasts_from_there():
    last = several_markets().group_by("series_id").agg(origin=pl.col("time").max())
    seen = _last_seen(last, several_markets(), SETTINGS, date(2024, 5, 5))
    assert dict(zip(last["series_id"], seen, strict=True)) == {
        "24/7": date(2024, 5, 5), "XNYS": date(2024, 5, 3), "XTKS": date(2024, 5, 2),
    }  # fmt: skip
    assert seen.to_list() == last["origin"].to_list()
