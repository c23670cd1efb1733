"""The recurrent network: cells, heads, losses and training."""
