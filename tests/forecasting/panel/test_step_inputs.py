"""Inputs of single steps: by a slow reference, and row by row."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
import torch

from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.forecasting.panel.past_values import PanelValues
from tidecast.forecasting.panel.seasonal_target import SeasonalTarget
from tidecast.forecasting.panel.step_inputs import StepInputs

FIRST = np.array([3, 10])  # session of the first row of each of two series
LENGTHS = np.array([60, 50])


def past(rng):
    """Values of two series with a missing session each: a level and a covariate."""
    sessions = [np.delete(first + np.arange(n), n // 2) for first, n in zip(FIRST, LENGTHS, strict=True)]
    series = np.append(0, np.cumsum([len(one) for one in sessions]))
    values = rng.normal(size=(series[-1], 2))
    return PanelValues.of(series, np.concatenate(sessions), values), series, np.concatenate(sessions), values


def test_levels_are_looked_up_by_session_in_every_season():
    rng = np.random.default_rng(0)
    values, series, session, rows = past(rng)
    steps = StepInputs(seasons=(4, 8), horizon=6, names=())
    at = np.array([20, 40, 90])
    of_series = np.searchsorted(series, at, side="right") - 1
    found = steps.numbers(values, None, of_series, session[at], rows[at, 0], np.full(3, 0.5))
    for n, row in enumerate(at):
        known = {(s, t): v for s, t, v in zip(np.repeat([0, 1], np.diff(series)), session, rows[:, 0], strict=True)}
        for k in range(1, 7):
            day = next(lag for lag in (4, 8, 12) if lag >= k)
            for j, lag in enumerate((day, 8, day + 4, day + 8)):
                level = known.get((of_series[n], session[row] + k - lag), np.nan)
                wanted = (level - rows[row, 0]) / (0.5 * np.sqrt(k))
                np.testing.assert_allclose(found[n, k - 1, j], wanted)


def test_the_newest_values_advance_row_by_row_as_if_laid_out_at_once():
    rng = np.random.default_rng(1)
    _, _, session, rows = past(rng)
    newest = PanelValues.of(np.array([0, 30, 50]), np.r_[session[:30], session[59:79]], np.r_[rows[:30], rows[59:79]])
    carried = newest.newest(9)
    for k in range(20):
        at = [30 + k, 79 + k]
        carried = carried.advanced(torch.arange(2), torch.from_numpy(session[at]), torch.from_numpy(rows[at]))
    whole = PanelValues.of(np.array([0, 50, 90]), np.r_[session[:50], session[59:99]], np.r_[rows[:50], rows[59:99]])
    assert torch.equal(carried.session_S, whole.newest(9).session_S)
    torch.testing.assert_close(carried.values_SWC, whole.newest(9).values_SWC, equal_nan=True, rtol=0, atol=0)


def test_memory_reaches_the_oldest_counterpart():
    steps = StepInputs(seasons=(4, 8), horizon=6, names=())
    assert steps.memory == max(int(lag) - k for row in steps.lags_JH for k, lag in enumerate(row, start=1)) + 1


def hourly(values, series_id="a"):
    times = [datetime(2024, 1, 1) + timedelta(hours=k) for k in range(len(values))]
    return pl.DataFrame({"series_id": series_id, "time": times, "close": values})


def test_seasons_are_those_that_the_rows_confirm():
    rng = np.random.default_rng(2)
    daily = np.sin(np.arange(24 * 60) * 2 * np.pi / 24) + 0.05 * rng.normal(size=24 * 60)
    noisy = daily + 0.5 * rng.normal(size=24 * 60)  # whose changes are mostly noise
    walk = rng.normal(size=24 * 60).cumsum()
    for values, seasons in ((daily, (24, 168)), (noisy, (24, 168)), (walk, ()), (walk + noisy.clip(0), ())):
        panel = hourly(values)
        assert SeasonalTarget.of(panel, "close", False, PanelCalendar.of(panel)).seasons == seasons


def test_one_series_without_seasons_does_not_hide_those_of_another():
    rng = np.random.default_rng(4)
    daily = np.sin(np.arange(24 * 60) * 2 * np.pi / 24) + 0.1 * rng.normal(size=24 * 60)
    panel = pl.concat([hourly(daily), hourly(0.1 * rng.normal(size=24 * 60).cumsum(), "b")])
    assert SeasonalTarget.of(panel, "close", False, PanelCalendar.of(panel)).seasons == (24, 168)


def test_walks_have_no_seasons():
    """Of 40 panels of one to four walks that move together; one in ten thousand would pass by chance."""
    rng = np.random.default_rng(5)
    for _ in range(40):
        shared, days = rng.normal(size=24 * 40), int(rng.integers(20, 41))
        walks = [(shared + rng.normal(size=24 * 40)).cumsum()[: 24 * days] for _ in range(rng.integers(1, 5))]
        panel = pl.concat([hourly(walk, chr(97 + k)) for k, walk in enumerate(walks)])
        assert SeasonalTarget.of(panel, "close", False, PanelCalendar.of(panel)).seasons == ()


def test_levels_turn_back_into_prices_and_do_not_depend_on_the_unit():
    rng = np.random.default_rng(3)
    price = 40 + 10 * np.sin(np.arange(24 * 30) * 2 * np.pi / 24) + rng.normal(size=24 * 30)
    price[100] = -500.0
    panel = hourly(price)
    found = SeasonalTarget.of(panel, "close", False, PanelCalendar.of(panel))
    levels = found.levels(panel, "close")["close"].to_numpy()
    np.testing.assert_allclose(found.prices(levels.copy(), panel["series_id"], levels), price)
    scaled = hourly(1000 * price)
    other = SeasonalTarget.of(scaled, "close", False, PanelCalendar.of(scaled))
    np.testing.assert_allclose(other.levels(scaled, "close")["close"].to_numpy(), levels)
    assert np.abs(levels).max() < 6  # the spike counts as a few usual deviations


def test_a_quantile_once_lay_a_hundred_times_as_far_out_as_any_price_ever_did():
    price = 40 + 10 * np.sin(np.arange(24 * 30) * 2 * np.pi / 24)
    price[100], price[200] = 150.0, -60.0
    panel = hourly(price)
    found = SeasonalTarget.of(panel, "close", False, PanelCalendar.of(panel))
    far = np.array([[8.0, -8.0]] * 3)
    usual, crisis = 0.0, float(np.arcsinh((2000.0 - found.centre[0]) / found.spread[0]))
    series = pl.Series(["a", "a", "new"])
    prices = found.prices(far.copy(), series, np.array([usual, crisis, usual])) - found.centre[0]
    reach = np.array([[110.0, -100.0], [1960.0, -100.0], [110.0, -100.0]])
    np.testing.assert_allclose(prices / reach, np.e, rtol=0.02)  # a level more, of prices far from the usual ones
    inside = np.arcsinh((np.array([[140.0, -50.0]]) - found.centre[0]) / found.spread[0])
    np.testing.assert_allclose(found.prices(inside, series[:1], np.zeros(1)), [[140.0, -50.0]])


def test_a_series_not_seen_in_fit_has_the_levels_of_the_others():
    panel = hourly(np.sin(np.arange(24 * 30) * 2 * np.pi / 24))
    found = SeasonalTarget.of(panel, "close", False, PanelCalendar.of(panel))
    other = found.levels(panel.with_columns(series_id=pl.lit("new")), "close")
    assert other["close"].to_list() == pytest.approx(found.levels(panel, "close")["close"].to_list())
    kept = found.of_series(["new", "a"])
    assert kept.centre is not None
    assert kept.centre.tolist() == [found.centre[-1], found.centre[0], found.centre[-1]]
