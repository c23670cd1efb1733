"""Causal features: panels in, panels out."""

from features.calendar import Calendar, get_calendar, infer_calendar
from features.panel import MAX_PAUSE, PanelSchema, breaks, check_panel, like, to_polars
from features.price_features import PriceFeatures
from features.volatility import DECAY, with_volatility

__all__ = [
    "DECAY",
    "MAX_PAUSE",
    "Calendar",
    "PanelSchema",
    "PriceFeatures",
    "breaks",
    "check_panel",
    "get_calendar",
    "infer_calendar",
    "like",
    "to_polars",
    "with_volatility",
]
