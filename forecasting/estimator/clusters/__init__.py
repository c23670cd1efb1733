"""Clusters that fits run on: Dask and Ray."""
