"""Score published forecasts against what came true, next to the random walk as it would have been published."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from tidecast.features.calendars.per_series import mark_long_periods
from tidecast.features.corporate_actions.adjustment import action_factors
from tidecast.features.corporate_actions.price_steps import BEFORE, REACH
from tidecast.features.volatility import EWMA_ROWS, PEG_WINDOW, with_volatility
from tidecast.flows.config.settings import Settings
from tidecast.flows.publish.bucket_tasks import each_bucket, references
from tidecast.flows.publish.kept_walks import KeptWalks
from tidecast.flows.warehouse.point_in_time import PointInTime
from tidecast.flows.warehouse.schema import FORECAST_KEY, SCORES, quantile_columns
from tidecast.flows.warehouse.warehouse import Warehouse
from tidecast.forecasting.evaluation.scored_rows import scored_rows
from tidecast.forecasting.forecasters.baselines import RandomWalk
from tidecast.forecasting.tables.names import RANDOM_WALK

ROW = ["series_id", "origin", "step"]

ISSUED = "issued"
"""Name of the published forecasts beside the random walk's."""

WORK = 2
"""Work on a row of prices that forecasts are measured by, in rows that are forecast from."""

DAYS_A_ROW = 1.6
"""Days read per row that is needed: sessions are 1.45 days apart, and some are missing."""


def score(warehouse: Warehouse, as_of: date, settings: Settings, walks: Path | None = None) -> pl.DataFrame:
    """Return new rows for `scores`: forecasts that have come true by `as_of` and have no score, or an outdated one.

    A score is outdated when a split or dividend became known after it was made. A forecast for a session that is not
    after its own `as_of`, of a series that was behind, has no score.

    Losses are those of `forecasting.evaluate`, in units of price × volatility at the origin, so that daily scores and
    backtests agree. Each row has the random walk's loss as well. That random walk is fitted on the rows known at the
    model's `trained_through`, and forecasts from the rows known at the forecast's `as_of`. Where it was published
    itself, both losses are equal. A series that is pegged at the origin has no score. Scale and peg are those known at
    the forecast's `as_of`; only the truth is the one known now, so that all steps of a forecast are measured alike,
    whenever they are. After a split or a dividend the truth is the value of the share that was forecast with all that
    came of it: two halves, or the price and the dividend.

    Parameters
    ----------
    warehouse : Warehouse
        Is only read; `Warehouse.store_scores` stores the result.
    as_of : date
        The session the run stands on; nothing that became known later is read.
    settings : Settings
        Horizon, lookback, quantiles and what the prices are.
    walks : Path, optional
        Folder of fitted random walks, see `KeptWalks`. None: each is fitted here.

    Returns
    -------
    polars.DataFrame
        The columns of `scores`, without year. With other quantiles than the default ones crps is called pinball.
    """
    issued = _issued(warehouse, as_of)
    # of the model: the latest over its series, each of which has the last session of its own calendar
    issued = issued.with_columns(pl.col("trained_through").max().over("as_of"))
    pending = _pending(issued, warehouse, as_of)
    if pending.is_empty():
        return _none()
    since, kept = _since(pending, warehouse, as_of, settings.lookback), KeptWalks(walks, warehouse)
    if warehouse.is_large():
        series = warehouse.series(as_of, since)
        is_pending = pl.col("series_id").is_in(pending["series_id"].unique().implode())
        taken = pl.when(is_pending).then(WORK * pl.col("rows")).otherwise(0)
        buckets = references(warehouse, as_of, warehouse.versions(), series.with_columns(rows=taken))
        if len(buckets) > 1:
            through = dict(pending.select("as_of", "trained_through").unique().iter_rows())
            fitted = {day: kept.fitted(day, settings).for_panels() for day in sorted(set(through.values()))}
            asked = Asked(as_of, settings, since, through, fitted)
            parts = [part for part in each_bucket(_of_bucket, asked, buckets, settings) if not part.is_empty()]
            return pl.concat(parts).sort(FORECAST_KEY) if parts else _none()
    return _scores(pending, warehouse, as_of, settings, since, lambda day: kept.fitted(day, settings))


@dataclass(frozen=True)
class Asked:
    """What a bucket is told, because its own series do not show it.

    Attributes
    ----------
    as_of : date
    settings : Settings
    since : date
        First session whose prices are read.
    through : dict of date to date
        By the `as_of` of a forecast, the session through which its model was trained.
    walks : dict of date to RandomWalk
        Fitted on all series, by that session.
    """

    as_of: date
    settings: Settings
    since: date
    through: dict[date, date]
    walks: dict[date, RandomWalk]


def _of_bucket(asked: Asked, warehouse: Warehouse) -> pl.DataFrame:
    """The scores of a bucket."""
    issued = _issued(warehouse, asked.as_of).filter(pl.col("as_of").is_in(list(asked.through)))
    issued = issued.with_columns(trained_through=pl.col("as_of").replace_strict(asked.through, return_dtype=pl.Date))
    pending = _pending(issued, warehouse, asked.as_of)
    if pending.is_empty():
        return _none()
    return _scores(pending, warehouse, asked.as_of, asked.settings, asked.since, asked.walks.__getitem__)


def _scores(
    pending: pl.DataFrame, warehouse: Warehouse, as_of: date, settings: Settings, since: date,
    walk_of: Callable[[date], RandomWalk],
) -> pl.DataFrame:  # fmt: skip
    """Scores of these forecasts, measured by the prices from `since` on."""
    known = warehouse.point_in_time_since(since, as_of)
    prices = known.panel(as_of).join(pending, on="series_id", how="semi")
    groups = [(_with_truth(rows, panel, settings), panel) for rows, panel in _groups(pending, known, prices, as_of)]
    if all(rows.is_empty() for rows, _ in groups):
        return _none()
    of_walks = _random_walks(pl.concat(rows for rows, _ in groups), known, walk_of)
    # a series without a row for a session has the same origin on the next; such forecasts are measured one by one
    turn = pl.int_range(pl.len()).over(ROW).alias("turn")
    turns = ((rows, panel) for group, panel in groups for rows in group.with_columns(turn).partition_by("turn"))
    return pl.concat(_losses(rows, of_walks, panel, settings) for rows, panel in turns).sort(FORECAST_KEY)


def _none() -> pl.DataFrame:
    return pl.DataFrame(schema={name: kind for name, kind in SCORES.items() if name != "year"})


def _issued(warehouse: Warehouse, as_of: date) -> pl.DataFrame:
    """The published forecasts of sessions after their own `as_of`."""
    return warehouse.forecasts().filter(pl.col("as_of") <= as_of, pl.col("time") > pl.col("as_of"))


def _pending(issued: pl.DataFrame, warehouse: Warehouse, as_of: date) -> pl.DataFrame:
    """Those that have come true, and have no score or an outdated one."""
    issued = issued.filter(pl.col("time") <= as_of)
    scored = issued.join(scores := warehouse.scores(), on=FORECAST_KEY, how="semi")
    pending = pl.concat([issued.join(scores, on=FORECAST_KEY, how="anti"), _outdated_scores(scored, warehouse, as_of)])
    return _come_true(pending, warehouse, as_of)


def _come_true(pending: pl.DataFrame, warehouse: Warehouse, as_of: date) -> pl.DataFrame:
    """The forecasts whose session has a price by `as_of`."""
    if pending.is_empty():
        return pending
    first: date = pending["time"].min()  # type: ignore[assignment]  # days, and not empty
    priced = warehouse.point_in_time_since(first, as_of).quotes(as_of)
    return pending.join(priced, on=["series_id", "time"], how="semi")


def _since(pending: pl.DataFrame, warehouse: Warehouse, as_of: date, lookback: int) -> date:
    """The session from which on prices are read to measure these forecasts.

    Each series then has enough rows up to the oldest origin that older ones change nothing, to rounding.
    """
    needed = EWMA_ROWS + max(PEG_WINDOW, lookback)
    first: date = pending["origin"].min()  # type: ignore[assignment]  # days, and not empty
    days = int(needed * DAYS_A_ROW)
    while True:
        since = max(date.min + timedelta(days=days), first) - timedelta(days=days)
        enough = warehouse.series(as_of, since, first).filter(pl.col("rows") >= needed)
        short = pending.select("series_id").unique().join(enough, on="series_id", how="anti")["series_id"]
        if short.is_empty() or not warehouse.has_older(since, short):
            return since
        days *= 2


def _outdated_scores(scored: pl.DataFrame, warehouse: Warehouse, as_of: date) -> pl.DataFrame:
    """Scores made before an action between the forecast's origin and its session became known.

    They measured by a price in other units. Nothing else changes a score. A run that makes up for an earlier session
    changes none, because it knows less than a later one did.
    """
    runs = warehouse.runs()
    if runs.filter(pl.col("as_of") > as_of).height:
        return scored.clear()
    before = runs.filter(pl.col("as_of") < as_of, pl.col("status") == "done")["as_of"].max()
    since = before if isinstance(before, date) else date.min
    late = warehouse.late_actions(since, as_of).select("series_id", "known_at", ex_date="time")
    late = pl.concat([late, _shown_before_reported(warehouse, since, as_of)])
    between = scored.select(*FORECAST_KEY, "origin", "time").join(late, on="series_id")
    between = between.filter(
        pl.col("ex_date") > pl.col("origin"), pl.col("ex_date") <= pl.col("time"), pl.col("known_at") > pl.col("time")
    )
    return scored.join(between, on=FORECAST_KEY, how="semi")


def _shown_before_reported(warehouse: Warehouse, since: date, as_of: date) -> pl.DataFrame:
    """series_id, known_at, ex_date: rows whose price showed a split of a later day, reported after `since`."""
    splits = warehouse.actions_known_since(since, as_of).filter(pl.col("split_ratio") != 1)
    reported = splits.group_by("series_id").agg(pl.col("known_at").max(), first=pl.col("time").min())
    if reported.is_empty():
        return reported.select("series_id", "known_at", ex_date="first")
    back = timedelta(days=int((REACH + BEFORE) * DAYS_A_ROW))
    first: date = reported["first"].min()  # type: ignore[assignment]  # days, and not empty
    known = warehouse.point_in_time_since(max(date.min + back, first) - back, as_of)
    shown = known.shown_at(as_of).join(known.actions_at(as_of), on=["series_id", "time"], how="anti")
    return shown.join(reported, on="series_id").select("series_id", "known_at", ex_date="time")


def _groups(
    pending: pl.DataFrame, known: PointInTime, prices: pl.DataFrame, as_of: date
) -> list[tuple[pl.DataFrame, pl.DataFrame]]:
    """The forecasts in groups, each with the prices to measure it by.

    These are `prices`, as known now. Where rows up to the origin changed since the forecast's `as_of`, they are the
    rows known then up to the origin, and the rows known now after it.
    """
    factors = action_factors(quotes := known.quotes(as_of), known.shown_at(as_of))
    basis = quotes.select("series_id", origin="time", factor=factors["price_factor"])
    changed = _changed_since(pending, known, basis, as_of)
    key = ["as_of", "series_id"]
    groups = [(pending.join(changed, on=key, how="anti"), prices)]
    columns = ["series_id", "time", "close"]
    for rows in pending.join(changed, on=key, how="semi").partition_by("as_of"):
        origins = rows.select("series_id", "origin").unique().join(basis, on=["series_id", "origin"], how="left")
        then = known.panel(rows["as_of"][0]).select(columns).join(origins, on="series_id")
        now = prices.select(columns).join(origins, on="series_id")
        now = now.with_columns(pl.col("close") / pl.col("factor").fill_null(1.0))
        past, future = then.filter(pl.col("time") <= pl.col("origin")), now.filter(pl.col("time") > pl.col("origin"))
        groups.append((rows, pl.concat([past.select(columns), future.select(columns)]).sort("series_id", "time")))
    return groups


def _changed_since(pending: pl.DataFrame, known: PointInTime, basis: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """Forecasts, by as_of and series_id, whose rows up to the origin were corrected, added or put on another basis.

    A split may be reported before a price shows it; then the factor in `basis` differs from 1 at the origin.
    """
    origins = pending.select("as_of", "series_id", "origin").unique()
    known_later = pl.col("known_at") > pl.col("as_of")
    corrected = (
        known.prices.filter(pl.col("known_at") > pl.col("time"))
        .select("series_id", "known_at", at="time")
        .join(origins, on="series_id")
        .filter(pl.col("at") <= pl.col("origin"), known_later)
    )
    acted = (
        known.actions.filter(pl.col("time") <= as_of, pl.col("known_at") <= as_of)
        .select("series_id", "known_at", at="time")
        .join(origins, on="series_id")
        .filter((pl.col("at") > pl.col("origin")) | known_later)
    )
    rebased = origins.join(basis.filter(pl.col("factor") != 1), on=["series_id", "origin"], how="semi")
    return pl.concat([frame.select("as_of", "series_id") for frame in (corrected, acted, rebased)]).unique()


def _with_truth(rows: pl.DataFrame, panel: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """The forecasts of series that are not pegged at the origin, with the price that came true."""
    truths = panel.select("series_id", "time", truth="close")
    measurable = rows.join(_pegged(panel, settings), on=ROW[:2], how="anti")
    return measurable.join(truths, on=["series_id", "time"])


def _pegged(prices: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """Series and sessions without a volatility to measure a loss by."""
    rows = with_volatility(mark_long_periods(prices, settings.calendar), positive=settings.positive)
    return rows.filter("pegged").select("series_id", origin="time")


def _random_walks(pending: pl.DataFrame, known: PointInTime, walk_of: Callable[[date], RandomWalk]) -> pl.DataFrame:
    """The random walk's forecasts in place of these, with their `as_of`."""
    tables = []
    for (as_of, through), rows in pending.group_by("as_of", "trained_through", maintain_order=True):
        assert isinstance(as_of, date)
        assert isinstance(through, date)
        panel = known.panel(as_of).join(rows, on="series_id", how="semi")
        forecasts = walk_of(through).predict(panel)
        tables.append(forecasts.with_columns(pl.lit(as_of).alias("as_of")))
    return pl.concat(tables).cast({"step": pl.Int64})


def _losses(issued: pl.DataFrame, walks: pl.DataFrame, prices: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """Scores of forecasts that are unique in series_id, origin and step; null where the random walk has no forecast."""
    walks = walks.join(issued, on=["as_of", *ROW, "time"], how="semi")
    table = [*ROW, "time", "forecast", *quantile_columns(issued)]
    both = pl.concat(
        rows.select(pl.lit(name).alias("model"), *table) for name, rows in ((ISSUED, issued), (RANDOM_WALK, walks))
    )
    scored = scored_rows(both, prices, "close", settings.positive)
    loss = scored.loss
    losses = scored.rows.select("model", *ROW, loss, "ae", "covered", "scale")
    of_issued = losses.filter(model=ISSUED).drop("model")
    of_random_walk = losses.filter(model=RANDOM_WALK).select(*ROW, pl.col(loss, "ae").name.suffix("_random_walk"))
    return (
        issued.join(of_issued, on=ROW)
        .join(of_random_walk, on=ROW, how="left")
        .select(name.replace("crps", loss) for name in SCORES if name != "year")
    )
