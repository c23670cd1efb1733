"""Workers that see no folder of this machine read the panel from the object store themselves."""

from datetime import date

import polars as pl
import pytest

from tests.dask_clusters import started_cluster
from tests.flows.training.cluster_trainings import SETTINGS, check_equal, on, trained
from tests.object_stores import new_bucket, started_store
from tidecast.flows.training import stored_panel
from tidecast.flows.training.model_panel import model_panel
from tidecast.flows.training.stored_panel import StoredPanel
from tidecast.flows.warehouse import bucket
from tidecast.flows.warehouse.warehouse import Warehouse
from tidecast.forecasting.estimator import engine
from tidecast.forecasting.estimator.clusters.dask_cluster import DaskCluster
from tidecast.forecasting.estimator.panel_reference import HeldPanel


@pytest.fixture(scope="module")
def store():
    with started_store() as server:
        yield server


@pytest.fixture
def tables(store, short_walks, monkeypatch):
    warehouse = Warehouse(new_bucket(store, "tables", monkeypatch.setenv))
    if not warehouse.height("prices"):
        warehouse.store_prices(short_walks.with_columns(known_at="time", as_of="time"))
    return warehouse


def stored(warehouse, settings=SETTINGS):
    return StoredPanel(warehouse.pinned(warehouse.versions()), settings, warehouse.newest_session())


def test_a_training_on_workers_that_see_only_the_store(tmp_path, tables, short_walks, local, monkeypatch):
    monkeypatch.setattr(DaskCluster, "is_shared", lambda cluster, folder: False)
    carried, of_engine = [], engine._seen_by_workers
    monkeypatch.setattr(engine, "_seen_by_workers", lambda *given: carried.append(of_engine(*given)) or carried[-1])
    with started_cluster(tmp_path) as cluster, on(cluster.engine):
        there = trained(short_walks, stored=stored(tables))
        gone = StoredPanel(bucket.TablesReference("s3://none/x", {"prices": 1}), SETTINGS, date(2024, 1, 2))
        with engine.on_engine(short_walks, 1, gone) as reference:
            assert isinstance(reference, HeldPanel), "workers do not see that store"
    check_equal(local, there)
    assert list(map(type, carried)) == [HeldPanel, HeldPanel, StoredPanel, HeldPanel], "samples, the refit, the lost"


def test_it_reads_the_panel_of_its_versions_once(tables, monkeypatch):
    settings = SETTINGS.model_copy(update={"covariates": ("turnover",)})
    monkeypatch.setattr(bucket, "BUCKET_ROWS", 500)  # a large one, by buckets
    panel = stored(tables, settings)
    before = panel.read()
    assert before.equals(model_panel(tables, settings, panel.as_of))
    later = pl.DataFrame({"series_id": "A", "time": [panel.as_of], "close": [1.0], "known_at": [panel.as_of]})
    tables.store_prices(later.with_columns(as_of="time", time=pl.col("time").dt.offset_by("-1d")))
    assert panel.read() is before
    stored_panel._newest.clear()
    assert panel.read().equals(before), "a later row is of another version"
    assert panel.is_seen()
