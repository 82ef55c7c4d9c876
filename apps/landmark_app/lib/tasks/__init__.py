"""Bundles as tasks of MONAI Label: inference of one image and of many, and their options."""
