"""Data flows: prices in, forecasts out, every day. Only this package imports Prefect, MLflow and Delta Lake."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tidecast.flows.daily import daily_forecast
    from tidecast.flows.feature_table import build_features
    from tidecast.flows.maintenance import maintain_warehouse
    from tidecast.flows.tune import tune_forecaster

__all__ = ["build_features", "daily_forecast", "maintain_warehouse", "tune_forecaster"]

_MODULES = {
    "build_features": "feature_table",
    "daily_forecast": "daily",
    "maintain_warehouse": "maintenance",
    "tune_forecaster": "tune",
}


def __getattr__(name: str) -> Any:
    """Import a flow when it is first asked for, because Prefect takes a second to import."""
    if name in _MODULES:
        return getattr(import_module(f"tidecast.flows.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if __name__ == "flows":  # imported by the folder's own name, from a checkout
    from tidecast.bare_names import use_bare_name

    use_bare_name(__name__)
