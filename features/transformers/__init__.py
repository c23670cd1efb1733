"""Panels in, panels with more columns out."""
