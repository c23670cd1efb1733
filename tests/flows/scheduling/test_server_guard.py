"""Which requests pass the door of the Prefect server that Tidecast starts."""

import asyncio
from types import SimpleNamespace

import pytest

from tidecast.flows.scheduling.server_guard import OwnPagesOnly, named_origins, own_origins


def answer(headers, method="POST", kind="http", named=""):
    """Status of a request; 200 when it reaches the app."""
    sent = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})

    async def send(message):
        sent.append(message)

    guarded = OwnPagesOnly(app, [*own_origins(4200), *named_origins(named)])
    raw = [(name.encode(), value.encode()) for name, value in headers]
    asyncio.run(guarded({"type": kind, "method": method, "headers": raw}, None, send))
    return sent[0].get("status", sent[0]["type"])


HERE = ("host", "127.0.0.1:4200")


@pytest.mark.parametrize(
    "headers",
    [
        [HERE],  # a program
        [HERE, ("origin", "http://127.0.0.1:4200"), ("sec-fetch-site", "same-origin")],
        [HERE, ("origin", "http://localhost:4200"), ("sec-fetch-site", "cross-site")],  # the pages, opened by that name
        [("host", "localhost:8000"), ("origin", "http://localhost:8000")],  # through a tunnel
        [("host", "[::1]:4200"), ("origin", "http://[::1]:4200")],
        [("host", "LOCALHOST:4200")],
    ],
)
def test_programs_and_own_pages_pass(headers):
    assert answer(headers) == 200


@pytest.mark.parametrize(
    "headers",
    [
        [HERE, ("origin", "http://evil.example")],
        [HERE, ("origin", "null")],
        [HERE, ("origin", "")],
        [HERE, ("origin", "http://localhost:3000")],  # another program's page on this machine
        [HERE, ("origin", "http://127.0.0.1:4200.evil.example")],
        [HERE, ("origin", "http://127.0.0.1:4200"), ("origin", "http://evil.example")],
        [HERE, ("sec-fetch-site", "cross-site")],
        [HERE, ("sec-fetch-site", "same-site")],
        [("host", "evil.example:4200")],  # DNS rebinding
        [("host", "evil.example:4200"), ("origin", "http://evil.example:4200")],
        [("host", "localhost.evil.example")],
        [("host", "evil.example@127.0.0.1:4200")],
        [HERE, ("host", "evil.example")],
        [("host", "")],
        [],
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_other_pages_and_other_hosts_are_refused(headers, method):
    assert answer(headers, method) == 403
    assert answer(headers, method, kind="websocket") == "websocket.close"


def test_a_link_on_another_page_opens_the_pages_and_posts_nothing():
    link = [HERE, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")]
    assert answer(link, "GET") == 200
    assert answer(link, "POST") == 403


def test_an_origin_that_the_operator_names_passes_and_a_star_does_not_mean_all():
    named = "https://forecasts.example.com/, *"
    proxied = [("host", "forecasts.example.com"), ("origin", "https://forecasts.example.com")]
    assert answer(proxied, named=named) == 200
    assert answer([HERE, ("origin", "https://forecasts.example.com")], named=named) == 200
    assert answer([HERE, ("origin", "https://other.example.com")], named=named) == 403


def test_a_run_of_a_deployment_cannot_choose_its_home_or_settings(monkeypatch, tmp_path):
    from tidecast.flows import opening
    from tidecast.flows.config.settings import Settings
    from tidecast.flows.errors import SettingsError

    monkeypatch.setattr(opening, "is_of_deployment", lambda: True)
    meddling = Settings(source="https://evil.example/?v=${PATH}")
    for home, settings in ((str(tmp_path / "elsewhere"), None), (None, meddling)):
        with pytest.raises(SettingsError, match="must take its home and settings from where it is served"):
            opening.open_workspace(home, settings)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("given", [{"home": "/tmp/x"}, {"settings": {"source": "https://evil.example/?v=${PATH}"}}])
def test_a_request_with_home_or_settings_once_ended_crashed_without_a_reason(given):
    from prefect.flow_engine import _flow_parameters

    from tidecast.flows.errors import SettingsError
    from tidecast.flows.scheduling.served_flow import scheduled_forecast

    run = SimpleNamespace(parameters=given)
    parameters = scheduled_forecast.validate_parameters(_flow_parameters(scheduled_forecast, run, None))
    with pytest.raises(SettingsError, match="must take its home and settings from where it is served"):
        scheduled_forecast.fn(**parameters)
