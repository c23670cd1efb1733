"""A large panel is read by buckets of series into temporary files, and equals what one read returns."""

import polars as pl
import pytest

from tidecast.flows.warehouse import bucket, price_tables
from tidecast.flows.warehouse.warehouse import Warehouse

SERIES, ROWS = 40, 2000


@pytest.fixture(scope="module")
def stored(tmp_path_factory, random_walks):
    """Prices with a split, corrections, a text of each series that came late, and high prices of one series."""
    warehouse = Warehouse(str(tmp_path_factory.mktemp("large") / "warehouse"))
    panel = random_walks(SERIES, ROWS)
    days, name = panel["time"].unique().sort(), pl.col("series_id")
    named = pl.when(pl.col("time") > days[-9]).then(pl.lit("a sector of a long name ") + name)
    panel = panel.with_columns(high=pl.when(name == "C").then(pl.col("close") * 1.01), sector=named, turnover=1.0)
    panel = panel.filter((name != "E") | (pl.col("time") < days[100]))
    warehouse.store_prices(panel.with_columns(known_at="time", as_of="time"))
    split = {"series_id": "B", "time": days[700], "split_ratio": 2.0, "dividend": 0.0}
    warehouse.store_actions(pl.DataFrame([{**split, "known_at": days[700], "as_of": days[700]}]))
    wrong = panel.filter(name.is_in(["B", "D"]), pl.col("time") == days[-30])
    newest = pl.lit(days[-1])
    warehouse.store_prices(wrong.with_columns(pl.col("close") * 1.1, known_at=newest, as_of=newest))
    return warehouse.uri, days


@pytest.fixture
def small_buckets(monkeypatch):
    monkeypatch.setattr(bucket, "BUCKET_ROWS", 10_000)
    monkeypatch.setattr(price_tables, "BUCKET_ROWS", 10_000)


@pytest.fixture
def mapped(monkeypatch):
    """Heights of the frames that were mapped."""
    heights = []
    for module in ("warehouse", "price_tables"):
        path = f"tidecast.flows.warehouse.{module}.mapped_frame"
        monkeypatch.setattr(path, lambda pieces, of=price_tables.mapped_frame: noted(of(pieces), heights))
    return heights


def noted(frame, heights):
    heights.append(frame.height)
    return frame


@pytest.mark.parametrize("back", [1, 20, 1500])
def test_the_panel_of_any_day_is_that_of_one_read(stored, back, small_buckets, mapped, monkeypatch):
    uri, days = stored
    as_of = days[-back]
    found, closes = Warehouse(uri).prices(as_of, static=("sector",)), Warehouse(uri).closes(as_of)
    assert len(mapped) == (3 if back < 9 else 2), "the panel, what all rows of a series share, and the closes"
    monkeypatch.undo()
    wanted = Warehouse(uri).prices(as_of, static=("sector",))
    assert found.equals(wanted)
    assert found.schema == wanted.schema
    assert ("sector" in wanted.columns) == (back < 9)
    assert closes.equals(Warehouse(uri).prices(as_of).drop("high"))


def test_an_older_version_is_read_at_that_version(stored, small_buckets, mapped):
    uri, days = stored
    newest, before = Warehouse(uri).prices(days[-1]), Warehouse(uri).prices(days[-1], version=1)
    differ = newest.join(before, on=["series_id", "time", "close"], how="anti")
    assert set(differ["series_id"]) == {"B", "D"}
    assert mapped == [newest.height] * 2
    assert Warehouse(uri).prices(days[-1], version=0).is_empty(), "the first version of a table has no row"


def test_without_room_for_files_it_is_read_at_once(stored, small_buckets, monkeypatch, tmp_path, caplog):
    uri, days = stored
    read = Warehouse(uri), Warehouse(uri)
    found = read[0].prices(days[-1], static=("sector",)), read[1].closes(days[-1])
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "not there"))
    assert Warehouse(uri).prices(days[-1], static=("sector",)).equals(found[0])
    assert Warehouse(uri).closes(days[-1]).equals(found[1])
    assert "The panel is read into memory, because it cannot lie in temporary files: [Errno 2]" in caplog.text


def test_steps_of_a_run_share_one_panel(stored, small_buckets, mapped):
    uri, days = stored
    warehouse = Warehouse(uri)
    panel = warehouse.prices(days[-1])
    assert warehouse.prices(days[-1]) is panel
    assert warehouse.closes(days[-1]).equals(panel.drop("high"))
    assert len(mapped) == 1


@pytest.mark.parametrize("room", [True, False])
def test_a_column_whose_values_were_corrected_away_is_none(random_walks, room, tmp_path, monkeypatch):
    warehouse = Warehouse(str(tmp_path / "warehouse"))
    panel = random_walks(SERIES, ROWS)
    days = panel["time"].unique().sort()
    late = pl.when(pl.col("series_id") == "B", pl.col("time") == days[5]).then(1.0)
    warehouse.store_prices(panel.with_columns(late=late, known_at="time", as_of="time"))
    gone = panel.filter(pl.col("series_id") == "B", pl.col("time") == days[5]).with_columns(
        late=pl.lit(None, pl.Float64)
    )
    warehouse.store_prices(gone.with_columns(known_at=pl.lit(days[9]), as_of=pl.lit(days[9])))
    monkeypatch.setattr(bucket, "BUCKET_ROWS", 10_000)
    if not room:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "not there"))
    for found in (Warehouse(warehouse.uri).prices(days[-1]), Warehouse(warehouse.uri).closes(days[-1])):
        assert found.columns == ["series_id", "time", "close"]
    assert "late" in Warehouse(warehouse.uri).prices(days[8]).columns


def test_a_column_that_cannot_be_mapped_is_read_into_memory(random_walks, tmp_path, monkeypatch, caplog):
    warehouse = Warehouse(str(tmp_path / "warehouse"))
    panel = random_walks(SERIES, ROWS).with_columns(flag=pl.col("close") > 100)
    warehouse.store_prices(panel.with_columns(known_at="time", as_of="time"))
    monkeypatch.setattr(bucket, "BUCKET_ROWS", 10_000)
    assert Warehouse(warehouse.uri).prices(panel["time"].max()).equals(panel.sort("series_id", "time"))
    assert "must hold numbers, times or text to be mapped from a file, got Boolean." in caplog.text
