"""A headless Chromium, driven by its own WebDriver over HTTP: open, wait for words, click, take a picture."""

from __future__ import annotations

import base64
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tidecast.flows.scheduling.prefect_server import free_port

CHROMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
INSTALL = "On Debian and Ubuntu: apt-get install chromium chromium-driver"
ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")
SECONDS = 60.0
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # how WebDriver names one


class Missing(Exception):
    """The page has not what it should."""


class Browser:
    """One window.

    Parameters
    ----------
    session : httpx.Client
        With the address of the WebDriver's session.
    """

    def __init__(self, session: httpx.Client) -> None:
        self._session = session

    def open(self, url: str) -> None:
        """Go to an address."""
        self._post("url", {"url": url})

    @property
    def words(self) -> str:
        """All text that can be seen, on the page and in the frames of its own address."""
        script = (
            "let all = [document, ...[...document.querySelectorAll('iframe')].map(f => f.contentDocument)];"
            "return all.filter(d => d && d.body).map(d => d.body.innerText).join('\\n')"
        )
        return str(self._post("execute/sync", {"script": script, "args": []}))

    def wait_for(self, *texts: str) -> None:
        """Wait until the page shows all of these.

        Raises
        ------
        Missing
            Naming the first that does not come, and the beginning of what the page shows instead.
        """
        end = time.monotonic() + SECONDS
        while missing := [text for text in texts if text not in self.words]:
            if time.monotonic() > end:
                shown = " | ".join(self.words.split("\n"))[:1500]
                raise Missing(f"The page must show {missing[0]!r} within {SECONDS:.0f} s. It shows: {shown}")
            time.sleep(0.3)

    def click(self, xpath: str) -> None:
        """Click the first element of that XPath, once it is there."""
        end = time.monotonic() + SECONDS
        while True:
            try:
                found = self._post("element", {"using": "xpath", "value": xpath})
                self._post(f"element/{found[ELEMENT]}/click", {})
                return
            except httpx.HTTPStatusError as error:  # not there yet, or something lies above it
                if time.monotonic() > end:
                    raise Missing(f"The page must have {xpath!r} to click within {SECONDS:.0f} s.") from error
                time.sleep(0.3)

    def shoot(self, path: Path) -> None:
        """Write what the window shows as PNG."""
        answer = self._session.get("screenshot").raise_for_status()
        path.write_bytes(base64.b64decode(answer.json()["value"]))

    def _post(self, command: str, what: dict[str, Any]) -> Any:
        return self._session.post(command, json=what).raise_for_status().json()["value"]


@contextmanager
def browsing(width: int = 1400, height: int = 1000) -> Iterator[Browser]:
    """A window of that size, closed in the end.

    Raises
    ------
    SystemExit
        Chromium or its driver is not installed; the message says how to.
    """
    driver = shutil.which("chromedriver")
    chrome = next(filter(None, map(shutil.which, CHROMES)), None)
    if driver is None or chrome is None:
        found = ", ".join(filter(None, [driver, chrome])) or "neither"
        raise SystemExit(f"Chromium and chromedriver must be installed, found {found}. {INSTALL}")
    port = free_port()
    process = subprocess.Popen([driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    root = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(root)
        options = {"binary": chrome, "args": [*ARGUMENTS, f"--window-size={width},{height}"]}
        wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
        made = httpx.post(f"{root}/session", json=wanted, timeout=SECONDS).raise_for_status().json()["value"]
        with httpx.Client(base_url=f"{root}/session/{made['sessionId']}/", timeout=SECONDS) as session:
            try:
                yield Browser(session)
            finally:
                httpx.delete(f"{root}/session/{made['sessionId']}", timeout=SECONDS)  # ends Chromium, too
    finally:
        process.terminate()
        process.wait()


def _wait_until_ready(root: str) -> None:
    end = time.monotonic() + SECONDS
    while True:
        try:
            if httpx.get(f"{root}/status", timeout=5).json()["value"]["ready"]:
                return
        except httpx.TransportError:
            pass
        if time.monotonic() > end:
            raise SystemExit(f"chromedriver must be ready within {SECONDS:.0f} s, found silence. Try again.")
        time.sleep(0.2)
