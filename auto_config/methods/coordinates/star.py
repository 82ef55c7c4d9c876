"""`star`: errors along the principal axes of a heatmap, each over its standard deviation."""

from auto_config.methods.coordinates.shared import method

METHOD = method(
    "star",
    "coordinates as means of heatmaps, errors weighed along their principal axes",
    "Zhou et al., STAR Loss: Reducing Semantic Ambiguity in Facial Landmark Detection, CVPR 2023",
    loss="losses.StarLoss",
    rule={"omega": 1.0, "smooth": 0.01},
    why="errors along the principal axes of the heatmap over their standard deviations, and half the variances",
    bytes_per_voxel=36.0,
    # Means of narrow heatmaps, as views have them, lie nearer to the voxels that they share.
    tolerance=0.3,
)
