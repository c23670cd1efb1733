"""The folder of pages: which days have one, links between them, and writing a file whole or not at all.

A page carries a note for the index in its head, and links to its neighbours between two comments. Pages of earlier
versions have neither; they stay as they are.
"""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from tidecast.flows.reporting.pages.number_text import weekday

INDEX = "index.html"
HEAD = 64 * 1024
"""Bytes of a page in which its note and its links are."""

_NAME = re.compile(r"(\d{4}-\d{2}-\d{2})\.html")
_NOTE = re.compile(r'<meta name="tidecast-day" content="([^"]*)">')
_LINKS = re.compile(r"(?<=<!--days-->).*?(?=<!--/days-->)", re.DOTALL)


@dataclass(frozen=True)
class PageNote:
    """Facts of a day's page that the index and Prefect's pages show. No table holds them.

    Attributes
    ----------
    findings : tuple of str or None
        States that the watch found; None where nothing was watched, or the page is of an earlier version.
    series : tuple of str
        Some forecast series, those most worth a look first; empty on a page of an earlier version.
    """

    findings: tuple[str, ...] | None = None
    series: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the note as JSON."""
        findings = None if self.findings is None else list(self.findings)
        return json.dumps({"findings": findings, "series": list(self.series)})


def write_whole(path: Path, text: str) -> Path:
    """Write a file in one step, so that a kill leaves no partial file; return its path.

    Parameters
    ----------
    path : Path
        Its folder is created.
    text : str
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return path


def pages_in(folder: Path) -> dict[date, Path]:
    """Return the pages of a folder by their day, oldest first.

    Parameters
    ----------
    folder : Path
        May not exist.
    """
    found = {}
    for path in folder.glob("*.html") if folder.is_dir() else ():
        if match := _NAME.fullmatch(path.name):
            try:
                found[date.fromisoformat(match[1])] = path
            except ValueError:  # 2026-02-30.html is not ours
                continue
    return dict(sorted(found.items()))


def note_of(path: Path) -> PageNote:
    """Return the note in a page's head; an empty one of a page without.

    Parameters
    ----------
    path : Path
    """
    match = _NOTE.search(_head(path))
    try:
        read = json.loads(html.unescape(match[1])) if match else {}
        found, series = read.get("findings"), read.get("series", ())
        return PageNote(None if found is None else tuple(map(str, found)), tuple(map(str, series)))
    except (ValueError, AttributeError, TypeError):
        return PageNote()


def link_days(folder: Path) -> list[Path]:
    """Make every page link to the page before and the page after it; return those that were changed.

    Parameters
    ----------
    folder : Path
    """
    pages = pages_in(folder)
    days, changed = list(pages), []
    for place, path in enumerate(pages.values()):
        links = links_html(days[place - 1] if place else None, days[place + 1] if place + 1 < len(days) else None)
        there = _LINKS.search(_head(path))
        if there is None or there[0] == links:
            continue
        text = path.read_text(encoding="utf-8")
        if (place_of_links := _LINKS.search(text)) is not None:
            write_whole(path, text[: place_of_links.start()] + links + text[place_of_links.end() :])
            changed.append(path)
    return changed


def links_html(before: date | None, after: date | None) -> str:
    """Return links to the index and to the neighbours of a day.

    Parameters
    ----------
    before, after : date or None
        Days with a page; None: no link.
    """
    parts = []
    if before is not None:
        parts.append(f'<a rel="prev" href="{before}.html">← {weekday(before)}</a>')
    parts.append(f'<a href="{INDEX}">All days</a>')
    if after is not None:
        parts.append(f'<a rel="next" href="{after}.html">{weekday(after)} →</a>')
    return _joined(parts)


def _joined(parts: Iterable[str]) -> str:
    return " ".join(parts)


def _head(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(HEAD).decode("utf-8", errors="replace")
