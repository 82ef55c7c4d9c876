"""One stage: each view is decoded, the points are those of the mean of the views, in 2D and 3D."""

import weakref

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer
from stage_networks import Staged
from torch import nn

from auto_config.bundle_scripts.inference.dense import DenseInferer
from auto_config.bundle_scripts.inference.flip import MirroredNetwork
from auto_config.bundle_scripts.methods.decoders import ArgmaxDecoder
from auto_config.bundle_scripts.methods.ensemble import EnsembleNetwork
from auto_config.bundle_scripts.methods.instances import InstanceDecoder
from auto_config.bundle_scripts.points.instances import Instances
from auto_config.bundle_scripts.points.peaks import unpack_peaks
from auto_config.bundle_scripts.points.shape import ShapeModel

SIZES = {2: (28, 24), 3: (28, 24, 20)}
SPACINGS = {2: (0.5, 2.0), 3: (0.5, 2.0, 1.5)}


def coordinates(dims):
    """An image ``(D, *size)`` whose channels are its own voxel coordinates, so that a window knows where it lies."""
    return torch.stack(torch.meshgrid(*[torch.arange(float(n)) for n in SIZES[dims]], indexing="ij"))


def window(dims):
    return SlidingWindowInferer(roi_size=(16,) * dims, overlap=0.5, mode="gaussian", padding_mode="constant")


def inferer(dims, **arguments):
    return DenseInferer(**{"window": window(dims), "decoder": ArgmaxDecoder(), "spacing": SPACINGS[dims], **arguments})


class Blobs(nn.Module):
    """Gaussian logits at the points of each landmark, a list of ``(K, D)``; elsewhere when it sees the mirror image.

    The first of a landmark's points is the highest, each further one lower by 0.5.
    """

    def __init__(self, points, in_mirror=None):
        super().__init__()
        self.points, self.in_mirror = points, points if in_mirror is None else in_mirror

    def forward(self, image):
        flipped = bool(image[0, 0].flatten()[0] > image[0, 0].flatten()[-1])
        channels = []
        for points in self.in_mirror if flipped else self.points:
            heights = 5.0 - 0.5 * np.arange(len(points))
            blobs = [
                height - 0.5 * sum((axis - x).square() for axis, x in zip(image.unbind(1), point, strict=True))
                for point, height in zip(points, heights, strict=True)
            ]
            channels.append(torch.stack(blobs).amax(0))
        return torch.stack(channels, 1)


def one_each(points):
    return [[point] for point in points]


POINTS = {2: [[9.0, 8.0], [17.0, 15.0]], 3: [[9.0, 8.0, 7.0], [17.0, 15.0, 12.0]]}


@pytest.mark.parametrize("dims", [2, 3])
def test_views_that_are_a_known_distance_apart(dims):
    """The mean of two equal parabolas is the parabola about the point between them."""
    points = np.array(POINTS[dims])
    shift = np.array([2.0, 1.0, -1.0][:dims])
    network = Blobs(one_each(points), one_each(points + shift * [[1], [0]]))
    looking = inferer(dims, flip_pairs=[0, 1])
    (rows,) = looking(MetaTensor(coordinates(dims)[None]), Staged(network))
    assert not isinstance(rows, MetaTensor)
    found = unpack_peaks(rows)
    np.testing.assert_allclose(found.points, points + shift / 2 * [[1], [0]], atol=0.02)
    half = np.linalg.norm(shift * SPACINGS[dims]) / 2
    np.testing.assert_allclose(found.mirror_disagreement, [half, 0], atol=0.02)
    np.testing.assert_allclose(found.disagreement, [half, 0], atol=0.02)
    assert found.shape_distance.isnan().all() and not found.replaced.any()


def test_a_network_that_diverged_is_said_in_one_line():
    network = Staged(lambda image: torch.full_like(image, torch.nan))
    with pytest.raises(ValueError, match="no finite coordinates; lower learning_rate"):
        inferer(2)(coordinates(2)[None, :1], network)


@pytest.mark.parametrize("dims", [2, 3])
def test_members_are_views_and_one_network_is_none(dims):
    points = np.array(POINTS[dims])
    shift = np.eye(dims)[1] * 2
    found = inferer(dims).heatmaps(
        coordinates(dims), EnsembleNetwork([Staged(Blobs(one_each(points))), Staged(Blobs(one_each(points + shift)))])
    )
    np.testing.assert_allclose(found.peaks.disagreement, SPACINGS[dims][1], atol=0.02)
    assert found.peaks.mirror_disagreement.isnan().all()
    assert found.output["logits"].shape == (2, *SIZES[dims]) and found.origins.tolist() == [[0.0] * dims] * 2
    alone = inferer(dims).heatmaps(coordinates(dims), Staged(Blobs(one_each(points)))).peaks
    assert alone.disagreement.isnan().all() and alone.mirror_disagreement.isnan().all()
    np.testing.assert_allclose(alone.points, points, atol=0.02)


@pytest.mark.parametrize("dims", [2, 3])
def test_points_are_those_of_one_pass_with_the_mean_of_the_views(dims):
    torch.manual_seed(dims)
    layer = [nn.Conv2d, nn.Conv3d][dims - 2]
    ensemble = EnsembleNetwork([Staged(nn.Sequential(layer(dims, 3, 3, padding=1), nn.Tanh())) for _ in range(3)])
    network = MirroredNetwork(ensemble, [1, 0, 2], {"fine": ArgmaxDecoder()})
    images = torch.rand(2, dims, *SIZES[dims])
    with torch.inference_mode():
        logits = window(dims)(images, lambda x: network({"fine": x})["fine"]["logits"])
        rows = inferer(dims)(images, network)
        for i in range(2):
            torch.testing.assert_close(inferer(dims).heatmaps(images[i], network).output["logits"], logits[i])
            points, confidence, covariance = ArgmaxDecoder()(logits[i])
            found = unpack_peaks(rows[i])
            torch.testing.assert_close(found.points, points, atol=1e-4, rtol=0)
            torch.testing.assert_close(found.confidence, confidence)
            torch.testing.assert_close(found.covariance, covariance, atol=1e-4, rtol=1e-4)
            assert found.disagreement.isfinite().all() and found.mirror_disagreement.isfinite().all()


def test_one_view_after_the_other():
    """While a view looks, nothing is left of the heatmaps of those before it but their mean."""
    earlier = []

    def watching(image, view):
        assert all(output() is None for output in earlier)
        output = view(image)
        earlier.append(weakref.ref(output["logits"]))
        return output

    points = one_each(POINTS[3])
    network = MirroredNetwork(
        EnsembleNetwork([Staged(Blobs(points)) for _ in range(3)]), [0, 1], {"fine": ArgmaxDecoder()}
    )
    inferer(3, window=watching)(coordinates(3)[None], network)
    assert len(earlier) == 6


@pytest.mark.parametrize("dims", [2, 3])
def test_many_instances_and_pairs_are_compared_with_their_partners(dims):
    """The mirror image shows both in the other order of height, and along x a voxel of 0.5 mm away."""
    ends = np.array([[6.0, 17.0, 14.0], [20.0, 11.0, 10.0]])[:, :dims]
    buds = np.array([[6.0, 6.0, 6.0], [20.0, 6.0, 6.0]])[:, :dims]
    side = np.eye(dims)[0]
    # Each channel of the pair shows both ends.
    plain, mirrored = [ends, ends, buds], [ends[::-1] + side, ends[::-1] + side, buds[::-1] + side]
    known = Instances(("p", "q", "bud"), (1, 1, 4), (False, False, True), ((0, 1),), (3.0, 3.0, 3.0), (0.5,) * 3)
    decoder = InstanceDecoder(ArgmaxDecoder(), known, SPACINGS[dims], reach_mm=6.0)
    looking = inferer(dims, decoder=decoder, instances=known, flip_pairs=[0, 1, 2])
    found = looking.heatmaps(coordinates(dims), Staged(Blobs(plain, mirrored))).peaks
    # Rows: p, q, bud and three more of bud, of which one is there.
    for column in (found.disagreement, found.mirror_disagreement):
        np.testing.assert_allclose(column, [0.25, 0.25, 0.25, 0.25, np.nan, np.nan], atol=0.02)
    assert found.points[4:].isnan().all()
    unaware = inferer(dims, decoder=decoder, flip_pairs=[0, 1, 2])
    assert (unaware.heatmaps(coordinates(dims), Staged(Blobs(plain, mirrored))).peaks.disagreement[:4] > 3).all()


def test_a_shape_prior_takes_the_maximum_that_the_shape_speaks_for():
    random = np.random.default_rng(0)
    points = random.uniform(4, 20, (8, 3))
    model = ShapeModel(8, 3)
    spacing = np.array([1.0, 1.0, 2.0])
    model.fit(np.stack([points * spacing + random.normal(size=points.shape) * 0.2 for _ in range(8)]))
    grid = torch.stack(torch.meshgrid(*[torch.arange(24.0)] * 3, indexing="ij"))
    false = [22.0, 22.0, 1.0] if points[2, 0] < 12 else [1.0, 1.0, 22.0]

    def network(image):
        logits = Blobs(one_each(points))(image)
        logits[:, 2] = torch.maximum(logits[:, 2], Blobs([[false]])(image)[:, 0] + 0.5)
        return logits

    arguments = {"window": lambda x, network: network(x), "decoder": ArgmaxDecoder(), "spacing": spacing}
    plain = DenseInferer(**arguments).heatmaps(grid, Staged(network)).peaks
    np.testing.assert_allclose(plain.points[2], false, atol=0.1)
    both = MirroredNetwork(Staged(network), list(range(8)), {"fine": ArgmaxDecoder()})
    found = DenseInferer(**arguments, shape=model).heatmaps(grid, both).peaks
    np.testing.assert_allclose(found.points, points, atol=0.1)
    assert found.replaced.tolist() == [0, 0, 1, 0, 0, 0, 0, 0]
    assert found.shape_distance[2] > 5 > found.shape_distance[3]
    np.testing.assert_allclose(found.mirror_disagreement, 0, atol=1e-3)
