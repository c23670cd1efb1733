"""Fits run on a real Ray cluster, and give the tables of this machine."""

import os
import signal
import time
from contextlib import suppress

import psutil
import pytest

from tests.dask_clusters import until
from tests.flows.training.cluster_trainings import check_equal, on, trained
from tests.ray_clusters import started_ray
from tidecast.flows.errors import TidecastError
from tidecast.forecasting.estimator import engine
from tidecast.forecasting.estimator.clusters.ray_cluster import RayCluster, StoredPanel
from tidecast.forecasting.estimator.panel_reference import PanelFile

ray = pytest.importorskip("ray")

pytestmark = pytest.mark.filterwarnings("default")  # Ray leaves sockets and files open when it disconnects


@pytest.fixture(scope="module")
def cluster():
    with started_ray() as cluster:
        yield cluster


@pytest.mark.parametrize("shared", [True, False])
def test_a_training_on_ray_gives_the_tables_of_this_machine(shared, cluster, short_walks, local, monkeypatch):
    found, of_engine = [], engine._seen_by_workers
    monkeypatch.setattr(engine, "_seen_by_workers", lambda *a: found.append(of_engine(*a)) or found[-1])
    if not shared:
        monkeypatch.setattr(RayCluster, "is_shared", lambda cluster, folder: False)
    with on(cluster.engine):
        there = trained(short_walks)
    check_equal(local, there)
    assert list(map(type, found)) == [PanelFile if shared else StoredPanel] * 3


def test_a_process_that_is_killed_changes_no_table(cluster, short_walks, local):
    killed = []

    def say(text):
        if "fold" in text and not killed:
            killed.extend(processes_of_ray())
            for process in killed:
                os.kill(process, signal.SIGKILL)

    with on(cluster.engine):
        there = trained(short_walks, say)
    check_equal(local, there)
    assert killed


def processes_of_ray():
    """Process ids of Ray's workers that run a task."""
    found = psutil.process_iter(["name"])  # None for one that has just ended
    return [process.pid for process in found if "ray::_call" in (process.info["name"] or "")]


def has_a_machine(cluster):
    """Whether a machine with a processor has joined the head's."""
    with suppress(TidecastError), on(cluster.engine):
        return True
    return False


def test_a_worker_with_other_code_is_refused(cluster, monkeypatch):
    monkeypatch.setattr("tidecast.forecasting.estimator.clusters.cluster.code_digest", lambda: "another")
    with (
        pytest.raises(TidecastError, match=r"Tidecast's code \w+, here another\. Install the same"),
        on(cluster.engine),
    ):
        pass


def test_a_training_ends_soon_after_the_head_has_and_says_what_to_do(cluster, short_walks, monkeypatch):
    """Ray ended the whole process, a minute later and without an error."""
    monkeypatch.setattr("tidecast.forecasting.estimator.clusters.ray_backend.GONE", 2.0)
    begun = []

    def say(text):
        if "fold" in text and not begun:
            cluster.kill_head()
            begun.append(time.monotonic())

    with pytest.raises(TidecastError, match=r"head at .* must run .* it ended, .* Start it"), on(cluster.engine):
        trained(short_walks, say)
    assert time.monotonic() - begun[0] < 60


def test_a_training_waited_for_ever_when_all_machines_but_the_head_had_ended(short_walks, monkeypatch):
    monkeypatch.setattr("tidecast.forecasting.estimator.clusters.ray_backend.ALONE", 2.0)
    begun = []
    with started_ray(of_head=0) as cluster:
        until(lambda: has_a_machine(cluster))

        def say(text):
            if "fold" in text and not begun:
                cluster.kill_worker()
                begun.append(time.monotonic())

        with pytest.raises(TidecastError, match="must have a processor for tasks; it has none"), on(cluster.engine):
            trained(short_walks, say)
        assert time.monotonic() - begun[0] < 60


def test_a_head_that_does_not_answer_is_named_with_the_commands_that_start_one():
    there = on("ray://127.0.0.1:1")
    begun = time.monotonic()
    with pytest.raises(TidecastError, match=r"must have its head at 127.0.0.1:1, .* ray start --head --port 1"), there:
        pass
    assert time.monotonic() - begun < 60
