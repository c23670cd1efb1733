"""The panel as models see it: stored prices with every covariate of the settings."""

from datetime import date

import polars as pl

from tidecast.flows.config.settings import Settings
from tidecast.flows.warehouse.warehouse import Warehouse


def model_panel(warehouse: Warehouse, settings: Settings, as_of: date, version: int | None = None) -> pl.DataFrame:
    """Return the prices known at `as_of`, with a column for each covariate and static column.

    Parameters
    ----------
    warehouse : Warehouse
    settings : Settings
        `covariates` and `static` name the columns.
    as_of : date
        No later row is read, and no row that became known later.
    version : int, optional
        Version of the table `prices`. None: the newest.

    Returns
    -------
    polars.DataFrame
        As `Warehouse.prices`. A covariate that was never delivered is a column of nulls.
    """
    panel = warehouse.prices(as_of, version, settings.static)
    missing = [name for name in (*settings.covariates, *settings.static) if name not in panel.columns]
    return panel.with_columns(pl.lit(None, pl.Float64).alias(name) for name in missing)
