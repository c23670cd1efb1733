"""Fits run on a real Dask cluster, and give the tables of this machine."""

import pytest

from tests.dask_clusters import started_cluster
from tests.flows.training.cluster_trainings import check_equal, on, servers_loaded, trained
from tidecast.flows.errors import TidecastError
from tidecast.forecasting.estimator import engine
from tidecast.forecasting.estimator.clusters.dask_cluster import DaskCluster
from tidecast.forecasting.estimator.panel_reference import HeldPanel, PanelFile
from tidecast.forecasting.evaluation.splits import RollingOrigin
from tidecast.forecasting.forecasters.baselines import SeasonalNaive
from tidecast.forecasting.tuning.tune import tune


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with started_cluster(tmp_path_factory.mktemp("dask")) as cluster:
        yield cluster


@pytest.fixture
def references(monkeypatch):
    """What the tasks carried."""
    found, of_engine = [], engine._seen_by_workers

    def noted(*arguments):
        found.append(of_engine(*arguments))
        return found[-1]

    monkeypatch.setattr(engine, "_seen_by_workers", noted)
    return found


def test_a_training_on_a_cluster_gives_the_tables_of_this_machine(cluster, short_walks, local, references):
    with on(cluster.engine):
        there = trained(short_walks)
        loaded = engine._in_force.get().cluster.everywhere(servers_loaded)
    check_equal(local, there)
    assert list(map(type, references)) == [PanelFile] * 3, "selection, gate and refit: the workers see this folder"
    assert set(map(tuple, loaded.values())) == {()}, "workers need neither"


def test_workers_that_share_no_folder_are_sent_the_panel(cluster, short_walks, local, references, monkeypatch):
    monkeypatch.setattr(DaskCluster, "is_shared", lambda cluster, folder: False)
    with on(cluster.engine):
        there = trained(short_walks)
    check_equal(local, there)
    assert list(map(type, references)) == [HeldPanel] * 3


def test_a_search_runs_on_the_workers(cluster, short_walks, tmp_path):
    model, cv = SeasonalNaive(horizon=2, lookback=30), RollingOrigin(n_splits=2, horizon=2, stride=10)
    space, journal = {"season": [1, 5, 7]}, tmp_path / "study.journal"
    local = tune(model, short_walks, cv, space, n_trials=3)
    with on(cluster.engine):
        there = tune(model, short_walks, cv, space, n_trials=3, storage=journal)
    assert (there.settings, there.value) == (local.settings, local.value)


def test_a_worker_that_is_killed_changes_no_table(cluster, short_walks, local):
    said = []

    def say(text):
        said.append(text)
        if "fold" in text:
            cluster.kill_worker()

    with on(cluster.engine):
        there = trained(short_walks, say)
        assert len(engine._in_force.get().cluster.client.ncores()) == 1
    check_equal(local, there)
    assert sum("fold" in text for text in said) > 4, "it was killed after the first of several fits"


def test_a_worker_with_other_code_is_refused(cluster, monkeypatch):
    monkeypatch.setattr("tidecast.forecasting.estimator.clusters.cluster.code_digest", lambda: "another")
    there = on(cluster.engine)
    with pytest.raises(TidecastError, match=r"Tidecast's code \w+, here another\. Install the same"), there:
        pass
