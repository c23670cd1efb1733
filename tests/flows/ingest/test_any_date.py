"""A row of any date goes to quarantine or to prices, and never stops a run."""

from datetime import date

import polars as pl
import pytest

from tests.flows.desk import Desk
from tidecast.flows.config.settings import Settings
from tidecast.flows.ingest.ingest import ingest
from tidecast.flows.parsing.values import dates
from tidecast.flows.warehouse.warehouse import Warehouse

DAYS = [f"{name},2024-01-0{day},{day}" for name in "AB" for day in (2, 3)]
TODAY = date(2024, 1, 10)


@pytest.mark.parametrize("calendar", ["weekdays", "XNYS"])
@pytest.mark.parametrize(
    ("written", "rule"),
    [
        ("0001-01-01", "not_a_session"),  # the empty date of .NET
        ("0001-01-01T00:00:00Z", "not_a_session"),
        ("0001-03-05", "not_a_session"),
        ("0000-01-01", "unreadable_time"),
        ("0000-00-00", "unreadable_time"),  # the empty date of MySQL
        ("1677-09-20", "not_a_session"),  # before the first nanosecond
        ("2262-04-12", "in_the_future"),  # after the last one
        ("9999-12-31", "in_the_future"),
        ("9999-12-31T23:59:59Z", "in_the_future"),
        ("", "unreadable_time"),
    ],
)
def test_a_row_of_an_impossible_date_waits_in_quarantine_and_later_runs_pass(tmp_path, calendar, written, rule):
    desk = Desk(tmp_path, calendar=calendar)
    bad = [f"A,{written},7", f"Z,{written},7"]
    desk.ingest(*DAYS, *bad, today=TODAY)
    for day in (4, 5):
        found = desk.ingest(*DAYS, f"A,2024-01-0{day},5", *bad, today=TODAY)
        assert found.as_of == date(2024, 1, day)
        assert found.quarantined[rule] == 2
    waits = desk.warehouse.quarantine().filter(pl.col("rule") == rule)
    assert sorted(waits["series_id"]) == ["A", "Z"]


def test_days_that_python_cannot_hold_are_read_as_unreadable_whatever_type_they_come_in(tmp_path):
    days = pl.Series([-719_529, -719_163, -719_162, 0, 2_932_896, 2_932_897, 2**31 - 1, None]).cast(pl.Date)
    kept = [None, None, date.min, date(1970, 1, 1), date.max, None, None, None]
    assert dates(days, None)[0].to_list() == kept
    assert dates(days.head(6).cast(pl.Datetime("us")), None)[0].to_list() == kept[:6]

    days = pl.concat([days, pl.Series([date(2024, 1, day) for day in (2, 3, 4)])])
    pl.DataFrame({"series_id": "A", "time": days, "close": 1.0}).write_parquet(tmp_path / "prices.parquet")
    settings = Settings(source=str(tmp_path / "prices.parquet"), calendar="weekdays")
    warehouse = Warehouse(str(tmp_path / "warehouse"))
    for _ in range(2):
        found = ingest(warehouse, settings, today=TODAY)
        assert found.quarantined["unreadable_time"] == 5
    originals = warehouse.quarantine()["original"].to_list()
    assert sum("2147483647 days since 1970-01-01" in text for text in originals) == 1
    assert sum('"1970-01-01"' in text for text in originals) == 0  # it is a session of weekdays
