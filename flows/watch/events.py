"""Findings as Prefect events, for automations to act on."""

from __future__ import annotations

from typing import Any

from prefect.events import emit_event

from tidecast.flows.redaction import redact
from tidecast.flows.watch.check import Checked
from tidecast.flows.watch.finding import FINE, STATES

PREFIX = "tidecast."
"""Of the names of events: "tidecast.stale_feed", "tidecast.fine"."""


def events_of(checked: Checked, panel: str, home: str) -> list[dict[str, Any]]:
    """Return an event per finding; without any, the event that all is fine.

    Parameters
    ----------
    checked : Checked
    panel : str
        Identifies the panel.
    home : str
        Its state folder, for readers.

    Returns
    -------
    list of dict
        Arguments of `prefect.events.emit_event`.
    """
    resource = {"prefect.resource.id": f"tidecast.panel.{panel}", "prefect.resource.name": home}
    events = [
        {
            "event": f"{PREFIX}{found.state}", "resource": resource,
            "payload": {
                **{name: redact(value) if isinstance(value, str) else value for name, value in found.to_dict().items()},
                "as_of": checked.as_of.isoformat(), "name": STATES[found.state],
            },
        }
        for found in checked.findings
    ]  # fmt: skip
    return events or [{
        "event": f"{PREFIX}{FINE}", "resource": resource,
        "payload": {"as_of": checked.as_of.isoformat(), "name": FINE, "what": "Nothing was found."},
    }]  # fmt: skip


def announce(checked: Checked, panel: str, home: str) -> int:
    """Send the findings as events; return how many.

    Parameters
    ----------
    checked : Checked
    panel : str
        Identifies the panel.
    home : str
        Its state folder, for readers.
    """
    events = events_of(checked, panel, home)
    for event in events:
        emit_event(**event)
    return len(events)
