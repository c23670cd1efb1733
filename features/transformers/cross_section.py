"""A series beside the others: the market's mean and dispersion, and the rank among all."""

from __future__ import annotations

from abc import abstractmethod

import polars as pl

from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.features.error_text import check_whole
from tidecast.features.transformers.base import PanelTransformer

OLDEST = "7d"
"""A calendar whose newest session closed longer ago than that is left out."""


class CrossSection(PanelTransformer):
    """What compares series: columns of `values` per series, then `expressions` over all series that may be seen.

    A row sees, of each calendar, the series of the newest session that closed no later than its own, so New York sees
    Tokyo's session of the same date, and Tokyo sees New York's of the day before; a calendar that has been closed for
    more than seven days is left out. Calendars come from the panel's column `calendar` or the setting; without either,
    a session closes at its `time`, for all alike. Null where the row's own series has no return.

    Parameters
    ----------
    steps : int, default=1
        Rows of the log returns that are compared.
    calendar : str, optional
        Name of the calendar of series that the panel's column `calendar` names none for.
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
        """Rows up to the first value, and what it depends on."""
        return self.steps + 1

    @property
    def inputs_(self) -> list[str]:
        """None beside the target and the calendar."""
        return []

    def _check_parameters(self) -> None:
        check_whole("steps", self.steps, 1)

    @abstractmethod
    def expressions(self) -> dict[str, pl.Expr]:
        """The added columns by name, over the rows that a session sees, of the column `value`."""

    def _add(self, rows: pl.DataFrame) -> pl.DataFrame:
        value = pl.col(self.target).log().diff(self.steps).over("_segment")
        groups = self._groups(rows.with_columns(value=value))
        return pl.concat([self._compared(group, groups) for group in groups])

    def _groups(self, rows: pl.DataFrame) -> list[pl.DataFrame]:
        """The rows by calendar, each with the instant `_closes` of its session."""
        calendar = PanelCalendar.named(rows, self.calendar)
        if not calendar.calendars:
            return [rows.with_columns(_closes=pl.col("time").cast(pl.Datetime("us")))]
        closes = calendar.closes(rows).dt.replace_time_zone(None).cast(pl.Datetime("us"))
        rows = rows.with_columns(closes.alias("_closes"))
        return [rows[at] for _, at in calendar.groups(rows)]

    def _compared(self, group: pl.DataFrame, groups: list[pl.DataFrame]) -> pl.DataFrame:
        """The rows of one calendar with the added columns."""
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

    The columns `market_return_{steps}` and `market_dispersion_{steps}`. Parameters, and what a row sees, are those of
    `CrossSection`.
    """

    def expressions(self) -> dict[str, pl.Expr]:
        """The added columns by name."""
        value = pl.col("value")
        shown = {f"market_return_{self.steps}": value.mean(), f"market_dispersion_{self.steps}": value.std(ddof=0)}
        return {name: pl.when(value.is_not_null()).then(stat) for name, stat in shown.items()}


class ReturnRank(CrossSection):
    """Rank of the log return over `steps` rows among all series, between 0 and 1: the column `return_rank_{steps}`.

    (rank − ½) ÷ number of series; equal returns share the mean of their ranks. Parameters, and what a row sees, are
    those of `CrossSection`.
    """

    def expressions(self) -> dict[str, pl.Expr]:
        """The added column, by name."""
        return {f"return_rank_{self.steps}": (pl.col("value").rank("average") - 0.5) / pl.col("value").count()}
