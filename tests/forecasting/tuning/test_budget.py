"""The time of a search, on a clock that only fits move: it is kept, the last fit included, whatever fits cost."""

import time
import warnings

import numpy as np
import polars as pl
import pytest

from tidecast.forecasting import GRUForecaster, RollingOrigin, SeasonalNaive, Training, tune
from tidecast.forecasting.network.progress import Epoch, StopTraining
from tidecast.forecasting.tuning.budget import OVER, Budget, Cost, FitClock
from tidecast.forecasting.tuning.objective import refit


class Clock:
    """Seconds that pass only when told to."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Slow(SeasonalNaive):
    """A forecaster that takes its time: so many seconds a thousand rows and epoch, give or take, and a rest."""

    clock, random = Clock(), np.random.default_rng(0)

    def __init__(
        self, horizon=2, lookback=30, season=1, max_epochs=10, pace=1.0, noise=0.0, rest=1.0, training=None
    ) -> None:
        super().__init__(horizon=horizon, lookback=lookback, season=season)
        self.max_epochs, self.pace, self.noise, self.rest, self.training = max_epochs, pace, noise, rest, training

    def fit(self, X, y=None, sample_weight=None):
        self.epochs_ = 0
        epochs = self.max_epochs - int(self.random.integers(0, 3)) if self.noise else self.max_epochs
        try:
            for self.epochs_ in range(epochs + 1):
                if self.epochs_:
                    self._pass(self.pace)
                if self.training:
                    self.training.on_epoch(Epoch(self.epochs_, 1.0, 1.0))
        except StopTraining:
            pass
        self._pass(self.rest)
        return super().fit(X)

    def _pass(self, seconds: float) -> None:
        Slow.clock.now += seconds * (1 + self.noise * self.random.uniform(-1, 1))


class BySize(Slow):
    """`Slow`, and slower on more rows."""

    def fit(self, X, y=None, sample_weight=None):
        self.rows_ = len(X)
        return super().fit(X)

    def _pass(self, seconds: float) -> None:
        super()._pass(seconds * self.rows_ / 1000)


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(time, "time", Slow.clock)
    return Slow.clock


@pytest.fixture(scope="module")
def panel(random_walks):
    return random_walks(1, 1500)


@pytest.mark.parametrize(("pace", "noise", "timeout"), [(0.3, 0.0, 60.0), (1.0, 0.3, 60.0), (0.3, 0.3, 90.0)])
def test_a_search_keeps_its_time_with_the_last_fit_whatever_fits_cost(panel, clock, pace, noise, timeout):
    model, begun = BySize(pace=pace, noise=noise, rest=4 * pace), clock.now
    space = {"season": list(range(1, 120)), "max_epochs": [5, 10, 40]}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = tune(model, panel, RollingOrigin(n_splits=2, horizon=2, stride=5), space, n_trials=30, timeout=timeout)
    took = clock.now - begun
    assert took <= 1.1 * timeout
    assert took >= 0.5 * timeout or found.looked_at == 30
    cut = [str(each.message) for each in caught if "last fit" in str(each.message)]
    assert not cut or noise  # where fits take what they took, there is time for the last one
    assert found.model.training is None
    assert found.model.recipe() == model.set_params(**found.settings).recipe()


def test_a_last_fit_that_turns_out_slow_is_cut_short_and_says_so(panel, clock):
    model, begun = Slow(max_epochs=10, pace=1.0, rest=0.5, training=Training()), clock.now
    with pytest.warns(UserWarning, match="stopped after epoch 4 of at most 10"):
        fitted = refit(model.set_params(pace=3.0), panel, Budget(begun, 12.0), Cost(10, 1.0, 0.5))
    assert fitted.epochs_ == 4  # 12.5 seconds in all, where one more would have made it 15.5
    assert clock.now - begun <= 12.0 * (1 + OVER)
    assert fitted.training is model.training


def test_a_fit_is_measured_by_its_epochs_and_the_rest(clock):
    timer = FitClock()
    clock.now += 2
    for epoch in range(4):  # the first one is the untrained network
        timer.on_epoch(Epoch(epoch, 1.0, 1.0))
        clock.now += 5
    assert timer.cost(1) == Cost(3, 5.0, 7.0)
    assert timer.cost(2).seconds == 2 * 22
    assert Cost.most([Cost(3, 5.0, 7.0), Cost(4, 1.0, 8.0)]) == Cost(4, 5.0, 8.0)
    assert FitClock().cost(1) == Cost.most([]) == Cost()
    assert Budget(clock.now, None).left(Cost(1, 1.0)) == float("inf")


def test_training_ends_when_its_listener_wants_no_more(breathing):
    def until_two(epoch: Epoch) -> None:
        if epoch.epoch == 2:
            raise StopTraining

    tiny = {"horizon": 2, "lookback": 8, "quantiles": (0.1, 0.9), "hidden_size": 4, "max_epochs": 6}
    model = GRUForecaster(**tiny, training=Training(on_epoch=until_two)).fit(breathing.head(200))
    assert model.learning_curve_["epoch"].max() == 2
    assert isinstance(model.predict(), pl.DataFrame)
