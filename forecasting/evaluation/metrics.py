"""Evaluation of forecasts: losses row by row, and their summary."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from tidecast.features.frames import Frame, like, to_polars
from tidecast.forecasting.evaluation.dm_test import DMTest, compare, dm_test
from tidecast.forecasting.evaluation.scored_rows import Scorer
from tidecast.forecasting.tables.facts import facts_of
from tidecast.forecasting.tables.names import RANDOM_WALK
from tidecast.forecasting.tables.types import KEYS

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
    running = RunningEvaluation(panel, target, positive)
    running.add(to_polars(forecasts))
    found = running.result()
    return Evaluation(like(found.losses, forecasts), like(found.summary, forecasts), found.pegged)


GROUPS: dict[str, list[str]] = {"pooled": [], "series": ["series_id"], "step": ["step"]}
"""Columns of each group of a summary, besides the model."""


class RunningEvaluation:
    """An evaluation of forecast tables that come one after the other, such as the folds of a backtest.

    No table is kept, and each is scored a piece at a time. All tables have the same models and levels; an origin is in
    one of them; older origins come first.

    Parameters
    ----------
    panel, target, positive
        As for `evaluate`.
    keep_losses : bool, default=True
        Whether the result has losses, or the summary alone.
    """

    def __init__(self, panel: Frame, target: str, positive: bool, keep_losses: bool = True) -> None:
        self._scorer, self._keep_losses = Scorer(panel, target, positive), keep_losses
        self._losses: list[pl.DataFrame] = []
        self._means: dict[str, list[pl.DataFrame]] = {group: [] for group in GROUPS}
        self._horizon = 0
        self._models: set[str] = set()

    def add(self, table: pl.DataFrame) -> None:
        """Score the forecasts whose truth is known.

        Parameters
        ----------
        table : polars.DataFrame

        Raises
        ------
        ValueError
            As `evaluate`.
        """
        for rows in self._scorer.pieces(table):
            loss = self._scorer.loss
            self._horizon = max(self._horizon, rows.select(pl.col("step").max()).item() or 0)
            common = common_rows(rows, len(self._scorer.models))
            for group, by in GROUPS.items():
                self._means[group].append(_means(common, by, loss))
            if self._keep_losses:
                self._losses.append(rows.select("model", *KEYS, loss, "ae", "covered", "scale"))
        self._models |= self._scorer.models

    def result(self) -> Evaluation:
        """Return the evaluation of all tables so far, in polars.

        Raises
        ------
        ValueError
            The models have no forecast in common.
        """
        means = {group: pl.concat(parts) for group, parts in self._means.items()}
        if self._models and means["pooled"].is_empty():
            raise no_common_rows(self._models)
        loss = self._scorer.loss
        losses = pl.concat(self._losses).sort("model", *KEYS) if self._losses else pl.DataFrame()
        return Evaluation(losses, _summary(means, loss, self._horizon or 1), self._scorer.pegged)


def _means(rows: pl.DataFrame, by: list[str], loss: str) -> pl.DataFrame:
    """Mean losses of each origin, by model and group."""
    rows = rows.with_columns(
        mase=pl.col("ae") * pl.col("scale") / pl.col("naive"),
        covered=pl.col("covered").cast(pl.Float64).fill_null(float("nan")),  # so that a missing value is not skipped
    )
    losses = pl.col(loss, "ae", "mase", "covered", "interval_score", "square", "direction")
    # in order, because sums of parts of a group would be added in an order that varies between runs
    return rows.group_by("model", *by, "origin", maintain_order=True).agg(losses.mean())


def _summary(means: dict[str, pl.DataFrame], loss: str, horizon: int) -> pl.DataFrame:
    """Means over origins, and skill against the random walk, pooled and by series and step."""
    tables = []
    names = {name: means[group].schema[name] for group, by in GROUPS.items() for name in by}
    for group, by in GROUPS.items():
        of_group = means[group].sort("model", *by, "origin")
        skills = _skills(of_group, ["model", *by], loss, horizon)
        if group == "series":
            skills = _adjusted(skills)
        numbers = of_group.group_by("model", *by, maintain_order=True).agg(
            n_origins=pl.len(), mae=pl.col("ae").mean(), mase=pl.col("mase").mean(), **{loss: pl.col(loss).mean()},
            coverage=pl.col("covered").mean(), interval_score=pl.col("interval_score").mean(),
            rmse=pl.col("square").mean().sqrt(), direction=pl.col("direction").mean(),
        )  # fmt: skip
        joined = numbers.join(skills, on=["model", *by], how="left", maintain_order="left")
        absent = [pl.lit(None, kind).alias(name) for name, kind in names.items() if name not in by]
        tables.append(joined.with_columns(absent).select(
            pl.lit(group).alias("group"), "model", "series_id", "step", "n_origins", "mae", "mase", loss, "coverage",
            "interval_score", *SKILLS, "rmse", "direction",
        ))  # fmt: skip
    return pl.concat(tables).with_columns(pl.selectors.float().fill_nan(None))


def common_rows(rows: pl.DataFrame, n_models: int) -> pl.DataFrame:
    """Rows that every model has, so that all numbers of a summary are of the same forecasts.

    Parameters
    ----------
    rows : polars.DataFrame
        From `scored_rows`.
    n_models : int

    Raises
    ------
    ValueError
        Models put the same step of an origin at different times.
    """
    shared = rows.group_by(KEYS).agg(models=pl.len(), sessions=pl.col("time").n_unique())
    if (shared["sessions"] > 1).any():
        raise ValueError(
            "The models must forecast the same sessions, but put the same step of an origin at different times. "
            "Fit them with the same calendar: PanelSchema(calendar=...)."
        )
    missing = shared.filter(pl.col("models") != n_models)
    return rows.join(missing, on=KEYS, how="anti", maintain_order="left") if len(missing) else rows


def no_common_rows(models: Collection[str]) -> ValueError:
    """Return the error of models that have no forecast in common.

    Parameters
    ----------
    models : collection of str
    """
    return ValueError(f"The models {sorted(models)} have no forecast in common to compare.")


def _skills(means: pl.DataFrame, by: list[str], loss: str, horizon: int) -> pl.DataFrame:
    """Skill of each group of per-origin means, sorted by group and time, against the random walk's."""
    numbers = dict.fromkeys(SKILLS, pl.Float64())
    schema = {**means.select(by).schema, **numbers}
    sizes = means.group_by(by, maintain_order=True).len().with_columns(end=pl.col("len").cum_sum())
    values = means.select(loss, "ae").to_numpy()  # once: a frame for each of thousands of series takes longer
    groups = {tuple(key): values[end - size : end] for *key, size, end in sizes.iter_rows()}
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
