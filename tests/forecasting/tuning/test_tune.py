"""The search for settings: what it measures, whose trials there are, and that it can be killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import optuna
import polars as pl
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from tidecast.features import LogReturn
from tidecast.forecasting import (
    GRUForecaster,
    RandomWalk,
    RNNForecaster,
    RollingOrigin,
    SeasonalNaive,
    Training,
    VolatilityRegression,
    backtest,
    evaluate,
    tune,
)
from tidecast.forecasting.network.cell_registry import CELLS
from tidecast.forecasting.saving.recipes import decode
from tidecast.forecasting.tuning import trial_queue as trials
from tidecast.forecasting.tuning import tune as tuning
from tidecast.forecasting.tuning.search_space import SearchSpace, default_space

ROOT = Path(__file__).parents[3]
CV = RollingOrigin(n_splits=2, horizon=2, stride=20)
NAIVE = SeasonalNaive(horizon=2, lookback=70)
SEASONS = {"season": IntDistribution(1, 60)}
TINY = {"horizon": 2, "lookback": 8, "quantiles": (0.1, 0.9), "hidden_size": 4, "max_epochs": 2}


@pytest.fixture(scope="module")
def small(breathing) -> pl.DataFrame:
    return breathing.filter(pl.col("series_id") < "C").group_by("series_id", maintain_order=True).head(200)


@pytest.fixture(scope="module")
def found(small):
    return tune(NAIVE, small, CV, SEASONS, n_trials=14)


def settings_of(found) -> list[int]:
    return [trial.settings["season"] for trial in found.trials]


def test_the_value_of_a_trial_is_the_pooled_loss_of_a_backtest(small, found):
    best = clone(NAIVE).set_params(**found.settings)
    pooled = evaluate(backtest(best, small, CV), small).summary.filter(pl.col("group") == "pooled")
    by_hand = dict(pooled.select("model", "crps").iter_rows())
    assert found.metric == "crps"
    assert found.value == pytest.approx(by_hand["SeasonalNaive"])
    assert found.random_walk == pytest.approx(by_hand["random_walk"])
    skill = pooled.filter(model="SeasonalNaive")["skill"].item()
    best = min((trial for trial in found.trials if trial.value is not None), key=lambda trial: trial.value)
    assert (found.number, found.value, found.skill) == (best.number, best.value, best.skill)
    assert found.skill == pytest.approx(skill)


def test_the_models_own_settings_come_first_and_no_settings_come_twice(found):
    assert settings_of(found)[0] == NAIVE.season
    assert found.trials[0].state == "complete"
    assert len(set(settings_of(found))) == len(found.trials) == found.looked_at == 14


def test_the_model_is_refit_on_the_whole_panel_with_the_best_settings(small, found):
    by_hand = clone(NAIVE).set_params(**found.settings).fit(small)
    assert found.model.predict().equals(by_hand.predict())


def test_one_process_with_one_seed_finds_the_same_again(small, found):
    assert settings_of(tune(NAIVE, small, CV, SEASONS, n_trials=14)) == settings_of(found)
    assert settings_of(tune(NAIVE, small, CV, SEASONS, n_trials=4, random_state=1)) != settings_of(found)[:4]


def test_a_space_without_further_settings_ends_the_search(small):
    found = tune(NAIVE, small, CV, {"season": [1, 5, 7]}, n_trials=10)
    complete = [trial.settings["season"] for trial in found.trials if trial.state == "complete"]
    assert sorted(complete) == [1, 5, 7]
    assert found.looked_at == 3


def test_all_trials_are_judged_on_the_rows_that_every_lookback_leaves(small):
    """B is so young that a lookback of 130 leaves none of its origins: then nobody is judged on them."""
    young = small.filter((pl.col("series_id") == "A") | (pl.int_range(pl.len()).over("series_id") > 80))
    found = tune(NAIVE, young, CV, {"lookback": [70, 130]}, n_trials=2, metric="mae")
    alone = tune(NAIVE, young.filter(pl.col("series_id") == "A"), CV, {"lookback": [70, 130]}, n_trials=2, metric="mae")
    assert found.trials[0].value == pytest.approx(alone.trials[0].value)  # the median of a season is of no panel
    assert [trial.state for trial in found.trials] == ["complete", "complete"]


def test_a_function_of_a_trial_and_a_pipeline_can_be_searched(small):
    def space(trial):
        return {"seasonalnaive__season": trial.suggest_int("seasonalnaive__season", 1, 9, step=2)}

    model = make_pipeline(LogReturn(), NAIVE)
    by_function = tune(model, small, CV, space, n_trials=3)
    assert by_function.trials[0].settings == {"seasonalnaive__season": 5}
    by_name = tune(model, small, CV, {"seasonalnaive__season": IntDistribution(1, 9, step=2)}, n_trials=3)
    assert [t.settings for t in by_function.trials] == [t.settings for t in by_name.trials]
    assert by_name.model[-1].season == by_name.settings["seasonalnaive__season"]


def test_a_trial_that_fails_is_counted_and_says_why_and_the_first_may_not(small):
    found = tune(NAIVE, small, CV, {"season": [5, -1]}, n_trials=2)
    assert (found.count("complete"), found.count("failed"), found.looked_at) == (1, 1, 2)
    assert "season must be at least 1" in found.trials[1].why
    assert "season must be at least 1" in found.table()["why"][1]
    with pytest.raises(ValueError, match="season must be at least 1"):
        tune(clone(NAIVE).set_params(season=-1), small, CV, {"season": [5, -1]}, n_trials=2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n_trials": None}, "would never end"),
        ({"n_trials": 0}, "n_trials must be at least 1"),
        ({"timeout": 0}, "timeout must be above 0"),
        ({"metric": "rmse"}, "crps, mae"),
        ({"cv": 5}, "RollingOrigin"),
        ({"cv": RollingOrigin(n_splits=2, horizon=1)}, "horizon must be at least"),
        ({"search_space": {"seasons": [1]}}, "Did you mean 'season'"),
        ({"search_space": {"horizon": [1, 2]}}, "cannot be searched"),
        ({"search_space": {"season": 5}}, "IntDistribution"),
        ({"search_space": {"season": [1, 2]}}, "season=5 is not in"),
        ({"search_space": {"season": IntDistribution(6, 9)}}, "season=5 is not in"),
        ({"search_space": [1, 2]}, "mapping"),
        ({"model": RandomWalk(horizon=2)}, "no settings to tune"),
        ({"on_change": 1}, "on_change must be a function"),
    ],
)
def test_a_wrong_argument_is_one_clear_error(small, arguments, words):
    with pytest.raises((ValueError, TypeError), match=words):
        tune(**{"model": NAIVE, "panel": small, "cv": CV, **arguments})


# ------------------------------------------------------------------------------------------------ the default space
def test_a_default_space_holds_the_models_own_settings_and_what_the_panel_has(small):
    model = GRUForecaster(lookback=20, learning_rate=0.1)
    space = default_space(model, small)
    assert space["cell"] == list(CELLS)
    assert space["lookback"] == [20, 32, 64, 128]
    assert space["learning_rate"].high == 0.1
    assert space["features"] == ["prices", "prices, market"]
    wide = small.with_columns(open="close", high="close", low="close", volume=pl.lit(1.0))
    assert default_space(model, wide)["features"] == ["prices", "prices, market", "prices, volume"]
    assert "features" not in default_space(GRUForecaster(features=LogReturn()), small)
    assert default_space(VolatilityRegression(), wide).keys() == {"ridge"}
    assert default_space(make_pipeline(LogReturn(), model), small).keys() == {f"gruforecaster__{n}" for n in space}


@pytest.mark.parametrize("word", ["prices", "prices, market", "prices, volume"])
def test_features_by_their_word_train_update_and_belong_to_the_recipe(small, word):
    volume = pl.Series("volume", np.random.default_rng(0).uniform(1, 2, len(small)))
    panel = small.with_columns(volume, high=pl.col("close") * 1.01, low=pl.col("close") * 0.99)
    space = SearchSpace(GRUForecaster(**TINY), {"cell": ["gru", "rnn"], "features": ["prices", word]}, panel)
    model = space.configured({"cell": "rnn", "features": word})
    assert type(model) is RNNForecaster
    again = decode(model.recipe())
    assert again.recipe() == model.recipe()
    today = panel["time"].max()
    before, now = panel.filter(pl.col("time") < today), panel.filter(pl.col("time") == today)
    fitted = again.fit(before)
    np.testing.assert_allclose(
        fitted.update(now).predict()["q0.9"].to_numpy(), fitted.predict(panel)["q0.9"].to_numpy(), rtol=1e-6
    )


# ------------------------------------------------------------------------------------------------- epochs, and time
def test_a_training_reports_its_epochs_to_a_clones_listener_and_stops_when_it_raises(small):
    reported = []
    model = GRUForecaster(**TINY, training=Training(on_epoch=reported.append))
    assert model.recipe() == GRUForecaster(**TINY, training=Training()).recipe()
    curve = clone(model).fit(small).learning_curve_
    assert [epoch.epoch for epoch in reported] == curve["epoch"].to_list() == [0, 1, 2]
    assert [epoch.validation_loss for epoch in reported] == curve["validation_loss"].to_list()

    def stop(epoch):
        raise KeyError(epoch.epoch)

    with pytest.raises(KeyError, match="0"):
        GRUForecaster(**TINY, training=Training(on_epoch=stop)).fit(small)
    with pytest.raises(TypeError, match="on_epoch must be a function"):
        Training(on_epoch=3)


def test_hopeless_is_what_is_worse_than_three_quarters_at_the_same_place():
    study = optuna.create_study()
    for k in range(5):  # at epoch 1: 10 … 14; the last trial ended there, the others went on to half of it
        reports = {1: 10.0 + k} | ({2: 5.0 + k / 2} if k < 4 else {})
        study.add_trial(create_trial(value=1.0, intermediate_values=reports))
    assert not trials.is_hopeless(study, 1, 13.0)
    assert trials.is_hopeless(study, 1, 13.1)
    assert trials.is_hopeless(study, 2, 6.6)  # of 5, 5.5, 6, 6.5 and 14
    assert not trials.is_hopeless(study, trials.FIRST_FOLD + 1, 1e9)  # nobody got to a fold
    study.add_trial(create_trial(state=TrialState.PRUNED, value=1.0, intermediate_values={1: 0.0}))
    assert not trials.is_hopeless(study, 1, 13.0)  # pruned ones do not judge


def test_trials_are_given_up_on_epochs_and_the_first_one_never(small, monkeypatch):
    monkeypatch.setattr(trials, "FEWEST_PEERS", 1)
    monkeypatch.setattr(trials, "KEPT", 0.0)  # whatever is worse than the best so far
    rates = {"learning_rate": FloatDistribution(1e-5, 1e-2, log=True)}
    found = tune(GRUForecaster(**TINY, learning_rate=1e-2), small, CV, rates, n_trials=4)
    pruned = [trial for trial in found.trials if trial.state == "pruned"]
    assert pruned
    assert all(trial.number and trial.value is None and not trial.folds for trial in pruned)
    assert list(found.trials[0].epochs) == [1, 2]
    assert list(found.trials[0].folds) == [1, 2]
    assert found.trials[0].folds[2] == pytest.approx(found.trials[0].skill)
    assert found.looked_at == 4


def test_time_is_kept_within_one_long_training_and_its_settings_are_not_lost(small, tmp_path):
    model = GRUForecaster(**TINY | {"max_epochs": 1}, training=Training(patience=10**6))
    kept = {"storage": tmp_path / "study.journal", "search_space": {"max_epochs": [1, 10**6]}}
    tune(model, small, CV, **kept, n_trials=1)
    begun = time.monotonic()
    found = tune(model, small, CV, **kept, n_trials=2, timeout=5)
    assert time.monotonic() - begun < 60  # not 10**6 epochs; how exactly: test_budget.py, on a clock of its own
    assert [trial.state for trial in found.trials] == ["complete", "interrupted", "waiting"]
    assert found.trials[2].settings == {"max_epochs": 10**6}
    assert (found.looked_at, found.number) == (1, 0)
    with pytest.raises(ValueError, match="time for one whole trial"):
        tune(model.set_params(max_epochs=10**6), small, CV, {"hidden_size": [2, 4]}, timeout=1)


# ------------------------------------------------------------------------------------------- processes, and kills
SCRIPT = """
import os, signal, sys
import polars as pl
from tidecast.forecasting import RollingOrigin, SeasonalNaive, tune
from tidecast.forecasting.tuning import tune as tuning
from optuna.distributions import IntDistribution

panel, storage, n_trials, fatal = pl.read_parquet(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
judged, judge = [], tuning.judge

def dying(*arguments):
    judged.append(1)
    if len(judged) == fatal:
        os.kill(os.getpid(), signal.SIGKILL)
    return judge(*arguments)

tuning.judge = dying
found = tune(
    SeasonalNaive(horizon=2, lookback=70), panel, RollingOrigin(n_splits=2, horizon=2, stride=20),
    {"season": IntDistribution(1, 60)}, n_trials=n_trials, storage=storage, random_state=0,
)
print(found.number, len(judged))
"""


def searching(folder: Path, panel: pl.DataFrame, n_trials: int, fatal: int = 0) -> subprocess.Popen:
    panel.write_parquet(folder / f"{time.monotonic_ns()}.parquet")
    arguments = [str(max(folder.glob("*.parquet"))), str(folder / "study.journal"), str(n_trials), str(fatal)]
    return subprocess.Popen(
        [sys.executable, "-W", "error::UserWarning", "-c", SCRIPT, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_killed_search_continues_and_ends_as_if_it_had_not_been_killed(small, tmp_path, found):
    killed = searching(tmp_path, small, 14, fatal=4)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    with open(tmp_path / "study.journal", "ab") as journal:
        journal.write(b'{"op_code": 5, "half a li')  # killed while it wrote
    resumed = tune(NAIVE, small, CV, SEASONS, n_trials=14, storage=tmp_path / "study.journal")
    (lost,) = (k for k, trial in enumerate(resumed.trials) if trial.state == "interrupted")
    assert lost == 3
    assert [s for k, s in enumerate(settings_of(resumed)) if k != lost] == settings_of(found)
    assert (resumed.looked_at, resumed.settings, resumed.value) == (14, found.settings, found.value)
    again = tune(NAIVE, small, CV, SEASONS, n_trials=14, storage=tmp_path / "study.journal")
    assert len(again.trials) == 15  # nothing left to do


def test_processes_share_one_study_without_doubles_and_one_that_dies_is_replaced(small, tmp_path):
    processes = [searching(tmp_path, small, 16, fatal) for fatal in (0, 3)]
    outputs = [process.communicate() for process in processes]
    assert processes[0].returncode == 0, outputs[0][1]
    assert processes[1].returncode in (0, -signal.SIGKILL)
    seen = tuning.trials_of(
        optuna.load_study(study_name="tidecast", storage=trials.open_storage(tmp_path / "study.journal")), 1.0
    )
    judged = [trial.settings["season"] for trial in seen if trial.state in ("complete", "pruned")]
    assert len(judged) == len(set(judged)) == 16
    assert {trial.state for trial in seen} <= {"complete", "pruned", "interrupted"}


def test_a_worker_on_another_host_is_taken_for_dead_when_it_was_silent_for_long():
    study, now = optuna.create_study(), time.time()
    marks = {"silent": {trials.BEAT: now - 2 * trials.SILENT}, "alive": {trials.BEAT: now - 60}, "new": {}}
    for name, beat in marks.items():
        trial = study.ask({"season": IntDistribution(1, 60)})
        trial.set_user_attr(trials.WORKER, f"another-host:{name}")
        for key, value in beat.items():
            trial.set_user_attr(key, value)
    silent = study.get_trials()[0]
    with trials.Worker() as worker:
        trials.Queue(study, SearchSpace(NAIVE, SEASONS, None), 9, 0, worker).take_over()
    states = [trial.state for trial in study.get_trials()]
    assert states == [TrialState.FAIL, TrialState.RUNNING, TrialState.RUNNING, TrialState.WAITING]
    assert trials.settings_of(study.get_trials()[3]) == silent.params
    study.tell(silent.number, 1.0, skip_if_finished=True)  # should it be alive nevertheless: nothing happens
    assert study.get_trials()[0].state == TrialState.FAIL


def test_jobs_are_processes_of_one_search_whose_study_stays(small):
    changes = []
    found = tune(NAIVE, small, CV, SEASONS, n_trials=9, n_jobs=2, on_change=changes.append)
    assert found.looked_at == found.count("complete", "pruned") == len(set(settings_of(found))) == 9
    assert changes[-1] == list(found.trials)
    assert found.study.best_trial.number == found.number
    assert found.table().columns == ["number", "state", "value", "skill", "seconds", "season", "why"]


def test_what_a_listener_raises_ends_in_an_error(small):
    def fail(seen):
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        tune(NAIVE, small, CV, SEASONS, n_trials=2, on_change=fail)


def test_a_study_that_was_judged_on_something_else_is_refused(small, tmp_path):
    kept = {"search_space": SEASONS, "storage": f"sqlite:///{tmp_path}/study.db", "n_trials": 2}
    tune(NAIVE, small, CV, **kept)
    with pytest.raises(ValueError, match="another loss of the random walk"):
        tune(NAIVE, small.with_columns(close=pl.col("close") ** 1.1), CV, **kept)
    with pytest.raises(ValueError, match="another model"):
        tune(clone(NAIVE).set_params(lookback=71), small, CV, **kept)
    assert tune(NAIVE, small, CV, **kept).looked_at == 2
