"""Runs whose process was killed: Prefect believes that they are still running.

Each run of a deployment holds a lock of its own in the state folder. The operating system releases the lock when the
process ends, however it ends. So a run that is RUNNING for Prefect, and whose lock is free, is lost.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from filelock import FileLock, Timeout
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas import FlowRun, State
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Cancelled, Crashed, Scheduled

from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.log import log
from tidecast.flows.prefect_ui.run_names import current_run

AGAIN = "started again"
"""Tag of a run that takes the place of a killed one; when it is killed, too, the next scheduled run makes up for it."""

STARTING = timedelta(minutes=10)
"""Age from which a run without a lock is lost: before, it may be about to make one."""

GOING_ON = ("PENDING", "RUNNING", "CANCELLING")


@contextmanager
def marked_alive(folder: StateFolder) -> Iterator[None]:
    """Hold the lock of the flow run that is going on, if it is one of a deployment, and end the lost ones before it.

    Parameters
    ----------
    folder : StateFolder
    """
    run = current_run()
    if run is None or run.deployment_id is None:
        yield
        return
    file = _lock_of(folder, run.id)
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file):
        try:
            for lost in end_lost_runs(folder, [run.deployment_id], but=run.id):
                log.warning(f"The run {lost.name} was killed, and is marked as crashed.")
        except Exception as error:  # a server that cannot say must not stop the forecast
            log.debug(f"Lost runs could not be looked up: {error}")
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


def end_lost_runs(folder: StateFolder, deployments: list[UUID], but: UUID | None = None) -> list[FlowRun]:
    """Mark the runs of these deployments whose process is gone as crashed (or cancelled), and return them.

    Parameters
    ----------
    folder : StateFolder
    deployments : list of UUID
    but : UUID, optional
        A run that is left alone.
    """
    wanted = {"deployment_id": {"any_": deployments}, "state": {"type": {"any_": GOING_ON}}}
    ended = []
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(
            flow_run_filter=FlowRunFilter.model_validate(wanted), sort=FlowRunSort.START_TIME_DESC, limit=50
        )
        for run in found:
            if run.id != but and _is_lost(folder, run):
                client.set_flow_run_state(run.id, _end_of(run), force=True)
                _lock_of(folder, run.id).unlink(missing_ok=True)
                ended.append(run)
    return ended


def start_again(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Start a run in the place of one that crashed: a hook of a flow.

    Parameters
    ----------
    flow : Flow
    flow_run : FlowRun
    state : State
    """
    if flow_run.deployment_id is None:
        return
    with get_client(sync_client=True) as client:
        schedule_again(client, flow_run)


def schedule_again(client: SyncPrefectClient, run: FlowRun) -> bool:
    """Schedule a run with the time and the parameters of one that crashed; return whether there is one now.

    A crashed run keeps its state, because a worker reports a crash a second time after the hooks. It is followed by
    one run at most, however often it is reported.

    Parameters
    ----------
    client : SyncPrefectClient
    run : FlowRun
    """
    crashed = client.read_flow_run(run.id)
    if AGAIN in crashed.tags or crashed.state is None or not crashed.state.is_crashed():
        return False
    assert crashed.deployment_id is not None
    client.create_flow_run_from_deployment(
        crashed.deployment_id,
        parameters=crashed.parameters,
        state=Scheduled(scheduled_time=crashed.expected_start_time),
        tags=[AGAIN],
        idempotency_key=f"again-{crashed.id}",
    )
    return True


def _lock_of(folder: StateFolder, run: UUID) -> Path:
    return folder.prefect / "alive" / f"{run}.lock"


def _is_lost(folder: StateFolder, run: FlowRun) -> bool:
    """Whether no process holds the lock of a run; a run that has no lock yet gets some time."""
    file = _lock_of(folder, run.id)
    if not file.exists():
        return run.state is None or datetime.now(UTC) - run.state.timestamp > STARTING
    try:
        with FileLock(file, timeout=0):
            return True
    except Timeout:
        return False


def _end_of(run: FlowRun) -> State[Any]:
    """The state of a lost run: cancelled if that was asked for, else crashed."""
    if run.state is not None and run.state.is_cancelling():
        return Cancelled()
    return Crashed(message="The process of this run was killed; it could not say so itself.")
