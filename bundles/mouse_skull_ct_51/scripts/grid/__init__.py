"""Grids: transforms between them, background, the cache of what lies on them."""
