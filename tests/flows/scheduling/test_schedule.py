"""The schedule, on a real server: every other test passes while scheduling is dead."""

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import datetime
from datetime import time as clock
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import pytest

from tidecast.flows.scheduling.prefect_server import free_port

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 240  # seconds, on a busy machine; idle ones need 20 altogether


@dataclass(frozen=True)
class Scheduled:
    """`tidecast schedule` as a process of its own, and its API's address."""

    api: str
    process: subprocess.Popen


@pytest.fixture
def scheduled(sandbox, tmp_path, empty_prefect_db):
    prefect = sandbox.workspace.state_folder.prefect
    prefect.mkdir(parents=True)
    shutil.copyfile(empty_prefect_db, prefect / "prefect.db")
    sandbox.write(until=sandbox.sessions[-4])
    sandbox.settings["calendar"] = "TARGET"  # whose sessions have closed at 17:30; those of weekdays close at midnight
    port = free_port()
    ours = {
        f"TIDECAST_{name.upper()}": ",".join(v) if isinstance(v, tuple) else str(v)
        for name, v in sandbox.settings.items()
    }
    ours |= {
        "TIDECAST_SOURCE": str(sandbox.source),
        "TIDECAST_CRON": "30 17 * * 1-5",
        "TIDECAST_TIME_ZONE": "Europe/Berlin",
    }
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
    }
    command = [
        sys.executable,
        "-m",
        "tidecast",
        "schedule",
        "--home",
        str(sandbox.workspace.state_folder.path),
        "--port",
        str(port),
    ]
    with (tmp_path / "schedule.log").open("w") as log:
        process = subprocess.Popen(
            command, env=environ | ours, cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield Scheduled(f"http://127.0.0.1:{port}/api", process)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_the_schedule_is_registered_comes_due_and_is_run_with_as_of_from_its_scheduled_time(
    sandbox, scheduled, tmp_path
):
    log, process, scheduled = tmp_path / "schedule.log", scheduled.process, scheduled.api
    found = until(lambda: len(all_of_it := ask(f"{scheduled}/deployments/filter", {}) or []) == 3 and all_of_it)
    assert len({one["name"] for one in found}) == 1
    assert found[0]["name"].startswith("home-")
    deployment = next(one for one in found if one["entrypoint"].endswith("scheduled_forecast"))
    assert set(deployment["parameter_openapi_schema"]["properties"]) >= {"as_of", "reissue"}
    assert deployment["schedules"][0]["schedule"]["cron"] == "30 17 * * 1-5"
    assert deployment["schedules"][0]["schedule"]["timezone"] == "Europe/Berlin"
    only_scheduled = {
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}, "deployment_id": {"any_": [deployment["id"]]}}
    }
    planned = until(lambda: ask(f"{scheduled}/flow_runs/filter", only_scheduled))
    hours = {
        datetime.fromisoformat(run["expected_start_time"]).astimezone(ZoneInfo("Europe/Berlin")).time()
        for run in planned
    }
    assert hours == {clock(17, 30)}

    as_of = sandbox.sessions[-6]  # a run that came due on an earlier day, and is late now
    due = datetime.combine(as_of, clock(17, 30), ZoneInfo("Europe/Berlin"))
    state = {"type": "SCHEDULED", "state_details": {"scheduled_time": due.isoformat()}}
    run = until(lambda: ask(f"{scheduled}/deployments/{deployment['id']}/create_flow_run", {"state": state}))
    ended = until(lambda: ended_run(scheduled, run["id"]))
    assert ended["state_name"] == "Completed", ended["state"]["message"]
    forecasts = sandbox.workspace.warehouse.forecasts()
    assert forecasts["as_of"].unique().to_list() == [as_of]
    assert forecasts["origin"].unique().to_list() == [as_of]
    assert sandbox.workspace.warehouse.runs()["run_id"].to_list() == [run["id"]]
    assert ended["name"] == str(as_of)
    shown = ask(f"{scheduled}/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}})
    kinds = {one["key"].removeprefix(deployment["name"]) for one in shown if one["key"]}
    assert kinds == {"-day", "-forecasts", "-picture", "-model"}

    # another flow than the one that is served, by a change in Prefect's database: it is not run
    other = {"entrypoint": "tidecast.flows.maintenance.maintain_warehouse"}
    assert post(f"{scheduled}/deployments/{deployment['id']}", other, "PATCH") == 204
    again = until(lambda: ask(f"{scheduled}/deployments/{deployment['id']}/create_flow_run", {"state": state}))
    assert until(lambda: ended_run(scheduled, again["id"]))["state_name"] == "Skipped"
    assert sandbox.workspace.warehouse.forecasts().equals(forecasts)

    refuses_other_pages(scheduled, deployment["id"])
    elsewhere = tmp_path / "elsewhere"
    meddling = {"home": str(elsewhere), "settings": {"source": "http://127.0.0.1:9/?v=${PATH}"}}
    body = {"state": state, "parameters": meddling}
    refused = until(lambda: ask(f"{scheduled}/deployments/{deployment['id']}/create_flow_run", body))
    assert until(lambda: ended_run(scheduled, refused["id"]))["state_name"] == "Failed"
    assert not elsewhere.exists()
    assert sandbox.workspace.warehouse.forecasts().equals(forecasts)
    printed = until(lambda: [line for line in log.read_text().splitlines() if "Failed" in line] and log.read_text())
    assert f"  The forecasts of {as_of} are published." in printed
    assert f"  Nothing to do: {as_of} was done before." in printed
    assert "  Failed: A run of a deployment must take its home and settings from where it is served" in printed

    for child in children(process.pid):  # its server
        os.kill(child, signal.SIGKILL)
    assert process.wait(20) == 1, "it ends with its server, at once"
    assert (
        "Prefect's server must run as long as the schedule, but it has ended. Start the schedule again"
        in (log.read_text().splitlines()[-1])
    )


def children(pid):
    """Processes that a process has started: of a schedule at rest, its server alone."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found if b"prefect_server" in Path(f"/proc/{child}/cmdline").read_bytes()]


def refuses_other_pages(api, deployment):
    """A page elsewhere can neither read nor start anything; the server's own pages can."""
    address = urlsplit(api)
    run, mine, listing = f"/api/deployments/{deployment}/create_flow_run", address.netloc, "/api/deployments/filter"
    for headers in ({"Host": mine, "Origin": "http://evil.example"}, {"Host": "evil.example"}, {"Origin": "null"}):
        for method, path in (("POST", run), ("POST", listing), ("OPTIONS", run), ("GET", "/api/health")):
            status, said = status_of(mine, method, path, headers)
            assert status == 403
            assert "access-control-allow-origin" not in said
    own = {"Host": mine, "Origin": f"http://{mine}"}
    assert status_of(mine, "POST", listing, own)[0] == 200
    assert status_of(mine, "GET", "/", {"Host": mine})[0] in (200, 307)
    pages = json.loads(urllib.request.urlopen(f"http://{mine}/ui-settings", timeout=30).read())
    assert pages["api_url"] == f"http://{mine}/api"


def status_of(netloc, method, path, headers):
    """Status and headers, lower case, of a request with an empty JSON object."""
    connection = http.client.HTTPConnection(netloc, timeout=30)
    try:
        connection.request(method, path, b"{}", {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        answer.read()
        return answer.status, {name.lower() for name, _ in answer.getheaders()}
    finally:
        connection.close()


def post(url, body, method="POST"):
    kind = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), kind, method=method)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        if error.code != 503:  # its database is locked by another request: Prefect's own client asks again, too
            raise
        time.sleep(1)
        return post(url, body, method)


def ended_run(api, run_id):
    run = ask(f"{api}/flow_runs/{run_id}")
    return run if run and run["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None


def ask(url, body=None):
    """The server's answer; None while it does not answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE if body else 30) as answer:
            return json.load(answer)
    except (urllib.error.URLError, OSError):
        return None


def until(found):
    """What `found` gives, once it gives something."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if result := found():
            return result
        time.sleep(0.3)
    raise AssertionError(f"nothing within {PATIENCE} s")
