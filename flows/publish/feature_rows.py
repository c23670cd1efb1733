"""The rows of the table `features` that can have changed since its last build; see `tidecast.flows.feature_table`."""

from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from tidecast.features.calendars.per_series import mark_long_periods
from tidecast.features.corporate_actions.price_steps import BEFORE, REACH
from tidecast.features.corporate_actions.shown_actions import look_for
from tidecast.features.transformers.price_features import PriceFeatures
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import WarehouseError
from tidecast.flows.publish.bucket_tasks import each_bucket, references
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


@dataclass(frozen=True)
class Asked:
    """Which rows to compute, and from which prices.

    Attributes
    ----------
    as_of : date
        The session as of which prices are known.
    since : date
        The first session to compute.
    first : date
        The first session of prices that is read.
    positive : bool
        Whether all prices are above zero.
    calendar : str or None
        That of the panel, see `mark_long_periods`.
    """

    as_of: date
    since: date
    first: date
    positive: bool
    calendar: str | None


def build(warehouse: Warehouse, settings: Settings, as_of: date | None = None, whole: bool = False) -> Built:
    """Compute the rows that can have changed since the last build, and store those that did, in one commit.

    Features look only backwards: a price changes no row before its own, unless it shows on which row a nearby split
    was. So all rows from the oldest new or corrected price on are computed, with the history they need; of a large
    panel by buckets of series.

    Parameters
    ----------
    warehouse : Warehouse
    settings : Settings
        Calendar, and whether all prices are above zero.
    as_of, whole
        As of `build_features`.

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
    versions = warehouse.versions()
    since = first = date.min
    if last is not None and not whole:
        news = warehouse.oldest_news(last, as_of)
        if news is None:
            return Built(as_of, 0)
        since = oldest_in_doubt(warehouse, news, as_of)
        first = first_needed(warehouse, since, as_of, PriceFeatures(positive=settings.positive).min_history)
    rows = _new_rows(warehouse, Asked(as_of, since, first, settings.positive, settings.calendar), settings, versions)
    read = {name: versions.get(name, 0) for name in ("prices", "actions")}
    return Built(as_of, warehouse.store_features(rows.with_columns(as_of=pl.lit(as_of)), read))


def _new_rows(warehouse: Warehouse, asked: Asked, settings: Settings, versions: dict[str, int]) -> pl.DataFrame:
    """The rows that are not stored, or are stored with other values."""
    if warehouse.is_large() and asked.calendar is not None:  # one that is inferred depends on all series
        buckets = references(warehouse, asked.as_of, versions, warehouse.series(asked.as_of, asked.first))
        if len(buckets) > 1:
            return pl.concat(each_bucket(_of_bucket, asked, buckets, settings))
    return _of_bucket(asked, warehouse)


def _of_bucket(asked: Asked, warehouse: Warehouse) -> pl.DataFrame:
    """As `_new_rows`, of the series that `warehouse` shows."""
    panel = warehouse.point_in_time_since(asked.first, asked.as_of).panel(asked.as_of)
    panel = mark_long_periods(panel.sort("series_id", "time"), asked.calendar)
    transformer = PriceFeatures(positive=asked.positive)
    rows = transformer.fit(panel).transform_tail(panel, asked.since)
    assert isinstance(rows, pl.DataFrame)
    rows = rows.select(*FEATURE_KEY, *transformer.added_)
    rows = rows.with_columns(  # a panel without high and low has no range ratios
        pl.lit(None, pl.Float64).alias(name)
        for name in PriceFeatures(ranges=True).added_
        if name not in transformer.added_
    )
    return changed(rows, warehouse.features_from(asked.since))


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


def first_needed(warehouse: Warehouse, since: date, as_of: date, rows: int) -> date:
    """Return the session from which each series with rows from `since` on has `rows` rows before it, or all it has.

    Prices are counted, not read.

    Parameters
    ----------
    warehouse : Warehouse
    since : date
    as_of : date
        The session as of which prices are known.
    rows : int
        A series.
    """
    oldest, reach = warehouse.oldest_session() or since, timedelta(days=int(rows * DAYS_A_ROW))
    new = warehouse.series(as_of, since).select("series_id")
    while True:
        first = max(since - reach, oldest) if since - oldest > reach else oldest
        enough = warehouse.series(as_of, first, since - timedelta(days=1)).filter(pl.col("rows") >= rows)
        short = new.join(enough, on="series_id", how="anti")["series_id"]
        if first == oldest or not warehouse.has_older(first, short):
            return first
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
