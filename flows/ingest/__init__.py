"""Ingest: from a delivery to stored rows."""
