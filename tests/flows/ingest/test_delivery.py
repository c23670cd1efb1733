"""Reading a source: once, new series whole, times in each market's own zone, covariates as numbers."""

import sqlite3
from datetime import date, timedelta

import polars as pl
import pytest

import tidecast.flows.ingest.ingest
import tidecast.flows.sources.prefetch
from tidecast.flows.config.panel_file import REMEMBERED
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SettingsError, SourceError
from tidecast.flows.ingest.ingest import ingest
from tidecast.flows.sources import Fetched, open_source
from tidecast.flows.sources.prefetch import prefetch
from tidecast.flows.steps.take_in import take_in_prices
from tidecast.flows.training.candidates import CandidateSet
from tidecast.flows.training.model_panel import model_panel
from tidecast.flows.warehouse.warehouse import Warehouse

DAYS = [date(2024, 1, 1) + timedelta(days=number) for number in range(60)]
DAYS = [day for day in DAYS if day.weekday() < 5]


@pytest.fixture
def warehouse(tmp_path):
    return Warehouse(str(tmp_path / "warehouse"))


class Shelf:
    """A source that returns what it is asked for and counts the calls."""

    name = "a shelf"

    def __init__(self, whole=False):
        self.rows, self.asked, self.whole = [], [], whole

    def fetch(self, since=None):
        self.asked.append(since)
        rows = [row for row in self.rows if self.whole or row[1] >= (since or date.min)]
        return Fetched(pl.DataFrame(rows, schema=["series_id", "time", "close"], orient="row"), whole=self.whole)


@pytest.fixture
def shelf(monkeypatch, request):
    made = Shelf(**getattr(request, "param", {}))
    for module in (tidecast.flows.ingest.ingest, tidecast.flows.sources.prefetch):
        monkeypatch.setattr(module, "open_source", lambda settings: made)
    return made


SETTINGS = Settings(source="shelf", calendar="weekdays", reread_sessions=5)


def test_a_new_series_comes_with_its_whole_history_and_a_repeated_run_counts_the_same(shelf, warehouse):
    """Once, only its last `reread_sessions` sessions were read, and it was too short to be forecast for months."""
    shelf.rows = [("A", day, 1.0) for day in DAYS[:30]]
    ingest(warehouse, SETTINGS)
    shelf.rows = [(name, day, 1.0) for name in "AB" for day in DAYS[:31]]
    found = ingest(warehouse, SETTINGS)
    assert (found.as_of, found.stored) == (DAYS[30], 1 + 31)
    assert any("whole history: 'B'" in message for message in found.messages)
    late = warehouse.revisions().filter(series_id="B")
    assert late["known_at"].unique().to_list() == [DAYS[30]]  # yesterday's forecasts did not know of it
    again = ingest(warehouse, SETTINGS)
    assert (again.rows_in, again.stored, again.run_counts) == (found.rows_in, 0, found.run_counts)
    shelf.rows += [(name, DAYS[31], 1.0) for name in "AB"]
    shelf.asked.clear()
    assert ingest(warehouse, SETTINGS).stored == 2
    assert shelf.asked == [DAYS[25]]


def test_a_database_is_asked_for_the_history_of_new_series_alone(tmp_path, warehouse):
    file = tmp_path / "p.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE quotes (symbol INTEGER, day TEXT, price REAL, mood REAL)")
        connection.executemany("INSERT INTO quotes VALUES (7, ?, 1.0, 0.5)", [(str(day),) for day in DAYS[:30]])
        connection.commit()
        settings = Settings(
            source=f"sqlite:///{file}", table="quotes", series_id="symbol", time="day", target="price",
            calendar="weekdays", reread_sessions=5, covariates=("mood",),
        )  # fmt: skip
        ingest(warehouse, settings)
        connection.executemany("INSERT INTO quotes VALUES (8, ?, 2.0, NULL)", [(str(day),) for day in DAYS[:31]])
        connection.commit()
    connection.close()
    history = open_source(settings).history(["8"])
    assert history.rows["series_id"].unique().to_list() == [8]
    found = ingest(warehouse, settings)
    assert (found.rows_in, found.stored, found.unchanged) == (31 + 7, 31, 7)  # text is bound a day early
    assert warehouse.prices().group_by("series_id").agg(pl.col("mood").mean()).sort("series_id").rows() == [
        ("7", 0.5), ("8", None),
    ]  # fmt: skip


@pytest.mark.parametrize("shelf", [{"whole": True}, {"whole": False}], indirect=True)
def test_what_was_read_to_see_whether_there_is_anything_to_do_is_not_asked_for_again(shelf, warehouse):
    shelf.rows = [("A", day, 1.0) for day in DAYS[:30]]
    prefetch(SETTINGS, None)
    ingest(warehouse, SETTINGS)
    assert shelf.asked == [None]
    ingest(warehouse, SETTINGS)  # rows that were handed over are not kept
    assert len(shelf.asked) == (2 if shelf.whole else 3)


def test_times_are_dated_in_the_zone_of_each_series_own_market(tmp_path, warehouse):
    """Once, all were in that of the panel: closes of Tokyo, 15:00 there, fell on the evening before in New York."""
    file = tmp_path / "prices.csv"
    rows = [
        "IBM,2024-01-02 16:00-05:00,1,", "IBM,2024-01-03 16:00-05:00,2,XNYS",
        "7203,2024-01-05 00:30:00Z,1,XTKS", "7203,2024-01-08T23:30:00-05:00,2,",  # half past nine, and 13:30 next day
        "BTC,2024-01-06 23:30:00-05:00,3,24/7",  # of no market: as it is written
    ]  # fmt: skip
    file.write_text("\n".join(["series_id,time,close,calendar", *rows, ""]))
    settings = Settings(source=str(file), calendar="XNYS")
    found = ingest(warehouse, settings)
    assert found.quarantined == {}
    assert dict(warehouse.prices().group_by("series_id").agg(pl.col("time").sort()).iter_rows()) == {
        "IBM": [date(2024, 1, 2), date(2024, 1, 3)],
        "7203": [date(2024, 1, 5), date(2024, 1, 9)],
        "BTC": [date(2024, 1, 6)],
    }
    file.write_text("series_id,time,close\n7203,2024-01-09T23:30:00-05:00,4\n")  # remembered
    ingest(warehouse, settings)
    assert warehouse.prices().filter(series_id="7203")["time"].max() == date(2024, 1, 10)


def test_covariates_are_stored_as_numbers_corrected_like_prices_and_reach_the_network(
    tmp_path, warehouse, random_walks
):
    panel = random_walks(1, 300).with_columns(mood=pl.int_range(pl.len()).cast(pl.Float64), note=pl.lit("x"))
    file = tmp_path / "prices.csv"
    panel.write_csv(file)
    settings = Settings(source=str(file), calendar="weekdays", covariates="mood, volume", lookback=16, models=("GRU",))
    assert settings.covariates == ("mood", "volume")
    settings = settings.model_copy(update={"covariates": ("mood",)})
    found = ingest(warehouse, settings)
    assert warehouse.prices().equals(panel.drop("note"))
    day = panel["time"][-3]
    panel.with_columns(mood=pl.when(time=day).then(-1.0).otherwise("mood")).write_csv(file)
    assert ingest(warehouse, settings).corrected == 1
    assert warehouse.prices().filter(time=day)["mood"].item() == -1.0
    work = CandidateSet(warehouse.prices(), found.as_of, settings, lambda text: None, None, {})
    assert work.recipes["GRU"].schema.covariates == ("mood",)
    assert "covariates" in REMEMBERED


def test_what_is_static_is_kept_per_series_as_known_last_and_reaches_the_network(sandbox):
    """A company that changes its sector has the new one in all of its history, from the day it is known."""
    panel = sandbox.rows.with_columns(
        sector=pl.col("series_id").replace_strict({"A": "bank", "B": "NA", "C": ""}), size=pl.lit("7")
    )
    sandbox.settings |= {"static": "sector, size"}
    first, second = sandbox.sessions[-2:]
    moved = panel.with_columns(sector=pl.when(series_id="A", time=second).then(pl.lit("shop")).otherwise("sector"))
    for day in (first, second):
        moved.filter(pl.col("time") <= day).write_csv(sandbox.source)
        workspace, found = sandbox.take_in(None, date(2030, 1, 1))
    assert (found.stored, found.corrected) == (3, 0)
    said = [
        model_panel(workspace.warehouse, workspace.settings, day)
        .select("series_id", "sector", "size")
        .unique()
        .sort("series_id")
        for day in (first, second)
    ]
    assert said[0].rows() == [("A", "bank", 7.0), ("B", "NA", 7.0), ("C", None, 7.0)]
    assert said[1].rows() == [("A", "shop", 7.0), *said[0].rows()[1:]]
    work = CandidateSet(
        model_panel(workspace.warehouse, workspace.settings, second),
        second,
        workspace.settings,
        lambda text: None,
        None,
        {},
    )
    model = work.recipes["GRU"].set_params(max_epochs=0).fit(work.panel)
    assert model.predict(work.panel)["series_id"].n_unique() == 3

    panel.with_columns(size=pl.lit("XL")).write_csv(sandbox.source)
    with pytest.raises(SourceError, match=r"must stay numbers or stay text; 'size' had numbers before, .* has 'XL'"):
        take_in_prices(workspace.state_folder, workspace.warehouse, workspace.settings, None, date(2030, 1, 1))
    with pytest.raises(SettingsError, match="in covariates or in static, but 'size' is in both"):
        Settings(covariates=("size",), static=("size",))


def test_covariates_that_are_not_there_or_take_a_name_of_ours_are_refused(tmp_path, warehouse):
    file = tmp_path / "prices.csv"
    file.write_text("series_id,time,close,mood\nA,2024-01-02,1,1\n")
    with pytest.raises(
        SourceError, match=r"must have a column 'moods' \(covariates\), found none.*Did you mean 'mood'"
    ):
        ingest(warehouse, Settings(source=str(file), covariates=("moods",)))
    with pytest.raises(SettingsError, match=r"must have names that tables and networks do not use .* got 'dividend'"):
        Settings(covariates=("dividend", "mood"))
