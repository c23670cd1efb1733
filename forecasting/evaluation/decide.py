"""The gate: may this recipe be published instead of the champion's?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import polars as pl

from tidecast.features.error_text import counted, shorten
from tidecast.features.frames import Frame, to_polars
from tidecast.forecasting.evaluation.decision import Check, Decision, p_value, percent, skill_text
from tidecast.forecasting.evaluation.dm_test import Skill, compare
from tidecast.forecasting.evaluation.gate_policy import GatePolicy
from tidecast.forecasting.tables.names import RANDOM_WALK, loss_in

__all__ = ["Check", "Decision", "decide"]

KEYS = ["series_id", "origin", "step"]


def decide(
    losses: Frame,
    policy: GatePolicy | None = None,
    *,
    candidate: str | None = None,
    champion: str = RANDOM_WALK,
) -> Decision:
    """Decide whether the candidate's recipe replaces the champion's; a pure function of a table of losses.

    The candidate is promoted if, on the newest origins, it forecast everything that the random walk did, its CRPS is
    significantly smaller, the MAE of its median is not worse, no tenth of the series loses much, and its CRPS is also
    significantly smaller than the champion's. The champion takes the same test against the random walk, at its own
    level. A champion that fails does not block the candidate, and the random walk replaces it if the candidate fails,
    too. With other levels the pinball loss takes the place of the CRPS.

    Parameters
    ----------
    losses : polars or pandas DataFrame
        `losses` of `evaluate`: out-of-sample losses of the recipes on the same origins.
    policy : GatePolicy, optional
        Defaults to ``GatePolicy()``.
    candidate : str, optional
        Model to test; optional if there is only one besides the random walk and the champion. If it is the champion,
        only the champion's place is tested.
    champion : str, default="random_walk"
        Model that is published now.

    Returns
    -------
    Decision

    Raises
    ------
    ValueError
        A model is not in the table, the candidate is ambiguous, or the random walk's own losses are not finite.

    References
    ----------
    `tidecast.forecasting.evaluation.dm_test` has the test.

    Examples
    --------
    >>> import polars as pl
    >>> days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 12, 31), eager=True).alias("origin")
    >>> rows = pl.DataFrame(days).with_columns(series_id=pl.lit("EUR"), step=1, crps=pl.lit(0.5), ae=pl.lit(0.7))
    >>> names = ("random_walk", "GRU")
    >>> losses = pl.concat(rows.with_columns(pl.lit(name).alias("model")) for name in names)
    >>> print(decide(losses).verdict)
    Median 0.00 % (equal to the last price).
    Distribution 0.00 %, p = 1.000.
    """
    policy = policy or GatePolicy()
    table = to_polars(losses)
    loss = _loss_column(table)
    candidate = _candidate(table["model"].unique().sort().to_list(), candidate, champion)
    origins = table.filter(pl.col("model") == RANDOM_WALK)["origin"].unique().sort().tail(policy.max_origins)
    rows = _side_by_side(table.filter(pl.col("origin") >= origins[0]), loss, candidate, champion)

    history = _history(len(origins), policy)
    champion_result = None if champion == RANDOM_WALK else _test_champion(rows, policy)
    if candidate == champion:
        assert champion_result is not None  # the random walk cannot be the candidate
        candidate_result = champion_result
    else:
        candidate_result = _test(rows, "candidate", policy.level, policy)
    checks = [history, *candidate_result.checks]
    if candidate != champion and champion_result is not None and champion_result.passed:
        checks.append(_against_champion(rows, champion, policy))
    promoted = candidate != champion and all(check.passed for check in checks)
    demoted = not promoted and history.passed and champion_result is not None and not champion_result.passed
    return Decision(
        winner=candidate if promoted else RANDOM_WALK if demoted else champion,
        promoted=promoted,
        demoted=demoted,
        candidate=candidate,
        champion=champion,
        n_origins=len(origins),
        first_origin=origins[0],
        last_origin=origins[-1],
        distribution_skill=candidate_result.distribution.skill,
        distribution_se=candidate_result.distribution.se,
        distribution_p=candidate_result.distribution.p,
        distribution_low=candidate_result.distribution.low,
        distribution_high=candidate_result.distribution.high,
        median_skill=candidate_result.median.skill,
        median_se=candidate_result.median.se,
        median_low=candidate_result.median.low,
        median_high=candidate_result.median.high,
        worst_decile=candidate_result.worst_decile,
        reason=_reason(candidate, champion, promoted, demoted, checks, champion_result),
        checks=tuple(checks),
        champion_checks=() if champion_result is None else champion_result.checks,
    )


# ---------------------------------------------------------------- the table
def _loss_column(table: pl.DataFrame) -> str:
    loss = loss_in(table.columns)
    needed = ["model", *KEYS, loss, "ae"]
    if missing := [column for column in needed if column not in table.columns]:
        raise ValueError(f"losses must have the columns {needed}, as evaluate gives them; {missing} not found.")
    return loss


def _candidate(models: list[str], candidate: str | None, champion: str) -> str:
    for name in (RANDOM_WALK, champion, candidate):
        if name is not None and name not in models:
            raise ValueError(f"losses must hold the model {name!r}, found {shorten(models)}. Backtest it as well.")
    others = [name for name in models if name not in (RANDOM_WALK, champion)]
    if candidate is None:
        if len(others) != 1:
            raise ValueError(f"One candidate is tested, found {shorten(others) or 'none'}. Name it: candidate=….")
        return others[0]
    if candidate == RANDOM_WALK:
        raise ValueError("The candidate must not be the random walk, the reference of every test.")
    return candidate


def _side_by_side(table: pl.DataFrame, loss: str, candidate: str, champion: str) -> pl.DataFrame:
    """The random walk's rows with columns for each model: its losses, and its absolute errors (``…_ae``).

    The columns are ``random_walk``, ``candidate`` if it is not the champion, and ``champion`` if it is not the random
    walk; null where a model lacks a row that the random walk has.
    """
    models = {RANDOM_WALK: RANDOM_WALK} | ({} if candidate == champion else {"candidate": candidate})
    models |= {} if champion == RANDOM_WALK else {"champion": champion}
    parts = [
        table.filter(pl.col("model") == model).select(
            *KEYS, pl.col(loss).alias(column), pl.col("ae").alias(f"{column}_ae")
        )
        for column, model in models.items()
    ]
    rows = parts[0]
    for part in parts[1:]:
        try:
            rows = rows.join(part, on=KEYS, how="left", validate="1:1")
        except pl.exceptions.ComputeError:
            raise ValueError(
                "losses must hold one row for each model, series_id, origin and step; some occur twice."
            ) from None
    if not rows.select(_finite("random_walk", "random_walk_ae").all()).item():
        raise ValueError("Losses of the random walk must be finite, some are not. It cannot serve as the reference.")
    return rows.sort("origin", "series_id", "step")  # sums of unsorted rows depend on the order of threads


def _finite(*columns: str) -> pl.Expr:
    return pl.all_horizontal(pl.col(column).is_finite().fill_null(False) for column in columns)


# ---------------------------------------------------------------- the numbers
def _skill(rows: pl.DataFrame, loss: str, reference: str) -> Skill:
    """Skill of the means per origin, over series and steps."""
    if rows.is_empty() or not rows.select(_finite(loss, reference).all()).item():
        return Skill(None)
    means = rows.group_by("origin", maintain_order=True).agg(pl.col(loss, reference).mean())
    horizon = cast(int, rows["step"].max())
    return compare(means[loss].to_numpy(), means[reference].to_numpy(), horizon)


def _worst_decile(rows: pl.DataFrame, loss: str) -> float:
    """10th percentile over series of CRPS skill against the random walk."""
    by_series = rows.sort("series_id", "origin", "step").group_by("series_id", maintain_order=True)
    means = by_series.agg(pl.col(loss, "random_walk").mean())
    skills = (1 - means[loss] / means["random_walk"]).fill_nan(0.0)
    return float(np.quantile(skills.to_numpy(), 0.1))


# ---------------------------------------------------------------- the checks
@dataclass(frozen=True)
class _Result:
    """A model against the random walk: the numbers, and the checks of them."""

    distribution: Skill
    median: Skill
    worst_decile: float | None
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)


def _test(rows: pl.DataFrame, column: str, level: float, policy: GatePolicy) -> _Result:
    """Test the model in a column of `rows`, as every published model must be tested."""
    bad = rows.select((~_finite(column, f"{column}_ae")).sum()).item()
    distribution, median = _skill(rows, column, "random_walk"), _skill(rows, f"{column}_ae", "random_walk_ae")
    worst_decile = None if bad or rows.is_empty() else _worst_decile(rows, column)
    checks = (
        Check("complete", not bad, f"{bad} of {len(rows)} forecasts are missing or not finite"),
        _distribution_check("distribution", "the random walk", distribution, level),
        _median_check(median, policy),
        _worst_decile_check(worst_decile, policy),
    )
    return _Result(distribution, median, worst_decile, checks)


def _test_champion(rows: pl.DataFrame, policy: GatePolicy) -> _Result:
    """Test the champion on the rows it forecast: a recipe may need more history than the random walk."""
    level = max(policy.level, policy.stay_level)
    return _test(rows.filter(pl.col("champion").is_not_null()), "champion", level, policy)


def _history(n_origins: int, policy: GatePolicy) -> Check:
    text = f"{counted(n_origins, 'origin')}, at least {policy.min_origins} are needed"
    return Check("history", n_origins >= policy.min_origins, text)


def _distribution_check(name: str, reference: str, skill: Skill, level: float) -> Check:
    if skill.skill is None:
        found = "not known"
    else:
        p = "too little history for a p-value" if skill.p is None else p_value(skill.p)
        found = f"{skill_text(skill.skill, skill.low, skill.high)}, {p}"
    text = f"CRPS skill against {reference} is {found}; p must be below {level:g}"
    return Check(name, skill.p is not None and skill.p < level, text)


def _against_champion(rows: pl.DataFrame, champion: str, policy: GatePolicy) -> Check:
    """Check that the candidate beats the champion on the rows that the champion forecast."""
    shared = rows.filter(pl.col("champion").is_not_null())
    return _distribution_check("champion", champion, _skill(shared, "candidate", "champion"), policy.level)


def _median_check(median: Skill, policy: GatePolicy) -> Check:
    if median.skill is None:
        return Check("median", False, "MAE of the median is not known")
    ratio = 1 - median.skill
    text = f"MAE of the median is {ratio:.4f} × the random walk's, must be at most {policy.median_limit:g}"
    return Check("median", ratio <= policy.median_limit, text)


def _worst_decile_check(worst_decile: float | None, policy: GatePolicy) -> Check:
    if worst_decile is None:
        return Check("worst decile", False, "CRPS skill by series is not known")
    limit = percent(policy.worst_decile)
    text = f"10th percentile over series of CRPS skill is {percent(worst_decile)}, must be above {limit}"
    return Check("worst decile", worst_decile > policy.worst_decile, text)


# ---------------------------------------------------------------- the reason
def _reason(
    candidate: str, champion: str, promoted: bool, demoted: bool, checks: list[Check], champion_result: _Result | None
) -> str:
    failed_again = champion_result is not None and not champion_result.passed
    fell = ""
    if champion_result is not None and failed_again:
        fell = f" {_capital(champion)} no longer beats the random walk: {_failed(champion_result.checks)}."
    if promoted:
        beaten = "the random walk" if failed_again or champion_result is None else f"the random walk and {champion}"
        return (
            f"{_capital(candidate)} is published: its distribution is better than that of {beaten}, and its median "
            f"does no harm.{fell}"
        )
    if candidate == champion and champion_result is not None and not demoted:
        return f"{_capital(champion)} was tested again and stays: {champion_result.checks[1].text}."
    failed = "" if candidate == champion else f" {_capital(candidate)} failed: {_failed(checks)}."
    if demoted:
        return f"The random walk is published.{fell}{failed}"
    if champion == RANDOM_WALK:
        return f"No model earned it: the random walk is published.{failed}"
    return f"{_capital(champion)} stays.{failed}"


def _capital(model: str) -> str:
    """A model's name at the beginning of a sentence."""
    return model[:1].upper() + model[1:]


def _failed(checks: Sequence[Check]) -> str:
    return "; ".join(check.text for check in checks if not check.passed)
