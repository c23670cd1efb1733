"""Docstrings of classes that share parameters: every class documents all of its own, and each text is written once."""

from __future__ import annotations

import inspect
import re

HEADING = re.compile(r"^(\w[\w ]*)\n-{3,}\n", re.MULTILINE)
INHERITED = ("Parameters", "Attributes")


def complete_docstring(kind: type) -> None:
    """Add to a class's docstring the parameters and attributes that only its base documents.

    Parameters
    ----------
    kind : type
        With a numpydoc docstring, as its base. A class without one is left alone.
    """
    if not kind.__dict__.get("__doc__"):
        return
    intro, own = sections_of(kind)
    inherited = next((found for base in kind.__mro__[1:] if (found := sections_of(base)[1])), {})
    for title in INHERITED:
        entries = entries_of(inherited.get(title, "")) | entries_of(own.get(title, ""))
        if title == "Parameters":
            entries = {name: entries[name] for name in inspect.signature(kind).parameters if name in entries}
        if entries:
            own[title] = "\n".join(entries.values())
    titles = [*INHERITED, *(title for title in own if title not in INHERITED)]
    parts = [f"{title}\n{'-' * len(title)}\n{own[title]}" for title in titles if title in own]
    kind.__doc__ = "\n\n".join([intro, *parts])


def sections_of(kind: type) -> tuple[str, dict[str, str]]:
    """Return a class's own docstring as the text before its first section, and its sections by title.

    Parameters
    ----------
    kind : type
        With a numpydoc docstring, or without one.
    """
    text = inspect.cleandoc(kind.__dict__.get("__doc__") or "")
    intro, *parts = HEADING.split(text)
    return intro.strip(), {title: body.strip() for title, body in zip(parts[::2], parts[1::2], strict=True)}


def entries_of(section: str) -> dict[str, str]:
    """Return the entries of a section by name, each with its indented text; ``a, b : type`` gives two entries.

    Parameters
    ----------
    section : str
        The section's text, without its heading.
    """
    entries: dict[str, str] = {}
    names: list[str] = []
    for line in section.splitlines():
        if line and not line[0].isspace():
            head, colon, kind = line.partition(" : ")
            names = [name.strip() for name in head.split(",")]
            entries |= {name: f"{name}{colon}{kind}" for name in names}
        else:
            entries |= {name: f"{entries[name]}\n{line}".rstrip() for name in names}
    return entries
