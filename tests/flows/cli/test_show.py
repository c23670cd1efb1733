"""The table of forecasts in the terminal: a line per series, whatever the horizon, the names and the width."""

from datetime import date
from io import StringIO

import polars as pl
import pytest
from rich.cells import cell_len
from rich.console import Console

from tidecast.flows.cli.show import forecast_table
from tidecast.flows.cli.terminal import WIDTH_WITHOUT_TERMINAL


def forecasts(names, horizon):
    days = pl.date_range(date(2022, 12, 26), date(2023, 12, 31), eager=True).head(horizon)
    steps = pl.DataFrame({"step": range(1, horizon + 1), "time": days})
    series = pl.DataFrame({"series_id": names, "forecast": [12345.67 * (n + 1) for n in range(len(names))]})
    table = series.join(steps, how="cross")
    return table.with_columns((pl.col("forecast") * 0.9).alias("q0.05"), (pl.col("forecast") * 1.1).alias("q0.95"))


def lines(table, width=WIDTH_WITHOUT_TERMINAL, few=None):
    out = Console(file=StringIO(), width=width, soft_wrap=True, markup=False, highlight=False, emoji=False)
    out.print(forecast_table(table, out.width, few))
    return [line.rstrip() for line in out.file.getvalue().splitlines()]


def test_what_fits_is_shown_whole():
    title, head, row, other = lines(forecasts(["USD", "JPY"], 5))
    assert title == "Median forecasts"
    assert head.split("  ") == ["series", "26 Dec", "27 Dec", "28 Dec", "29 Dec", "30 Dec", "90 % of 30 Dec"]
    assert row.split() == ["USD", *["12346"] * 5, "11111", "…", "13580"]
    assert other.startswith("JPY     24691")


@pytest.mark.parametrize("horizon", [1, 2, 3, 10, 21, 252])
@pytest.mark.parametrize("width", [60, 80, 110, 200])
def test_each_series_has_one_line_with_its_last_step_and_interval(horizon, width):
    names = ["A", "x" * 500, "日本円" * 40, "two\nlines"]
    table = forecasts(names, horizon)
    title, head, *rows = lines(table, width)
    assert len(rows) == len(names)
    assert all(cell_len(line) <= width for line in (title, head, *rows))
    last = f"{table['time'].max():%d %b}"
    assert head.endswith(f"90 % of {last}")
    assert head.count(last) == 2
    assert all(" … " in row for row in rows)
    assert rows[1].partition(" ")[0].endswith("x…")
    assert rows[3].startswith("two lines ")


def test_steps_that_do_not_fit_are_left_out_before_the_last():
    _, head, row = lines(forecasts(["USD"], 20), 80)
    assert head.split("  ")[:2] == ["series", "26 Dec"]
    assert "  …  " in head
    assert "  …  " in row


def test_the_first_series_are_shown_and_the_others_counted():
    title, _, *rows = lines(forecasts([f"S{n}" for n in range(9)], 3), few=2)
    assert title == "Median forecasts (first 2 of 9 series)"
    assert len(rows) == 2
