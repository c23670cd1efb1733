"""Stored rows that the rules see: few, but enough to judge scattered corrections."""

from datetime import date, timedelta

import polars as pl
import pytest

import tidecast.flows.ingest.stored_context
from tidecast.flows.config.settings import Settings
from tidecast.flows.ingest.ingest import ingest
from tidecast.flows.ingest.stored_context import revisions_around
from tidecast.flows.warehouse.warehouse import Warehouse

DAYS = [date(2020, 1, 6) + timedelta(days=number) for number in range(1_200)]
DAYS = [day for day in DAYS if day.weekday() < 5]
OLD = DAYS[20:500:80]  # further apart than a pause


@pytest.fixture
def warehouse(tmp_path):
    made = Warehouse(str(tmp_path / "warehouse"))
    close = [100 + number % 2 for number in range(len(DAYS))]
    rows = pl.DataFrame({"series_id": "A", "time": DAYS, "close": close}).with_columns(
        pl.col("close").cast(float), known_at="time", as_of="time"
    )
    made.store_prices(rows)
    return made


@pytest.mark.parametrize(("most", "days"), [(1_000_000, 99), (1, 5)])
def test_before_each_scattered_row_lies_its_history_and_with_many_such_rows_the_session_before(
    warehouse, monkeypatch, most, days
):
    monkeypatch.setattr(tidecast.flows.ingest.stored_context, "MOST_HISTORY", most)
    found = revisions_around(pl.DataFrame({"series_id": "A", "time": OLD}), warehouse, DAYS[-1])
    back = timedelta(days=days)
    wanted = [day for day in DAYS if any(old - back <= day <= old for old in OLD)]
    assert found.filter(pl.col("time") <= OLD[-1])["time"].to_list() == wanted
    assert found["time"].is_in(DAYS[-60:]).sum() == 60


def test_a_scattered_correction_in_another_unit_is_kept_aside_however_little_history_it_gets(
    warehouse, monkeypatch, tmp_path
):
    monkeypatch.setattr(tidecast.flows.ingest.stored_context, "MOST_HISTORY", 1)
    known = warehouse.prices().filter(pl.col("time").is_in(OLD))
    off = known.with_columns(pl.col("close") * pl.when(pl.col("time") == OLD[3]).then(0.01).otherwise(1.001))
    off.write_parquet(tmp_path / "late.parquet")
    found = ingest(warehouse, Settings(source=str(tmp_path / "late.parquet"), calendar="weekdays"))
    assert found.corrected == len(OLD) - 1
    assert found.quarantined == {"unit_error": 1}
