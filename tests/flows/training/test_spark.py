"""Fits run on a real Spark cluster, and give the tables of this machine."""

import os
import signal
import socket
import time
from contextlib import suppress

import psutil
import pytest

from tests.flows.training.cluster_trainings import check_equal, on, trained
from tests.spark_clusters import started_spark
from tidecast.flows.errors import TidecastError
from tidecast.forecasting.estimator import engine
from tidecast.forecasting.estimator.clusters.spark_cluster import SentPanel, SparkCluster
from tidecast.forecasting.estimator.panel_reference import PanelFile

pyspark = pytest.importorskip("pyspark")

pytestmark = pytest.mark.filterwarnings("default")  # Spark leaves sockets open when it disconnects


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with started_spark(tmp_path_factory.mktemp("spark")) as cluster:
        yield cluster


def executors():
    """Java processes that run tasks."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "org.apache.spark.executor.CoarseGrainedExecutorBackend" in (process.info["cmdline"] or [])
    ]


@pytest.mark.parametrize("shared", [True, False])
def test_a_training_on_spark_gives_the_tables_of_this_machine_also_where_an_executor_is_killed(
    shared, cluster, short_walks, local, monkeypatch
):
    found, killed, of_engine = [], [], engine._seen_by_workers
    monkeypatch.setattr(engine, "_seen_by_workers", lambda *a: found.append(of_engine(*a)) or found[-1])
    if not shared:
        monkeypatch.setattr(SparkCluster, "is_shared", lambda cluster, folder: False)

    def say(text):
        if "fold" in text and not shared and not killed:
            killed.append(executors()[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    with on(cluster.engine):
        there = trained(short_walks, say)
    check_equal(local, there)
    assert list(map(type, found)) == [PanelFile if shared else SentPanel] * 3
    assert shared or killed


def test_a_worker_with_other_code_is_refused(cluster, monkeypatch):
    monkeypatch.setattr("tidecast.forecasting.estimator.clusters.cluster.code_digest", lambda: "another")
    with (
        pytest.raises(TidecastError, match=r"Tidecast's code \w+, here another\. Install the same"),
        on(cluster.engine),
    ):
        pass


def test_workers_that_have_another_python_are_told_how_to_name_it(cluster, monkeypatch):
    monkeypatch.setenv("PYSPARK_PYTHON", "/no/python")
    with pytest.raises(TidecastError, match=r"must start the Python .* PYSPARK_PYTHON="), on(cluster.engine):
        pass


def test_a_training_ends_soon_after_all_workers_have(cluster, short_walks, monkeypatch):
    monkeypatch.setattr("tidecast.forecasting.estimator.clusters.spark_backend.ALONE", 2.0)
    begun = []

    def say(text):
        if "fold" in text and not begun:
            begun.append(time.monotonic())
            for worker in cluster.processes[1:]:
                worker.kill()
            for process in executors():
                with suppress(psutil.NoSuchProcess):  # it ended with its worker
                    process.kill()

    with pytest.raises(TidecastError, match="must have a worker with a free processor"), on(cluster.engine):
        trained(short_walks, say)
    assert time.monotonic() - begun[0] < 60


def test_a_master_that_does_not_answer_is_named_with_the_command_that_starts_one():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        there = on(f"spark://127.0.0.1:{nobody.getsockname()[1]}")
        with pytest.raises(TidecastError, match=r"master of the same version must answer at 127.0.0.1:\d+; .* "), there:
            pass
