"""Losses of forecasts, row by row; a large table is scored a piece at a time."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any

import polars as pl

from tidecast.features.calendars.infer import infer_panel
from tidecast.features.calendars.per_series import PanelCalendar, mark_long_periods
from tidecast.features.error_text import counted, shorten
from tidecast.features.frames import Frame, to_polars
from tidecast.features.panel import PanelSchema, check_panel
from tidecast.features.segments import breaks
from tidecast.features.stray_rows import settle
from tidecast.features.volatility import with_volatility
from tidecast.forecasting.tables.check import check_order, quantiles_by_level
from tidecast.forecasting.tables.quantiles import DEFAULT_QUANTILES, MEDIAN, levels_in, quantile_columns
from tidecast.forecasting.tables.types import KEYS, typed_forecasts

PIECE = 1 << 17
"""Rows of a forecast table that are scored at a time, about."""


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
    scorer = Scorer(panel, target, positive)
    rows = pl.concat(scorer.pieces(to_polars(forecasts)))
    return ScoredRows(rows, scorer.prices, scorer.loss, scorer.pegged)


class Scorer:
    """Scores forecast tables of one panel, one after the other.

    Parameters
    ----------
    panel, target, positive
        As for `evaluate`.

    Attributes
    ----------
    prices : polars.DataFrame
        As `ScoredRows` has them, from the first table on. That table shows whether a forecaster moved rows to other
        sessions.
    loss : str
        Name of the distribution's loss in the newest table.
    models : set of str
        Models of the newest table that have a forecast whose truth is known.
    """

    def __init__(self, panel: Frame, target: str, positive: bool) -> None:
        prices = check_panel(panel, PanelSchema(positive=positive), target)
        named = [name for name in ("calendar",) if name in prices.columns]
        # other columns, and other names of the target, could clash with those added below
        self.prices = prices.select("series_id", "time", pl.col(target).alias("close"), *named)
        self.positive, self.loss = positive, ""
        self.models: set[str] = set()
        self._at_origin: pl.DataFrame | None = None
        self._naive: pl.DataFrame | None = None
        self._pegged: set[Any] = set()

    @property
    def pegged(self) -> tuple[Any, ...]:
        """Series with origins left out so far because their volatility there was zero."""
        return tuple(sorted(self._pegged))

    def pieces(self, table: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """Score a table, some origins at a time: all its quantiles at once would take several times its memory.

        Parameters
        ----------
        table : polars.DataFrame
            Forecasts. Of a series that comes again, the first table must have the first origin.

        Yields
        ------
        polars.DataFrame
            As `ScoredRows.rows`.
        """
        table = _with_model(typed_forecasts(table, self.prices))
        levels = levels_in(table.columns)
        self.loss = "crps" if levels == DEFAULT_QUANTILES else "pinball"
        keys = table.select("model", *KEYS, "time")
        # of some rows at a time, and not of the table, which polars would copy with its quantiles
        origins = pl.concat(piece.select("series_id", "origin").unique() for piece in _some_origins(keys))
        if self._at_origin is None:
            self._begin(origins)
        moving = self._moving(origins)
        naive = self._naive_errors(origins)
        truths = self.prices.select("series_id", "time", truth="close")

        def known(piece: pl.DataFrame) -> pl.DataFrame:
            rows = piece.join(moving, on=["series_id", "origin"], how="inner", maintain_order="left")
            return rows.join(truths, on=["series_id", "time"], how="inner", maintain_order="left")

        self.models = {name for piece in _some_origins(keys) for name in known(piece)["model"].unique()}
        for piece in _some_origins(table):
            rows = known(_check_rows(piece))
            rows = _with_losses(rows, levels, self.loss).drop(quantile_columns(levels)[1:-1])
            yield rows.join(naive, on="series_id", how="left", maintain_order="left")

    def _begin(self, origins: pl.DataFrame) -> None:
        self.prices = mark_long_periods(at_sessions(self.prices, origins))
        price, volatility = pl.col("close"), pl.col("volatility")
        self._at_origin = with_volatility(self.prices, positive=self.positive).select(
            "series_id", origin="time", price=price, scale=price * volatility if self.positive else volatility,
            pegged="pegged",
        )  # fmt: skip

    def _moving(self, origins: pl.DataFrame) -> pl.DataFrame:
        """Price and scale at the origins, without those of pegged series."""
        assert self._at_origin is not None
        origins = origins.join(self._at_origin, on=["series_id", "origin"], how="left")
        unknown = origins.filter(pl.col("pegged").is_null())
        if len(unknown):
            series, n_unknown = unknown["series_id"].unique().sort().to_list(), len(unknown)
            raise ValueError(
                "Every origin must have a row with a price in the panel; there is none for "
                f"{counted(n_unknown, 'origin')} of {shorten(series)}. Evaluate on the panel that was forecast from, "
                "with its history."
            )
        self._pegged |= set(origins.filter("pegged")["series_id"].unique())
        return origins.filter(~pl.col("pegged"))

    def _naive_errors(self, origins: pl.DataFrame) -> pl.DataFrame:
        """Scale of the MASE: mean absolute change of each series up to its first origin; null if it never changed."""
        first = origins.group_by("series_id").agg(first=pl.col("origin").min())
        if self._naive is not None:
            first = first.join(self._naive, on="series_id", how="anti")
        prices = self.prices.filter(pl.col("series_id").is_in(first["series_id"].implode()))
        change = pl.col("close").diff().over("series_id", breaks(prices).over("series_id")).abs()
        known = prices.with_columns(naive=change).join(first, on="series_id").filter(pl.col("time") <= pl.col("first"))
        naive = known.group_by("series_id", maintain_order=True).agg(pl.col("naive").mean())
        naive = naive.with_columns(naive=pl.when(pl.col("naive") > 0).then("naive"))
        self._naive = naive if self._naive is None else pl.concat([self._naive, naive])
        return self._naive


def _some_origins(table: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """The table in pieces of whole origins, of about `PIECE` rows each."""
    if len(table) <= PIECE:
        yield table
        return
    origins = table["origin"].unique().sort()
    each = max(1, len(origins) * PIECE // len(table))
    for begin in range(0, len(origins), each):
        some = origins[begin : begin + each]
        yield table.filter(pl.col("origin").is_between(some[0], some[-1]))


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
    return _check_rows(_with_model(typed_forecasts(table, prices)))


def _with_model(table: pl.DataFrame) -> pl.DataFrame:
    return table if "model" in table.columns else table.with_columns(model=pl.lit("forecast"))


def _check_rows(table: pl.DataFrame) -> pl.DataFrame:
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
