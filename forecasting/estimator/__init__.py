"""What every estimator shares: checks of settings, and of who calls it."""
