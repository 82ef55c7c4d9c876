"""Regions of single raters: their points are read from a data set, and matched with the predictions."""
