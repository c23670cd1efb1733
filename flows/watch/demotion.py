"""When a champion loses its place: a sequential test, stated in advance and valid however often one looks.

A bet on "the champion is worse" multiplies its stake by 1 + λ · x. x is the champion's mean loss over series less the
random walk's, in units of twice the usual deviation of that difference, and within −1 and 1. λ is chosen from earlier
numbers alone. If the champion is not worse, the stake does not grow on average, and reaches 100 with a probability of
at most 1 % (Ville's inequality), whenever one stops.

Half of the stake is bet on the first step, a number a day. The other half is bet on all steps together. Their forecasts
overlap, so the days are dealt to as many bets as there are steps; each sees every h-th day only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tidecast.features.error_text import counted
from tidecast.flows.watch.finding import Finding
from tidecast.flows.watch.known import Known
from tidecast.flows.watch.live_record import promoted_since
from tidecast.forecasting.tables.names import RANDOM_WALK, loss_in

LEVEL = 0.01
"""Probability that a champion as good as the random walk loses its place within a test, by the theory."""

LENGTH = 252
"""Days of forecasts in a test; then the next one begins, with a stake of 1, so that a good year is no cushion."""

FEWEST = 20
"""Days of forecasts before a champion can lose its place."""

CLIP = 2.0
"""Differences beyond this many deviations count as this."""

BOLDEST = 0.9
"""Largest λ."""

FIRST = 5
"""Numbers that show the usual deviation before one is bet on."""

PRIOR = 0.25
"""Added to the sum of squares that λ is divided by: the first bets are small."""


@dataclass(frozen=True)
class Evidence:
    """The evidence that a champion is worse than the random walk.

    Attributes
    ----------
    model : str
    since, last : date
        First and last day of forecasts that count.
    days : int
    skill : float
        Of these days; negative when the champion is worse.
    stake : float
        1 at first; `LEVEL` is crossed at 100. Its largest value so far.
    crossed : date or None
        The day of forecasts on which it crossed 100.
    """

    model: str
    since: date
    last: date
    days: int
    skill: float
    stake: float
    crossed: date | None

    @property
    def is_worse(self) -> bool:
        """Whether the champion loses its place."""
        return self.crossed is not None


def evidence_against(known: Known) -> Evidence | None:
    """Return the evidence against the champion since its recipe was promoted; None if that is the random walk.

    Parameters
    ----------
    known : Known
    """
    newest = known.runs.filter(pl.col("champion").is_not_null()).sort("as_of").tail(1)
    if newest.is_empty() or newest["champion"].item() == RANDOM_WALK:
        return None
    model = str(newest["champion"].item())
    since = promoted_since(known.decisions, model) or date.min
    rows = known.scores.filter(pl.col("live"), pl.col("model") == model, pl.col("as_of") >= since)
    if rows.is_empty():
        return None
    loss = loss_in(rows.columns)
    walk = f"{loss}_random_walk"
    losses, reference = (_by_step(rows.drop_nulls(walk), name, known.horizon) for name in (loss, walk))
    begin = (losses.height - 1) // LENGTH * LENGTH
    days = losses["as_of"][begin:]
    if len(days) < FEWEST:
        return None
    own, of_walk = (table.drop("as_of")[begin:].to_numpy() for table in (losses, reference))
    stakes = stake(own - of_walk)
    above = np.flatnonzero(stakes >= 1 / LEVEL)
    skill = 1 - float(np.nanmean(own)) / float(np.nanmean(of_walk))
    crossed = days[int(above[0])] if len(above) else None
    return Evidence(model, days[0], days[-1], len(days), skill, float(stakes.max()), crossed)


def _by_step(rows: pl.DataFrame, loss: str, horizon: int) -> pl.DataFrame:
    """Mean loss over series, a row per day and a column per step; NaN where a step has not come true."""
    table = rows.group_by("as_of", "step").agg(pl.col(loss).mean()).pivot(on="step", index="as_of", values=loss)
    missing = [str(step) for step in range(1, horizon + 1) if str(step) not in table.columns]
    table = table.with_columns(pl.lit(None, pl.Float64).alias(name) for name in missing).sort("as_of")
    return table.select("as_of", *(pl.col(str(step)).fill_null(float("nan")) for step in range(1, horizon + 1)))


def stake(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the stake as known one session after each day, of shape (n_days,).

    Parameters
    ----------
    differences : ndarray of shape (n_days, horizon)
        Loss of the champion less that of its benchmark, by day of the forecast and step, in order of time. NaN where
        it is not known yet.

    References
    ----------
    Waudby-Smith and Ramdas (2024), Estimating means of bounded random variables by betting, JRSS B 86
    (arXiv:2010.09686; the bets). Arnold, Henzi and Ziegel (2023), Sequentially valid tests for forecast calibration,
    AOAS 17 (arXiv:2109.11761; one bet per lag). Choe and Ramdas (2024), Comparing sequential forecasters, Operations
    Research 72 (arXiv:2110.00115).

    Examples
    --------
    >>> worse = 0.05 + 0.1 * np.random.default_rng(0).normal(size=(300, 5))
    >>> bool(stake(worse).max() > 100), bool(stake(-worse).max() > 2)
    (True, False)
    """
    n_days, horizon = differences.shape
    first = np.exp(np.cumsum(_log_growth(differences[:, 0])))
    together, whole = differences.mean(axis=1), np.zeros((horizon, n_days))
    growth = np.zeros(n_days)
    for turn in range(horizon):
        own = np.arange(turn, n_days, horizon)
        growth[own] = _log_growth(together[own])
        whole[turn, own] = growth[own]
    all_steps = np.exp(np.cumsum(whole, axis=1)).mean(axis=0)
    known = np.concatenate([np.ones(horizon - 1), all_steps])[:n_days]  # the last step comes true h sessions later
    stakes: NDArray[np.float64] = (first + known) / 2
    return stakes


def champion_worse(evidence: Evidence | None) -> list[Finding]:
    """Return whether the champion is worse than the random walk, as a finding.

    Parameters
    ----------
    evidence : Evidence or None
        As of `evidence_against`.
    """
    if evidence is None or evidence.crossed is None:
        return []
    return [Finding(
        "champion_worse", f"The champion ({evidence.model}) forecasts worse than the random walk.", evidence.crossed,
        reason_text(evidence), "The daily run replaces it by the random walk and trains. To search for better "
        "settings: tidecast tune",
    )]  # fmt: skip


def reason_text(evidence: Evidence) -> str:
    """Return the numbers behind a demotion, as text.

    Parameters
    ----------
    evidence : Evidence
    """
    skill = f"{100 * evidence.skill:+.1f}".replace("-", "−")
    return (
        f"skill {skill} % on {counted(evidence.days, 'day')} of live forecasts, {evidence.since} to "
        f"{evidence.last}; sequential test: stake {evidence.stake:,.0f}, replaced at {1 / LEVEL:.0f}"
    )


def demotion_row(evidence: Evidence) -> dict[str, Any]:
    """Return what a decision stores about a demotion.

    Parameters
    ----------
    evidence : Evidence
    """
    return {
        "outcome": "demoted", "candidate": evidence.model, "first_origin": evidence.since,
        "last_origin": evidence.last, "distribution_skill": evidence.skill,
        "reason": f"{evidence.model} is replaced by the random walk: {reason_text(evidence)}.",
    }  # fmt: skip


def _log_growth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of the factor that each number multiplies a stake by; 0 while little is known, and where it is NaN."""
    known = np.nan_to_num(values)
    n = np.arange(len(values))
    total, squares = (_before(known**power) for power in (1, 2))
    mean = total / np.maximum(n, 1)
    deviation = np.sqrt(np.maximum(squares / np.maximum(n, 1) - mean**2, 0.0))
    unit = CLIP * np.where(deviation > 0, deviation, np.inf)
    x = np.where(n >= FIRST, np.clip(known / unit, -1.0, 1.0), 0.0)
    count = np.maximum(n - FIRST, 0)
    drift, second = _before(x) / (count + 2), (_before(x**2) + PRIOR) / (count + 2)
    growth: NDArray[np.float64] = np.log1p(np.clip(drift / second, 0.0, BOLDEST) * x)
    return growth


def _before(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of the numbers before each one."""
    return np.concatenate([[0.0], np.cumsum(values)])[: len(values)]
