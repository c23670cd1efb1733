"""The identity of a panel: its id and settings, in panel.json and in the table `panel`.

Without panel.json, the table says which panel it is. Users may edit settings in panel.json; the id stays.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from tidecast.features.error_text import counted, shorten
from tidecast.flows.config.panel_file import OF_PRICES, differences, own_id, text_of
from tidecast.flows.config.settings import Settings
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.errors import SettingsError
from tidecast.flows.warehouse.warehouse import Warehouse


@dataclass(frozen=True)
class StoredPanel:
    """The panel of the tables, from the table `panel`.

    Attributes
    ----------
    panel : str
        Its id.
    settings : dict
        As panel.json holds them, without those that are null.
    """

    panel: str
    settings: dict[str, Any]


def stored_panel(warehouse: Warehouse) -> StoredPanel | None:
    """Return the panel of the tables; None if they do not say which.

    Parameters
    ----------
    warehouse : Warehouse
    """
    rows = warehouse.panel().tail(1).to_dicts()
    if not rows:
        return None
    settings = {name: value for name, value in json.loads(rows[0]["settings"]).items() if value is not None}
    return StoredPanel(rows[0]["panel"], settings)


def store_panel(folder: StateFolder, warehouse: Warehouse, settings: Settings, as_of: date) -> None:
    """Write id and settings from panel.json into the tables, unless they are there.

    Parameters
    ----------
    folder : StateFolder
    warehouse : Warehouse
    settings : Settings
    as_of : date
        The session from which they hold.
    """
    text, panel = text_of(settings), own_id(folder)
    last = warehouse.panel().tail(1).to_dicts()
    if panel and not (last and (last[0]["panel"], last[0]["settings"]) == (panel, text)):
        warehouse.put_panel({"as_of": as_of, "panel": panel, "settings": text})


def identify(folder: StateFolder, warehouse: Warehouse, settings: Settings) -> str:
    """Return the id of the panel of these settings and tables; a new one if neither has one.

    Parameters
    ----------
    folder : StateFolder
    warehouse : Warehouse
    settings : Settings

    Raises
    ------
    SettingsError
        The tables hold published forecasts of another panel.
    """
    mine, stored = own_id(folder), stored_panel(warehouse)
    if stored is None or stored.panel == mine:
        return mine or hashlib.sha256(text_of(settings).encode()).hexdigest()[:32]
    changed = {name: pair for name, pair in differences(stored.settings, settings).items() if name in OF_PRICES}
    if changed and warehouse.has_published():
        raise SettingsError(
            f"The tables in {warehouse.uri} must be of the panel in {folder.path}, but they hold another panel: "
            f"{_differing(changed)}. Choose another --home, or another warehouse (TIDECAST_WAREHOUSE)."
        )
    return stored.panel


def refuse_unknown(folder: StateFolder, warehouse: Warehouse) -> None:
    """Refuse the default source for tables that hold prices and do not say of which panel.

    Parameters
    ----------
    folder : StateFolder
    warehouse : Warehouse

    Raises
    ------
    SettingsError
        There are such prices or forecasts. The message has the command that names the panel again.
    """
    published = warehouse.has_published()
    if warehouse.newest_session() is None and not published:
        return
    raise SettingsError(
        f"{folder.panel_file} must say which panel the tables in {warehouse.uri} hold, but it is missing. They hold "
        f"{_contents(warehouse)}{', published forecasts among them' if published else ''}. Put the file back, or name "
        "the panel as on its first day: tidecast run --source URI --series-id COL --time COL --target COL --calendar "
        "NAME. For another panel, choose another --home."
    )


def _contents(warehouse: Warehouse) -> str:
    prices = warehouse.quotes()
    if prices.is_empty():
        return "no prices"
    series = prices["series_id"].unique().sort().to_list()
    return (
        f"{counted(prices.height, 'price')} of {len(series)} series ({shorten(series)}) up to {prices['time'].max()!s}"
    )


def _differing(changed: Mapping[str, tuple[Any, Any]]) -> str:
    return "; ".join(f"{name} is {was!r} there, {now!r} here" for name, (now, was) in changed.items())
