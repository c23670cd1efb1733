"""Figures of forecasts: what is drawn is what the tables hold, and odd data stays readable."""

import subprocess
import sys
import warnings
from datetime import date, datetime, timedelta

import matplotlib as mpl
import numpy as np
import polars as pl
import pytest

import tidecast
from tidecast import RandomWalk, RollingOrigin, backtest, evaluate, plot, plot_backtest, plot_reliability, plot_skill
from tidecast.forecasting.evaluation.metrics import Evaluation
from tidecast.forecasting.plotting.canvas import PriceTicks
from tidecast.forecasting.plotting.palette import DARK, LIGHT, PINK, colour_of, colours_of

PNG = b"\x89PNG"


def series_of(name, prices, start=date(2026, 1, 1)):
    days = [start + timedelta(days=day) for day in range(len(prices))]
    return pl.DataFrame({"series_id": name, "time": days, "close": np.asarray(prices, dtype=float)})


def forecast_of(panel, steps=3, width=1.0):
    """A flat forecast from the last row of each series."""
    rows = []
    for (name,), own in panel.group_by("series_id", maintain_order=True):
        origin, price = own["time"][-1], own["close"][-1]
        for step in range(1, steps + 1):
            spread = width * step**0.5
            rows.append({
                "series_id": name, "origin": origin, "step": step, "time": origin + timedelta(days=step),
                "forecast": price, "q0.05": price - spread, "q0.25": price - spread / 2, "q0.75": price + spread / 2,
                "q0.95": price + spread,
            })  # fmt: skip
    return pl.DataFrame(rows)


def lines_of(chart):
    return [line.get_ydata().tolist() for line in chart.lines]


def texts_of(figure):
    """Every text that is shown, with its box in pixels."""
    figure.draw_without_rendering()
    texts = [text for text in figure.findobj(mpl.text.Text) if text.get_visible() and text.get_text().strip()]
    unseen = {label for chart in figure.axes for axis in (chart.xaxis, chart.yaxis) for label in beyond(axis)}
    return [(text.get_text(), text.get_window_extent()) for text in texts if text not in unseen]


def beyond(axis):
    """Labels of ticks outside an axis; matplotlib keeps them but does not draw them."""
    low, high = sorted(axis.get_view_interval())
    outside = [tick for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high]
    return [label for tick in outside for label in (tick.label1, tick.label2)]


def overlaps(figure):
    """Pairs of texts of which one covers a part of the other."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        texts = texts_of(figure)
    return [
        (one, other)
        for place, (one, box) in enumerate(texts)
        for other, other_box in texts[place + 1 :]
        if min(box.x1, other_box.x1) - max(box.x0, other_box.x0) > 1
        and min(box.y1, other_box.y1) - max(box.y0, other_box.y0) > 1
    ]


@pytest.fixture(scope="module")
def walks(random_walks):
    return random_walks(n_series=3, n_rows=420)


@pytest.fixture(scope="module")
def table(walks):
    models = {"mine": RandomWalk(horizon=3, lookback=16)}
    return backtest(models, walks, RollingOrigin(n_splits=2, horizon=3, stride=70))


# ------------------------------------------------------------------------ fan
def test_a_fan_is_the_last_prices_the_median_and_the_truths():
    panel = series_of("A", range(100))
    table = forecast_of(panel.head(97))
    (chart,) = plot(panel, table, history=10).axes
    past, median, truth = lines_of(chart)
    assert past == list(range(87, 97))
    assert median == [96] * 4
    assert truth == [97, 98, 99]
    assert chart.lines[2].get_xdata().tolist() == [1, 2, 3]
    outer = chart.collections[0].get_paths()[0].vertices
    assert outer[:, 1].max() == pytest.approx(96 + 3**0.5)
    assert outer[:, 1].min() == pytest.approx(96 - 3**0.5)


def test_truths_may_come_in_a_table_of_their_own():
    panel = series_of("A", range(100))
    past = panel.head(97)
    (chart,) = plot(past, forecast_of(past), truth=panel.tail(3)).axes
    assert lines_of(chart)[2] == [97, 98, 99]
    (chart,) = plot(past, forecast_of(past)).axes
    assert len(chart.lines) == 2


def test_a_weekend_takes_no_room_and_the_origin_is_dated():
    friday = date(2026, 1, 2)
    days = [friday, friday + timedelta(3), friday + timedelta(4)]
    panel = pl.DataFrame({"series_id": "A", "time": days, "close": [1.0, 2.0, 3.0]})
    (chart,) = plot(panel, forecast_of(panel)).axes
    assert chart.lines[0].get_xdata().tolist() == [-2, -1, 0]
    dates = dict(zip(chart.get_xticks(), (label.get_text() for label in chart.get_xticklabels()), strict=True))
    assert dates[0] == "2026-01-06"


def test_a_pause_breaks_the_line():
    early, late = series_of("A", [1, 2, 3]), series_of("A", [4, 5, 6], start=date(2027, 1, 1))
    panel = pl.concat([early, late])
    (chart,) = plot(panel, forecast_of(panel)).axes
    np.testing.assert_array_equal(lines_of(chart)[0], [1, 2, 3, np.nan, 4, 5, 6])


def test_bars_within_the_day_are_dated_with_their_hour():
    times = [datetime(2026, 1, 5, 9) + timedelta(hours=hour) for hour in range(8)]
    panel = pl.DataFrame({"series_id": "A", "time": times, "close": [float(k) for k in range(8)]})
    table = pl.DataFrame({"series_id": "A", "origin": times[-1], "step": [1], "time": [times[-1] + timedelta(hours=1)],
                          "forecast": [7.0], "q0.1": [6.0], "q0.9": [8.0]})  # fmt: skip
    (chart,) = plot(panel, table).axes
    assert "2026-01-05\n16:00" in [label.get_text() for label in chart.get_xticklabels()]


def test_axes_name_the_target_and_its_unit_and_a_dollar_stays_a_dollar():
    panel = series_of("A", range(1, 30)).rename({"close": "settle"})
    table = forecast_of(panel.rename({"settle": "close"}))
    figure = plot(panel, table, target="settle", unit="$ per barrel, US$")
    assert figure.axes[0].get_ylabel() == "settle, $ per barrel, US$"
    assert figure.axes[0].get_xlabel() == "session"
    assert not figure.axes[0].yaxis.label.get_parse_math()


@pytest.mark.parametrize(("count", "dark"), [(1, False), (2, True), (3, False), (4, True), (15, True)])
def test_no_label_covers_another_for_any_number_of_series(count, dark):
    generator = np.random.default_rng(0)
    walks = [10.0 ** (k % 6) * (9 + 0.1 * generator.normal(size=90).cumsum()) for k in range(count)]
    panel = pl.concat([series_of(f"Series {k:02}", walk) for k, walk in enumerate(walks)])
    figure = plot(panel, forecast_of(panel), dark=dark, unit="units per euro")
    assert len(figure.axes) == min(count, 12)
    assert overlaps(figure) == []
    shown = {text for text, _ in texts_of(figure)}
    assert ("12 of 15 series; series=[…] chooses others" in shown) == (count == 15)


def test_odd_series_stay_readable():
    walk = np.random.default_rng(1).normal(size=80).cumsum()
    odd = {
        "a name that goes on and on and never seems to end, whatever is done about it": 100 + walk,
        "$x$ \\frac{": 10 + 0.1 * walk,
        "negative": -50 + walk,
        "tiny": 1e-9 * (50 + walk),
        "huge": 3e8 * (50 + walk),
        "one row": [5.0],
        "pegged": np.full(80, 15.6466),
        "日本": 3 + 0.01 * walk,
    }
    panel = pl.concat([series_of(name, prices) for name, prices in odd.items()])
    for width, history in ((1e-12, 60), (2.0, 5)):
        figure = plot(panel, forecast_of(panel, width=width), history=history)
        assert overlaps(figure) == []
        assert figure._repr_png_().startswith(PNG)
    (alone,) = plot(panel, forecast_of(panel), series="one row").axes
    assert alone.lines[0].get_markevery() == [0], "a point, because one row makes no line"


def test_pandas_tables_and_numbered_series_are_drawn_as_well():
    panel = pl.concat([series_of(7, range(1, 30)), series_of(8, range(2, 31))])
    figure = plot(panel.to_pandas(), forecast_of(panel).to_pandas(), series=[8])
    assert lines_of(figure.axes[0])[0][-1] == 30


def test_a_forecast_without_quantiles_is_a_line():
    panel = series_of("A", range(1, 30))
    table = forecast_of(panel)
    for bare in (
        table.drop("q0.05", "q0.25", "q0.75", "q0.95"),
        table.with_columns(pl.selectors.matches("^q").mul(None)),
    ):
        (chart,) = plot(panel, bare).axes
        assert len(chart.collections) == 0


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (None, {"series": "usd"}, r"'usd' has none. Did you mean 'USD'\?"),
        (None, {"series": []}, "1 to 12 series for one figure, got 0"),
        (None, {"history": 0}, "history must be at least 1, got 0"),
        (None, {"model": "GRU"}, "model must be in the forecast table, got 'GRU'"),
        (lambda table: table.with_columns(origin=pl.lit(date(2020, 1, 1))), {}, "Every origin must have a row"),
        (lambda table: table.clear(), {}, "at least one row, found none"),
        (lambda table: pl.concat([table.with_columns(model=pl.lit(name)) for name in "ab"]), {}, "model must be named"),
        (
            lambda table: pl.concat([table, table.with_columns(pl.col("origin") - timedelta(1))]),
            {},
            "one origin a series, found 2 of 'USD'",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_line(change, settings, message):
    panel = series_of("USD", range(1, 30))
    table = forecast_of(panel)
    with pytest.raises(ValueError, match=message) as caught:
        plot(panel, change(table) if change else table, **settings)
    assert "\n" not in str(caught.value)


# ------------------------------------------------------- backtest and scores
def test_a_backtest_shows_the_forecasts_of_one_step_and_counts_the_truths_inside(walks, table):
    figure = plot_backtest(table, walks, step=2, series="A")
    chart, strip = figure.axes
    rows = table.filter(pl.col("model") == "mine", pl.col("series_id") == "A", pl.col("step") == 2)
    rows = rows.join(walks, on=["series_id", "time"]).sort("time")
    truth, median = (np.array(line) for line in lines_of(chart))
    np.testing.assert_array_equal(truth[~np.isnan(median)], rows["close"])
    np.testing.assert_array_equal(median[~np.isnan(median)], rows["forecast"])
    inside = rows["close"].is_between(rows["q0.05"], rows["q0.95"])
    assert strip.get_title(loc="left").startswith(f"{100 * inside.mean():.1f} % of {len(rows)} truths inside the 90 %")
    assert [len(drawn.get_segments()) for drawn in strip.collections] == [inside.sum(), (~inside).sum()]
    assert overlaps(figure) == []


def test_sessions_between_folds_break_the_line_of_forecasts(walks, table):
    origins = table["origin"].unique().sort()
    gap = table.filter(~pl.col("origin").is_in(origins[60:75].to_list()))
    chart = plot_backtest(gap, walks, series="A").axes[0]
    assert np.isnan(lines_of(chart)[1]).sum() == 15


def test_all_series_of_a_backtest_fit_one_page(walks, table):
    for dark in (False, True):
        figure = plot_backtest(table, walks, dark=dark, unit="units per euro")
        assert len(figure.axes) == 6
        assert overlaps(figure) == []


def test_a_step_that_never_came_true_is_refused(walks, table):
    with pytest.raises(ValueError, match="A forecast of step 9 must have come true, found none in a table of steps up"):
        plot_backtest(table, walks, step=9)


def test_skill_is_drawn_as_evaluated_with_its_interval(walks, table):
    evaluation = evaluate(table, walks)
    figure = plot_skill(evaluation)
    (dots,) = figure.axes[0].containers
    by_step = evaluation.summary.filter(group="step", model="mine").sort("step")
    np.testing.assert_allclose(dots.lines[0].get_ydata(), 100 * by_step["skill"])
    assert overlaps(figure) == []
    pandas = Evaluation(evaluation.losses.to_pandas(), evaluation.summary.to_pandas(), ())
    assert plot_skill(pandas, models=["mine"], dark=True)._repr_png_().startswith(PNG)
    with pytest.raises(ValueError, match=r"'GRU' has none\. Choose from"):
        plot_skill(evaluation, models=["GRU"])


def test_skill_needs_the_random_walk(walks, table):
    alone = evaluate(table.filter(pl.col("model") == "mine"), walks)
    with pytest.raises(ValueError, match="needs a model and the random_walk"):
        plot_skill(alone)


def test_reliability_is_the_share_of_truths_below_each_quantile(walks, table):
    figure = plot_reliability(table, walks, models=["mine"])
    gaps, pit = figure.axes
    rows = table.filter(pl.col("model") == "mine").join(walks, on=["series_id", "time"])
    share = (rows["close"] <= rows["q0.05"]).mean()
    assert gaps.lines[0].get_ydata()[0] == pytest.approx(100 * (share - 0.05))
    assert pit.patches[0].get_data().values[0] == pytest.approx(share / 0.05)
    assert overlaps(figure) == []


def test_a_missing_quantile_does_not_count_as_a_truth_below_it(walks, table):
    """In polars NaN is greater than every number, so a missing forecast would count as a truth below its quantile."""
    mine = table.filter(pl.col("model") == "mine")
    holes = mine.with_columns(pl.when(pl.col("step") == 1).then(float("nan")).otherwise("q0.95").alias("q0.95"))
    found = plot_reliability(holes, walks).axes[0].lines[0].get_ydata()[-1]
    rows = mine.filter(pl.col("step") > 1).join(walks, on=["series_id", "time"])
    assert found == pytest.approx(100 * ((rows["close"] <= rows["q0.95"]).mean() - 0.95))


# ------------------------------------------------------------ model and page
def test_a_model_draws_the_prices_that_it_has_seen_and_those_it_takes_in(walks):
    days = walks["time"].unique().sort()
    past, newer = walks.filter(pl.col("time") <= days[-10]), walks.filter(pl.col("time") > days[-10])
    model = RandomWalk(horizon=3, lookback=16).fit(past)
    own = walks.filter(pl.col("series_id") == "B")["close"].to_list()
    assert lines_of(model.plot(series="B").axes[0])[0] == own[-69:-9]
    for day in days[-9:]:
        model.update(newer.filter(pl.col("time") == day))
    assert lines_of(model.plot(series="B").axes[0])[0] == own[-60:]
    assert lines_of(model.plot(series="B", history=500).axes[0])[0] == own[-120 - 9 :][-129:][9:]
    assert lines_of(model.plot(past, series="B").axes[0])[0] == own[-69:-9]


def test_a_loaded_model_asks_for_prices(walks, tmp_path):
    RandomWalk(horizon=3, lookback=16).fit(walks).save(tmp_path)
    loaded = RandomWalk.load(tmp_path)
    with pytest.raises(ValueError, match=r"a loaded RandomWalk has none.*Write model\.plot\(prices\)"):
        loaded.plot()
    assert len(loaded.plot(walks, series=["A", "B"]).axes) == 2


def test_a_notebook_shows_a_fitted_forecaster_with_what_it_was_fitted_on(walks):
    model = RandomWalk(horizon=3, lookback=16)
    assert "trained through" not in model._repr_mimebundle_()["text/html"]
    html = model.fit(walks)._repr_mimebundle_()["text/html"]
    assert model._repr_html_().count("trained through") == 1
    for fact in (str(walks["time"].max()), "1,260 (of each series", "3 sessions of weekdays, 19 quantiles of close"):
        assert fact in html


def test_a_notebook_shows_a_figure_without_pyplot(walks):
    script = (
        "import sys, tidecast, polars as pl\n"
        "tidecast.plot\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "from tidecast.forecasting.plotting.canvas import new_figure\n"
        "assert new_figure(1, 1, 2.0)[0]._repr_png_().startswith(b'\\x89PNG')\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {"plot", "plot_backtest", "plot_skill", "plot_reliability"} <= set(dir(tidecast))


# -------------------------------------------------------- colours and numbers
def test_texts_have_enough_contrast_on_both_pages():
    def luminance(colour):
        rgb = np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    for theme in (LIGHT, DARK):
        for colour in (theme.ink, theme.prices):
            high, low = sorted((luminance(colour), luminance(theme.paper)), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 4.5  # WCAG 2.2, 1.4.3


def test_models_of_one_figure_have_colours_of_their_own():
    names = ["mine", "yours", "GRU", "random_walk", "VolatilityRegression", "theirs"]
    found = colours_of(names, LIGHT)
    assert len(set(found.values())) == len(names)
    assert found["random_walk"] == LIGHT.ink
    assert found["GRU"] == colour_of("GRUForecaster") == colour_of("gru") != PINK


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([1.10, 1.15, 1.2], ["1.10", "1.15", "1.20"]),
        ([20000, 20250], ["20000", "20250"]),
        ([7.4725, 7.475], ["7.4725", "7.4750"]),
        ([-4.0, 0.0], ["−4", "0"]),
        ([1.2e10, 1.3e10], ["1.2e+10", "1.3e+10"]),
        ([4e-8, 4.25e-8], ["4e−08", "4.25e−08"]),
        ([5.0], ["5"]),
        ([], []),
    ],
)
def test_prices_have_the_decimals_that_they_need(values, texts):
    assert PriceTicks().format_ticks(values) == texts
