"""Data flows: prices in, forecasts out, every day. Only this package imports Prefect, MLflow and Delta Lake."""

from typing import TYPE_CHECKING, Any

from tidecast.lazy_names import import_name

if TYPE_CHECKING:  # for type checkers and editors, which do not run __getattr__
    from tidecast.flows.backfill import backfill_forecasts
    from tidecast.flows.daily import daily_forecast
    from tidecast.flows.feature_table import build_features
    from tidecast.flows.maintenance import maintain_warehouse
    from tidecast.flows.tune import tune_forecaster

__all__ = ["backfill_forecasts", "build_features", "daily_forecast", "maintain_warehouse", "tune_forecaster"]

_MODULES = {
    "backfill": ("backfill_forecasts",),
    "daily": ("daily_forecast",),
    "feature_table": ("build_features",),
    "maintenance": ("maintain_warehouse",),
    "tune": ("tune_forecaster",),
}


def __getattr__(name: str) -> Any:
    """Import a flow when it is first asked for: Prefect takes a second to import."""
    return import_name("flows", _MODULES, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if __name__ == "flows":  # imported by the folder's own name, from a checkout
    from tidecast.bare_names import use_bare_name

    use_bare_name(__name__)
