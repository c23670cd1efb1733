"""The daily flow: from a source to published forecasts, day after day."""

import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from tidecast.flows.cli.show import summary
from tidecast.flows.config.state_folder import hold
from tidecast.flows.errors import Busy, TidecastError
from tidecast.flows.ingest.ingest import ingest
from tidecast.flows.steps import daily_steps as steps
from tidecast.flows.steps import promote
from tidecast.flows.steps.day import Incomplete
from tidecast.flows.steps.due import is_done
from tidecast.flows.steps.promote import Promoter
from tidecast.flows.steps.take_in import take_in_prices
from tidecast.flows.warehouse.warehouse import Warehouse
from tidecast.flows.workspace.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
TODAY = date(2030, 1, 1)


def test_a_first_day_then_a_second_then_nothing_to_do(sandbox, prefect_api):
    first, second = sandbox.sessions[-3], sandbox.sessions[-1]
    sandbox.write(until=first)
    day = sandbox.run()
    assert (day.as_of, day.row["status"], day.row["training"]) == (first, "done", "first")
    assert day.row["rows_stored"] == 3 * 128
    assert day.report.read_text().startswith("<!")
    tracking = sandbox.workspace.tracking()
    (run_id,) = sandbox.workspace.warehouse.decisions()["run_id"]
    in_mlflow = Path(tracking.store.client.download_artifacts(run_id, "report.html"))
    assert in_mlflow.read_text() == day.report.read_text()  # written after the training ended
    forecasts = sandbox.workspace.warehouse.forecasts(first)
    assert forecasts.height == 3 * 5
    assert forecasts["live"].all()
    assert forecasts["time"].unique().sort()[:2].to_list() == sandbox.sessions[-2:]

    sandbox.write()
    day = sandbox.run(second)
    assert (day.row["rows_stored"], day.row["rows_unchanged"]) == (3 * 2, 3 * 128)
    assert (day.row["training"], day.row["champion_version"]) == ("none", "1")
    assert sandbox.workspace.warehouse.scores()["as_of"].unique().to_list() == [first]

    versions = sandbox.workspace.warehouse.versions()
    again = sandbox.run(second)
    assert again.was_done_before
    for asked, note in ((None, ""), (second, ""), (TODAY, f" (the newest up to {TODAY} that has prices)")):
        summary(out := Console(file=StringIO(), width=200, soft_wrap=True), again, asked)
        assert f"{second}{note}\n" in out.file.getvalue()
    assert sandbox.workspace.warehouse.versions() == versions
    assert 5 <= _task_runs_of_last_flow() <= 20


def test_series_a_session_behind_are_published_and_a_young_one_is_said_everywhere(sandbox, plain_days, random_walks):
    """Once, a model was published for 2 of 30 shares and nothing said so: 28 series had ended a session earlier."""
    rows = random_walks(30, 130)
    sandbox.rows, sandbox.settings["max_epochs"] = rows, 1
    days, names = sandbox.sessions, rows["series_id"].unique().sort().to_list()
    newest, young = names[:2], names[-2:]
    behind = ~pl.col("series_id").is_in(newest) & (pl.col("time") == days[-1])
    sandbox.rows = rows.filter(~behind, ~pl.col("series_id").is_in(young) | (pl.col("time") > days[-10]))
    sandbox.write()
    day = sandbox.run()
    issued = sandbox.workspace.warehouse.forecasts(days[-1])
    assert (day.row["trained_through"], day.row["status"]) == (days[-1], "done")
    assert issued["series_id"].unique().sort().to_list() == names[:-2]
    late = issued.filter(pl.col("origin") == days[-2])
    assert late["series_id"].n_unique() == 26
    assert late.filter(~pl.col("live"))["step"].unique().to_list() == [1]  # its session is not after as_of
    assert late.filter(pl.col("step") > 1)["live"].all()

    sentence = f"Only 28 of 30 quoted series have a forecast of {days[-1]}."
    assert day.without_forecast == sentence
    assert "is published for 28 of 30 quoted series" in day.report.read_text()
    summary(out := Console(file=StringIO(), width=200, soft_wrap=True), day)
    assert sentence in out.file.getvalue()
    assert "28 of 30 quoted series, 5 sessions ahead" in out.file.getvalue()
    assert "left out, fewer than lookback = 16 rows" in out.file.getvalue()


def test_a_correction_is_a_new_revision_and_changes_what_is_issued_only_on_demand(sandbox, plain_days):
    as_of = sandbox.run().as_of
    warehouse = sandbox.workspace.warehouse
    prices, issued = warehouse.revisions(), warehouse.forecasts()
    price = sandbox.rows.filter(series_id="B", time=sandbox.sessions[-10])["close"].item()
    sandbox.write(B=price * 1.05)
    day = sandbox.run(as_of)
    assert day.ingested.corrected == 1
    assert warehouse.revisions().height == prices.height + 1
    assert warehouse.forecasts().equals(issued)

    sandbox.run(as_of, reissue=True)
    changed = warehouse.forecasts()
    assert changed.height == issued.height
    differs = (changed["q0.95"] != issued["q0.95"]) & (changed["series_id"] == "B")
    assert differs.any()
    assert warehouse.runs()["status"].to_list() == ["done"]


def test_a_failed_first_training_publishes_the_random_walk_and_the_flow_ends_failed(sandbox, plain_days, monkeypatch):
    def fail(*arguments):
        raise MemoryError("no memory left")

    with monkeypatch.context() as patch:
        patch.setattr(promote, "train", fail)
        with pytest.raises(Incomplete, match="training failed: no memory left") as failure:
            sandbox.run()
    warehouse = sandbox.workspace.warehouse
    assert failure.value.day.row["status"] == "failed"
    assert warehouse.runs()["training"].to_list() == ["failed"]
    issued = warehouse.forecasts()
    assert set(issued["model"]) == {"random_walk"}

    day = sandbox.run()  # repaired: trained, but what is issued stays
    assert (day.row["status"], day.row["training"]) == ("done", "first")
    assert warehouse.forecasts().equals(issued)


def test_a_broken_champion_is_replaced_by_the_random_walk_for_the_day(sandbox, plain_days, monkeypatch):
    def fail(*arguments):
        raise ConnectionError("MLflow does not answer")

    sandbox.write(until=sandbox.sessions[-2])
    sandbox.run()
    sandbox.write()
    monkeypatch.setattr(steps, "champion_of", fail)
    with pytest.raises(Incomplete, match="MLflow does not answer"):
        sandbox.run()
    newest = sandbox.workspace.warehouse.runs().tail(1)
    assert newest["champion"].item() == "random_walk"
    assert newest["champion_version"].item() is None


def test_a_second_run_at_once_reports_who_holds_the_folder(sandbox, plain_days):
    with hold(sandbox.workspace.state_folder, "another run"), pytest.raises(Busy, match="another run"):
        sandbox.run()
    assert sandbox.workspace.warehouse.versions() == {}


def test_a_backfill_uses_no_model_that_has_seen_later_rows(sandbox):
    newest, early = sandbox.sessions[-1], sandbox.sessions[60]
    _plain_run(sandbox.workspace, newest, train=True)
    row = _plain_run(sandbox.workspace, early)
    issued = sandbox.workspace.warehouse.forecasts(early)
    assert issued["origin"].max() == early
    assert (issued["trained_through"] <= issued["origin"]).all()
    assert not issued["live"].any()
    assert row["champion_version"] is None


def test_a_panel_of_which_no_series_is_long_enough_is_refused_with_the_longest_named(sandbox):
    from tidecast.flows.steps.take_in import check_panel

    sandbox.settings["lookback"] = 500
    workspace = sandbox.workspace
    ingest(workspace.warehouse, workspace.settings)
    with pytest.raises(TidecastError, match=r"must have lookback = 500 rows .* has 130"):
        check_panel(workspace.warehouse, workspace.settings, sandbox.sessions[-1])


def test_forecasts_that_a_killed_run_issued_keep_the_prices_they_were_made_from(sandbox, monkeypatch):
    """Once, the repetition wrote down the prices that it found itself."""

    def publish():
        workspace, found = sandbox.take_in(None, TODAY)
        champion = steps.random_walk_of(workspace.warehouse, workspace.settings, found.as_of, "a test")
        return steps.publish(
            workspace.warehouse, workspace.settings, found, champion, datetime(2030, 1, 1, tzinfo=UTC)
        ).row

    with monkeypatch.context() as killed:
        killed.setattr(Warehouse, "put_run", lambda *row: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            publish()
    warehouse = sandbox.workspace.warehouse
    read = warehouse.versions()["prices"]
    sandbox.write(B=1.0)
    row = publish()
    assert warehouse.versions()["prices"] > read
    assert json.loads(row["table_versions"]) == {"prices": read}


def test_missed_sessions_are_made_up_for_oldest_first(sandbox):
    from datetime import UTC, datetime

    *_, first, missed, newest = sandbox.sessions
    _plain_run(sandbox.workspace, first, train=True)
    workspace = sandbox.workspace
    found = ingest(workspace.warehouse, workspace.settings, newest)
    done = steps.catch_up(
        workspace.state_folder, workspace.warehouse, workspace.registry(), found, TODAY, datetime.now(UTC)
    )
    assert done == {missed: ""}
    assert is_done(workspace.warehouse.runs(), missed)
    assert workspace.warehouse.forecasts(missed)["origin"].unique().to_list() == [missed]


def test_a_plain_run_makes_up_for_missed_sessions_and_names_older_ones(sandbox, plain_days, monkeypatch, caplog):
    """Once, only scheduled runs did; a run from cron skipped the sessions between without a word."""
    monkeypatch.setattr(steps.missed_sessions, "__defaults__", (2,))
    sandbox.settings["max_epochs"] = 0
    sandbox.write(until=sandbox.sessions[-5])
    sandbox.run()
    sandbox.write()
    sandbox.run()
    older, *caught_up = sandbox.sessions[-4:]
    runs = sandbox.workspace.warehouse.runs()
    assert runs["as_of"].to_list() == [sandbox.sessions[-5], *caught_up]
    assert set(runs["status"]) == {"done"}
    assert f"tidecast backfill --from {older} --to {older}" in caplog.text


def test_a_source_that_fails_at_first_is_not_remembered(sandbox):

    sandbox.settings["target"] = "price"
    with pytest.raises(TidecastError, match="close"):
        sandbox.take_in(None, TODAY)
    assert not sandbox.workspace.state_folder.panel_file.exists()


def test_a_first_run_that_published_nothing_leaves_no_setting_behind(sandbox, plain_days):
    """Once, prices of a table loaded today all waited, and known_at stayed in panel.json after it was taken back."""
    from tidecast.flows.workspace.load_settings import load_settings

    folder = sandbox.workspace.state_folder
    loaded = sandbox.sessions[-1] + timedelta(days=3)
    sandbox.rows = sandbox.rows.with_columns(loaded=pl.lit(loaded))
    sandbox.write()
    sandbox.settings |= {"known_at": "loaded", "max_epochs": 0}
    with pytest.raises(
        TidecastError, match=f"by column 'loaded' all 390 rows .* known on {loaded} or later, after the"
    ):
        sandbox.run()
    assert not folder.panel_file.exists()

    del sandbox.settings["known_at"]
    lookback = sandbox.settings["lookback"]
    sandbox.settings["lookback"] = 500
    with pytest.raises(TidecastError, match="must have lookback = 500 rows"):
        sandbox.run()
    assert not folder.panel_file.exists()
    assert load_settings(folder, {}, {}, sandbox.folder)[0].source == "ecb"

    sandbox.settings["lookback"] = lookback
    assert sandbox.run().row["series_forecast"] == 3
    settings, origins = load_settings(folder, {}, {}, sandbox.folder)
    assert (settings.known_at, origins["source"]) == (None, "remembered")


def test_importing_flows_changes_no_environment_variable_and_makes_no_folder(tmp_path):
    code = (
        "import os; before = dict(os.environ); import flows; "
        "assert dict(os.environ) == before; import sys; assert 'prefect' not in sys.modules; print(dir(flows))"
    )
    environ = {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "PATH": ""}
    subprocess.run([sys.executable, "-c", code], check=True, env=environ, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


def _plain_run(workspace, as_of, train=False):
    """A day without Prefect: the steps in their order."""
    from datetime import UTC, datetime

    found = take_in_prices(workspace.state_folder, workspace.warehouse, workspace.settings, as_of, TODAY)
    workspace = Workspace(workspace.state_folder, found.settings)
    outcome = Promoter.of(workspace).train(found.as_of, "test")["outcome"] if train else None
    now = datetime.now(UTC)
    champion = steps.champion_of(workspace.registry(), workspace.warehouse, workspace.settings, found.as_of)
    published = steps.publish(workspace.warehouse, workspace.settings, found, champion, now, training=outcome)
    steps.score_what_came_true(workspace.warehouse, workspace.settings, found.as_of)
    return steps.close(workspace.warehouse, published.row, outcome, False, now)


def _task_runs_of_last_flow() -> int:
    """Most task runs of any flow run so far."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs()
        return max(len(client.read_task_runs(flow_run_filter=_only(run.id))) for run in runs)


def _only(flow_run_id):
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    return FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))


def test_the_forecast_table_covers_every_live_series(sandbox):
    workspace = sandbox.workspace
    found = ingest(workspace.warehouse, workspace.settings)
    from datetime import UTC, datetime

    workspace = Workspace(workspace.state_folder, found.settings)
    walk = steps.random_walk_of(workspace.warehouse, workspace.settings, found.as_of, "")
    published = steps.publish(workspace.warehouse, workspace.settings, found, walk, datetime.now(UTC))
    assert published.row["series_live"] == published.row["series_forecast"] == 3
    assert workspace.warehouse.forecasts()["step"].unique().sort().to_list() == [1, 2, 3, 4, 5]
    assert workspace.warehouse.forecasts().filter(pl.col("forecast").is_null()).is_empty()
