"""Columns that a Pipeline's transformers make: inputs when they are named, a warning when they are not."""

import warnings

import polars as pl
import pytest
from sklearn.pipeline import make_pipeline

from tests.conftest import make_random_walks
from tests.forecasting.models import BASELINES, every_network, model_of
from tidecast.features import LogReturn, PanelSchema, PriceFeatures, RollingMean
from tidecast.features.frame_notes import note_of
from tidecast.forecasting import GRUForecaster, load_forecaster

PANEL = make_random_walks(n_series=2, n_rows=160, seed=6)
PAST = PANEL.filter(pl.col("time") < PANEL["time"].unique().sort()[-20])
NEXT = PANEL.join(PAST, on=["series_id", "time"], how="anti")
NAMED = PanelSchema(covariates=("log_return_5",))
SMALL = {"lookback": 8, "hidden_size": 4, "max_epochs": 1, "horizon": 2}


def made(frame):
    return note_of(frame, "made")


@every_network
@pytest.mark.parametrize("kind", ["polars", "pandas"])
def test_a_column_that_is_made_and_not_named_is_warned_of(name, kind):
    panel = PAST if kind == "polars" else PAST.to_pandas()
    pipeline = make_pipeline(LogReturn(5), RollingMean(7), model_of(name, **SMALL))
    message = rf"{name} does not see 'log_return_5', '.*mean.*PanelSchema\(covariates=\('log_return_5', .*features="
    with pytest.warns(UserWarning, match=message):
        pipeline.fit(panel)
    assert not [name for name in pipeline[-1].inputs_ if name.startswith("log_return")]


@pytest.mark.parametrize(
    "settings", [{"schema": NAMED}, {"features": LogReturn(5)}, {"features": RollingMean(3, "log_return_5")}]
)
def test_a_column_that_is_an_input_one_way_or_another_is_not_warned_of(settings):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_pipeline(LogReturn(5), GRUForecaster(**SMALL, **settings)).fit(PAST)


def test_plain_columns_of_a_panel_and_baselines_are_not_warned_of():
    columns = {name: pl.col("close") for name in ("open", "high", "low", "vix")}
    plain = PAST.with_columns(**columns, volume=pl.lit(1.0), calendar=pl.lit("24/7"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GRUForecaster(**SMALL).fit(plain)
        make_pipeline(PriceFeatures(), GRUForecaster(**SMALL)).fit(plain)  # the very columns that it makes itself
        for name in BASELINES:
            make_pipeline(LogReturn(5), model_of(name, lookback=8)).fit(plain)


def test_a_column_that_a_later_transformer_reads_has_been_used():
    steps = make_pipeline(LogReturn(5), RollingMean(3, target="log_return_5"))
    names = made(steps.fit_transform(PAST.to_pandas()))
    assert names == made(steps.fit_transform(PAST))
    assert len(names) == 1
    assert names != ["log_return_5"]


def test_a_transformer_leaves_no_note_on_what_it_was_given():
    for panel in (PAST.clone(), PAST.to_pandas()):
        LogReturn().fit(panel).transform(panel)
        assert made(panel) is None


def test_what_a_pipeline_loses_is_had_with_features(tmp_path):
    pipeline = make_pipeline(LogReturn(5), GRUForecaster(**SMALL, schema=NAMED)).fit(PAST)
    assert pipeline.predict(PANEL).height == 4
    model = pipeline[-1]
    model.save(tmp_path)
    uses = {
        "predict": lambda model: model.predict(PANEL),
        "sample": lambda model: model.sample(3, PANEL),
        "update": lambda model: model.update(NEXT),
        "partial_fit": lambda model: model.partial_fit(PANEL.to_pandas()),
        "score": lambda model: model.score(PANEL),
        "memory_profile": lambda model: model.memory_profile(PANEL, 4, 4),
    }
    for one in (model, load_forecaster(tmp_path)):
        for use in uses.values():
            with pytest.raises(
                ValueError, match=r"made in fit; 'log_return_5' not found.*features=.*update, sample and sav"
            ):
                use(one)
    whole = GRUForecaster(**SMALL, features=LogReturn(5)).fit(PAST)
    assert whole.update(NEXT).predict().height == 4
