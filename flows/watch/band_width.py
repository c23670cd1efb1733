"""Why a band is wide today: its width against its own usual one, split into volatility, network and calibration.

The width of the outermost interval is volatility · √step · (width of the calibrated base quantiles) · (what the network
does to it). Its logarithm is therefore a sum of three parts. The base quantiles are those of the random walk that is
fit on the same rows and calibrated alike; what remains is the network's.
"""

from __future__ import annotations

from datetime import date

import polars as pl

from tidecast.features.panel import PanelSchema
from tidecast.features.volatility import with_volatility
from tidecast.flows.config.settings import Settings
from tidecast.flows.watch.known import Known
from tidecast.forecasting.forecasters.baselines import RandomWalk
from tidecast.forecasting.tables.names import RANDOM_WALK
from tidecast.forecasting.tables.quantiles import levels_in, quantile_columns

USUAL = 60
"""Days of forecasts whose median width is the usual one."""

FEWEST = 20
"""Days of forecasts before a usual width is known."""

PARTS = ("volatility", "network", "calibration")


def band_widths(known: Known, settings: Settings) -> pl.DataFrame:
    """Return today's width of each series against its usual width, and the three parts of the difference.

    The usual width is the median of the last 60 days, today's included. A width is the mean over the steps of the
    step's width ÷ √step. The parts are differences of logarithms between today and the day with the median width, so
    they add up to the whole.

    Parameters
    ----------
    known : Known
    settings : Settings
        Lookback and quantiles of the random walk.

    Returns
    -------
    polars.DataFrame
        A row per series forecast today: ``width``, as a share of the price (in price units where prices need not be
        positive); ``of_random_walk``, its multiple of the random walk's; ``move``, the distance of the median from the
        last price in units of volatility · √step; ``usual_day`` and ``days`` counted; ``ratio`` to the usual width;
        ``volatility``, ``network``, ``calibration``, logarithms that add up to that of ``ratio``. The last six are
        null with fewer than 20 days. Sorted by the size of the change. Empty without intervals.
    """
    widths = _widths(known)
    if widths.is_empty():
        return pl.DataFrame(schema=_SCHEMA)
    today = widths.filter(pl.col("as_of") == known.as_of)
    counted = widths.join(today.select("series_id"), on="series_id", how="semi").sort("series_id", "as_of")
    newest = counted.group_by("series_id", maintain_order=True).tail(USUAL)
    ranked = newest.sort("series_id", "width", "as_of").with_columns(
        n=pl.len().over("series_id"), rank=pl.int_range(pl.len()).over("series_id")
    )
    usual = ranked.filter(pl.col("rank") == (pl.col("n") - 1) // 2, pl.col("n") >= FEWEST)
    fits = pl.concat([rows.select("model", "trained_through") for rows in (today, usual)]).unique()
    bases = _bases(known, settings, fits)
    now, then = (_with_base(rows, bases) for rows in (today, usual))
    both = now.join(then, on="series_id", how="left", suffix="_usual")
    split = both.select(
        "series_id", "width", "move", of_random_walk=pl.col("shape") / pl.col("base"),
        usual_day="as_of_usual", days="n", ratio=pl.col("width") / pl.col("width_usual"),
        volatility=_change("volatility"), network=_change("shape") - _change("base"), calibration=_change("base"),
    )  # fmt: skip
    order = pl.col("ratio").log().abs()
    return split.select(list(_SCHEMA)).sort(order, "series_id", descending=[True, False], nulls_last=True)


def _change(name: str) -> pl.Expr:
    """How much larger a column is than on the usual day, as a logarithm."""
    return pl.col(name).log() - pl.col(f"{name}_usual").log()


def _with_base(rows: pl.DataFrame, bases: pl.DataFrame) -> pl.DataFrame:
    rows = rows.join(bases, on=["model", "trained_through"], how="left")
    return rows.with_columns(pl.col("base").fill_null(pl.col("shape")))


_SCHEMA = {
    "series_id": pl.String(), "width": pl.Float64(), "of_random_walk": pl.Float64(), "move": pl.Float64(),
    "usual_day": pl.Date(), "days": pl.Int64(), "ratio": pl.Float64(), **dict.fromkeys(PARTS, pl.Float64()),
}  # fmt: skip


def _widths(known: Known) -> pl.DataFrame:
    """Per day and series: width, volatility, shape (width without the volatility), the median's move, and the model."""
    levels = levels_in(known.forecasts.columns)
    if known.forecasts.is_empty() or not levels[0] < 0.5 < levels[-1]:
        return pl.DataFrame()
    names = quantile_columns(levels)
    low, high, root = pl.col(names[0]), pl.col(names[-1]), pl.col("step").sqrt()
    width = (high / low).log() if known.positive else high - low
    rows = known.forecasts.filter(pl.col("as_of") > _first_day(known))
    if rows.is_empty():
        return pl.DataFrame()
    first: date = rows["origin"].min()  # type: ignore[assignment]  # days, and not empty
    here = with_volatility(known.prices_from(first), positive=known.positive)
    here = here.select("series_id", "volatility", origin="time", price="close").filter(pl.col("volatility") > 0)
    move = (pl.col("forecast") / pl.col("price")).log() if known.positive else pl.col("forecast") - pl.col("price")
    return (
        rows.join(here, on=["series_id", "origin"])
        .group_by("as_of", "series_id", maintain_order=True)
        .agg(
            pl.col("model", "volatility").first(), trained_through=pl.col("trained_through").max(),
            shape=(width / root / pl.col("volatility")).mean(),
            move=(move.abs() / root / pl.col("volatility")).mean(),
        )
        .with_columns(width=pl.col("shape") * pl.col("volatility"))
        .filter(pl.col("width") > 0)
        .with_columns(pl.col("trained_through").max().over("as_of"))
    )  # fmt: skip


def _first_day(known: Known) -> date:
    """Forecasts up to this day do not count."""
    days = known.forecasts["as_of"].unique().sort()
    return days[-USUAL - 1] if len(days) > USUAL else date.min


def _bases(known: Known, settings: Settings, fits: pl.DataFrame) -> pl.DataFrame:
    """Width of the calibrated base quantiles of each fit, in units of volatility · √step, as a mean over the steps.

    The random walk's own shape is its base.
    """
    schema = PanelSchema(positive=known.positive, calendar=settings.calendar)
    names = quantile_columns(settings.quantiles)
    lines = []
    for model, through in fits.filter(pl.col("model") != RANDOM_WALK).sort("model", "trained_through").iter_rows():
        walk = RandomWalk(settings.horizon, settings.lookback, settings.quantiles, schema=schema)
        panel = known.some_series.filter(pl.col("time") <= through)
        table = walk.fit(panel).predict()
        here = with_volatility(panel, positive=known.positive)
        here = here.select("series_id", "volatility", origin="time").filter(pl.col("volatility") > 0)
        low, high = pl.col(names[0]), pl.col(names[-1])
        width = (high / low).log() if known.positive else high - low
        one = table.join(here, on=["series_id", "origin"])
        base = one.select((width / pl.col("step").sqrt() / pl.col("volatility")).mean()).item()
        lines.append((model, through, base))
    schema_of = {"model": pl.String, "trained_through": pl.Date, "base": pl.Float64}
    return pl.DataFrame(lines, schema=schema_of, orient="row")
