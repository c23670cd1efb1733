"""Frames as people have them: recognised, or refused in one error with the line that makes a panel of them."""

from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from tidecast.features import PanelSchema, check_panel, panel_from, to_polars
from tidecast.forecasting import GRUForecaster, RandomWalk

MODEL = RandomWalk(horizon=2, lookback=8)


@pytest.fixture(scope="module")
def prices(random_walks):
    return random_walks(n_series=2, n_rows=60)


@pytest.fixture(scope="module")
def expected(prices):
    return RandomWalk(horizon=2, lookback=8).fit(prices).predict()


def nixtla(prices):
    return prices.rename({"series_id": "unique_id", "time": "ds", "close": "y"})


def sktime(prices):
    frame = prices.to_pandas().set_index(["series_id", "time"]).rename_axis(["instances", "timepoints"])
    return frame.rename(columns={"close": "value"})


def darts(prices):
    return prices.pivot(on="series_id", index="time", values="close").to_pandas().set_index("time")


def yfinance(prices):
    wide = darts(prices)
    both = pd.concat({"Close": wide, "Volume": wide * 0 + 100}, axis=1)
    return both.rename_axis(columns=["Price", "Ticker"], index="Date")


def gluonts(prices):
    frame = prices.to_pandas().rename(columns={"series_id": "item_id", "close": "target"})
    return frame.set_index("time").rename_axis(index=None)


LIBRARIES = {
    "nixtla in polars": nixtla,
    "nixtla in pandas": lambda prices: nixtla(prices).to_pandas(),
    "sktime": sktime,
    "sktime without names": lambda prices: sktime(prices).rename_axis([None, None]),
    "darts": darts,
    "darts in polars": lambda prices: prices.pivot(on="series_id", index="time", values="close"),
    "yfinance": yfinance,
    "yfinance by ticker": lambda prices: yfinance(prices).swaplevel(axis=1).sort_index(axis=1),
    "gluonts": gluonts,
    "ticker and date": lambda prices: sktime(prices).rename_axis(["Ticker", "Date"]),
    "date and ticker": lambda prices: sktime(prices).rename_axis(["Ticker", "Date"]).swaplevel().sort_index(),
    "pyarrow": lambda prices: nixtla(prices).to_arrow(),
    "texts of days": lambda prices: nixtla(prices).with_columns(pl.col("ds").cast(pl.String)),
    "a panel": lambda prices: prices,
}


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_frames_of_other_libraries_fit_and_forecast(library, prices, expected):
    frame = LIBRARIES[library](prices)
    found = MODEL.fit(panel_from(frame)).predict()
    assert isinstance(found, pd.DataFrame) == isinstance(frame, pd.DataFrame)
    table = to_polars(found).with_columns(pl.col("origin", "time").cast(pl.Date))
    assert table.select("series_id", "origin", "step", "time").equals(
        expected.select("series_id", "origin", "step", "time")
    )
    np.testing.assert_allclose(table["forecast"], expected["forecast"])


def one_of(prices):
    return prices.filter(pl.col("series_id") == "A")


@pytest.mark.parametrize("kind", ["datetimes", "periods", "days", "columns", "polars"])
def test_one_series_without_a_name_fits_and_forecasts(kind, prices, expected):
    one = one_of(prices)
    days = pd.DatetimeIndex(one["time"].to_list())
    frame = {
        "datetimes": pd.Series(one["close"].to_numpy(), index=days, name="A"),
        "periods": pd.Series(one["close"].to_numpy(), index=days.to_period("D"), name="A"),
        "days": pd.DataFrame({"Close": one["close"].to_numpy()}, index=days),
        "columns": pd.DataFrame({"Date": days, "Open": 1.0, "Close": one["close"].to_numpy(), "Volume": 5}),
        "polars": one.select(date="time", price="close"),
    }[kind]
    panel = to_polars(panel_from(frame))
    assert panel.columns[:3] == ["series_id", "time", "close"]
    assert panel["series_id"].unique().to_list() == ["A" if kind in ("datetimes", "periods") else "series"]
    table = MODEL.fit(panel).predict()
    np.testing.assert_allclose(table["forecast"], expected.filter(series_id="A")["forecast"])


def test_other_names_are_given_and_further_columns_stay(prices):
    frame = prices.select(name="series_id", when="time", last="close", bid=pl.col("close") - 1)
    panel = panel_from(frame, series_id="name", time="when", target="last")
    assert panel.columns == ["series_id", "time", "close", "bid"]
    assert panel_from(yfinance(prices)).columns.tolist() == ["series_id", "time", "close", "volume"]


@pytest.mark.parametrize("library", ["nixtla in polars", "nixtla in pandas", "darts in polars"])
def test_fit_on_anothers_frame_gives_one_error_with_the_line_that_works(library, prices, expected):
    """It took three errors in a row, and none named the target."""
    frame = LIBRARIES[library](prices)
    with pytest.raises(ValueError, match="panel_from") as caught:
        MODEL.fit(frame)
    line = str(caught.value)[str(caught.value).index("panel_from(") :].partition(")")[0] + ")"
    if "nixtla" in library:
        assert line == 'panel_from(frame, series_id="unique_id", time="ds", target="y")'
    table = MODEL.fit(eval(line, {"panel_from": panel_from, "frame": frame})).predict()
    np.testing.assert_allclose(table["forecast"], expected["forecast"])


@pytest.mark.parametrize(
    "library", ["sktime", "sktime without names", "yfinance", "gluonts", "darts", "ticker and date"]
)
def test_fit_on_a_pandas_index_or_columns_of_levels_names_panel_from(library, prices):
    with pytest.raises(ValueError, match=r"panel_from\(frame\)"):
        MODEL.fit(LIBRARIES[library](prices))


def test_fit_on_a_series_or_a_table_of_arrow_names_panel_from(prices):
    for frame in (prices.to_arrow(), darts(prices)["A"]):
        with pytest.raises(TypeError, match=r"panel_from\(frame\)"):
            MODEL.fit(frame)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pl.DataFrame({"a": [1.0], "b": [2.0]}), r"time must be a column of times.* time=\.\.\., target=\.\.\."),
        (
            pl.DataFrame({"date": ["01.02.2024"], "y": [1.0]}),
            r"'date' must hold .*first '01.02.2024'.* pl.col\('date'\)",
        ),
        (pd.DataFrame({"date": ["01.02.2024"], "y": [1.0]}), r"Parse it with pd.to_datetime\(frame\['date'\]\)"),
        (pl.DataFrame({"date": [date(2024, 1, 1)] * 2, "y": [1.0, 2]}), "series_id must be a column of names, because"),
        (pl.DataFrame({"date": [date(2024, 1, 1)], "open": [1.0], "high": [2]}), "target must be one column of values"),
        (pl.DataFrame({"date": [date(2024, 1, 1)], "y": [1.0], "value": [2.0]}), "target must be one column of values"),
        (pd.Series([1.0, 2.0]), "must have an index of times"),
    ],
)
def test_what_is_not_clear_is_asked_with_the_line_to_write(frame, message):
    with pytest.raises(ValueError, match=message):
        panel_from(frame)


def test_wrong_names_and_kinds_are_refused(prices):
    with pytest.raises(ValueError, match=r"target must be a column, 'Y' is not in .* Did you mean 'y'"):
        panel_from(nixtla(prices), target="Y")
    with pytest.raises(ValueError, match=r"found 'bid' for it and a column 'close' as well. Drop or rename 'close'"):
        panel_from(prices.with_columns(bid="close"), target="bid")
    with pytest.raises(ValueError, match=r"must be columns of their own, got 'y', 'y'"):
        panel_from(nixtla(prices), series_id="y", target="y")
    with pytest.raises(TypeError, match="LazyFrame"):
        panel_from(prices.lazy())
    with pytest.raises(TypeError, match="got list"):
        panel_from([1, 2])


def zoned(zone):
    days = pd.bdate_range("2024-01-01", periods=5)
    return pd.DataFrame({"series_id": "a", "time": days.tz_localize(zone), "close": 1.0})


OFFSETS = ["+05:30", timezone(timedelta(minutes=-210)), timezone(timedelta(hours=2)), timezone(timedelta(hours=-5))]


@pytest.mark.parametrize("zone", OFFSETS)
def test_midnights_of_a_fixed_offset_once_had_the_date_of_utc(zone):
    """Offsets that are no whole hour gave a raw error of polars."""
    for frame in (zoned(zone), zoned(zone).assign(time=lambda f: f["time"].astype(object))):
        times = to_polars(frame)["time"]
        assert times.dtype.time_zone is None
        assert times.to_list() == [day.to_pydatetime().replace(tzinfo=None) for day in zoned(zone)["time"]]


@pytest.mark.parametrize("zone", OFFSETS)
def test_closes_with_a_fixed_offset_are_instants_and_once_had_the_date_of_utc(zone):
    closes = zoned(zone).assign(time=lambda f: f["time"] + pd.Timedelta(hours=20))
    for frame in (closes, closes.assign(time=lambda f: f["time"].astype(object))):
        times = to_polars(frame)["time"]
        assert times[0] == closes["time"][0].to_pydatetime().astimezone(UTC)
        if isinstance(zone, timezone) and zone.utcoffset(None) % timedelta(hours=1) == timedelta():
            assert check_panel(frame)["time"].to_list() == [day.date() for day in closes["time"]]


def test_midnights_of_an_offset_that_changes_in_summer_are_days():
    hours = [1, 2, 2, 1]
    days = [
        datetime(2024, month, 5, tzinfo=timezone(timedelta(hours=h)))
        for month, h in zip((3, 4, 9, 11), hours, strict=True)
    ]
    frame = pd.DataFrame({"series_id": "a", "time": pd.Series(days, dtype=object), "close": 1.0})
    assert check_panel(frame)["time"].to_list() == [day.date() for day in days]


def test_zones_of_dateutil_and_pyarrow_keep_their_names():
    arrow = pd.array(list(zoned("Europe/Berlin")["time"]), dtype=pd.ArrowDtype(pa.timestamp("us", "Europe/Berlin")))
    for frame in (zoned("dateutil/Europe/Berlin"), zoned("Europe/Berlin").assign(time=arrow)):
        times = to_polars(frame)["time"]
        assert times.dtype.time_zone == "Europe/Berlin"
        assert times.dt.replace_time_zone(None)[0] == datetime(2024, 1, 1)


@pytest.mark.parametrize("values", [[1, "a", 2, 3, 4], [1j] * 5, [[1], "a", {}, None, 2]])
def test_a_column_without_one_type_is_named(values):
    frame = zoned("UTC").assign(series_id=pd.Series(values, dtype=object))
    with pytest.raises(ValueError, match=r"'series_id' must hold values of one type, found object of .*astype\(str\)"):
        MODEL.fit(frame)


def test_columns_that_occur_twice_and_python_objects_are_named():
    with pytest.raises(ValueError, match="found 'close' twice"):
        to_polars(pd.DataFrame([[1, 2]], columns=["close", "close"]))
    with pytest.raises(ValueError, match="got objects in 'x'"):
        to_polars(pl.DataFrame({"x": pl.Series([object()], dtype=pl.Object)}))


def test_pandas_users_get_advice_for_pandas(prices):
    frame = prices.to_pandas()
    with pytest.raises(ValueError, match=r"'time' must hold .* pd.to_datetime\(frame\['time'\]\)"):
        MODEL.fit(frame.assign(time=frame["time"].astype(str)))
    with pytest.raises(ValueError, match=r"'close' must hold numbers, got String. Cast it with .astype\(float\)"):
        MODEL.fit(frame.assign(close=frame["close"].astype(str)))


def test_a_missing_value_of_a_future_covariate_ahead_is_named(prices):
    """It counted as the mean, and nobody was told."""
    known = prices.with_columns(output=pl.col("time").dt.day().cast(pl.Float64))
    schema = PanelSchema(calendar="weekdays", future=("output",))
    model = GRUForecaster(horizon=2, lookback=8, hidden_size=2, max_epochs=1, schema=schema).fit(known)
    days = [prices["time"].max() + timedelta(days=gap) for gap in range(1, 8)]
    days = [day for day in days if day.weekday() < 5][:2]
    ahead = pl.DataFrame({"series_id": ["A", "A", "B", "B"], "time": days * 2, "output": [1.0, 2.0, 1.0, None]})
    assert len(model.predict(future=ahead.fill_null(2.0))) == 4
    for panel in (None, known):
        with pytest.warns(UserWarning, match=rf"'output' should be known .* missing value for series 'B' at {days[1]}"):
            model.predict(panel, future=ahead)


@pytest.mark.parametrize("kind", [pl.Categorical, pl.Enum(["bear", "bull", "calm"])])
def test_flags_are_numbers_and_each_category_is_an_input(prices, kind, tmp_path):
    flagged = prices.with_columns(open=pl.col("time").dt.weekday() == 1)
    model = RandomWalk(horizon=2, lookback=8, schema=PanelSchema(covariates=("open",)))
    assert model.fit(flagged).predict().equals(RandomWalk(horizon=2, lookback=8).fit(prices).predict())

    day = pl.col("time").dt.weekday()
    name = pl.when(day == 1).then(pl.lit("bear")).when(day < 4).then(pl.lit("bull")).when(day < 5).then(pl.lit("calm"))
    regime = prices.with_columns(mood=name.cast(kind))  # missing on Fridays
    moods = {f"mood={mood}": (name == mood).fill_null(False).cast(pl.Float64) for mood in ("bear", "bull", "calm")}
    settings = {"horizon": 2, "lookback": 8, "max_epochs": 2, "hidden_size": 4}
    by_hand = GRUForecaster(**settings, schema=PanelSchema(covariates=tuple(moods))).fit(prices.with_columns(**moods))
    last = regime["time"].max()
    model = GRUForecaster(**settings, schema=PanelSchema(covariates=("mood",))).fit(regime)
    assert model.predict().equals(by_hand.predict())
    assert set(model.inputs_) >= set(moods)
    assert model.fit(regime.to_pandas()).predict()["forecast"].tolist() == by_hand.predict()["forecast"].to_list()
    model.fit(regime.filter(pl.col("time") < last)).update(regime.filter(pl.col("time") == last))
    model.save(tmp_path)
    assert GRUForecaster.load(tmp_path).predict().equals(model.predict())


def test_a_future_covariate_with_categories_is_refused_with_the_line_to_write(prices):
    regime = prices.with_columns(pl.lit("a").cast(pl.Categorical).alias("mood"))
    model = RandomWalk(horizon=2, lookback=8, schema=PanelSchema(future=("mood",)))
    with pytest.raises(ValueError, match=r"'mood' must hold numbers, got Categorical.* frame.to_dummies\('mood'\)"):
        model.fit(regime)
    with pytest.raises(ValueError, match=r"pd.get_dummies\(frame, columns=\['mood'\]\)"):
        model.fit(regime.to_pandas())


def test_a_number_that_names_one_share_was_once_read_as_its_prices():
    days = pd.bdate_range("2024-01-01", periods=5)
    with pytest.raises(ValueError, match="target must be one column of values to forecast"):
        panel_from(pd.DataFrame({"PERMNO": 10001, "date": days, "PRC": [1.0, 2, 3, 4, 5]}))


def test_an_index_of_python_dates_holds_the_times():
    days = [day.date() for day in pd.bdate_range("2024-01-01", periods=5)]
    wide = pd.DataFrame({"AAPL": [1.0, 2, 3, 4, 5], "MSFT": [5.0, 4, 3, 2, 1]}, index=days)
    assert len(panel_from(wide)) == 10
    assert panel_from(wide["AAPL"])["series_id"].unique().tolist() == ["AAPL"]
    with pytest.raises(ValueError, match=r"'time' must be a column, found in the pandas index.*panel_from"):
        MODEL.fit(wide)


def test_names_in_a_pandas_index_are_found_there(prices):
    frame = nixtla(prices).to_pandas().set_index("unique_id")
    with pytest.raises(ValueError, match=r"'series_id' must be a column, found in the pandas index.*panel_from"):
        MODEL.fit(frame)
    assert panel_from(frame)["series_id"].unique().tolist() == ["A", "B"]


def test_a_second_of_60_was_once_read_as_the_next_day(prices):
    text = prices.with_columns(time=pl.col("time").cast(pl.String) + "T23:59:60Z")
    with pytest.raises(ValueError, match="'time' must hold dates, datetimes or ISO texts"):
        panel_from(text)


@pytest.mark.parametrize("kind", ["polars", "pandas"])
def test_flags_that_fit_takes_are_taken_as_future_covariates(prices, kind):
    flagged = prices.with_columns(holiday=pl.col("time").dt.day() == 1)
    schema = PanelSchema(calendar="24/7", future=("holiday",))
    model = GRUForecaster(horizon=1, lookback=8, hidden_size=2, max_epochs=1, schema=schema).fit(flagged)
    day = prices["time"].max() + timedelta(days=1)
    ahead = pl.DataFrame({"series_id": ["A", "B"], "time": [day] * 2, "holiday": [True, False]})
    known = model.predict(future=ahead.with_columns(pl.col("holiday").cast(pl.Float64)))
    assert model.predict(future=ahead if kind == "polars" else ahead.to_pandas()).equals(known)


def test_one_row_is_too_few_and_was_once_a_pegged_series(prices):
    with pytest.raises(ValueError, match="needs at least one series"):
        RandomWalk(horizon=1, lookback=1).fit(prices.group_by("series_id").head(1))


def test_the_target_of_nixtla_is_taken_beside_a_price_too():
    """Once, a further column `Close` was forecast instead of `y`."""
    rows = {"unique_id": ["a"], "ds": [date(2024, 1, 2)], "y": [1.0], "Close": [2.0]}
    assert panel_from(pl.DataFrame(rows)).row(0) == ("a", date(2024, 1, 2), 1.0, 2.0)
    with pytest.raises(ValueError, match=r"found 'y' for it and a column 'close' as well. Drop or rename 'close'"):
        panel_from(pl.DataFrame(rows).rename({"Close": "close"}))
