"""What implementations of others get wrong, and the right answer here: each with the number that theirs gives.

Where a whole file of tests is about it already, it is not repeated: points under turned, cropped and anisotropic files
(`test_written_pipelines.py`), label maps on the file's own grid (`test_outputs.py`), absent and unknown landmarks
(`test_contract.py`), grey values of the body and not of the landmarks (`test_intensity.py`), boxes at the border and
large logits under a softmax (`test_landmarker.py`), windows of outputs with a stride (`test_grid_inference.py`),
patches of any size, padding and windows of attention (`test_routing_unet.py`), absent landmarks among hard negatives, a
mean between two tops, a target's box on thick axes, Taylor steps without mixed derivatives (`test_value_parts.py`),
two landmarks in one anchor ball (`test_anchor_balls.py`). Of landmarker also: wing loss that cannot be made in 2D, a
sum over the batch and a number beside a root in STAR, means of sigmoids that half of each voxel draws to the middle
(`test_coordinates.py`); adaptive wing loss that 3D is refused (`test_regression.py`); fits of Gaussians, Laplacian
heatmaps and second parts of the spatial configuration network in 2D alone, and small first weights of every convolution
(`test_gaussians.py`, `test_scn.py`).
"""

import math

import numpy as np
import pytest
import torch

from auto_config.bundle_scripts.methods.decoders import ArgmaxDecoder
from auto_config.bundle_scripts.methods.heatmap import EDTHeatmap
from auto_config.bundle_scripts.methods.interfaces import LOGITS, PointBatch
from auto_config.bundle_scripts.methods.losses import TopKBCELoss
from auto_config.calibration.conformal import conformal_quantile, conformal_rank, ellipsoid_volume
from auto_config.datasets.model.properties import Measure
from auto_config.evaluation.measures import measured
from auto_config.evaluation.metrics import success_rates, summary

RADIUS = 15


def cone(points, size, radius=RADIUS):
    return EDTHeatmap([radius] * len(size))(torch.tensor(points, dtype=torch.float32), size)


@pytest.mark.parametrize("peak", [4.0, 8.0, 8.5, 10.0, 12.0, 40.0])
def test_a_confident_peak_is_not_deleted(peak):
    """nnLandmark sets probabilities of 1.0 (float16: a logit above 8.3) to 0: (20, 20, 20) becomes (19, 17, 11)."""
    heat = cone([[[20.0, 20.0, 20.0]]], (41, 41, 41))[0]
    peaks = ArgmaxDecoder(link="sigmoid", sharpness=RADIUS).decode({LOGITS: 2 * peak * heat - peak})
    torch.testing.assert_close(peaks.points, torch.tensor([[20.0, 20.0, 20.0]]), atol=0.02, rtol=0)
    assert float(peaks.confidence[0]) == pytest.approx(1 / (1 + math.exp(-peak)), abs=0.02)


@pytest.mark.parametrize("offset", [0.0, 0.25, 0.5, 0.75])
@pytest.mark.parametrize("dims", [2, 3])
def test_targets_and_points_are_sub_voxel(dims, offset):
    """Cubes of labels and whole voxels cost nnLandmark 0.3 to 1.5 voxels, with a bias towards low indices."""
    point = [12.0 + offset, 14.0 - offset / 2, 11.0 + offset / 3][:dims]
    size = (27, 28, 26)[:dims]
    heat = cone([[point]], size)[0].clamp(1e-6, 1 - 1e-6)
    peaks = ArgmaxDecoder(link="sigmoid", sharpness=RADIUS).decode({LOGITS: torch.logit(heat)})
    torch.testing.assert_close(peaks.points, torch.tensor([point]), atol=0.05, rtol=0)


def test_near_landmarks_keep_their_own_heatmaps():
    """Cubes of 3 voxels overwrite each other in one label map where landmarks are nearer than that."""
    points = [[[10.0, 10.0, 10.0], [11.0, 10.0, 10.5]]]
    both, alone = cone(points, (21, 21, 21)), cone([[points[0][0]]], (21, 21, 21))
    torch.testing.assert_close(both[:, :1], alone)
    found = ArgmaxDecoder(link="sigmoid", sharpness=RADIUS).decode({LOGITS: torch.logit(both[0].clamp(1e-6, 1 - 1e-6))})
    torch.testing.assert_close(found.points, torch.tensor(points[0]), atol=0.05, rtol=0)


def test_a_landmark_outside_gives_its_part_of_the_patch():
    """nnLandmark's channel is empty then: the same image is once full and once empty."""
    heat = cone([[[-3.0, 10.0, 10.0]]], (21, 21, 21))
    assert float(heat.max()) == pytest.approx(1 - 3 / math.sqrt(RADIUS**2 + 1), abs=1e-6)


def test_a_disc_in_2d_has_the_radius_that_is_asked_for():
    """nnLandmark takes one slice of a slab of three: a radius of 11 in place of 15, 401 pixels, a peak of 0.996."""
    heat = cone([[[20.0, 20.0]]], (41, 41))
    assert int((heat > 0).sum()) == 709
    assert float(heat.max()) == 1.0


def test_a_landmark_that_nobody_looked_for_is_not_taught_to_be_absent():
    """nnLandmark trains it as empty; landmarker's Gaussian of a NaN is NaN."""
    logits = torch.zeros(1, 2, 8, 8, requires_grad=True)
    points = torch.tensor([[[[4.0, 4.0]], [[float("nan")] * 2]]])
    truth = PointBatch(points, torch.tensor([[1, -1]]))
    loss = TopKBCELoss(EDTHeatmap([3, 3]), 0.2)({LOGITS: logits}, truth, (8, 8))
    loss.backward()
    assert torch.isfinite(loss)
    assert not logits.grad[0, 1].any()


def test_a_measure_scales_with_the_axes_that_it_lies_along():
    """nnLandmark's biometry multiplies voxels by the diagonal of a voxel: 5 mm become 8.66."""
    points = np.array([[[0.0, 0.0, 0.0], [5.0, 0.0, 0.0]]])
    assert measured(points, ["a", "b"], Measure("length", "distance", ("a", "b"))).tolist() == [5.0]


def test_a_success_rate_leaves_out_what_has_no_truth():
    """landmarker counts NaN as a miss: 50 % in place of 100 %. nnLandmark's limits are below, papers' at most."""
    assert success_rates(np.array([1.0, float("nan")]), [2.0]) == {"2": 100.0}
    assert success_rates(np.array([2.0, 2.1]), [2.0]) == {"2": 50.0}
    assert summary(np.array([float("nan")]))["mean"] is None


def test_too_few_scores_give_an_infinite_region():
    """landmarker's rank is -1 below 19 cases at 95 %, so it takes the smallest score for the region's size."""
    assert [conformal_rank(n, 0.95) for n in (1, 18)] == [None, None]
    assert conformal_quantile(np.arange(1.0, 19.0), 0.95) == math.inf
    assert conformal_quantile(np.arange(1.0, 20.0), 0.95) == 19.0


def test_the_volume_of_an_ellipsoid_has_four_thirds():
    """landmarker takes pi in 3D as in 2D."""
    covariance = np.diag([1.0, 4.0, 9.0])
    assert float(ellipsoid_volume(np.array(2.0), covariance)) == pytest.approx(4 / 3 * math.pi * 8 * 6)
    assert float(ellipsoid_volume(np.array(2.0), covariance[:2, :2])) == pytest.approx(math.pi * 4 * 2)


def test_a_peak_of_logits_is_found_without_enlarging_the_heatmap():
    """landmarker's enlargement has no half-voxel: a systematic 0.22 to 0.35 voxel along each axis in 3D."""
    grid = torch.stack(torch.meshgrid(*[torch.arange(25.0)] * 3, indexing="ij"))
    centre = torch.tensor([12.3, 11.8, 12.5])
    logits = -0.5 * (grid - centre[:, None, None, None]).square().sum(0)[None] / 4
    found = ArgmaxDecoder(link="softmax").decode({LOGITS: logits})
    torch.testing.assert_close(found.points[0], centre, atol=0.02, rtol=0)
