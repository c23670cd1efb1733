"""Model folders from strangers, from earlier versions, and damaged ones."""

import json
import shutil
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from sklearn.pipeline import make_pipeline

from tests.conftest import make_random_walks
from tidecast import features, forecasting
from tidecast.features import LogReturn, PanelTransformer, PriceFeatures
from tidecast.forecasting import GRUForecaster, GRURegressor, RandomWalk, load_forecaster
from tidecast.forecasting.saving.model_files import DIGEST, digest_of
from tidecast.forecasting.saving.saved_classes import UnreadableModel, class_of, name_of

SAVED = Path(__file__).parents[1] / "saved"
CHECKPOINT = {"class": "Training", "settings": {"checkpoint": "x"}}
SMALL = {"horizon": 2, "lookback": 8, "quantiles": (0.1, 0.5, 0.9), "hidden_size": 4, "max_epochs": 1}


class Gap(PanelTransformer):
    """A user's own features."""

    min_history = 2

    def expressions(self):
        return {"gap": (pl.col("close") / pl.col("close").shift()).log()}


@pytest.fixture(scope="module")
def prices():
    return make_random_walks(2, 120)


@pytest.fixture(scope="module")
def saved(prices, tmp_path_factory):
    """A network, saved."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    features = make_pipeline(LogReturn(), PriceFeatures())
    GRUForecaster(**SMALL, features=features).fit(prices).save(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of it."""
    return shutil.copytree(saved, tmp_path / "model")


def forged(folder, change):
    """The folder after `change(description)`, with a digest that fits."""
    description = json.loads((folder / "model.json").read_text())
    change(description)
    description[DIGEST] = digest_of(description, (folder / "weights.safetensors").read_bytes())
    (folder / "model.json").write_text(json.dumps(description))
    return folder


def loaded_or_refused(folder):
    """The model; None for one clear error. Any other error is raised."""
    try:
        return load_forecaster(folder)
    except UnreadableModel:
        return None


# ------------------------------------------------------------------ earlier versions
@pytest.mark.parametrize("name", ["gru", "lstm_pipeline", "random_walk"])
def test_a_forecaster_saved_before_there_were_digests_loads_forecasts_the_same_and_says_so(name):
    with pytest.warns(UserWarning, match="has no digest, because an earlier version saved it"):
        model = load_forecaster(SAVED / name)
    before = pl.read_csv(SAVED / f"{name}.csv", try_parse_dates=True)
    assert_frame_equal(model.predict(), before, check_dtypes=False, rel_tol=1e-6)


def test_a_regressor_saved_before_there_were_digests_loads_and_predicts_the_same():
    with pytest.warns(UserWarning, match="no digest"):
        model = GRURegressor.load(SAVED / "gru_regressor")
    X = np.random.default_rng(0).normal(size=(40, 6, 1))
    before = pl.read_csv(SAVED / "gru_regressor.csv")["prediction"].to_numpy()
    np.testing.assert_allclose(model.predict(X), before, rtol=1e-6)


def test_saving_it_again_gives_it_a_digest(tmp_path):
    with pytest.warns(UserWarning, match="no digest"):
        load_forecaster(SAVED / "gru").save(tmp_path)
    load_forecaster(tmp_path)  # warnings are errors here
    recipe = json.loads((tmp_path / "model.json").read_text())["recipe"]
    assert recipe["class"] == "GRUForecaster"


# ------------------------------------------------------------------ names
def test_a_module_that_a_model_names_is_never_imported(folder, tmp_path, monkeypatch):
    (tmp_path / "evilmod.py").write_text("from pathlib import Path\nPath(__file__).with_name('ran').touch()\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("evilmod:Model", "evilmod:GRUForecaster", "features.evilmod:Model", "evilmod"):

        def names_it(description, name=name):
            description["recipe"]["settings"]["features"] = {"class": name, "settings": {}}

        with pytest.raises(UnreadableModel, match="public classes and classes passed as trusted"):
            load_forecaster(forged(folder, names_it))
    assert not (tmp_path / "ran").exists()
    assert "evilmod" not in sys.modules


def test_features_of_ones_own_load_only_when_they_are_passed_as_trusted(prices, tmp_path):
    model = GRUForecaster(**SMALL, features=make_pipeline(LogReturn(), Gap())).fit(prices)
    model.save(tmp_path)
    with pytest.raises(UnreadableModel, match=r"found '.*:Gap'. If you trust it, import it .* trusted=\[Gap\]"):
        load_forecaster(tmp_path)
    for back in (load_forecaster(tmp_path, trusted=[Gap]), GRUForecaster.load(tmp_path, trusted=[Gap])):
        assert back.predict().equals(model.predict())


@pytest.mark.parametrize("name", [*forecasting.__all__, *features.__all__])
def test_every_public_estimator_is_saved_by_its_public_name(name):
    found = getattr(forecasting, name, None) or getattr(features, name)
    if hasattr(found, "get_params") and name != "PanelTransformer":
        assert name_of(found) == name
        assert class_of(name) is found
        assert class_of(f"{found.__module__}:{name}") is found  # as earlier versions wrote it


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: model["recipe"]["settings"].update(nonsense=1), "found 'nonsense' in the saved model"),
        (lambda model: model["recipe"]["settings"].update(training=CHECKPOINT), "found 'checkpoint'"),
        (lambda model: model["recipe"]["settings"]["features"]["settings"].update(memory="/tmp/x"),
         "Pipeline must have no memory"),
        (lambda model: model["recipe"]["settings"].update(horizon="two"), "horizon must be a whole number"),
        (lambda model: model.pop("calendar"), "damaged or do not fit together .KeyError: 'calendar'"),
        (lambda model: model.update(format="3"), "format as a whole number, found '3'"),
        (lambda model: model.update(series_id_type="read_csv"), "type of polars .*, found 'read_csv'"),
        (lambda model: model.update(series_id=["A", "A"]), "name each series once"),
        (lambda model: model.update(recipe=7), "must hold a forecaster, found a int"),
    ],
)  # fmt: skip
def test_a_forged_description_is_one_clear_error(change, message, folder):
    with pytest.raises(ValueError, match=message):
        load_forecaster(forged(folder, change))


# ------------------------------------------------------------------ sizes
@pytest.mark.parametrize(
    "sizes",
    [
        {"hidden_size": 20_000},
        {"hidden_size": 10**30},
        {"num_layers": 10**9},
        {"kernel_size": 10**9},
        {"horizon": 10**9},
        {"hidden_size": 5},
        {"quantiles": [0.1, 0.2, 0.5, 0.9]},
    ],
)
def test_sizes_that_the_tensors_do_not_have_are_refused_before_anything_is_allocated(sizes, folder):
    forged(folder, lambda model: model["recipe"]["settings"].update(sizes))
    began = time.process_time()
    with pytest.raises(UnreadableModel):
        load_forecaster(folder)
    assert time.process_time() - began < 5


def test_sizes_of_a_regressor_are_checked_too(tmp_path):
    X = np.random.default_rng(0).normal(size=(40, 6, 1))
    GRURegressor(hidden_size=4, max_epochs=1).fit(X, X[:, -1, 0]).save(tmp_path)
    forged(tmp_path, lambda model: model["recipe"]["settings"].update(hidden_size=20_000))
    with pytest.raises(UnreadableModel, match="must be float64 of shape"):
        GRURegressor.load(tmp_path)


def test_a_model_for_a_device_that_is_not_here_loads(folder):
    forged(folder, lambda model: model["recipe"]["settings"].update(device="cuda"))
    assert load_forecaster(folder).device == "cuda"


# ------------------------------------------------------------------ damage
@pytest.mark.parametrize("file", ["model.json", "weights.safetensors"])
def test_a_flipped_bit_anywhere_is_one_clear_error_or_changes_nothing(file, saved, folder):
    expected, whole = load_forecaster(saved).predict(), (saved / file).read_bytes()
    generator = np.random.default_rng(0)
    n_refused = 0
    for position in generator.choice(len(whole), 150, replace=False):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << int(generator.integers(8))
        (folder / file).write_bytes(flipped)
        model = loaded_or_refused(folder)
        n_refused += model is None
        assert model is None or model.predict().equals(expected)
    assert n_refused > 100


@pytest.mark.parametrize("file", ["model.json", "weights.safetensors"])
@pytest.mark.parametrize("keep", [0, 1, 100, -2])
def test_a_file_that_is_cut_off_is_one_clear_error(file, keep, folder):
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(whole[:keep])
    with pytest.raises(UnreadableModel, match=r"damaged|digest differs"):
        load_forecaster(folder)


def test_damage_to_a_model_without_a_digest_is_one_clear_error_or_goes_unnoticed_but_never_a_panic(tmp_path):
    folder = shutil.copytree(SAVED / "lstm_pipeline", tmp_path / "model")
    for file in ("model.json", "weights.safetensors"):
        whole = (SAVED / "lstm_pipeline" / file).read_bytes()
        generator = np.random.default_rng(1)
        for position in generator.choice(len(whole), 150, replace=False):
            flipped = bytearray(whole)
            flipped[position] ^= 1 << int(generator.integers(8))
            (folder / file).write_bytes(flipped)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                loaded_or_refused(folder)
        (folder / file).write_bytes(whole)


def test_the_weights_of_another_model_are_refused(prices, folder, tmp_path):
    RandomWalk(horizon=2, lookback=8).fit(prices).save(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "weights.safetensors", folder)
    with pytest.raises(UnreadableModel, match="its digest differs"):
        load_forecaster(folder)


def test_a_folder_without_weights_is_refused(folder):
    (folder / "weights.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"found no weights\.safetensors there"):
        load_forecaster(folder)
