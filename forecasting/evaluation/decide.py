"""The gate: may this recipe be published instead of the champion's?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import polars as pl

from tidecast.features.error_text import check_whole, shorten
from tidecast.features.frames import Frame, to_polars
from tidecast.forecasting.evaluation.decision import Check, Decision, p_value, percent
from tidecast.forecasting.evaluation.dm_test import FEWEST_ORIGINS, Skill, compare
from tidecast.forecasting.tables.names import RANDOM_WALK, loss_in

__all__ = ["Check", "Decision", "GatePolicy", "decide"]

KEYS = ["series_id", "origin", "step"]


@dataclass(frozen=True)
class GatePolicy:
    """What a candidate has to show; impossible values are refused.

    Parameters
    ----------
    level : float, default=0.01
        p-values must be below this. A gate every quarter at 0.01 promotes an equal model within a year in about 5 % of
        cases; every week at 0.05, in a third.
    max_origins : int, default=504
        Newest origins that are looked at: two years, so that old glory does not count.
    min_origins : int, default=252
        With fewer the random walk stays.
    centre_limit : float, default=1.002
        MAE of the median ÷ the random walk's may not be above this: the centre does no harm.
    worst_decile : float, default=-0.02
        The 10th percentile over series of CRPS skill must be above this: not a few good series at the others' cost.
    every : int, default=63
        Sessions between two gates.
    stay_level : float, default=0.1
        A champion stays as long as its own p-value against the random walk is below this, or below a larger `level`:
        a network that is truly better by three standard errors fails 0.01 at one gate in four, 0.1 at one in twenty.
    """

    level: float = 0.01
    max_origins: int = 504
    min_origins: int = 252
    centre_limit: float = 1.002
    worst_decile: float = -0.02
    every: int = 63
    stay_level: float = 0.1

    def __post_init__(self) -> None:
        for name, least in (("max_origins", 1), ("min_origins", FEWEST_ORIGINS), ("every", 1)):
            check_whole(name, getattr(self, name), at_least=least)
        if self.max_origins < self.min_origins:
            raise ValueError(f"max_origins must be at least min_origins = {self.min_origins}, got {self.max_origins}.")
        if not 0 < self.level <= 0.5:
            raise ValueError(f"level must be above 0 and at most 0.5, got {self.level!r}.")
        if not 0 < self.stay_level <= 0.5:
            raise ValueError(f"stay_level must be above 0 and at most 0.5, got {self.stay_level!r}.")
        if not 1 <= self.centre_limit < 2:
            raise ValueError(f"centre_limit must be at least 1 (as good) and below 2, got {self.centre_limit!r}.")
        if not -1 < self.worst_decile <= 0:
            raise ValueError(f"worst_decile must be above -1 and at most 0, got {self.worst_decile!r}.")


def decide(
    losses: Frame,
    policy: GatePolicy | None = None,
    *,
    candidate: str | None = None,
    champion: str = RANDOM_WALK,
) -> Decision:
    """Whether the candidate's recipe replaces the champion's; a pure function of a table of losses.

    The candidate is promoted when, on the newest origins, it forecast all that the random walk did, its CRPS is
    smaller with evidence, the MAE of its median is no worse, no tenth of the series pays for it, and its CRPS is
    smaller than the champion's, too, with evidence. The champion has to stand the same test, at its own level: one that
    no longer beats the random walk is in nobody's way, and gives way to the random walk where the candidate fails.
    A pinball loss over other levels serves as well.

    Parameters
    ----------
    losses : polars or pandas DataFrame
        `losses` of `evaluate`: out-of-sample losses of the recipes on the same origins.
    policy : GatePolicy, optional
        Defaults to ``GatePolicy()``.
    candidate : str, optional
        Model on trial; may be left out where only one stands besides the random walk and the champion. The champion
        itself: nothing new is tested, only whether it stays.
    champion : str, default="random_walk"
        Model that is published now.

    Raises
    ------
    ValueError
        When a model is not in the table, the candidate is not clear, or the random walk's own losses are not finite.

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
    Centre 0.0 ± 0.0 % (no better than the last price).
    Spread 0.0 ± 0.0 %, p = 1.000.
    """
    policy = policy or GatePolicy()
    table = to_polars(losses)
    loss = _loss_column(table)
    candidate = _candidate(table["model"].unique().sort().to_list(), candidate, champion)
    origins = table.filter(pl.col("model") == RANDOM_WALK)["origin"].unique().sort().tail(policy.max_origins)
    rows = _side_by_side(table.filter(pl.col("origin") >= origins[0]), loss, candidate, champion)

    history = _history(len(origins), policy)
    standing = None if champion == RANDOM_WALK else _try_again(rows, policy)
    if candidate == champion:
        assert standing is not None  # the random walk is no candidate
        tried = standing
    else:
        tried = _try(rows, "candidate", policy.level, policy)
    checks = [history, *tried.checks]
    if candidate != champion and standing is not None and standing.passed:
        checks.append(_against_champion(rows, champion, policy))
    promoted = candidate != champion and all(check.passed for check in checks)
    demoted = not promoted and history.passed and standing is not None and not standing.passed
    return Decision(
        winner=candidate if promoted else RANDOM_WALK if demoted else champion,
        promoted=promoted,
        demoted=demoted,
        candidate=candidate,
        champion=champion,
        n_origins=len(origins),
        first_origin=origins[0],
        last_origin=origins[-1],
        distribution_skill=tried.spread.skill,
        distribution_se=tried.spread.se,
        distribution_p=tried.spread.p,
        median_skill=tried.centre.skill,
        median_se=tried.centre.se,
        worst_decile=tried.worst,
        reason=_reason(candidate, champion, promoted, demoted, checks, standing),
        checks=tuple(checks),
        champion_checks=() if standing is None else standing.checks,
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
        raise ValueError("The candidate must not be the random walk, which everything is measured against.")
    return candidate


def _side_by_side(table: pl.DataFrame, loss: str, candidate: str, champion: str) -> pl.DataFrame:
    """The random walk's rows with columns for each model: its losses, and its absolute errors (``…_ae``).

    ``walk``, ``candidate`` where it is not the champion, ``champion`` where it is not the random walk; null where a
    model lacks a row that the random walk has.
    """
    models = {"walk": RANDOM_WALK} | ({} if candidate == champion else {"candidate": candidate})
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
                "losses must hold one row for each model, series_id, origin and step; some share theirs."
            ) from None
    if not rows.select(_finite("walk", "walk_ae").all()).item():
        raise ValueError("Losses of the random walk must be finite, some are not: nothing can be measured against it.")
    return rows.sort("origin", "series_id", "step")  # sums of unsorted rows depend on which thread was first


def _finite(*columns: str) -> pl.Expr:
    return pl.all_horizontal(pl.col(column).is_finite().fill_null(False) for column in columns)


# ---------------------------------------------------------------- the numbers
def _skill(rows: pl.DataFrame, loss: str, reference: str) -> Skill:
    """At each origin one number, the mean over series and steps; then the skill of these numbers."""
    if rows.is_empty() or not rows.select(_finite(loss, reference).all()).item():
        return Skill(None, None, None)
    means = rows.group_by("origin", maintain_order=True).agg(pl.col(loss, reference).mean())
    horizon = cast(int, rows["step"].max())
    return compare(means[loss].to_numpy(), means[reference].to_numpy(), horizon)


def _worst_decile(rows: pl.DataFrame, loss: str) -> float:
    """10th percentile over series of CRPS skill against the random walk."""
    by_series = rows.sort("series_id", "origin", "step").group_by("series_id", maintain_order=True)
    means = by_series.agg(pl.col(loss, "walk").mean())
    skills = (1 - means[loss] / means["walk"]).fill_nan(0.0)
    return float(np.quantile(skills.to_numpy(), 0.1))


# ---------------------------------------------------------------- the checks
@dataclass(frozen=True)
class _Trial:
    """How a model did against the random walk: the numbers, and whether they suffice."""

    spread: Skill
    centre: Skill
    worst: float | None
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)


def _try(rows: pl.DataFrame, column: str, level: float, policy: GatePolicy) -> _Trial:
    """The test that everything published has to stand, of the model in a column of `rows`."""
    bad = rows.select((~_finite(column, f"{column}_ae")).sum()).item()
    spread, centre = _skill(rows, column, "walk"), _skill(rows, f"{column}_ae", "walk_ae")
    worst = None if bad or rows.is_empty() else _worst_decile(rows, column)
    checks = (
        Check("complete", not bad, f"{bad} of {len(rows)} forecasts are missing or not finite"),
        _better("spread", "the random walk", spread, level),
        _harmless(centre, policy),
        _for_all(worst, policy),
    )
    return _Trial(spread, centre, worst, checks)


def _try_again(rows: pl.DataFrame, policy: GatePolicy) -> _Trial:
    """The same test of the champion, on what it forecast: a recipe may need more history than the random walk."""
    level = max(policy.level, policy.stay_level)
    return _try(rows.filter(pl.col("champion").is_not_null()), "champion", level, policy)


def _history(n_origins: int, policy: GatePolicy) -> Check:
    text = f"{n_origins} origins, at least {policy.min_origins} are needed"
    return Check("history", n_origins >= policy.min_origins, text)


def _better(name: str, reference: str, skill: Skill, level: float) -> Check:
    if skill.skill is None:
        found = "not known"
    else:
        p = "too little history for a p-value" if skill.p is None else p_value(skill.p)
        found = f"{percent(skill.skill, skill.se)}, {p}"
    text = f"CRPS skill against {reference} is {found}; p must be below {level:g}"
    return Check(name, skill.p is not None and skill.p < level, text)


def _against_champion(rows: pl.DataFrame, champion: str, policy: GatePolicy) -> Check:
    """Better than the champion's recipe, where that forecast."""
    shared = rows.filter(pl.col("champion").is_not_null())
    return _better("champion", champion, _skill(shared, "candidate", "champion"), policy.level)


def _harmless(centre: Skill, policy: GatePolicy) -> Check:
    if centre.skill is None:
        return Check("centre", False, "MAE of the median is not known")
    ratio = 1 - centre.skill
    text = f"MAE of the median is {ratio:.4f} × the random walk's, may be at most {policy.centre_limit:g}"
    return Check("centre", ratio <= policy.centre_limit, text)


def _for_all(worst: float | None, policy: GatePolicy) -> Check:
    if worst is None:
        return Check("worst decile", False, "CRPS skill by series is not known")
    limit = percent(policy.worst_decile)
    text = f"10th percentile over series of CRPS skill is {percent(worst)}, must be above {limit}"
    return Check("worst decile", worst > policy.worst_decile, text)


# ---------------------------------------------------------------- the words
def _reason(
    candidate: str, champion: str, promoted: bool, demoted: bool, checks: list[Check], standing: _Trial | None
) -> str:
    gone = standing is not None and not standing.passed
    fell = f" {champion} no longer beats the random walk: {_failed(standing.checks)}." if standing and gone else ""
    if promoted:
        beaten = "the random walk" if gone or standing is None else f"the random walk and {champion}"
        return (
            f"{candidate} is published: its spread is better than that of {beaten}, and its centre does no harm.{fell}"
        )
    if candidate == champion and standing is not None and not demoted:
        return f"{champion} was put to the test again and stays: {standing.checks[1].text}."
    failed = "" if candidate == champion else f" {candidate} failed: {_failed(checks)}."
    if demoted:
        return f"The random walk is published.{fell}{failed}"
    if champion == RANDOM_WALK:
        return f"No network earned it: the random walk is published.{failed}"
    return f"{champion} stays.{failed}"


def _failed(checks: Sequence[Check]) -> str:
    return "; ".join(check.text for check in checks if not check.passed)
