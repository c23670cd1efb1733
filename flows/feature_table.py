"""The table `features`: a copy of the networks' default inputs, for people and notebooks. No model reads it.

It holds the features of every session as known on the last one it was built on: splits are undone, and a corrected
price is corrected in all rows that come after it. What has not become known since the last build is not computed again.
"""

import logging
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from tidecast.features.corporate_actions.price_steps import BEFORE, REACH
from tidecast.features.corporate_actions.shown_actions import look_for
from tidecast.features.transformers.price_features import PriceFeatures
from tidecast.flows.config.settings import Settings
from tidecast.flows.config.state_folder import hold
from tidecast.flows.daily import open_workspace
from tidecast.flows.errors import WarehouseError
from tidecast.flows.log import log
from tidecast.flows.safe_output import fails_cleanly
from tidecast.flows.warehouse.schema import FEATURE_KEY
from tidecast.flows.warehouse.warehouse import Warehouse

SAME = 1e-9
"""A value that moves by less than this has not changed: computed from a tail, it differs in the last digits."""

DAYS_A_ROW = 1.6
"""Days read per row that is needed, at first: sessions are 1.45 days apart, and some are missing."""


@dataclass(frozen=True)
class Built:
    """What a build came to.

    Attributes
    ----------
    as_of : date
        The session it stands on.
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
        The session to stand on; not before that of the last build. None: the newest one stored.
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
    with hold(workspace.home, "building features"):
        return bring_up_to_date(workspace.warehouse, workspace.settings, as_of, whole)


@task(cache_policy=NO_CACHE)
@fails_cleanly
def bring_up_to_date(warehouse: Warehouse, settings: Settings, as_of: date | None, whole: bool) -> Built:
    """Prices → `features`, in one commit."""
    built = build(warehouse, as_of, settings.positive, whole)
    log.info(f"features: {built.written:,} rows new or changed, as known on {built.as_of}.")
    return built


def build(warehouse: Warehouse, as_of: date | None = None, positive: bool = True, whole: bool = False) -> Built:
    """Compute the rows that what became known since the last build can have changed, and store those that did.

    Features look backwards only: a price changes no row before its own, but where it shows on which row a split near by
    was. So everything from the oldest news on is computed, from it and the rows before that it needs. See
    `build_features` for the parameters.
    """
    as_of = as_of or warehouse.newest_session()
    if as_of is None:
        raise WarehouseError("Features must be built of prices, there are none yet. Run tidecast run first.")
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
    rows = transformer.fit(panel).transform_tail(panel, since)
    assert isinstance(rows, pl.DataFrame)
    rows = rows.select(*FEATURE_KEY, *transformer.added_)
    rows = rows.with_columns(  # a panel without ranges has no ratios of them
        pl.lit(None, pl.Float64).alias(name)
        for name in PriceFeatures(ranges=True).added_
        if name not in transformer.added_
    )
    new = changed(rows, warehouse.features_from(since))
    return Built(as_of, warehouse.store_features(new.with_columns(as_of=pl.lit(as_of)), read))


def oldest_in_doubt(warehouse: Warehouse, news: date, as_of: date) -> date:
    """The oldest row whose basis prices from `news` on may have changed; `news` without a split in doubt near it.

    See `shown_actions`: rows after a split say whether some near it were on another basis.
    """
    near, before = (timedelta(days=int(rows * DAYS_A_ROW)) for rows in (REACH, BEFORE))
    splits = (pl.col("split_ratio") != 1) & (pl.col("time") >= news - near)
    split = warehouse.knowledge_since(news - near, as_of).actions_at(as_of).filter(splits)
    if split.is_empty():
        return news
    quotes = warehouse.knowledge_since(news - near - before, as_of).quotes(as_of)
    shown = look_for(quotes, split)
    moved = shown.actions.join(split, on=["series_id", "time"], how="anti")
    days = pl.concat([shown.doubtful["time"], moved["time"]]).min()
    return min(days, news) if isinstance(days, date) else news


def panel_with_history(warehouse: Warehouse, since: date, as_of: date, rows: int) -> pl.DataFrame:
    """The panel as known at `as_of`, from so far back that series with new rows have `rows` before `since`, or all.

    On the basis of each series' last row, as `Warehouse.prices`. Only days that are needed are read, and more of them
    where a series trades seldom.
    """
    oldest, reach = warehouse.oldest_session() or since, timedelta(days=int(rows * DAYS_A_ROW))
    while True:
        first = max(since - reach, oldest) if since - oldest > reach else oldest
        panel = warehouse.knowledge_since(first, as_of).panel(as_of)
        before = (pl.col("time") < since).sum()
        counted = panel.group_by("series_id").agg(before=before, new=pl.len() - before)
        short = counted.filter(pl.col("before") < rows, pl.col("new") > 0)["series_id"]
        if first == oldest or not warehouse.has_older(first, short):
            return panel
        reach *= 2


def changed(rows: pl.DataFrame, there: pl.DataFrame) -> pl.DataFrame:
    """The rows that are not there, or are there with other values."""
    names = [name for name in rows.columns if name not in FEATURE_KEY]
    beside = rows.join(
        there.select(*FEATURE_KEY, *names, _there=True), on=FEATURE_KEY, how="left", suffix="_there",
        maintain_order="left",
    )  # fmt: skip
    same = [
        ((pl.col(name) - pl.col(f"{name}_there")).abs() <= SAME).fill_null(
            pl.col(name).is_null() & pl.col(f"{name}_there").is_null()
        )
        for name in names
    ]
    is_same = pl.col("_there").is_not_null() & pl.all_horizontal(same)
    return beside.filter(~is_same).select(rows.columns)
