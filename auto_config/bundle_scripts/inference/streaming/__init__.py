"""Peaks of a whole image from a sliding window, without a map of the whole image."""
