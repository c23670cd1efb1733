"""The daily flow with future covariates and events: from their sources to forecasts, day after day."""

import json
from datetime import timedelta

import polars as pl
import pytest

from tidecast.flows.maintenance import versions_read
from tidecast.flows.steps.day import Incomplete
from tidecast.flows.training.model_panel import model_panel


@pytest.fixture
def ahead(sandbox):
    """The sandbox with a load known ten days ahead and an event every second week, told a month before."""
    end = sandbox.sessions[-1] + timedelta(days=12)
    days = pl.date_range(sandbox.sessions[0], end, eager=True).to_frame("time").filter(pl.col("time").dt.weekday() < 6)
    load = days.with_columns(load=pl.int_range(pl.len()).sin(), available_at=pl.col("time").dt.offset_by("-10d"))
    news = days.gather_every(10).with_columns(kind=pl.lit("news"), known_at=pl.col("time").dt.offset_by("-30d"))
    load.write_csv(sandbox.folder / "load.csv")
    news.write_csv(sandbox.folder / "news.csv")
    sandbox.settings |= {
        "models": ("volatility_regression",), "calendar": "weekdays", "future": str(sandbox.folder / "load.csv"),
        "future_covariates": ("load",), "events": str(sandbox.folder / "news.csv"),
    }  # fmt: skip
    return sandbox


def test_a_week_with_what_is_known_ahead(ahead, plain_days):
    first, second, third = ahead.sessions[-3:]
    ahead.write(until=first)
    day = ahead.run()
    warehouse = ahead.workspace.warehouse
    assert (day.as_of, day.outcome, day.shortfall) == (first, "published", "")
    assert day.workspace.settings.event_kinds == ("news",)
    assert json.loads((ahead.folder / "home" / "panel.json").read_text())["event_kinds"] == ["news"]
    versions = json.loads(day.row["table_versions"])
    assert {"prices", "future_values", "events"} <= versions.keys()
    assert versions_read(warehouse)["future_values"] == [versions["future_values"]]
    first_panel = model_panel(warehouse, day.workspace.settings, first)
    assert {"load_ahead", "news_ahead", "news_within_ahead", "sessions_to_news"} <= set(first_panel.columns)
    assert first_panel["load_ahead"].arr.to_list().list.last().is_finite().any()

    load = pl.read_csv(ahead.folder / "load.csv", try_parse_dates=True)
    revised = load.filter(pl.col("time") > first).with_columns(load=pl.lit(9.0), available_at=pl.lit(second))
    known = load.filter(pl.col("time") <= third)  # the rest of the load is not delivered
    pl.concat([known, revised.filter(pl.col("time") <= third)]).write_csv(ahead.folder / "load.csv")
    ahead.write(until=second)
    day = ahead.run()
    assert day.outcome == "published"
    assert model_panel(warehouse, day.workspace.settings, first).equals(first_panel), (
        "a revision changes no earlier day"
    )
    assert model_panel(warehouse, day.workspace.settings, second)["load_ahead"][-1].to_list()[0] == 9.0

    (ahead.folder / "load.csv").unlink()
    ahead.write(until=third)
    with pytest.raises(Incomplete, match=r"reading what is known ahead failed: .*load\.csv") as caught:
        ahead.run()
    assert warehouse.forecasts(third)["series_id"].n_unique() == 3
    assert caught.value.day.row["status"] == "failed"


def test_a_backfill_once_did_without_values_that_no_run_had_read(ahead, plain_days):
    from tidecast.flows.backfill import backfill_forecasts

    late = {name: ahead.settings.pop(name) for name in ("future", "future_covariates", "events")}
    ahead.run()
    ahead.settings |= late
    workspace, session = ahead.workspace, ahead.sessions[-3]
    backfill_forecasts(session, session, home=str(workspace.state_folder.path), settings=workspace.settings)
    assert workspace.warehouse.runs()["as_of"].to_list() == [session, ahead.sessions[-1]]
    assert model_panel(workspace.warehouse, workspace.settings, session)["load_ahead"][-1].to_list()[0] is not None
    assert workspace.warehouse.event_kinds() == ["news"]
    read = json.loads(workspace.warehouse.runs()["table_versions"][0])
    assert {"future_values", "events"} <= read.keys()


def test_missing_values_are_said_on_every_page(ahead, plain_days):
    last = ahead.sessions[-1]
    load = pl.read_csv(ahead.folder / "load.csv", try_parse_dates=True)
    load.filter(pl.col("time") <= last + timedelta(days=3)).write_csv(ahead.folder / "load.csv")
    day = ahead.run()
    assert day.shortfall.startswith("Future covariates are missing for 3 series")
    assert "Future covariates are missing for 3 series" in day.report.read_text()
    assert day.outcome == "published"
    from tidecast.flows.prefect_ui.artifacts import summary

    assert "Future covariates are missing" in summary(day, ahead.workspace.warehouse.forecasts(last))


def test_past_sessions_without_values_ahead_once_passed_as_complete(ahead, plain_days):
    """A backfill ended with 0 where a run ended with 3, and so did a run for the sessions that it made up for."""
    from tidecast.flows.backfill import backfill_forecasts

    past, _, first, earlier, missed, last = ahead.sessions[-6:]
    load = pl.read_csv(ahead.folder / "load.csv", try_parse_dates=True)
    load.filter((pl.col("time") <= earlier) | (pl.col("time") > last)).write_csv(ahead.folder / "load.csv")
    ahead.run(first)
    day = ahead.run()
    assert list(day.made_up) == [earlier, missed]
    assert "Future covariates are missing for 3 series" in day.made_up[missed]
    assert f"Of the past session {earlier}: Future covariates are missing for 3 series" in day.shortfall
    assert day.shortfall.endswith("1 more past session lacks something, too.")

    workspace = ahead.workspace
    found = backfill_forecasts(past, past, home=str(workspace.state_folder.path), settings=workspace.settings)
    assert found.published == (past,)
    assert found.shortfall.startswith(f"Of the past session {past}: Future covariates are missing for 3 series")


def test_a_panel_of_earlier_days_takes_in_covariates_later(sandbox, plain_days):
    """The settings of what is known ahead may change; those of prices may not."""
    first, second = sandbox.sessions[-2:]
    sandbox.settings["calendar"] = "weekdays"
    sandbox.write(until=first)
    sandbox.run()
    days = pl.DataFrame({"time": sandbox.sessions}).with_columns(holiday=pl.int_range(pl.len()) % 7 == 0)
    days.write_csv(sandbox.folder / "days.csv")
    sandbox.settings |= {"future": str(sandbox.folder / "days.csv"), "future_covariates": ("holiday",)}
    sandbox.write()
    day = sandbox.run()
    assert (day.as_of, day.row["status"]) == (second, "done")
    assert "holiday" in sandbox.workspace.warehouse.future_names()
    assert sandbox.workspace.settings.future_covariates == ("holiday",)
    del sandbox.settings["future"], sandbox.settings["future_covariates"]
    assert sandbox.workspace.settings.future_covariates == ("holiday",), "panel.json remembers them"
