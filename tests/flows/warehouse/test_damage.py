"""What `tidecast doctor` finds of damage to the tables, and that what it advises helps."""

import os
import random
import re
import shutil
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from tidecast.flows.errors import WarehouseError
from tidecast.flows.warehouse.damage import damages, refuse_damage, refuse_lost_forecasts
from tidecast.flows.warehouse.warehouse import Warehouse

DAYS = [date(2024, 1, day) for day in (2, 3, 4, 5)]


@pytest.fixture
def warehouse(tmp_path) -> Warehouse:
    """Four days of 500 series, each stored, forecast and recorded in `runs`."""
    made = Warehouse(str(tmp_path / "warehouse"))
    names = [f"S{number:03}" for number in range(500)]
    for number, day in enumerate(DAYS):
        closes = [100.0 + number + index / 7 for index in range(500)]
        made.store_prices(
            pl.DataFrame({"series_id": names, "close": closes}).with_columns(
                time=pl.lit(day), known_at=pl.lit(day), as_of=pl.lit(day)
            )
        )
        issued = pl.DataFrame({"series_id": names, "step": 1, "forecast": closes, "model": "m"}).with_columns(
            live=pl.lit(True), trained_through=pl.lit(day), origin=pl.lit(day), time=pl.lit(day + timedelta(days=1))
        )
        version = made.version("prices")
        made.publish(day, issued, read={"prices": version})
        made.put_run(
            {"as_of": day, "status": "done", "rows_stored": 500, "rows_corrected": 0, "series_forecast": 500,
             "table_versions": f'{{"prices": {version}}}'}
        )  # fmt: skip
    return made


def newest_file(warehouse: Warehouse, name: str = "prices") -> Path:
    return max(warehouse.folder(name).rglob("*.parquet"), key=lambda path: path.stat().st_mtime_ns)


def commits(warehouse: Warehouse, name: str = "prices") -> list[Path]:
    return sorted((warehouse.folder(name) / "_delta_log").glob("*.json"))


def test_whole_tables_have_no_damage(warehouse):
    assert damages(warehouse) == damages(warehouse, deep=True) == []


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("spoil", "deep", "said"),
    [
        (Path.unlink, False, "is missing"),
        (cut, False, r"has [\d,]+ bytes, not [\d,]+"),
        (lambda path: path.write_bytes(b""), False, r"has 0 bytes"),
        (flip, True, "(cannot be read: its content is damaged|as m.. of)"),
    ],
)
def test_a_damaged_file_is_named_and_the_version_before_it_can_be_restored(warehouse, spoil, deep, said):
    path = newest_file(warehouse)
    spoil(path)
    (found,) = damages(warehouse, deep)
    assert re.search(rf"The files of prices must be as they were written, but {re.escape(str(path))} {said}", found)
    version = int(re.search(r"\.restore\((\d+)\)", found)[1])
    DeltaTable(str(warehouse.folder("prices"))).restore(version)
    assert warehouse.prices().height == 3 * 500
    assert len(damages(warehouse)) == 0


def test_every_flipped_bit_of_a_data_file_is_noticed(warehouse):
    """Parquet's pages have no checksum here: most flips once changed prices without a word."""
    draw = random.Random(5)
    for name in ("prices", "forecasts"):
        path = newest_file(warehouse, name)
        whole = path.read_bytes()
        for _ in range(12):
            spoiled = bytearray(whole)
            spoiled[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
            path.write_bytes(bytes(spoiled))
            assert path.name in " ".join(damages(warehouse, deep=True))
        path.write_bytes(whole)
    assert damages(warehouse, deep=True) == []


def test_checksums_follow_the_files_and_a_lost_one_is_written_again(warehouse):
    folder = warehouse.folder("prices")
    sums = folder / "_checksums"
    assert len(list(sums.iterdir())) == len(list(folder.rglob("*.parquet")))
    shutil.rmtree(sums)
    assert damages(warehouse, deep=True) == []
    warehouse.compact("prices")
    warehouse.vacuum("prices", [], timedelta(0))
    left = [str(path.relative_to(folder)).replace("/", "~") for path in folder.rglob("*.parquet")]
    assert sorted(path.name for path in sums.iterdir()) == sorted(f"{name}.sha256" for name in left)
    assert damages(warehouse, deep=True) == []


def test_reading_a_damaged_file_is_one_clear_error(warehouse):
    cut(newest_file(warehouse))
    with pytest.raises(WarehouseError, match=r"reading prices failed.*tidecast doctor --deep$"):
        warehouse.prices()


def test_a_file_that_every_version_needs_has_a_way_out_without_a_backup(warehouse):
    newest = warehouse.version("forecasts")
    oldest = set(warehouse.files("forecasts", 1)["path"]) & set(warehouse.files("forecasts", newest)["path"])
    (warehouse.folder("forecasts") / oldest.pop()).unlink()
    (found,) = damages(warehouse)
    assert found.endswith("move the folder away, and publish each session anew: tidecast run --as-of DATE --reissue")


def test_flipped_bits_once_aborted_the_search_with_a_panic_or_an_error(warehouse):
    path, chance = newest_file(warehouse), random.Random(3)
    content = path.read_bytes()
    for _ in range(30):
        spoilt = bytearray(content)
        spoilt[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(spoilt)
        assert any(str(path) in said for said in damages(warehouse, deep=True))


def test_an_empty_commit_is_named_where_its_rows_would_be_gone_without_a_word(warehouse):
    last = commits(warehouse)[-1]
    copy = last.read_bytes()
    last.write_bytes(b"")
    (found,) = damages(warehouse)
    assert f"{last} is empty: rows that it added are in no table" in found
    with pytest.raises(WarehouseError, match="is empty: rows that it added"):  # once a run went on without them
        refuse_damage(warehouse)
    last.write_bytes(copy)
    refuse_damage(warehouse)
    assert damages(warehouse) == []


def test_a_log_with_a_gap_or_a_commit_that_is_not_json_is_named(warehouse):
    commits(warehouse)[1].unlink()
    assert any("reading prices failed" in found and "_delta_log" in found for found in damages(warehouse))
    shutil.copyfile(commits(warehouse)[0], commits(warehouse)[0].with_name(f"{1:020}.json"))


def test_a_torn_commit_is_named_without_a_backtrace(warehouse):
    last = commits(warehouse)[-1]
    last.write_bytes(last.read_bytes()[:100])
    with pytest.raises(WarehouseError, match="reading prices failed") as caught:
        warehouse.prices()
    assert "0: <unknown>" not in str(caught.value)


@pytest.mark.parametrize(("name", "witness"), [("prices", "runs"), ("forecasts", "runs"), ("runs", "forecasts")])
def test_a_table_that_was_deleted_is_missed(warehouse, name, witness):
    shutil.rmtree(warehouse.folder(name))
    (found,) = damages(warehouse)
    assert found.startswith(f"The table {name} must have all its rows, but {witness} says that rows were written to it")
    assert f"Put back a copy of {warehouse.folder(name)}" in found
    assert found.endswith("tidecast run --as-of DATE --reissue") == (name == "forecasts")


def test_a_table_that_was_put_back_from_an_old_copy_is_noticed(warehouse):
    for commit in commits(warehouse)[-2:]:
        commit.unlink()
    (found,) = damages(warehouse)
    assert "prices must have all its rows, but is at version 2, and version 4 was read" in found


def test_a_published_session_without_forecasts_was_once_said_to_be_done(warehouse):
    refuse_lost_forecasts(warehouse, DAYS[-1])
    shutil.rmtree(warehouse.folder("forecasts"))
    with pytest.raises(WarehouseError, match=f"has none.*tidecast run --as-of {DAYS[-1]} --reissue$"):
        refuse_lost_forecasts(warehouse, DAYS[-1])


def test_forecasts_of_a_session_that_are_gone_are_missed(warehouse):
    warehouse._delete("forecasts", DAYS[1])
    (found,) = damages(warehouse)
    assert f"runs says that those of {DAYS[1]} were published" in found


def test_rows_that_runs_counted_are_missed_by_a_deep_look(warehouse):
    warehouse._table("prices").delete("series_id = 'S007'")
    assert damages(warehouse) == []
    (found,) = damages(warehouse, deep=True)
    assert "it has 1,996 sessions of series, and runs stored 2,000" in found


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_named(warehouse):
    newest_file(warehouse).chmod(0)
    (found,) = damages(warehouse)
    assert "cannot be read (Permission denied)" in found
