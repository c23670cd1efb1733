"""All findings of a session, from the stored tables; and its state in a word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import polars as pl

from tidecast.features.error_text import counted
from tidecast.flows.config.settings import Settings
from tidecast.flows.watch import feed
from tidecast.flows.watch.band_width import band_widths
from tidecast.flows.watch.demotion import Evidence, champion_worse, evidence_against
from tidecast.flows.watch.drift import drift, feature_drift
from tidecast.flows.watch.finding import FINE, Finding, in_order
from tidecast.flows.watch.known import Known
from tidecast.flows.watch.live_record import live_record
from tidecast.flows.watch.volatility_jump import volatility_break
from tidecast.forecasting.panel.seasonal_target import SeasonalTarget
from tidecast.forecasting.tables.names import RANDOM_WALK

NEWEST_RUNS = 10
"""Sessions whose runs are looked at."""

LONGEST_RUN = timedelta(hours=12)
"""After which a run that has not ended was stopped."""

PLAUSIBLE = 2.0
"""A champion's intervals are at most so many times as wide as the random walk's, or as narrow."""

PLAUSIBLE_MOVE = 1.0
"""A champion's medians are at most so many volatilities · √step from the last price."""


@dataclass(frozen=True)
class Checked:
    """The findings of a session.

    Attributes
    ----------
    as_of : date
    findings : tuple of Finding
    """

    as_of: date
    findings: tuple[Finding, ...]

    @property
    def states(self) -> tuple[str, ...]:
        """The states found, each once; "fine" alone without any."""
        return tuple(dict.fromkeys(found.state for found in self.findings)) or (FINE,)


@dataclass(frozen=True)
class Watched:
    """Everything that is watched at a session, as tables.

    Attributes
    ----------
    checked : Checked
    record : polars.DataFrame
        As of `live_record`.
    widths : polars.DataFrame
        As of `band_widths`.
    drift : polars.DataFrame
        As of `feature_drift`.
    evidence : Evidence or None
        As of `evidence_against`.
    """

    checked: Checked
    record: pl.DataFrame
    widths: pl.DataFrame
    drift: pl.DataFrame
    evidence: Evidence | None


def watch(known: Known, settings: Settings, now: datetime | None) -> Watched:
    """Return everything that is watched at a session.

    Parameters
    ----------
    known : Known
    settings : Settings
    now : datetime or None
        With a time zone. Decides only which sessions should have prices, and whether a run was stopped. None: an
        earlier session, of which neither can be said.
    """
    widths, drifts, evidence = band_widths(known, settings), feature_drift(known), evidence_against(known)
    findings = [
        *(feed.silence(known, now) if now else ()),
        *feed.repeats(known),
        *feed.missing_series(known),
        *volatility_break(known),
        *drift(known, drifts),
        *champion_worse(evidence),
        *implausible(known, widths),
        *missed_runs(known),
        *(failed_runs(known, now) if now else ()),
    ]
    checked = Checked(known.as_of, in_order(findings))
    return Watched(checked, live_record(known), widths, drifts, evidence)


def implausible(known: Known, widths: pl.DataFrame) -> list[Finding]:
    """Return whether today's forecasts differ from the random walk's by more than a model can know.

    Parameters
    ----------
    known : Known
    widths : polars.DataFrame
        As of `band_widths`.
    """
    today = known.forecasts.filter(pl.col("as_of") == known.as_of, pl.col("model") != RANDOM_WALK)
    if today.is_empty():
        return []
    width, move = widths["of_random_walk"].median(), widths["move"].median()
    if not isinstance(width, float) or not isinstance(move, float):
        return []
    if 1 / PLAUSIBLE <= width <= PLAUSIBLE and move <= PLAUSIBLE_MOVE:
        return []
    if width <= PLAUSIBLE and _has_seasons(known):  # there a model knows far more than the last price
        return []
    return [Finding(
        "champion_worse", f"The champion ({today['model'][0]}) publishes implausible forecasts.", known.as_of,
        f"its intervals are {width:.2f} times as wide as the random walk's, its medians {move:.2f} volatilities from "
        f"the last price (plausible: {1 / PLAUSIBLE:.1f} to {PLAUSIBLE:.0f} times, {PLAUSIBLE_MOVE:.0f} at most)",
        'Do not use these forecasts. Replace the champion: tidecast rollback --why "implausible"',
    )]  # fmt: skip


def _has_seasons(known: Known) -> bool:
    rows = known.some_series
    return bool(SeasonalTarget.of(rows, "close", known.positive, known.calendar).seasons)


def missed_runs(known: Known) -> list[Finding]:
    """Return sessions with prices that no run stood on, since the first run.

    Parameters
    ----------
    known : Known
    """
    if known.runs.is_empty():
        return []
    first: date = known.runs["as_of"].min()  # type: ignore[assignment]  # days, and not empty
    days = known.sessions
    days = days.filter(days > first).tail(NEWEST_RUNS)
    missed = days.filter(~days.is_in(known.runs["as_of"].implode())).to_list()
    if not missed:
        return []
    return [Finding(
        "run_missed", f"No forecasts were issued for {', '.join(map(str, missed))}.", missed[0],
        f"{len(missed)} of the last {counted(len(days), 'session')} with prices without a run",
        f"tidecast backfill --from {missed[0]} --to {missed[-1]}",
    )]  # fmt: skip


def failed_runs(known: Known, now: datetime) -> list[Finding]:
    """Return the newest runs that had a failed step, or were stopped.

    Parameters
    ----------
    known : Known
    now : datetime
        With a time zone.
    """
    rows = known.runs.sort("as_of").tail(NEWEST_RUNS).select("as_of", "status", "started").to_dicts()
    found = []
    for row in rows:
        stopped = row["status"] == "published" and _is_old(row["started"], now)
        if stopped or row["status"] == "failed":
            what = "was stopped before it ended" if stopped else "had a step that failed"
            found.append(step_failed(row["as_of"], f"The run of {row['as_of']} {what}."))
    return found


def step_failed(as_of: date, what: str, how_sure: str = "its row in the table runs") -> Finding:
    """Return the finding that a step of a run failed.

    Parameters
    ----------
    as_of : date
        The session of the run.
    what : str
        One sentence.
    how_sure : str
    """
    return Finding("step_failed", what, as_of, how_sure, f"See its log, then: tidecast run --as-of {as_of}")


def with_problems(checked: Checked, problems: Sequence[str]) -> Checked:
    """Return the findings with the failures of a run that has not ended yet.

    Parameters
    ----------
    checked : Checked
    problems : sequence of str
    """
    more = [step_failed(checked.as_of, problem, "the run that is ending now") for problem in problems]
    return Checked(checked.as_of, in_order([*checked.findings, *more]))


def _is_old(started: datetime | None, now: datetime) -> bool:
    return started is None or now - started.astimezone(UTC) > LONGEST_RUN
