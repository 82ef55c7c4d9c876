"""Trainings of a bundle from the labels of the data store."""
