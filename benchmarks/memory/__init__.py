"""Measure how far back recurrent networks remember: on tasks with a known lag, and on prices."""
