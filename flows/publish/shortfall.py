"""Sentences on what is missing from the published forecasts of a session."""

from collections.abc import Mapping
from typing import Any

from tidecast.flows.publish.predict import Forecasts


def without_forecast(row: Mapping[str, Any]) -> str:
    """Return a sentence on quoted series that have no forecast; empty where each has one.

    Parameters
    ----------
    row : mapping
        The session's row of the table `runs`.
    """
    quoted, forecast = row.get("series_live") or 0, row.get("series_forecast") or 0
    if forecast >= quoted:
        return ""
    return f"Only {forecast:,} of {quoted:,} quoted series have a forecast of {row['as_of']}."


def shortfall(row: Mapping[str, Any], forecasts: Forecasts | None) -> str:
    """Return sentences on series without a forecast and on missing future covariates; empty where all is well.

    Parameters
    ----------
    row : mapping
        The session's row of the table `runs`.
    forecasts : Forecasts or None
        None when they were published before.
    """
    missing = forecasts.missing_ahead if forecasts is not None else ""
    return " ".join(text for text in (without_forecast(row), missing) if text)
