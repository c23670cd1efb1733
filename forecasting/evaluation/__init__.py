"""Splits, losses, tests and the gate."""
