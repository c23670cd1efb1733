"""A fitted forecaster as people see it: its figure, and its facts in a notebook."""

from __future__ import annotations

from abc import abstractmethod
from html import escape
from typing import TYPE_CHECKING, Any

from tidecast.features.error_text import counted
from tidecast.features.frames import Frame
from tidecast.forecasting.estimator.fitted_settings import check_fitted
from tidecast.forecasting.forecasters.quantile_base import QuantileForecaster
from tidecast.forecasting.panel.recent_prices import RecentPrices

if TYPE_CHECKING:
    from tidecast.forecasting.plotting.canvas import Figure


class ShownForecaster(QuantileForecaster):
    """Adds `plot` and the facts below scikit-learn's HTML."""

    _recent: RecentPrices | None = None  # a loaded model has none

    @abstractmethod
    def predict(self, X: Any = None, origins: Any = "last", future: Any = None) -> Any:
        """Forecast; see `PanelForecaster.predict`.

        Parameters
        ----------
        X, origins, future
            As there.
        """

    def plot(
        self,
        X: Frame | None = None,
        *,
        series: Any = None,
        history: int = 60,
        future: Any = None,
        truth: Frame | None = None,
        unit: str | None = None,
        dark: bool = False,
    ) -> Figure:
        """Draw the forecasts from the newest rows as fans on the last prices; see `tidecast.forecasting.plot`.

        Parameters
        ----------
        X : polars or pandas DataFrame, optional
            The panel to forecast from. By default the newest 120 rows of each series that `fit` and `update` saw;
            `save` does not keep them.
        series : str, int or list of them, optional
            Series to draw, at most 12; by default the first 12.
        history : int, default=60
            Prices to draw before the forecast.
        future : polars or pandas DataFrame, optional
            As for `predict`.
        truth : polars or pandas DataFrame, optional
            Newer rows of the panel, drawn as dots.
        unit : str, optional
            Unit of the target, for the vertical axis: "units per euro".
        dark : bool, default=False
            Draw for a dark page.

        Returns
        -------
        Figure
            A matplotlib figure; a notebook shows it. Change its ``axes``, or save it with ``savefig``.

        Raises
        ------
        NotFittedError
            The forecaster is not fitted.
        ValueError
            It was loaded and `X` is missing, or as `predict` and `tidecast.forecasting.plot`.
        """
        from tidecast.forecasting.plotting.fan import plot  # loaded here, because matplotlib takes long to load

        check_fitted(self, "fit_end_")
        if X is None and self._recent is None:
            raise ValueError(
                f"plot needs prices, and a loaded {type(self).__name__} has none: save does not keep them. Write "
                "model.plot(prices)."
            )
        forecast = self.predict(X, future=future)
        prices: Any = self._recent.frame() if X is None and self._recent is not None else X
        return plot(
            prices, forecast, series=series, history=history, truth=truth, unit=unit, target=self.target, dark=dark
        )

    def _html_repr(self) -> str:
        """Return scikit-learn's HTML, with what the forecaster was fitted on below it."""
        html = str(super()._html_repr())
        if not hasattr(self, "fit_end_"):
            return html
        rows = "".join(
            f'<tr><th scope="row" style="text-align:left">{escape(name)}</th>'
            f'<td style="text-align:left">{escape(str(value))}</td></tr>'
            for name, value in self._facts().items()
        )
        return f'{html}<table aria-label="What the forecaster was fitted on">{rows}</table>'

    def _facts(self) -> dict[str, str]:
        here = self._carried.snapshot
        n_levels = len(self.quantiles_)
        return {
            "trained through": str(self.fit_end_),
            "seen up to": str(here.time.max()),
            "series": f"{len(here):,}",
            "rows": f"{int(here.rows.sum()):,} (of each series since its start or last pause)",
            "forecasts": f"{counted(self.horizon, 'session')} of {self.calendar_.name}, "
            f"{counted(n_levels, 'quantile')} of {self.target}",
        }
