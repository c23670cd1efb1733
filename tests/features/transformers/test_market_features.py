"""Ranges, volumes and cross-sections: by reference, causal, and each market sees only what had closed."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from tidecast.features import (
    AmihudIlliquidity,
    GarmanKlassVolatility,
    MarketReturn,
    ParkinsonVolatility,
    RelativeVolume,
    ReturnRank,
    VolumeZScore,
    YangZhangVolatility,
    assert_causal,
)

TRANSFORMERS = [
    ParkinsonVolatility(5),
    GarmanKlassVolatility(5),
    YangZhangVolatility(5),
    RelativeVolume(5),
    VolumeZScore(5),
    AmihudIlliquidity(5),
    MarketReturn(2),
    ReturnRank(),
]


@pytest.fixture(scope="module")
def traded(random_walks):
    """Three series of 60 weekdays with open, high, low and volume; one row is missing."""
    panel = random_walks(n_series=3, n_rows=60)
    generator = np.random.default_rng(1)
    up, down, gap, volume = generator.exponential(0.01, (4, len(panel)))
    start = panel["close"] * np.exp(gap - 0.01)
    high = np.maximum(start, panel["close"]) * np.exp(up)
    low = np.minimum(start, panel["close"]) * np.exp(-down)
    columns = {"open": start, "high": high, "low": low, "volume": np.round(volume * 1e6)}
    return panel.with_columns(**columns).filter(pl.int_range(pl.len()) != 70)


def references(rows):
    """The last row's values of one series, window 5."""
    opened, high, low, close, volume = (rows[name].to_numpy() for name in ("open", "high", "low", "close", "volume"))
    spread, drift = np.log(high / low)[-5:], np.log(close / opened)[-5:]
    night = np.log(opened[1:] / close[:-1])[-5:]
    up, down = np.log(high / opened)[-5:], np.log(low / opened)[-5:]
    k = 0.34 / (1.34 + 6 / 4)
    within = (up * (up - drift) + down * (down - drift)).mean()
    change = np.diff(np.log(close))[-5:]
    level = np.log(volume[-5:])
    return {
        "parkinson_5": np.sqrt((spread**2).mean() / (4 * np.log(2))),
        "garman_klass_5": np.sqrt((0.5 * spread**2 - (2 * np.log(2) - 1) * drift**2).mean()),
        "yang_zhang_5": np.sqrt(night.var(ddof=1) + k * drift.var(ddof=1) + (1 - k) * within),
        "relative_volume_5": np.log(volume[-1] / volume[-5:].mean()),
        "volume_zscore_5": (level[-1] - level.mean()) / level.std(ddof=1),
        "amihud_5": (np.abs(change) / (close * volume)[-5:]).mean(),
    }


def test_ranges_and_volumes_match_their_formulas(traded):
    for _, rows in traded.group_by("series_id"):
        expected = references(rows)
        for transformer in TRANSFORMERS[:6]:
            (name,) = transformer.added_
            assert transformer.fit_transform(rows)[name][-1] == pytest.approx(expected[name], rel=1e-9)


@pytest.mark.parametrize("transformer", TRANSFORMERS, ids=repr)
def test_they_look_backwards_only(transformer, traded):
    assert_causal(transformer, traded)


@pytest.mark.parametrize("transformer", TRANSFORMERS, ids=repr)
def test_a_tail_and_a_stream_equal_the_whole(transformer, traded):
    since = traded["time"].unique().sort()[-3]
    whole = transformer.fit(traded).transform(traded).filter(pl.col("time") >= since)
    tail = transformer.transform_tail(traded, since)
    expected = whole.select(transformer.added_).to_numpy()
    np.testing.assert_allclose(tail.select(transformer.added_).to_numpy(), expected, rtol=1e-9)
    stream = transformer.stream(traded.filter(pl.col("time") < since))
    new = traded.filter(pl.col("time") >= since).sort("time", "series_id").partition_by("time", maintain_order=True)
    values = np.concatenate([stream.push(day) for day in new])
    in_time = whole.sort("time", "series_id").select(transformer.added_).to_numpy()
    np.testing.assert_allclose(values, in_time, rtol=1e-9)


def test_a_day_without_trade_has_no_volume_and_no_infinity(traded):
    dry = traded.with_columns(volume=pl.when(pl.int_range(pl.len()) == 30).then(0.0).otherwise("volume"))
    assert RelativeVolume(5).fit_transform(dry)["relative_volume_5"][30] is None
    assert VolumeZScore(5).fit_transform(dry)["volume_zscore_5"][30:35].null_count() == 5
    assert AmihudIlliquidity(5).fit_transform(dry)["amihud_5"][30] is not None


def test_mean_dispersion_and_rank_of_three_series_by_hand():
    days = [date(2024, 1, 2), date(2024, 1, 3)]
    close = [1.0, np.exp(0.1), 1.0, np.exp(0.2), 1.0, np.exp(0.6)]
    panel = pl.DataFrame({"series_id": list("aabbcc"), "time": days * 3, "close": close})
    found = MarketReturn().fit_transform(panel).filter(pl.col("time") == days[1])
    assert found["market_return_1"].to_list() == pytest.approx([0.3] * 3)
    assert found["market_dispersion_1"].to_list() == pytest.approx([np.std([0.1, 0.2, 0.6])] * 3)
    ranks = ReturnRank().fit_transform(panel)["return_rank_1"].to_list()
    assert ranks[::2] == [None] * 3
    assert ranks[1::2] == pytest.approx([1 / 6, 3 / 6, 5 / 6])


def two_markets():
    """One series in New York, one in Tokyo; each session's log return is a number of its own."""
    days = [date(2024, 5, day) for day in (7, 8, 9, 10)]
    levels = {"NY": [0.0, 0.1, 0.3, 0.7], "TK": [0.0, 1.0, 3.0, 7.0]}
    return pl.concat(
        pl.DataFrame({"series_id": name, "time": days, "close": np.exp(level), "calendar": calendar})
        for (name, level), calendar in zip(levels.items(), ("XNYS", "XTKS"), strict=True)
    )


def test_new_york_sees_tokyo_of_the_same_date_and_tokyo_new_york_of_the_day_before():
    found = MarketReturn().fit_transform(two_markets())
    new_york, tokyo = (found.filter(series_id=name)["market_return_1"].to_list() for name in ("NY", "TK"))
    assert new_york[1:] == pytest.approx([(0.1 + 1) / 2, (0.2 + 2) / 2, (0.4 + 4) / 2])
    assert tokyo[1:] == pytest.approx([1.0, (2 + 0.1) / 2, (4 + 0.2) / 2])


@pytest.mark.parametrize("name", ["NY", "TK"])
@pytest.mark.parametrize("transformer", [MarketReturn(), ReturnRank()], ids=repr)
def test_what_closes_later_changes_nothing(transformer, name):
    panel, day = two_markets(), date(2024, 5, 9)
    later = pl.col("time") > day
    if name == "TK":
        later |= (pl.col("series_id") == "NY") & (pl.col("time") == day)
    altered = panel.with_columns(close=pl.when(later).then(pl.col("close") * 9).otherwise("close"))
    rows = (pl.col("series_id") == name) & (pl.col("time") <= day)
    before, after = (transformer.fit_transform(frame).filter(rows) for frame in (panel, altered))
    assert before.select(transformer.added_).equals(after.select(transformer.added_))


def test_a_market_that_closed_long_ago_is_left_out():
    panel = two_markets().filter((pl.col("series_id") == "NY") | (pl.col("time") < date(2024, 5, 9)))
    late = panel.with_columns(
        time=pl.when((pl.col("series_id") == "NY") & (pl.col("time") == date(2024, 5, 10)))
        .then(date(2024, 5, 20))
        .otherwise("time")
    )
    found = MarketReturn().fit_transform(late).filter(series_id="NY")["market_return_1"][-1]
    assert found == pytest.approx(0.4)
