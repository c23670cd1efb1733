"""What a panel remembers of itself in panel.json: what it *is*. From its first forecast on, that stays."""

import json
import os
from collections.abc import Mapping
from typing import Any

from tidecast.flows.config.settings import Settings
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.errors import SettingsError

OF_PRICES = (
    "source", "table", "query", "series_id", "time", "target", "covariates", "static", "known_at", "layout", "calendar",
    "positive",
)  # fmt: skip
"""Which prices are stored, and which of them go to quarantine."""

REMEMBERED = (*OF_PRICES, "calendars", "horizon", "quantiles")
"""What a panel is; one state folder holds one panel."""


_READABLE: dict[str, Any] = {"indent": 2, "ensure_ascii": False}


def remember(home: StateFolder, settings: Settings, panel: str | None = None) -> None:
    """Keep what the panel is in the state folder, so that the second day is plain ``tidecast run``.

    `panel` is the panel's id, see `tidecast.flows.workspace.panel_identity`; None: the one that is there stays.
    """
    kept = {"panel": panel or own_id(home)} | json.loads(text_of(settings))
    text = json.dumps({name: value for name, value in kept.items() if name != "panel" or value}, **_READABLE) + "\n"
    if home.panel_file.exists() and home.panel_file.read_text(encoding="utf-8") == text:
        return
    draft = home.make().panel_file.with_suffix(f".{os.getpid()}.tmp")
    draft.write_text(text, encoding="utf-8")
    draft.replace(home.panel_file)  # whole or not at all


def text_of(settings: Settings) -> str:
    """Return what the panel is, as JSON text."""
    kept = settings.model_dump(mode="json", include=set(REMEMBERED))
    return json.dumps({name: kept[name] for name in REMEMBERED}, **_READABLE)


def own_id(home: StateFolder) -> str | None:
    """Return the panel's id in panel.json; None where it has none.

    Raises
    ------
    SettingsError
        panel.json cannot be read.
    """
    panel = _read(home).get("panel")
    return str(panel) if panel else None


def remembered(home: StateFolder) -> dict[str, Any]:
    """What the panel is, as JSON holds it; what was left open is left out.

    Raises
    ------
    SettingsError
        panel.json cannot be read.
    """
    kept = _read(home)
    return {name: kept[name] for name in REMEMBERED if kept.get(name) is not None}


def _read(home: StateFolder) -> dict[str, Any]:
    """What panel.json holds; nothing where there is none."""
    try:
        if not home.panel_file.exists():
            return {}
        kept = json.loads(home.panel_file.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise _unreadable(home, str(error)) from None
    if not isinstance(kept, dict):
        raise _unreadable(home, f"it holds a {type(kept).__name__}")
    return kept


def _unreadable(home: StateFolder, why: str) -> SettingsError:
    return SettingsError(
        f"{home.panel_file} must be as tidecast wrote it, but cannot be read: {why}. Put back a copy of it, or remove "
        "it: the next tidecast run makes it again from what the tables say."
    )


def differences(memory: Mapping[str, Any], settings: Settings) -> dict[str, tuple[Any, Any]]:
    """Where settings contradict the memory: by name, the value now and the one remembered."""
    now = settings.model_dump(mode="json", include=set(REMEMBERED))
    return {name: (now[name], value) for name, value in memory.items() if now[name] != value}
