"""Whose panel the tables are. They say it themselves, in `panel`, so a lost panel.json is no loss.

A panel's id is in panel.json and in that table. Its settings may be edited in panel.json; its id stays.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from tidecast.features.error_text import shorten
from tidecast.flows.config.panel_file import OF_PRICES, differences, own_id, text_of
from tidecast.flows.config.settings import Settings
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.errors import SettingsError
from tidecast.flows.warehouse.warehouse import Warehouse


@dataclass(frozen=True)
class Stored:
    """The panel that the tables name.

    Attributes
    ----------
    panel : str
        Its id.
    settings : dict
        What the panel is, as panel.json holds it; values that are not set are left out.
    """

    panel: str
    settings: dict[str, Any]


def stored_panel(warehouse: Warehouse) -> Stored | None:
    """Return the panel that the tables name; None where they name none."""
    rows = warehouse.panel().tail(1).to_dicts()
    if not rows:
        return None
    settings = {name: value for name, value in json.loads(rows[0]["settings"]).items() if value is not None}
    return Stored(rows[0]["panel"], settings)


def keep(home: StateFolder, warehouse: Warehouse, settings: Settings, as_of: date) -> None:
    """Write into the tables what panel.json says, unless they say so already."""
    text, panel = text_of(settings), own_id(home)
    last = warehouse.panel().tail(1).to_dicts()
    if panel and not (last and (last[0]["panel"], last[0]["settings"]) == (panel, text)):
        warehouse.put_panel({"as_of": as_of, "panel": panel, "settings": text})


def identify(home: StateFolder, warehouse: Warehouse, settings: Settings) -> str:
    """Return the id of the panel that the settings and the tables belong to; a new one where neither has one.

    Raises
    ------
    SettingsError
        Forecasts of another panel are published in these tables.
    """
    mine, stored = own_id(home), stored_panel(warehouse)
    if stored is None or stored.panel == mine:
        return mine or hashlib.sha256(text_of(settings).encode()).hexdigest()[:32]
    anew = {name: pair for name, pair in differences(stored.settings, settings).items() if name in OF_PRICES}
    if anew and warehouse.has_published():
        raise SettingsError(
            f"The tables in {warehouse.uri} must be of the panel in {home.path}, but they hold another panel: "
            f"{_differing(anew)}. Choose another --home, or another warehouse (TIDECAST_WAREHOUSE)."
        )
    return stored.panel


def refuse_unknown(home: StateFolder, warehouse: Warehouse) -> None:
    """Refuse to take the default source for tables that hold prices and do not say of which panel.

    Raises
    ------
    SettingsError
        There are such prices or forecasts. The message has the command that names the panel again.
    """
    published = warehouse.has_published()
    if warehouse.newest_session() is None and not published:
        return
    raise SettingsError(
        f"{home.panel_file} must say what the tables in {warehouse.uri} hold, but it is missing. They hold "
        f"{_contents(warehouse)}{', published forecasts among them' if published else ''}. Put the file back, or name "
        "the panel as on its first day: tidecast run --source URI --series-id COL --time COL --target COL --calendar "
        "NAME. For another panel, choose another --home."
    )


def _contents(warehouse: Warehouse) -> str:
    prices = warehouse.quotes()
    if prices.is_empty():
        return "no prices any more"
    series = prices["series_id"].unique().sort().to_list()
    return f"{prices.height:,} prices of {len(series)} series ({shorten(series)}) up to {prices['time'].max()!s}"


def _differing(anew: Mapping[str, tuple[Any, Any]]) -> str:
    return "; ".join(f"{name} is {was!r} there, {now!r} here" for name, (now, was) in anew.items())
