"""Shared by all estimators: fitted settings, device and seed, threads, and checks of callers."""
