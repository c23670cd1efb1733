"""What a panel remembers of itself in panel.json: what it *is*. From its first forecast on, that stays."""

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flows.errors import SettingsError
from flows.home import Home

if TYPE_CHECKING:
    from flows.settings import Settings

OF_PRICES = (
    "source", "table", "query", "series_id", "time", "target", "covariates", "static", "known_at", "layout", "calendar",
    "positive",
)  # fmt: skip
"""Which prices are stored, and which of them go to quarantine."""

REMEMBERED = (*OF_PRICES, "calendars", "horizon", "quantiles")
"""What a panel is; one state folder holds one panel."""


def remember(home: Home, settings: "Settings") -> None:
    """Keep what the panel is in the state folder, so that the second day is plain ``tidecast run``."""
    kept = settings.model_dump(mode="json", include=set(REMEMBERED))
    text = json.dumps({name: kept[name] for name in REMEMBERED}, indent=2, ensure_ascii=False) + "\n"
    if home.panel_file.exists() and home.panel_file.read_text(encoding="utf-8") == text:
        return
    draft = home.make().panel_file.with_suffix(f".{os.getpid()}.tmp")
    draft.write_text(text, encoding="utf-8")
    draft.replace(home.panel_file)  # whole or not at all


def remembered(home: Home) -> dict[str, Any]:
    """What the panel is, as JSON holds it; what was left open is left out.

    Raises
    ------
    SettingsError
        panel.json cannot be read.
    """
    if not home.panel_file.exists():
        return {}
    try:
        kept = json.loads(home.panel_file.read_text(encoding="utf-8"))
        return {name: kept[name] for name in REMEMBERED if kept.get(name) is not None}
    except (ValueError, OSError, AttributeError) as error:
        raise SettingsError(
            f"{home.panel_file} must be as tidecast wrote it, but cannot be read: {error}. Use another --home."
        ) from None


def differences(memory: Mapping[str, Any], settings: "Settings") -> dict[str, tuple[Any, Any]]:
    """Where settings contradict the memory: by name, the value now and the one remembered."""
    now = settings.model_dump(mode="json", include=set(REMEMBERED))
    return {name: (now[name], value) for name, value in memory.items() if now[name] != value}
