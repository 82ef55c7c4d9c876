"""Images: their headers and voxels, one reader for each format."""
