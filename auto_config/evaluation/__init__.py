"""Predicted points against true ones, beside the mean-shape baseline."""
