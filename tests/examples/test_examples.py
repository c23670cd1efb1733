"""Each example runs as its command does: on the bundled rates, and on a file of other names, days and lengths."""

import runpy
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from examples import prices as example_prices
from tests.coins import ARGUMENTS, write_coins
from tidecast import panel_from
from tidecast.flows.config.settings import Settings
from tidecast.flows.ingest.ingest import ingest
from tidecast.flows.warehouse.warehouse import Warehouse

README = Path(__file__).parents[2] / "examples" / "README.md"


@pytest.fixture(scope="module")
def own_file(tmp_path_factory, random_walks) -> Path:
    return write_coins(tmp_path_factory.mktemp("own") / "coins.csv", random_walks(3, 300))


def test_the_file_lies_on_weekends_and_is_ragged(own_file):
    rows = pl.read_csv(own_file, try_parse_dates=True)
    assert rows["Day"].dt.weekday().n_unique() == 7
    assert rows["Coin"].value_counts()["count"].n_unique() == 3


@pytest.fixture(params=["bundled", "own"])
def run(request, monkeypatch, own_file):
    """A function: run an example as a command; its result, and the panel that it ran on."""

    def run(name):
        arguments, panel = [], example_prices.bundled_prices()
        if request.param == "own":
            arguments = [str(own_file), *ARGUMENTS]
            panel = panel_from(pl.read_csv(own_file, try_parse_dates=True), "Coin", "Day", "Price")
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        return runpy.run_module(f"examples.{name}", run_name="__main__")["result"], panel

    return run


def assert_forecasts_all(forecast, panel, horizon=5):
    """Every series is forecast from its last row, with ordered quantiles around the price."""
    last = panel.group_by("series_id").agg(pl.col("time").max(), pl.col("close").sort_by("time").last())
    key = forecast.select("series_id", "origin").unique().sort("series_id")
    assert key.equals(last.sort("series_id").select("series_id", origin="time"))
    assert len(forecast) == horizon * len(last)
    assert (forecast["time"] > forecast["origin"]).all()
    assert forecast.select(pl.col("q0.05") < pl.col("forecast")).to_series().all()
    assert forecast.select(pl.col("forecast") < pl.col("q0.95")).to_series().all()
    near = forecast.join(last, on="series_id").select((pl.col("forecast") / pl.col("close") - 1).abs().max()).item()
    assert near < 0.1


def test_pipeline(run):
    (grid, forecast), panel = run("pipeline")
    assert grid["hidden_size"].to_list() == [8, 16]
    assert grid["score"].is_between(-3, -0.3).all()
    assert_forecasts_all(forecast, panel)


def test_streaming(run):
    (difference, forecast), panel = run("streaming")
    assert difference < 1e-5
    assert_forecasts_all(forecast, panel)


def test_scenario_paths(run):
    found, panel = run("scenario_paths")
    assert found["series_id"].to_list() == panel["series_id"].unique().sort().to_list()
    assert (found["any_session"] >= found["last_session"]).all()
    assert found["any_session"].is_between(0.005, 0.8).all()


def test_ensemble(run):
    found, _ = run("ensemble")
    assert set(found["model"]) == {"gru", "lstm", "regression", "average", "random_walk"}
    assert found["n_origins"].unique().to_list() == [40]
    crps = dict(zip(found["model"], found["crps"], strict=True))
    members = [crps[name] for name in ("gru", "lstm", "regression")]
    assert crps["average"] <= sum(members) / 3 * 1.0001  # CRPS is convex in the quantiles


def test_fine_tuning(run):
    found, _ = run("fine_tuning")
    assert found["model"].to_list() == ["before", "after"]
    assert found["n_origins"].n_unique() == 1
    assert found["crps"].is_finite().all()
    assert found["crps"].n_unique() == 2  # it learned something
    assert found["crps"].max() < 1.1 * found["crps"].min()


def test_own_feature(run):
    (inputs, forecast), panel = run("own_feature")
    assert "up_days_10" in inputs
    assert_forecasts_all(forecast, panel)


def test_covariates_and_events(run):
    (known, forecast), panel = run("covariates_and_events")
    assert_forecasts_all(forecast, panel)
    sessions = forecast.group_by("series_id").agg(pl.col("time").sort_by("step")).sort("series_id")
    for row, (_, times) in zip(known.iter_rows(named=True), sessions.iter_rows(), strict=True):
        ends = [(each.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1) for each in times]
        to_end = [(end - each).days for end, each in zip(ends, times, strict=True)]
        assert row["days_to_month_end_ahead"] == to_end
        assert row["jobs_report_ahead"] == [each.weekday() == 4 and each.day <= 7 for each in times]


def compared(table, column):
    """A column of a comparison by model; all models were judged on the same 40 origins."""
    assert table["n_origins"].unique().to_list() == [40]
    return dict(zip(table["model"], table[column], strict=True))


def test_lightgbm_model(run):
    pytest.importorskip("lightgbm", reason="LightGBM is not a dependency of Tidecast")
    mase = compared(run("lightgbm_model")[0], "mase")
    assert set(mase) == {"lightgbm", "gru", "random_walk"}
    assert 0.9 * mase["random_walk"] < mase["lightgbm"] < 1.3 * mase["random_walk"]


def test_statsforecast_model(run):
    pytest.importorskip("statsforecast", reason="statsforecast is not a dependency of Tidecast")
    crps = compared(run("statsforecast_model")[0], "crps")
    assert set(crps) == {"ets", "gru", "random_walk"}
    assert 0.9 * crps["random_walk"] < crps["ets"] < 1.3 * crps["random_walk"]


def test_own_source(run):
    (newest, forecast), panel = run("own_source")
    assert_forecasts_all(forecast, panel)
    last = panel.filter(pl.col("time") == pl.col("time").max()).sort("series_id")
    assert newest.sort("series_id").select("series_id", pl.col("time").str.to_date()).equals(last.drop("close"))
    assert (newest.sort("series_id")["close"] / last["close"] - 1).abs().max() < 1e-12  # the mid of bid and ask


def test_own_source_is_a_package_that_pip_installs_and_the_daily_run_reads(monkeypatch, tmp_path, own_file):
    shutil.copytree(README.parent / "own_source", tmp_path / "package")  # pip writes next to what it installs
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", "--quiet", *offline, "--target", str(tmp_path / "site")]
    subprocess.run([*command, str(tmp_path / "package")], check=True)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    panel = panel_from(pl.read_csv(own_file, try_parse_dates=True), "Coin", "Day", "Price")
    (tmp_path / "lines").mkdir()
    runpy.run_module("examples.own_source.__main__")["write_lines"](panel, tmp_path / "lines")
    settings = Settings(source=f"jsonl://{tmp_path / 'lines'}")
    warehouse = Warehouse(str(tmp_path / "warehouse"))
    found = ingest(warehouse, settings)
    assert (found.stored, found.quarantined) == (len(panel), {})
    assert (
        warehouse.prices()
        .select("series_id", "time")
        .equals(panel.select("series_id", "time").sort("series_id", "time"))
    )
    assert ingest(warehouse, found.settings).stored == 0


def test_intraday_bars_simulated_and_of_a_file(monkeypatch, tmp_path, random_walks):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["intraday_bars", *arguments])
        return runpy.run_module("examples.intraday_bars", run_name="__main__")["result"]

    calendar, forecast = run()
    assert "1h" in calendar
    assert (forecast["time"] - forecast["origin"] == pl.Series("step", forecast["step"]) * timedelta(hours=1)).all()
    walks = random_walks(2, 700)
    start, row = pl.datetime(2026, 5, 4, 7), pl.int_range(pl.len()).over("series_id")
    bars = walks.select(symbol="series_id", stamp=start + row * timedelta(minutes=15), last="close")
    bars.write_parquet(path := tmp_path / "bars.parquet")
    calendar, forecast = run(str(path), "--series-id", "symbol", "--time", "stamp", "--target", "last")
    assert "15m" in calendar
    assert len(forecast) == 2 * 6
    assert forecast["time"].max() - forecast["origin"].max() == timedelta(minutes=90)


def test_every_example_has_a_line_in_the_readme():
    text = README.read_text(encoding="utf-8")
    paths = [*README.parent.glob("*.py"), *README.parent.glob("*.ipynb"), README.parent / "own_source"]
    names = {path.name for path in paths} - {"__init__.py", "prices.py"}
    assert {name for name in names if f"[{name}]({name}" not in text} == set()
