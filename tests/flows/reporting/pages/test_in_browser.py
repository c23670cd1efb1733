"""The report in a real browser: no sideways scroll on a phone, quick search among 5,000 series, no accessibility fault.

Skipped without Chromium and its driver. The check of accessibility needs axe-core, which is not a dependency:
`npm pack axe-core` and unpack it, then set AXE_CORE to the path of its axe.min.js.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser import CHROMES, browsing
from tests.flows.reporting.pages.page_data import page_data
from tidecast.flows.reporting.pages.files import INDEX, write_whole
from tidecast.flows.reporting.pages.index_page import write_index
from tidecast.flows.reporting.report import render
from tidecast.flows.warehouse.schema import TABLES

pytestmark = pytest.mark.skipif(
    not (shutil.which("chromedriver") and any(map(shutil.which, CHROMES))), reason="Chromium is not installed"
)
LONG = ["WESTERN-TEXAS-INTERMEDIATE-CUSHING", "ABCDEFGHIJ" * 6, "נפט גולמי ברנט", "🛢 crude", "<b>x</b>", "USD"]
MANY = 5000
TABLE = "[...document.querySelectorAll('.chip')].find(chip => chip.textContent === 'Table').click();"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pages of few series with long names and of 5,000, and an index."""
    folder = tmp_path_factory.mktemp("reports")
    write_whole(folder / "2026-11-26.html", render(page_data(LONG)))
    many = render(page_data([f"S{k:04}" for k in range(MANY)], horizon=5, n_rows=80))
    assert len(many.encode()) < 10_000_000
    write_whole(folder / "2026-11-27.html", many)
    write_index(folder, *(TABLES[name].row({}).clear() for name in ("runs", "scores", "decisions")))
    return folder


@pytest.fixture(scope="module")
def window():
    """A window of Chromium."""
    with browsing(1200, 900) as browser:
        yield browser


@pytest.fixture
def run(window) -> Callable[[str], Any]:
    """A function: run a script in the page, return its result."""
    return lambda script: window._post("execute/sync", {"script": script, "args": []})


@pytest.fixture
def command(window) -> Callable[..., Any]:
    """A function: give Chromium a command of its own protocol."""
    return lambda name, **values: window._post("goog/cdp/execute", {"cmd": name, "params": values})


@pytest.fixture
def phone(command):
    """The window is as wide as a phone."""
    command("Emulation.setDeviceMetricsOverride", width=360, height=800, deviceScaleFactor=1, mobile=True)
    yield
    command("Emulation.clearDeviceMetricsOverride")


@pytest.mark.parametrize("name", ["2026-11-26.html", "2026-11-27.html", INDEX])
def test_a_phone_never_scrolls_sideways_and_no_name_stands_letter_by_letter(folder, window, run, phone, name):
    window.open((folder / name).as_uri())
    for script in ("", TABLE if name != INDEX else ""):
        run(script)
        assert run("return document.documentElement.scrollWidth") == 360
        names = run("return [...document.querySelectorAll('.name')].map(name => [name.textContent, name.clientHeight])")
        tall = [(text, height) for text, height in names if height / 18 > 2 + len(text) / 8]  # 8 letters a line
        assert tall == []


def test_search_filter_and_sorting_find_the_right_series_quickly(folder, window, run):
    window.open((folder / "2026-11-27.html").as_uri())
    assert run("return document.querySelectorAll('#cards li').length") == 24
    milliseconds = run("""
        const search = document.getElementById('search'), begin = performance.now();
        search.value = 's012';
        search.dispatchEvent(new Event('input'));
        document.body.offsetHeight;
        return performance.now() - begin;
    """)
    assert milliseconds < 1000
    assert "1 – 10 of 10 series" in window.words
    found = [f"S012{k}" for k in range(10)]
    assert sorted(run("return [...document.querySelectorAll('#cards h3')].map(name => name.textContent)")) == found
    run(TABLE)
    names = "return [...document.querySelectorAll('#rows tbody th')].map(name => name.textContent)"
    run("document.querySelector('[data-key=name]').click()")
    assert run(names) == found
    run("document.querySelector('[data-key=name]').click()")
    assert run(names) == found[::-1]
    assert run("return document.querySelector('[aria-sort=descending]').textContent") == "Series ↓"


def test_a_series_opens_from_its_name_and_from_its_address(folder, window, run):
    window.open((folder / "2026-11-26.html").as_uri())
    run("[...document.querySelectorAll('.open')].find(name => name.textContent === 'USD').click()")
    assert run("return document.querySelector('dialog[open] h2').textContent") == "USD"
    assert run("return location.hash") == "#series=USD"
    assert run("return document.querySelectorAll('dialog tbody tr').length") == 3
    window.open("about:blank")
    window.open((folder / "2026-11-26.html").as_uri() + "#series=%3Cb%3Ex%3C%2Fb%3E")
    assert run("return document.querySelector('dialog[open] h2').textContent") == "<b>x</b>"
    assert run("return document.querySelectorAll('dialog b').length") == 0


def test_paper_shows_pictures_and_table(folder, window, run):
    window.open((folder / "2026-11-26.html").as_uri())
    run("dispatchEvent(new Event('beforeprint'))")
    hidden = "return ['cards', 'rows'].map(id => document.getElementById(id).hidden)"
    assert run(hidden) == [False, False]
    assert run("return document.querySelectorAll('#rows tbody tr').length") == len(LONG)
    run("dispatchEvent(new Event('afterprint'))")
    assert run(hidden) == [False, True]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["2026-11-26.html", "2026-11-27.html", INDEX])
@pytest.mark.skipif("AXE_CORE" not in os.environ, reason="AXE_CORE does not name axe.min.js")
def test_axe_finds_no_fault(folder, window, run, command, name, scheme):
    def faults() -> Any:
        script = "const done = arguments[0]; axe.run().then(found => done(found.violations.map(fault => fault.id)))"
        return window._post("execute/async", {"script": script, "args": []})

    command("Page.setBypassCSP", enabled=True)
    command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    window.open("about:blank")
    window.open((folder / name).as_uri())
    run(Path(os.environ["AXE_CORE"]).read_text(encoding="utf-8"))
    assert faults() == []
    if name != INDEX:
        run(TABLE + "document.querySelectorAll('details').forEach(part => { part.open = true; })")
        assert faults() == []
        run("document.querySelector('.open').click()")
        assert faults() == []
        run("document.querySelector('dialog').close()")
    run("document.querySelector('main').append(document.createElement('img'))")
    assert faults() == ["image-alt"]  # it would find one
