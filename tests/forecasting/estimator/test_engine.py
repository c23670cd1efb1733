"""The engine that fits run on: the panel as tasks carry it, and what is refused."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from distributed import LocalCluster

from tests.dask_clusters import until
from tidecast.forecasting.estimator.clusters import dask_cluster
from tidecast.forecasting.estimator.clusters.cluster import EngineError
from tidecast.forecasting.estimator.engine import on_engine, open_engine
from tidecast.forecasting.estimator.engine_address import check_engine
from tidecast.forecasting.estimator.panel_reference import HeldPanel, PanelFile, opened, panel_file

ROOT = Path(__file__).parents[3]


def test_a_panel_in_a_file_keeps_its_types_and_is_deleted(panel, tmp_path):
    zone, kinds = pl.col("time").cast(pl.Datetime("us")).dt.replace_time_zone("Europe/Berlin"), pl.Enum(list("ABCDEF"))
    rich = panel.with_columns(
        at=zone, kind=pl.col("series_id").cast(kinds), ahead=pl.concat_list("close", "close").list.to_array(2),
        events=pl.concat_list("close"), missing=pl.lit(None, pl.Float64),
    )  # fmt: skip
    with panel_file(rich, str(tmp_path)) as file:
        assert file.read().equals(rich)
        assert file.read().schema == rich.schema
        assert opened(file).n_chunks() == 1
    assert list(tmp_path.iterdir()) == []


def test_a_panel_that_cannot_be_a_file_is_passed_itself(panel, monkeypatch, tmp_path):
    with panel_file(panel, str(tmp_path / "not there")) as file:
        assert file is None
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "not there"))
    with on_engine(panel, 2) as reference:
        assert opened(reference) is panel
    with on_engine(panel.to_pandas(), 2) as reference:
        assert isinstance(reference, HeldPanel)


def test_one_process_writes_no_file_and_several_share_one(panel):
    with on_engine(panel, 1) as reference:
        assert isinstance(reference, HeldPanel)
    with on_engine(panel, 2) as reference:
        assert isinstance(reference, PanelFile)
        assert reference.read().equals(panel)
    assert not Path(reference.path).exists()


KILLED = """
import sys, time
import polars as pl
from tidecast.forecasting.estimator.panel_reference import panel_file
with panel_file(pl.DataFrame({"close": [1.0]}), sys.argv[1]):
    time.sleep(600)
"""


def test_the_file_of_a_process_that_is_killed_is_deleted(tmp_path):
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], env=environ, stderr=subprocess.DEVNULL)
    try:
        until(lambda: list(tmp_path.rglob("*.arrow")))
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    until(lambda: not list(tmp_path.iterdir()))


@pytest.mark.parametrize("engine", ["dask", "dask://host", "dask://me:secret@host:8786", "flink://host:1"])
def test_an_engine_that_is_misspelt_is_refused(engine):
    with pytest.raises(
        ValueError, match="engine must be 'processes' or an address like 'dask://scheduler:8786', 'ray://head:6379' or"
    ):
        check_engine(engine)


@pytest.mark.parametrize(("kind", "library"), [("dask", "distributed"), ("ray", "ray"), ("spark", "pyspark")])
def test_without_its_library_the_error_says_how_to_install_it(kind, library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with (
        pytest.raises(EngineError, match=rf'pip install "tidecast\[{kind}\]"'),
        open_engine(f"{kind}://127.0.0.1:1"),
    ):
        pass


def test_a_scheduler_that_does_not_answer_is_named_with_the_command_that_starts_one(monkeypatch):
    monkeypatch.setattr(dask_cluster, "WAIT", 0.3)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    message = f"must answer at 127.0.0.1:{port}; no reply within 0.3 s. Start one with: dask scheduler --port {port}"
    with pytest.raises(EngineError, match=message), open_engine(f"dask://127.0.0.1:{port}"):
        pass


@pytest.mark.parametrize(
    ("workers", "threads", "message"),
    [
        (0, 1, "must have a worker; it had none within 0.3 s"),
        (1, 2, "must have one thread, because a fit"),
    ],
)
def test_a_cluster_without_workers_or_with_threads_is_refused(workers, threads, message, monkeypatch):
    monkeypatch.setattr(dask_cluster, "WAIT", 0.3 if not workers else 10.0)
    settings = {"processes": False, "dashboard_address": "127.0.0.1:0", "protocol": "tcp"}
    with LocalCluster(n_workers=workers, threads_per_worker=threads, **settings) as cluster:
        place = cluster.scheduler_address.removeprefix("tcp://")
        with pytest.raises(EngineError, match=message), open_engine(f"dask://{place}"):
            pass
