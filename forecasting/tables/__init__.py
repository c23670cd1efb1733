"""Forecast tables: names, levels, types and the final check."""
