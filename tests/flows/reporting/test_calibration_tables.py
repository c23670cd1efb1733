"""Shares of truths by quantile, month and volatility, counted by hand."""

from datetime import date

import polars as pl

from tidecast.flows.reporting.calibration_tables import coverage_by_volatility, coverage_over_time
from tidecast.forecasting.plotting.tables import quantile_shares

DAYS = [date(2024, 1, 30), date(2024, 1, 31), date(2024, 2, 1)]


def losses(covered: list[bool], scale: list[float]) -> pl.DataFrame:
    rows = {"model": "GRU", "series_id": "A", "origin": DAYS, "step": 1, "covered": covered, "scale": scale}
    return pl.DataFrame(rows)


def test_coverage_is_counted_by_the_month_of_the_origin():
    found = coverage_over_time(losses([True, False, True], [1.0, 1.0, 1.0]))
    assert found.rows() == [("GRU", date(2024, 1, 1), 0.5), ("GRU", date(2024, 2, 1), 1.0)]


def test_thirds_go_by_volatility_and_not_by_price():
    prices = pl.DataFrame({"series_id": "A", "time": DAYS, "close": [100.0, 1.0, 10.0]})
    scale = [2.0, 0.03, 0.1]  # volatilities of 2, 3 and 1 per cent
    found = coverage_by_volatility(losses([True, False, True], scale), prices, positive=True)
    assert found.rows() == [("GRU", 0, 1.0), ("GRU", 1, 1.0), ("GRU", 2, 0.0)]
    by_difference = coverage_by_volatility(losses([True, False, True], scale), prices, positive=False)
    assert by_difference["coverage"].to_list() == [0.0, 1.0, 1.0]


def test_a_truth_on_a_quantile_counts_as_below_it():
    table = pl.DataFrame({
        "model": "GRU", "series_id": "A", "origin": DAYS[:2], "step": 1, "time": DAYS[1:],
        "forecast": [2.0, 2.0], "q0.1": [1.0, 1.0], "q0.9": [3.0, 3.0],
    })  # fmt: skip
    prices = pl.DataFrame({"series_id": "A", "time": DAYS, "close": [9.0, 1.0, 2.5]})
    shares = quantile_shares(table, prices).sort("level")
    assert shares.rows() == [("GRU", 0.1, 0.5), ("GRU", 0.5, 0.5), ("GRU", 0.9, 1.0)]
