"""The sessions of a backfill, and its result."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

from tidecast.features.error_text import counted, ended
from tidecast.flows.errors import Partial, TidecastError
from tidecast.flows.reporting.pages.number_text import capital
from tidecast.flows.steps.day import shortfalls_text
from tidecast.flows.steps.due import is_done
from tidecast.flows.warehouse.warehouse import Warehouse


@dataclass(frozen=True)
class Backfilled:
    """The result of a backfill.

    Attributes
    ----------
    published, done_before, failed : tuple of date
        Sessions by what became of them.
    shortfalls : dict of date to str
        What the forecasts of published sessions lack; empty text where all is well.
    """

    published: tuple[date, ...]
    done_before: tuple[date, ...]
    failed: tuple[date, ...] = ()
    shortfalls: Mapping[date, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The counts, as a sentence."""
        n, before = len(self.published), len(self.done_before)
        failed = f", {len(self.failed):,} failed" if self.failed else ""
        return f"{counted(n, 'session is', 'sessions are')} published, {before:,} done before{failed}."

    @property
    def shortfall(self) -> str:
        """A sentence on sessions that lack forecasts of series or future covariates; empty where none does."""
        return shortfalls_text(self.shortfalls)


class BackfillIncomplete(Partial):
    """Some sessions failed. `result` says which.

    Parameters
    ----------
    result : Backfilled
    problem : str
        The first failure.
    """

    def __init__(self, result: Backfilled, problem: str) -> None:
        said = " ".join(text for text in (result.text, result.shortfall, capital(ended(problem))) if text)
        super().__init__(f"{said} Fix it, then run the same command again: it continues.")
        self.result = result


def sessions_to_run(warehouse: Warehouse, first: date, last: date) -> tuple[tuple[date, ...], tuple[date, ...]]:
    """Return the sessions with prices from `first` to `last` that are not done, and those that are; both oldest first.

    Parameters
    ----------
    warehouse : Warehouse
    first, last : date

    Raises
    ------
    TidecastError
        No session between has prices.
    """
    oldest, newest = warehouse.oldest_session(), warehouse.newest_session()
    sessions: list[date] = []
    if oldest is not None and newest is not None:
        after, until = max(first, oldest) - timedelta(days=1), min(last, newest) + timedelta(days=1)
        sessions = warehouse.sessions(after, until).to_list()
    if not sessions:
        raise TidecastError(
            f"There must be prices from {first} to {last} to forecast from, found none. The panel has prices from "
            f"{oldest} to {newest}."
        )
    runs = warehouse.runs()
    done = tuple(session for session in sessions if is_done(runs, session))
    return tuple(session for session in sessions if session not in done), done
