"""Inputs for series with a season, as a user of Tidecast would add them: a few lines on the transformer's base."""

import polars as pl

from features import PanelTransformer


class SeasonalInputs(PanelTransformer):
    """The last change, the level against its week, and what followed this hour a season ago; on the usual change."""

    def __init__(self, season: int = 24, positive: bool = False) -> None:
        self.season = season
        self.positive = positive

    @property
    def min_history(self) -> int:
        return 7 * self.season + 1

    def expressions(self) -> dict[str, pl.Expr]:
        level, week = pl.col("close"), 7 * self.season
        usual = level.diff().abs().rolling_mean(week, min_samples=self.season)
        columns = {"change": level.diff(), "level": level - level.rolling_mean(week, min_samples=1)}
        columns |= {f"ahead_{k}": level.shift(self.season - k) - level for k in range(1, self.season + 1)}
        return {name: value / usual for name, value in columns.items()}
