"""Figures of forecasts: a fan on the last prices, a backtest, skill by step, reliability."""
