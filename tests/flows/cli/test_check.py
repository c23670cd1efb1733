"""`tidecast check`, as cron and a person type it."""

import json
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from click.testing import CliRunner

from tidecast.flows.cli.main import tidecast
from tidecast.flows.config.panel_file import remember
from tidecast.flows.config.settings import Settings
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.warehouse.warehouse import Warehouse


@pytest.fixture
def check(tmp_path, monkeypatch, random_walks):
    """A function: `tidecast check` on a panel whose newest price is some days old."""
    monkeypatch.setattr("tidecast.flows.cli.options.enter", lambda *arguments: None)
    home = tmp_path / "home"
    home.mkdir()
    remember(StateFolder(home), Settings(calendar="24/7", source=str(tmp_path / "prices.csv")))
    warehouse = Warehouse(str(home / "warehouse"))

    def run(*arguments, days_old=1, looked=True):
        last = datetime.now(UTC).date() - timedelta(days=days_old)
        rows = random_walks(3, 120)
        days = rows["time"].unique().sort()
        dates = pl.date_range(last - timedelta(days=len(days) - 1), last, eager=True)
        rows = rows.with_columns(pl.col("time").replace_strict(days, dates))
        warehouse.store_prices(rows.with_columns(known_at=pl.col("time"), as_of=pl.lit(last)))
        if looked:
            warehouse.put_look(datetime.now(UTC), last)
        return CliRunner().invoke(tidecast, ["check", *arguments, "--home", str(home)])

    return run


def test_a_panel_on_which_nothing_is_wrong_is_fine_and_ends_with_0(check):
    found = check()
    assert found.exit_code == 0, found.output
    assert "Fine: nothing was found." in found.stdout
    assert "no live forecast has come true yet" in found.stdout


def test_a_stale_feed_is_said_with_since_evidence_and_what_to_do_and_ends_with_3(check):
    found = check(days_old=4)
    assert found.exit_code == 3
    for text in ("Stale feed", "since", "how sure", "to do", "Ask who delivers the prices"):
        assert text in found.stdout
    assert "Fine" not in found.stdout


def test_monitors_get_one_json_object(check):
    found = check("--json", days_old=4, looked=False)
    answer = json.loads(found.stdout)
    assert found.exit_code == 3
    assert answer["states"] == ["run_missed"]
    assert set(answer["findings"][0]) == {"state", "what", "since", "how_sure", "to_do", "series"}


def test_a_folder_without_prices_is_a_failure_and_not_a_finding(tmp_path, monkeypatch):
    monkeypatch.setattr("tidecast.flows.cli.options.enter", lambda *arguments: None)
    (tmp_path / "home").mkdir()
    found = CliRunner().invoke(tidecast, ["check", "--home", str(tmp_path / "home")])
    assert found.exit_code == 1
    assert "tidecast run" in found.stderr
