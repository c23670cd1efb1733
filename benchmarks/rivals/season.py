"""Inputs for series with a season, as a user of Tidecast would add them: a few lines on the transformer's base."""

import polars as pl

from tidecast.features import PanelTransformer

DECAY = 0.94  # of the volatility that forecasts are measured in


class SeasonalInputs(PanelTransformer):
    """The last change, the level against its week, and what followed this hour a season and a week ago.

    In units of the volatility that the forecast is measured in, so that what comes back is linear in them.

    Parameters
    ----------
    season : int, default=24
        Rows; a week are seven of them.
    ahead : int, default=24
        Steps of last week that are seen; 0: none.
    """

    def __init__(self, season: int = 24, ahead: int = 24, positive: bool = False) -> None:
        self.season = season
        self.ahead = ahead
        self.positive = positive

    @property
    def min_history(self) -> int:
        return max(601, 7 * self.season + 1)  # a volatility forgets in 600 changes

    def expressions(self) -> dict[str, pl.Expr]:
        level, week = pl.col("close"), 7 * self.season
        change = level.diff()
        volatility = (change**2).ewm_mean(alpha=1 - DECAY, ignore_nulls=True).sqrt()
        columns = {"change": change, "level": level - level.rolling_mean(week, min_samples=1)}
        columns |= {f"ahead_{k}": level.shift(self.season - k) - level for k in range(1, self.season)}
        columns |= {f"week_{k}": level.shift(week - k) - level for k in range(self.ahead + 1) if self.ahead}
        usual = change.abs().rolling_mean(week, min_samples=self.season)
        return {name: value / volatility for name, value in columns.items()} | {"calm": (usual / volatility).log()}
