"""Delta tables: one commit publishes whole, nothing doubles, and a kill leaves nothing half-written."""

import subprocess
import sys
import threading
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from tidecast.flows.config.paths import folder_of
from tidecast.flows.config.state_folder import find_state_folder
from tidecast.flows.errors import SettingsError, WarehouseError
from tidecast.flows.warehouse.schema import TABLES
from tidecast.flows.warehouse.warehouse import Warehouse

ROOT = Path(__file__).parents[3]
MON, TUE, WED, THU = (date(2024, 1, day) for day in (1, 2, 3, 4))


@pytest.fixture
def warehouse(tmp_path):
    return Warehouse(str(tmp_path / "warehouse"))


def prices(*rows, as_of=WED):
    """Rows of (series_id, time, close, known_at)."""
    table = pl.DataFrame(rows, schema=["series_id", "time", "close", "known_at"], orient="row")
    return table.with_columns(pl.lit(as_of).alias("as_of"), pl.col("close").cast(pl.Float64))


def forecast(as_of=TUE, series=("A", "<script>", "../x"), horizon=2, **changes):
    rows = [
        {
            "series_id": name,
            "step": step,
            "origin": as_of,
            "time": as_of.replace(day=as_of.day + step),
            "forecast": 10.0,
        }
        for name in series
        for step in range(1, horizon + 1)
    ]
    values = {"q0.05": 9.0, "q0.95": 11.0, "model": "GRU", "run_id": "r1", "live": True, "trained_through": MON}
    values |= changes
    return pl.DataFrame(rows).with_columns(pl.lit(value).alias(name) for name, value in values.items())


def scores(as_of=TUE):
    losses = dict.fromkeys(("truth", "crps", "ae", "crps_random_walk", "ae_random_walk", "scale"), 1.0)
    columns = ["series_id", "step", "origin", "time", "model", "live"]
    return forecast(as_of).select(columns).with_columns(as_of=pl.lit(as_of), covered=pl.lit(True), **losses)


def test_an_empty_warehouse_has_tables_without_rows_and_writes_nothing(warehouse, tmp_path):
    assert warehouse.prices().columns == ["series_id", "time", "close"]
    for table in (warehouse.forecasts(), warehouse.scores(), warehouse.runs(), warehouse.quarantine()):
        assert table.is_empty()
    assert warehouse.versions() == {}
    assert warehouse.newest_session() is None
    assert warehouse.newest_seen() is None
    assert list(tmp_path.iterdir()) == []


def test_a_reader_sees_what_was_known_at_its_as_of(warehouse):
    warehouse.store_prices(prices(("A", MON, 1, MON), ("A", TUE, 2, TUE), ("A", WED, 3, WED)))
    warehouse.store_prices(prices(("A", MON, 7, WED)))  # a correction
    warehouse.store_prices(prices(("B", TUE, 5, WED)))  # came late
    assert warehouse.prices(TUE).rows() == [("A", MON, 1), ("A", TUE, 2)]
    assert warehouse.prices(WED).rows() == [("A", MON, 7), ("A", TUE, 2), ("A", WED, 3), ("B", TUE, 5)]
    assert warehouse.prices().equals(warehouse.prices(WED))
    assert warehouse.revisions().height == 5
    assert warehouse.newest_session() == warehouse.newest_seen() == WED


def test_storing_the_same_prices_again_makes_no_commit(warehouse):
    rows = prices(("A", MON, 1, MON), ("B", MON, 2, MON))
    assert warehouse.store_prices(rows) == 2
    assert warehouse.store_prices(rows.reverse()) == 0
    assert warehouse.versions() == {"prices": 1}


def test_the_corrections_of_a_session_are_prices_that_were_there_before_with_both_values(warehouse):
    assert warehouse.corrections(WED).is_empty()
    warehouse.store_prices(prices(("A", MON, 1.0, MON), ("A", TUE, 2.0, TUE), ("B", MON, 5.0, MON), as_of=TUE))
    late = prices(("A", MON, 1.5, WED), ("A", WED, 3.0, WED), ("B", TUE, 6.0, WED), as_of=WED)  # B: late, not corrected
    warehouse.store_prices(late)
    assert warehouse.corrections(TUE).is_empty()
    assert warehouse.corrections(WED).rows() == [("A", MON, 1.0, 1.5)]
    warehouse.store_prices(prices(("A", MON, 1.7, THU), as_of=THU))
    assert warehouse.corrections(WED).rows() == [("A", MON, 1.0, 1.5)]
    assert warehouse.corrections(THU).rows() == [("A", MON, 1.5, 1.7)]


def test_a_second_correction_in_one_session_takes_the_place_of_the_first_which_stays_reachable(warehouse):
    warehouse.store_prices(prices(("A", MON, 1, MON), ("A", TUE, 4, TUE)))
    warehouse.store_prices(prices(("A", MON, 2, TUE)))
    warehouse.store_prices(prices(("A", MON, 3, TUE)))
    assert warehouse.versions() == {"prices": 3}
    assert warehouse.prices()["close"].to_list() == [3, 4]
    assert warehouse.prices(MON)["close"].to_list() == [1]
    before = pl.read_delta(f"{warehouse.uri}/prices", version=2).sort("time", "known_at")
    assert before["close"].to_list() == [1, 2, 4]


def test_values_that_no_row_has_are_not_shown_and_those_that_some_have_are(warehouse):
    warehouse.store_prices(prices(("A", MON, 1, MON)))
    assert warehouse.prices().columns == ["series_id", "time", "close"]
    warehouse.store_prices(prices(("A", TUE, 1, TUE)).with_columns(volume=5.0))
    assert warehouse.prices()["volume"].to_list() == [None, 5.0]


def test_prices_twice_on_one_key_or_without_a_column_are_refused(warehouse):
    with pytest.raises(WarehouseError, match="must be unique"):
        warehouse.store_prices(prices(("A", MON, 1, MON), ("A", MON, 2, MON)))
    with pytest.raises(WarehouseError, match=r"\['known_at'\] are missing"):
        warehouse.store_prices(prices(("A", MON, 1, MON)).drop("known_at"))
    assert warehouse.versions() == {}


def test_quarantine_counts_equal_rows_and_takes_each_once(warehouse):
    row = {"series_id": None, "time": None, "rule": "no_series_id", "original": "{}", "as_of": TUE}
    rows = pl.DataFrame([row, row], schema_overrides={"series_id": pl.String, "time": pl.Date})
    rows = rows.with_columns(occurrence=pl.int_range(pl.len()))
    assert warehouse.store_quarantine(rows) == 2
    assert warehouse.store_quarantine(rows.with_columns(as_of=pl.lit(WED))) == 0
    assert warehouse.quarantine()["as_of"].to_list() == [TUE, TUE]
    assert warehouse.quarantine()["year"].to_list() == [0, 0]


def test_an_as_of_is_published_whole_in_one_commit_and_never_changes(warehouse):
    assert warehouse.publish(TUE, forecast())
    assert not warehouse.publish(TUE, forecast(forecast=10.5))
    assert warehouse.publish(WED, forecast(WED))
    assert warehouse.versions() == {"forecasts": 2}
    issued = warehouse.forecasts(TUE)
    assert issued["series_id"].unique().sort().to_list() == ["../x", "<script>", "A"]
    assert issued["forecast"].unique().to_list() == [10.0]
    assert issued.columns[:6] == ["as_of", "series_id", "step", "origin", "time", "forecast"]
    assert warehouse.forecasts().height == 12


def test_a_reissue_replaces_one_as_of_and_the_scores_that_judged_it(warehouse):
    for day in (TUE, WED):
        warehouse.publish(day, forecast(day))
        warehouse.store_scores(scores(day))
    assert warehouse.publish(TUE, forecast(series=("A",), forecast=10.5), reissue=True)
    assert warehouse.forecasts(TUE)["forecast"].to_list() == [10.5, 10.5]
    assert warehouse.forecasts(WED).height == 6
    assert warehouse.scores(TUE).is_empty()
    assert warehouse.scores(WED).height == 6


def test_a_reissue_that_changes_nothing_leaves_no_trace(warehouse):
    warehouse.publish(TUE, forecast())
    warehouse.store_scores(scores())
    assert not warehouse.publish(TUE, forecast().reverse(), reissue=True)
    assert warehouse.versions() == {"forecasts": 1, "scores": 1}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (forecast(trained_through=WED), "must not have seen rows after 2024-01-02"),
        (forecast(origin=WED), "origins must not lie after the as_of"),
        (forecast(time=TUE), "time must lie after its origin"),
        (forecast(origin=MON, time=TUE), "a step at or before the as_of must not be live"),
        (forecast(forecast=float("nan")), "prices must be finite"),
        (forecast(forecast=12.0), "quantiles must not cross"),
        (forecast(live=None), "every value must be there"),
        (forecast().head(0), "must have rows, got none"),
        (pl.concat([forecast(), forecast()]), "must be unique"),
        (forecast().drop("model"), r"\['model'\] are missing"),
    ],
)
def test_what_must_not_be_published_is_refused_and_nothing_is_written(warehouse, table, message):
    with pytest.raises(WarehouseError, match=message):
        warehouse.publish(TUE, table)
    assert warehouse.versions() == {}


def test_scores_are_stored_once_and_those_measured_anew_take_their_place(warehouse):
    assert warehouse.store_scores(scores()) == 6
    assert warehouse.store_scores(scores()) == 0
    assert warehouse.store_scores(pl.concat([scores(), scores(WED)])) == 6
    assert warehouse.scores(TUE)["crps"].unique().to_list() == [1.0]
    assert warehouse.versions() == {"scores": 2}
    assert warehouse.store_scores(scores().head(1).with_columns(crps=pl.lit(9.0))) == 1
    assert warehouse.scores()["crps"].sort().to_list() == [1.0] * 11 + [9.0]


def test_scores_of_other_than_the_default_quantiles_have_a_name_of_their_own(warehouse):
    warehouse.store_scores(scores().rename({"crps": "pinball", "crps_random_walk": "pinball_random_walk"}))
    assert "crps" not in warehouse.scores().columns
    assert warehouse.scores()["pinball_random_walk"].sum() == 6


def test_a_run_has_one_row_per_as_of_and_a_rerun_that_finds_all_done_leaves_no_trace(warehouse):
    first = datetime(2024, 1, 2, 17, 30, tzinfo=UTC)
    warehouse.put_run({"as_of": TUE, "status": "published", "rows_in": 3, "started": first})
    warehouse.put_run({"as_of": TUE, "status": "done", "rows_in": 3, "started": first})
    warehouse.put_run({"as_of": WED, "status": "done", "rows_in": 4, "started": first})
    warehouse.put_run({"as_of": TUE, "status": "done", "rows_in": 3, "started": datetime.now(UTC), "run_id": "other"})
    assert warehouse.runs()["status"].to_list() == ["done", "done"]
    assert warehouse.runs()["started"].to_list() == [first, first]
    assert warehouse.versions() == {"runs": 3}
    assert warehouse.newest_seen() == WED
    with pytest.raises(WarehouseError, match="A run must have as_of and status"):
        warehouse.put_run({"as_of": TUE, "status": "done", "row_in": 3})


def test_every_write_goes_through_commit_under_its_name(tmp_path):
    class Named(Warehouse):
        def _commit(self, name, attempt):
            names.append(name)
            return super()._commit(name, attempt)

    names = []
    warehouse = Named(str(tmp_path))
    warehouse.store_prices(prices(("A", MON, 1, MON)))
    warehouse.store_quarantine(
        pl.DataFrame(
            {"series_id": ["A"], "time": [MON], "rule": ["r"], "original": ["{}"], "as_of": [TUE], "occurrence": [0]}
        )
    )
    warehouse.publish(TUE, forecast())
    warehouse.store_scores(scores())
    warehouse.publish(TUE, forecast(forecast=10.5), reissue=True)
    warehouse.put_run({"as_of": TUE, "status": "done"})
    assert names == ["prices", "quarantine", "forecasts", "scores", "scores", "forecasts", "runs done"]


def test_partitions_are_years_so_that_a_new_year_leaves_older_files_alone(warehouse):
    warehouse.store_prices(prices(("A", date(2023, 12, 29), 1, date(2023, 12, 29)), ("A", MON, 2, MON)))
    old = {file for file in DeltaTable(f"{warehouse.uri}/prices").file_uris() if "year=2023" in file}
    warehouse.store_prices(prices(("A", TUE, 3, TUE), ("A", MON, 4, TUE)))
    assert old < set(DeltaTable(f"{warehouse.uri}/prices").file_uris())


def test_four_writers_of_one_as_of_at_once_end_with_one_correct_table(tmp_path):
    """Once, writers that created a table at the same time all appended their rows to it."""
    start = threading.Barrier(4)
    failures = []

    def write():
        try:
            warehouse = Warehouse(str(tmp_path))
            start.wait()
            warehouse.store_prices(prices(("A", MON, 1, MON), ("A", TUE, 2, TUE)))
            warehouse.publish(TUE, forecast())
            warehouse.store_scores(scores())
            warehouse.put_run({"as_of": TUE, "status": "done"})
        except BaseException as failure:
            failures.append(failure)

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failures == []
    warehouse = Warehouse(str(tmp_path))
    assert warehouse.revisions().height == 2
    assert warehouse.forecasts().height == 6
    assert warehouse.scores().height == 6
    assert warehouse.runs().height == 1


KILLED = """
import os, signal, sys, time
from datetime import date
import polars as pl
from tidecast.flows.warehouse.schema import TABLES
from tidecast.flows.warehouse.warehouse import Warehouse

class Dying(Warehouse):
    def _commit(self, name, attempt):
        done = super()._commit(name, attempt)
        if name == after:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

def write(folder):
    day = pl.lit(date(2024, 1, 2))
    rows = pl.DataFrame({"series_id": [f"S{k}" for k in range(2000)]})
    prices = rows.with_columns(day.alias("time"), day.alias("known_at"), day.alias("as_of"), close=1.0)
    forecast = rows.with_columns(
        day.alias("origin"), day.alias("trained_through"), pl.lit(date(2024, 1, 3)).alias("time"),
        pl.lit("GRU").alias("model"), pl.lit("r").alias("run_id"), step=1, forecast=1.0, live=True)
    warehouse = Dying(folder)
    warehouse.store_prices(prices)
    warehouse.publish(date(2024, 1, 2), forecast)
    warehouse.put_run({"as_of": date(2024, 1, 2), "status": "done"})

# forked before anything is computed: polars has no threads yet that a fork would lose
for folder, after, seconds in [line.split("|") for line in sys.argv[1:]]:
    child = os.fork()
    if child == 0:
        write(folder)
        os._exit(0)
    if not after:  # at whatever it is doing by then
        time.sleep(float(seconds))
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


def test_killed_after_a_write_or_in_the_middle_of_one_tables_are_readable_and_a_rerun_completes(tmp_path):
    kills = [("prices", 0), ("forecasts", 0), *(("", 0.025 * moment) for moment in range(1, 9))]
    folders = [tmp_path / str(number) for number in range(len(kills))]
    arguments = [f"{folder}|{after}|{moment}" for folder, (after, moment) in zip(folders, kills, strict=True)]
    subprocess.run([sys.executable, "-W", "ignore", "-c", KILLED, *arguments], cwd=ROOT, check=True)
    day = date(2024, 1, 2)
    names = [f"S{number}" for number in range(2000)]
    again = prices(*((name, day, 1, day) for name in names), as_of=day)
    for folder in folders:
        warehouse = Warehouse(str(folder))
        assert warehouse.prices().height in (0, 2000)
        assert warehouse.forecasts().height in (0, 2000)
        if not warehouse.forecasts().is_empty():
            assert warehouse.prices().height == 2000
        warehouse.store_prices(again)
        warehouse.publish(day, forecast(day, names, horizon=1, trained_through=day))
        warehouse.put_run({"as_of": day, "status": "done"})
        assert warehouse.revisions().height == warehouse.forecasts().height == 2000
        assert warehouse.versions() == {"prices": 1, "forecasts": 1, "runs": 1}


def test_a_table_that_cannot_be_read_is_one_clear_error(warehouse, tmp_path):
    warehouse.store_prices(prices(("A", MON, 1, MON)))
    for log in (tmp_path / "warehouse" / "prices" / "_delta_log").iterdir():
        log.write_text("{")
    with pytest.raises(WarehouseError, match="reading prices failed"):
        warehouse.prices()


@pytest.mark.parametrize("address", [str, Path.as_uri])
def test_any_ordinary_character_may_be_in_the_path_of_the_tables(tmp_path, address):
    """Once, a space or an umlaut let the first commit pass and every read fail."""
    warehouse = Warehouse(address(tmp_path / """h space üé日 #?*{}<>'"&;@+$~:,!% 5%""" / "warehouse"))
    other = Warehouse(str(tmp_path / "h space üé日 # 5% x" / "warehouse"))
    other.store_prices(prices(("B", MON, 1, MON)))
    warehouse.store_prices(prices(("A", MON, 1, MON), ("A", date(2023, 12, 29), 1, MON)))
    warehouse.store_prices(prices(("A", MON, 2, TUE)))
    warehouse.publish(TUE, forecast())
    warehouse.store_scores(scores())
    warehouse.publish(TUE, forecast(forecast=10.5), reissue=True)
    warehouse.put_run({"as_of": TUE, "status": "done"})
    warehouse.put_run({"as_of": TUE, "status": "failed"})
    assert warehouse.prices()["close"].to_list() == [1, 2]
    assert warehouse.forecasts(TUE)["forecast"].unique().to_list() == [10.5]
    assert warehouse.scores().is_empty()
    assert warehouse.runs()["status"].to_list() == ["failed"]
    assert warehouse.versions() == {"prices": 2, "forecasts": 2, "scores": 2, "runs": 2}


@pytest.mark.parametrize("name", ["[x]", "a]", "a|b", "a^b", "100%20", "year=1", "a\nb"])
def test_a_path_that_delta_lake_cannot_have_is_refused_before_anything_is_written(tmp_path, name):
    with pytest.raises(SettingsError, match="The path of a folder of tables must be without") as error:
        Warehouse(str(tmp_path / name / "warehouse")).store_prices(prices(("A", MON, 1, MON)))
    assert "\n" not in str(error.value)
    with pytest.raises(SettingsError, match="must be without"):
        find_state_folder(None, {}, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_an_object_store_is_not_a_folder():
    assert folder_of("s3://bucket/a%20b") is None
    assert folder_of("file:///a%20b/c") == Path("/a b/c")


def test_a_read_of_one_as_of_opens_the_files_of_its_year_only(warehouse):
    warehouse.store_prices(prices(("A", date(2023, 12, 29), 1, MON), ("A", MON, 1, MON)))
    plan = warehouse._scan("prices").filter(pl.col("year") == 2024)
    for file in DeltaTable(f"{warehouse.uri}/prices").file_uris():
        if "year=2023" in file:
            Path(file).unlink()
    assert plan.collect()["time"].to_list() == [MON]


FORMER = {
    "spread_skill": "distribution_skill", "spread_se": "distribution_se", "spread_p": "distribution_p",
    "centre_skill": "median_skill", "centre_se": "median_se",
}  # fmt: skip


def test_decisions_of_a_warehouse_with_the_former_columns_are_read_and_appended_to(warehouse):
    before = TABLES["decisions"].row(
        {"decision": "a", "as_of": MON, "at": datetime(2024, 1, 1, tzinfo=UTC)}
        | {name: float(number) for number, name in enumerate(FORMER.values())}
    )
    former = before.rename({name: old for old, name in FORMER.items()})
    write_deltalake(f"{warehouse.uri}/decisions", former, partition_by=["year"])
    assert warehouse.decisions().equals(before)
    new = {"decision": "b", "as_of": TUE, "at": datetime(2024, 1, 2, tzinfo=UTC), "distribution_skill": 7.0}
    assert warehouse.store_decision(new) == 1
    assert warehouse.store_decision(new) == 0
    rows = warehouse.decisions()
    assert rows.columns == before.columns
    assert rows["distribution_skill"].to_list() == [0.0, 7.0]
    assert rows["median_se"].to_list() == [4.0, None]
    assert warehouse.decisions(version=0).equals(before)
