"""Accuracy that papers report, as data, beside one's own."""
