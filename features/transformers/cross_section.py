"""A series compared with the others: the market's mean and dispersion, and the rank among all series."""

from __future__ import annotations

from abc import abstractmethod

import polars as pl

from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.features.error_text import check_whole
from tidecast.features.transformers.base import PanelTransformer

OLDEST = "7d"
"""A calendar whose newest session closed longer ago is left out."""


class CrossSection(PanelTransformer):
    """A comparison of series: `expressions` over the returns of all series that a row sees.

    A row sees, of each calendar, the series of the newest session that closed no later than its own. So New York sees
    Tokyo's session of the same date, and Tokyo sees New York's of the day before. A calendar that has been closed for
    more than seven days is left out. Calendars come from the panel's column `calendar` or the setting; without either,
    every session closes at its `time`. Null where the row's own series has no return.

    Parameters
    ----------
    steps : int, default=1
        Rows of the log returns that are compared.
    calendar : str, optional
        Name of the calendar of series without one in the panel's column `calendar`.
    target : str, default="close"
        Column of prices, above zero.
    """

    per_series = False

    def __init__(self, steps: int = 1, calendar: str | None = None, target: str = "close") -> None:
        self.steps = steps
        self.calendar = calendar
        self.target = target

    @property
    def min_history(self) -> int:
        """Rows up to the first value, which are those that it depends on."""
        return self.steps + 1

    @property
    def inputs_(self) -> list[str]:
        """No columns besides the target and the calendar."""
        return []

    def _check_parameters(self) -> None:
        check_whole("steps", self.steps, 1)

    @abstractmethod
    def expressions(self) -> dict[str, pl.Expr]:
        """Return the added columns by name, over the column `value` of the rows that a session sees."""

    def _add(self, rows: pl.DataFrame) -> pl.DataFrame:
        value = pl.col(self.target).log().diff(self.steps).over("__tidecast_segment")
        groups = self._groups(rows.with_columns(value=value))
        return pl.concat([self._compared(group, groups) for group in groups])

    def _groups(self, rows: pl.DataFrame) -> list[pl.DataFrame]:
        """Return the rows of each calendar, with `_closes`, the instant at which their session closes."""
        calendar = PanelCalendar.named(rows, self.calendar)
        if not calendar.calendars:
            return [rows.with_columns(_closes=pl.col("time").cast(pl.Datetime("us")))]
        closes = calendar.closes(rows).dt.replace_time_zone(None).cast(pl.Datetime("us"))
        rows = rows.with_columns(closes.alias("_closes"))
        return [rows[at] for _, at in calendar.groups(rows)]

    def _compared(self, group: pl.DataFrame, groups: list[pl.DataFrame]) -> pl.DataFrame:
        """Return the rows of one calendar with the added columns."""
        sessions = group.select(event="_closes").unique().sort("event")
        sections = [group.select(pl.exclude("event"), event="_closes").with_columns(_own=True)]
        for other in groups:
            if other is group:
                continue
            newest = sessions.join_asof(
                other.select("_closes").unique().sort("_closes"),
                left_on="event", right_on="_closes", coalesce=False, tolerance=OLDEST,
            )  # fmt: skip
            sections.append(other.join(newest, on="_closes").with_columns(_own=False))
        section = pl.concat(sections, how="diagonal_relaxed")
        added = {name: value.over("event") for name, value in self.expressions().items()}
        return section.with_columns(**added).filter("_own")


class MarketReturn(CrossSection):
    """Mean and standard deviation (divisor n) over series of their log returns over `steps` rows, as decimals.

    The columns `market_return_{steps}` and `market_dispersion_{steps}`. Parameters and visible rows are those of
    `CrossSection`.
    """

    def expressions(self) -> dict[str, pl.Expr]:
        """Return the added columns by name."""
        value = pl.col("value")
        shown = {f"market_return_{self.steps}": value.mean(), f"market_dispersion_{self.steps}": value.std(ddof=0)}
        return {name: pl.when(value.is_not_null()).then(stat) for name, stat in shown.items()}


class ReturnRank(CrossSection):
    """Rank of the log return over `steps` rows among all series, between 0 and 1: the column `return_rank_{steps}`.

    (rank − ½) ÷ number of series; equal returns share the mean of their ranks. Parameters and visible rows are those of
    `CrossSection`.
    """

    def expressions(self) -> dict[str, pl.Expr]:
        """Return the added column by name."""
        return {f"return_rank_{self.steps}": (pl.col("value").rank("average") - 0.5) / pl.col("value").count()}
