"""Notes on a frame about how it was made.

pandas keeps them in ``attrs`` through most operations. In polars, an operation returns a frame without them. So a note
may save work or cause a warning, but nothing may depend on its presence.
"""

from __future__ import annotations

from typing import Any, TypeVar

from tidecast.features.frames import is_pandas

KEY = "tidecast"
ATTRIBUTE = "_tidecast_notes"

Kind = TypeVar("Kind")


def with_note(frame: Kind, name: str, value: Any) -> Kind:
    """Return the same frame, with a note on it.

    Parameters
    ----------
    frame : polars or pandas DataFrame
        Made by the caller; a user's own frame stays without notes.
    name : str
    value
        Anything that JSON can hold.
    """
    notes = {**_notes(frame), name: value}
    if is_pandas(frame):
        frame.attrs[KEY] = notes  # type: ignore[attr-defined]  # pandas alone has attrs
    else:
        setattr(frame, ATTRIBUTE, notes)
    return frame


def note_of(frame: object, name: str, otherwise: Any = None) -> Any:
    """Return the note of that name on a frame, or `otherwise` without one.

    Parameters
    ----------
    frame : polars or pandas DataFrame
    name : str
    otherwise : optional
    """
    return _notes(frame).get(name, otherwise)


def _notes(frame: object) -> dict[str, Any]:
    if is_pandas(frame):
        return dict(frame.attrs.get(KEY, {}))  # type: ignore[attr-defined]  # pandas alone has attrs
    return dict(getattr(frame, ATTRIBUTE, {}))
