"""A large panel by buckets of series: the tables of one piece, to the last digit, here and on the workers of a cluster.

Buckets are small here. Blocks of series, at which they end, have the size that they have everywhere.
"""

import os
import pickle
import signal
import sys
import threading
import time
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from tests.dask_clusters import started_cluster, until
from tests.flows.training.cluster_trainings import servers_loaded
from tests.object_stores import new_bucket, started_store
from tests.ray_clusters import kill_with_children, started_ray
from tests.spark_clusters import started_spark
from tidecast.features.transformers.cross_section import MarketReturn
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import TidecastError
from tidecast.flows.publish import bucket_tasks, feature_rows, predict, score
from tidecast.flows.publish.predict import Request, needs_whole_panel, predict_panel
from tidecast.flows.steps import daily_steps, take_in
from tidecast.flows.training.champion import Champion
from tidecast.flows.training.model_panel import model_panel
from tidecast.flows.warehouse import bucket
from tidecast.flows.warehouse.warehouse import Warehouse
from tidecast.forecasting.estimator import engine
from tidecast.forecasting.estimator.clusters.cluster import EngineError
from tidecast.forecasting.estimator.panel_reference import HeldPanel
from tidecast.forecasting.forecasters.average import Average
from tidecast.forecasting.forecasters.baselines import RandomWalk
from tidecast.forecasting.forecasters.recurrent import GRUForecaster
from tidecast.forecasting.forecasters.volatility_regression import VolatilityRegression

SETTINGS = Settings(calendar="weekdays", horizon=2, lookback=16, n_jobs=2)
ROWS = 1400
OF_BUCKET = predict._of_bucket


def prices(make_random_walks):
    """104 series, of which some ended, are young, pegged or split; only the last ones have high and low."""
    panel = make_random_walks(104, ROWS)
    name, row = pl.col("series_id"), pl.int_range(pl.len()).over("series_id")
    ended, young = (name == "A") & (row > ROWS - 50), (name == "S50") & (row < ROWS - 9)
    close = pl.when((name == "S60") & (row >= 700)).then(pl.col("close") / 2).otherwise("close")
    close = pl.when(name == "S70").then(7.5).otherwise(close)
    panel = panel.filter(~ended & ~young).with_columns(close.alias("close"))
    late = name >= "S90"
    high, low = (pl.when(late).then(pl.col("close") * factor) for factor in (1.01, 0.99))
    return panel.with_columns(high=high, low=low)


@pytest.fixture(scope="module")
def stored(tmp_path_factory, random_walks):
    """Prices with a correction and a split, and forecasts issued two sessions before the newest."""
    warehouse = Warehouse(str(tmp_path_factory.mktemp("buckets") / "warehouse"))
    panel = prices(random_walks)
    days = panel["time"].unique().sort()
    known = panel.with_columns(known_at="time", as_of="time")
    warehouse.store_prices(known.filter(pl.col("time") <= days[-3]))
    split = {"series_id": "S60", "time": days[700], "split_ratio": 2.0, "dividend": 0.0}
    warehouse.store_actions(pl.DataFrame([{**split, "known_at": days[700], "as_of": days[700]}]))
    walk = champion_of(RandomWalk(horizon=2, lookback=16).fit(panel.filter(pl.col("time") <= days[-9])), days[-9])
    found = predict_panel(warehouse, Request(walk, SETTINGS, days[-3], "", True), warehouse.versions())
    warehouse.publish(days[-3], found.table)
    warehouse.store_prices(known.filter(pl.col("time") > days[-3]))
    corrected = known.filter(pl.col("series_id") == "B", pl.col("time") == days[-30])
    newest = pl.lit(days[-1])
    warehouse.store_prices(corrected.with_columns(pl.col("close") * 1.1, known_at=newest, as_of=newest))
    return warehouse, days


def champion_of(model, through):
    return Champion("model", "1", "run", through, model.recipe(), model, {}, None, None)


@pytest.fixture(scope="module")
def models(random_walks):
    panel = prices(random_walks).filter(pl.col("series_id").is_in(["C", "S60", "S70", "S90", "S91", "S92"]))
    through = panel["time"].unique().sort()[-9]
    panel = panel.filter(pl.col("time") <= through)
    settings = {"horizon": 2, "lookback": 16}
    network = GRUForecaster(**settings, hidden_size=8, max_epochs=1)
    members = [network, VolatilityRegression(**settings)]
    found = [RandomWalk(**settings), *members, Average(members)]
    return [champion_of(model.fit(panel), through) for model in found]


@pytest.fixture
def small_buckets(monkeypatch):
    monkeypatch.setattr(bucket, "BUCKET_ROWS", 10_000)


@pytest.fixture
def tasks(monkeypatch):
    """Bytes that each task carried."""
    carried, in_order = [], bucket_tasks.each_bucket

    def noted(work, shared, buckets, settings):
        carried.extend(len(pickle.dumps((work, shared, one))) for one in buckets)
        return in_order(work, shared, buckets, settings)

    for module in (predict, score, feature_rows, take_in):
        monkeypatch.setattr(module, "each_bucket", noted)
    return carried


STARTED = {"distributed": started_cluster, "ray": lambda folder: started_ray(), "pyspark": started_spark}
LEAVES_OPEN = pytest.mark.filterwarnings("default")  # Ray and Spark leave sockets open when they disconnect


@pytest.fixture(
    scope="module",
    params=["distributed", pytest.param("ray", marks=LEAVES_OPEN), pytest.param("pyspark", marks=LEAVES_OPEN)],
)
def cluster(request, tmp_path_factory):
    pytest.importorskip(request.param)
    with STARTED[request.param](tmp_path_factory.mktemp(request.param)) as cluster:
        yield cluster


def with_engine(cluster):
    return SETTINGS.model_copy(update={"engine": cluster.engine})


def check_equal(one, other):
    assert one.table.equals(other.table)
    assert (one.left_out, one.pegged, one.live_series) == (other.left_out, other.pegged, other.live_series)


@pytest.fixture(scope="module")
def wholes(stored, models):
    """The forecasts of each model, all series at once."""
    warehouse, days = stored
    panel = model_panel(warehouse, SETTINGS, days[-1], filled=False)
    return [predict.predict(panel, champion, SETTINGS, days[-1], "run", True) for champion in models]


@pytest.fixture(scope="module")
def other_tables(stored):
    warehouse, days = stored
    return all_tables(warehouse, days[-1])


def all_tables(warehouse, as_of, settings=SETTINGS):
    """Scores, rows of features, and the facts that the check of a panel goes by."""
    asked = feature_rows.Asked(as_of, date(2020, 1, 1), date(2015, 1, 1), True, "weekdays")
    return [
        score.score(warehouse, as_of, settings),
        feature_rows._new_rows(warehouse, asked, settings, warehouse.versions()),
        take_in._facts_of_all(warehouse, settings, as_of),
    ]


def test_buckets_hold_all_series_in_order_and_end_where_blocks_do(small_buckets):
    names = [f"{number:03}" for number in range(100)]
    rows = np.where(np.arange(100) % 10 == 9, 0, 4000)
    series = pl.DataFrame({"series_id": names, "rows": rows})
    found = bucket.in_buckets(series)
    assert (found[0].first, found[-1].last) == ("000", "099")
    assert sum(one.rows for one in found) == rows.sum()
    assert [one.rows for one in found[:-1]] == [64_000] * (len(found) - 1), "16 series of 4,000 rows are a block"
    assert all(one.last < following.first for one, following in pairwise(found))
    assert len(bucket.in_buckets(series.head(12))) == 1
    assert bucket.in_buckets(series.clear()) == []


def test_forecasts_by_buckets_are_those_of_one_piece(stored, models, wholes, small_buckets, tasks):
    warehouse, days = stored
    for champion, whole in zip(models, wholes, strict=True):
        found = predict_panel(warehouse, Request(champion, SETTINGS, days[-1], "run", True), warehouse.versions())
        check_equal(found, whole)
    assert len(tasks) == 3 * len(models)
    assert {"A", "S50"} == {name for series in found.left_out.values() for name in series}
    assert found.pegged == ("S70",)


def test_scores_features_and_the_check_by_buckets_are_those_of_one_piece(stored, other_tables, small_buckets, tasks):
    warehouse, days = stored
    for one, other in zip(other_tables, all_tables(Warehouse(warehouse.uri), days[-1]), strict=True):
        assert one.height > 100
        assert one.equals(other)
    assert len(tasks) >= 8
    closes = Warehouse(warehouse.uri).closes(days[-1])
    assert closes.equals(warehouse.prices(days[-1]).select("series_id", "time", "close"))


def test_what_looks_across_series_stays_in_one_piece(stored, models, random_walks):
    warehouse, _ = stored
    market = GRUForecaster(horizon=2, lookback=16, hidden_size=4, max_epochs=0, features=MarketReturn())
    across = market.fit(random_walks(3, 200))
    assert needs_whole_panel(across, warehouse, SETTINGS)
    assert needs_whole_panel(Average.of([across]), warehouse, SETTINGS)
    assert not any(needs_whole_panel(champion.model, warehouse, SETTINGS) for champion in models)
    ahead = SETTINGS.model_copy(update={"future_covariates": ("rate",)})
    assert needs_whole_panel(models[0].model, warehouse, ahead), "what is usually known depends on all series"


def test_a_model_for_panels_is_small_and_forecasts_them_as_before(models, random_walks):
    panel = prices(random_walks).filter(pl.col("series_id") >= "S90")
    for champion in models:
        light = champion.model.for_panels()
        assert light.predict(panel).equals(champion.model.predict(panel))
        assert len(pickle.dumps(light)) < min(100_000, len(pickle.dumps(champion.model)))


def test_tables_of_a_cluster_are_those_of_this_machine(
    cluster, stored, models, wholes, other_tables, small_buckets, tasks, caplog
):
    warehouse, days = stored
    request = Request(models[-1], with_engine(cluster), days[-1], "run", True)
    check_equal(predict_panel(warehouse, request, warehouse.versions()), wholes[-1])
    for one, other in zip(other_tables, all_tables(warehouse, days[-1], with_engine(cluster)), strict=True):
        assert one.equals(other)
    assert max(tasks) < 100_000, "bytes, most of them the average's"
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    with bucket_tasks.engine_of(with_engine(cluster), warehouse.uri):
        loaded = engine._in_force.get().cluster.everywhere(servers_loaded)
    assert set(map(tuple, loaded.values())) == {()}, "workers need neither"


def test_an_object_store_is_read_by_workers_without_a_login_of_their_own(
    cluster, stored, models, wholes, small_buckets, monkeypatch, caplog
):
    warehouse, days = stored
    with started_store() as server:
        there = Warehouse(new_bucket(server, "buckets", monkeypatch.setenv))
        there.store_prices(warehouse.revisions())
        there.store_actions(warehouse.point_in_time().actions)
        request = Request(models[0], with_engine(cluster), days[-1], "run", True)
        found = predict_panel(there, request, there.versions())
    check_equal(found, wholes[0])
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    reference = there.reference(bucket.Bucket("A", "B", 1), {}, ())
    assert reference.options["AWS_SECRET_ACCESS_KEY"] == "any"
    assert "AWS" not in repr(reference)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc has a folder that is another for each process")
def test_a_worker_that_does_not_see_the_tables_is_named_and_this_process_forecasts(
    cluster, stored, models, wholes, small_buckets, monkeypatch, caplog
):
    warehouse, days = stored
    monkeypatch.chdir(Path(warehouse.uri).parent)
    here = Warehouse("/proc/self/cwd/warehouse")  # which is another folder for each process
    request = Request(models[0], with_engine(cluster), days[-1], "run", True)
    check_equal(predict_panel(here, request, here.versions()), wholes[0])
    (warning,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert warning.startswith(
        "The warehouse must lie where every worker sees it: /proc/self/cwd/warehouse/prices is not"
    )
    assert "Put it into a shared folder, or set engine to 'processes'. This process works on the 3 buckets" in warning
    lost = here.reference(bucket.Bucket("A", "B", 1), {"prices": 0}, ())
    monkeypatch.chdir("/")
    with pytest.raises(EngineError, match=r"must see the warehouse .*; \S+ does not: .* Let it reach that address, or"):
        bucket_tasks._task(print, HeldPanel(None), lost)


def test_a_process_of_this_machine_that_is_killed_leaves_the_work_to_this_one(
    stored, models, wholes, small_buckets, monkeypatch, caplog
):
    warehouse, days = stored
    monkeypatch.setattr(bucket_tasks, "PROCESS_ROWS", 10_000)
    monkeypatch.setattr(bucket_tasks, "cpu_count", lambda: 2)
    monkeypatch.setattr(predict, "_of_bucket", _killed)
    request = Request(models[0], SETTINGS, days[-1], str(os.getpid()), True)
    found = predict_panel(warehouse, request, warehouse.versions())
    assert found.table.drop("run_id").equals(wholes[0].table.drop("run_id"))
    assert "This process works on the 3 buckets of series itself." in caplog.text


def test_a_worker_that_is_killed_in_the_middle_of_a_day_changes_no_table(
    cluster, stored, models, wholes, small_buckets, monkeypatch
):
    warehouse, days = stored
    monkeypatch.setattr(predict, "_of_bucket", _slowly)
    folder = Path(warehouse.uri).parent
    killer = threading.Thread(target=lambda: (until(lambda: list(folder.glob("begun-*"))), cluster.kill_worker()))
    killer.start()
    found = SimpleNamespace(as_of=days[-1], newest=days[-1], run_counts={})
    for _ in range(2):  # the second run finds the day published
        daily_steps.publish(warehouse, with_engine(cluster), found, models[1], datetime.now(UTC))
    killer.join()
    assert len(list(folder.glob("begun-*"))) >= 3, "a bucket was begun twice, or each by one worker"
    issued = warehouse.forecasts(days[-1])
    wanted = wholes[1].table
    shown = [name for name in wanted.columns if name not in ("live", "as_of", "year")]
    assert issued.select(shown).equals(wanted.select(shown))
    assert len(warehouse.read_by(days[-1])) == 1, "one commit"


def test_a_cluster_that_ends_in_the_middle_leaves_the_work_to_this_process(
    cluster, stored, models, wholes, small_buckets, monkeypatch, caplog
):
    """It has one worker left: joblib ran tasks in this process then."""
    warehouse, days = stored
    for constant in ("dask_backend.ALONE", "ray_backend.GONE", "spark_backend.ALONE"):
        if sys.modules.get(module := "tidecast.forecasting.estimator.clusters." + constant.partition(".")[0]):
            monkeypatch.setattr(sys.modules[module], constant.partition(".")[2], 2.0)
    monkeypatch.setattr(predict, "_of_bucket", _slowly_elsewhere)
    folder, ended = Path(warehouse.uri).parent, []
    cluster.kill_worker()

    def end():
        until(lambda: list(folder.glob("elsewhere-*")))
        for process in cluster.processes:
            kill_with_children(process)
        ended.append(time.monotonic())

    killer = threading.Thread(target=end)
    killer.start()
    request = Request(models[0], with_engine(cluster), days[-1], str(os.getpid()), True)
    found = predict_panel(warehouse, request, warehouse.versions())
    assert time.monotonic() - ended[0] < 60
    killer.join()
    assert found.table.drop("run_id").equals(wholes[0].table.drop("run_id"))
    assert "This process works on the 3 buckets of series itself." in caplog.text


def test_a_bucket_of_which_nothing_can_be_forecast_is_named_only_if_all_are_so(stored, models, wholes):
    warehouse, days = stored
    request = Request(champion_of(models[0].model, days[0]), SETTINGS, days[12], "run", True)
    early = predict._forecasts(model_panel(warehouse, SETTINGS, days[12], filled=False), request)
    joined = predict._joined([early, wholes[0]], request)
    assert joined.table.equals(wholes[0].table)
    assert list(joined.left_out) == list(wholes[0].left_out), "ended ones first"
    assert len(joined.left_out[list(joined.left_out)[1]]) == 104
    with pytest.raises(TidecastError, match=r"No series can be forecast as of .*\. No origin to forecast from: "):
        predict._joined([early, early], request)


def _slowly(request, warehouse):
    Path(warehouse.uri).parent.joinpath(f"begun-{os.getpid()}-{time.time()}").touch()
    time.sleep(1)
    return OF_BUCKET(request, warehouse)


def _slowly_elsewhere(request, warehouse):
    if str(os.getpid()) != request.run_id:
        Path(warehouse.uri).parent.joinpath(f"elsewhere-{os.getpid()}").touch()
        time.sleep(3)
    return OF_BUCKET(request, warehouse)


def _killed(request, warehouse):
    if str(os.getpid()) != request.run_id:
        os.kill(os.getpid(), signal.SIGKILL)
    return OF_BUCKET(request, warehouse)
