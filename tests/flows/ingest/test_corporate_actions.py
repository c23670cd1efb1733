"""Splits and dividends through the warehouse: reported by the source, known from a day on, undone in the panel."""

from datetime import date

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tidecast.features import PanelSchema
from tidecast.flows.config.settings import Settings
from tidecast.flows.ingest.corporate_actions import new_actions
from tidecast.flows.ingest.ingest import ingest
from tidecast.flows.publish.score import score
from tidecast.flows.warehouse.warehouse import Warehouse
from tidecast.forecasting import RandomWalk

HEADER = "series_id,time,close,Dividends,Stock Splits"
MON, TUE, WED, THU, FRI = (date(2024, 1, day) for day in (1, 2, 3, 4, 5))
WEEK = [f"A,{MON},100,0,0", f"A,{TUE},102,0,0", f"A,{WED},51,0,2", f"A,{THU},49,1.5,"]


class Desk:
    """A price file with actions, and a warehouse."""

    def __init__(self, folder):
        self.file, self.warehouse = folder / "prices.csv", Warehouse(str(folder / "warehouse"))
        self.settings = Settings(source=str(self.file), calendar="weekdays")

    def ingest(self, *rows, as_of=None, header=HEADER):
        self.file.write_text("\n".join([header, *rows, ""]))
        return ingest(self.warehouse, self.settings, as_of)

    def closes(self, as_of=None):
        return self.warehouse.prices(as_of)["close"].to_list()


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def test_a_split_and_a_dividend_are_undone_in_the_panel_and_kept_in_the_quotes(desk):
    desk.ingest(*WEEK)
    earned = 1 + 1.5 / 49
    assert desk.closes() == pytest.approx([50 / earned, 51 / earned, 51 / earned, 49], rel=1e-15)
    assert desk.warehouse.quotes()["close"].to_list() == [100, 102, 51, 49]
    assert desk.warehouse.actions().rows() == [("A", WED, 2.0, 0.0), ("A", THU, 1.0, 1.5)]


def test_each_day_knows_the_actions_of_its_past_alone(desk):
    desk.ingest(*WEEK)
    assert desk.closes(TUE) == [100, 102]
    assert desk.closes(WED) == [50, 51, 51]


def test_day_by_day_and_at_once_give_the_same_tables(desk, tmp_path):
    for number in range(1, 5):
        desk.ingest(*WEEK[:number])
    (tmp_path / "once").mkdir()
    once = Desk(tmp_path / "once")
    once.ingest(*WEEK)
    assert_frame_equal(desk.warehouse.actions(), once.warehouse.actions())
    assert_frame_equal(desk.warehouse.prices(), once.warehouse.prices())


def test_the_same_delivery_again_stores_no_action_and_says_so_once(desk):
    assert any("1 split (A 2 on" in text.replace("'", "") for text in desk.ingest(*WEEK).messages)
    version = desk.warehouse.versions()["actions"]
    assert not any("New actions" in text for text in desk.ingest(*WEEK).messages)
    assert desk.warehouse.versions()["actions"] == version


def test_an_action_known_late_does_not_change_earlier_days(desk):
    desk.ingest(*[row.replace(",0,2", ",0,0") for row in WEEK[:3]])
    before = desk.closes(WED)
    desk.ingest(*WEEK)
    assert desk.closes(WED) == before == [100, 102, 51]
    assert desk.closes(THU)[:2] == pytest.approx([50 / (1 + 1.5 / 49), 51 / (1 + 1.5 / 49)])


def test_an_action_that_is_taken_back_is_gone_from_then_on(desk):
    desk.ingest(*WEEK[:3])
    desk.ingest(WEEK[0], WEEK[1], f"A,{WED},51,0,0", WEEK[3].replace("1.5", "0"))
    assert desk.closes() == [100, 102, 51, 49]
    assert desk.closes(WED) == [50, 51, 51]


def test_a_source_that_stops_telling_actions_takes_none_back(desk):
    desk.ingest(*WEEK)
    before = desk.closes()
    desk.ingest(*(row.rsplit(",", 2)[0] for row in WEEK), header="series_id,time,close")
    assert desk.closes() == before


SAT, MON_AFTER = date(2024, 1, 6), date(2024, 1, 8)


@pytest.mark.parametrize(
    ("row", "rule"),
    [(f"A,{WED},,0,2", "missing_price"), (f"A,{WED},x,,2", "unreadable_price"), (f"A,{WED},0,0,2", "not_positive")],
)
def test_a_split_of_a_row_whose_price_is_in_quarantine_counts_all_the_same(desk, row, rule):
    """Once, the next return was one of -50 %."""
    found = desk.ingest(*WEEK[:2], row, f"A,{THU},49,0,0")
    assert found.quarantined == {rule: 1}
    assert desk.closes() == [50, 51, 49]
    assert desk.closes(TUE) == [100, 102]


def test_a_split_on_a_day_without_a_session_acts_on_the_next_row(desk):
    desk.ingest(f"A,{THU},100,0,0", f"A,{FRI},102,0,0", f"A,{SAT},51,0,2", f"A,{MON_AFTER},50,0,0")
    assert desk.closes() == [50, 51, 50]
    assert desk.closes(FRI) == [100, 102]


def test_a_price_and_its_split_may_come_in_two_rows(desk):
    desk.ingest(*WEEK[:2], f"A,{WED},51,0,0", f"A,{WED},,,2")
    assert desk.closes() == [50, 51, 51]


def test_a_dividend_on_a_price_that_is_not_above_zero_is_left_out_and_flagged(desk):
    """Once it was stored, and after that the panel could not be read."""
    desk.settings = desk.settings.model_copy(update={"positive": False})
    found = desk.ingest(f"A,{MON},3,0,", f"A,{TUE},-2,1,", f"A,{WED},-3,0,")
    assert found.doubts == {"unreadable_value": 1}
    assert desk.closes() == [3, -2, -3]


def test_rows_in_quarantine_that_disagree_or_say_nothing_change_no_action(desk):
    desk.ingest(*WEEK[:3])
    before = desk.closes()
    desk.ingest(*WEEK[:2], f"A,{WED},51,0,3", f"A,{WED},52,0,4")
    desk.ingest(*WEEK[:2], f"A,{WED},,,")
    assert desk.closes() == before
    desk.ingest(*WEEK[:2], f"A,{WED},,0,1", f"A,{THU},49,0,0")
    assert desk.closes() == [100, 102, 51, 49]


def test_rows_without_columns_of_actions_have_none():
    rows = pl.DataFrame({"series_id": ["A"], "time": [MON], "known_at": [MON], "close": [1.0]})
    assert new_actions(rows, rows.clear()).is_empty()


SETTINGS = Settings(calendar="weekdays", lookback=16, horizon=3)


def published(folder, panel, actions, days):
    """A warehouse with random walks that were published from a few days."""
    warehouse, settings = Warehouse(str(folder)), SETTINGS
    last = days[-1]
    warehouse.store_prices(panel.with_columns(known_at="time", as_of=pl.lit(last)))
    warehouse.store_actions(actions.with_columns(known_at="time", as_of=pl.lit(last)))
    for number in (100, 109, 110, 111, 120):
        walk = RandomWalk(3, 16, settings.quantiles, schema=PanelSchema(calendar="weekdays"))
        table = walk.fit(warehouse.prices(days[90])).predict(warehouse.prices(days[number]))
        marks = {"model": "random_walk", "run_id": "r", "live": True}
        table = table.with_columns(**{name: pl.lit(value) for name, value in marks.items()})
        warehouse.publish(days[number], table.with_columns(trained_through=pl.lit(days[90])))
    return warehouse


def split_in_four(panel):
    """The panel as quoted when its first series is split on the 112th session, that split, sessions and series."""
    days, first = panel["time"].unique().sort().to_list(), panel["series_id"][0]
    split = pl.DataFrame({"series_id": [first], "time": [days[111]], "split_ratio": [4.0], "dividend": [0.0]})
    before = (pl.col("series_id") == first) & (pl.col("time") < days[111])
    quoted = panel.with_columns(pl.when(before).then(pl.col("close") * 4).otherwise("close").alias("close"))
    return quoted, split, days, first


def test_forecasts_issued_before_a_split_are_scored_as_if_there_had_been_none(tmp_path, random_walks):
    panel = random_walks(n_series=2, n_rows=130)
    quoted, split, days, first = split_in_four(panel)
    plain = score(published(tmp_path / "plain", panel, split.clear(), days), days[-1], SETTINGS)
    found = score(published(tmp_path / "split", quoted, split, days), days[-1], SETTINGS)
    for name in ("crps", "ae", "crps_random_walk", "ae_random_walk", "covered"):
        assert found[name].cast(pl.Float64).to_list() == pytest.approx(plain[name].cast(pl.Float64).to_list(), rel=1e-9)
    unit = pl.when((pl.col("series_id") == first) & (pl.col("origin") < days[111])).then(4.0).otherwise(1.0)
    expected = plain.select(truth=pl.col("truth") * unit, scale=pl.col("scale") * unit)
    for name in ("truth", "scale"):  # in the shares that were forecast
        assert found[name].to_list() == pytest.approx(expected[name].to_list(), rel=1e-9)


def test_a_split_announced_late_has_its_forecasts_measured_anew(tmp_path, random_walks):
    """Once, what was scored on the ex-date kept the loss of a fall by three quarters."""
    quoted, split, days, first = split_in_four(random_walks(n_series=2, n_rows=130))
    in_time = published(tmp_path / "in time", quoted, split, days)
    in_time.store_scores(score(in_time, days[115], SETTINGS))
    late = published(tmp_path / "late", quoted, split.clear(), days)
    for day in (111, 112):
        late.store_scores(score(late, days[day], SETTINGS))
        late.put_run({"as_of": days[day], "status": "done"})
    before = pl.col("origin") < days[111]
    wrong = late.scores().filter(before, pl.col("series_id") == first, pl.col("time") >= days[111])
    assert wrong.height
    assert (wrong["crps"] > 10).all()

    late.store_actions(split.with_columns(known_at=pl.lit(days[113]), as_of=pl.lit(days[113])))
    assert late.store_scores(score(late, days[113], SETTINGS)) > wrong.height
    late.put_run({"as_of": days[113], "status": "done"})
    assert score(late, days[111], SETTINGS).is_empty()  # makes up for nothing with what it does not know
    late.store_scores(score(late, days[115], SETTINGS))
    assert_frame_equal(late.scores().filter(before), in_time.scores().filter(before), rel_tol=1e-9)
    assert score(late, days[115], SETTINGS).is_empty()


def test_a_split_announced_two_days_after_the_price_shows_it_has_its_forecasts_measured_anew(tmp_path, random_walks):
    """It has its own day as known_at, so that it does not look late; until then the scores show a crash."""
    quoted, split, days, first = split_in_four(random_walks(n_series=2, n_rows=130))
    in_time = published(tmp_path / "in time", quoted, split, days)
    in_time.store_scores(score(in_time, days[115], SETTINGS))
    late = published(tmp_path / "late", quoted, split.clear(), days)
    for day in (111, 112):
        late.store_scores(score(late, days[day], SETTINGS))
        late.put_run({"as_of": days[day], "status": "done"})
    late_action = split.with_columns(time=pl.lit(days[113]), known_at=pl.lit(days[113]), as_of=pl.lit(days[113]))
    late.store_actions(late_action)
    late.store_scores(score(late, days[115], SETTINGS))
    before = (pl.col("origin") < days[111]) & (pl.col("series_id") == first)
    assert_frame_equal(late.scores().filter(before), in_time.scores().filter(before), rel_tol=1e-9)
