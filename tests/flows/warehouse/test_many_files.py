"""Several files as one source: patterns, folders, packed ones, and an object store on the loopback."""

import gzip

import boto3
import polars as pl
import pytest
from moto.server import ThreadedMotoServer

from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SourceError
from tidecast.flows.sources import open_source

LONG = "series_id,time,close\n{0},2024-01-02,1\n{0},2024-01-03,2\n"


def fetch(source, **settings):
    return open_source(Settings(source=str(source), **settings)).fetch()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.csv").write_text(LONG.format("A"))
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(LONG.format("B").encode()))
    pl.DataFrame({"series_id": ["C"], "time": ["2024-01-02"], "close": [1.5]}).write_parquet(tmp_path / "c.parquet")
    (tmp_path / "readme.md").write_text("not prices")
    return tmp_path


def test_a_folder_is_all_of_its_tables_and_a_pattern_those_it_matches(folder):
    fetched = fetch(folder)
    assert fetched.rows["series_id"].to_list() == ["A", "A", "B", "B", "C"]
    assert fetched.rows["close"].to_list() == ["1", "2", "1", "2", "1.5"]  # text beside numbers: judged one by one
    assert fetched.messages == ("3 files are read.",)
    assert fetch(folder / "[ab].csv*").rows["series_id"].unique(maintain_order=True).to_list() == ["A", "B"]


def test_a_file_for_each_series_is_a_series_called_like_the_file(tmp_path):
    for name in ("brent", "wti"):
        (tmp_path / f"{name}.csv").write_text("Date,Close\n2024-01-02,1\n")
    fetched = fetch(tmp_path / "*.csv", time="Date", target="Close")
    assert fetched.rows["series_id"].to_list() == ["brent", "wti"]
    assert fetched.messages[1].endswith("'series_id'. 1 more file likewise.")


def test_files_that_differ_in_layout_or_are_none_are_one_clear_error(folder):
    (folder / "w.csv").write_text("time,X,Y\n2024-01-02,1,2\n")
    with pytest.raises(SourceError, match="All files of a source must have one layout, found long and wide"):
        fetch(folder)
    with pytest.raises(SourceError, match=r"A pattern must match at least one file, but .* matches none"):
        fetch(folder / "*.tsv")
    (folder / "b.csv.gz").write_bytes(gzip.compress(LONG.encode())[:20])
    with pytest.raises(SourceError, match=r"b\.csv\.gz must be a CSV file as its name says, but cannot be read"):
        fetch(folder / "b*")


@pytest.fixture(scope="module")
def bucket():
    """A bucket called "prices" in an S3 server of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        server = ThreadedMotoServer("127.0.0.1", port=0)
        server.start()
        address = "http://{}:{}".format(*server.get_host_and_port())
        for name, value in {
            "AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": address, "AWS_EC2_METADATA_DISABLED": "true",
        }.items():  # fmt: skip
            patch.setenv(name, value)
        client = boto3.client("s3", region_name="us-east-1", endpoint_url=address)
        client.create_bucket(Bucket="prices")
        for name in ("2024/a.csv", "2024/b.csv", "2025/a.csv"):
            client.put_object(Bucket="prices", Key=name, Body=LONG.format(name[:6]).encode())
        yield "s3://prices"
        server.stop()


@pytest.mark.parametrize(
    ("path", "series"),
    [
        ("2024/a.csv", ["2024/a"]),
        ("2024", ["2024/a", "2024/b"]),
        ("2024/", ["2024/a", "2024/b"]),
        ("2024/*.csv", ["2024/a", "2024/b"]),
        ("*/a.csv", ["2024/a", "2025/a"]),
        ("202[5-9]/?.csv", ["2025/a"]),
    ],
)
def test_an_object_store_is_read_by_file_folder_and_pattern(bucket, path, series):
    rows = fetch(f"{bucket}/{path}").rows
    assert rows["series_id"].unique(maintain_order=True).to_list() == series


@pytest.mark.parametrize("path", ["prices/none.csv", "prices/*.tsv", "nowhere/a.csv"])
def test_what_an_object_store_does_not_have_is_one_clear_error(bucket, path):
    with pytest.raises(SourceError, match=r"has no such file|must be readable") as error:
        fetch(f"s3://{path}")
    assert "\n" not in str(error.value)
