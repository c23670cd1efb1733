"""The steps that tasks call."""
