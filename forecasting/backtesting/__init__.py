"""Backtests: all folds in time order, one forecast table."""
