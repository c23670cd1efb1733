"""Forecast tables: names, levels, types and the last check."""
