"""`luvli`: the likelihood of place and visibility, with a second map for each landmark."""

from auto_config.methods.coordinates.shared import method

METHOD = method(
    "luvli",
    "likelihood of place, uncertainty and visibility of each landmark",
    "Kumar et al., LUVLi Face Alignment: Estimating Landmarks' Location, Uncertainty, and Visibility Likelihood, CVPR "
    "2020",
    loss="visibility.VisibleLikelihoodLoss",
    rule={},
    why="negative log-likelihood of a Laplacian with mean and covariance of the softmax over space, and of visibility",
    bytes_per_voxel=38.0,
    visibility=True,
    # Means of heatmaps of few voxels, as views have them, lie on the voxels that they share.
    tolerance=0.6,
)
