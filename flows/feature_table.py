"""The table `features`: a copy of the networks' default inputs, for people and notebooks. No model reads it.

It holds the features of every session as known on the session of the last build: splits are undone, and a correction
changes all later rows. A build computes only rows that can have changed since the last one.
"""

import logging
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from tidecast.features.calendars.per_series import mark_long_periods
from tidecast.features.corporate_actions.price_steps import BEFORE, REACH
from tidecast.features.corporate_actions.shown_actions import look_for
from tidecast.features.error_text import counted
from tidecast.features.transformers.price_features import PriceFeatures
from tidecast.flows.config.settings import Settings
from tidecast.flows.config.state_folder import hold
from tidecast.flows.errors import WarehouseError
from tidecast.flows.log import log
from tidecast.flows.opening import open_workspace
from tidecast.flows.safe_output import fails_cleanly
from tidecast.flows.warehouse.schema import FEATURE_KEY
from tidecast.flows.warehouse.warehouse import Warehouse

SAME = 1e-9
"""A value that differs by less than this has not changed: computed from a tail, it differs in the last digits."""

DAYS_A_ROW = 1.6
"""Days read per row that is needed, at first: sessions are 1.45 days apart, and some are missing."""


@dataclass(frozen=True)
class Built:
    """Result of a build.

    Attributes
    ----------
    as_of : date
        The session it was built on.
    written : int
        Rows that are new, or have changed.
    """

    as_of: date
    written: int


@flow(name="build-features")
@fails_cleanly
def build_features(
    as_of: date | None = None, home: str | None = None, settings: Settings | None = None, whole: bool = False
) -> Built:
    """Bring the table `features` up to date.

    Parameters
    ----------
    as_of : date, optional
        The session to build on, not before that of the last build. None: the newest one stored.
    home : str, optional
        The state folder. None: found as the command finds it.
    settings : Settings, optional
        None: loaded from the state folder, the environment and pyproject.toml.
    whole : bool
        Compute every row again, and write those that differ.

    Raises
    ------
    Busy
        A run holds the state folder.
    WarehouseError
        There are no prices, or the table was built on a later session.
    """
    log.setLevel(logging.INFO)
    workspace = open_workspace(home, settings)
    with hold(workspace.state_folder, "building features"):
        return bring_up_to_date(workspace.warehouse, workspace.settings, as_of, whole)


@task(cache_policy=NO_CACHE)
@fails_cleanly
def bring_up_to_date(warehouse: Warehouse, settings: Settings, as_of: date | None, whole: bool) -> Built:
    """Prices → `features`, in one commit.

    Parameters
    ----------
    warehouse : Warehouse
    settings : Settings
    as_of : date or None
        None: the newest session.
    whole : bool
        Whether to compute all rows anew.
    """
    built = build(warehouse, as_of, settings.positive, whole, settings.calendar)
    log.info(f"features: {counted(built.written, 'row')} new or changed, as known on {built.as_of}.")
    return built


def build(
    warehouse: Warehouse, as_of: date | None = None, positive: bool = True, whole: bool = False,
    calendar: str | None = None,
) -> Built:  # fmt: skip
    """Compute the rows that can have changed since the last build, and store those that did.

    Features look only backwards: a price changes no row before its own, unless it shows on which row a nearby split
    was. So all rows from the oldest new or corrected price on are computed, with the history they need.

    Parameters
    ----------
    warehouse : Warehouse
    as_of, whole
        As of `build_features`.
    positive : bool
        Whether all prices are above zero.
    calendar : str, optional
        That of the panel, see `mark_long_periods`.

    Returns
    -------
    Built

    Raises
    ------
    WarehouseError
        There are no prices, or the table was built on a later session.
    """
    as_of = as_of or warehouse.newest_session()
    if as_of is None:
        raise WarehouseError("Features must be built from prices, but there are none yet. Start with: tidecast run")
    last = warehouse.features_built()
    if last is not None and as_of < last:
        raise WarehouseError(
            f"Features must be built on {last}, as before, or a later session, got {as_of}. For those of an earlier "
            "day compute PriceFeatures().fit_transform(warehouse.prices(as_of))."
        )
    read = {name: warehouse.version(name) for name in ("prices", "actions")}
    transformer = PriceFeatures(positive=positive)
    if last is None or whole:
        since, panel = date.min, warehouse.prices(as_of)
    else:
        news = warehouse.oldest_news(last, as_of)
        if news is None:
            return Built(as_of, 0)
        since = oldest_in_doubt(warehouse, news, as_of)
        panel = panel_with_history(warehouse, since, as_of, transformer.min_history)
    panel = mark_long_periods(panel.sort("series_id", "time"), calendar)
    rows = transformer.fit(panel).transform_tail(panel, since)
    assert isinstance(rows, pl.DataFrame)
    rows = rows.select(*FEATURE_KEY, *transformer.added_)
    rows = rows.with_columns(  # a panel without high and low has no range ratios
        pl.lit(None, pl.Float64).alias(name)
        for name in PriceFeatures(ranges=True).added_
        if name not in transformer.added_
    )
    new = changed(rows, warehouse.features_from(since))
    return Built(as_of, warehouse.store_features(new.with_columns(as_of=pl.lit(as_of)), read))


def oldest_in_doubt(warehouse: Warehouse, news: date, as_of: date) -> date:
    """Return the oldest session whose basis prices from `news` on may have changed; `news` without a nearby split.

    Rows after a split say whether rows near it were on another basis; see `shown_actions`.

    Parameters
    ----------
    warehouse : Warehouse
    news : date
        Oldest session with a new price.
    as_of : date
        The session as of which prices are known.
    """
    near, before = (timedelta(days=int(rows * DAYS_A_ROW)) for rows in (REACH, BEFORE))
    splits = (pl.col("split_ratio") != 1) & (pl.col("time") >= news - near)
    split = warehouse.point_in_time_since(news - near, as_of).actions_at(as_of).filter(splits)
    if split.is_empty():
        return news
    quotes = warehouse.point_in_time_since(news - near - before, as_of).quotes(as_of)
    shown = look_for(quotes, split)
    shifted = shown.actions.join(split, on=["series_id", "time"], how="anti")
    days = pl.concat([shown.doubtful["time"], shifted["time"]]).min()
    return min(days, news) if isinstance(days, date) else news


def panel_with_history(warehouse: Warehouse, since: date, as_of: date, rows: int) -> pl.DataFrame:
    """Return the panel known at `as_of`, with `rows` rows before `since` of each series that has newer ones, or all.

    Prices are on the basis of each series' last row, as of `Warehouse.prices`. Only the days needed are read; more of
    them where a series trades seldom.

    Parameters
    ----------
    warehouse : Warehouse
    since : date
    as_of : date
    rows : int
        A series.
    """
    oldest, reach = warehouse.oldest_session() or since, timedelta(days=int(rows * DAYS_A_ROW))
    while True:
        first = max(since - reach, oldest) if since - oldest > reach else oldest
        panel = warehouse.point_in_time_since(first, as_of).panel(as_of)
        before = (pl.col("time") < since).sum()
        counted = panel.group_by("series_id").agg(before=before, new=pl.len() - before)
        short = counted.filter(pl.col("before") < rows, pl.col("new") > 0)["series_id"]
        if first == oldest or not warehouse.has_older(first, short):
            return panel
        reach *= 2


def changed(rows: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that are not stored, or are stored with other values.

    Parameters
    ----------
    rows : polars.DataFrame
        Of features.
    stored : polars.DataFrame
        Rows of the table `features`.
    """
    names = [name for name in rows.columns if name not in FEATURE_KEY]
    compared = rows.join(
        stored.select(*FEATURE_KEY, *names, _stored=True), on=FEATURE_KEY, how="left", suffix="_stored",
        maintain_order="left",
    )  # fmt: skip
    same = [
        ((pl.col(name) - pl.col(f"{name}_stored")).abs() <= SAME).fill_null(
            pl.col(name).is_null() & pl.col(f"{name}_stored").is_null()
        )
        for name in names
    ]
    is_same = pl.col("_stored").is_not_null() & pl.all_horizontal(same)
    return compared.filter(~is_same).select(rows.columns)
