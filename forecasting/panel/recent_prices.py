"""The newest prices that a forecaster has seen, for figures. They stay in memory and are not saved."""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

ROWS = 120
"""A series; two quarters."""

MOST_PARTS = 256
"""Updates that wait to be merged."""


@dataclass(frozen=True)
class RecentPrices:
    """The newest rows of each series. Nothing is changed in place, so copies of a forecaster may share it.

    Attributes
    ----------
    target : str
    merged : polars.DataFrame
        ``series_id``, ``time`` and the target: at most 120 rows a series, sorted.
    waiting : tuple of polars.DataFrame
        Newer rows, merged from time to time: an update costs little, however many series there are.
    """

    target: str
    merged: pl.DataFrame
    waiting: tuple[pl.DataFrame, ...] = field(default=())

    @classmethod
    def of(cls, panel: pl.DataFrame, target: str) -> RecentPrices:
        """Return the newest rows of a panel.

        Parameters
        ----------
        panel : polars.DataFrame
            Sorted, checked.
        target : str
        """
        newest = panel.select("series_id", "time", target).group_by("series_id", maintain_order=True).tail(ROWS)
        return cls(target, newest.rechunk())

    def with_rows(self, rows: pl.DataFrame) -> RecentPrices:
        """Return these rows and newer ones; a row of the same series and time counts as the newer one has it.

        Parameters
        ----------
        rows : polars.DataFrame
            Checked, as the panel was.
        """
        waiting = (*self.waiting, rows.select("series_id", "time", self.target))
        found = RecentPrices(self.target, self.merged, waiting)
        if len(waiting) < MOST_PARTS and sum(map(len, waiting)) < len(self.merged) + ROWS:
            return found
        return RecentPrices(self.target, found.frame())

    def frame(self) -> pl.DataFrame:
        """Return all of them as a panel, sorted."""
        if not self.waiting:
            return self.merged
        rows = pl.concat([self.merged, *self.waiting]).unique(["series_id", "time"], keep="last", maintain_order=True)
        return RecentPrices.of(rows.sort("series_id", "time"), self.target).merged
