"""Windows go into a regressor as they are."""

from tidecast.features import make_windows
from tidecast.forecasting import GRURegressor


def test_a_regressor_fits_on_windows(panel):
    windows = make_windows(panel, lookback=10, horizon=2)
    model = GRURegressor(max_epochs=1, hidden_size=4, random_state=0).fit(windows.X, windows.y)
    assert model.predict(windows.X[:5]).shape == (5, 2)
