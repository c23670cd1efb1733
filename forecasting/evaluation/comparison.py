"""One table that compares models: distribution, variance, interval, coverage in calm and in turbulence, and median."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import polars as pl
from scipy import stats

from tidecast.features.frames import Frame, like, to_polars
from tidecast.forecasting.evaluation.dm_test import Skill, compare
from tidecast.forecasting.evaluation.metrics import common_rows, no_common_rows
from tidecast.forecasting.evaluation.scored_rows import scored_rows
from tidecast.forecasting.evaluation.volatility_breaks import volatility_breaks
from tidecast.forecasting.tables.facts import facts_of
from tidecast.forecasting.tables.names import RANDOM_WALK, VOLATILITY_REGRESSION
from tidecast.forecasting.tables.quantiles import MEDIAN, levels_in, quantile_columns

FEWEST_IN_YEAR = 60
"""Origins of a series in a calendar year, a quarter of trading days; its coverage in shorter years is noise."""

FEWEST_MISSES, MOST_MISSES = 0.2, 2.0
"""Bounds of a series' misses in a year, as shares of the nominal: an interval of 90 % may cover 80 to 98 %."""

ROUNDING = 1e-9

REGIMES = ("calm", "usual", "turbulent")
"""Thirds of a series' origins by the volatility there."""


def comparison(
    forecasts: Frame,
    panel: Frame,
    target: str | None = None,
    positive: bool | None = None,
    against: str = VOLATILITY_REGRESSION,
    seconds: Mapping[str, float] | None = None,
) -> Frame:
    """Compare models that forecast the same origins, one line each.

    Parameters
    ----------
    forecasts : polars or pandas DataFrame
        As from `backtest`: a forecast table with ``model``.
    panel, target, positive
        As for `evaluate`.
    against : str, default="volatility_regression"
        A second model to compare with, besides ``random_walk``, where there is one of that name.
    seconds : mapping of str to float, optional
        CPU seconds by model, as from `timed_backtest`; null for others.

    Returns
    -------
    DataFrame
        A row per model, the best first. All numbers are means over origins, each origin counting once, of the rows
        that all models forecast.

        ``model``, ``n_origins``; ``crps`` (``pinball`` with other than the default levels) in units of price ×
        volatility; ``skill``, ``skill_low``, ``skill_high``, ``p``: CRPS skill against the random walk, its 95 %
        interval and one-sided p; ``against_skill``, ``against_low``, ``against_high``, ``against_p``: the same
        against the second model;
        ``qlike``: loss of the implied variance; ``interval_score`` of the outermost levels; ``coverage`` of their
        interval, ``coverage_calm``, ``coverage_usual``, ``coverage_turbulent`` in the thirds of each series' origins
        by volatility, ``coverage_after_break`` in the 60 sessions after the volatility rose to 1.5 times its median of
        the 60 before; ``coverage_lowest_step``, ``coverage_highest_step`` of the steps, each pooled over series;
        ``series_in_band``, the share of series that cover 80 to 98 % in a calendar year, in the worst year (of an
        interval of 90 %; of others, from a fifth to twice as many misses as nominal; null where no series has 60
        origins in a year); ``mae`` of the median, ``mae_skill``, ``mae_low``, ``mae_high`` against the random walk;
        ``cpu_seconds``.

    Raises
    ------
    ValueError
        As `evaluate`.

    References
    ----------
    Patton (2011), Volatility forecast comparison using imperfect volatility proxies, Journal of Econometrics 160
    (QLIKE: log h + r² / h, with h the variance and r the change less its median); doi:10.1016/j.jeconom.2010.03.034.
    """
    target, positive = facts_of(forecasts, target, positive)
    scored = scored_rows(forecasts, panel, target, positive)
    loss, levels = scored.loss, levels_in(to_polars(forecasts).columns)
    models = scored.rows["model"].unique()
    rows = common_rows(scored.rows, len(models))
    if len(models) and rows.is_empty():
        raise no_common_rows(models.to_list())
    rows = rows.with_columns(_qlike(levels, positive))
    regimes = _regimes(scored.prices, rows, positive)
    rows = rows.join(regimes, on=["series_id", "origin"], how="left")
    covered = pl.col("covered").cast(pl.Float64)
    means = (
        rows.group_by("model", "origin")
        .agg(
            pl.col(loss, "ae", "qlike", "interval_score").mean(),
            coverage=covered.mean(),
            **{f"coverage_{name}": covered.filter(pl.col("regime") == name).mean() for name in REGIMES},
            coverage_after_break=covered.filter("after_break").mean(),
        )
        .sort("model", "origin")
    )
    horizon = cast("int", rows["step"].max() or 1)
    lines = [_line(str(name), of_model, means, loss, against, horizon) for (name,), of_model in _by_model(means)]
    table = pl.from_dicts(lines, infer_schema_length=None)
    for apart in (_by_step(rows), _by_year(rows, levels)):
        table = table.join(apart, on="model", how="left", maintain_order="left")
    cpu = pl.col("model").replace_strict(dict(seconds or {}), default=None, return_dtype=pl.Float64)
    table = table.with_columns(cpu.alias("cpu_seconds"))
    return like(table.sort(loss, "model", nulls_last=True), forecasts)


def _line(
    name: str, of_model: pl.DataFrame, means: pl.DataFrame, loss: str, against: str, horizon: int
) -> dict[str, object]:
    """The numbers of one model."""
    walk, second = (means.filter(model=other) for other in (RANDOM_WALK, against))
    distribution = _skill(of_model, walk, loss, horizon)
    beside = _skill(of_model, second, loss, horizon)
    median = _skill(of_model, walk, "ae", horizon)
    numbers = {column: of_model[column].mean() for column in of_model.columns if column.startswith("coverage")}
    return {
        "model": name,
        "n_origins": len(of_model),
        loss: of_model[loss].mean(),
        "skill": distribution.skill, "skill_low": distribution.low, "skill_high": distribution.high,
        "p": distribution.p,
        "against_skill": beside.skill, "against_low": beside.low, "against_high": beside.high, "against_p": beside.p,
        "qlike": of_model["qlike"].mean(),
        "interval_score": of_model["interval_score"].mean(),
        **numbers,
        "mae": of_model["ae"].mean(),
        "mae_skill": median.skill, "mae_low": median.low, "mae_high": median.high,
    }  # fmt: skip


def _by_step(rows: pl.DataFrame) -> pl.DataFrame:
    """Lowest and highest coverage of a step, by model; each origin counts once."""
    covered = pl.col("covered").cast(pl.Float64).mean()
    steps = (
        rows.group_by("model", "step", "origin").agg(covered).group_by("model", "step").agg(pl.col("covered").mean())
    )
    return steps.group_by("model").agg(
        coverage_lowest_step=pl.col("covered").min(), coverage_highest_step=pl.col("covered").max()
    )


def _by_year(rows: pl.DataFrame, levels: tuple[float, ...]) -> pl.DataFrame:
    """Share of series whose coverage is within the band in the worst calendar year, by model."""
    misses = 1 - (levels[-1] - levels[0])
    low, high = 1 - MOST_MISSES * misses, 1 - FEWEST_MISSES * misses
    years = (
        rows.drop_nulls("covered")
        .group_by("model", "series_id", year=pl.col("origin").dt.year())
        .agg(pl.col("covered").cast(pl.Float64).mean(), origins=pl.col("origin").n_unique())
        .filter(pl.col("origins") >= FEWEST_IN_YEAR)
    )
    within = pl.col("covered").is_between(low - ROUNDING, high + ROUNDING).mean()
    shares = years.group_by("model", "year").agg(series_in_band=within)
    return shares.group_by("model").agg(pl.col("series_in_band").min())


def _skill(of_model: pl.DataFrame, reference: pl.DataFrame, loss: str, horizon: int) -> Skill:
    if reference.is_empty() or of_model[loss].null_count() or reference[loss].null_count():
        return Skill(None)
    return compare(of_model[loss].to_numpy(), reference[loss].to_numpy(), horizon)


def _by_model(means: pl.DataFrame) -> list[tuple[tuple[object, ...], pl.DataFrame]]:
    return list(means.group_by("model", maintain_order=True))


def _qlike(levels: tuple[float, ...], positive: bool) -> pl.Expr:
    """Loss of the variance implied by the outermost levels, in units of the volatility at the origin · √step."""
    if not levels[0] < MEDIAN < levels[-1]:
        return pl.lit(None, pl.Float64).alias("qlike")
    names = quantile_columns(levels)
    low, high, truth, price = pl.col(names[0]), pl.col(names[-1]), pl.col("truth"), pl.col("price")
    median = pl.col("forecast")
    unit = pl.col("scale") * pl.col("step").sqrt()
    width, error = high - low, truth - median
    if positive:
        unit, width, error = unit / price, (high / low).log(), (truth / median).log()
    spread = float(stats.norm.ppf(levels[-1]) - stats.norm.ppf(levels[0]))
    deviation = width / spread
    return (2 * (deviation / unit).log() + (error / deviation) ** 2).alias("qlike")


def _regimes(prices: pl.DataFrame, rows: pl.DataFrame, positive: bool) -> pl.DataFrame:
    """Each origin's third by volatility, ``regime``, and whether it comes soon ``after_break``."""
    broken = volatility_breaks(prices, positive).rename({"time": "origin"})
    origins = rows.select("series_id", "origin").unique().join(broken, on=["series_id", "origin"], how="left")
    share = (pl.col("volatility").rank("ordinal") - 1) / pl.len()
    third = (len(REGIMES) * share).floor().cast(pl.Int32).over("series_id")
    return origins.sort("series_id", "origin").select(
        "series_id", "origin", "after_break",
        regime=third.replace_strict(dict(enumerate(REGIMES)), return_dtype=pl.String),
    )  # fmt: skip
