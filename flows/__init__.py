"""Data flows: prices in, forecasts out, every day. The only package that knows Prefect, MLflow and the warehouse."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tidecast.flows.daily import daily_forecast
    from tidecast.flows.feature_table import build_features
    from tidecast.flows.maintenance import maintain_warehouse
    from tidecast.flows.tune import tune_forecaster

__all__ = ["build_features", "daily_forecast", "maintain_warehouse", "tune_forecaster"]


def __getattr__(name: str) -> Any:
    """Prefect takes a second to import, and is imported only when a flow is asked for."""
    if name == "build_features":
        from tidecast.flows.feature_table import build_features

        return build_features
    if name == "daily_forecast":
        from tidecast.flows.daily import daily_forecast

        return daily_forecast
    if name == "maintain_warehouse":
        from tidecast.flows.maintenance import maintain_warehouse

        return maintain_warehouse
    if name == "tune_forecaster":
        from tidecast.flows.tune import tune_forecaster

        return tune_forecaster
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
