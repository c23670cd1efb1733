"""Every class that people create says what each of its settings is."""

import inspect

import pytest

from tidecast import features, forecasting
from tidecast.features.docstrings import entries_of, sections_of
from tidecast.forecasting import GRUForecaster, LSTMForecaster, MinGRURegressor, RandomWalk, SeasonalNaive

CLASSES = [
    kind
    for package in (features, forecasting)
    for kind in (getattr(package, name) for name in package.__all__)
    if inspect.isclass(kind) and not issubclass(kind, Exception) and inspect.signature(kind).parameters
]
ESTIMATORS = [kind for kind in CLASSES if kind.__name__.endswith(("Forecaster", "Regressor"))]
BASELINES = [
    RandomWalk,
    forecasting.Drift,
    SeasonalNaive,
    forecasting.SeasonalRegression,
    forecasting.VolatilityRegression,
]
MADE_BY_US = {
    "Decision",
    "Evaluation",
    "TuningResult",
    "PanelCalendar",
    "WindowArray",
    "Windows",
}  # returned, not created


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind.__name__ not in MADE_BY_US])
def test_every_setting_has_an_entry(kind):
    _, sections = sections_of(kind)
    documented = entries_of(sections.get("Parameters", ""))
    assert set(inspect.signature(kind).parameters) - {"args", "kwargs"} <= set(documented)


@pytest.mark.parametrize("kind", [*ESTIMATORS, *BASELINES])
def test_an_estimator_documents_its_own_settings_in_order_with_their_defaults(kind):
    _, sections = sections_of(kind)
    documented = entries_of(sections["Parameters"])
    parameters = inspect.signature(kind).parameters
    assert list(documented) == list(parameters)
    for name, parameter in parameters.items():
        stated = documented[name].splitlines()[0].partition("default=")[2]
        if stated:
            assert eval(stated) == parameter.default  # a literal
    assert "quantiles_" in entries_of(sections["Attributes"])


def test_each_class_has_its_own_introduction():
    assert len(ESTIMATORS) == 10
    assert GRUForecaster.__doc__.startswith("A GRU on top of the random walk")
    assert "Hochreiter" in LSTMForecaster.__doc__
    assert "Rows in a season: 5 for daily prices of a working week." in SeasonalNaive.__doc__
    assert "Levels between 0 and 1" in SeasonalNaive.__doc__
    assert MinGRURegressor.__doc__.count("Parameters\n----------") == 1


def test_a_class_of_a_users_own_inherits_the_entries_of_its_settings():
    class Calm(RandomWalk):
        """A walk of its own.

        Parameters
        ----------
        lookback : int
            Its own words.
        calm : float
            How calm.
        """

        def __init__(self, horizon=5, lookback=10, calm=1.0):
            super().__init__(horizon, lookback)
            self.calm = calm

    class Silent(RandomWalk):
        pass

    _, sections = sections_of(Calm)
    assert list(entries_of(sections["Parameters"])) == ["horizon", "lookback", "calm"]
    assert "Its own words." in sections["Parameters"]
    assert "Rows a series needs" not in sections["Parameters"]
    assert Silent.__doc__ is None
