"""The tables of what is known ahead: future covariates and events, with the instants from which they were known."""

import polars as pl

from tidecast.flows.config.columns import FUTURE_VALUES
from tidecast.flows.warehouse.delta_writer import DeltaTables
from tidecast.flows.warehouse.schema import EVENT_KEY, FUTURE_KEY, TABLES


class AheadTables(DeltaTables):
    """Future covariates and events. A read takes the newest version of a table, or `version`."""

    def future_values(self, version: int | None = None) -> pl.DataFrame:
        """Return every row of `future_values`, sorted by its key.

        Parameters
        ----------
        version : int, optional
            Of the table. None: the newest.

        Returns
        -------
        polars.DataFrame
            series_id and group_name (either may be "": a row for a group, or for all series), time, available_at, the
            covariates, and the `as_of` of the run that stored the row.
        """
        return self._read(self._scan("future_values", version), "future_values", version).sort(FUTURE_KEY)

    def future_names(self) -> list[str]:
        """Return the covariates that the table has."""
        return [name for name in self._scan("future_values").collect_schema() if name not in FUTURE_VALUES]

    def events(self, version: int | None = None) -> pl.DataFrame:
        """Return every row of `events`, sorted by its key.

        Parameters
        ----------
        version : int, optional
            Of the table. None: the newest.
        """
        return self._read(self._scan("events", version), "events", version).sort(EVENT_KEY)

    def event_kinds(self) -> list[str]:
        """Return the kinds of events that the table has, sorted."""
        return self._read(self._scan("events").select("kind").unique(), "events")["kind"].sort().to_list()

    def store_future_values(self, rows: pl.DataFrame) -> int:
        """Store new rows, in one commit; return how many. A row with a stored key and other values replaces it.

        Parameters
        ----------
        rows : polars.DataFrame
            As `future_values` returns them.
        """
        rows = TABLES["future_values"].shape(rows)
        values = [name for name in rows.columns if name not in FUTURE_VALUES]
        return self._merge("future_values", rows, FUTURE_KEY, values, "time")

    def store_events(self, rows: pl.DataFrame) -> int:
        """Store new rows, in one commit; return how many. A row with a stored key that is (not) cancelled replaces it.

        Parameters
        ----------
        rows : polars.DataFrame
            As `events` returns them.
        """
        return self._merge("events", TABLES["events"].shape(rows), EVENT_KEY, ("cancelled",))
