"""Tables know whose panel they hold: a lost panel.json mixes no other prices in, and is made again."""

import json
from datetime import date

import polars as pl
import pytest

from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.errors import SettingsError, TidecastError
from tidecast.flows.steps.take_in import take_in_prices
from tidecast.flows.workspace.load_settings import load_settings
from tidecast.flows.workspace.panel_identity import stored_panel
from tidecast.flows.workspace.workspace import Workspace

TODAY = date(2030, 1, 1)


@pytest.fixture
def published(sandbox):
    """A sandbox whose first session is published."""
    sandbox.settings |= {"horizon": 3}
    workspace, found = sandbox.take_in(None, TODAY)
    workspace.warehouse.put_run({"as_of": found.as_of, "status": "done"})
    return sandbox


def test_a_lost_panel_json_is_made_again_from_what_the_tables_say(published):
    home = published.workspace.state_folder
    before = home.panel_file.read_text()
    home.panel_file.unlink()
    settings, origins = load_settings(home, {}, {}, published.folder)
    assert (settings.source, settings.horizon) == (str(published.source), 3)
    assert origins["source"] == origins["horizon"] == "warehouse"
    take_in_prices(home, Workspace(home, settings).warehouse, settings, None, TODAY)
    assert home.panel_file.read_text() == before
    home.panel_file.unlink()
    with pytest.raises(SettingsError, match=r"holds another panel: source is 'ecb' \(flag\)"):
        load_settings(home, {"source": "ecb"}, {}, published.folder)


def test_tables_that_do_not_say_whose_they_are_take_no_source_by_default(published):
    home, warehouse = published.workspace.state_folder, published.workspace.warehouse
    warehouse._delete("panel")  # as an earlier build left them
    home.panel_file.unlink()
    message = r"390 prices of 3 series \('A', 'B', 'C'\) up to 2015-07-01, published.*tidecast run --source URI"
    with pytest.raises(SettingsError, match=message):
        load_settings(home, {}, {}, published.folder)
    published.take_in(None, TODAY)  # which names its source
    assert stored_panel(warehouse).settings["source"] == str(published.source)


def test_tables_of_an_earlier_build_learn_whose_they_are_from_panel_json(published):
    home, warehouse = published.workspace.state_folder, published.workspace.warehouse
    warehouse._delete("panel")
    kept = json.loads(home.panel_file.read_text())
    del kept["panel"]
    home.panel_file.write_text(json.dumps(kept))
    published.take_in(None, TODAY)
    assert stored_panel(warehouse).settings["source"] == str(published.source)
    assert json.loads(home.panel_file.read_text())["panel"] == stored_panel(warehouse).panel


def test_the_tables_of_another_panel_are_refused_and_stay_as_they_are(published, tmp_path):
    theirs = published.workspace.warehouse
    versions = theirs.versions()
    mine = StateFolder(tmp_path / "mine").make()
    published.rows.with_columns(series_id=pl.lit("Z")).unique(["series_id", "time"]).write_csv(tmp_path / "mine.csv")
    alone, _ = load_settings(mine, {"source": "mine.csv"}, {}, tmp_path)
    take_in_prices(mine, Workspace(mine, alone).warehouse, alone, None, TODAY)
    settings, _ = load_settings(mine, {}, {"TIDECAST_WAREHOUSE": theirs.uri}, tmp_path)
    with pytest.raises(SettingsError, match=r"hold another panel: source is '.*prices\.csv' there, '.*mine\.csv' here"):
        take_in_prices(mine, Workspace(mine, settings).warehouse, settings, None, TODAY)
    assert theirs.versions() == versions


def test_a_source_that_was_moved_is_changed_in_panel_json_and_the_tables_follow(published):
    home = published.workspace.state_folder
    moved = published.source.rename(published.folder / "moved.csv")
    home.panel_file.write_text(home.panel_file.read_text().replace("prices.csv", "moved.csv"))
    settings, _ = load_settings(home, {}, {}, published.folder)
    take_in_prices(home, Workspace(home, settings).warehouse, settings, None, TODAY)
    assert stored_panel(Workspace(home, settings).warehouse).settings["source"] == str(moved)


def test_prices_of_an_unknown_source_are_not_mixed_with_others_before_anything_is_published(sandbox):
    sandbox.take_in(None, TODAY)
    warehouse, home = sandbox.workspace.warehouse, sandbox.workspace.state_folder
    home.panel_file.unlink()
    other = sandbox.folder / "other.csv"
    sandbox.rows.filter(pl.col("series_id") == "A").with_columns(series_id=pl.lit("Z")).write_csv(other)
    sandbox.settings["source"] = str(other)
    sandbox.take_in(None, TODAY)
    assert warehouse.prices()["series_id"].unique().to_list() == ["Z"]


@pytest.mark.parametrize("text", ["", "{", "[]", '"text"', "\x00\x01", "[" * 100_000])
def test_a_broken_panel_json_is_one_clear_error(published, text):
    published.workspace.state_folder.panel_file.write_text(text)
    with pytest.raises(SettingsError, match=r"panel\.json must be as tidecast wrote it.*remove it: the next tidecast"):
        load_settings(StateFolder(published.folder / "home"), {}, {}, published.folder)


def test_a_run_with_the_clock_set_back_reads_and_stores_nothing(published):
    workspace = published.workspace
    versions = workspace.warehouse.versions()
    published.source.unlink()
    with pytest.raises(TidecastError, match=r"newest session that was run, 2015-07-01, .* 2014-01-01 at most"):
        take_in_prices(workspace.state_folder, workspace.warehouse, workspace.settings, None, date(2014, 1, 1))
    assert workspace.warehouse.versions() == versions
