"""Coordinates as means of heatmaps, and losses on them."""
