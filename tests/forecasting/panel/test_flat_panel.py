"""Panels as flat tensors, by hand."""

from datetime import date

import numpy as np
import polars as pl
import pytest
import torch

from tidecast.features import PanelCalendar, check_panel, get_calendar, with_volatility
from tidecast.forecasting.panel.flat_panel import panel_rows, root_steps

nan = float("nan")


@pytest.fixture
def three():
    """A: a missing session. B: pauses for a year. C: two rows. Prices are powers of 2 or of 10, the levels plain."""
    rows = [
        *(("A", date(2024, 1, day), 2.0**k) for k, day in enumerate((1, 2, 4, 5, 8))),  # no 3rd; a weekend
        *(("B", date(2023, 1, day), 10.0**k) for k, day in enumerate((2, 3))),
        *(("B", date(2024, 1, day), 10.0**k) for k, day in enumerate((2, 3, 4))),
        *(("C", date(2024, 1, day), 1.0) for day in (1, 2)),
    ]
    return pl.DataFrame(rows, schema=["series_id", "time", "close"], orient="row")


def rows_of(panel, lookback=2, positive=True):
    return panel_rows(check_panel(panel), positive, "close", PanelCalendar(get_calendar("weekdays")), lookback)


def test_sequences_end_with_a_series_and_at_a_long_pause(three):
    rows = rows_of(three)
    every = torch.arange(len(rows))
    assert rows.first(every).tolist() == [0] * 5 + [5] * 2 + [7] * 3 + [10] * 2
    assert rows.last(every).tolist() == [4] * 5 + [6] * 2 + [9] * 3 + [11] * 2
    assert rows.newest.tolist() == [4, 9, 11]
    assert len(rows) == 12


def test_sessions_are_those_of_the_calendar(three):
    rows = rows_of(three)
    assert (rows.session[:5] - rows.session[0]).tolist() == [0, 1, 3, 4, 5]
    assert (rows.session[7:10] - rows.session[0]).tolist() == [1, 2, 3]


def test_a_row_is_ready_with_lookback_rows_of_its_own_sequence(three):
    assert torch.nonzero(rows_of(three, lookback=2).ready)[:, 0].tolist() == [1, 2, 3, 4, 6, 8, 9, 11]
    assert torch.nonzero(rows_of(three, lookback=3).ready)[:, 0].tolist() == [2, 3, 4, 9]


def test_changes_are_looked_up_by_session_within_the_sequence(three):
    rows = rows_of(three)
    found = rows.changes(torch.arange(len(rows)), horizon=3).numpy()
    two, ten = np.log(2), np.log(10)
    expected = [
        [two, nan, 2 * two],  # 1 January: the 2nd, (the 3rd), the 4th
        [nan, two, 2 * two],
        [two, 2 * two, nan],  # Thursday: Friday and Monday, past the weekend
        [two, nan, nan],
        [nan, nan, nan],
        [ten, nan, nan],  # B before its pause
        [nan, nan, nan],
        [ten, 2 * ten, nan],
        [ten, nan, nan],
        [nan, nan, nan],
        [0.0, nan, nan],
        [nan, nan, nan],
    ]
    assert np.allclose(found, expected, equal_nan=True)
    differences = rows_of(three, positive=False).changes(torch.tensor([[0, 2], [7, 9]]), horizon=2)
    assert np.allclose(differences, [[[1.0, nan], [4.0, 12.0]], [[9.0, 99.0], [nan, nan]]], equal_nan=True)


def test_scaled_changes_need_a_volatility_at_the_row(three):
    rows = rows_of(three)
    scaled = rows.scaled_changes(torch.arange(len(rows)), horizon=2)
    assert not rows.moving[11]  # C never moves
    assert scaled[[0, 5, 7, 10, 11]].isnan().all()  # first rows, and a peg
    assert rows.volatility[1] == pytest.approx(np.log(2))
    assert scaled[1].tolist() == pytest.approx([nan, 1 / np.sqrt(2)], nan_ok=True)


def test_changes_are_those_of_a_slow_search(untidy_panel):
    panel = check_panel(untidy_panel)
    rows = panel_rows(panel, True, "close", PanelCalendar(get_calendar("24/7")), lookback=10)
    known = {(series, time): close for series, time, close in panel.select("series_id", "time", "close").rows()}
    at = torch.arange(3, len(rows), 37)
    found = rows.changes(at, horizon=4).numpy()
    for row, changes in zip(at.tolist(), found, strict=True):
        series, time, close = panel.row(row, named=True).values()
        for step, change in enumerate(changes, start=1):
            truth = known.get((series, date.fromordinal(time.toordinal() + step)), nan)
            assert change == pytest.approx(np.log(truth / close), nan_ok=True)


def test_volatility_and_pegs_are_those_of_the_features(untidy_panel):
    panel = check_panel(untidy_panel)
    rows = panel_rows(panel, True, "close", PanelCalendar(get_calendar("24/7")), lookback=10)
    expected = with_volatility(panel)
    assert np.array_equal(rows.volatility, expected["volatility"].fill_null(0.0))
    assert np.array_equal(rows.moving, rows.ready.numpy() & ~expected["pegged"].to_numpy())
    assert rows.frame.equals(panel)  # what the features see has no column of ours
    assert rows.keys.columns == ["series_id", "time"]


def test_a_time_that_is_not_a_session_is_refused(three):
    sunday = three.with_columns(pl.col("time").replace(date(2024, 1, 8), date(2024, 1, 7)))
    with pytest.raises(ValueError, match="2024-01-07"):
        rows_of(sunday)


def test_root_steps():
    assert root_steps(4).tolist() == pytest.approx([1.0, 2**0.5, 3**0.5, 2.0])
