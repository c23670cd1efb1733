"""Thousands separators are read where a whole column shows which they are; decimal commas are never guessed."""

from datetime import date, timedelta

import polars as pl
import pytest

from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SourceError, TidecastError
from tidecast.flows.ingest.ingest import ingest
from tidecast.flows.parsing.separators import without_separators
from tidecast.flows.parsing.values import numbers
from tidecast.flows.steps.take_in import check_panel
from tidecast.flows.warehouse.warehouse import Warehouse


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (["1,012.50", "987.25", "-1,000"], [1012.5, 987.25, -1000.0]),
        (["1,234,567", "12"], [1234567.0, 12.0]),
        (["1,234", "999.5"], [1234.0, 999.5]),
        (["1 234.5", "1'234", "12\u202f345", "1\u00a0234"], [1234.5, 1234.0, 12345.0, 1234.0]),
        (["1,234", "999"], [None, 999.0]),  # 1.234 in much of Europe
        (["1,234", "1,5"], [None, None]),
        (["0,123", "0,456"], [None, None]),
        (["1.234,56", "1.234", "12,5"], [None, None, None]),  # else 1.234 would be read too
        (["1.234", "1,5", "2.50"], [1.234, None, 2.5]),  # one typing error costs one value
        (["1,234.50", "1,5"], [1234.5, None]),
        (["12,34.5", "1,2345", "1,,234", ",123", "1,234,"], [None] * 5),
        (["1_000", "12%", "$5"], [None] * 3),
        (["1.234.567", "9.864", "12"], [None, None, 12.0]),
        (["998", "999", "997", "1.002", "1.001", "1.010"], [998.0, 999.0, 997.0, None, None, None]),
        (["998", "999", "997", "1.002", "1.001", "1.010", "0.95"], [998.0, 999.0, 997.0, 1.002, 1.001, 1.01, 0.95]),
        (["5", "7", "9", "1.002", "1.001", "1.010"], [5.0, 7.0, 9.0, 1.002, 1.001, 1.01]),
        (["1.085", "1.086", "1.090"], [1.085, 1.086, 1.09]),
        (["134", "135", "136", "1.085", "1.086", "1.090"], [134.0, 135.0, 136.0, 1.085, 1.086, 1.09]),  # yen, euros
    ],
)
def test_numbers_with_separators_are_read_where_they_can_mean_one_thing(text, read):
    assert numbers(pl.Series(text))[0].to_list() == read


def prices(count, form):
    days = [date(2024, 1, 1) + timedelta(days=number) for number in range(count)]
    return "series_id,time,close\n" + "".join(f'A,{day},"{form(990 + number)}"\n' for number, day in enumerate(days))


def test_prices_that_pass_a_thousand_are_all_stored(tmp_path):
    """Once, all from 1,000 on went to quarantine, and the error spoke of lookback."""
    (tmp_path / "prices.csv").write_text(prices(120, lambda price: f"{price:,.2f}"))
    warehouse = Warehouse(str(tmp_path / "warehouse"))
    found = ingest(warehouse, Settings(source=str(tmp_path / "prices.csv"), calendar="24/7"))
    assert (found.stored, found.quarantined) == (120, {})
    assert warehouse.prices()["close"].to_list() == [990.0 + number for number in range(120)]


def test_whole_prices_that_pass_a_thousand_are_all_stored(tmp_path):
    """Once, "999" next to "1,002" showed nothing, and the newest rows were missing."""
    (tmp_path / "prices.csv").write_text(prices(120, lambda price: f"{price:,}"))
    warehouse = Warehouse(str(tmp_path / "warehouse"))
    found = ingest(warehouse, Settings(source=str(tmp_path / "prices.csv"), calendar="24/7"))
    assert (found.stored, found.quarantined) == (120, {})
    assert warehouse.prices()["close"].to_list() == [990.0 + number for number in range(120)]


def test_points_between_thousands_are_never_stored_as_decimal_points(tmp_path):
    """Once, of German prices around 1,000, "999" was stored as 999 and "1.002" as 1.002."""
    (tmp_path / "prices.csv").write_text(prices(120, lambda price: f"{price:,}".replace(",", ".")))
    warehouse = Warehouse(str(tmp_path / "warehouse"))
    found = ingest(warehouse, Settings(source=str(tmp_path / "prices.csv"), calendar="24/7"))
    assert (found.stored, found.quarantined) == (10, {"unreadable_price": 110})
    assert warehouse.prices()["close"].to_list() == [990.0 + number for number in range(10)]


@pytest.mark.parametrize(
    "column",
    [["5", "7", "1,250"], ["1,234", "1,300"], ["999", "1,5", "1,002"], ["900", "800,125"], ["990.5", "1,5", "1,002"]],
)
def test_a_comma_that_may_be_decimal_is_not_read(column):
    assert without_separators(pl.Series(column)).to_list() == column


def test_where_they_cannot_be_read_the_error_names_the_rule_of_the_quarantine(sandbox):
    sandbox.source.write_text(prices(120, lambda price: f"{price - 985}" if price < 1000 else f"1,{price - 800}"))
    sandbox.settings |= {"calendar": "24/7"}
    workspace, found = sandbox.take_in(None, date(2030, 1, 1))
    assert found.quarantined == {"unreadable_price": 110}
    with pytest.raises(TidecastError) as error:
        check_panel(workspace.warehouse, workspace.settings, found.as_of)
    assert "110 more rows: 110 unreadable_price; one is" in str(error.value)
    assert "1,234 alone and decimal commas are not read" in str(error.value)


def test_a_column_of_decimal_commas_is_one_clear_error(tmp_path):
    (tmp_path / "prices.csv").write_text(prices(9, lambda price: f"{price},50"))
    with pytest.raises(SourceError, match=r"breaks a rule: 9 unreadable_price.* decimal commas are not read"):
        ingest(Warehouse(str(tmp_path / "w")), Settings(source=str(tmp_path / "prices.csv"), calendar="24/7"))
