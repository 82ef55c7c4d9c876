"""`dsnt`: the distance of the mean of a heatmap from the point, and a regulariser of its form."""

from auto_config.methods.coordinates.shared import method

METHOD = method(
    "dsnt",
    "coordinates as means of heatmaps, regularised to Gaussians",
    "Nibali et al., Numerical Coordinate Regression with Convolutional Neural Networks, arXiv 1801.07372, 2018",
    loss="losses.EuclideanLoss",
    rule={"regularizer": "js", "weight": 1.0, "sigma": 1.0},
    why="distance in shares of half the patch and the divergence from a Gaussian of one voxel, published as the best",
    bytes_per_voxel=58.0,
)
