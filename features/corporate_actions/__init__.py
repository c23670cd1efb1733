"""Splits and dividends, undone."""
