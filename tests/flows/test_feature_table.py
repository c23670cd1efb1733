"""The table `features`: by hand, day by day as at once, after corrections and splits, and twice without a trace."""

from datetime import date, timedelta
from math import log, sqrt

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tidecast.features import PriceFeatures
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import WarehouseError
from tidecast.flows.publish.feature_rows import Built, build, first_needed
from tidecast.flows.warehouse.warehouse import Warehouse

MON, TUE, WED, THU = (date(2024, 1, day) for day in (1, 2, 3, 4))
SETTINGS = Settings(calendar="24/7")
KEPT = ["series_id", "time", *PriceFeatures().added_]


@pytest.fixture
def warehouse(tmp_path):
    return Warehouse(str(tmp_path / "warehouse"))


def rows(panel, as_of=None, known_at=None):
    known = pl.col("time") if known_at is None else pl.lit(known_at)
    return panel.with_columns(known_at=known, as_of=pl.lit(as_of or panel["time"].max()))


def week(*closes, days=(MON, TUE, WED, THU)):
    return pl.DataFrame({"series_id": "A", "time": days[: len(closes)], "close": closes})


def action(day, **what):
    no_action = {"split_ratio": 1.0, "dividend": 0.0, "known_at": day, "as_of": day}
    return pl.DataFrame([{"series_id": "A", "time": day, **no_action, **what}])


def whole(warehouse, as_of=None):
    return PriceFeatures().fit_transform(warehouse.prices(as_of)).select(KEPT)


def assert_whole(warehouse, as_of=None):
    assert_frame_equal(warehouse.features().select(KEPT), whole(warehouse, as_of), abs_tol=1e-9, rel_tol=0)


def test_a_split_is_not_a_return_and_the_rest_is_as_by_hand(warehouse):
    warehouse.store_prices(rows(week(100.0, 110.0, 55.0, 55.0 * 1.1)))  # up a tenth, 2-for-1, up a tenth
    warehouse.store_actions(action(WED, split_ratio=2.0))
    assert build(warehouse, SETTINGS) == Built(THU, 4)
    table, step = warehouse.features(), log(1.1)
    squares = {TUE: 1.0, WED: 0.94 / 1.94, THU: (1 + 0.94**2) / (1 + 0.94 + 0.94**2)}
    expected = [None, *(change / (step * sqrt(squares[day])) for day, change in ((TUE, step), (WED, 0), (THU, step)))]
    assert table["scaled_return_1"].to_list() == pytest.approx(expected)
    assert table["time"].to_list() == [MON, TUE, WED, THU]
    assert table["as_of"].unique().to_list() == [THU]


def test_a_split_known_late_and_a_corrected_price_change_the_rows_from_theirs_on_and_no_others(warehouse):
    warehouse.store_prices(rows(week(100.0, 110.0, 55.0)))
    build(warehouse, SETTINGS)
    before = warehouse.features()
    warehouse.store_actions(action(WED, split_ratio=2.0, known_at=THU, as_of=THU))
    warehouse.store_prices(rows(week(56.0, days=(THU,))))
    assert build(warehouse, SETTINGS, THU) == Built(THU, 2)
    assert_whole(warehouse)
    assert warehouse.features().head(2).equals(before.head(2))
    warehouse.store_prices(rows(week(108.0, days=(TUE,)), THU, THU))  # corrected after the build of the same session
    assert build(warehouse, SETTINGS, THU).written > 0
    assert_whole(warehouse)


def test_a_build_uses_what_its_session_knew_and_goes_forward_only(warehouse):
    warehouse.store_prices(rows(week(100.0, 110.0, 120.0)))
    warehouse.store_prices(rows(week(50.0, days=(TUE,)), WED, WED))
    assert build(warehouse, SETTINGS, TUE) == Built(TUE, 2)
    assert_whole(warehouse, TUE)
    assert warehouse.features(TUE)["scaled_return_1"].to_list() == pytest.approx([None, 1.0])
    assert build(warehouse, SETTINGS) == Built(WED, 2)
    assert_whole(warehouse)
    with pytest.raises(
        WarehouseError, match=r"must be read as of 2024-01-03.*got 2024-01-02: they hold later corrections"
    ):
        warehouse.features(TUE)
    with pytest.raises(WarehouseError, match=r"must be built on 2024-01-03, as before, or a later session, got"):
        build(warehouse, SETTINGS, TUE)


def test_a_correction_that_says_it_was_known_before_the_last_build_is_not_missed(warehouse):
    """Once, it was: only what a later run had stored, or what was known since, counted as news."""
    warehouse.store_prices(rows(week(100.0, 110.0)))
    built = build(warehouse, SETTINGS).as_of
    late = week(100.0, 110.0).head(1).with_columns(close=pl.lit(105.0))
    warehouse.store_prices(rows(late).with_columns(known_at=pl.col("time"), as_of=pl.col("time")))
    assert build(warehouse, SETTINGS).as_of == built
    assert_whole(warehouse)
    warehouse.compact("prices")
    warehouse.vacuum("prices", [], timedelta(0))
    assert build(warehouse, SETTINGS) == Built(
        built, 0
    )  # what was read then is gone: all is computed, and nothing differs


def test_without_prices_there_is_nothing_to_build(warehouse):
    with pytest.raises(WarehouseError, match=r"must be built from prices, but there are none yet. Start with: "):
        build(warehouse, SETTINGS)


def test_day_by_day_equals_at_once_in_one_commit_a_day_and_a_rerun_changes_nothing(warehouse, random_walks):
    panel = random_walks(4, 1000)
    new = pl.int_range(pl.len()).over("series_id") > 960
    panel = panel.filter(~(pl.col("series_id") == "B") | new | (pl.int_range(pl.len()) % 3 == 0))  # trades seldom
    panel = panel.filter((pl.col("series_id") != "C") | new)  # is young
    days = panel["time"].unique().sort().to_list()
    warehouse.store_prices(rows(panel.filter(pl.col("time") <= days[-4])))
    assert build(warehouse, SETTINGS).written == panel.filter(pl.col("time") <= days[-4]).height
    for day in days[-3:]:
        warehouse.store_prices(rows(panel.filter(time=day)))
        before = warehouse.versions()
        assert build(warehouse, SETTINGS) == Built(day, 4)
        after = warehouse.versions()
        assert after == before | {"features": before["features"] + 1}
        assert build(warehouse, SETTINGS) == Built(day, 0)
        assert warehouse.versions() == after
    assert_whole(warehouse)
    assert build(warehouse, SETTINGS, whole=True) == Built(days[-1], 0)


def test_a_new_day_reads_as_far_back_as_its_features_need_and_further_for_a_series_that_trades_seldom(warehouse):
    days = [date(2000, 1, 1) + timedelta(days=number) for number in range(1000)]
    often = pl.DataFrame({"series_id": "A", "time": days, "close": 1.0})
    warehouse.store_prices(rows(often))
    assert first_needed(warehouse, days[-1], days[-1], 10) == days[-17]
    seldom = pl.DataFrame({"series_id": "B", "time": days[-1::-50], "close": 1.0})
    warehouse.store_prices(rows(seldom, days[-1]))
    assert days[400] < first_needed(warehouse, days[-1], days[-1], 10) < days[-1 - 10 * 50]
    assert first_needed(warehouse, days[0], days[-1], 10) == days[0]


def test_features_go_with_the_prices_they_were_built_of(warehouse):
    warehouse.store_prices(rows(week(100.0, 110.0)))
    build(warehouse, SETTINGS)
    warehouse.clear_prices()
    assert warehouse.features().is_empty()


def test_the_flow_builds_the_panel_of_a_state_folder(sandbox, prefect_api):
    from tidecast.flows import build_features

    workspace = sandbox.workspace
    workspace.warehouse.store_prices(rows(sandbox.rows))
    built = build_features(home=str(workspace.state_folder.path), settings=workspace.settings)
    assert built == Built(sandbox.sessions[-1], sandbox.rows.height)
    assert_whole(workspace.warehouse)
