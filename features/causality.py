"""Check that no result of a transformer or a model depends on later rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl
from polars import selectors
from sklearn.base import clone

from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.features.frames import Frame, like, to_polars
from tidecast.features.panel import PanelSchema, check_columns

TRANSFORMED = 1e-9
"""Relative difference below which two values of a transformer are equal."""

FORECAST = 1e-4
"""Difference, relative to the range of its quantiles, below which two forecasts are equal: networks run in float32."""


def assert_causal(subject: Any, panel: Frame) -> None:
    """Check that no result of a transformer or a model depends on later rows.

    A *transformer* (it has `transform`) is fitted and applied to the rows up to several cuts, to the whole panel, and
    to the whole panel with everything after the cut altered, set missing, or joined by a new series. Every row up to
    the cut must stay the same, also if the cut's own rows are missing. If the column `calendar` names calendars,
    sessions that close later on the day of the cut are altered too. Further cuts (ends of months and years, each
    session of a week, and across the panel) are compared with the whole panel only; a look ahead from rarer rows can
    be missed. So no estimate of `fit` may affect an earlier row: transformers are stateless. Rows keep the order of
    `panel`: if it begins with the newest, the row above is tomorrow's.

    A *model* (it has `fit` and `predict`) is fitted to the rows up to one cut. It forecasts later origins with
    everything after each origin altered, removed, set missing, or joined by a new series. Its `fit_end_` must be the
    last training time, and it must forecast the same after an earlier fit to the whole panel. Columns that its schema
    declares known ahead (`future`) or constant (`static`) are not altered; all others are.

    Parameters
    ----------
    subject : transformer or forecaster
        It is cloned and stays unchanged.
    panel : polars or pandas DataFrame
        Some hundred rows of a few series; for a model, enough to fit it to the first two thirds.

    Raises
    ------
    AssertionError
        When a result depends on later rows. The message names the column, the series and the first row that changes.
    TypeError
        When `subject` is neither.
    ValueError
        When the panel is too short for the check.

    Examples
    --------
    >>> import polars as pl
    >>> from datetime import date
    >>> days = pl.date_range(date(2024, 1, 1), date(2024, 3, 1), eager=True)
    >>> panel = pl.DataFrame({"series_id": "a", "time": days, "close": range(1, 62)})
    >>> from tidecast.features import PriceFeatures
    >>> assert_causal(PriceFeatures(), panel)
    """
    frame = to_polars(panel)
    check_columns(frame, ["series_id", "time"])
    if not frame.schema["series_id"].is_integer():
        frame = frame.with_columns(pl.col("series_id").cast(pl.String))
    if frame["time"].n_unique() < 10:
        raise ValueError(f"panel must have at least 10 distinct times, got {frame['time'].n_unique()}.")
    if hasattr(subject, "fit") and hasattr(subject, "predict"):
        _check_model(subject, frame, panel)
    elif hasattr(subject, "transform"):
        _check_transformer(subject, frame, panel)
    else:
        raise TypeError(f"subject must have transform, or fit and predict, got {type(subject).__name__}.")


def _check_transformer(transformer: Any, panel: pl.DataFrame, kind: Frame) -> None:
    keys = ["series_id", "time"]

    def transformed(rows: pl.DataFrame) -> pl.DataFrame:
        frame = like(rows, kind)
        out = to_polars(clone(transformer).fit(frame).transform(frame))
        if not out.select(keys).equals(to_polars(frame).select(keys)):
            raise AssertionError(f"{type(transformer).__name__} must return the rows it was given, in their order.")
        return out.with_columns(rows["time"], selectors.float().fill_nan(None))

    for cut in _cuts(panel):
        for start in (panel, _missing(panel, pl.col("time") == cut)):
            alone = transformed(start.filter(pl.col("time") <= cut))
            tolerance = {name: _rounding(alone[name]) for name in _numbers(alone, keys)}
            for what, future in _futures(start, cut):
                found = transformed(future).filter(pl.col("time") <= cut)
                _compare(alone, found, keys, tolerance, f"the rows after {cut} are {what}")
        _check_closes(transformed, panel, cut)
    whole = transformed(panel)
    for cut in _rare_cuts(panel):
        alone = transformed(panel.filter(pl.col("time") <= cut))
        tolerance = {name: _rounding(alone[name]) for name in _numbers(alone, keys)}
        _compare(alone, whole.filter(pl.col("time") <= cut), keys, tolerance, f"the rows after {cut} are known")


def _check_closes(transformed: Any, panel: pl.DataFrame, cut: Any) -> None:
    """Check that sessions which close later on the day of the cut change nothing that closed before."""
    calendar = PanelCalendar.named(panel)
    named = pl.col("series_id").is_in(list(calendar.own))
    today = panel.filter((pl.col("time") == cut) & named)
    if today.is_empty():
        return
    keys = ["series_id", "time"]
    closes = today.select(keys).with_columns(calendar.closes(today).alias("closes"))
    upto = panel.filter(pl.col("time") <= cut)
    expected = transformed(upto)
    for instant in closes["closes"].unique().sort()[:-1]:
        later = closes.filter(pl.col("closes") > instant).select(*keys, late=pl.lit(True))
        late = upto.join(later, on=keys, how="left", maintain_order="left")["late"].fill_null(False)
        changed = upto.with_columns(
            pl.when(late).then(pl.col(name) * 3.0).otherwise(pl.col(name)).alias(name) for name in _numbers(upto)
        )
        found = transformed(changed).filter(~late)
        before = expected.filter(~late)
        tolerance = {name: _rounding(before[name]) for name in _numbers(before, keys)}
        _compare(before, found, keys, tolerance, f"sessions of {cut} that close after {instant} are altered")


def _check_model(model: Any, panel: pl.DataFrame, kind: Frame) -> None:
    keys = ["series_id", "origin", "step"]
    times = panel["time"].unique().sort()
    last = model[-1] if hasattr(model, "steps") else model  # of a Pipeline
    declared = _declared(last)
    ahead = min(last.horizon, len(times) // 8) if declared else 1  # rows with what is known ahead of an origin
    cut, *later = times[len(times) * 2 // 3], times[len(times) * 5 // 6], times[-1 - ahead]

    def forecasts(fitted: Any, rows: pl.DataFrame, origins: list[Any]) -> pl.DataFrame:
        table = to_polars(fitted.predict(like(rows, kind), origins=origins))
        return table.with_columns(pl.col("origin").cast(times.dtype)).sort(keys)

    unseeded = {
        name: 0 for name, value in model.get_params().items() if name.endswith("random_state") and value is None
    }
    model = clone(model).set_params(**unseeded)  # two fits to the same rows must agree
    training = like(panel.filter(pl.col("time") <= cut), kind)
    fitted = clone(model).fit(training)
    last = fitted[-1] if hasattr(fitted, "steps") else fitted
    if pl.Series([last.fit_end_]).cast(times.dtype)[0] != cut:
        raise AssertionError(f"fit_end_ must be the last training time {cut}, got {last.fit_end_}.")
    expected = forecasts(fitted, panel, [cut, *later])
    if expected.is_empty():
        raise ValueError(f"{type(last).__name__} returned no forecast to compare. Give it a longer panel.")
    refitted = clone(model).fit(like(panel, kind)).fit(training)
    found = forecasts(refitted, panel, [cut, *later])
    _compare(expected, found, keys, _tolerance(expected, keys), "it was fitted to the whole panel before")
    for origin in (cut, *later):
        here = expected.filter(pl.col("origin") == origin)
        removed = panel.filter(pl.col("time") <= origin)
        if declared:
            known_ahead = panel.filter(pl.col("time") > origin).select("series_id", "time", *declared)
            removed = pl.concat([removed, known_ahead], how="diagonal")
        for what, future in [*_futures(panel, origin, declared), ("removed", removed)]:
            found = forecasts(fitted, future, [origin])
            _compare(here, found, keys, _tolerance(here, keys), f"the rows after {origin} are {what}")


def _declared(model: Any) -> tuple[str, ...]:
    """Columns that a model's schema declares known ahead or constant."""
    schema = getattr(model, "schema", None)
    return (*schema.future, *schema.static) if isinstance(schema, PanelSchema) else ()


def _cuts(panel: pl.DataFrame) -> list[Any]:
    """Return a few times across the panel, and the time before the last series begins."""
    times = panel["time"].unique().sort()
    cuts = {times[len(times) * quarter // 4] for quarter in (1, 2, 3)} | {times[-2]}
    newest = panel.group_by("series_id").agg(pl.col("time").min())["time"].max()
    before = times.filter(times < newest)
    return sorted(cuts | ({before[-1]} if len(before) > 1 else set()))


def _rare_cuts(panel: pl.DataFrame) -> list[Any]:
    """Return times at which a transformer may look ahead that otherwise does not.

    These are each session of a week, ends of months and years, and more across the panel.
    """
    times = panel["time"].unique().sort()
    middle = len(times) // 2
    cuts = {*times[middle : middle + 6], *times.gather_every(max(len(times) // 8, 1), 1)}
    if times.dtype.is_temporal():
        ends = times.filter((times.dt.month() != times.dt.month().shift(-1)).fill_null(False))
        years = ends.filter(ends.dt.month() == 12).tail(2)
        cuts |= {*years, *ends.gather_every(max(len(ends) // 8, 1))}
    return sorted(cuts - {times[-1]})


def _futures(panel: pl.DataFrame, cut: Any, declared: Sequence[str] = ()) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yield the panel with the rows after `cut` unchanged, and changed in three ways; `declared` columns stay."""
    keys = ("series_id", *declared)
    later = pl.col("time") > cut
    yield "known", panel
    by_turns = pl.when(pl.int_range(pl.len()) % 2 == 0).then(3.0).otherwise(0.5)
    yield (
        "altered",
        panel.with_columns(
            pl.when(later).then(pl.col(name) * by_turns).otherwise(pl.col(name)).alias(name)
            for name in _numbers(panel, keys)
        ),
    )
    yield "missing", _missing(panel, later, keys)
    first: Any = panel["series_id"].min()
    name = f" {first}" if isinstance(first, str) else first - 1  # listed before all others
    newcomer = panel.filter(later)
    if "calendar" in panel.columns:  # a series has one calendar
        newcomer = newcomer.filter(pl.col("calendar").eq_missing(pl.col("calendar").first()))
    newcomer = newcomer.unique("time", keep="first", maintain_order=True)
    named = pl.lit(name, dtype=panel.schema["series_id"]).alias("series_id")
    yield "joined by a new series", pl.concat([newcomer.with_columns(named), panel])


def _missing(panel: pl.DataFrame, where: pl.Expr, keys: Sequence[str] = ("series_id",)) -> pl.DataFrame:
    """Return the panel without its numbers in some rows."""
    return panel.with_columns(pl.when(~where).then(pl.col(name)).alias(name) for name in _numbers(panel, keys))


def _numbers(frame: pl.DataFrame, keys: Sequence[str] = ("series_id",)) -> list[str]:
    return [name for name, kind in frame.schema.items() if kind.is_numeric() and name not in keys]


def _rounding(values: pl.Series) -> pl.Series:
    """Return the tolerance of each value: rounding of itself and of the sums it came from."""
    size = values.abs().cast(pl.Float64).fill_null(0.0)
    return TRANSFORMED * size + 1e-3 * TRANSFORMED * float(size.to_numpy().max(initial=0.0))


def _tolerance(forecasts: pl.DataFrame, keys: list[str]) -> dict[str, pl.Series]:
    """Return the tolerance of each forecast: a small share of the distance of the row's outermost quantiles."""
    names = _numbers(forecasts, keys)
    width = forecasts.select(pl.max_horizontal(names) - pl.min_horizontal(names)).to_series()
    return {name: FORECAST * width + TRANSFORMED * forecasts[name].abs() for name in names}


def _compare(
    expected: pl.DataFrame, found: pl.DataFrame, keys: list[str], tolerance: dict[str, pl.Series], why: str
) -> None:
    """Raise AssertionError for the first row that is in one table only or differs by more than the tolerance."""
    for one, other, verb in ((expected, found, "appears only without that"), (found, expected, "appears only then")):
        lone = one.join(other, on=keys, how="anti").sort(keys[1])
        if not lone.is_empty():
            raise AssertionError(f"{_row(lone, 0, keys)} must not depend on later rows, but when {why}: it {verb}.")
    if expected.columns != found.columns:
        raise AssertionError(f"Columns must not depend on later rows, but when {why}: {found.columns}.")
    changes = []
    for column in expected.columns:
        before, after = expected[column], found[column]
        if column in tolerance:
            differs = ((before - after).abs() > tolerance[column]).fill_null(False) | (
                before.is_null() != after.is_null()
            )
        else:
            differs = before.ne_missing(after)
        changes += [(expected[keys[1]][row], column, row) for row in differs.arg_true().to_list()]
    if changes:
        _, column, row = min(changes, key=lambda change: change[0])
        raise AssertionError(
            f"{column!r} of {_row(expected, row, keys)} must not depend on later rows, but when {why}, "
            f"it changes from {expected[column][row]} to {found[column][row]}."
        )


def _row(table: pl.DataFrame, row: int, keys: list[str]) -> str:
    names = ["series", "row" if keys[1] == "time" else "origin", *keys[2:]]
    return ", ".join(f"{name} {str(table[key][row])!r}" for name, key in zip(names, keys, strict=True))
