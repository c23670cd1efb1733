"""Clusters that fits run on: Dask, Ray and Spark."""
