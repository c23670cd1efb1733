"""A finding: what is wrong, since when, how sure that is, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

FINE = "fine"
"""The state of a panel without findings."""

STATES = {
    "stale_feed": "stale feed",
    "missing_series": "missing series",
    "volatility_break": "volatility break",
    "drift": "drift",
    "champion_worse": "champion worse",
    "run_missed": "run missed",
    "step_failed": "step failed",
}
"""The other states, in the order in which they are shown, and their names for readers."""

MOST_NAMED = 8
"""Series that a sentence names."""


@dataclass(frozen=True)
class Finding:
    """One thing that needs a person.

    Attributes
    ----------
    state : str
        A key of `STATES`.
    what : str
        One sentence.
    since : date
        The first session of which it is true.
    how_sure : str
        The evidence, in numbers.
    to_do : str
        The next step.
    series : tuple of str
        The series concerned; empty: the whole panel.
    """

    state: str
    what: str
    since: date
    how_sure: str
    to_do: str
    series: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, as JSON holds them."""
        return {
            "state": self.state, "what": self.what, "since": self.since.isoformat(), "how_sure": self.how_sure,
            "to_do": self.to_do, "series": list(self.series),
        }  # fmt: skip


def in_order(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return the findings by state, in the order of `STATES`, the oldest first.

    Parameters
    ----------
    findings : sequence of Finding
    """
    places = {state: place for place, state in enumerate(STATES)}
    return tuple(sorted(findings, key=lambda found: (places[found.state], found.since, found.what)))


def named(series: Sequence[str]) -> str:
    """Return the first names of a list, and how many more there are.

    Parameters
    ----------
    series : sequence of str
    """
    more = f" and {len(series) - MOST_NAMED} more" if len(series) > MOST_NAMED else ""
    return ", ".join(series[:MOST_NAMED]) + more
