"""Each look-ahead shows skill on random walks, where there is none, and is found."""

import doctest
from pathlib import Path

import polars as pl
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline

from examples.look_aheads import centred_window, described_day, random_split, random_walks
from examples.look_aheads import whole_series_denoising as denoising
from examples.look_aheads.__main__ import EXHIBITS, table_of
from examples.look_aheads.measuring import FOLDS, UNTIL, named_by_assert_causal, skill_of
from examples.look_aheads.regression_model import RegressionModel
from tidecast import RollingZScore, backtest

README = Path(__file__).parents[2] / "examples" / "look_aheads" / "README.md"
CAUSAL = [RollingZScore(42), denoising.TrailingDenoising(), centred_window.TrailingMean(), described_day.OnKnownDay()]


@pytest.fixture(scope="module")
def exhibits():
    return {exhibit.__module__.rpartition(".")[2]: exhibit() for exhibit in EXHIBITS}


@pytest.mark.parametrize("name", [exhibit.__module__.rpartition(".")[2] for exhibit in EXHIBITS])
def test_a_look_ahead_shows_skill_where_there_is_none_and_without_it_there_is_none(exhibits, name):
    false, honest = exhibits[name].false, exhibits[name].honest
    assert false.mean > max(0.02, 4 * false.error)
    assert honest.mean < 2 * honest.error
    if name != "random_split":  # nearest neighbours follow noise, so they do worse than the random walk
        assert honest.mean > -3 * honest.error
        assert abs(honest.mean) < 0.005


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("whole_series_scaling", "scaled"),
        ("whole_series_denoising", "denoised"),
        ("centred_window", "cycle"),
        ("described_day", "newest_figure"),
    ],
)
def test_assert_causal_names_the_column_that_looks_ahead(exhibits, name, column):
    assert exhibits[name].found.startswith(f"'{column}' of series 'walk ")
    assert "must not depend on later rows" in exhibits[name].found


@pytest.mark.parametrize("transformer", CAUSAL, ids=lambda each: type(each).__name__)
def test_assert_causal_accepts_the_versions_without_a_look_ahead(transformer):
    assert named_by_assert_causal(transformer, described_day.walks_with_reports(0)) == ""


def test_a_random_split_shares_targets_and_rolling_origin_shares_none():
    shuffled, rolling = random_split.shared_targets(random_walks.random_walks(0, random_split.N_SERIES))
    assert shuffled > 0.99
    assert rolling == 0.0


def test_a_look_ahead_inside_a_pipeline_gains_nothing_in_a_backtest():
    panel = random_walks.random_walks(0)
    model = RegressionModel(LinearRegression(fit_intercept=False), ["cycle"], FOLDS.horizon)
    pipeline = make_pipeline(centred_window.CentredMean(), model)
    known = panel.filter(pl.col("time") <= UNTIL)
    assert skill_of(backtest({"model": pipeline}, known, FOLDS), panel) < 0.0


def test_the_readme_shows_the_table_that_the_command_prints(exhibits):
    printed = table_of(list(exhibits.values()))
    assert printed.partition("\n\n")[0] in README.read_text(encoding="utf-8")


def test_the_examples_in_docstrings_run():
    assert doctest.testmod(random_walks).failed == 0
