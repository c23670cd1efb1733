"""Evaluation of forecasts: losses row by row, and their summary."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from tidecast.features.calendars.infer import infer_panel
from tidecast.features.calendars.per_series import PanelCalendar, mark_long_periods
from tidecast.features.error_text import counted, shorten
from tidecast.features.frames import Frame, like, to_polars
from tidecast.features.panel import PanelSchema, check_panel
from tidecast.features.segments import breaks
from tidecast.features.stray_rows import settle
from tidecast.features.volatility import with_volatility
from tidecast.forecasting.evaluation.dm_test import DMTest, compare, dm_test
from tidecast.forecasting.tables.check import check_order, quantiles_by_level
from tidecast.forecasting.tables.facts import facts_of
from tidecast.forecasting.tables.names import RANDOM_WALK
from tidecast.forecasting.tables.quantiles import DEFAULT_QUANTILES, MEDIAN, levels_in, quantile_columns
from tidecast.forecasting.tables.types import KEYS, typed_forecasts

PIECE = 1 << 18
"""Rows of a forecast table that are scored at a time."""

__all__ = ["DMTest", "Evaluation", "dm_test", "evaluate"]

SKILLS = (
    "skill", "skill_se", "skill_low", "skill_high", "p", "ae_skill", "ae_skill_se", "ae_skill_low", "ae_skill_high",
)  # fmt: skip
"""Columns of a summary that compare with the random walk."""


@dataclass(frozen=True)
class Evaluation:
    """Result of `evaluate`; frames are polars or pandas, as the forecasts were.

    Attributes
    ----------
    losses : DataFrame
        A row per forecast whose truth is known: ``model``, ``series_id``, ``origin``, ``step``, ``crps`` (``pinball``
        with other than the default levels), ``ae`` (of the median), ``covered`` (the truth lies between the outermost
        levels; null without a level on either side of 0.5) and ``scale``. Losses are in units of ``scale`` = price ×
        volatility at the origin; times it, they are in price units. A forecast that is missing or not finite has a loss
        of NaN or infinity, and one that is missing or NaN covers nothing: null. A forecast whose quantiles are all null
        is a point forecast: its ``crps`` and ``covered`` are null.
    summary : DataFrame
        ``group`` ("pooled", "series", "step"), ``model``, ``series_id`` and ``step`` (null where not of that group),
        ``n_origins``, and means over origins, each origin counting once: ``mae``, ``crps`` or ``pinball``,
        ``interval_score`` and ``rmse`` in units of ``scale``, ``mase``, ``coverage``, ``direction`` (share of moves
        forecast with the right sign; null for a forecast that never moves); ``skill`` of the CRPS against
        ``random_walk`` (0.01: one per cent better), its standard error ``skill_se``, its 95 % interval ``skill_low``
        to ``skill_high`` and one-sided ``p`` (null with fewer than 120 origins; of series: adjusted for their number,
        as the interval is not); ``ae_skill``, ``ae_skill_se``, ``ae_skill_low`` and ``ae_skill_high``, the same of
        the median's absolute error. All models' numbers come from the rows that all of them forecast. ``coverage`` and
        ``interval_score`` are null without a level on either side of 0.5. A mean over a missing forecast is null.
    pegged : tuple
        Series with origins left out because their volatility there was zero.
    """

    losses: Any
    summary: Any
    pegged: tuple[Any, ...]


def evaluate(forecasts: Frame, panel: Frame, target: str | None = None, positive: bool | None = None) -> Evaluation:
    """Compute losses of forecasts whose truth is known, and their summary with skill against the random walk.

    Losses are divided by price × EWMA volatility at the origin, so that all series, and calm and turbulent times, count
    alike. CRPS is twice the mean pinball loss over the 19 default levels.

    Parameters
    ----------
    forecasts : polars or pandas DataFrame
        A forecast table, or several under each other with a column `model` (without one, the model is "forecast").
        Skill needs a model called ``random_walk``.
    panel : polars or pandas DataFrame
        Prices with the origins' rows and history, and the truths. A session without a row has no truth. A column
        `calendar` says how long a gap is a pause, else the times do.
    target : str, optional
        The column that was forecast. By default as the table's note says, see Notes, else "close".
    positive : bool, optional
        Whether prices move by log returns; then the scale is price × volatility, else the volatility of differences.
        By default as the table's note says, else True.

    Returns
    -------
    Evaluation

    Raises
    ------
    ValueError
        Columns are missing or of a wrong type, a forecast occurs twice, quantiles cross, an origin is not in the
        panel, or models disagree about the session of a step or have no forecast in common. Or `target` or `positive`
        contradict the table's note, or `positive` is missing for a table without a note that has quantiles at or below
        zero.

    Notes
    -----
    A table from `predict` or `backtest` carries a note of its target and of the schema's ``positive``. pandas keeps the
    note through most operations. In polars an operation such as ``filter`` or ``concat`` drops it: then pass `target`
    and `positive`, unless they are the defaults.

    References
    ----------
    Gneiting and Raftery (2007), Strictly proper scoring rules, JASA 102, equations 20 (CRPS) and 43 (interval score);
    doi:10.1198/016214506000001437.
    Hyndman and Koehler (2006), Another look at measures of forecast accuracy, IJF 22 (MASE: divided by the series' mean
    absolute change in sample, here up to its first origin); doi:10.1016/j.ijforecast.2006.03.001.
    Benjamini and Hochberg (1995), Controlling the false discovery rate, JRSS B 57;
    doi:10.1111/j.2517-6161.1995.tb02031.x.
    """
    target, positive = facts_of(forecasts, target, positive)
    scored = scored_rows(forecasts, panel, target, positive)
    losses = scored.rows.select("model", *KEYS, scored.loss, "ae", "covered", "scale").sort("model", *KEYS)
    return Evaluation(like(losses, forecasts), like(_summary(scored.rows, scored.loss), forecasts), scored.pegged)


@dataclass(frozen=True)
class ScoredRows:
    """Forecasts whose truth is known, with their losses.

    Attributes
    ----------
    rows : polars.DataFrame
        The forecasts' keys with ``model``, median and outermost quantiles, ``truth``, ``price`` and ``scale`` at the
        origin, and every loss in units of ``scale``.
    prices : polars.DataFrame
        ``series_id``, ``time`` and ``close``, the target, at the sessions of the forecasts.
    loss : str
        Name of the distribution's loss.
    pegged : tuple
        Series with origins left out because their volatility there was zero.
    """

    rows: pl.DataFrame
    prices: pl.DataFrame
    loss: str
    pegged: tuple[Any, ...]


def scored_rows(forecasts: Frame, panel: Frame, target: str, positive: bool) -> ScoredRows:
    """Compute the losses of every forecast whose truth is known.

    Parameters
    ----------
    forecasts, panel, target, positive
        As for `evaluate`.

    Returns
    -------
    ScoredRows
    """
    prices = check_panel(panel, PanelSchema(positive=positive), target)
    named = [name for name in ("calendar",) if name in prices.columns]
    # other columns, and other names of the target, could clash with those added below
    prices = prices.select("series_id", "time", pl.col(target).alias("close"), *named)
    table = checked_forecasts(to_polars(forecasts), prices)
    prices = mark_long_periods(at_sessions(prices, table))
    levels = levels_in(table.columns)
    loss = "crps" if levels == DEFAULT_QUANTILES else "pinball"
    rows, pegged = _with_truth(table, prices, positive, levels, loss)
    rows = rows.join(_naive_errors(table, prices), on="series_id", how="left", maintain_order="left")
    return ScoredRows(rows, prices, loss, pegged)


def checked_forecasts(table: pl.DataFrame, prices: pl.DataFrame) -> pl.DataFrame:
    """Return the forecast table in the types of a checked panel, with `model`, if it holds no row twice.

    Parameters
    ----------
    table : polars.DataFrame
        Forecasts; without `model` they are called "forecast".
    prices : polars.DataFrame
        The panel after `check_panel`.

    Returns
    -------
    polars.DataFrame

    Raises
    ------
    ValueError
        As `typed_forecasts`, for a forecast that occurs twice, and for quantiles that cross.
    """
    table = typed_forecasts(table, prices)
    if "model" not in table.columns:
        table = table.with_columns(model=pl.lit("forecast"))
    twice = table.select(pl.struct("model", *KEYS).is_duplicated().sum()).item()
    if twice:
        raise ValueError(
            "A forecast table must hold one row for each model, series_id, origin and step; "
            f"{counted(twice, 'row shares its', 'rows share theirs')}. Distinguish several models by a column 'model'."
        )
    return check_order(table, quantiles_by_level(table.columns), "A forecast table")


def at_sessions(prices: pl.DataFrame, table: pl.DataFrame) -> pl.DataFrame:
    """Return the prices at the sessions that a forecaster moved their rows to, where origins show that it moved some.

    Parameters
    ----------
    prices : polars.DataFrame
        The panel after `check_panel`.
    table : polars.DataFrame
        Forecasts after `checked_forecasts`.
    """
    origins = table.select("series_id", time="origin").unique()
    if prices.schema["time"] != pl.Date or origins.join(prices, on=["series_id", "time"], how="anti").is_empty():
        return prices
    found = infer_panel(prices)
    own = {series_id: one.found.calendar for one in found[1:] for series_id in one.series}
    return settle(prices, PanelCalendar(found[0].found.calendar, own, own, default_inferred=True))[0]


def _with_truth(
    table: pl.DataFrame, prices: pl.DataFrame, positive: bool, levels: tuple[float, ...], loss: str
) -> tuple[pl.DataFrame, tuple[Any, ...]]:
    """Forecasts whose truth is known, as `ScoredRows.rows` has them; and the pegged series.

    A piece of the table at a time: all its quantiles, joined and subtracted, would take several times its memory.
    """
    price, volatility = pl.col("close"), pl.col("volatility")
    at_origin = with_volatility(prices, positive=positive).select(
        "series_id", origin="time", price=price, scale=price * volatility if positive else volatility, pegged="pegged"
    )
    origins = table.select("series_id", "origin").unique().join(at_origin, on=["series_id", "origin"], how="left")
    unknown = origins.filter(pl.col("pegged").is_null())
    if len(unknown):
        series, n_unknown = unknown["series_id"].unique().sort().to_list(), len(unknown)
        raise ValueError(
            "Every origin must have a row with a price in the panel; there is none for "
            f"{counted(n_unknown, 'origin')} of {shorten(series)}. Evaluate on the panel that was forecast from, with "
            "its history."
        )
    pegged = tuple(origins.filter("pegged")["series_id"].unique().sort())
    moving, truths = origins.filter(~pl.col("pegged")), prices.select("series_id", "time", truth="close")
    inner = quantile_columns(levels)[1:-1]
    pieces = []
    for piece in table.iter_slices(PIECE) if len(table) else [table]:
        rows = piece.join(moving, on=["series_id", "origin"], how="inner", maintain_order="left")
        rows = rows.join(truths, on=["series_id", "time"], how="inner", maintain_order="left")
        pieces.append(_with_losses(rows, levels, loss).drop(inner))
    return pl.concat(pieces), pegged


def _with_losses(rows: pl.DataFrame, levels: tuple[float, ...], loss: str) -> pl.DataFrame:
    """Add the losses, in units of `scale`."""
    names = dict(zip([level for level in levels if level != 0.5], quantile_columns(levels), strict=True))
    names[0.5] = "forecast"
    quantiles = [pl.col(names[level]).is_null() for level in levels if level != 0.5]
    point_only = pl.col("forecast").is_not_null() & pl.all_horizontal(quantiles or [pl.lit(False)])
    rows = rows.with_columns(point_only.alias("point_only"))
    rows = rows.with_columns(pl.col(list(names.values())).cast(pl.Float64).fill_null(float("nan")))
    truth, forecast, scale = pl.col("truth"), pl.col("forecast"), pl.col("scale")

    def pinball(level: float) -> pl.Expr:
        error = truth - pl.col(names[level])
        return error * (level - (error < 0).cast(pl.Float64))

    low, high = pl.col(names[levels[0]]), pl.col(names[levels[-1]])
    below = pl.max_horizontal(low - truth, pl.lit(0.0)) / levels[0]
    above = pl.max_horizontal(truth - high, pl.lit(0.0)) / (1 - levels[-1])
    factor = 2.0 if loss == "crps" else 1.0
    total = reduce(operator.add, map(pinball, levels))  # sum_horizontal adds in an order that varies between runs
    is_interval, nan = pl.lit(levels[0] < MEDIAN < levels[-1]), pl.lit(float("nan"))
    right = (forecast > pl.col("price")) == (truth > pl.col("price"))
    moved = (forecast != pl.col("price")) & (truth != pl.col("price"))
    scored = pl.when(~pl.col("point_only"))  # a forecast without quantiles has no distribution to score
    return rows.with_columns(
        scored.then(factor * total / len(levels) / scale).alias(loss),
        ae=(truth - forecast).abs() / scale,
        covered=scored.then(
            pl.when(is_interval & low.is_not_nan() & high.is_not_nan()).then((truth >= low) & (truth <= high))
        ),
        interval_score=scored.then(pl.when(is_interval).then((high - low + below + above) / scale)),
        square=((truth - forecast) / scale) ** 2,
        direction=pl.when(forecast.is_nan()).then(nan).when(moved).then(right.cast(pl.Float64)),
    )


def _naive_errors(table: pl.DataFrame, prices: pl.DataFrame) -> pl.DataFrame:
    """Scale of the MASE: mean absolute change of each series up to its first origin; null if it never changed."""
    first = table.group_by("series_id").agg(first=pl.col("origin").min())
    change = pl.col("close").diff().over("series_id", breaks(prices).over("series_id")).abs()
    known = prices.with_columns(naive=change).join(first, on="series_id").filter(pl.col("time") <= pl.col("first"))
    naive = known.group_by("series_id").agg(pl.col("naive").mean())
    return naive.with_columns(naive=pl.when(pl.col("naive") > 0).then("naive"))


def _summary(rows: pl.DataFrame, loss: str) -> pl.DataFrame:
    """Means over origins, and skill against the random walk, pooled and by series and step."""
    common = common_rows(rows)
    horizon: int = rows.select(pl.col("step").max()).item() or 1
    tables = []
    for group, by in (("pooled", []), ("series", ["series_id"]), ("step", ["step"])):
        means = (
            common.with_columns(
                mase=pl.col("ae") * pl.col("scale") / pl.col("naive"),
                covered=pl.col("covered")
                .cast(pl.Float64)
                .fill_null(float("nan")),  # so that a missing value is not skipped
            )
            .group_by("model", *by, "origin")
            .agg(pl.col(loss, "ae", "mase", "covered", "interval_score", "square", "direction").mean())
            .sort("model", *by, "origin")
        )
        skills = _skills(means, ["model", *by], loss, horizon)
        if group == "series":
            skills = _adjusted(skills)
        numbers = means.group_by("model", *by, maintain_order=True).agg(
            n_origins=pl.len(), mae=pl.col("ae").mean(), mase=pl.col("mase").mean(), **{loss: pl.col(loss).mean()},
            coverage=pl.col("covered").mean(), interval_score=pl.col("interval_score").mean(),
            rmse=pl.col("square").mean().sqrt(), direction=pl.col("direction").mean(),
        )  # fmt: skip
        joined = numbers.join(skills, on=["model", *by], how="left", maintain_order="left")
        absent = {name: rows.schema[name] for name in ("series_id", "step") if name not in by}
        tables.append(joined.with_columns(pl.lit(None, kind).alias(name) for name, kind in absent.items()).select(
            pl.lit(group).alias("group"), "model", "series_id", "step", "n_origins", "mae", "mase", loss, "coverage",
            "interval_score", *SKILLS, "rmse", "direction",
        ))  # fmt: skip
    return pl.concat(tables).with_columns(pl.selectors.float().fill_nan(None))


def common_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows that every model has, so that all numbers of a summary are of the same forecasts.

    Parameters
    ----------
    rows : polars.DataFrame
        From `scored_rows`.
    """
    n_models = rows["model"].n_unique()
    shared = rows.group_by(KEYS).agg(models=pl.len(), sessions=pl.col("time").n_unique())
    if (shared["sessions"] > 1).any():
        raise ValueError(
            "The models must forecast the same sessions, but put the same step of an origin at different times. "
            "Fit them with the same calendar: PanelSchema(calendar=...)."
        )
    common = rows.join(shared.filter(models=n_models), on=KEYS, how="semi")
    if len(rows) and common.is_empty():
        raise ValueError(f"The models {rows['model'].unique().sort().to_list()} have no forecast in common to compare.")
    return common


def _skills(means: pl.DataFrame, by: list[str], loss: str, horizon: int) -> pl.DataFrame:
    """Skill of each group of per-origin means, sorted by time, against the random walk's."""
    numbers = dict.fromkeys(SKILLS, pl.Float64())
    schema = {**means.select(by).schema, **numbers}
    groups = {key: group.select(loss, "ae").to_numpy() for key, group in means.partition_by(by, as_dict=True).items()}
    found = []
    for key, losses in groups.items():
        reference = groups.get((RANDOM_WALK, *key[1:]))
        if reference is not None:
            distribution, median = (compare(losses[:, k], reference[:, k], horizon) for k in (0, 1))
            own = (distribution.skill, distribution.se, distribution.low, distribution.high, distribution.p)
            found.append((*key, *own, median.skill, median.se, median.low, median.high))
    return pl.DataFrame(found, schema=schema, orient="row")


def _adjusted(skills: pl.DataFrame) -> pl.DataFrame:
    """Adjust each model's p-values for the number of series (Benjamini–Hochberg)."""

    def adjust(p: pl.Series) -> pl.Series:
        adjusted = p.to_numpy().copy()
        known = np.isfinite(adjusted)
        if known.any():
            adjusted[known] = stats.false_discovery_control(adjusted[known], method="bh")
        return pl.Series(p.name, adjusted).fill_nan(None)

    return skills.with_columns(pl.col("p").map_batches(adjust, return_dtype=pl.Float64).over("model"))
