"""The search for settings as a flow: which rows it sees, what it leaves in MLflow, and what a training makes of it."""

import json
from dataclasses import replace
from datetime import timedelta

import optuna
import polars as pl
import pytest

from tidecast.flows.config.state_folder import hold
from tidecast.flows.errors import Busy, TidecastError
from tidecast.flows.steps import search
from tidecast.flows.tracking.store import MlflowStore, TrackingError
from tidecast.flows.tracking.tuning_runs import ENDED, TuningRuns
from tidecast.flows.training.candidates import CandidateSet, Stopwatch, TunedRecipe, recipes_of
from tidecast.flows.training.holdout import plan_origins
from tidecast.flows.training.train import train
from tidecast.forecasting.evaluation.gate_policy import GatePolicy
from tidecast.forecasting.forecasters.recurrent import RNNForecaster
from tidecast.forecasting.tuning.result import TrialRecord, TuningResult

GATE = GatePolicy(max_origins=130, min_origins=120)


@pytest.fixture
def workspace(sandbox, random_walks):
    """Three walks, long enough for a gate, in a warehouse."""
    sandbox.rows = random_walks(3, 600)
    sandbox.write()
    sandbox.settings |= {
        "models": ("RNN", "GRU"), "horizon": 2, "quantiles": (0.1, 0.9), "max_epochs": 1, "calendar": "weekdays",
        "gate.max_origins": 130, "gate.min_origins": 120,
    }  # fmt: skip
    workspace, _ = sandbox.take_in(sandbox.sessions[-1], sandbox.sessions[-1])
    return workspace


def trial(number: int, state: str = "complete", skill: float | None = 0.01, **more) -> TrialRecord:
    value = None if skill is None else 0.3 * (1 - skill)
    seen = TrialRecord(number, state, {"hidden_size": number}, value, skill, 1.5, "", {1: 0.001}, {1: 0.02})
    return replace(seen, **more)


@pytest.fixture
def tuned(random_walks) -> TuningResult:
    seen = random_walks(1, 120)
    model = RNNForecaster(horizon=2, lookback=16, quantiles=(0.1, 0.9), hidden_size=4, max_epochs=0).fit(seen)
    trials = (trial(0, skill=0.001), trial(1), trial(2, "pruned", None), trial(3, "failed", None, why="too short"))
    return TuningResult(model, optuna.create_study(), {"hidden_size": 4}, 1, 0.297, 0.3, "pinball", trials)


@pytest.fixture
def ground(walks):
    from tidecast.flows.config.settings import Settings

    settings = Settings(calendar="weekdays", horizon=2, lookback=16, quantiles=(0.1, 0.9), gate=GATE, max_epochs=0)
    return search.search_problem_in(walks, walks["time"].max(), settings)


@pytest.fixture(scope="module")
def walks(random_walks):
    return random_walks(3, 600)


def test_a_search_sees_the_selections_rows_and_none_of_the_gates(walks, ground):
    sessions = walks["time"].unique().sort()
    plan = plan_origins(walks, ground.settings)
    first_target_of_the_gate = sessions[-plan.gate - 2 + 1]
    assert ground.looked_through == ground.panel["time"].max() < first_target_of_the_gate
    assert [fold.end for fold in ground.cv.folds(ground.panel)][-1] == ground.looked_through
    assert ground.cv.n_splits * ground.cv.stride == plan.selection
    assert ground.space["cell"] == ["gru", "lstm", "mingru", "rnn"]
    assert ground.space["lookback"] == [16]  # a longer one would leave young series without forecasts
    other = search.search_problem_in(walks.with_columns(pl.col("close") * 2), walks["time"].max(), ground.settings)
    assert other.key != ground.key


def test_too_little_history_for_a_gate_is_too_little_for_a_search(random_walks, ground):
    with pytest.raises(TidecastError, match="120 origins that it did not see"):
        search.search_problem_in(random_walks(2, 200), ground.as_of, ground.settings)


def test_a_search_without_time_for_a_trial_names_the_flag_and_counts_what_mlflow_shows(store, ground):
    """Once, it said "Raise timeout", which nobody had typed, and counted trials that MLflow did not have."""
    runs = TuningRuns(store)
    run_id = runs.begin(ground)
    shown = runs.trials_of(run_id, ground)
    with pytest.raises(TidecastError, match=r"time for one whole trial.* give more time: --minutes 2\.") as error:
        search.search(store.home.tuning, ground, 6, 0.05, shown)
    assert f"none of {len(children(store, run_id))} begun is complete" in str(error.value)


def test_trials_are_runs_inside_the_searchs_while_they_run_and_each_change_is_written_once(store, ground, tuned):
    runs = TuningRuns(store)
    run_id = runs.begin(ground)
    show = runs.trials_of(run_id, ground)
    show([trial(0, "running", None, seconds=None, folds={}), trial(1, "waiting", None)])
    (first,) = children(store, run_id)
    assert (first.info.status, first.info.run_name) == ("RUNNING", "trial 0, the default settings")
    assert first.data.params.items() >= {"searched.hidden_size": "0", "settings.horizon": "2", "lookback": "16"}.items()
    assert first.data.metrics == {"fit/validation_skill_percent": 0.1}
    show(list(tuned.trials))
    show(list(tuned.trials))
    ended = {int(run.data.tags["trial"]): run for run in children(store, run_id)}
    assert [ended[k].info.status for k in range(4)] == ["FINISHED", "FINISHED", "FINISHED", "FAILED"]
    assert ended[1].data.metrics["selection/skill_percent"] == 1.0
    assert ended[1].data.metrics["selection/pinball"] == 0.3 * 0.99
    assert ended[1].data.params["hidden_size"] == "1"
    names = [ended[k].info.run_name for k in range(4)]
    assert names[:2] == ["trial 0, the default settings, +0.10 %", "trial 1, +1.00 %"]
    assert names[2:] == ["trial 2, pruned", "trial 3, failed"]
    assert "too short" in ended[3].data.tags["mlflow.note.content"]
    assert len(store.client.get_metric_history(ended[0].info.run_id, "selection/skill_percent")) == 1

    runs.finish(run_id, ground, tuned)
    run = store.client.get_run(run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", f"+1.00 % best, tuning {ground.as_of}")
    words = run.data.tags["mlflow.note.content"]
    assert "4 trials: 2 complete, 1 pruned, 1 failed." in words
    assert "Trial 1 is the best: +1.00 % against the random walk. The default settings have +0.10 %" in words
    assert run.data.metrics["search/trials"] == 4
    artifacts = store.home.mlartifacts / run_id / "artifacts"
    table = json.loads((artifacts / "tables/trials.json").read_text())
    assert table["columns"][:4] == ["number", "state", "value", "skill_percent"]
    assert (artifacts / "pictures/1_history.png").stat().st_size > 10_000
    assert not list(store.client.search_runs([store.searches], "attributes.status = 'RUNNING'"))


def children(store: MlflowStore, run_id: str):
    return list(store.client.search_runs([store.searches], f"tags.`mlflow.parentRunId` = '{run_id}'"))


def test_a_killed_search_is_ended_by_the_next_process_and_continues_in_its_own_run(store, ground, tuned):
    runs = TuningRuns(store)
    run_id = runs.begin(ground)
    runs.trials_of(run_id, ground)([trial(0), trial(1, "running", None)])
    with hold(store.home.tuning, "a search at work"):
        assert runs.recover() == 0
    assert runs.recover() == 2  # the search's and trial 1's
    assert runs.begin(ground) == run_id
    runs.trials_of(run_id, ground)([trial(0), trial(1, "interrupted", None), trial(2)])
    states = {int(run.data.tags["trial"]): run.info.status for run in children(store, run_id)}
    assert states == {0: "FINISHED", 1: "KILLED", 2: "FINISHED"}
    assert set(ENDED) == {"complete", "pruned", "failed", "interrupted"}


def test_only_a_complete_search_up_to_the_session_is_handed_to_a_training(store, ground, tuned):
    runs = TuningRuns(store)
    run_id = runs.begin(ground)
    assert runs.newest(ground.as_of) is None
    runs.finish(run_id, ground, tuned)
    assert runs.newest(ground.as_of - timedelta(days=1)) is None
    found = runs.newest(ground.as_of)
    assert found == TunedRecipe(ground.as_of, "tuned RNN", tuned.model.recipe(), ground.looked_through)


def test_a_store_that_does_not_answer_stops_the_showing_and_not_the_search(store, ground, monkeypatch):
    said = []
    store.say = said.append
    runs = TuningRuns(store)
    show = runs.trials_of(runs.begin(ground), ground)
    monkeypatch.setattr(store.client, "log_batch", lambda *a, **k: (_ for _ in ()).throw(OSError("no route")))
    show([trial(0)])
    show([trial(0), trial(1)])
    assert isinstance(show.failed, TrackingError)
    assert len(said) == 1
    assert "no route" in said[0]


def test_what_was_found_is_one_more_candidate_unless_the_search_saw_the_gates_rows(walks, ground):
    said: list[str] = []
    model = RNNForecaster(
        horizon=2, lookback=16, quantiles=(0.1, 0.5, 0.9), schema=ground.model.schema, hidden_size=4, max_epochs=0
    )
    found = TunedRecipe(ground.as_of, "tuned RNN", model.recipe(), ground.looked_through)
    settings = ground.settings.model_copy(update={"models": ("GRU",)})

    training = train(walks, ground.as_of, settings, None, True, said.append, found=found)
    assert set(training.selection["model"]) == {"GRU", "tuned RNN", "random_walk"}

    def candidates(found: TunedRecipe) -> set[str]:
        work = CandidateSet(walks, ground.as_of, settings, said.append, Stopwatch(), {})
        work.consider(found, ground.panel["time"].max())
        return set(work.recipes)

    assert candidates(found) == {"GRU", "tuned RNN"}
    assert candidates(replace(found, looked_through=ground.looked_through + timedelta(days=1))) == {"GRU"}
    assert "the search saw prices up to" in said[-1]
    assert candidates(replace(found, recipe=model.set_params(horizon=3).recipe())) == {"GRU"}
    assert "it has another horizon" in said[-1]
    assert candidates(replace(found, recipe=recipes_of(settings)["GRU"].recipe())) == {"GRU"}
    assert "it is one of the defaults" in said[-1]


def test_the_flow_searches_logs_and_keeps_others_out(workspace, prefect_api):
    from tidecast.flows.tune import tune_forecaster

    arguments = {"n_trials": 3, "home": str(workspace.state_folder.path), "settings": workspace.settings}
    with hold(workspace.state_folder.tuning, "another"), pytest.raises(Busy):
        tune_forecaster(**arguments)
    with hold(workspace.state_folder, "the daily flow"):  # which may run beside it
        tuned = tune_forecaster(**arguments)
    assert tuned.looked_at == 3
    store = workspace.tuning_runs().store
    runs = store.client.search_runs([store.searches], "tags.complete = 'yes'")
    assert [run.data.metrics["search/trials"] for run in runs] == [3]
    assert len(children(store, runs[0].info.run_id)) == 3
    again = tune_forecaster(**arguments)
    assert [t.settings for t in again.trials] == [t.settings for t in tuned.trials]
    assert len(store.client.search_runs([store.searches], "tags.complete = 'yes'")) == 1
    assert workspace.tuning_runs().newest(workspace.warehouse.newest_session()).recipe == tuned.model.recipe()
