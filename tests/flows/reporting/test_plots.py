"""Pictures: drawn from the numbers given, readable for odd names, one series and many; global state is left alone."""

import re
import xml.etree.ElementTree as ElementTree
from datetime import date
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import polars as pl
import pytest

from tidecast.flows.reporting import calibration_plots, learning_plots, tuning_plots
from tidecast.flows.reporting import forecast_plots as plots
from tidecast.forecasting.forecasters.baselines import RandomWalk
from tidecast.forecasting.plotting.palette import INK

ODD = [
    "<script>alert(1)</script>",
    "$x$ \\frac{",
    "a name that goes on and on and never seems to end",
    "a&b--c",
    "日本",
]


@pytest.fixture(scope="module")
def odd_panel(random_walks):
    panel = random_walks(n_series=5, n_rows=120)
    return panel.with_columns(pl.col("series_id").replace_strict(dict(zip("ABCDE", ODD, strict=True))))


def summary_of(series, models=("GRU", "random_walk"), steps=3) -> pl.DataFrame:
    rows = []
    for model in models:
        numbers = {"model": model, "skill": 0.01, "skill_low": 0.003, "skill_high": 0.018, "coverage": 0.9}
        rows += [{"group": "step", "series_id": None, "step": step, **numbers} for step in range(1, steps + 1)]
        for place, name in enumerate(series):
            rows.append({"group": "series", "series_id": name, "step": None, **numbers, "skill": 0.01 - 0.005 * place})
    return pl.DataFrame(rows, infer_schema_length=None)


def words_in(svg: str) -> list[str]:
    return [
        "".join(element.itertext()) for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("text")
    ]


def test_a_fan_ends_where_the_forecast_does():
    prices = pl.DataFrame(
        {"series_id": "A", "time": pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 3, 29), eager=True)}
    )
    prices = prices.with_columns(close=pl.int_range(1, prices.height + 1).cast(pl.Float64))
    table = RandomWalk(horizon=2, lookback=16, quantiles=(0.05, 0.25, 0.75, 0.95)).fit(prices).predict()
    picture = plots.fans(prices, table, ["A"], sessions=10)
    (chart,) = picture.figure.axes
    past, ahead = (line.get_ydata() for line in chart.lines)
    assert list(past) == list(range(80, 90))
    assert list(ahead) == [89.0, *table["forecast"]]
    assert len(chart.collections) == 2
    assert "10 prices" in picture.reading
    assert "its 50 % and 90 % intervals" in picture.reading


def test_odd_names_are_text_in_every_picture(odd_panel):
    table = RandomWalk(horizon=2, lookback=16).fit(odd_panel).predict()
    for picture in (plots.fans(odd_panel, table, ODD), plots.skill_by_series(summary_of(ODD), "GRU")):
        svg = picture.svg()
        assert "<script" not in svg
        shown = words_in(svg)
        assert {ODD[0], ODD[1], "a name that goes on and o…", ODD[3]} <= set(shown)
        assert picture.png().startswith(b"\x89PNG")


@pytest.mark.parametrize("number", [1, 7, 45, 200])
def test_any_number_of_series_is_ranked(number):
    names = [f"S{place}" for place in range(number)]
    picture = plots.skill_by_series(summary_of(names), "GRU")
    labels = [label.get_text() for label in picture.figure.axes[0].get_yticklabels()]
    assert len(labels) == min(number, plots.MAX_SERIES)
    assert labels[-1] == "S0"  # the best is on top
    assert labels[0] == f"S{number - 1}"
    assert (f"{number - 60} series between" in picture.reading) == (number > 60)
    picture.svg()


def test_unknown_skill_is_left_out_and_unknown_errors_have_no_bar():
    summary = summary_of(["A", "B", "C"])
    known = pl.when(pl.col("series_id") != "B").then("skill").alias("skill")
    no_interval = dict.fromkeys(("skill_low", "skill_high"), pl.lit(None, pl.Float64))
    picture = plots.skill_by_series(summary.with_columns(known, **no_interval), "GRU")
    assert [label.get_text() for label in picture.figure.axes[0].get_yticklabels()] == ["C", "A"]
    picture.svg()
    nothing = summary.with_columns(skill=pl.lit(None, pl.Float64), **no_interval)
    plots.skill_by_series(nothing, "GRU").svg()
    plots.skill_by_step(nothing, ["GRU"]).svg()


def test_skill_by_step_shows_per_cent_with_its_interval():
    (chart,) = plots.skill_by_step(summary_of(["A"]), ["GRU"]).figure.axes
    (dots,) = chart.containers
    np.testing.assert_allclose(dots.lines[0].get_ydata(), [1.0, 1.0, 1.0])
    low, high = dots.lines[2][0].get_segments()[0][:, 1]
    np.testing.assert_allclose([low, high], [0.3, 1.8])


def test_reliability_shows_the_difference_to_what_was_promised_and_where_truths_fell():
    shares = pl.DataFrame({"model": "GRU", "level": [0.1, 0.5, 0.9], "share": [0.12, 0.5, 0.85]})
    gaps, pit = calibration_plots.reliability(shares).figure.axes
    np.testing.assert_allclose(gaps.lines[0].get_ydata(), [2.0, 0.0, -5.0])
    np.testing.assert_allclose(pit.patches[0].get_data().values, [1.2, 0.95, 0.875, 1.5])


def test_a_picture_of_one_model_once_did_not_name_it():
    shares = pl.DataFrame({"model": "random_walk", "level": [0.1, 0.9], "share": [0.12, 0.9]})
    assert calibration_plots.reliability(shares).title == "Reliability of the quantiles, random walk"
    both = pl.concat([shares, shares.with_columns(model=pl.lit("GRU"))])
    assert calibration_plots.reliability(both).title == "Reliability of the quantiles"


def test_the_history_of_a_search_once_hid_a_trial_below_an_empty_chart():
    """Only an outlier is left out, because it would flatten the others."""

    def history(*skills):
        trials = [SimpleNamespace(number=k, skill=skill / 100, state="complete") for k, skill in enumerate(skills)]
        picture = tuning_plots.optimisation_history(trials)
        return picture.figure.axes[0].get_ylim()[0], "very bad" in picture.reading

    bottom, hides = history(-0.04, -0.32, -0.01, 0.08)
    assert bottom < -0.32
    assert not hides
    bottom, hides = history(*[-0.04, -0.02, 0.01, 0.08] * 5, -9.0)
    assert -1 < bottom < -0.04
    assert hides


def test_learning_curves_are_drawn_with_and_without_validation_rows():
    epochs = {"epoch": [1, 2, 3], "train_loss": [0.3, 0.2, 0.1]}
    curves = {
        "RNN": pl.DataFrame({**epochs, "validation_loss": [0.4, 0.3, 0.35]}),
        "GRU": pl.DataFrame({**epochs, "validation_loss": pl.Series([None] * 3, dtype=pl.Float64)}),
    }
    held_back, training = learning_plots.learning_curves(curves).figure.axes
    assert list(held_back.lines[1].get_xdata()) == [2]  # the best epoch of the RNN
    assert len(held_back.lines) == 3  # the GRU has none
    assert [list(line.get_ydata()) for line in training.lines] == [[0.3, 0.2, 0.1]] * 2


def test_coverage_is_drawn_month_by_month_and_by_volatility():
    months = [date(2024, 1, 1), date(2024, 2, 1)]
    over_time = pl.DataFrame({"model": ["GRU"] * 2, "time": months, "coverage": [0.8, 1.0]})
    by_volatility = pl.DataFrame({"model": ["GRU"] * 3, "third": [0, 1, 2], "coverage": [0.85, 0.9, 0.95]})
    drawn = calibration_plots.coverage_over_time(over_time, by_volatility, 0.9)
    left, right = drawn.figure.axes
    assert list(left.lines[0].get_ydata()) == [80, 100]
    assert list(right.lines[0].get_ydata()) == [85, 90, 95]
    assert drawn.png().startswith(b"\x89PNG")


def test_what_a_network_remembers_is_drawn_down_to_a_millionth():
    profile = pl.DataFrame({"cell": ["gru"] * 3, "step": [1] * 3, "k": [0, 1, 2], "influence": [1.0, 1e-3, 1e-12]})
    (chart,) = learning_plots.memory(profile).figure.axes
    assert list(chart.lines[0].get_ydata()) == [1.0, 1e-3, 1e-12]
    low, high = chart.get_ylim()
    assert low == pytest.approx(high * 1e-6)


def test_series_are_chosen_from_the_calmest_to_the_wildest():
    time = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 4, 1), eager=True)
    moves = np.where(np.arange(len(time)) % 2, 1.0, -1.0)
    panel = pl.concat(
        pl.DataFrame({"series_id": f"S{size}", "time": time, "close": 100 + size * moves}) for size in (5, 1, 4, 2, 3)
    )
    assert plots.calm_to_wild(panel, ["S5", "S1", "S3", "S2"], limit=3) == ["S1", "S3", "S5"]
    assert plots.calm_to_wild(panel, ["S4"], limit=3) == ["S4"]
    assert plots.calm_to_wild(panel, []) == []


def test_intervals_are_the_widest_and_the_one_nearest_to_a_half():
    def of(*levels):
        return pl.DataFrame({f"q{level!r}": [0.0] for level in levels})

    assert plots.bands(of(0.05, 0.2, 0.45, 0.55, 0.8, 0.95)) == [("q0.05", "q0.95"), ("q0.2", "q0.8")]
    assert plots.bands(of(0.1, 0.9)) == [("q0.1", "q0.9")]
    assert plots.bands(of(0.1)) == []
    assert plots.promises([("q0.05", "q0.95")]) == ["90 %"]


def test_an_svg_takes_the_colour_of_the_text_around_it_and_asks_for_nothing():
    picture = calibration_plots.coverage_by_step(summary_of(["A"]), ["GRU", "random_walk"], 0.9)
    svg = picture.svg()
    assert INK not in svg
    assert "currentColor" in svg
    addresses = set(re.findall(r"https?://[^\s\"'<]+", svg))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert picture.svg() == svg


def test_a_png_has_the_title_and_an_svg_after_it_has_not():
    picture = plots.skill_by_step(summary_of(["A"]), ["GRU"])
    before = picture.svg()
    picture.png()
    assert words_in(picture.svg()) == words_in(before)
    assert picture.title not in words_in(before)


def test_drawing_leaves_matplotlibs_settings_alone():
    before = dict(mpl.rcParams)
    picture = plots.skill_by_step(summary_of(["A"]), ["GRU"])
    picture.png()
    picture.svg()
    assert dict(mpl.rcParams) == before
