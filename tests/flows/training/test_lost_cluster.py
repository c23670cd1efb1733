"""A cluster that ends during a training: the training ends, too, and says why."""

import time

import pytest

from tests.dask_clusters import Cluster, started_cluster
from tests.flows.training.cluster_trainings import on, trained
from tidecast.flows.errors import TidecastError
from tidecast.forecasting.estimator.clusters import dask_backend
from tidecast.forecasting.estimator.clusters.dask_cluster import DaskCluster


@pytest.mark.parametrize(
    ("kill", "environ", "message"),
    [
        (Cluster.kill_scheduler, {}, "must run until the fits are done, but it ended, .* Start it and its workers"),
        (Cluster.kill_workers, {}, "must have a worker; it had none within 2 s. Start some with: dask worker"),
        (
            Cluster.kill_workers,
            {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"},
            "must end on one of the workers of .*, but several ended while they ran it: .* Give each worker more",
        ),
    ],
    ids=["scheduler", "all workers", "workers that end on a fit"],
)
def test_a_training_waited_for_ever_for_a_cluster_that_had_ended(
    kill, environ, message, short_walks, tmp_path, monkeypatch
):
    monkeypatch.setattr(dask_backend, "ALONE", 2.0)
    begun = []
    with started_cluster(tmp_path, environ) as cluster:

        def say(text):
            if "fold" in text and not begun:
                kill(cluster)
                begun.append(time.monotonic())

        with (
            pytest.raises(TidecastError, match=message),
            on(cluster.engine),
        ):
            trained(short_walks, say)
        assert time.monotonic() - begun[0] < 60


def test_a_panel_that_ended_with_the_workers_that_were_sent_it_is_named(short_walks, tmp_path, monkeypatch):
    monkeypatch.setattr(DaskCluster, "is_shared", lambda cluster, folder: False)
    begun = []
    with started_cluster(tmp_path) as cluster:

        def say(text):
            if "fold" in text and not begun:
                cluster.kill_workers()
                cluster.start_worker()
                begun.append(time.monotonic())

        message = "panel that workers of .* were sent must stay with one of them, but the last that had it ended"
        with pytest.raises(TidecastError, match=message), on(cluster.engine):
            trained(short_walks, say)
        assert time.monotonic() - begun[0] < 60
