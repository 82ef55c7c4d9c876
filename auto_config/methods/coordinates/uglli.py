"""`uglli`: the likelihood of the point under a Gaussian with the mean and the covariance of the heatmap."""

from auto_config.methods.coordinates.shared import method

METHOD = method(
    "uglli",
    "likelihood of points under the mean and covariance of each heatmap",
    "Kumar et al., UGLLI Face Alignment: Estimating Uncertainty with Gaussian Log-Likelihood Loss, ICCV workshops 2019",
    loss="losses.GaussianLikelihoodLoss",
    rule={},
    why="negative log-likelihood of a Gaussian with mean and covariance of the softmax over space",
    bytes_per_voxel=36.0,
    # Half the diagonal of a voxel: the best heatmap may be one voxel.
    tolerance=0.9,
)
