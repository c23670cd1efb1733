"""Save and load, exactly, without pickle; pickle and joblib too."""

import io
import json
import pickle
from datetime import datetime

import joblib
import numpy as np
import polars as pl
import pytest
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from tests.forecasting import models
from tests.forecasting.models import NETWORK
from tidecast.features import LogReturn, PanelSchema, PriceFeatures, RollingVolatility
from tidecast.forecasting import Drift, GRUForecaster, RandomWalk, SeasonalNaive, load_forecaster
from tidecast.forecasting.saving.model_files import digest_of

FORECASTERS = dict(models.FORECASTERS)
FORECASTERS["two layers, other features"] = GRUForecaster(
    **NETWORK,
    num_layers=2,
    dropout=0.1,
    quantiles=[0.1, 0.9],
    schema=PanelSchema(calendar="weekdays", positive=False, covariates=["news"]),
    features=make_pipeline(LogReturn(), RollingVolatility(5), PriceFeatures()),
)

every = pytest.mark.parametrize("name", FORECASTERS)


@pytest.fixture(scope="module")
def prices(breathing):
    return breathing.with_columns(news=pl.int_range(pl.len()) % 7)


@pytest.fixture(scope="module")
def fitted(prices):
    return {name: clone(model).fit(prices) for name, model in FORECASTERS.items()}


def by_pickle(model, folder):
    return pickle.loads(pickle.dumps(model))


def by_joblib(model, folder):
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return joblib.load(file)


def by_folder(model, folder):
    model.save(folder)
    return load_forecaster(folder)


def rewritten(folder, **changes):
    """The folder with other values in its model.json, as somebody forges them: with a digest that fits."""
    description = json.loads((folder / "model.json").read_text()) | changes
    description["digest"] = digest_of(description, (folder / "weights.safetensors").read_bytes())
    (folder / "model.json").write_text(json.dumps(description))
    return folder


@every
@pytest.mark.parametrize("way", [by_folder, by_pickle, by_joblib])
def test_what_comes_back_is_the_same_to_the_bit(name, way, fitted, prices, tmp_path):
    model = fitted[name]
    back = way(model, tmp_path / "model")
    assert type(back) is type(model)
    assert back.predict().equals(model.predict())
    assert back.predict(prices, origins="all").equals(model.predict(prices, origins="all"))
    assert back.recipe() == model.recipe()
    assert (back.fit_end_, back.quantiles_, back.skipped_) == (model.fit_end_, model.quantiles_, model.skipped_)
    assert back.calendar_ == model.calendar_
    if hasattr(model, "learning_curve_"):
        assert back.learning_curve_.equals(model.learning_curve_)
        assert back.inputs_ == model.inputs_
    assert clone(back).fit(prices).predict().equals(model.predict())


@every
def test_saving_twice_gives_the_same_files_and_they_are_json_and_safetensors(name, fitted, tmp_path):
    for folder in ("one", "two"):
        fitted[name].save(tmp_path / folder)
    fitted[name].save(tmp_path / "two")  # over what is there
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["model.json", "weights.safetensors"]
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    assert json.loads((tmp_path / "one" / "model.json").read_text())["format"] == 3


@pytest.mark.parametrize("series", ["<script>", "../x", "", "Ünï çødé 😀", 'a"b\n', "/etc/passwd"])
def test_the_name_of_a_series_is_data(series, prices, tmp_path):
    model = RandomWalk(lookback=16).fit(prices.filter(series_id="A").with_columns(series_id=pl.lit(series)))
    model.save(tmp_path / "model")
    assert RandomWalk.load(tmp_path / "model").predict()["series_id"].unique().to_list() == [series]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["model", "model.json", "weights.safetensors"]


def test_integer_names_pandas_and_hours_come_back_as_they_were(prices, tmp_path):
    hours = pl.datetime_range(datetime(2024, 1, 1), datetime(2024, 1, 14, 7), "1h", eager=True)
    hourly = prices.with_columns(
        pl.col("series_id").replace_strict({"A": 1, "B": 2, "C": 3, "D": 4}, return_dtype=pl.Int16),
        time=pl.concat([hours] * 4),
    )
    model = RandomWalk(lookback=16).fit(hourly)
    assert by_folder(model, tmp_path / "hours").predict().equals(model.predict())
    model = RandomWalk(lookback=16).fit(prices.to_pandas())
    assert by_folder(model, tmp_path / "pandas").predict().equals(model.predict())


def test_a_forecaster_without_an_origin_at_the_end_comes_back_too(prices, tmp_path):
    late = pl.int_range(pl.len()).over("series_id") >= 310
    paused = prices.with_columns(time=pl.when(late).then(pl.col("time").dt.offset_by("52w")).otherwise("time"))
    model = GRUForecaster(**NETWORK).fit(paused)
    back = by_folder(model, tmp_path)
    assert back.skipped_ == ("A", "B", "C", "D")
    origins = [paused["time"][300]]
    assert back.predict(paused, origins=origins).equals(model.predict(paused, origins=origins))


def test_settings_that_are_plain_lists_keep_the_recipe_equal(prices, tmp_path):
    model = RandomWalk(lookback=16, quantiles=[0.1, 0.9]).fit(prices)
    back = by_folder(model, tmp_path)
    assert back.quantiles == (0.1, 0.9)
    assert back.recipe() == model.recipe()


# ------------------------------------------------------------------ refusals
def test_an_unfitted_forecaster_is_not_saved(tmp_path):
    with pytest.raises(NotFittedError):
        RandomWalk().save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"must hold model\.json and weights\.safetensors"):
        load_forecaster(tmp_path)


def test_newer_and_older_formats_are_refused(fitted, tmp_path):
    fitted["RandomWalk"].save(tmp_path)
    with pytest.raises(ValueError, match=r"format 4; this Tidecast reads up to 3\. Upgrade"):
        load_forecaster(rewritten(tmp_path, format=4))
    with pytest.raises(ValueError, match=r"format 1, which holds no state .* Fit the forecaster again"):
        load_forecaster(rewritten(tmp_path, format=1))


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ("os:system", "public classes and classes passed as trusted, found 'os:system'"),
        ("builtins:eval", "public classes and classes passed as trusted"),
        ("pathlib:Path", "public classes and classes passed as trusted"),
        ("subprocess:Popen", "public classes and classes passed as trusted"),
        ("sklearn.linear_model:Ridge", r"pass it: load_forecaster\(path, trusted=\[Ridge\]\)"),
        ("no_such_module:Model", "If you trust it, import it"),
        ("tidecast.forecasting.forecasters.baselines:Walk", "found 'tidecast.forecasting.forecasters.baselines:Walk'"),
        ("QuantileForecaster", "found 'QuantileForecaster', which is neither"),
        ("GRURegressor", "must hold a forecaster, found a GRURegressor"),
        (7, "must name its classes, found 7"),
    ],
)
def test_a_foreign_class_is_refused(found, message, fitted, tmp_path):
    fitted["RandomWalk"].save(tmp_path)
    with pytest.raises(ValueError, match=message):
        load_forecaster(rewritten(tmp_path, recipe={"class": found, "settings": {}}))


def test_a_class_loads_its_own_kind_only(fitted, tmp_path):
    fitted["Drift"].save(tmp_path)
    assert isinstance(Drift.load(tmp_path), Drift)
    with pytest.raises(TypeError, match="must hold a SeasonalNaive, found a Drift"):
        SeasonalNaive.load(tmp_path)


def test_features_that_no_module_has_cannot_be_saved_and_it_is_said(prices, tmp_path):
    class Homemade(TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):
        def fit(self, X, y=None):
            return self

        def transform(self, X):
            return X.with_columns(flat=pl.lit(1.0))

    model = GRUForecaster(**NETWORK, features=Homemade()).fit(prices)
    with pytest.raises(ValueError, match="must live in a module that can be imported"):
        model.save(tmp_path / "model")
    with pytest.raises(ValueError, match="must live in a module"):
        model.recipe()


def test_a_setting_that_json_cannot_hold_is_named(prices, tmp_path):
    model = GRUForecaster(**NETWORK, random_state=np.random.RandomState(0)).fit(prices)
    with pytest.raises(TypeError, match="Give random_state as a whole number"):
        model.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()
