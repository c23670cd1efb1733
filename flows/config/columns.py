"""Columns of the tables that settings refer to: a user's columns must not be called the same."""

from collections.abc import Mapping

import polars as pl

TEXT, DAY, NUMBER, COUNT, FLAG = pl.String(), pl.Date(), pl.Float64(), pl.Int64(), pl.Boolean()
CLOCK = pl.Datetime("us", "UTC")
YEAR = {"year": pl.Int32()}
"""The partition of every table."""

Columns = Mapping[str, pl.DataType]

VALUES = ("close", "open", "high", "low", "volume")
"""Values of one session of one series; only `close` is always there."""

# as_of: the run that first stored the row, so that a run's counts follow from the tables, also after a kill
PRICES: Columns = {
    "series_id": TEXT, "time": DAY, **dict.fromkeys(VALUES, NUMBER), "known_at": DAY, "as_of": DAY, **YEAR,
}  # fmt: skip
ACTIONS: Columns = {
    "series_id": TEXT, "time": DAY, "split_ratio": NUMBER, "dividend": NUMBER, "known_at": DAY, "as_of": DAY, **YEAR,
}  # fmt: skip

FUTURE_VALUES: Columns = {  # the covariates come after them; "" stands for no series and no group
    "series_id": TEXT, "group_name": TEXT, "time": DAY, "available_at": CLOCK, "as_of": DAY, **YEAR,
}  # fmt: skip
EVENTS: Columns = {
    "series_id": TEXT, "group_name": TEXT, "kind": TEXT, "event_id": TEXT, "time": CLOCK, "known_at": CLOCK,
    "cancelled": FLAG, "as_of": DAY, **YEAR,
}  # fmt: skip
"""What is known ahead. A day is stored as the first microsecond after its midnight in UTC."""
