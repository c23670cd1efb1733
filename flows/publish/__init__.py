"""Forecasts out, and their scores."""
