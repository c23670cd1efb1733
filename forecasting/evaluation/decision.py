"""The result of a gate, in numbers and as text."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

SURE = 3.0
"""Standard errors from which a verdict calls the median better."""


class Check(NamedTuple):
    """One condition of the gate.

    Attributes
    ----------
    name : str
    passed : bool
        Whether it holds.
    text : str
        The numbers, for readers.
    """

    name: str
    passed: bool
    text: str


@dataclass(frozen=True)
class Decision:
    """The model to publish, and why.

    Attributes
    ----------
    winner : str
        The candidate when `promoted`, the random walk when the champion was `demoted`, else the champion.
    promoted, demoted : bool
    candidate, champion : str
    n_origins : int
        Origins tested on.
    first_origin, last_origin : date or datetime
    distribution_skill, distribution_se, distribution_p : float or None
        CRPS skill of the candidate against the random walk, its standard error and one-sided p-value. None if
        unknown: forecasts missing or not finite; for p, also fewer than 120 origins.
    distribution_low, distribution_high : float or None
        Its 95 % interval, of the same test: `distribution_low` is above 0 exactly when p is below 0.025.
    median_skill, median_se, median_low, median_high : float or None
        MAE skill of the median against the random walk, its standard error and 95 % interval.
    worst_decile : float or None
        10th percentile over series of CRPS skill.
    reason : str
        One or two sentences for every reader.
    checks : tuple of Check
        Every condition that was checked.
    champion_checks : tuple of Check
        Whether the champion still beats the random walk; empty if that is the champion.
    """

    winner: str
    promoted: bool
    demoted: bool
    candidate: str
    champion: str
    n_origins: int
    first_origin: date | datetime
    last_origin: date | datetime
    distribution_skill: float | None
    distribution_se: float | None
    distribution_p: float | None
    distribution_low: float | None
    distribution_high: float | None
    median_skill: float | None
    median_se: float | None
    median_low: float | None
    median_high: float | None
    worst_decile: float | None
    reason: str
    checks: tuple[Check, ...]
    champion_checks: tuple[Check, ...] = ()

    @property
    def verdict(self) -> str:
        """Two lines on the candidate against the random walk."""
        if self.distribution_skill is None or self.median_skill is None:
            return (
                "Median not known: forecasts are missing or not finite.\nDistribution not known, for the same reason."
            )
        p = "too little history for a p-value" if self.distribution_p is None else p_value(self.distribution_p)
        distribution = skill_text(self.distribution_skill, self.distribution_low, self.distribution_high)
        return f"Median {self._median_verdict}.\nDistribution {distribution}, {p}."

    @property
    def _median_verdict(self) -> str:
        assert self.median_skill is not None
        if self.median_skill == self.median_low == self.median_high:
            return f"{percent(self.median_skill)} (equal to the last price)"
        return f"{skill_text(self.median_skill, self.median_low, self.median_high)}, {self._median_compared}"

    @property
    def _median_compared(self) -> str:
        if any(check.name == "median" and not check.passed for check in self.checks):
            return "worse than the last price"
        if self.median_skill and self.median_se and self.median_skill > SURE * self.median_se:
            return "better than the last price"
        return "no better than the last price"

    def to_dict(self) -> dict[str, Any]:
        """Return all fields and the verdict, as JSON holds them."""
        fields = asdict(self) | {"verdict": self.verdict}
        fields |= {name: [check._asdict() for check in fields[name]] for name in ("checks", "champion_checks")}
        return fields | {name: fields[name].isoformat() for name in ("first_origin", "last_origin")}


def skill_text(skill: float | None, low: float | None = None, high: float | None = None, unit: bool = True) -> str:
    """Format a skill with its 95 % interval as "+0.71 % (95 %: 0.31 … 1.11)"; without `unit` as "+0.71 (0.31 … 1.11)".

    Every page writes skill this way. In a table the head says "%" and "95 %". An unknown interval is left out, and so
    is one without width: two equal forecasts.

    Parameters
    ----------
    skill : float or None
        As a decimal.
    low, high : float or None
        Ends of the interval, as decimals.
    unit : bool, default=True
    """
    if skill is None:
        return "not known"
    number = percent(skill) if unit else signed(skill)
    if low is None or high is None or low == high:
        return number
    return f"{number} ({'95 %: ' if unit else ''}{_two_decimals(low)} … {_two_decimals(high)})"


def percent(share: float) -> str:
    """Format a share as "+0.71 %", see `signed`.

    Parameters
    ----------
    share : float
        As a decimal.
    """
    return f"{signed(share)} %"


def signed(share: float) -> str:
    """Format a share in per cent as "+0.71", "−0.71" with a real minus sign, or "0.00".

    Parameters
    ----------
    share : float
        As a decimal.
    """
    number = _two_decimals(share)
    return number if number == "0.00" or share < 0 else f"+{number}"


def _two_decimals(share: float) -> str:
    """A share in per cent, with a real minus sign and no sign on zero."""
    return f"{round(100 * share, 2) + 0.0:.2f}".replace("-", "−")


def p_value(p: float) -> str:
    """Format as "p = 0.297", "p = 0.0096" (not rounded up to a level) or "p < 0.001".

    Parameters
    ----------
    p : float
        Between 0 and 1.
    """
    if p < 0.001:
        return "p < 0.001"
    return f"p = {p:.3f}" if p >= 0.02 else f"p = {p:.2g}"
