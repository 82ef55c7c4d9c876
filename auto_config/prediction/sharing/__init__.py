"""Predictions of many images: by several processes, and only of those that are not there yet."""
