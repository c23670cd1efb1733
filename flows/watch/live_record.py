"""The live track record: scores of published forecasts, with intervals and without tests."""

from __future__ import annotations

import math
from datetime import date

import numpy as np
import polars as pl
from scipy import stats

from tidecast.flows.training.decisions import carried_out
from tidecast.flows.warehouse.schema import FORECAST_KEY, quantile_columns
from tidecast.flows.watch.known import Known
from tidecast.forecasting.evaluation.dm_test import compare, dm_test
from tidecast.forecasting.evaluation.volatility_breaks import volatility_breaks
from tidecast.forecasting.tables.names import loss_in
from tidecast.forecasting.tables.quantiles import levels_in

ROLLING = 63
"""Newest days with a forecast that the rolling record counts."""

FEWEST = 10
"""Days from which an interval is shown."""

OF_READ = ("interval_score", "pit", "below", "above")
"""Numbers of the forecasts that are still read."""

WINDOWS = ("since promotion", "last 63 days", "all")
GROUPS = {"pooled": "pooled", "model": "model", "step": "step", "series": "series_id"}
"""Each kind of group, and the column that names its groups."""


def live_record(known: Known) -> pl.DataFrame:
    """Return the record of live forecasts: pooled, per model, per step and per series.

    Each day of forecasts counts once. Forecasts issued late (``live`` false) do not count.

    Parameters
    ----------
    known : Known

    Returns
    -------
    polars.DataFrame
        ``window`` ("since promotion" of the champion's recipe, "last 63 days", "all"), ``group``, ``model``, ``step``,
        ``series_id`` (null where not of that group), ``first`` and ``last`` day, ``days``, ``forecasts``; ``crps``
        (``pinball`` with other than the default levels) and ``mae`` in units of price × volatility; ``skill`` and
        ``ae_skill`` against the random walk with ``_low`` and ``_high``, their 95 % intervals; ``coverage`` with its
        interval; ``coverage_after_break`` in the 60 sessions after the volatility of a series broke, and
        ``forecasts_after_break``; ``interval_score``; ``pit``, the mean level at which truths lay (0.5 is right), and
        ``below`` and ``above``, the shares of truths outside the interval on each side. The last four are of the
        forecasts that are still read, about a year.
    """
    rows = _rows(known)
    if rows.is_empty():
        return pl.DataFrame()
    loss = loss_in(rows.columns)
    rows = rows.with_columns(pooled=pl.lit("all"))
    windows = {"since promotion": _since(rows, known), "last 63 days": _newest(rows), "all": rows}
    lines = [
        {"window": window, "group": group, **line}
        for window, of_window in windows.items()
        for group, column in GROUPS.items()
        for line in _lines(of_window, column, loss, known.horizon)
    ]
    return pl.from_dicts(lines, schema=_schema(loss))


def promoted_since(decisions: pl.DataFrame, model: str) -> date | None:
    """Return the session of the decision that put a recipe in place of another one; None without one.

    Refreshes of the same recipe do not begin a new record.

    Parameters
    ----------
    decisions : polars.DataFrame
        The table `decisions`, oldest first.
    model : str
        Name of the champion.
    """
    since: date | None = None
    for row in reversed(carried_out(decisions).select("winner", "as_of", "outcome").to_dicts()):
        if row["winner"] != model:
            break
        since = row["as_of"]
        if row["outcome"] == "promoted":  # a new recipe of the same name
            break
    return since


def _rows(known: Known) -> pl.DataFrame:
    """Live scores with PIT, interval score, and whether they come soon after a break."""
    live = known.scores.filter(pl.col("live"))
    if live.is_empty():
        return live
    names = quantile_columns(known.forecasts)
    table = known.forecasts.select(*FORECAST_KEY, "forecast", *names)
    rows = live.join(table, on=FORECAST_KEY, how="left", maintain_order="left").with_columns(*_shape(table))
    rows = rows.drop("forecast", *names)
    first: date = live["origin"].min()  # type: ignore[assignment]  # days, and not empty
    broken = volatility_breaks(known.prices_from(first), known.positive)
    broken = broken.select("series_id", "after_break", origin="time")
    return rows.join(broken, on=["series_id", "origin"], how="left", maintain_order="left")


def _shape(table: pl.DataFrame) -> list[pl.Expr]:
    """PIT, tails and interval score; null without an interval."""
    levels = levels_in(table.columns)
    names = quantile_columns(table)
    if not names or not levels[0] < 0.5 < levels[-1]:
        nothing = pl.lit(None, pl.Float64)
        return [nothing.alias(name) for name in ("pit", "below", "above", "interval_score")]
    truth, low, high = pl.col("truth"), pl.col(names[0]), pl.col(names[-1])
    ordered = sorted(["forecast", *names], key=lambda name: 0.5 if name == "forecast" else float(name[1:]))
    passed = pl.sum_horizontal((truth > pl.col(name)).cast(pl.Float64) for name in ordered)
    short = pl.max_horizontal(low - truth, pl.lit(0.0)) / levels[0]
    over = pl.max_horizontal(truth - high, pl.lit(0.0)) / (1 - levels[-1])
    known = low.is_not_null()
    return [
        pl.when(known).then((passed + 0.5) / (len(ordered) + 1)).alias("pit"),
        pl.when(known).then((truth < low).cast(pl.Float64)).alias("below"),
        pl.when(known).then((truth > high).cast(pl.Float64)).alias("above"),
        ((high - low + short + over) / pl.col("scale")).alias("interval_score"),
    ]


def _since(rows: pl.DataFrame, known: Known) -> pl.DataFrame:
    """Forecasts by the champion's recipe since it was promoted."""
    newest = known.runs.filter(pl.col("champion").is_not_null()).sort("as_of").tail(1)
    if newest.is_empty():
        return rows.clear()
    model = newest["champion"].item()
    since = promoted_since(known.decisions, model)
    return rows.filter(pl.col("model") == model, pl.col("as_of") >= (since or date.min))


def _newest(rows: pl.DataFrame) -> pl.DataFrame:
    days = rows["as_of"].unique().sort().tail(ROLLING)
    return rows.filter(pl.col("as_of") >= days[0])


def _lines(rows: pl.DataFrame, by: str, loss: str, horizon: int) -> list[dict[str, object]]:
    """The numbers of each group of a window, in the order in which the groups appear."""
    walk = (f"{loss}_random_walk", "ae_random_walk")
    covered, after = pl.col("covered").cast(pl.Float64), pl.col("after_break").fill_null(False)
    plain = rows.group_by(by, maintain_order=True).agg(
        first=pl.col("as_of").min(), last=pl.col("as_of").max(), days=pl.col("as_of").n_unique(), forecasts=pl.len(),
        mae=pl.col("ae").mean(), coverage_after_break=covered.filter(after).mean(), forecasts_after_break=after.sum(),
        **{name: pl.col(name).mean() for name in (loss, *OF_READ)},
    )  # fmt: skip
    losses = _by_day(rows.drop_nulls(list(walk)), by, [pl.col(loss, "ae", *walk).mean()])
    shares = _by_day(rows, by, [covered.mean()])
    nothing = np.zeros(0)
    lines = []
    for key, *values in plain.iter_rows():
        line = dict(zip(plain.columns[1:], values, strict=True))
        of_days = losses.get(key, dict.fromkeys((loss, "ae", *walk), nothing))
        share = shares.get(key, {"covered": nothing})["covered"]
        own, median = (compare(of_days[of], of_days[f"{of}_random_walk"], horizon) for of in (loss, "ae"))
        few = len(of_days[loss]) < FEWEST
        low, high = _interval(share, horizon)
        lines.append({
            **{name: key if name == by else None for name in ("model", "step", "series_id")},
            **line,
            "skill": own.skill, "skill_low": None if few else own.low, "skill_high": None if few else own.high,
            "ae_skill": median.skill, "ae_skill_low": None if few else median.low,
            "ae_skill_high": None if few else median.high,
            "coverage": float(share.mean()) if len(share) else None, "coverage_low": low, "coverage_high": high,
        })  # fmt: skip
    return lines


def _by_day(rows: pl.DataFrame, by: str, means: list[pl.Expr]) -> dict[object, dict[str, np.ndarray]]:
    """Of each group, the means of its days in order of time, by column; days without a value are left out."""
    days = rows.group_by(by, "as_of").agg(means).drop_nulls().sort(by, "as_of")
    numbers = {name: days[name].to_numpy() for name in days.columns[2:]}
    counts = days.group_by(by, maintain_order=True).len()
    found, start = {}, 0
    for key, count in counts.iter_rows():
        found[key] = {name: values[start : start + count] for name, values in numbers.items()}
        start += count
    return found


def _interval(shares: np.ndarray, horizon: int) -> tuple[float | None, float | None]:
    """The 95 % interval of a mean of daily shares, by their long-run variance (see `dm_test`), within 0 and 1."""
    if len(shares) < FEWEST:
        return None, None
    found = dm_test(shares, horizon)
    reach = float(stats.t.ppf(0.975, found.dof)) * found.se
    mean = float(shares.mean())
    return (max(mean - reach, 0.0), min(mean + reach, 1.0)) if math.isfinite(reach) else (None, None)


def _schema(loss: str) -> dict[str, pl.DataType]:
    text, day, number, count = pl.String(), pl.Date(), pl.Float64(), pl.Int64()
    return {
        "window": text, "group": text, "model": text, "step": count, "series_id": text, "first": day, "last": day,
        "days": count, "forecasts": count,
        **dict.fromkeys((
            loss, "mae", "skill", "skill_low", "skill_high", "ae_skill", "ae_skill_low", "ae_skill_high", "coverage",
            "coverage_low", "coverage_high", "coverage_after_break",
        ), number),
        "forecasts_after_break": count,
        **dict.fromkeys(OF_READ, number),
    }  # fmt: skip
