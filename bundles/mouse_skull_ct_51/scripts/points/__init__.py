"""Landmarks: their points, files, shape, instances, and the peaks that stand for them."""
