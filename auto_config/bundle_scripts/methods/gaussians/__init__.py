"""Heatmaps that are trained to have the height of a Gaussian, or of another peak, at each voxel."""
