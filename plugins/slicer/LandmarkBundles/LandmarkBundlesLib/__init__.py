# ruff: noqa: N999  Slicer names the package of a module so
"""What the module LandmarkBundles does without Slicer."""
