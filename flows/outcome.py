"""What a scheduled run came to: one dated line, where the schedule is watched. Prefect's pages have the whole log."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from tidecast.flows.redaction import redact
from tidecast.flows.workspace.workspace import Day

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.schemas import FlowRun, State


def tell(flow: "Flow[..., Any]", flow_run: "FlowRun", state: "State[Any]") -> None:
    """Print how it ended; a hook of the daily flow. A run that no schedule started is told of by who started it."""
    if flow_run.deployment_id is not None:
        print(f"{datetime.now().astimezone():%Y-%m-%d %H:%M}  {redact(_in_words(state))}", flush=True)


def _in_words(state: "State[Any]") -> str:
    if state.name == "Skipped":
        return f"Nothing to do: {state.message}"
    result = state.result(raise_on_failure=False)
    if isinstance(result, Day):
        return f"The forecasts of {result.as_of} are published."
    said = " ".join(str(result).split()) or f"{type(result).__name__}."
    return f"{state.name}: {said}"
