"""panel.json: what a panel *is*. It must not change once a forecast is published."""

import json
import os
from collections.abc import Mapping
from typing import Any

from tidecast.features.error_text import ended
from tidecast.flows.config.settings import Settings
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.errors import SettingsError
from tidecast.flows.os_errors import message_of

OF_PRICES = (
    "source", "table", "query", "series_id", "time", "target", "covariates", "static", "known_at", "layout", "calendar",
    "positive",
)  # fmt: skip
"""Settings that say which prices are stored, and which of them go to quarantine."""

REMEMBERED = (*OF_PRICES, "calendars", "horizon", "quantiles")
"""Settings that say what a panel is; one state folder holds one panel."""

INPUTS = (
    "future", "future_table", "future_covariates", "events", "events_table", "event_kinds", "group", "future_missing",
)  # fmt: skip
"""Settings that say what is known ahead. They are remembered where they are set, and another value replaces them."""

CHANGED_BY = {
    "source": "--source", "table": "--table", "query": "--query", "series_id": "--series-id", "time": "--time",
    "target": "--target", "covariates": "--covariate", "static": "--static", "known_at": "--known-at",
    "layout": "TIDECAST_LAYOUT", "calendar": "--calendar", "positive": "TIDECAST_POSITIVE",
    "future": "--future", "future_table": "--future-table", "future_covariates": "--future-covariate",
    "events": "--events", "events_table": "--events-table", "event_kinds": "TIDECAST_EVENT_KINDS",
    "group": "TIDECAST_GROUP", "future_missing": "TIDECAST_FUTURE_MISSING",
    "calendars": "the source's column 'calendar'", "horizon": "--horizon", "quantiles": "--quantiles",
}  # fmt: skip
"""What gives each remembered setting another value; those in pyproject.toml and TIDECAST_* have the setting's name."""

_READABLE: dict[str, Any] = {"indent": 2, "ensure_ascii": False}


def remember(folder: StateFolder, settings: Settings, panel: str | None = None) -> None:
    """Write panel.json, so that the second day is plain ``tidecast run``.

    Parameters
    ----------
    folder : StateFolder
    settings : Settings
    panel : str or None
        The panel's id, see `tidecast.flows.workspace.panel_identity`. None: the id in panel.json stays.

    Raises
    ------
    SettingsError
        panel.json cannot be read.
    """
    panel = panel or own_id(folder)
    content = ({"panel": panel} if panel else {}) | json.loads(text_of(settings))
    text = json.dumps(content, **_READABLE) + "\n"
    if folder.panel_file.exists() and folder.panel_file.read_text(encoding="utf-8") == text:
        return
    draft = folder.make().panel_file.with_suffix(f".{os.getpid()}.tmp")
    draft.write_text(text, encoding="utf-8")
    draft.replace(folder.panel_file)  # whole or not at all


def text_of(settings: Settings) -> str:
    """Return what the panel is, as JSON text.

    Parameters
    ----------
    settings : Settings
    """
    values = settings.model_dump(mode="json", include={*REMEMBERED, *INPUTS})
    defaults = Settings().model_dump(mode="json", include=set(INPUTS))
    chosen = [name for name in INPUTS if values[name] != defaults[name]]
    return json.dumps({name: values[name] for name in (*REMEMBERED, *chosen)}, **_READABLE)


def own_id(folder: StateFolder) -> str | None:
    """Return the panel's id in panel.json, None if it has none.

    Parameters
    ----------
    folder : StateFolder

    Raises
    ------
    SettingsError
        panel.json cannot be read.
    """
    panel = _read(folder).get("panel")
    return str(panel) if panel else None


def remembered(folder: StateFolder) -> dict[str, Any]:
    """Return the settings in panel.json, as JSON values; those that are null are left out.

    Parameters
    ----------
    folder : StateFolder

    Raises
    ------
    SettingsError
        panel.json cannot be read.
    """
    content = _read(folder)
    return {name: content[name] for name in (*REMEMBERED, *INPUTS) if content.get(name) is not None}


def _read(folder: StateFolder) -> dict[str, Any]:
    """Return the content of panel.json, empty if there is no such file."""
    try:
        if not folder.panel_file.exists():
            return {}
        content = json.loads(folder.panel_file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"panel.json must be a readable file. {message_of(error)}.") from None
    except (ValueError, RecursionError) as error:
        raise _unreadable(folder, str(error)) from None
    if not isinstance(content, dict):
        raise _unreadable(folder, f"it holds a {type(content).__name__}")
    return content


def _unreadable(folder: StateFolder, why: str) -> SettingsError:
    return SettingsError(
        f"{folder.panel_file} must be as tidecast wrote it, but cannot be read: {ended(why)} Put back a copy of it, or "
        "remove it: the next tidecast run makes it again from what the tables say."
    )


def differences(panel: Mapping[str, Any], settings: Settings) -> dict[str, tuple[Any, Any]]:
    """Return the settings that contradict those of a panel: name to (value in `settings`, value in `panel`).

    Those of `INPUTS` never do.

    Parameters
    ----------
    panel : mapping
        As `remembered` returns it.
    settings : Settings
    """
    now = settings.model_dump(mode="json", include=set(REMEMBERED))
    return {name: (now[name], value) for name, value in panel.items() if name in now and now[name] != value}
