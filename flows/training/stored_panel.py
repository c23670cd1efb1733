"""A panel as a task carries it to a worker that reads the tables itself: where they lie, and at which versions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import polars as pl

from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import WarehouseError
from tidecast.flows.training.model_panel import model_panel
from tidecast.flows.warehouse.bucket import TablesReference
from tidecast.flows.warehouse.warehouse import Warehouse
from tidecast.forecasting.estimator.panel_reference import PanelReference

_newest: list[tuple[StoredPanel, pl.DataFrame]] = []
"""The panel that this process has read last: its next task mostly has the same one."""


@dataclass(frozen=True)
class StoredPanel(PanelReference):
    """The panel that models see, as `model_panel` returns it.

    Attributes
    ----------
    tables : TablesReference
    settings : Settings
    as_of : date
    """

    tables: TablesReference
    settings: Settings
    as_of: date

    def read(self) -> pl.DataFrame:
        """Return the panel; a large one lies in temporary files of this process."""
        if not _newest or _newest[0][0] != self:
            _newest.clear()  # before the next one is read, which takes its room
            _newest.append((self, model_panel(Warehouse(self.tables.uri, self.tables), self.settings, self.as_of)))
        return _newest[0][1]

    def is_seen(self) -> bool:
        """Whether this process sees the tables."""
        try:
            Warehouse(self.tables.uri, self.tables).height("prices")
        except WarehouseError:
            return False
        return True
