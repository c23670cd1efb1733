"""New rows computed from the end of a panel, and one at a time: equal to the whole."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from tidecast.features import Drawdown, EwmaVolatility, LogReturn, PriceFeatures, RollingZScore, VolatilityTerms

TRANSFORMERS = [
    PriceFeatures(),
    PriceFeatures(positive=False, ranges=False),
    PriceFeatures(positive=False),
    VolatilityTerms(),
    VolatilityTerms(positive=False, ranges=False),
    LogReturn((1, 3)),
    RollingZScore(5),
    EwmaVolatility(0.3),
    Drawdown(4),
]

every_transformer = pytest.mark.parametrize("transformer", TRANSFORMERS, ids=repr)


def ragged_panel(seed, n_series=4, n_rows=36):
    """Series that begin late, end early, pause, are pegged, jump, and miss rows and targets (null, or NaN)."""
    generator = np.random.default_rng(seed)
    rows = []
    for series in range(n_series):
        days = date(2015, 1, 1) + timedelta(1) * np.arange(n_rows)
        first, last = generator.integers(0, n_rows // 2), generator.integers(n_rows // 2, n_rows)
        spread = 10.0 ** generator.integers(-5, 0) * (generator.random(n_rows) < generator.choice([0.2, 1.0]))
        close = np.exp(np.cumsum(spread * generator.standard_normal(n_rows)))
        close[generator.random(n_rows) < 0.1] = np.nan
        pause = np.where(np.arange(n_rows) > generator.integers(0, n_rows), 200, 0)
        kept = (generator.random(n_rows) < 0.9) & (np.arange(n_rows) >= first) & (np.arange(n_rows) <= last)
        days = days + pause * timedelta(1)
        high, low = (close * np.exp(sign * spread * generator.random(n_rows)) for sign in (1, -1))
        high[generator.random(n_rows) < 0.2] = np.nan
        columns = {"time": days, "close": close, "high": high, "low": low}
        rows.append(
            pl.DataFrame(
                {name: values[kept].tolist() for name, values in columns.items()} | {"series_id": f"s{series}"}
            )
        )
    missing = pl.when(series_id="s0").then(float("nan"))  # of s0 they are NaN, of the others null
    panel = pl.concat(rows).with_columns(close=pl.when(pl.col("close").is_nan()).then(missing).otherwise("close"))
    return panel.sample(fraction=1, shuffle=True, seed=seed)


def assert_same(found, expected, columns):
    for column in columns:
        assert found[column].is_null().to_list() == expected[column].is_null().to_list(), column
        to = 1e-7 if "zscore" in column else 1e-9  # a window that hardly moves keeps the rounding of one that did
        np.testing.assert_allclose(
            found[column].drop_nulls(), expected[column].drop_nulls(), rtol=to, atol=to, err_msg=column
        )


@every_transformer
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), cut=st.integers(0, 45))
@example(seed=26, cut=0)  # a running mean of squares that ends below 0
def test_new_rows_from_the_tail_equal_those_from_the_whole(transformer, seed, cut):
    panel = ragged_panel(seed)
    transformer = clone(transformer).fit(panel)
    since = date(2015, 1, 1) + timedelta(cut)
    found = transformer.transform_tail(panel, since)
    expected = transformer.transform(panel).filter(pl.col("time") >= since)
    assert found.drop(transformer.added_).equals(expected.drop(transformer.added_))
    assert_same(found, expected, transformer.added_)


@pytest.mark.parametrize("transformer", [PriceFeatures(), EwmaVolatility()], ids=repr)
def test_what_lies_before_the_tail_does_not_matter(transformer, random_walks):
    panel = random_walks(n_series=2, n_rows=1500)
    days = panel["time"].unique().sort()
    rows = clone(transformer).fit(panel).transform(panel).filter(pl.col("time") >= days[-3])
    tail = panel.filter(pl.col("time") >= days[-2 - transformer.min_history])
    for found in (transformer.transform_tail(tail, days[-3]), transformer.transform_tail(panel, days[-3])):
        assert_same(found, rows, transformer.added_)


def test_a_tail_of_a_pandas_panel_is_pandas(panel):
    since = panel["time"].unique().sort()[-2]
    found = LogReturn().transform_tail(panel.to_pandas(), since)
    expected = LogReturn().transform_tail(panel, since)
    assert found["log_return_1"].to_list() == expected["log_return_1"].to_list()
    assert found.index.tolist() == panel.with_row_index().filter(pl.col("time") >= since)["index"].to_list()


def test_no_new_row_gives_no_row(panel):
    found = PriceFeatures().transform_tail(panel, date(2099, 1, 1))
    assert found.is_empty()
    assert found.columns == [*panel.columns, *PriceFeatures().added_]


def pushed(stream, panel, since):
    """Further rows one time at a time, with the values that the stream gives."""
    new = panel.filter(pl.col("time") >= since).sort("time", "series_id")
    parts = [(day, stream.push(day)) for day in new.partition_by("time", maintain_order=True)]
    return pl.concat([day for day, _ in parts]), np.concatenate([values for _, values in parts])


@every_transformer
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 10_000), cut=st.integers(1, 30))
def test_rows_pushed_one_at_a_time_equal_those_of_the_whole(transformer, seed, cut):
    panel = ragged_panel(seed)
    since = date(2015, 1, 1) + timedelta(cut)
    before = panel.filter(pl.col("time") < since)
    if before["close"].fill_nan(None).is_null().all() or len(before) == len(panel):
        return
    fitted = clone(transformer).fit(before)
    rows, values = pushed(fitted.stream(before), panel, since)
    expected = rows.join(fitted.transform(panel), on=["series_id", "time"], how="left", maintain_order="left")
    found = pl.DataFrame(values, schema=fitted.added_).fill_nan(None)
    assert_same(found, expected, fitted.added_)


@every_transformer
def test_a_stream_continues_from_its_state(transformer):
    panel = ragged_panel(3)
    times = panel["time"].unique().sort()
    since, middle = times[len(times) // 3], times[2 * len(times) // 3]
    fitted = clone(transformer).fit(panel)
    stream = fitted.stream(panel.filter(pl.col("time") < since))
    pushed(stream, panel.filter(pl.col("time") < middle), since)
    state = stream.state()
    assert all(isinstance(part, np.ndarray | pl.DataFrame) for part in state.values())
    resumed = fitted.resume(state)
    expected = pushed(stream, panel, middle)
    found = pushed(resumed, panel, middle)
    np.testing.assert_array_equal(found[1], expected[1])


@every_transformer
def test_a_stream_refuses_what_is_not_newer(transformer, panel):
    stream = clone(transformer).fit(panel).stream(panel)
    old = panel.filter(pl.col("time") == panel["time"].max())
    with pytest.raises(ValueError, match=r"must be newer than its series' last, found 6 .*'A'.* first 2016"):
        stream.push(old)


def test_the_fast_stream_of_prices_goes_round_its_ring(random_walks):
    panel = random_walks(n_series=3, n_rows=660)
    jump = (pl.col("series_id") == "B") & (pl.col("time") == panel["time"][400])
    panel = panel.with_columns(close=pl.when(jump).then(pl.col("close") * 100).otherwise("close"))
    since = panel["time"].unique().sort()[395]
    rows, values = pushed(PriceFeatures().stream(panel.filter(pl.col("time") < since)), panel, since)
    expected = rows.join(PriceFeatures().fit_transform(panel), on=["series_id", "time"], maintain_order="left")
    np.testing.assert_allclose(values, expected.select(PriceFeatures().added_).to_numpy(), rtol=1e-9, atol=1e-9)
