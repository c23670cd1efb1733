"""A state folder with its settings: the way to tables and models."""
