"""Forecast tables that are evaluated as what they are: target, kind of price, types, levels, and what is not known."""

import math
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from tests.conftest import make_random_walks
from tests.forecasting.models import model_of
from tidecast.features import PanelSchema
from tidecast.features.frame_notes import note_of, with_note
from tidecast.forecasting import RandomWalk, RollingOrigin, backtest, evaluate

PANEL = make_random_walks(n_series=2, n_rows=200, seed=4).with_columns(open=pl.col("close") * 1.5 + 1)
PAST = PANEL.filter(pl.col("time") < PANEL["time"].unique().sort()[-40])
MODEL = RandomWalk(horizon=2, lookback=10).fit(PAST)
TABLE = MODEL.predict(PANEL, origins="new")
PLAIN = TABLE.select(pl.all())  # another frame, without notes


def pooled(evaluation):
    return evaluation.summary.filter(group="pooled").row(0, named=True)


# ------------------------------------------------------------------ what a table is of
@pytest.mark.parametrize("settings", [{"schema": PanelSchema(positive=False)}, {"target": "open"}, {}])
@pytest.mark.parametrize("kind", ["polars", "pandas"])
def test_evaluate_knows_what_the_model_forecast(settings, kind):
    panel = PANEL if kind == "polars" else PANEL.to_pandas()
    model = RandomWalk(horizon=2, lookback=10, **settings).fit(PAST)
    table = model.predict(panel, origins="new")
    found = evaluate(table, panel).losses["crps"].mean()
    assert -found == pytest.approx(model.score(PANEL))
    stated = {"target": settings.get("target", "close"), "positive": "schema" not in settings}
    assert evaluate(table, panel, **stated).losses["crps"].mean() == found
    for name, value in (("target", "volume"), ("positive", not stated["positive"])):
        with pytest.raises(ValueError, match=rf"{name} must be as in the model .*, {stated[name]!r}; got {value!r}"):
            evaluate(table, panel, **{name: value})


def test_a_backtest_says_what_it_is_of():
    settings = {"target": "open", "schema": PanelSchema(positive=False)}
    model = model_of("Drift", horizon=2, lookback=10, **settings)
    table = backtest(model, PANEL, RollingOrigin(n_splits=1, horizon=2, stride=20))
    stated = evaluate(table.select(pl.all()), PANEL, "open", positive=False)
    assert evaluate(table, PANEL).losses.equals(stated.losses)
    with pytest.raises(ValueError, match="target must be as in the model"):
        evaluate(table, PANEL, "close")


def test_a_table_without_a_note_is_of_positive_closes_unless_its_quantiles_say_otherwise():
    assert evaluate(PLAIN, PANEL).losses.equals(evaluate(TABLE, PANEL).losses)
    below = PLAIN.with_columns(pl.col("q0.05") - pl.col("forecast"))
    with pytest.raises(ValueError, match=r"positive must be given for forecasts at or below zero, found in \d+ of"):
        evaluate(below, PANEL)
    assert len(evaluate(below, PANEL, positive=True).losses) == len(evaluate(below, PANEL, positive=False).losses)


def test_notes_stay_on_the_frame_that_they_were_put_on():
    for frame in (PLAIN.clone(), PLAIN.to_pandas()):
        assert with_note(with_note(frame, "a", 1), "b", [2]) is frame
        assert (note_of(frame, "a"), note_of(frame, "b"), note_of(frame, "c", 3)) == (1, [2], 3)
    assert note_of(frame[frame["step"] == 1], "a") == 1  # pandas keeps it
    assert note_of(PLAIN, "a") is None


# ------------------------------------------------------------------ what is not known is null
def test_a_table_of_medians_alone_has_no_coverage_and_no_interval_score():
    found = evaluate(TABLE.select("series_id", "origin", "step", "time", "forecast"), PANEL)
    assert found.losses["covered"].null_count() == len(found.losses)
    summary = pooled(found)
    assert summary["coverage"] is None
    assert summary["interval_score"] is None
    assert summary["mae"] == pooled(evaluate(TABLE, PANEL))["mae"]


@pytest.mark.parametrize("level", ["q0.05", "q0.95"])
def test_levels_on_one_side_of_the_median_make_no_interval(level):
    found = evaluate(TABLE.select("series_id", "origin", "step", "time", "forecast", level), PANEL)
    assert (pooled(found)["coverage"], pooled(found)["interval_score"]) == (None, None)
    assert pooled(found)["pinball"] > 0


def test_other_outermost_levels_have_the_coverage_between_them():
    table = TABLE.select("series_id", "origin", "step", "time", "forecast", "q0.25", "q0.7")
    losses = evaluate(table, PANEL).losses
    truth = table.join(PANEL.select("series_id", "time", truth="close"), on=["series_id", "time"])
    inside = truth.select(pl.col("truth").is_between("q0.25", "q0.7")).to_series()
    assert losses["covered"].to_list() == inside.to_list()


@pytest.mark.parametrize("bad", [None, math.nan])
@pytest.mark.parametrize("column", ["forecast", "q0.05", "q0.95"])
def test_a_missing_forecast_makes_the_mean_unknown_and_not_smaller(bad, column):
    first = pl.int_range(pl.len()) == 0
    found = evaluate(TABLE.with_columns(pl.when(first).then(pl.lit(bad)).otherwise(column).alias(column)), PANEL)
    assert not math.isfinite(found.losses["crps"][0])
    summary = pooled(found)
    assert summary["crps"] is None
    unknown = ("mae", "direction", "rmse") if column == "forecast" else ("coverage", "interval_score")
    assert all(summary[name] is None for name in unknown)
    if column != "forecast":
        assert found.losses["covered"][0] is None


def test_a_column_of_nothing_is_missing_everywhere():
    found = evaluate(TABLE.with_columns(pl.lit(None).alias("q0.05")), PANEL)
    assert pooled(found)["crps"] is None
    assert pooled(found)["coverage"] is None


def test_forecasts_that_have_not_come_true_have_no_losses():
    table = MODEL.predict(PAST).with_columns(pl.col("time") + timedelta(days=4000))
    for known in (PANEL, PAST):
        found = evaluate(table, known)
        assert len(found.losses) == len(found.summary.filter(group="series")) == 0


# ------------------------------------------------------------------ what cannot be right is refused
SPOILED = {
    "'step' must hold whole numbers": {"step": pl.col("step") + 0.5},
    "'step' must hold whole numbers from 1": {"step": pl.col("step") - 1},
    "'origin' must hold dates or datetimes, got String": {"origin": pl.col("origin").cast(pl.String)},
    "'time' must hold days as the panel's": {"time": pl.col("time").cast(pl.Datetime("us")) + pl.duration(hours=1)},
    "'series_id' must hold String as in the panel, got Int": {"series_id": pl.lit(1)},
    "'forecast' must hold numbers, got String": {"forecast": pl.lit("1.0")},
    "'q0.1' must hold numbers, got Boolean": {"q0.1": pl.lit(True)},
    "'origin' must be known in every forecast, it is missing in": {"origin": pl.lit(None, pl.Date)},
    "time of a forecast must lie after its origin": {"time": pl.col("origin")},
    "quantiles that rise with their levels": {"q0.05": pl.col("q0.95"), "q0.95": pl.col("q0.05")},
    "A level must have one column; 0.1 has": {"q0.10": pl.col("q0.1")},
    "A level must have one column; 0.5 has": {"q0.5": pl.col("forecast")},
}


@pytest.mark.parametrize("message", SPOILED)
def test_a_table_that_cannot_be_right_is_refused(message):
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        evaluate(TABLE.with_columns(**SPOILED[message]), PANEL)


def test_integers_as_names_must_be_those_of_the_panel():
    named = PANEL.with_columns(series_id=pl.when(series_id="A").then(3).otherwise(5).cast(pl.Int8))
    table = RandomWalk(horizon=2, lookback=10).fit(named.head(150)).predict(named, origins="all")
    wide = table.with_columns(pl.col("series_id").cast(pl.Int64))
    assert len(evaluate(wide, named).losses) == len(evaluate(table, named).losses) > 0
    with pytest.raises(ValueError, match=r"Every series must be in the panel; .*1000.* are not"):
        evaluate(wide.with_columns(series_id=pl.lit(1000)), named)


def test_names_of_levels_and_types_of_pandas_are_read():
    expected = evaluate(TABLE, PANEL).losses
    other = TABLE.rename({"q0.1": "q0.10", "q0.2": "q0.200"}).with_columns(
        pl.col("step").cast(pl.Float64), pl.col("origin", "time").cast(pl.Datetime("ms")),
        pl.col("series_id").cast(pl.Categorical),
    )  # fmt: skip
    assert evaluate(other, PANEL).losses.equals(expected)
    stamped = TABLE.with_columns(pl.col("time", "origin").cast(pl.Datetime("us")).dt.replace_time_zone("Asia/Tokyo"))
    assert evaluate(stamped, PANEL).losses.equals(expected)


def test_hours_of_a_zone_are_read_in_utc():
    hours = pl.datetime_range(datetime(2024, 1, 1), datetime(2024, 1, 6), "1h", eager=True)
    steps = np.random.default_rng(0).normal(size=len(hours))
    panel = pl.DataFrame({"series_id": "a", "time": hours, "close": np.exp(0.01 * steps.cumsum())})
    table = (
        RandomWalk(horizon=2, lookback=10, schema=PanelSchema(calendar="every 1h")).fit(panel[:90]).predict(panel[:90])
    )
    assert table["origin"][0] > datetime.combine(date(2024, 1, 4), datetime.min.time())
    away = table.with_columns(
        pl.col("origin", "time").dt.replace_time_zone("UTC").dt.convert_time_zone("America/New_York")
    )
    assert evaluate(away, panel).losses.equals(evaluate(table, panel).losses)
