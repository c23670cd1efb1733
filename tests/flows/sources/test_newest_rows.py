"""Of large files only the newest rows are read, and nothing that a run needs is missed."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SourceError
from tidecast.flows.ingest.drop_folder import ingest_drop_folder
from tidecast.flows.ingest.ingest import ingest
from tidecast.flows.sources import files, open_source
from tidecast.flows.warehouse.warehouse import Warehouse

SINCE = date(2015, 5, 4)


@pytest.fixture(autouse=True)
def every_file_is_large(monkeypatch):
    monkeypatch.setattr(files, "LARGE", 0)


@pytest.fixture
def rows(random_walks):
    return random_walks(3, 120).sort("time", "series_id")


def written(rows, path, **options):
    rows.write_csv(path) if path.suffix == ".csv" else rows.write_parquet(path, **options)
    return Settings(source=str(path), calendar="weekdays", layout="long", reread_sessions=5)


@pytest.mark.parametrize("name", ["prices.csv", "prices.parquet"])
def test_rows_before_the_first_day_needed_are_not_read(rows, tmp_path, name):
    """Once, a file of 3 million rows was converted and checked whole for 2,000 new ones."""
    source = open_source(written(rows, tmp_path / name, **({"row_group_size": 30} if "parquet" in name else {})))
    assert source.fetch(None).whole
    found = source.fetch(SINCE)
    assert not found.whole
    kept = rows.filter(pl.col("time") >= SINCE - timedelta(days=1))
    assert found.rows["close"].cast(pl.Float64).to_list() == kept["close"].to_list()
    assert (
        found.messages[-1]
        == f"{source.name} is large: only its rows from {SINCE} on are read (reread_sessions sets how far back)."
    )


@pytest.mark.parametrize("name", ["prices.csv", "prices.parquet"])
@pytest.mark.parametrize("order", ["sorted", "shuffled"])
def test_day_after_day_a_large_file_gives_the_tables_of_a_small_one(rows, tmp_path, name, order, monkeypatch):
    days, tables, counts = rows["time"].unique().sort().to_list(), [], []
    for limit in (0, 10**9):
        monkeypatch.setattr(files, "LARGE", limit)
        warehouse, seen = Warehouse(str(tmp_path / f"warehouse{limit}")), []
        for number, until in enumerate(days[-4:]):
            known = rows.filter(pl.col("time") <= until)
            if number == 2:  # a correction within reread_sessions, and a series that is new
                hit = (pl.col("series_id") == "B") & (pl.col("time") == days[-6])
                close = pl.when(hit).then(pl.col("close") * 1.01).otherwise("close")
                known = pl.concat(
                    [known.with_columns(close), known.filter(series_id="A").with_columns(series_id=pl.lit("Z"))]
                )
            known = known if order == "sorted" else known.sample(fraction=1, shuffle=True, seed=number)
            found = ingest(warehouse, written(known, tmp_path / name), today=until)
            seen.append((found.as_of, found.stored, found.corrected))
        tables.append(warehouse.revisions().drop("year"))
        counts.append(seen)
    assert counts[0] == counts[1]
    assert counts[0][2][2] == 1
    assert tables[0].equals(tables[1])


@pytest.mark.parametrize(
    "change",
    [
        pl.col("close").mul(1000).round(2).cast(pl.String).str.replace(r"^(\d)(\d{3})", "$1,$2").alias("close"),
        (pl.col("time").cast(pl.String) + "T00:00:00Z").alias("time"),
        pl.col("time").dt.strftime("%d/%m/%Y").alias("time"),
    ],
)
def test_where_the_meaning_shows_only_in_the_whole_column_the_whole_file_is_read(rows, tmp_path, change):
    assert open_source(written(rows.with_columns(change), tmp_path / "prices.csv")).fetch(SINCE).whole


def test_times_with_a_zone_and_prices_as_text_need_the_whole_parquet_file(rows, tmp_path):
    zoned = rows.with_columns(pl.col("time").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"))
    assert open_source(written(zoned, tmp_path / "zoned.parquet")).fetch(SINCE).whole
    text = rows.with_columns(pl.col("close").cast(pl.String))
    assert open_source(written(text, tmp_path / "text.parquet")).fetch(SINCE).whole


def test_an_older_row_that_was_appended_late_is_not_missed(rows, tmp_path):
    settings = written(rows, tmp_path / "prices.csv")
    warehouse = Warehouse(str(tmp_path / "warehouse"))
    for day in rows["time"].unique().sort()[-2:]:
        ingest(warehouse, settings, day)
    with (tmp_path / "prices.csv").open("a") as file:
        file.write(f"A,{rows['time'][0]},7\n")  # it contradicts the first row of the file
        file.write(f"D,{rows['time'][0]},7\n")
    found = ingest(warehouse, settings)
    assert (found.quarantined, found.stored, found.rows_in < 30) == ({"conflicting_duplicate": 2}, 1, True)


def test_a_line_whose_day_cannot_be_read_is_still_reported(rows, tmp_path):
    settings = written(rows, tmp_path / "prices.csv")
    with (tmp_path / "prices.csv").open("a") as file:
        file.write("A,soon,1\n")
    found = open_source(settings).fetch(SINCE)
    assert not found.whole
    assert found.rows["time"][-1] == "soon"


def test_a_file_without_any_new_row_among_several_is_no_error(rows, tmp_path):
    for year, part in enumerate((rows.filter(pl.col("time") < SINCE - timedelta(days=9)), rows.tail(30))):
        part.write_parquet(tmp_path / f"{year}.parquet")
    found = open_source(Settings(source=str(tmp_path), calendar="weekdays", layout="long")).fetch(SINCE)
    assert found.rows.height == 30


def test_a_delivery_in_a_drop_folder_is_read_whole(rows, tmp_path):
    inbox, warehouse = tmp_path / "inbox", Warehouse(str(tmp_path / "warehouse"))
    inbox.mkdir()
    settings = Settings(source=f"drop:{inbox}", calendar="weekdays", reread_sessions=1)
    rows.write_csv(inbox / "1.csv")
    ingest_drop_folder(warehouse, settings, None, date(2030, 1, 1))
    rows.head(1).with_columns(pl.col("close") * 1.01).write_csv(inbox / "2.csv")
    assert ingest_drop_folder(warehouse, settings, None, date(2030, 1, 1)).corrected == 1


def test_a_broken_large_file_is_named_like_a_small_one(tmp_path):
    (tmp_path / "prices.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(SourceError, match=r"prices.parquet must be a Parquet file"):
        open_source(Settings(source=str(tmp_path / "prices.parquet"), layout="long")).fetch(SINCE)


def test_times_of_day_without_a_zone_are_cut_at_midnight(rows, tmp_path):
    stamped = rows.with_columns(pl.col("time").cast(pl.Datetime("us")) + pl.duration(hours=17))
    found = open_source(written(stamped, tmp_path / "prices.parquet")).fetch(SINCE)
    assert found.rows["time"].min() > datetime(2015, 5, 1, tzinfo=UTC).replace(tzinfo=None)
    assert found.rows.height == rows.filter(pl.col("time") >= SINCE - timedelta(days=1)).height
