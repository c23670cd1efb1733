"""The terms of the volatility regression: by hand, by their definitions, and what changes nothing."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from tests.features.transformers.test_transformers import series
from tidecast.features import PanelUnion, PriceFeatures, VolatilityTerms, assert_causal

LOG2 = np.log(2)


def values(panel, **settings):
    terms = VolatilityTerms(**settings).fit(panel)
    return terms.transform(panel).sort("series_id", "time").select(terms.added_)


def market(n_rows=400, n_series=2, seed=3):
    """Prices with ranges and volume; some of either are missing."""
    generator = np.random.default_rng(seed)
    days = [date(2020, 1, 1) + timedelta(k) for k in range(n_rows)]
    frames = []
    for name in "ab"[:n_series]:
        sigma = 0.01 * np.exp(0.3 * generator.standard_normal(n_rows)).cumsum() ** 0.1
        close = 50 * np.exp(np.cumsum(sigma * generator.standard_normal(n_rows)))
        reach = 1 + sigma * generator.random(n_rows)
        volume = np.where(generator.random(n_rows) < 0.1, 0.0, generator.lognormal(10, 1, n_rows))
        frame = {"series_id": name, "time": days, "close": close, "high": close * reach, "low": close / reach}
        frames.append(pl.DataFrame(frame | {"volume": volume}))
    gap = pl.int_range(pl.len()) % 13 == 5
    return pl.concat(frames).with_columns(high=pl.when(~gap).then("high"))


def test_four_prices_by_hand():
    found = values(series([1.0, 2.0, 4.0, 2.0]))  # changes of log 2, up, up and down, so σ is log 2 throughout
    for name in ("relative_volatility_1", "relative_volatility_252", "fast_volatility", "relative_largest_63"):
        assert found[name].to_list() == pytest.approx([None, 0.0, 0.0, 0.0], abs=1e-12), name
    assert found["leverage_1"].to_list() == pytest.approx([None, 1.0, 1.0, -1.0])
    assert found["leverage_5"].to_list() == pytest.approx([None, 1.0, 2**0.5, 3**-0.5])
    assert found["same_volatility_63"].to_list() == [None] * 4


def test_ranges_and_volume_by_hand():
    columns = {"high": [2.0, 4.0, None], "low": [1.0, 2.0, 4.0], "volume": [1.0, 0.0, 4.0]}
    found = values(
        series([1.0, 2.0, 4.0]).with_columns(**{name: pl.Series(column) for name, column in columns.items()})
    )
    one = np.log(1 / (4 * LOG2) ** 0.5)  # a range of log 2, the volatility being log 2
    assert found["relative_range_1"].to_list() == pytest.approx([None, one, None])
    assert found["relative_range_22"].to_list() == pytest.approx([None, one, one])
    assert found["volume_change_1_22"].to_list() == pytest.approx([None, None, LOG2])  # of log 4 and log 1


def test_columns_follow_what_the_panel_has():
    panel = market(20)
    prices = panel.select("series_id", "time", "close")
    assert len(VolatilityTerms().fit(panel).added_) == len(VolatilityTerms().fit(prices).added_) + 5
    assert VolatilityTerms(ranges=False).fit(panel).inputs_ == ["volume"]
    assert VolatilityTerms(volume=False).fit(panel).inputs_ == ["high", "low"]
    with pytest.raises(ValueError, match="volume"):
        VolatilityTerms(volume=True).fit(prices)


def terms_by_hand(rows, horizon):
    """The last row's values, from their definitions."""
    level = np.log(rows["close"].to_numpy())
    r = np.diff(level)
    average = lambda decay: (decay ** np.arange(len(r))[::-1] * r**2).sum() / (decay ** np.arange(len(r))).sum()  # noqa: E731
    variance = average(0.94)
    ratio = lambda mean: np.clip(0.5 * np.log(mean / variance), -3, 3)  # noqa: E731
    found = {f"relative_volatility_{k}": ratio((r[-k:] ** 2).mean()) for k in (1, 5, 22, 63, 126, 252)}
    found["fast_volatility"] = ratio(average(0.8))
    for k in (63, 126, 189, 252):  # the change of the next row is r[n], so k rows before it is r[n - k]
        begin = len(r) - k
        found[f"same_volatility_{k}"] = ratio((r[begin : begin + horizon] ** 2).mean())
    found |= {f"leverage_{k}": r[-k:].sum() / (variance * k) ** 0.5 for k in (1, 5, 22)}
    found["relative_largest_63"] = ratio((r[-63:] ** 2).max())
    range_square = np.log(rows["high"].to_numpy() / rows["low"].to_numpy()) ** 2 / (4 * LOG2)
    found |= {f"relative_range_{k}": ratio(np.nanmean(range_square[-k:])) for k in (1, 5, 22)}
    volume = rows["volume"].to_numpy()
    logs = np.log(volume, out=np.full(len(volume), np.nan), where=volume > 0)
    for short, long in ((1, 22), (5, 63)):
        found[f"volume_change_{short}_{long}"] = np.nanmean(logs[-short:]) - np.nanmean(logs[-long:])
    return found


@pytest.mark.parametrize("horizon", [1, 5, 63])
def test_terms_match_their_definitions(horizon):
    rows = market(n_series=1)
    found = values(rows, horizon=horizon).row(-1, named=True)
    assert found == pytest.approx(terms_by_hand(rows.fill_null(float("nan")), horizon), rel=1e-9, abs=1e-9)


def test_the_same_sessions_of_earlier_quarters_are_those_to_come():
    """A jump every 63 rows: the day before each, the coming session's counterpart is the jump before."""
    steps = np.where(np.arange(300) % 63 == 0, 0.1, 0.001) * (-1.0) ** np.arange(300)
    found = values(series(np.exp(np.cumsum(steps)).tolist()), horizon=1)
    largest = (found["same_volatility_63"] == 3.0).arg_true()
    assert largest.to_list() == [125, 188, 251]  # the jumps are the changes of rows 63, 126, 189 and 252


def test_multiplying_prices_or_volumes_changes_nothing():
    panel = market()
    scaled = panel.with_columns(pl.col("close", "high", "low") * 1e4, pl.col("volume") * 1e-3)
    np.testing.assert_allclose(values(scaled).to_numpy(), values(panel).to_numpy(), rtol=1e-7, atol=1e-7)


def test_prices_that_may_be_negative_move_by_differences():
    found = values(series([1.0, -1.0, 3.0]), positive=False)
    assert found["leverage_1"].to_list() == pytest.approx([None, -1.0, 4 / ((0.94 * 4 + 16) / 1.94) ** 0.5])


def test_terms_of_a_peg_are_missing_until_it_moves_and_then_moderate():
    found = values(series([1.0, 1.1] + [1.1] * 300 + [1e6, 1.0e6, 1.1e6]))
    assert found.slice(260, 40).null_count().row(0) == (40,) * found.width
    assert found["leverage_1"].tail(3).null_count() == 0
    for column in found:
        assert column.drop_nulls().len() == 0 or column.drop_nulls().abs().max() < 10, column.name


def test_terms_with_ranges_and_volume_look_only_backwards():
    assert_causal(VolatilityTerms(), market(120))


def test_terms_stream_row_by_row_with_ranges_and_volume():
    panel = market(300)
    cut = panel["time"].unique().sort()[-6]
    terms = VolatilityTerms().fit(panel)
    stream = terms.stream(panel.filter(pl.col("time") <= cut))
    expected = terms.transform(panel)
    for now in panel.filter(pl.col("time") > cut).partition_by("time", maintain_order=True):
        wanted = expected.filter(pl.col("time") == now["time"][0]).select(terms.added_).fill_null(float("nan"))
        np.testing.assert_allclose(stream.push(now), wanted.to_numpy(), rtol=1e-9, atol=1e-9)
        stream = VolatilityTerms().resume(stream.state())  # as after `load`: it finds the columns in the state


def test_terms_go_next_to_the_default_inputs():
    panel = market(60)
    both = PanelUnion([PriceFeatures(), VolatilityTerms()]).fit(panel)
    assert both.transform(panel).select(VolatilityTerms().fit(panel).added_).equals(values(panel))


@pytest.mark.parametrize(("horizon", "found"), [(0, "at least 1, got 0"), (64, "at most 63, a quarter, got 64")])
def test_impossible_horizons_are_refused(horizon, found):
    with pytest.raises(ValueError, match=f"horizon must be {found}"):
        VolatilityTerms(horizon=horizon).fit(market(5))
