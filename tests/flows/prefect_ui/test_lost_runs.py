"""A run whose process was killed is found by its lock, on a real Prefect server."""

import uuid
from types import SimpleNamespace

import pytest
from filelock import FileLock
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.states import Cancelling, Crashed, Running, Scheduled

from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.prefect_ui.lost_runs import AGAIN, end_lost_runs, schedule_again


@flow
def some_flow():
    """A flow that never runs here."""


@pytest.fixture
def deployed(prefect_api, tmp_path):
    """A client, an id of a deployment, and a state folder."""
    with get_client(sync_client=True) as client:
        deployment = client.create_deployment(client.create_flow(some_flow), f"lost-{uuid.uuid4().hex[:6]}")
        yield SimpleNamespace(client=client, deployment=deployment, home=StateFolder(tmp_path / "home").make())


def begun(deployed):
    """A run that Prefect believes to be going on, and the file of its lock."""
    run = deployed.client.create_flow_run_from_deployment(deployed.deployment, state=Scheduled())
    deployed.client.set_flow_run_state(run.id, Running(), force=True)
    file = deployed.home.prefect / "alive" / f"{run.id}.lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    return run.id, file


def test_a_run_left_running_by_a_killed_worker_is_marked_as_crashed_and_one_at_work_is_not(deployed):
    killed, free = begun(deployed)
    at_work, taken = begun(deployed)
    about_to_start, _ = begun(deployed)
    free.touch()
    with FileLock(taken):
        ended = end_lost_runs(deployed.home, [deployed.deployment])
    assert [run.id for run in ended] == [killed]
    states = {run: deployed.client.read_flow_run(run).state_name for run in (killed, at_work, about_to_start)}
    assert states == {killed: "Crashed", at_work: "Running", about_to_start: "Running"}


def test_a_killed_run_is_followed_once_by_a_run_of_the_session_of_its_time(deployed):
    run, free = begun(deployed)
    free.touch()
    planned = deployed.client.read_flow_run(run).expected_start_time
    (lost,) = end_lost_runs(deployed.home, [deployed.deployment])
    assert schedule_again(deployed.client, lost)
    assert schedule_again(deployed.client, lost), "a worker reports a crash twice"
    (again,) = scheduled(deployed)
    assert (again.expected_start_time, AGAIN in again.tags) == (planned, True)
    assert deployed.client.read_flow_run(run).state_name == "Crashed"
    deployed.client.set_flow_run_state(again.id, Crashed(), force=True)
    assert not schedule_again(deployed.client, again), "it was started twice"
    assert not scheduled(deployed)


def scheduled(deployed):
    """Runs of the deployment that have not begun."""
    wanted = {"deployment_id": {"any_": [deployed.deployment]}, "state": {"type": {"any_": ["SCHEDULED"]}}}
    return deployed.client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(wanted))


def test_a_lost_run_that_was_to_be_cancelled_is_cancelled_and_does_not_start_again(deployed):
    run, free = begun(deployed)
    free.touch()
    deployed.client.set_flow_run_state(run, Cancelling(), force=True)
    (lost,) = end_lost_runs(deployed.home, [deployed.deployment])
    assert deployed.client.read_flow_run(run).state_name == "Cancelled"
    assert not schedule_again(deployed.client, lost)
