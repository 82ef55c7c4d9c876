"""`luvli`: the likelihood of place and visibility, with a second map for each landmark."""

from auto_config.errors import UserError
from auto_config.methods.base import MethodRequest
from auto_config.methods.coordinates.shared import method


def _check(request: MethodRequest) -> None:
    """Refuse a network all of whose maps are logarithms of probabilities: a logit of visibility is none.

    Raises:
        UserError: it is such a network.
    """
    if request.backbone.name == "flexible_unet":
        raise UserError(
            f"--network {request.backbone.name}: method luvli needs a second map for each landmark that is no "
            "probability; give --network tiny or plain"
        )


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
    check=_check,
)
