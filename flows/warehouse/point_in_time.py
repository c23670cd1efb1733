"""Prices and corporate actions as known on a day, and the panel that follows from them."""

from dataclasses import dataclass
from datetime import date

import polars as pl

from tidecast.features.corporate_actions.adjustment import adjust
from tidecast.features.corporate_actions.shown_actions import look_for
from tidecast.flows.warehouse.schema import as_known, last_known


@dataclass(frozen=True)
class PointInTime:
    """Every revision of prices and corporate actions; its methods return what was known on a day.

    Parameters
    ----------
    prices : polars.DataFrame
        Rows of `prices`, sorted by series_id, time and known_at.
    actions : polars.DataFrame
        Rows of `actions`, sorted likewise.
    columns : tuple of str
        Columns that the panel of a bucket has like the whole panel, also without a value. Empty: those with a value.
    """

    prices: pl.DataFrame
    actions: pl.DataFrame
    columns: tuple[str, ...] = ()

    def quotes(self, as_of: date | None = None) -> pl.DataFrame:
        """Return prices as quoted, as known at `as_of`; see `tidecast.flows.warehouse.schema.as_known`.

        Parameters
        ----------
        as_of : date, optional
            None: as known now.
        """
        quotes = as_known(self.prices, as_of)
        if not self.columns:
            return quotes
        kinds = self.prices.schema
        return quotes.select(
            name if name in quotes.columns else pl.lit(None, kinds[name]).alias(name) for name in self.columns
        )

    def actions_at(self, as_of: date | None = None) -> pl.DataFrame:
        """Return splits and dividends with an ex-date up to `as_of` that were known by then; None: as known now.

        Parameters
        ----------
        as_of : date, optional
        """
        return last_known(self.actions, as_of)

    def shown_at(self, as_of: date | None = None) -> pl.DataFrame:
        """Return the actions of `actions_at` that the prices known at `as_of` show, each on the row that shows it.

        See `shown_actions`: an action that no price shows was never applied, or prices were restated before.

        Parameters
        ----------
        as_of : date, optional
            None: as known now.
        """
        return look_for(self.quotes(as_of), self.actions_at(as_of)).actions

    def panel(self, as_of: date | None = None) -> pl.DataFrame:
        """Return the panel as known at `as_of`: each series on the basis of its last row, splits and dividends undone.

        A split is undone on the row whose price shows it; if no price does, prices stay as quoted. Actions that became
        known later do not count, so the forecasts of a day can be computed again. Newest prices are always as quoted.

        Parameters
        ----------
        as_of : date, optional
            None: as known now.
        """
        quotes, actions = self.quotes(as_of), self.actions_at(as_of)
        if actions.is_empty():
            return quotes
        adjusted = adjust(quotes, look_for(quotes, actions).actions)
        assert isinstance(adjusted, pl.DataFrame)
        return adjusted
