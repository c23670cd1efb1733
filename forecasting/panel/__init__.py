"""Panels as tensors."""
