"""Connections shared by sources and export."""
