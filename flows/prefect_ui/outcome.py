"""A dated line for each run of a deployment, where the schedule is watched. Other runs report to their caller."""

from datetime import datetime
from typing import Any

from prefect import Flow
from prefect.client.schemas import FlowRun, State

from tidecast.flows.redaction import redact
from tidecast.flows.steps.day import Day


def print_outcome(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Print how a run of a deployment ended: a hook of a flow.

    Parameters
    ----------
    flow : Flow
    flow_run : FlowRun
    state : State
    """
    if flow_run.deployment_id is not None:
        said = redact(_described(flow, state))
        print(f"{datetime.now().astimezone():%Y-%m-%d %H:%M}  {said}", flush=True)


def _described(flow: Flow[..., Any], state: State[Any]) -> str:
    if state.name == "Skipped":
        return f"Nothing to do: {state.message}"
    if state.is_crashed() or state.is_cancelled():
        return f"{state.name}: {flow.name}. {_one_line(state.message)}".rstrip()
    result = state.result(raise_on_failure=False)
    if isinstance(result, Day):
        return result.shortfall or f"The forecasts of {result.as_of} are published."
    if state.is_completed():
        return f"Done: {flow.name}."
    return f"{state.name}: {_one_line(str(result)) or f'{type(result).__name__}.'}"


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())
