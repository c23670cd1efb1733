"""Scores: published forecasts against what came true, beside the random walk as it would have been published."""

from datetime import date, timedelta

import polars as pl

from tidecast.features.corporate_actions.adjustment import action_factors
from tidecast.features.corporate_actions.price_steps import BEFORE, REACH
from tidecast.features.panel import PanelSchema
from tidecast.features.volatility import with_volatility
from tidecast.flows.config.settings import Settings
from tidecast.flows.warehouse.point_in_time import PointInTime
from tidecast.flows.warehouse.schema import FORECAST_KEY, SCORES, quantile_columns
from tidecast.flows.warehouse.warehouse import Warehouse
from tidecast.forecasting.evaluation.metrics import evaluate
from tidecast.forecasting.forecasters.baselines import RandomWalk
from tidecast.forecasting.tables.names import loss_in

ROW = ["series_id", "origin", "step"]

DAYS_A_ROW = 1.6
"""Days read per row that is needed to see where a split is: sessions are 1.45 days apart, and some are missing."""


def score(warehouse: Warehouse, as_of: date, settings: Settings) -> pl.DataFrame:
    """Rows for `scores`: each forecast issued up to `as_of` that has come true by then and has no score yet, or one
    that was made before a split or dividend was told.

    Losses are those of `forecasting.evaluate`, in units of price × volatility at the origin, so that daily scores and
    backtests agree. The random walk stands beside each forecast as it would have been issued in its place: fitted on
    what was known at the model's `trained_through`, forecasting from what was known at the forecast's `as_of`. Where it
    was published itself, both losses are the same. A series that is pegged at the origin has no score. Scale and peg,
    too, are what was known at the forecast's `as_of`; only the truth is what is known now, so that all steps of a
    forecast are measured alike, whenever they are. After a split or a dividend the truth is what the share that was
    forecast is worth with all that came of it: two halves, or the price and the dividend.

    Parameters
    ----------
    warehouse : Warehouse
        Read only; `Warehouse.store_scores` stores the result.
    as_of : date
        The session the run stands on; nothing that became known later is read.
    settings : Settings
        Horizon, lookback, quantiles and what the prices are.

    Returns
    -------
    polars.DataFrame
        The columns of `scores`, without year. With other than the default quantiles crps is called pinball.
    """
    issued = warehouse.forecasts().filter(pl.col("as_of") <= as_of)
    # the model's own, of which each series' is the last session of its calendar
    issued = issued.with_columns(pl.col("trained_through").max().over("as_of")).filter(pl.col("time") <= as_of)
    scored = issued.join(scores := warehouse.scores(), on=FORECAST_KEY, how="semi")
    pending = pl.concat([issued.join(scores, on=FORECAST_KEY, how="anti"), _told_of_since(scored, warehouse, as_of)])
    if pending.is_empty():
        return pl.DataFrame(schema={name: kind for name, kind in SCORES.items() if name != "year"})
    known = warehouse.point_in_time(as_of)
    prices = known.panel(as_of).join(pending, on="series_id", how="semi")
    pending = pending.join(prices, on=["series_id", "time"], how="semi")
    parts = [(_with_truth(rows, panel, settings), panel) for rows, panel in _parts(pending, known, prices, as_of)]
    if all(rows.is_empty() for rows, _ in parts):
        return pl.DataFrame(schema={name: kind for name, kind in SCORES.items() if name != "year"})
    walks = _random_walks(pl.concat(rows for rows, _ in parts), known, settings)
    # a series without a row for a session has the same origin on the next: such forecasts are measured in turn
    turn = pl.int_range(pl.len()).over(ROW).alias("turn")
    turns = ((rows, panel) for part, panel in parts for rows in part.with_columns(turn).partition_by("turn"))
    return pl.concat(_losses(rows, walks, panel, settings) for rows, panel in turns).sort(FORECAST_KEY)


def _told_of_since(scored: pl.DataFrame, warehouse: Warehouse, as_of: date) -> pl.DataFrame:
    """Forecasts whose score was made before an action between their origin and their session was told.

    They were measured by a price in other units. Nothing else changes a score; nor does a run that makes up for an
    earlier session, which knows less than a later one did.
    """
    runs = warehouse.runs()
    if runs.filter(pl.col("as_of") > as_of).height:
        return scored.clear()
    before = runs.filter(pl.col("as_of") < as_of, pl.col("status") == "done")["as_of"].max()
    since = before if isinstance(before, date) else date.min
    told = warehouse.late_actions(since, as_of).select("series_id", "known_at", ex_date="time")
    told = pl.concat([told, _shown_before_told(warehouse, since, as_of)])
    between = scored.select(*FORECAST_KEY, "origin", "time").join(told, on="series_id")
    between = between.filter(
        pl.col("ex_date") > pl.col("origin"), pl.col("ex_date") <= pl.col("time"), pl.col("known_at") > pl.col("time")
    )
    return scored.join(between, on=FORECAST_KEY, how="semi")


def _shown_before_told(warehouse: Warehouse, since: date, as_of: date) -> pl.DataFrame:
    """series_id, known_at, ex_date: rows whose price showed a split that was told after `since`, of a later day."""
    splits = warehouse.actions_known_since(since, as_of).filter(pl.col("split_ratio") != 1)
    told = splits.group_by("series_id").agg(pl.col("known_at").max(), first=pl.col("time").min())
    if told.is_empty():
        return told.select("series_id", "known_at", ex_date="first")
    back = timedelta(days=int((REACH + BEFORE) * DAYS_A_ROW))
    first: date = told["first"].min()  # type: ignore[assignment]
    known = warehouse.point_in_time_since(max(date.min + back, first) - back, as_of)
    moved = known.shown_at(as_of).join(known.actions_at(as_of), on=["series_id", "time"], how="anti")
    return moved.join(told, on="series_id").select("series_id", "known_at", ex_date="time")


def _parts(
    pending: pl.DataFrame, known: PointInTime, prices: pl.DataFrame, as_of: date
) -> list[tuple[pl.DataFrame, pl.DataFrame]]:
    """The forecasts in parts, each with the prices to measure it by.

    These are `prices`, as known now; where what they say of the rows up to the origin changed since the forecast's
    `as_of`, they are what was known then up to the origin, and what is known now after it.
    """
    factors = action_factors(quotes := known.quotes(as_of), known.shown_at(as_of))
    basis = quotes.select("series_id", origin="time", factor=factors["price_factor"])
    changed = _changed_since(pending, known, basis, as_of)
    key = ["as_of", "series_id"]
    parts = [(pending.join(changed, on=key, how="anti"), prices)]
    columns = ["series_id", "time", "close"]
    for rows in pending.join(changed, on=key, how="semi").partition_by("as_of"):
        origins = rows.select("series_id", "origin").unique().join(basis, on=["series_id", "origin"], how="left")
        then = known.panel(rows["as_of"][0]).select(columns).join(origins, on="series_id")
        now = prices.select(columns).join(origins, on="series_id")
        now = now.with_columns(pl.col("close") / pl.col("factor").fill_null(1.0))
        past, future = then.filter(pl.col("time") <= pl.col("origin")), now.filter(pl.col("time") > pl.col("origin"))
        parts.append((rows, pl.concat([past.select(columns), future.select(columns)]).sort("series_id", "time")))
    return parts


def _changed_since(pending: pl.DataFrame, known: PointInTime, basis: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """Forecasts, by as_of and series_id, whose rows up to the origin were corrected, added or put on another basis.

    A split may be told before a price shows it: then the `basis` of the origin, its factor, says so.
    """
    origins = pending.select("as_of", "series_id", "origin").unique()
    told_later = pl.col("known_at") > pl.col("as_of")
    corrected = (
        known.prices.filter(pl.col("known_at") > pl.col("time"))
        .select("series_id", "known_at", at="time")
        .join(origins, on="series_id")
        .filter(pl.col("at") <= pl.col("origin"), told_later)
    )
    acted = (
        known.actions.filter(pl.col("time") <= as_of, pl.col("known_at") <= as_of)
        .select("series_id", "known_at", at="time")
        .join(origins, on="series_id")
        .filter((pl.col("at") > pl.col("origin")) | told_later)
    )
    moved = origins.join(basis.filter(pl.col("factor") != 1), on=["series_id", "origin"], how="semi")
    return pl.concat([frame.select("as_of", "series_id") for frame in (corrected, acted, moved)]).unique()


def _with_truth(rows: pl.DataFrame, panel: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """The forecasts that are not pegged at their origin, with what came true."""
    truths = panel.select("series_id", "time", truth="close")
    measurable = rows.join(_pegged(panel, settings), on=ROW[:2], how="anti")
    return measurable.join(truths, on=["series_id", "time"])


def _pegged(prices: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """Series and sessions at which there is no volatility to measure a loss by."""
    moved = with_volatility(prices, positive=settings.positive)
    return moved.filter("pegged").select("series_id", origin="time")


def _random_walks(pending: pl.DataFrame, known: PointInTime, settings: Settings) -> pl.DataFrame:
    """What the random walk would have forecast in the place of these forecasts, with their `as_of`."""
    schema = PanelSchema(positive=settings.positive, calendar=settings.calendar)
    fitted: dict[object, RandomWalk] = {}
    tables = []
    for (as_of, through), rows in pending.group_by("as_of", "trained_through", maintain_order=True):
        assert isinstance(as_of, date)
        assert isinstance(through, date)
        if through not in fitted:
            walk = RandomWalk(settings.horizon, settings.lookback, settings.quantiles, schema=schema)
            fitted[through] = walk.fit(known.panel(through))
        panel = known.panel(as_of).join(rows, on="series_id", how="semi")
        tables.append(fitted[through].predict(panel).with_columns(pl.lit(as_of).alias("as_of")))
    return pl.concat(tables).cast({"step": pl.Int64})


def _losses(issued: pl.DataFrame, walks: pl.DataFrame, prices: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """Scores of forecasts that are unique in series_id, origin and step; where the walk has none, its loss is null."""
    walks = walks.join(issued, on=["as_of", *ROW, "time"], how="semi")
    table = [*ROW, "time", "forecast", *quantile_columns(issued)]
    of_issued, of_walks = (
        evaluate(rows.select(table), prices, positive=settings.positive).losses.drop("model")
        for rows in (issued, walks)
    )
    loss = loss_in(of_issued.columns)
    beside = of_walks.select(*ROW, pl.col(loss, "ae").name.suffix("_random_walk"))
    return (
        issued.join(of_issued, on=ROW)
        .join(beside, on=ROW, how="left")
        .select(name.replace("crps", loss) for name in SCORES if name != "year")
    )
