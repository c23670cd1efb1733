"""Causal features: panels in, panels out."""

from features.actions import action_factors, adjust
from features.calendar import Calendar, PanelCalendar, get_calendar, infer_calendar
from features.calendar_features import CalendarFeatures
from features.causality import assert_causal
from features.panel import MAX_PAUSE, PanelSchema, breaks, check_panel, like, to_polars
from features.price_features import PriceFeatures
from features.returns import LogReturn, Momentum
from features.rolling import Drawdown, EwmaVolatility, RollingMean, RollingRange, RollingVolatility, RollingZScore
from features.tail import Stream
from features.transformer import PanelTransformer
from features.volatility import DECAY, with_volatility

__all__ = [
    "DECAY",
    "MAX_PAUSE",
    "Calendar",
    "CalendarFeatures",
    "Drawdown",
    "EwmaVolatility",
    "LogReturn",
    "Momentum",
    "PanelCalendar",
    "PanelSchema",
    "PanelTransformer",
    "PriceFeatures",
    "RollingMean",
    "RollingRange",
    "RollingVolatility",
    "RollingZScore",
    "Stream",
    "action_factors",
    "adjust",
    "assert_causal",
    "breaks",
    "check_panel",
    "get_calendar",
    "infer_calendar",
    "like",
    "to_polars",
    "with_volatility",
]
