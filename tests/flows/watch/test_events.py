"""Findings as Prefect events, and the automations that act on them."""

from datetime import date
from pathlib import Path

import yaml

from tidecast.flows.watch.check import Checked
from tidecast.flows.watch.events import PREFIX, events_of
from tidecast.flows.watch.finding import FINE, STATES, Finding

AUTOMATIONS = Path(__file__).parents[3] / "docs" / "automations.yaml"
DAY = date(2026, 3, 6)


def test_each_finding_is_an_event_and_a_fine_day_is_one_too():
    found = Finding("drift", "Inputs drift.", DAY, "far", "look", ("A",))
    (event,) = events_of(Checked(DAY, (found,)), "abc", "/home")
    assert event["event"] == "tidecast.drift"
    assert event["resource"]["prefect.resource.id"] == "tidecast.panel.abc"
    assert event["payload"]["to_do"] == "look"
    (event,) = events_of(Checked(DAY, ()), "abc", "/home")
    assert event["event"] == "tidecast.fine"


def test_an_event_holds_no_password():
    found = Finding("step_failed", "postgresql://me:hunter2@host/db did not answer", DAY, "", "")
    (event,) = events_of(Checked(DAY, (found,)), "abc", "/home")
    assert "hunter2" not in str(event)


def test_the_ready_automations_are_automations_and_expect_every_state():
    from prefect.events.schemas.automations import AutomationCore

    made = [AutomationCore.model_validate(one) for one in yaml.safe_load(AUTOMATIONS.read_text())["automations"]]
    assert len({one.name for one in made}) == 3
    assert made[0].trigger.expect == {f"{PREFIX}{state}" for state in STATES}
    assert f"{PREFIX}{FINE}" not in made[0].trigger.expect
