"""Rows in quarantine become prices again, once, and who did it and why is recorded."""

from datetime import UTC, date, datetime

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from tidecast.features.calendars.by_name import get_calendar
from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.flows.cli.main import tidecast
from tidecast.flows.config.panel_file import remember
from tidecast.flows.config.settings import Settings
from tidecast.flows.config.state_folder import find_state_folder
from tidecast.flows.errors import TidecastError
from tidecast.flows.ingest.ingest import ingest
from tidecast.flows.ingest.quarantine import decide_on, finish_repairs, waiting
from tidecast.flows.warehouse.warehouse import Warehouse

CALENDAR = get_calendar("weekdays")
NOW = datetime(2024, 3, 1, 12, tzinfo=UTC)
DAYS = CALENDAR.times(CALENDAR.numbers(pl.Series([date(2024, 1, 1)]))[0] + np.arange(30))


class Desk:
    """A price file whose row 20 has the wrong unit, its warehouse, and a person who decides."""

    def __init__(self, folder):
        self.file = folder / "prices.csv"
        self.warehouse = Warehouse(str(folder / "warehouse"))
        self.settings = Settings(source=str(self.file), calendar="weekdays", time="Day", target="Last")
        self.prices = [100 + 0.3 * (k % 7) for k in range(30)]
        self.prices[20] /= 100

    def ingest(self, rows=30):
        lines = [f"A,{day},{price!r}" for day, price in zip(DAYS[:rows], self.prices[:rows], strict=True)]
        self.file.write_text("\n".join(["series_id,Day,Last", *lines, ""]))
        return ingest(self.warehouse, self.settings)

    def decide(self, values=None, factor=None, warehouse=None, **rows):
        warehouse = warehouse or self.warehouse
        rows, calendar = waiting(self.warehouse, **rows), PanelCalendar(CALENDAR)
        said = {"by": "Ada", "why": "seen", "at": NOW}
        return decide_on(warehouse, self.settings, calendar, rows, **said, values=values, factor=factor)

    def price(self, as_of=None):
        return self.warehouse.prices(as_of).filter(time=DAYS[20])["close"].to_list()


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    assert desk.ingest(25).quarantined == {"unit_error": 1}
    return desk


def test_a_released_row_is_a_price_from_the_newest_as_of_on_and_what_was_decided_is_kept(desk):
    assert desk.decide(rules=("unit_error",)) == 1
    assert desk.price() == [desk.prices[20]]
    assert desk.price(DAYS[23]) == []
    decided = desk.warehouse.repairs().row(0, named=True)
    assert {name: decided[name] for name in ("action", "rule", "by", "why", "at", "as_of")} == {
        "action": "released", "rule": "unit_error", "by": "Ada", "why": "seen", "at": NOW, "as_of": DAYS[24],
    }  # fmt: skip
    assert waiting(desk.warehouse).is_empty()
    assert desk.warehouse.quarantine().height == 1


def test_a_second_ingest_of_a_decided_row_keeps_it_and_changes_nothing(desk):
    desk.decide(factor=100, series=("A",))
    assert desk.price() == [pytest.approx(100.0 + 0.3 * 6)]
    desk.ingest(25)
    versions, prices = desk.warehouse.versions(), desk.warehouse.revisions()
    found = desk.ingest(25)
    assert (found.quarantined, found.stored, found.corrected, found.unchanged) == ({}, 0, 0, 25)
    assert desk.warehouse.versions() == versions
    assert desk.warehouse.revisions().equals(prices)
    assert desk.ingest(30).stored == 5
    assert desk.price() == [pytest.approx(100.0 + 0.3 * 6)]


def test_a_row_that_the_source_mends_itself_takes_the_place_of_what_was_decided(desk):
    desk.decide(values={"close": 99.0})
    desk.prices[20] = 101.5
    assert desk.ingest(26).corrected == 1
    assert desk.price() == [101.5]


def test_killed_between_decision_and_price_nothing_is_lost_and_nothing_doubled(desk):
    class Dying(Warehouse):
        def store_prices(self, rows):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        desk.decide(values={"close": 101.0}, warehouse=Dying(desk.warehouse.uri))
    assert desk.price() == []
    desk.ingest(25)
    assert desk.price() == [101.0]
    versions = desk.warehouse.versions()
    finish_repairs(desk.warehouse)
    assert desk.warehouse.versions() == versions


def test_a_new_level_that_was_released_is_the_level_of_the_rows_after_it(desk):
    for place in range(20, 30):
        desk.prices[place] = 1.0 + 0.003 * (place % 7)
    assert desk.ingest(25).quarantined == {"unit_error": 5}
    desk.decide(rules=("unit_error",), last=DAYS[24], first=DAYS[21])
    assert desk.ingest(30).quarantined == {}


def test_rows_that_can_be_no_price_are_not_released(desk):
    desk.file.write_text(f"series_id,Day,Last\n,{DAYS[3]},1\nA,2023-12-30,1\nA,{DAYS[3]},abc\nB,{DAYS[3]},1\n")
    ingest(desk.warehouse, desk.settings)
    for rule, said in [
        ("no_series_id", "a series"),
        ("not_a_session", "session of weekdays"),
        ("unreadable_price", "close"),
    ]:
        with pytest.raises(TidecastError, match=said):
            desk.decide(rules=(rule,))
    with pytest.raises(TidecastError, match="above zero"):
        desk.decide(rules=("unreadable_price",), values={"close": -1.0})
    assert desk.warehouse.repairs().is_empty()
    assert desk.decide(rules=("unreadable_price",), values={"close": 100.2}) == 1
    with pytest.raises(TidecastError, match="without a decision, found none"):
        desk.decide(series=("nobody",))


def test_flagged_rows_are_stored_and_noted_once(desk):
    desk.prices[20] *= 100
    desk.prices[27] *= 3
    found = desk.ingest(28)
    assert found.rules["jump"] == 1
    desk.ingest(28)
    assert desk.warehouse.flags().select("series_id", "time", "rule", "as_of").rows() == [
        ("A", DAYS[27], "jump", DAYS[27])
    ]
    assert desk.warehouse.prices().height == 28


def test_the_command_lists_repairs_and_refuses_in_one_line(desk, tmp_path, monkeypatch):
    monkeypatch.setattr("tidecast.flows.cli.options.enter", lambda *arguments: None)
    home = find_state_folder(str(tmp_path / "home"), {}, tmp_path).make()
    remember(home, desk.settings)
    monkeypatch.setenv("TIDECAST_WAREHOUSE", desk.warehouse.uri)

    def run(*arguments):
        return CliRunner().invoke(tidecast, ["quarantine", *arguments, "--home", str(home.path)])

    listed = run("--rule", "unit_error")
    assert listed.exit_code == 0, listed.output
    assert "1 row waits" in listed.output
    assert str(DAYS[20]) in listed.output
    for arguments, said in [
        (("release", "--why", "x"), "Choose the rows"),
        (("repair", "--rule", "unit_error", "--why", "x"), "--value NAME=X or --multiply X"),
        (("repair", "--rule", "unit_error", "--why", "x", "--value", "close=abc"), "a number"),
        (("release", "--series", "B", "--why", "x"), "without a decision, found none"),
    ]:
        refused = run(*arguments)
        assert refused.exit_code != 0
        assert said in " ".join(refused.output.split())
    repaired = run("repair", "--series", "A", "--multiply", "100", "--why", "pence", "--by", "Ada")
    assert repaired.exit_code == 0, repaired.output
    assert desk.price() == [pytest.approx(101.8)]
    none_left = run()
    assert none_left.exit_code == 0, none_left.output
    assert "No row in quarantine waits" in none_left.output
    assert "No row like that in quarantine waits" in run("--series", "B").output
