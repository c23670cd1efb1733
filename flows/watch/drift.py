"""Drift of inputs: whether the features of the newest quarter are distributed as in the training rows."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from tidecast.features.transformers.price_features import PriceFeatures
from tidecast.flows.watch.finding import Finding
from tidecast.flows.watch.known import Known

Array = NDArray[np.float64]

CURRENT = 63
"""Sessions whose values are compared with those before."""

REFERENCE = 1260
"""Newest sessions of the training rows that they are compared with."""

BLOCKS = 8
"""Fewest quarters of the reference that show which distance is usual."""

MARGIN = 2.0
"""A distance must exceed the largest one of the reference's own quarters by this factor."""

MOST = 20_000
"""Values of a feature that are compared; more are thinned evenly."""


def feature_drift(known: Known) -> pl.DataFrame:
    """Return how far each feature's newest quarter is from the training rows.

    Features are those of `PriceFeatures`, and each covariate of the panel. Values are standardised by the mean and
    deviation of the reference. A distance of 0.5 says that values moved by half a deviation on average. The usual
    distance is that of each quarter of the reference to the rest of it.

    Parameters
    ----------
    known : Known

    Returns
    -------
    polars.DataFrame
        feature, distance, usual (the median over the quarters of the reference), largest (the maximum), quarters,
        mean (shift of the mean, in deviations), deviation (ratio of deviations), drifted. Empty with too little
        history.

    References
    ----------
    Kantorovich (1942); Ramdas, García Trillos and Cuturi (2017), On Wasserstein two-sample testing and related
    families of nonparametric tests, Entropy 19 (the distance of order 1, `scipy.stats.wasserstein_distance`);
    doi:10.3390/e19020047.
    """
    days = known.sessions
    through = known.runs["trained_through"].drop_nulls().max()
    current = days.tail(CURRENT)
    trained = days.filter(days < current[0])
    if isinstance(through, date):
        trained = trained.filter(trained <= through)
    reference = trained.tail(REFERENCE)
    n_blocks = len(reference) // CURRENT
    if n_blocks < BLOCKS:
        return pl.DataFrame(schema=_SCHEMA)
    rows = _features(known, reference[0], PriceFeatures(positive=known.positive))
    block = pl.DataFrame({"time": reference.tail(n_blocks * CURRENT)}).with_row_index("row")
    block = block.select("time", block=(pl.col("row") // CURRENT).cast(pl.Int64))
    now = pl.DataFrame({"time": current, "block": n_blocks}, schema={"time": pl.Date, "block": pl.Int64})
    rows = rows.join(pl.concat([block, now]), on="time").drop("series_id", "time")
    blocks = rows["block"].to_numpy()
    lines = [
        _line(name, rows[name].cast(pl.Float64).to_numpy(), blocks, n_blocks)
        for name in rows.columns
        if name != "block"
    ]
    return pl.from_dicts([line for line in lines if line], schema=_SCHEMA)


_SCHEMA = {
    "feature": pl.String, "distance": pl.Float64, "usual": pl.Float64, "largest": pl.Float64, "quarters": pl.Int64,
    "mean": pl.Float64, "deviation": pl.Float64, "drifted": pl.Boolean,
}  # fmt: skip


def drift(known: Known, table: pl.DataFrame | None = None) -> list[Finding]:
    """Return the features that are further from the training rows than any quarter of these was.

    Parameters
    ----------
    known : Known
    table : polars.DataFrame, optional
        As of `feature_drift`, if computed before.
    """
    table = feature_drift(known) if table is None else table
    drifted = table.filter("drifted").sort("distance", descending=True)
    if drifted.is_empty():
        return []
    worst = drifted.row(0, named=True)
    names = ", ".join(drifted["feature"])
    return [Finding(
        "drift", f"The inputs of the last {CURRENT} sessions are not those of the training rows: {names}.",
        known.sessions.tail(CURRENT)[0],
        f"{worst['feature']}: Wasserstein distance {worst['distance']:.2f} deviations; its {worst['quarters']} "
        f"quarters before differ by {worst['largest']:.2f} at most",
        "Look for a change in the source (units, adjusted prices, a new feed). If the market changed: tidecast train",
    )]  # fmt: skip


def _features(known: Known, first: date, features: PriceFeatures) -> pl.DataFrame:
    """Features of rows from a day on, with the history that they need."""
    days = known.sessions
    history = days.filter(days < first).tail(features.min_history)
    begin = history[0] if len(history) else first
    panel = known.some_series.filter(pl.col("time") >= begin)
    made = features.fit_transform(panel.select("series_id", "time", "close"))
    more = [name for name, kind in panel.schema.items() if kind.is_numeric() and name not in _PRICES]
    if more:
        made = made.join(panel.select("series_id", "time", *more), on=["series_id", "time"])
    return made.filter(pl.col("time") >= first).drop("close")


_PRICES = ("close", "open", "high", "low", "volume")


def _line(name: str, values: Array, blocks: Array, now: int) -> dict[str, object] | None:
    """The numbers of one feature, `now` being the newest block; None where it has no values or never changes."""
    there = np.isfinite(values)
    quarters = [_thinned(values[there & (blocks == block)], MOST // now) for block in range(now)]
    quarters = [quarter for quarter in quarters if len(quarter)]
    newest = _thinned(values[there & (blocks == now)], MOST)
    if len(quarters) < BLOCKS or not len(newest):
        return None
    reference = np.concatenate(quarters)
    mean, deviation = float(reference.mean()), float(reference.std())
    if deviation <= 0:
        return None
    own = [
        wasserstein_distance(quarter, np.concatenate(quarters[:place] + quarters[place + 1 :])) / deviation
        for place, quarter in enumerate(quarters)
    ]
    distance = wasserstein_distance(newest, reference) / deviation
    return {
        "feature": name, "distance": distance, "usual": float(np.median(own)), "largest": max(own),
        "quarters": len(quarters), "mean": float(newest.mean() - mean) / deviation,
        "deviation": float(newest.std()) / deviation, "drifted": distance > MARGIN * max(own),
    }  # fmt: skip


def _thinned(values: Array, most: int) -> Array:
    """About `most` of the values, evenly."""
    return values[:: max(1, len(values) // max(most, 1))]
