"""The deployments of panels that share a Prefect server."""

import importlib
import shutil
from datetime import date
from pathlib import Path

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.utilities.callables import parameter_schema

from tidecast.flows.config.settings import Settings
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.errors import SettingsError
from tidecast.flows.scheduling.deployments import deployments_of, make_room
from tidecast.flows.scheduling.prefect_yaml import prefect_yaml
from tidecast.flows.scheduling.served_flow import scheduled_forecast, scheduled_tuning

TODAY = date(2026, 11, 30)
SETTINGS = Settings(calendar="XNYS")


def planned_for(home):
    return deployments_of(home, SETTINGS, TODAY)


def deploy(client, planned, tags=None):
    """Create the daily deployment on the server, as Prefect would."""
    flow = client.create_flow(planned.flow)
    return client.create_deployment(flow, planned.name, tags=list(tags or planned.tags))


def test_two_panels_in_folders_of_the_same_name_do_not_overwrite_each_other(prefect_api, tmp_path):
    names = []
    for desk in ("one", "two"):
        home = StateFolder(tmp_path / desk / "rates" / ".tidecast").make()
        with get_client(sync_client=True) as client:
            make_room(client, home, planned_for(home))
            deploy(client, planned_for(home)[0])
        names += [one.full_name for one in planned_for(home)]
        assert [one.name for one in planned_for(home)] == [one.name for one in planned_for(home)], "stable"
    assert len(set(names)) == 6
    assert all(name.split("/")[1].startswith("rates-") for name in names)


def test_a_deployment_of_something_else_is_not_overwritten_and_is_named(prefect_api, tmp_path):
    home = StateFolder(tmp_path / "rates").make()
    daily = planned_for(home)[0]
    with get_client(sync_client=True) as client:
        deploy(client, daily, tags=["theirs"])
        with pytest.raises(SettingsError, match=f"{daily.full_name} must be this panel's, but the server has one of"):
            make_room(client, home, [daily])


def test_a_copy_of_a_state_folder_is_refused_and_a_moved_one_keeps_its_deployment(prefect_api, tmp_path):
    home = StateFolder(tmp_path / "rates").make()
    with get_client(sync_client=True) as client:
        deploy(client, planned_for(home)[0])
        copy = StateFolder(Path(shutil.copytree(home.path, tmp_path / "copy" / "rates")))
        with pytest.raises(SettingsError, match="one of them is a copy"):
            make_room(client, copy, planned_for(copy))
        shutil.rmtree(home.path)
        make_room(client, copy, planned_for(copy))
        moved = StateFolder(copy.path.rename(tmp_path / "fx"))
        make_room(client, moved, planned_for(moved))
        left = {there.name for there in client.read_deployments() if planned_for(moved)[0].tags[1] in there.tags}
    assert left == set(), "the old name is gone; serving makes the new one"


def test_the_entry_points_lead_to_the_flows_that_are_served(tmp_path):
    for one in planned_for(StateFolder(tmp_path / "rates").make()):
        module, name = one.entrypoint.rsplit(".", 1)
        assert getattr(importlib.import_module(module), name) is one.flow


def test_prefect_yaml_has_the_deployments_that_schedule_serves(tmp_path):
    home = StateFolder(tmp_path / "rates").make()
    planned = planned_for(home)
    text = prefect_yaml(planned, home, {"TIDECAST_SOURCE": "a.csv"}, tmp_path, "pool", tmp_path / "prefect.yaml")
    written = yaml.safe_load(text)["deployments"]
    assert [(one["name"], one["entrypoint"]) for one in written] == [(one.name, one.entrypoint) for one in planned]
    for entry, one in zip(written, planned, strict=True):
        (when,) = entry["schedules"]
        assert (when.get("cron"), when.get("rrule"), when["timezone"]) == (
            one.times.cron,
            one.times.rrule,
            one.times.zone,
        )
        assert entry["tags"] == list(one.tags)
        job = entry["work_pool"]["job_variables"]
        assert job["env"]["TIDECAST_HOME"] == str(home.path)
        assert job["working_dir"] == str(tmp_path)


def test_prefect_shows_what_each_parameter_means():
    for served, names in ((scheduled_forecast, ["as_of", "reissue"]), (scheduled_tuning, ["n_trials", "timeout"])):
        shown = parameter_schema(served).properties
        assert all(shown[name]["description"] for name in names)
    assert shown["n_trials"]["description"] == "Trials in all."
