"""Inputs for series with a season, as a user of Tidecast would add them: ten lines on the transformer's base."""

import polars as pl

from features import PanelTransformer


class SeasonalInputs(PanelTransformer):
    """Change since the same time of the seasons before, on the series' own volatility, and the phase in the season."""

    target = "close"

    def __init__(self, season: int = 24, positive: bool = False) -> None:
        self.season = season
        self.positive = positive

    @property
    def added_(self) -> list[str]:
        ahead = [f"season_ahead_{k}" for k in range(self.season)]
        return ["level", "change_1", *ahead]

    @property
    def min_history(self) -> int:
        return 2 * self.season + 1

    def _add(self, rows: pl.DataFrame) -> pl.DataFrame:
        level = pl.col("close").log() if self.positive else pl.col("close")
        scale = level.diff().abs().rolling_mean(24 * 7, min_samples=24).over("_stretch")
        columns = {
            "change_1": level.diff().over("_stretch"),
            "level": level - level.rolling_mean(168, min_samples=1).over("_stretch"),
        }
        for k in range(self.season):  # what came k + 1 rows after the same time one season ago
            columns[f"season_ahead_{k}"] = level.shift(self.season - 1 - k).over("_stretch") - level
        return rows.with_columns((value / scale).alias(name) for name, value in columns.items())
