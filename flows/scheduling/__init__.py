"""Prefect's set-up, server and schedule."""
