"""The tables of the warehouse, and what must hold of forecasts before they are published.

=============  ==============================================  =========================================================
table          unique on                                       what a row is
=============  ==============================================  =========================================================
`prices`       series_id, time, known_at                       a price, as known from `known_at` on; never deleted
`actions`      series_id, time, known_at                       a split or dividend of an ex-date, as known from then on
`quarantine`   rule, original, occurrence                      a row that broke a rule, its original values as JSON
`repairs`      rule, original, occurrence                      a decision on a row in quarantine: by whom, which price
`flags`        series_id, time, rule                           a stored row, series or feed that looks wrong to a rule
`deliveries`   file                                            a file of a drop folder, and the counts of its rows
`features`     series_id, time                                 default inputs, for people; no model reads them
`forecasts`    as_of, series_id, step                          a published forecast; an `as_of` is issued whole
`scores`       as_of, series_id, step                          a published forecast against what came true
`runs`         as_of                                           what the run of that session read, did and published
`decisions`    decision                                        a decision on the champion: evidence, or by whom and why
`panel`        as_of                                           the panel's settings, as in panel.json; the last is valid
=============  ==============================================  =========================================================

Extra columns of `prices` are added when a source first has them; older rows read as null. For another table, add an
entry to `TABLES`, and methods of the warehouse that write and read it.

Days are dates, sessions of the panel's calendar. `year` is the partition: the year of `time` where rows are of prices
(0 where the time is unreadable), of `as_of` in the other tables; `TableSpec.day` says which.
"""

from collections.abc import Mapping
from datetime import date
from itertools import pairwise

import polars as pl

from tidecast.features.error_text import counted
from tidecast.features.transformers.price_features import PriceFeatures
from tidecast.flows.config.columns import (
    ACTIONS,
    CLOCK,
    COUNT,
    DAY,
    EVENTS,
    FLAG,
    FUTURE_VALUES,
    NUMBER,
    PRICES,
    TEXT,
    VALUES,
    YEAR,
    Columns,
)
from tidecast.flows.errors import WarehouseError
from tidecast.flows.warehouse.table_spec import TableSpec
from tidecast.forecasting.tables.names import CRPS, loss_in
from tidecast.forecasting.tables.quantiles import level_of, levels_in
from tidecast.forecasting.tables.quantiles import quantile_columns as columns_of_levels

QUARANTINE: Columns = {
    "series_id": TEXT, "time": DAY, "rule": TEXT, "original": TEXT, "occurrence": COUNT, "as_of": DAY,
    **dict.fromkeys(VALUES, NUMBER), **YEAR,
}  # fmt: skip
REPAIRS: Columns = {  # as_of: the newest the panel had seen, from which the price is known
    "series_id": TEXT, "time": DAY, "rule": TEXT, "original": TEXT, "occurrence": COUNT, "action": TEXT,
    **dict.fromkeys(VALUES, NUMBER), "as_of": DAY, "by": TEXT, "why": TEXT, "at": CLOCK, **YEAR,
}  # fmt: skip
FLAGS: Columns = {"series_id": TEXT, "time": DAY, "rule": TEXT, "as_of": DAY, **YEAR}
FORECASTS: Columns = {  # the quantile columns come between forecast and model
    "as_of": DAY, "series_id": TEXT, "step": COUNT, "origin": DAY, "time": DAY, "forecast": NUMBER,
    "model": TEXT, "run_id": TEXT, "live": FLAG, "trained_through": DAY, **YEAR,
}  # fmt: skip
SCORES: Columns = {
    "as_of": DAY, "series_id": TEXT, "step": COUNT, "origin": DAY, "time": DAY, "model": TEXT, "live": FLAG,
    "truth": NUMBER, "crps": NUMBER, "ae": NUMBER, "covered": FLAG, "crps_random_walk": NUMBER,
    "ae_random_walk": NUMBER, "scale": NUMBER, **YEAR,
}  # fmt: skip
RUNS: Columns = {
    "as_of": DAY, "status": TEXT, "rows_in": COUNT, "rows_stored": COUNT, "rows_unchanged": COUNT,
    "rows_quarantined": COUNT, "rows_corrected": COUNT, "series_live": COUNT, "series_forecast": COUNT,
    "champion": TEXT, "champion_version": TEXT, "trained_through": DAY, "training": TEXT, "table_versions": TEXT,
    "settings_digest": TEXT, "run_id": TEXT, "started": CLOCK, "finished": CLOCK, "rules": TEXT, **YEAR,
}  # fmt: skip
DELIVERIES: Columns = {
    "file": TEXT, "bytes": COUNT, "modified": COUNT, "digest": TEXT, "rows_in": COUNT, "rows_stored": COUNT,
    "rows_corrected": COUNT, "rows_unchanged": COUNT, "rows_quarantined": COUNT, "rules": TEXT, "as_of": DAY, **YEAR,
}  # fmt: skip
FEATURES: Columns = {  # as_of: the session on which the row was known to be so
    "series_id": TEXT, "time": DAY, **dict.fromkeys(PriceFeatures(ranges=True).added_, NUMBER), "as_of": DAY, **YEAR,
}  # fmt: skip
DECISIONS: Columns = {  # checks, compared (numbers and recipes) and policy are JSON; n_origins is null without a gate
    "decision": TEXT, "as_of": DAY, "outcome": TEXT, "winner": TEXT, "version": TEXT, "run_id": TEXT,
    "candidate": TEXT, "champion": TEXT, "champion_version": TEXT, "n_origins": COUNT, "first_origin": DAY,
    "last_origin": DAY, "distribution_skill": NUMBER, "distribution_se": NUMBER, "distribution_p": NUMBER,
    "distribution_low": NUMBER, "distribution_high": NUMBER, "median_skill": NUMBER, "median_se": NUMBER,
    "median_low": NUMBER, "median_high": NUMBER, "worst_decile": NUMBER,
    "reason": TEXT, "verdict": TEXT, "checks": TEXT, "compared": TEXT,
    "policy": TEXT, "prices_version": COUNT, "panel_digest": TEXT, "settings_digest": TEXT, "gates_before": COUNT,
    "by": TEXT, "why": TEXT, "at": CLOCK, **YEAR,
}  # fmt: skip
LOOKS: Columns = {"as_of": DAY, "at": CLOCK, "newest": DAY, **YEAR}  # as_of: the day (UTC) of the look at the source
PANEL: Columns = {"as_of": DAY, "panel": TEXT, "settings": TEXT, **YEAR}  # settings is JSON

OF_THE_TABLE = ("series_id", "time", "known_at", "as_of", "year")
"""Columns of `prices` that are not values of a source."""

PRICE_KEY = ("series_id", "time", "known_at")
QUARANTINE_KEY = ("rule", "original", "occurrence")
FEATURE_KEY = ("series_id", "time")
FLAG_KEY = ("series_id", "time", "rule")
FORECAST_KEY = ("as_of", "series_id", "step")
DECISION_KEY = ("decision",)
FUTURE_KEY = ("series_id", "group_name", "time", "available_at")
EVENT_KEY = ("series_id", "group_name", "kind", "event_id", "time", "known_at")


def _with_extra_columns(columns: Columns, rows: pl.Schema) -> Columns:
    """Columns of prices: extra ones are kept, after the others, numbers as Float64."""
    extra = {name: kind for name, kind in rows.items() if name not in columns}
    return {**columns, **{name: NUMBER if kind.is_numeric() else kind for name, kind in extra.items()}}


def _with_quantiles(columns: Columns, rows: pl.Schema) -> Columns:
    """Columns of forecasts: the quantiles are kept, between `forecast` and `model`."""
    names = list(columns)
    middle = names.index("model")
    quantiles = columns_of_levels(levels_in(rows.names()))
    return {name: columns.get(name, NUMBER) for name in (*names[:middle], *quantiles, *names[middle:])}


def _with_their_loss(columns: Columns, rows: pl.Schema) -> Columns:
    """Columns of scores: of other than the default quantiles, pinball in the place of crps, as the two differ."""
    return {name.replace(CRPS, loss_in(rows.names())): kind for name, kind in columns.items()}


_NEWEST_DAYS = pl.when(pl.col("year") == pl.col("year").max()).then("time")
"""Days of the newest year. Of earlier years in the same delivery, a bucket of series is read without the others."""

_SPECS = (
    TableSpec(
        "prices", PRICES, PRICE_KEY, optional=VALUES[1:], day="time", columns_for=_with_extra_columns,
        order=(_NEWEST_DAYS, *PRICE_KEY),  # a few days are read without the rest of their year
    ),
    TableSpec("actions", ACTIONS, PRICE_KEY, day="time"),
    TableSpec("quarantine", QUARANTINE, QUARANTINE_KEY, optional=VALUES, day="time"),
    TableSpec("repairs", REPAIRS, QUARANTINE_KEY, optional=VALUES, day="time"),
    TableSpec("flags", FLAGS, FLAG_KEY, day="time"),
    TableSpec("deliveries", DELIVERIES, ("file",)),
    TableSpec("features", FEATURES, FEATURE_KEY, day="time", order=("time", "series_id")),
    TableSpec("forecasts", FORECASTS, FORECAST_KEY, optional=("run_id",), columns_for=_with_quantiles),
    TableSpec("scores", SCORES, FORECAST_KEY, columns_for=_with_their_loss),
    TableSpec("runs", RUNS, ("as_of",)),
    TableSpec("decisions", DECISIONS, DECISION_KEY, former_names={
        "spread_skill": "distribution_skill", "spread_se": "distribution_se", "spread_p": "distribution_p",
        "centre_skill": "median_skill", "centre_se": "median_se",
    }),
    TableSpec("future_values", FUTURE_VALUES, FUTURE_KEY, day="time", columns_for=_with_extra_columns),
    TableSpec("events", EVENTS, EVENT_KEY, day="time"),
    TableSpec("looks", LOOKS, ("as_of",)),
    TableSpec("panel", PANEL, ("as_of",)),
)  # fmt: skip
TABLES: Mapping[str, TableSpec] = {spec.name: spec for spec in _SPECS}


def quantile_columns(rows: pl.DataFrame) -> list[str]:
    """Return the names of the quantile columns of a forecast table, by level.

    Parameters
    ----------
    rows : polars.DataFrame
        Of `forecasts`.
    """
    return columns_of_levels(levels_in(rows.columns))


def as_known(revisions: pl.DataFrame, as_of: date | None) -> pl.DataFrame:
    """Return the panel as known at `as_of` (None: as known now): of several revisions of a row, the last.

    Parameters
    ----------
    revisions : polars.DataFrame
        Rows of `prices`, sorted by series_id, time and known_at.
    as_of : date or None
        Rows with ``time <= as_of`` and ``known_at <= as_of`` count.

    Returns
    -------
    polars.DataFrame
        series_id, time, close; open, high, low, volume and extra columns where any value is known. Sorted by series_id
        and time.
    """
    panel = last_known(revisions, as_of)
    return panel.drop(empty_in(panel))


def empty_in(panel: pl.DataFrame) -> list[str]:
    """Return the columns of values, besides close, that have none in any row.

    Parameters
    ----------
    panel : polars.DataFrame
    """
    return [name for name in values_in(panel) if name != "close" and panel[name].null_count() == panel.height]


def in_order(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows of `prices` sorted by series_id, time and known_at.

    By one whole number made of the three: of millions of rows, that takes a third of the time that text takes.

    Parameters
    ----------
    rows : polars.DataFrame
        Without missing keys.
    """
    if rows.height <= 1:
        return rows
    names = rows["series_id"].unique().sort()
    code = rows["series_id"].cast(pl.Enum(names)).to_physical().cast(pl.Int64)
    for name in PRICE_KEY[1:]:
        day = rows[name].to_physical().cast(pl.Int64)
        first, last = day.min(), day.max()
        assert isinstance(first, int)
        assert isinstance(last, int)
        code = code * (last - first + 1) + (day - first)
    return rows[code.arg_sort()]


def last_known(revisions: pl.DataFrame, as_of: date | None) -> pl.DataFrame:
    """Return the last revision of each series and time, up to `as_of`, without the columns of the table itself.

    Parameters
    ----------
    revisions : polars.DataFrame
        Sorted by series_id, time and known_at.
    as_of : date or None
        None: as known now.
    """
    later = pl.lit(False) if as_of is None else (pl.col("time") > as_of) | (pl.col("known_at") > as_of)
    if revisions.select(later.any()).item():  # a filter that keeps all rows would still copy them
        revisions = revisions.filter(~later)
    superseded = (pl.col("series_id") == pl.col("series_id").shift(-1)) & (pl.col("time") == pl.col("time").shift(-1))
    if revisions.select(superseded.any()).item():
        revisions = revisions.filter(~superseded.fill_null(False))
    return revisions.drop("known_at", "as_of", "year", strict=False)


def values_in(rows: pl.DataFrame) -> list[str]:
    """Return the columns of rows of `prices` that hold values of a source.

    Parameters
    ----------
    rows : polars.DataFrame
    """
    return [name for name in rows.columns if name not in OF_THE_TABLE]


def check_forecasts(as_of: date, rows: pl.DataFrame) -> None:
    """Refuse forecasts that must not be published.

    Parameters
    ----------
    as_of : date
        The session.
    rows : polars.DataFrame
        As the table `forecasts` has them.

    Raises
    ------
    WarehouseError
        There are no rows; a value is missing or not finite; quantiles cross; an origin lies after `as_of`, or a time
        not after its origin; a model has seen rows after `as_of`; a step at or before `as_of` is live.
    """
    if rows.is_empty():
        raise WarehouseError(f"A forecast of {as_of} must have rows, got none.")
    ordered = sorted(["forecast", *quantile_columns(rows)], key=level_of)
    crossing = [pl.col(low) > pl.col(high) for low, high in pairwise(ordered)]
    needed = [name for name in rows.columns if name != "run_id"]
    rules = {
        "every value must be there": pl.any_horizontal(pl.col(needed).is_null()),
        "prices must be finite": pl.any_horizontal(~pl.col(ordered).is_finite()),
        "quantiles must not cross": pl.any_horizontal(pl.lit(False), *crossing),
        f"origins must not lie after the as_of {as_of}": pl.col("origin") > as_of,
        "a forecast's time must lie after its origin": pl.col("time") <= pl.col("origin"),
        f"a model must not have seen rows after {as_of} (trained_through)": pl.col("trained_through") > as_of,
        "a step at or before the as_of must not be live": pl.col("live") & (pl.col("time") <= as_of),
    }
    for rule, broken in rules.items():
        found = rows.filter(broken)
        if not found.is_empty():
            first = found.select("series_id", "step", "origin", "time", "trained_through").row(0, named=True)
            raise WarehouseError(
                f"The forecasts of {as_of} are not published: {rule}; "
                f"{counted(found.height, 'row breaks', 'rows break')} it, first {first}."
            )
