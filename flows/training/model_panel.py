"""The panel as models see it: stored prices, covariates of the settings, and what was known ahead at each row."""

from collections.abc import Mapping
from datetime import date

import polars as pl

from tidecast.features.known_ahead.events import with_events
from tidecast.features.known_ahead.future_values import NoSessionError, with_future
from tidecast.features.panel import AHEAD, PanelSchema
from tidecast.flows.config.settings import Settings
from tidecast.flows.log import log
from tidecast.flows.warehouse.warehouse import Warehouse

AHEAD_TABLES = ("future_values", "events")
"""Tables of what is known ahead."""


def model_panel(
    warehouse: Warehouse,
    settings: Settings,
    as_of: date,
    versions: Mapping[str, int] | None = None,
    filled: bool = True,
) -> pl.DataFrame:
    """Return the prices known at `as_of`, with a column for each covariate and static column, and what is known ahead.

    Parameters
    ----------
    warehouse : Warehouse
    settings : Settings
        `covariates`, `static` and `future_covariates` name the columns.
    as_of : date
        No later row is read, and no row that became known later.
    versions : mapping of str to int, optional
        Versions of the tables. None: the newest.
    filled : bool, default=True
        Whether missing future covariates are filled in, where the settings say so.

    Returns
    -------
    polars.DataFrame
        As `Warehouse.prices`. A covariate that was never delivered is a column of nulls. Columns of lists hold what was
        known ahead when the session of a row closed, see `with_future` and `with_events`.
    """
    panel = price_panel(warehouse, settings, as_of, versions)
    panel = _with_future(panel, warehouse, settings, versions)
    panel = _with_events(panel, warehouse, settings, versions)
    return fill_ahead(panel, settings) if filled else panel


def read_versions(warehouse: Warehouse) -> dict[str, int]:
    """Return the newest versions of the tables that `model_panel` reads and that a training names.

    Parameters
    ----------
    warehouse : Warehouse
    """
    return {name: version for name, version in warehouse.versions().items() if name in ("prices", *AHEAD_TABLES)}


def reads_ahead(warehouse: Warehouse, settings: Settings) -> bool:
    """Whether the panel has columns of what is known ahead: future covariates, or events.

    Parameters
    ----------
    warehouse : Warehouse
    settings : Settings
    """
    return bool(_future_columns(warehouse, settings) or _event_columns(warehouse, settings))


def _future_columns(warehouse: Warehouse, settings: Settings) -> tuple[str, ...]:
    """Future covariates of the settings, and of earlier settings: a champion may still read them."""
    return tuple(dict.fromkeys([*settings.future_covariates, *warehouse.future_names()]))


def _event_columns(warehouse: Warehouse, settings: Settings) -> tuple[str, ...]:
    """Kinds of events of the settings, and those stored."""
    return tuple(dict.fromkeys([*settings.event_kinds, *warehouse.event_kinds()]))


def price_panel(
    warehouse: Warehouse, settings: Settings, as_of: date, versions: Mapping[str, int] | None = None
) -> pl.DataFrame:
    """Return the panel as `model_panel` does, without what is known ahead.

    Parameters
    ----------
    warehouse, settings, as_of, versions
        As for `model_panel`.
    """
    panel = warehouse.prices(as_of, (versions or {}).get("prices"), settings.static)
    missing = [name for name in (*settings.covariates, *settings.static) if name not in panel.columns]
    return panel.with_columns(pl.lit(None, pl.Float64).alias(name) for name in missing)


def _with_future(
    panel: pl.DataFrame, warehouse: Warehouse, settings: Settings, versions: Mapping[str, int] | None
) -> pl.DataFrame:
    names = _future_columns(warehouse, settings)
    if not names:
        return panel
    empty = pl.DataFrame(schema={"time": pl.Date, **dict.fromkeys(names, pl.Float64)})
    table = _for_panel(warehouse.future_values((versions or {}).get("future_values")), panel, settings)
    columns = [pl.col(name) if name in table.columns else pl.lit(None, pl.Float64).alias(name) for name in names]
    table = table.with_columns(columns)
    schema, group = PanelSchema(calendar=settings.calendar or "weekdays", future=names), _group(panel, settings)
    try:
        return with_future(panel, empty if table.is_empty() else table, settings.horizon, schema, group)
    except NoSessionError as error:  # every value is missing, and the run says so
        log.warning(str(error))
        return with_future(panel, empty, settings.horizon, schema)


def _with_events(
    panel: pl.DataFrame, warehouse: Warehouse, settings: Settings, versions: Mapping[str, int] | None
) -> pl.DataFrame:
    kinds = _event_columns(warehouse, settings)
    if not kinds:
        return panel
    rows = warehouse.events((versions or {}).get("events"))
    table = _for_panel(_one_from_each_instant(rows), panel, settings)
    table = table.with_columns(pl.col("event_id").replace("", None))
    schema = PanelSchema(calendar=settings.calendar or "weekdays")
    kinds = tuple(kind for kind in kinds if kind not in panel.columns)
    return with_events(panel, table, settings.horizon, schema, _group(panel, settings), kinds)


def _one_from_each_instant(events: pl.DataFrame) -> pl.DataFrame:
    """The newest row about an event from each instant: earlier versions stored several where an event was moved."""
    own = pl.when(pl.col("event_id") == "").then(pl.col("time"))
    key = ["series_id", "group_name", "kind", "event_id", "known_at", "own"]
    rows = events.with_columns(own=own).sort("as_of", "time").unique(key, keep="last", maintain_order=True)
    return rows.drop("own").sort("known_at", "time")


def _for_panel(table: pl.DataFrame, panel: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """The rows for series and groups of the panel, as `with_future` and `with_events` read them."""
    group = _group(panel, settings)
    series = pl.col("series_id").is_in(["", *panel["series_id"].unique()])
    groups = pl.col("group_name").is_in(["", *(panel[group].drop_nulls().unique().cast(pl.String) if group else [])])
    rows = table.filter(series, groups).drop("as_of", "year", strict=False)
    rows = rows.with_columns(pl.col("series_id", "group_name").replace("", None))
    return rows.rename({"group_name": group}) if group else rows.drop("group_name")


def _group(panel: pl.DataFrame, settings: Settings) -> str | None:
    return settings.group if settings.group in panel.columns else None


def fill_ahead(panel: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """Return the panel with missing values of sessions ahead as the setting `future_missing` declares.

    Only "last" fills them in: with the value of the session before, as known at the row.

    Parameters
    ----------
    panel : polars.DataFrame
        As `model_panel` returns it, not filled.
    settings : Settings
    """
    if settings.future_missing != "last":
        return panel
    names = [name for name in settings.future_covariates if name + AHEAD in panel.columns]
    return panel.with_columns(
        pl.concat_list(pl.col(name), pl.col(name + AHEAD).arr.to_list())
        .list.eval(pl.element().fill_nan(None).forward_fill().fill_null(float("nan")))
        .list.slice(1)
        .list.to_array(settings.horizon)
        .alias(name + AHEAD)
        for name in names
    )
