"""How a flow run is named, by the session that it forecasts, and found again."""

from prefect.client.orchestration import get_client
from prefect.client.schemas import FlowRun
from prefect.context import FlowRunContext
from prefect.runtime import flow_run, task_run
from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_UI_ENABLED

from tidecast.flows.log import log


def first_name() -> str:
    """Return the name of a run that begins: the session asked for, else the time for which it was scheduled."""
    as_of = (flow_run.parameters or {}).get("as_of")
    return str(as_of) if as_of else f"{flow_run.scheduled_start_time:%Y-%m-%d %H:%M} UTC"


def ingest_name() -> str:
    """Return the name of the task that takes in prices: up to a session, or up to the newest."""
    as_of = (task_run.parameters or {}).get("as_of")
    return f"ingest-prices up to {as_of or 'the newest'}"


def name_run(name: str) -> None:
    """Give the flow run that is going on another name. A server that does not answer changes nothing.

    Parameters
    ----------
    name : str
        Such as its session.
    """
    run = current_run()
    if run is None or run.name == name:
        return
    try:
        with get_client(sync_client=True) as client:
            client.update_flow_run(run.id, name=name)
    except Exception as error:  # the name is for people only
        log.debug(f"The flow run could not be named {name}: {error}")


def current_run() -> FlowRun | None:
    """Return the flow run that is going on, as the server gave it; None outside of one."""
    context = FlowRunContext.get()
    return context.flow_run if context is not None else None


def run_links() -> dict[str, str]:
    """Return the ``id`` of the flow run that is going on and, where a page shows it after the run, the ``url``.

    A server that is started for one run ends with it, and has no pages: `prefect_api` says so by a setting.
    """
    has_pages = PREFECT_API_URL.value() is not None and PREFECT_SERVER_UI_ENABLED.value()
    links = {"id": flow_run.id, "url": flow_run.ui_url if has_pages else None}
    return {key: str(value) for key, value in links.items() if value}
