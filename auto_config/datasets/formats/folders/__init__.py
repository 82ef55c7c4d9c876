"""Folders of images with a landmark file or a label map for each of them."""
