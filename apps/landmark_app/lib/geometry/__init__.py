"""Grids of images, where viewers show them, and balls in label maps."""
