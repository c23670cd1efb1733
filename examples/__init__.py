"""Worked examples; each folder has a README and runs in the tests."""
