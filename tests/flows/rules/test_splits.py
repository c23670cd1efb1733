"""Splits that a source reports and its prices do not show: flagged, stored as quoted, and undone at most once."""

from datetime import date, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tidecast.features.transformers.price_features import PriceFeatures
from tidecast.flows.config.settings import Settings
from tidecast.flows.ingest.ingest import ingest
from tidecast.flows.publish.feature_rows import build
from tidecast.flows.sources import YahooSource
from tidecast.flows.warehouse.schema import FEATURE_KEY
from tidecast.flows.warehouse.warehouse import Warehouse

DAYS = pl.date_range(date(2024, 1, 1), date(2024, 5, 31), eager=True)
DAYS = DAYS.filter(DAYS.dt.weekday() <= 5)[:100]
EX = 80
ROW = np.arange(100)
TRUE = np.round(50 * np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.015, 100))), 4)
TRADED = np.where(ROW < EX, TRUE * 4, TRUE)


class Desk:
    """A price file, a warehouse, and the flags of a delivery."""

    def __init__(self, folder):
        self.file, self.warehouse = folder / "prices.csv", Warehouse(str(folder / "warehouse"))
        self.settings = Settings(source=str(self.file), calendar="weekdays")

    def deliver(self, closes, splits=None, dividends=None, rows=slice(None), as_of=None):
        table = pl.DataFrame({
            "series_id": "A", "time": DAYS, "close": closes,
            "dividend": [(dividends or {}).get(row, 0.0) for row in ROW],
            "split_ratio": [(splits or {}).get(row, 0.0) for row in ROW],
        })  # fmt: skip
        table[rows].write_csv(self.file)
        return ingest(self.warehouse, self.settings, as_of)

    def flagged(self, rule="split_not_applied"):
        return set(self.warehouse.flags().filter(rule=rule)["time"])

    def closes(self, as_of=None):
        return self.warehouse.prices(as_of)["close"].to_numpy()


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def test_a_split_of_prices_that_are_restated_already_is_flagged_and_not_undone(desk):
    """Once it was undone twice: prices times a fourth, a return of 1.4."""
    desk.deliver(TRUE, {EX: 4.0})
    assert desk.flagged() == {DAYS[EX]}
    assert desk.closes().tolist() == TRUE.tolist()
    assert desk.warehouse.actions().height == 1  # the reported split is stored


def test_a_split_on_its_day_is_undone_and_not_flagged(desk):
    desk.deliver(TRADED, {EX: 4.0})
    assert desk.flagged() == set()
    assert desk.closes() == pytest.approx(TRUE)


def test_a_price_that_follows_its_split_a_week_later_is_undone_when_it_does(desk):
    late = np.where(ROW < EX + 5, TRUE * 4, TRUE)
    for last in (EX, EX + 3, EX + 4, EX + 5, 99):
        desk.deliver(late, {EX: 4.0}, rows=slice(max(0, last - 20) if last > EX else 0, last + 1))
    assert desk.closes(DAYS[EX + 4]) == pytest.approx(4 * TRUE[: EX + 5])
    assert desk.closes(DAYS[EX + 5]) == pytest.approx(TRUE[: EX + 6])
    assert desk.closes() == pytest.approx(TRUE)
    assert DAYS[EX] in desk.flagged()


def test_a_split_of_an_earlier_delivery_explains_the_step_of_the_next_one(desk):
    """Once, the rules saw only the splits of incoming rows."""
    late = np.where(ROW < EX + 1, TRUE * 4, TRUE)
    desk.deliver(late, {EX: 4.0}, rows=slice(0, EX + 1))
    found = desk.deliver(late, rows=slice(EX + 1, 100))
    assert found.rules["jump"] == 0
    assert desk.closes() == pytest.approx(TRUE)


def test_a_history_that_is_restated_as_far_back_as_the_source_is_asked_is_put_on_one_basis(desk):
    desk.deliver(TRUE * 4, rows=slice(0, EX))
    desk.deliver(TRUE, {EX: 4.0}, rows=slice(EX - 21, EX + 1))
    assert desk.closes() == pytest.approx(TRUE[: EX + 1])
    assert DAYS[EX] in desk.flagged()
    assert desk.closes(DAYS[EX - 1]) == pytest.approx(4 * TRUE[:EX])


def test_a_split_on_a_saturday_is_not_a_jump_on_monday(desk):
    """Once, the rules did not know of it, though the panel did."""
    monday = int(np.flatnonzero(DAYS.dt.weekday().to_numpy() == 1)[10])
    closes = np.where(monday > ROW, TRUE * 4, TRUE)
    lines = [f"A,{day},{close},0" for day, close in zip(DAYS, closes, strict=True)]
    lines.insert(monday, f"A,{DAYS[monday - 1] + timedelta(days=1)},{closes[monday]},4")
    desk.file.write_text("\n".join(["series_id,time,close,split_ratio", *lines, ""]))
    found = ingest(desk.warehouse, desk.settings)
    assert found.quarantined == {"not_a_session": 1}
    assert (found.rules["jump"], found.rules["split_not_applied"]) == (0, 0)
    assert desk.closes() == pytest.approx(TRUE)


def test_a_dividend_of_a_third_that_no_price_shows_is_flagged_and_not_earned(desk):
    """Once it was flagged, and a return of a third all the same."""
    desk.deliver(TRUE, dividends={EX: float(TRUE[EX] / 3)})
    assert desk.flagged("dividend_unit") == {DAYS[EX]}
    assert desk.closes().tolist() == TRUE.tolist()


@pytest.mark.parametrize("actions", [{EX: 0.25}, {EX: 4.0, EX + 3: 4.0}, {EX - 6: 4.0}, {EX + 9: 4.0}])
def test_a_wrong_split_is_flagged_and_the_price_decides(desk, actions):
    desk.deliver(TRADED, actions)
    assert desk.flagged() & {DAYS[row] for row in actions}
    assert desk.closes() == pytest.approx(TRUE)


def test_a_split_of_some_series_alone_is_undone_there_alone(tmp_path):
    file, warehouse = tmp_path / "prices.csv", Warehouse(str(tmp_path / "warehouse"))
    panel = pl.concat([
        pl.DataFrame({"series_id": name, "time": DAYS, "close": closes, "split_ratio": np.where(ROW == EX, 4.0, 0.0)})
        for name, closes in (("restated", TRUE), ("traded", TRADED))
    ])  # fmt: skip
    panel.write_csv(file)
    ingest(warehouse, Settings(source=str(file), calendar="weekdays"))
    prices = warehouse.prices()
    for name in ("restated", "traded"):
        assert prices.filter(series_id=name)["close"].to_numpy() == pytest.approx(TRUE)
    assert warehouse.flags().filter(rule="split_not_applied").select("series_id", "time").rows() == [
        ("restated", DAYS[EX])
    ]


def test_the_stored_features_follow_when_later_prices_show_that_some_were_on_another_basis(desk):
    """Only later rows show that a fall by a split's size was not a fall."""
    again = np.where((ROW < EX + 3) | (ROW >= EX + 5), TRADED, TRADED / 4)
    for last in (EX + 2, EX + 4, EX + 6, 99):
        desk.deliver(again, {EX: 4.0}, rows=slice(0, last + 1))
        build(desk.warehouse, Settings(calendar="weekdays"))
        table = desk.warehouse.features()
        whole = PriceFeatures().fit_transform(desk.warehouse.prices())
        names = [name for name in table.columns if name in whole.columns]
        assert_frame_equal(table.select(names), whole.select(names).sort(FEATURE_KEY), abs_tol=1e-9, rel_tol=0)
    assert desk.closes() == pytest.approx(TRUE)


def yahoo(closes, splits):
    """A source with the download of one symbol."""
    table = pd.DataFrame(index=pd.DatetimeIndex(DAYS.to_list(), name="Date"))
    for name in ("Open", "High", "Low", "Close"):
        table[name] = closes
    table["Volume"], table["Dividends"] = 1000.0, 0.0
    table["Stock Splits"] = [splits.get(row, 0.0) for row in ROW]
    table.columns = pd.MultiIndex.from_product([["AAA.ZZ"], table.columns])
    return YahooSource(Settings(source="yahoo://AAA.ZZ"), lambda symbols, **options: table)


def test_yahoos_restated_history_is_as_it_was_quoted_again():
    fetched = yahoo(TRUE, {EX: 4.0}).fetch()
    assert fetched.rows["close"].to_numpy() == pytest.approx(TRADED, rel=1e-6)
    assert fetched.messages == ()
    assert not fetched.rows["split_in_doubt"].any()


def test_a_history_that_yahoo_has_not_restated_stays_as_quoted_and_is_flagged(tmp_path, monkeypatch):
    """Once its prices were multiplied by the ratio, and one return was -1.4."""
    source = yahoo(TRADED, {EX: 4.0})
    fetched = source.fetch()
    assert fetched.rows["close"].to_numpy() == pytest.approx(TRADED, rel=1e-6)
    assert fetched.rows["volume"].to_list() == [1000.0] * 100
    assert "'AAA.ZZ'" in fetched.messages[0]
    monkeypatch.setattr("tidecast.flows.ingest.ingest.open_source", lambda settings: source)
    warehouse = Warehouse(str(tmp_path / "warehouse"))
    found = ingest(warehouse, Settings(source="yahoo://AAA.ZZ", calendar="weekdays"))
    assert found.rules["split_not_applied"] == 1
    assert warehouse.flags()["time"].to_list() == [DAYS[EX]]
    assert warehouse.prices()["close"].to_numpy() == pytest.approx(TRUE, rel=1e-6)


@pytest.mark.parametrize("step", [EX - 9, EX + 6])
def test_a_history_that_yahoo_has_restated_in_part_is_as_it_was_quoted(step):
    fetched = yahoo(np.where(step > ROW, TRUE * 4, TRUE), {EX: 4.0}).fetch()
    assert fetched.rows["close"].to_numpy() == pytest.approx(TRADED, rel=1e-6)
    assert fetched.rows.filter(pl.col("split_in_doubt"))["time"].to_list() == [DAYS[step]]
