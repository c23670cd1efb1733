"""Tuning: the search for settings."""
