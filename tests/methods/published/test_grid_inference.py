"""Windows, crops and priors of outputs with cells of several voxels."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import SlidingWindowInferer

from auto_config.bundle_scripts.grid.grids import to_cells
from auto_config.bundle_scripts.inference.coarse_to_fine import CoarseToFineInferer
from auto_config.bundle_scripts.inference.dense import DenseInferer
from auto_config.bundle_scripts.inference.strided_window import StridedWindowInferer
from auto_config.bundle_scripts.methods.grid_votes import (
    CLASS,
    OFFSET,
    GridVoteDecoder,
    signed_log,
)
from auto_config.bundle_scripts.points.shape import ShapeModel


@pytest.mark.parametrize("dims", [2, 3])
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_windows_of_any_size_lie_on_whole_cells(dims, data):
    """Every cell of the merged output is the mean of the voxels of that very cell of the image."""
    stride = data.draw(st.sampled_from([2, 4, 8]))
    roi = [stride * data.draw(st.integers(1, 4)) for _ in range(dims)]
    size = [data.draw(st.integers(1, 50 if dims == 2 else 24)) for _ in range(dims)]
    overlap = data.draw(st.sampled_from([0.0, 0.25, 0.5, 0.7]))
    image = torch.randn(1, 1, *size, generator=torch.Generator().manual_seed(0))
    pool = torch.nn.functional.avg_pool3d if dims == 3 else torch.nn.functional.avg_pool2d
    window = StridedWindowInferer(
        roi, stride=stride, overlap=overlap, mode="gaussian", padding_mode="constant", cval=7.0
    )
    with torch.no_grad():
        found = window(image, lambda x: {"one": pool(x, stride), "two": 2 * pool(x, stride)})
    assert found["one"].shape[2:] == tuple(-(-n // stride) for n in size)
    pads = [voxel for n in reversed(size) for voxel in (0, -n % stride)]
    expected = pool(torch.nn.functional.pad(image, pads, value=7.0), stride)
    torch.testing.assert_close(found["one"], expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(found["two"], 2 * expected, atol=1e-4, rtol=0)


def test_monais_own_window_is_off_by_part_of_a_cell():
    """Why the class is there: a last window that begins within a cell is put on the cell before."""
    image = torch.arange(44.0)[None, None, :, None].expand(1, 1, 44, 8)
    means = partial(torch.nn.functional.avg_pool2d, kernel_size=8)
    theirs = SlidingWindowInferer([24, 8], overlap=0.0)(image, means)[0, 0, :, 0]
    ours = StridedWindowInferer([24, 8], stride=8, overlap=0.0)(image, lambda x: {"one": means(x)})["one"][0, 0, :, 0]
    expected = torch.arange(44.0)[:40].reshape(5, 8).mean(1)
    torch.testing.assert_close(ours[:5], expected)
    assert float((theirs[:5] - expected).abs().max()) > 1


class Knows:
    """A network that knows where landmarks are: the image holds the coordinates of its voxels, a channel for each axis.

    It sees nothing but these of a window or a crop, so its output moves with them.

    Args:
        points: ``(L, D)`` in the coordinates that the image holds.
        strides: voxels for one cell, of each stage.
        factor: coordinates for one voxel of the coarse stage.
    """

    flipped = False

    def __init__(self, points, strides, factor=1):
        self.points, self.strides = torch.as_tensor(points, dtype=torch.float32), strides
        self.scale = {"fine": 1, "coarse": factor}
        self.shape = ShapeModel(*points.shape)

    def views(self):
        return [self]

    def __call__(self, images):
        ((name, image),) = images.items()
        stride, dims = self.strides[name], image.ndim - 2
        pool = torch.nn.functional.avg_pool3d if dims == 3 else torch.nn.functional.avg_pool2d
        places = pool(image, stride)
        vectors = (self.points[(None, ..., *(None,) * dims)] - places[:, None]) / self.scale[name]
        classes = torch.where((vectors.abs() <= stride / 2).all(2), 20.0, -20.0)
        return {name: {CLASS: classes, OFFSET: signed_log(vectors).flatten(1, 2), "unused": places}}


def coordinates(size):
    return torch.stack(torch.meshgrid(*[torch.arange(n, dtype=torch.float32) for n in size], indexing="ij"))


POINTS = np.array([[10.3, 12.6, 5.2], [21.7, 20.1, 9.8], [13.1, 15.9, 7.4]])


@pytest.mark.parametrize("dims", [2, 3])
def test_one_stage_of_cells_finds_points_in_an_image_of_any_size(dims):
    image = coordinates((37, 30, 19)[:dims])
    network = Knows(POINTS[:, :dims], {"fine": 8})
    window = StridedWindowInferer([24, 16, 16][:dims], stride=8, cval=-99.0)
    inferer = DenseInferer(window=window, decoder=GridVoteDecoder(8), spacing=(1.0,) * dims)
    found = inferer.heatmaps(image, network)
    # Of cells whose voxels stick out the mean is wrong; none of them holds a landmark.
    torch.testing.assert_close(found.peaks.points.double(), torch.tensor(POINTS[:, :dims]), atol=0.01, rtol=0)
    assert found.origins.shape == (3, dims)
    assert set(found.output) == {CLASS, OFFSET}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("batch_size", [1, 8])
def test_coarse_cells_then_fine_cells_of_crops_that_overlap(dims, batch_size):
    """Crops overlap and touch the border; their outputs are averaged on whole cells, vectors too."""
    points = POINTS[:, :dims]
    image = coordinates((37, 30, 19)[:dims])
    network = Knows(points, {"coarse": 4, "fine": 2}, factor=2)
    inferer = CoarseToFineInferer(
        window=StridedWindowInferer([12, 8, 8][:dims], stride=4, cval=-99.0),
        factor=(2,) * dims,
        crop_size=(16, 12, 8)[:dims],
        spacing=(1.0, 1.25, 2.0)[:dims],
        coarse_decoder=GridVoteDecoder(4),
        fine_decoder=GridVoteDecoder(2),
        reach=4.0,
        batch_size=batch_size,
        pad_value=-99.0,
    )
    found = inferer.heatmaps(image, network)
    torch.testing.assert_close(found.peaks.points.double(), torch.tensor(points), atol=0.02, rtol=0)
    # Crops begin on whole cells.
    assert not (found.origins % 2).any()
    cells = tuple(n // 2 for n in (16, 12, 8)[:dims])
    assert {head: tuple(x.shape) for head, x in found.output.items()} == {
        CLASS: (3, *cells),
        OFFSET: (3 * dims, *cells),
    }


def test_the_prior_of_a_fine_stage_lies_on_its_cells():
    inferer = CoarseToFineInferer(
        window=StridedWindowInferer([8, 8], stride=8),
        factor=(2, 2),
        crop_size=(8, 12),
        spacing=(1.0, 2.0),
        coarse_decoder=GridVoteDecoder(8),
        fine_decoder=GridVoteDecoder(2),
        reach=3.0,
    )
    prior = inferer._log_prior(torch.tensor([[2.5, 4.0]]))
    assert prior.shape == (1, 4, 6)
    # Cell (1, 2) has its centre at (2.5, 4.5): half a voxel of 2 mm away.
    assert float(prior[0, 1, 2]) == pytest.approx(-0.5 * (1 / 3) ** 2)
    assert float(prior[0, 2, 2]) == pytest.approx(-0.5 * ((2 / 3) ** 2 + (1 / 3) ** 2))
    assert to_cells(np.array([2.5, 4.5]), 2).tolist() == [1.0, 2.0]
    assert to_cells(np.array([2.5, 4.0]), 1).tolist() == [2.5, 4.0]


@pytest.mark.parametrize("wrong", [float("nan"), 100.0])
@pytest.mark.parametrize("stages", [1, 2])
def test_vectors_that_diverged_are_refused_whatever_the_cells_say(stages, wrong):
    """A vector of 100 is e^100 voxels, which float32 does not hold."""
    landmarks, strides = 2, {"coarse": 8, "fine": 2}

    class Diverged:
        flipped = False
        shape = ShapeModel(landmarks, 2)

        def views(self):
            return [self]

        def __call__(self, images):
            found = {}
            for name, image in images.items():
                grid = [edge // strides[name if stages == 2 else "coarse"] for edge in image.shape[2:]]
                vector = wrong if name == "fine" else 0.0
                heads = {CLASS: torch.zeros(len(image), landmarks, *grid)}
                found[name] = {**heads, OFFSET: torch.full((len(image), 2 * landmarks, *grid), vector)}
            return found

    if stages == 1:
        window = StridedWindowInferer([32, 32], stride=8)
        inferer = DenseInferer(window=window, decoder=GridVoteDecoder(8), spacing=[1.0, 1.0])
    else:
        inferer = CoarseToFineInferer(
            window=StridedWindowInferer([16, 16], stride=8),
            factor=[2, 2],
            crop_size=[16, 16],
            spacing=[1.0, 1.0],
            coarse_decoder=GridVoteDecoder(8),
            fine_decoder=GridVoteDecoder(2),
            reach=4.0,
        )
    with pytest.raises(ValueError, match="no finite coordinates"), torch.no_grad():
        inferer(torch.zeros(1, 1, 32, 32), Diverged())
