"""The result of a run of one session."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal

from tidecast.features.error_text import counted, ended
from tidecast.flows.errors import Partial, TidecastError
from tidecast.flows.ingest.ingest import Ingested
from tidecast.flows.log import log
from tidecast.flows.publish.predict import Forecasts
from tidecast.flows.publish.shortfall import shortfall, without_forecast
from tidecast.flows.redaction import redact
from tidecast.flows.training.champion import Champion
from tidecast.flows.workspace.workspace import Workspace

Outcome = Literal["done before", "published", "incomplete"]

LONGEST = 300
"""Characters of a failure that are shown; Prefect's log has all of it."""


@dataclass(frozen=True)
class Day:
    """The result of a run of one session.

    Attributes
    ----------
    workspace : Workspace
    as_of : date
    ingested : Ingested
    row : dict
        The session's row of the table `runs`.
    champion : Champion or None
        The version that forecasts. None when the session was done before.
    forecasts : Forecasts or None
        None when it was published before.
    report : Path or None
    problems : tuple of str
        What failed besides publishing.
    made_up : dict of date to str
        The missed sessions that were made up for, each with its shortfall; empty text where all was well.
    """

    workspace: Workspace
    as_of: date
    ingested: Ingested
    row: dict[str, Any]
    champion: Champion | None = None
    forecasts: Forecasts | None = None
    report: Path | None = None
    problems: tuple[str, ...] = ()
    made_up: Mapping[date, str] = field(default_factory=dict)

    @property
    def was_done_before(self) -> bool:
        """Whether an earlier run had done the session."""
        return self.champion is None

    @property
    def outcome(self) -> Outcome:
        """How the run ended: "incomplete" when a step failed, also in a session done before."""
        if self.problems:
            return "incomplete"
        return "done before" if self.was_done_before else "published"

    @property
    def without_forecast(self) -> str:
        """A sentence on quoted series that have no forecast; empty where each has one."""
        return without_forecast(self.row)

    @property
    def shortfall(self) -> str:
        """Sentences on series without a forecast and on missing future covariates, also of sessions made up for."""
        return " ".join(text for text in (shortfall(self.row, self.forecasts), shortfalls_text(self.made_up)) if text)


def shortfalls_text(shortfalls: Mapping[date, str]) -> str:
    """Return a sentence on past sessions that lack something, with the first shortfall; empty where none does.

    Parameters
    ----------
    shortfalls : mapping of date to str
        As of `Day.made_up`.
    """
    short = {session: text for session, text in shortfalls.items() if text}
    if not short:
        return ""
    (first, text), *others = short.items()
    lack = counted(len(others), "more past session lacks", "more past sessions lack")
    more = f" {lack} something, too." if others else ""
    return f"Of the past session {first}: {text}{more}"


class Incomplete(Partial):
    """The forecasts are published, but a step failed. `day` is the result so far.

    Parameters
    ----------
    day : Day
        With at least one problem.
    """

    def __init__(self, day: Day) -> None:
        first, *more = day.problems
        others = f" {len(more)} more of its steps failed." if more else ""
        super().__init__(
            f"The forecasts of {day.as_of} are published, but {ended(first)}{others} Fix it, then run again."
        )
        self.day = day


class Problems(list[str]):
    """Failures of steps that must not stop the others."""

    @contextmanager
    def noted(self, step: str) -> Iterator[None]:
        """Note a failure of the body, and continue.

        Parameters
        ----------
        step : str
            Its name, shown in messages.
        """
        try:
            yield
        except Exception as error:
            why = redact(" ".join(str(error).split())) or type(error).__name__
            if len(why) > LONGEST and not isinstance(error, TidecastError):  # our errors end with what to do
                why = f"{why[:LONGEST]} …"
            self.append(f"{step} failed: {why}")
            log.warning(self[-1])
            log.debug("where it failed", exc_info=True)
