"""Recipes and models as JSON and safetensors."""
