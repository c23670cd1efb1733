"""A fit that was killed goes on from its checkpoint and ends with the bits of one that was not."""

import json
import logging
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from tidecast.forecasting import GRUForecaster, GRURegressor, Training
from tidecast.forecasting.forecasters.recurrent import FORECASTERS
from tidecast.forecasting.network.checkpoints import Checkpoint, fingerprint
from tidecast.forecasting.saving.recipes import encode

SETTINGS = {"lookback": 16, "hidden_size": 8, "num_layers": 2, "dropout": 0.2, "batch_size": 16, "max_epochs": 4}

KILLED = """
import sys
import numpy as np
from tidecast.forecasting import GRURegressor, Training

windows = np.random.default_rng(0).standard_normal((240, 6, 2))
settings = {"num_layers": 2, "dropout": 0.3, "max_epochs": 25, "early_stopping": True, "batch_size": 50}
model = GRURegressor(**settings, hidden_size=8, training=Training(patience=25, checkpoint=sys.argv[1]))
if __name__ == "__main__":
    model.fit(windows, windows[:, -1, 0])
"""


def die_after(epochs, monkeypatch):
    """Let the process's training stop as by a kill once so many checkpoints are written."""
    write, left = Checkpoint.write, [epochs]

    def write_and_die(self, *state):
        write(self, *state)
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "write", write_and_die)


def same(one, other):
    return all(torch.equal(one._learned()[name], other._learned()[name]) for name in one._learned())


def test_a_fit_that_was_killed_ends_with_the_bits_of_one_that_was_not(tmp_path, caplog):
    script, folder = tmp_path / "killed.py", tmp_path / "checkpoints"
    script.write_text(KILLED)
    process = subprocess.Popen([sys.executable, str(script), str(folder)])
    while not list(folder.glob("training-*.safetensors")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL

    names = {"__name__": "again"}
    sys.argv, before = [str(script), str(folder)], sys.argv
    try:
        exec(KILLED, names)
    finally:
        sys.argv = before
    model, windows = names["model"], names["windows"]
    with caplog.at_level(logging.INFO):
        model.fit(windows, windows[:, -1, 0])
    assert "Training resumes after epoch" in caplog.text
    assert not folder.exists()  # done: nothing is left behind
    undisturbed = model.__class__(**{**model.get_params(deep=False), "training": Training(patience=25)})
    undisturbed.fit(windows, windows[:, -1, 0])
    assert model.learning_curve_.equals(undisturbed.learning_curve_)
    assert np.array_equal(model.predict_quantiles(windows), undisturbed.predict_quantiles(windows))


@pytest.mark.parametrize("kind", FORECASTERS.values())
@pytest.mark.parametrize("average", [False, True])
def test_a_forecaster_continues_after_any_epoch(kind, average, breathing, tmp_path, monkeypatch):
    training = Training(checkpoint=str(tmp_path), average=average, patience=2)
    undisturbed = kind(**SETTINGS, training=Training(average=average, patience=2)).fit(breathing)
    model = kind(**SETTINGS, training=training)
    for epochs in (1, 2):  # it dies twice
        with monkeypatch.context() as patch:
            die_after(epochs, patch)
            with pytest.raises(KeyboardInterrupt):
                model.fit(breathing)
    assert same(model.fit(breathing), undisturbed)
    assert not tmp_path.exists()


def test_settings_or_data_that_differ_start_afresh_and_it_is_said(breathing, tmp_path, monkeypatch, caplog):
    model = GRUForecaster(**SETTINGS, training=Training(checkpoint=str(tmp_path)))
    with monkeypatch.context() as patch:
        die_after(1, patch)
        with pytest.raises(KeyboardInterrupt):
            model.fit(breathing)
    newer = breathing.with_columns(close=breathing["close"] * np.linspace(1.0, 1.001, len(breathing)))
    for fit in (lambda: model.set_params(learning_rate=1e-2).fit(breathing), lambda: model.fit(newer)):
        caplog.clear()
        assert fit().learning_curve_["epoch"][0] == 0
        assert "a checkpoint must have the same settings, data and versions" in caplog.text
    assert len(list(tmp_path.iterdir())) == 1  # the other training's is left to it


def test_a_checkpoint_is_replaced_whole_and_never_half_written(tmp_path, monkeypatch):
    checkpoint = Checkpoint(str(tmp_path), fingerprint({"a": 1}))
    checkpoint.write({"x": torch.arange(3.0)}, {"epoch": 1, "loss": float("inf")})
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            checkpoint.write({"x": torch.zeros(3)}, {"epoch": 2})
    tensors, state = checkpoint.read()
    assert torch.equal(tensors["x"], torch.arange(3.0))
    assert state == {"epoch": 1, "loss": float("inf")}


def test_a_fingerprint_differs_with_settings_shapes_types_and_numbers():
    numbers = np.arange(6.0)
    prints = [
        fingerprint(settings, array)
        for settings in ({"a": 1}, {"a": 2})
        for array in (numbers, numbers.reshape(2, 3), numbers.astype(np.float32), numbers[::-1], torch.ones(6))
    ]
    assert len(set(prints)) == 10
    assert fingerprint({"a": 1}, numbers[::2]) == fingerprint({"a": 1}, numbers[::2].copy())


def test_a_recipe_does_not_depend_on_where_checkpoints_lie(tmp_path):
    recipes = [GRUForecaster(training=Training(checkpoint=where)).recipe() for where in (None, str(tmp_path))]
    assert recipes[0] == recipes[1]
    assert "checkpoint" not in json.dumps(encode(Training(checkpoint="here")))


def test_a_checkpoint_needs_a_seed_that_can_be_repeated(breathing, tmp_path):
    for model in (GRUForecaster, GRURegressor):
        with pytest.raises(ValueError, match="With a checkpoint, random_state must be a whole number"):
            model(random_state=None, training=Training(checkpoint=str(tmp_path))).fit(breathing, breathing["close"])
