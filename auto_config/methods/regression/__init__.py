"""Methods that regress heatmaps of a fixed form, voxel by voxel."""
