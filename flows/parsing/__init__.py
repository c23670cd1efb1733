"""Parsing: from files and text to a long table."""
