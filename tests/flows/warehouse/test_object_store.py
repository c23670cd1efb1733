"""Tables in an object store: a real S3 protocol on loopback, and two processes that write at the same time."""

import os
import socket
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import pytest

from tests.object_stores import new_bucket, started_store
from tidecast.flows.errors import WarehouseError
from tidecast.flows.warehouse.warehouse import Warehouse

ROOT = Path(__file__).parents[3]
WRITER = """
import sys
from datetime import date
import polars as pl
from tidecast.flows.warehouse.warehouse import Warehouse

warehouse = Warehouse(sys.argv[1])
print("ready", flush=True)
for day in range(1, 5):
    rows = pl.DataFrame({"series_id": ["A", "B"], "time": [date(2024, 1, day)] * 2, "close": [1.0, 2.0]})
    warehouse.store_prices(rows.with_columns(known_at="time", as_of="time"))  # the same days as the other
    own = rows.with_columns(pl.lit(sys.argv[2]).alias("series_id")).head(1)
    warehouse.store_prices(own.with_columns(known_at="time", as_of="time"))  # and rows of its own
"""


@pytest.fixture(scope="module")
def server():
    with started_store() as address:
        yield address


@pytest.fixture
def bucket(server, monkeypatch, tmp_path):
    """The address of tables in a bucket of the test's own."""
    name = f"bucket-{abs(hash(tmp_path))}"
    return new_bucket(server, name, monkeypatch.setenv)


def test_two_processes_writing_the_same_days_to_an_object_store_end_in_one_correct_table(bucket):
    command = [sys.executable, "-W", "ignore", "-c", WRITER, bucket]
    writers = [subprocess.Popen([*command, name], cwd=ROOT, env={**os.environ}) for name in ("one", "two")]
    assert [writer.wait() for writer in writers] == [0, 0]
    rows = Warehouse(bucket).revisions()
    assert rows["series_id"].value_counts().sort("series_id").rows() == [("A", 4), ("B", 4), ("one", 4), ("two", 4)]
    assert not rows.select("series_id", "time", "known_at").is_duplicated().any()
    assert Warehouse(bucket).newest_session() == rows["time"].max()


def test_a_process_that_is_killed_while_it_writes_to_an_object_store_leaves_whole_tables(bucket):
    command = [sys.executable, "-W", "ignore", "-c", WRITER, bucket, "one"]
    for seconds in (0.1, 0.6):  # into the first commit, and into later ones
        killed = subprocess.Popen(command, cwd=ROOT, env={**os.environ}, stdout=subprocess.PIPE, text=True)
        assert killed.stdout.readline() == "ready\n"
        time.sleep(seconds)
        killed.kill()
        killed.communicate()
        assert not Warehouse(bucket).revisions().select("series_id", "time", "known_at").is_duplicated().any()
    subprocess.run(command, cwd=ROOT, env={**os.environ}, check=True, stdout=subprocess.DEVNULL)
    rows = Warehouse(bucket).revisions()
    assert rows["series_id"].value_counts().sort("series_id").rows() == [("A", 4), ("B", 4), ("one", 4)]


def test_a_store_that_gives_no_answer_once_was_taken_for_damaged_files(monkeypatch, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{free.getsockname()[1]}"

    def found(**environ):
        for name, value in {"AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", **environ}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(WarehouseError) as caught:
            Warehouse("s3://bucket/tables").newest_session()
        assert "doctor" not in str(caught.value)
        return str(caught.value)

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    assert "the store needs keys, but none were found" in found()
    keys = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_ENDPOINT_URL": f"http://{nobody}"}
    assert f"the store at {nobody} must be asked over https. To allow http, set AWS_ALLOW_HTTP=true" in found(**keys)
    assert f"the store at {nobody} must answer, but no connection could be made" in found(AWS_ALLOW_HTTP="true")


def test_a_missing_bucket_is_named_in_a_sentence_and_not_in_xml(bucket):
    missing = Warehouse("s3://no-such-bucket/tables")
    with pytest.raises(WarehouseError) as reading:
        missing.newest_session()
    with pytest.raises(WarehouseError) as writing:
        missing.put_panel({"as_of": date(2024, 1, 1), "panel": "p", "settings": "{}"})
    for failure in (reading, writing):
        assert "the bucket must exist, but the store has none of that name. Create it" in str(failure.value)
        assert "<" not in str(failure.value)
