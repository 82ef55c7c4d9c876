# noqa: N999  the name that goes with the module
"""The parts of the panel, and what they do to Slicer's scene."""
