"""What was known on a day: prices as quoted, the actions on them, and the panel that the two make."""

from dataclasses import dataclass
from datetime import date

import polars as pl

from tidecast.features.corporate_actions.adjustment import adjust
from tidecast.features.corporate_actions.shown_actions import look_for
from tidecast.flows.warehouse.schema import as_known, last_known


@dataclass(frozen=True)
class PointInTime:
    """Every revision of prices and of corporate actions; what any day knew is read from them.

    Parameters
    ----------
    prices : polars.DataFrame
        Rows of `prices`, sorted by series_id, time and known_at.
    actions : polars.DataFrame
        Rows of `actions`, sorted likewise.
    """

    prices: pl.DataFrame
    actions: pl.DataFrame

    def quotes(self, as_of: date | None = None) -> pl.DataFrame:
        """Prices as they were quoted, as known at `as_of`; see `tidecast.flows.warehouse.schema.as_known`."""
        return as_known(self.prices, as_of)

    def actions_at(self, as_of: date | None = None) -> pl.DataFrame:
        """Splits and dividends with an ex-date up to `as_of` and known by then; None: as known now."""
        return last_known(self.actions, as_of)

    def shown_at(self, as_of: date | None = None) -> pl.DataFrame:
        """The actions of `actions_at` that the prices known at `as_of` show, each on the row where they show it.

        See `shown_actions`: what no price shows was restated before it was told, or never applied.
        """
        return look_for(self.quotes(as_of), self.actions_at(as_of)).actions

    def panel(self, as_of: date | None = None) -> pl.DataFrame:
        """The panel as known at `as_of`: each series on the basis of its last row, splits and dividends undone.

        A split is undone on the row whose price shows it, and not at all where none does: the prices stay as quoted.
        An action that became known later is not in it, so that what a day forecasts can be computed again; its newest
        prices are always as quoted.
        """
        quotes, actions = self.quotes(as_of), self.actions_at(as_of)
        if actions.is_empty():
            return quotes
        adjusted = adjust(quotes, look_for(quotes, actions).actions)
        assert isinstance(adjusted, pl.DataFrame)
        return adjusted
