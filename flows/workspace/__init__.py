"""A state folder and its settings, opened: tables and models."""
