"""Fill a template of a page, and put data and script into it where nothing may be changed or hidden."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tidecast.features.error_text import counted
from tidecast.flows.redaction import redact
from tidecast.flows.reporting.model_names import readable, with_article
from tidecast.flows.reporting.pages.number_text import capital, long_day, named, signed_percent, weekday

TEMPLATES = Path(__file__).parents[1] / "templates"
DATA_TAG = '<script type="application/json" id="series-data">'
SCRIPT_TAG = '<script id="page-script">'


def fill(name: str, **values: Any) -> str:
    """Return a template filled with values, which are escaped.

    Parameters
    ----------
    name : str
        File among the templates.
    **values : object
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "readable": readable,
        "with_article": with_article,
        "day": long_day,
        "thousands": "{:,}".format,
        "counted": counted,
        "signed_percent": signed_percent,
        "weekday": weekday,
        "named": named,
        "capital": capital,
        "head": lambda text: text.partition(" (")[0],
        "rest": lambda text: " (".join(("", text.partition(" (")[2])).strip() if " (" in text else "",
    }
    return environment.get_template(name).render(**values)


def script_text() -> str:
    """Return the script of a page."""
    return (TEMPLATES / "report.js").read_text(encoding="utf-8")


def script_hash() -> str:
    """Return the source expression by which a page's policy allows its own script and no other."""
    digest = hashlib.sha256(script_text().encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def finished(page: str, series_json: str) -> str:
    """Return a page without secrets, with its data and script.

    Both are put in after secrets are hidden: a changed number would break the data, a changed character the script.
    The tags are found by their first character, which no text of a user's can have in a page.

    Parameters
    ----------
    page : str
        With the empty elements of data and script.
    series_json : str
        As of `series_json`, without secrets.
    """
    page = redact(page)
    for tag, content in ((DATA_TAG, series_json), (SCRIPT_TAG, script_text())):
        before, found, after = page.partition(tag)
        page = f"{before}{found}{content}{after}" if found else page
    return page
