"""The site of the docs: every page and anchor that a link names exists, and a page loads nothing from elsewhere."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.browser import browsing

ROOT = Path(__file__).parents[1]
TYPE = """
const field = document.querySelector(".md-search__input")
field.value = arguments[0]
field.dispatchEvent(new Event("input", { bubbles: true }))
field.dispatchEvent(new KeyboardEvent("keyup", { bubbles: true }))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site; warnings, such as those of a link that leads nowhere, are errors."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_site_is_built_and_its_links_lead_to_pages_and_anchors(site):
    assert (site / "index.html").is_file()
    assert (site / "search" / "search_index.js").is_file(), "search works from a file, too"


def test_every_link_of_a_page_leads_to_a_file_of_the_site(site):
    """Links to the scripts of examples led nowhere: mkdocs does not check links to files that are not pages."""
    lost = {}
    for page in site.rglob("*.html"):
        targets = re.findall(r"""\b(?:href|src)=["']?([^"'\s>#?]+)""", page.read_text(encoding="utf-8"))
        inside = {each for each in targets if not re.match(r"[a-z]+:|/", each)}
        if missing := {each for each in inside if not (page.parent / unquote(each)).exists()}:
            lost[page.name] = missing
    assert lost == {}


def test_pictures_follow_the_switch_between_light_and_dark(site):
    """Five of eight pictures stayed white on a dark page."""
    shown = set()
    for page in site.rglob("*.html"):
        found = re.findall(r"""<img [^>]*src=["']?([^"'\s>]+\.png[^"'\s>]*)""", page.read_text(encoding="utf-8"))
        dark = {each.replace("_dark.png#only-dark", ".png#only-light") for each in found if each.endswith("#only-dark")}
        assert {each for each in found if not each.endswith("#only-dark")} == dark, page.name
        shown |= {each.partition("#")[0].rpartition("/")[2] for each in found}
    assert shown == {path.name for folder in ("docs/pictures", "benchmarks") for path in (ROOT / folder).glob("*.png")}


def test_no_page_loads_anything_from_elsewhere(site):
    outside = {}
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        found = re.findall(r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']?((?:https?:)?//[^"'\s>]+)""", text)
        found += re.findall(r"""<link\b[^>]*rel=["']?stylesheet[^>]*href=["']?((?:https?:)?//[^"'\s>]+)""", text)
        if found:
            outside[page.name] = found
    assert outside == {}


@pytest.mark.skipif(not (shutil.which("chromium") and shutil.which("chromedriver")), reason="needs Chromium")
def test_the_search_works_from_a_file_without_a_server(site):
    with browsing(1280, 900) as browser:
        browser.open((site / "index.html").as_uri())
        browser.click("//label[@class='md-search__icon md-icon']/preceding-sibling::input")
        browser._post("execute/sync", {"script": TYPE, "args": ["quarantine"]})
        browser.wait_for("matching documents")
