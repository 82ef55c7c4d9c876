"""The formats of data sets: a module for each; `datasets.registry` has a row for each."""
