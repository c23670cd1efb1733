"""Scores: published forecasts against what came true, in the units of the backtest."""

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tidecast.features import PanelSchema
from tidecast.features.volatility import with_volatility
from tidecast.flows.config.settings import Settings
from tidecast.flows.publish.kept_walks import MOST_KEPT, KeptWalks
from tidecast.flows.publish.score import score
from tidecast.flows.warehouse.warehouse import Warehouse
from tidecast.forecasting import RandomWalk, evaluate

SETTINGS = Settings(calendar="weekdays", lookback=16, horizon=3)


class Desk:
    """Prices in a warehouse, and the random walk to publish from."""

    def __init__(self, folder, panel, settings=SETTINGS):
        self.warehouse, self.settings = Warehouse(str(folder)), settings
        self.days = panel["time"].unique().sort().to_list()
        self.store(panel)

    def store(self, panel, as_of=None):
        known = pl.col("time") if as_of is None else pl.lit(as_of)
        self.warehouse.store_prices(panel.with_columns(known.alias("known_at"), as_of=pl.lit(as_of or self.days[-1])))

    def publish(self, as_of, trained_through, shift=0.0, model="random_walk"):
        """Publish the random walk, every price of it moved by a share."""
        schema = PanelSchema(positive=self.settings.positive, calendar="weekdays")
        walk = RandomWalk(self.settings.horizon, self.settings.lookback, self.settings.quantiles, schema=schema)
        table = walk.fit(self.warehouse.prices(trained_through)).predict(self.warehouse.prices(as_of))
        prices = pl.col([name for name in table.columns if name.startswith(("forecast", "q0."))])
        table = table.with_columns(prices * (1 + shift)).with_columns(
            pl.lit(model).alias("model"),
            pl.lit(trained_through).alias("trained_through"),
            run_id=pl.lit("r"),
            live=pl.col("time") > as_of,
        )
        self.warehouse.publish(as_of, table)

    def score(self, as_of):
        rows = score(self.warehouse, as_of, self.settings)
        self.warehouse.store_scores(rows)
        return rows


@pytest.fixture
def desk(tmp_path, random_walks):
    return Desk(tmp_path, random_walks(n_series=3, n_rows=200))


def test_a_forecast_is_scored_when_it_has_come_true_and_once(desk):
    day = desk.days
    desk.publish(day[100], day[90])
    assert desk.score(day[100]).is_empty()
    assert desk.score(day[101])["step"].to_list() == [1, 1, 1]
    assert desk.score(day[101]).is_empty()
    assert desk.score(day[103]).group_by("step").len().sort("step").rows() == [(2, 3), (3, 3)]
    assert desk.score(day[150]).is_empty()
    assert desk.warehouse.scores().height == 9


def test_of_a_long_history_the_newest_rows_are_enough(tmp_path, random_walks):
    panel = random_walks(n_series=3, n_rows=1500)
    late = (
        panel.filter(series_id="A").tail(1450).with_columns(series_id=pl.lit("late"))
    )  # it has older rows, few of them
    late = pl.concat([late.head(1), late.tail(400)])
    desk = Desk(
        tmp_path, pl.concat([panel, panel.filter(series_id="B").tail(300).with_columns(series_id=pl.lit("new"))])
    )
    desk.store(late)
    day = desk.days
    desk.publish(day[1400], day[1390], shift=0.01, model="GRU")
    rows = desk.score(day[1410])
    issued, prices = desk.warehouse.forecasts(), desk.warehouse.prices()
    again = evaluate(issued.drop("as_of", "model", "run_id", "live", "trained_through", "year"), prices).losses
    both = rows.join(again, on=["series_id", "origin", "step"], suffix="_again")
    assert both.height == rows.height == 15
    assert both["crps"].to_list() == pytest.approx(both["crps_again"].to_list(), rel=1e-12)
    walk = RandomWalk(3, 16, SETTINGS.quantiles, schema=PanelSchema(calendar="weekdays"))
    table = walk.fit(desk.warehouse.prices(day[1390])).predict(desk.warehouse.prices(day[1400]))
    again = evaluate(table, prices).losses
    both = rows.join(again, on=["series_id", "origin", "step"], suffix="_again")
    assert both["crps_random_walk"].to_list() == pytest.approx(both["crps_again"].to_list(), rel=1e-12)


def test_a_kept_random_walk_is_as_good_as_one_that_is_fitted_anew(desk, tmp_path, monkeypatch):
    day, folder = desk.days, tmp_path / "walks"
    assert not folder.exists()
    KeptWalks(folder, desk.warehouse).fitted(day[90], SETTINGS)
    assert not folder.exists()  # before anything is published, prices may be replaced
    desk.publish(day[100], day[90], shift=0.01, model="GRU")
    expected = score(desk.warehouse, day[103], SETTINGS)
    assert score(desk.warehouse, day[103], SETTINGS, folder).equals(expected)
    [kept] = folder.iterdir()
    fit = RandomWalk.fit
    monkeypatch.setattr(RandomWalk, "fit", lambda *_: pytest.fail("it must not be fitted again"))
    assert score(desk.warehouse, day[103], SETTINGS, folder).equals(expected)
    monkeypatch.setattr(RandomWalk, "fit", fit)
    (kept / "model.json").write_text("{")
    assert score(desk.warehouse, day[103], SETTINGS, folder).equals(expected)
    assert [one.name for one in folder.iterdir()] == [kept.name]
    for number in range(10):
        KeptWalks(folder, desk.warehouse).fitted(day[80 + number], SETTINGS)
    assert len(list(folder.iterdir())) == MOST_KEPT


def test_where_the_random_walk_was_published_both_losses_are_the_same(desk):
    day = desk.days
    for number in (100, 101, 102):
        desk.publish(day[number], day[90])
    rows = desk.score(day[110])
    assert rows.height == 27
    assert rows["crps"].to_list() == pytest.approx(rows["crps_random_walk"].to_list(), rel=1e-12)
    assert rows["ae"].to_list() == pytest.approx(rows["ae_random_walk"].to_list(), rel=1e-12)


def test_losses_are_those_of_evaluate_in_units_of_price_times_volatility(desk):
    day = desk.days
    desk.publish(day[100], day[90], shift=0.01, model="GRU")
    rows = desk.score(day[110])
    issued, panel = desk.warehouse.forecasts(), desk.warehouse.prices()
    again = evaluate(issued.drop("as_of", "model", "run_id", "live", "trained_through", "year"), panel).losses
    both = rows.join(again, on=["series_id", "origin", "step"], suffix="_again")
    assert both.height == 9
    for loss in ("crps", "ae", "covered", "scale"):
        assert both[loss].to_list() == pytest.approx(both[f"{loss}_again"].to_list(), rel=1e-12)
    row = rows.row(0, named=True)
    origin = with_volatility(panel).filter(series_id=row["series_id"], time=row["origin"]).row(0, named=True)
    forecast = issued.filter(series_id=row["series_id"], step=row["step"])["forecast"].item()
    assert row["scale"] == pytest.approx(origin["close"] * origin["volatility"])
    assert row["ae"] == pytest.approx(abs(row["truth"] - forecast) / row["scale"])
    assert row["ae_random_walk"] == pytest.approx(abs(row["truth"] - origin["close"]) / row["scale"])


def test_what_became_known_later_changes_no_score(desk, random_walks):
    day = desk.days
    desk.publish(day[100], day[90])
    before = score(desk.warehouse, day[110], SETTINGS)
    panel = random_walks(n_series=3, n_rows=200)
    wrong = panel.filter(pl.col("time").is_between(day[60], day[105])).with_columns(pl.col("close") * 3)
    desk.store(wrong, as_of=day[150])
    assert_frame_equal(score(desk.warehouse, day[110], SETTINGS), before, rel_tol=1e-12)


def test_a_correction_of_the_truth_before_scoring_counts(desk, random_walks):
    day = desk.days
    desk.publish(day[100], day[90])
    truth = random_walks(n_series=3, n_rows=200).filter(pl.col("time") == day[101]).with_columns(close=7.0)
    desk.store(truth, as_of=day[105])
    rows = desk.score(day[110]).filter(step=1)
    assert rows["truth"].to_list() == [7, 7, 7]


@pytest.mark.parametrize("price", [30.0, None])
def test_a_correction_between_two_scorings_leaves_the_scale_of_a_forecast_alone(desk, random_walks, price):
    """Once, later steps were measured by the corrected price, or not at all when it made the series look pegged."""
    day = desk.days
    desk.publish(day[100], day[90])
    at_once = score(desk.warehouse, day[110], SETTINGS)
    desk.score(day[101])
    panel = random_walks(n_series=3, n_rows=200)
    if price:
        desk.store(panel.filter(pl.col("time") == day[100]).with_columns(close=price), as_of=day[102])
    else:
        desk.store(panel.filter(pl.col("time") <= day[100]).with_columns(close=9.0), as_of=day[102])
    desk.score(day[110])
    scores = desk.warehouse.scores().drop("year")
    assert scores.height == 9
    assert_frame_equal(scores, at_once, rel_tol=1e-12)


def test_a_pegged_series_has_no_score_and_the_others_have(random_walks, tmp_path):
    panel = random_walks(n_series=3, n_rows=200).with_columns(
        close=pl.when(pl.col("series_id") == "B").then(7.4604).otherwise("close")
    )
    pegged = Desk(tmp_path, panel)
    pegged.publish(pegged.days[100], pegged.days[90])
    assert pegged.score(pegged.days[110])["series_id"].unique().sort().to_list() == ["A", "C"]


def test_a_session_without_a_row_has_no_truth_and_its_origin_may_be_issued_twice(tmp_path, random_walks):
    """Once, two as_of with the same origin of a series could not be measured together."""
    panel = random_walks(n_series=3, n_rows=200)
    days = panel["time"].unique().sort().to_list()
    gaps = Desk(tmp_path, panel.filter(~((pl.col("series_id") == "B") & (pl.col("time") == days[101]))))
    gaps.publish(days[100], days[90])
    gaps.publish(days[101], days[90])
    rows = gaps.score(days[110])
    steps = rows.filter(series_id="B").select("as_of", "origin", "step").sort("as_of", "step").rows()
    same = days[100]
    assert steps == [(same, same, 2), (same, same, 3), (days[101], same, 2), (days[101], same, 3)]
    assert (rows["time"] > rows["as_of"]).all()  # the first step of the second one was no forecast any more
    assert rows.filter(series_id="A").height == 6


def test_forecasts_of_a_later_as_of_are_not_scored_by_an_earlier_run(desk):
    day = desk.days
    desk.publish(day[100], day[90])
    assert score(desk.warehouse, day[99], SETTINGS).is_empty()


def test_other_than_the_default_quantiles_give_a_pinball_loss(tmp_path, random_walks):
    settings = Settings(calendar="weekdays", lookback=16, horizon=2, quantiles=(0.1, 0.9))
    desk = Desk(tmp_path, random_walks(n_series=2, n_rows=200), settings)
    desk.publish(desk.days[100], desk.days[90])
    rows = desk.score(desk.days[110])
    assert rows["pinball"].to_list() == pytest.approx(rows["pinball_random_walk"].to_list(), rel=1e-12)
    assert "crps" not in desk.warehouse.scores().columns


def test_prices_below_zero_are_scored_by_differences(tmp_path, random_walks):
    settings = Settings(calendar="weekdays", lookback=16, horizon=2, positive=False)
    panel = random_walks(n_series=2, n_rows=200).with_columns(close=pl.col("close").log() - 5)
    desk = Desk(tmp_path, panel, settings)
    desk.publish(desk.days[100], desk.days[90])
    rows = desk.score(desk.days[110])
    assert rows.height == 4
    assert (rows["scale"] > 0).all()
    assert rows["crps"].to_list() == pytest.approx(rows["crps_random_walk"].to_list(), rel=1e-12)
