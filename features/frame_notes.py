"""Notes that a frame carries along: what only its maker knows of it.

pandas keeps them in ``attrs`` through most operations. A polars frame keeps them until an operation makes another frame
of it. So a note may spare a question or raise a warning, and nothing may depend on one being there.
"""

from __future__ import annotations

from typing import Any, TypeVar

from tidecast.features.frames import is_pandas

KEY = "tidecast"
ATTRIBUTE = "_tidecast_notes"

Kind = TypeVar("Kind")


def with_note(frame: Kind, name: str, value: Any) -> Kind:
    """The same frame, with a note on it.

    Parameters
    ----------
    frame : polars or pandas DataFrame
        Made by the caller: a frame of the user's own is left without notes.
    name : str
    value
        As JSON holds it.
    """
    notes = {**_notes(frame), name: value}
    if is_pandas(frame):
        frame.attrs[KEY] = notes  # type: ignore[attr-defined]
    else:
        setattr(frame, ATTRIBUTE, notes)
    return frame


def note_of(frame: object, name: str, otherwise: Any = None) -> Any:
    """The note of that name on a frame, or else another value."""
    return _notes(frame).get(name, otherwise)


def _notes(frame: object) -> dict[str, Any]:
    found = frame.attrs.get(KEY, {}) if is_pandas(frame) else getattr(frame, ATTRIBUTE, {})  # type: ignore[attr-defined]
    return dict(found)
