"""Global to local: the signed logarithm, losses and votes in closed form, grids of cells, windows and crops on them."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import SlidingWindowInferer

from auto_config.bundle_scripts.dense_inferer import DenseInferer
from auto_config.bundle_scripts.grids import to_cells
from auto_config.bundle_scripts.inferers import CoarseToFineInferer
from auto_config.bundle_scripts.methods.grid_network import GlobalGridNetwork, LocalGridNetwork
from auto_config.bundle_scripts.methods.grid_votes import (
    CLASS,
    OFFSET,
    GridVoteDecoder,
    GridVoteLoss,
    signed_exp,
    signed_log,
)
from auto_config.bundle_scripts.methods.interfaces import PointBatch
from auto_config.bundle_scripts.networks import LandmarkNetwork
from auto_config.bundle_scripts.shape import ShapeModel
from auto_config.bundle_scripts.strided_window import StridedWindowInferer
from auto_config.methods import BACKBONES

NAN = float("nan")
GRIDS = {2: (5, 4), 3: (4, 3, 2)}


def truth(points, status):
    return PointBatch(torch.as_tensor(points, dtype=torch.float32)[:, :, None], torch.tensor(status))


def cell_centres(grid, stride, dims):
    """``(D, *grid)`` voxels, by counting the voxels of each cell."""
    axes = [torch.arange(n * stride, dtype=torch.float32).reshape(n, stride).mean(1) for n in grid]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def perfect(points, grid, stride, high=20.0):
    """The output of a network that knows ``points (L, D)``."""
    points = torch.as_tensor(points, dtype=torch.float32)
    dims = points.shape[1]
    vectors = points[(..., *(None,) * dims)] - cell_centres(grid, stride, dims)
    inside = (vectors.abs() <= stride / 2).all(1)
    classes = torch.where(inside, high, -high)
    offset = torch.sign(vectors) * torch.log(1 + vectors.abs())
    return {CLASS: classes, OFFSET: offset.flatten(0, 1)}


def voxels(grid, stride):
    return tuple(n * stride for n in grid)


@given(st.floats(-1e4, 1e4))
def test_the_signed_logarithm_has_an_inverse_and_is_odd(value):
    x = torch.tensor([value], dtype=torch.float64)
    torch.testing.assert_close(signed_exp(signed_log(x)), x, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(signed_log(-x), -signed_log(x))


def test_the_signed_logarithm_by_hand():
    x = torch.tensor([0.0, math.e - 1, 1 - math.e, 7.0], dtype=torch.float64)
    expected = torch.tensor([0.0, 1.0, -1.0, math.log(8)], dtype=torch.float64)
    torch.testing.assert_close(signed_log(x), expected)


@pytest.mark.parametrize("stride", [2, 8])
@pytest.mark.parametrize("dims", [2, 3])
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_a_perfect_output_decodes_to_the_point_and_has_no_loss(dims, stride, data):
    grid = GRIDS[dims]
    size = voxels(grid, stride)
    points = [[data.draw(st.floats(-0.375, n - 0.625, width=32)) for n in size] for _ in range(2)]
    output = perfect(points, grid, stride)
    peaks = GridVoteDecoder(stride).decode(output)
    torch.testing.assert_close(peaks.points, torch.tensor(points), atol=2e-3, rtol=0)
    # Votes that agree have the spread of a voxel.
    torch.testing.assert_close(peaks.covariance, torch.eye(dims).repeat(2, 1, 1) / 12, atol=1e-3, rtol=0)
    assert peaks.confidence.min() > 0.999
    batch = {head: value[None] for head, value in output.items()}
    on_border = any(abs((x + 0.5) / stride % 1) < 1e-4 for point in points for x in point)
    if not on_border:
        assert float(GridVoteLoss()(batch, truth([points], [[1, 1]]), size)) < 1e-4


@pytest.mark.parametrize("dims", [2, 3])
def test_the_loss_by_hand(dims):
    """One landmark in the first cell: 2 cells of 4 voxels along the first axis, one along the others."""
    grid = (2, *(1,) * (dims - 1))
    classes, vectors = torch.zeros(1, 1, *grid), torch.zeros(1, dims, *grid)
    classes[0, 0].view(-1)[:] = torch.tensor([2.0, -1.0])
    point = [0.5, *(1.5,) * (dims - 1)]
    found = GridVoteLoss()({CLASS: classes, OFFSET: vectors}, truth([[point]], [[1]]), (8, *(4,) * (dims - 1)))
    cells = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1))) / 2
    # The centres are at 1.5 and 5.5 along the first axis; along the others the point is in the middle.
    logs = (math.log(2) + math.log(6)) / 2 / dims
    assert float(found) == pytest.approx(cells + logs, rel=1e-5)


def test_gradients_by_hand():
    """The cross-entropy's is that of a sigmoid, the absolute error's a sign, each over what is averaged."""
    generator = torch.Generator().manual_seed(0)
    classes = torch.randn(1, 2, 3, 2, generator=generator, requires_grad=True)
    vectors = torch.randn(1, 4, 3, 2, generator=generator, requires_grad=True)
    points = torch.tensor([[[9.0, 3.0], [20.0, 12.0]]])
    GridVoteLoss()({CLASS: classes, OFFSET: vectors}, truth(points, [[1, 1]]), (24, 16)).backward()
    target = torch.zeros(2, 3, 2)
    target[0, 1, 0] = target[1, 2, 1] = 1
    torch.testing.assert_close(classes.grad[0], (classes.detach()[0].sigmoid() - target) / 12)
    best = perfect(points[0], (3, 2), 8)[OFFSET]
    torch.testing.assert_close(vectors.grad[0], (vectors.detach()[0] - best).sign() / 24)


@pytest.mark.parametrize("dims", [2, 3])
def test_absent_unknown_and_outside(dims):
    grid = GRIDS[dims]
    size = voxels(grid, 8)
    shape = (1, 4, *grid)
    classes = torch.zeros(shape, requires_grad=True)
    vectors = torch.zeros(1, 4 * dims, *grid, requires_grad=True)
    points = torch.full((1, 4, dims), 5.0)
    points[0, 2] = NAN
    points[0, 3, 0] = -30.0
    # present, absent, unknown, present but outside of the patch
    GridVoteLoss()({CLASS: classes, OFFSET: vectors}, truth(points, [[1, 0, -1, 1]]), size).backward()
    by_landmark = vectors.grad.unflatten(1, (4, dims))[0]
    # Absent: every cell is pushed down, and no vector is trained.
    torch.testing.assert_close(classes.grad[0, 1], torch.full(grid, 0.5 / 3 / math.prod(grid)))
    assert not by_landmark[1].any()
    # Unknown: nothing.
    assert not classes.grad[0, 2].any()
    assert not by_landmark[2].any()
    # Outside: in no cell, and the vectors to it are trained: all point down along the first axis.
    torch.testing.assert_close(classes.grad[0, 3], classes.grad[0, 1])
    assert (by_landmark[3, 0] > 0).all()
    assert (classes.grad[0, 0] < 0).sum() == 1
    # A perfect output points there, and nothing says that it is here.
    peaks = GridVoteDecoder(8).decode(perfect(points[0], grid, 8))
    torch.testing.assert_close(peaks.points[3], points[0, 3], atol=1e-2, rtol=0)
    assert float(peaks.confidence[3]) < 1e-6


def test_votes_are_weighed_and_their_spread_is_the_covariance():
    """Two cells with weights 3 : 1 that point 4 voxels apart along the first axis."""
    classes = torch.tensor([[[math.log(3.0)], [-math.log(3.0)]]])  # probabilities 3/4 and 1/4
    offset = torch.zeros(2, 2, 1)
    offset[0, :, 0] = signed_log(torch.tensor([1.0, -3.0]))
    # Centres at 3.5 and 11.5, so votes at 4.5 and 8.5.
    peaks = GridVoteDecoder(8).decode({CLASS: classes, OFFSET: offset})
    torch.testing.assert_close(peaks.points, torch.tensor([[5.5, 3.5]]))
    torch.testing.assert_close(peaks.covariance[0], torch.tensor([[3.0, 0.0], [0.0, 0.0]]) + torch.eye(2) / 12)
    # Neighbours share a landmark between them.
    assert float(peaks.confidence[0]) == pytest.approx(1.0)
    # A prior weighs the voters and moves no vote.
    prior = torch.tensor([[[-50.0], [0.0]]])
    again = GridVoteDecoder(8).decode({CLASS: classes, OFFSET: offset}, prior)
    torch.testing.assert_close(again.points, torch.tensor([[8.5, 3.5]]))
    torch.testing.assert_close(again.confidence, peaks.confidence)


@pytest.mark.parametrize("dims", [2, 3])
def test_vectors_turn_in_the_mirror_and_pairs_change_places(dims):
    grid, pairs = GRIDS[dims], [1, 0, 2]
    size = voxels(grid, 8)
    points = torch.tensor([[6.2, 9.1, 3.3], [25.4, 11.9, 12.2], [16.1, 20.7, 5.0]])[:, :dims]
    flipped = points[pairs].clone()
    flipped[:, 0] = size[0] - 1 - flipped[:, 0]
    seen = {head: value[None] for head, value in perfect(flipped, grid, 8).items()}
    back = GridVoteDecoder(8).unflip(seen, pairs)
    for head, value in perfect(points, grid, 8).items():
        torch.testing.assert_close(back[head][0], value, atol=1e-5, rtol=0)
    assert GridVoteDecoder(8).density(back) is None


def test_a_stride_of_nothing_is_refused():
    with pytest.raises(ValueError, match="stride is 0"):
        GridVoteDecoder(0)
    with pytest.raises(ValueError, match=r"\[24, 20\] voxels; each edge must be a multiple of 8"):
        StridedWindowInferer([24, 20], stride=8)


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


def counted(dims, channels, landmarks):
    """Parameters of the global network as its specification has them: weights of convolutions, two of each norm."""

    def convolution(k, n, m):
        return n * m * k**dims + 2 * m

    total, width = convolution(7, channels, 16), 16
    for filters, pairs in ((32, 3), (64, 4), (128, 6), (256, 3)):
        total += convolution(1, width, filters) + convolution(3, width, filters)
        total += (2 * pairs - 1) * convolution(3, filters, filters)
        width = filters
    for outputs in (landmarks, landmarks * dims):
        total += 2 * convolution(1, 256, 256) + 256 * outputs + outputs
    return total


@pytest.mark.parametrize(("dims", "millions"), [(2, 5.59), (3, 16.13)])
def test_the_global_network_is_that_of_the_specification(dims, millions):
    network = GlobalGridNetwork(dims, 1, 6).eval()
    number = sum(p.numel() for p in network.parameters())
    assert number == counted(dims, 1, 6)
    assert number / 1e6 == pytest.approx(millions, abs=0.01)
    image = torch.randn(1, 1, *(40, 32, 24)[:dims])
    assert network(image).shape == (1, 6 * (1 + dims), *(5, 4, 3)[:dims])


@pytest.mark.parametrize("dims", [2, 3])
def test_the_local_network_is_that_of_the_specification_and_sees_14_voxels(dims):
    network = LocalGridNetwork(dims, 2, 5).eval()
    number = sum(p.numel() for p in network.parameters())
    k = 3**dims
    body = 2 * 32 * k + 32 * 32 * k + 32 * 64 * k + 64 * 64 * k + 2 * (32 + 32 + 64 + 64)
    assert number == body + 2 * 2 * (64 * 64 + 128) + 65 * 5 * (1 + dims)
    image = torch.zeros(1, 2, *(24,) * dims, requires_grad=True)
    output = network(image + torch.rand_like(image))
    assert output.shape == (1, 5 * (1 + dims), *(12,) * dims)
    output[(0, 0, *(6,) * dims)].backward()
    seen = image.grad[0].abs().sum(0).nonzero()
    reach = seen.amax(0) - seen.amin(0) + 1
    assert (reach <= 14).all()
    assert (reach >= 12).all()


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", [GlobalGridNetwork, LocalGridNetwork])
def test_networks_are_scripted_and_their_bias_starts_empty(dims, kind):
    torch.manual_seed(0)
    filters = [4, 6, 8, 10] if kind is GlobalGridNetwork else [4, 6]
    heads = {CLASS: 3, OFFSET: 3 * dims}
    network = LandmarkNetwork(
        {"fine": kind(dims, 1, 3, filters)},
        3,
        dims,
        output_bias=-6.0,
        output_layers={"fine": "class_head.6"},
        heads={"fine": heads},
    ).eval()
    image = torch.randn(2, 1, *(16,) * dims)
    with torch.no_grad():
        found = network(image)
        torch.testing.assert_close(torch.jit.script(network)(image), found)
        outputs = network({"fine": image})["fine"]
    torch.testing.assert_close(outputs[CLASS], found)
    torch.testing.assert_close(network.stages["fine"].class_head[6].bias.data, torch.full((3,), -6.0))
    assert outputs[OFFSET].shape == (2, 3 * dims, *found.shape[2:])


@pytest.mark.parametrize("dims", [2, 3])
def test_planned_memory_counts_what_the_convolutions_give(dims):
    row = BACKBONES["grid"]
    for backbone, network, edge in (
        (row, GlobalGridNetwork(dims, 1, 5), 64),
        (row.fine, LocalGridNetwork(dims, 1, 5), 16),
    ):
        counts = []
        for module in network.modules():
            if isinstance(module, (torch.nn.Conv2d, torch.nn.Conv3d)):
                module.register_forward_hook(lambda module, given, found, to=counts: to.append(found.numel()))
        with torch.no_grad():
            network(torch.zeros(1, 1, *(edge,) * dims))
        topology = backbone.topology((1.0,) * dims, (edge,) * dims)
        assert backbone.values(topology, 5) == pytest.approx(sum(counts))


@pytest.mark.parametrize("dims", [2, 3])
def test_patches_are_whole_cells(dims):
    row = BACKBONES["grid"]
    assert row.topology((1.0,) * dims, (7, 17, 40)[:dims]).patch_size == (16, 24, 40)[:dims]
    assert row.fine.topology((1.0,) * dims, (1, 17, 32)[:dims]).patch_size == (4, 18, 32)[:dims]


@pytest.mark.parametrize("dims", [2, 3])
def test_it_learns_one_image_by_heart(dims):
    """A few steps on one blob, then the network in evaluation, with its running statistics, finds it."""
    torch.manual_seed(0)
    size = (24, 16, 16)[:dims]
    points = torch.tensor([[7.3, 9.6, 5.2], [17.7, 4.4, 10.1]])[:, :dims]
    grid = coordinates(size)
    image = sum(
        height * torch.exp(-((grid - point[(..., *(None,) * dims)]) ** 2).sum(0) / 8)
        for height, point in zip((1.0, 2.0), points, strict=True)
    )
    batch = image[None, None].repeat(2, *(1,) * (dims + 1)) + 0.01 * torch.randn(2, 1, *size)
    network = LocalGridNetwork(dims, 1, 2, filters=(16, 24))
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    target = truth(points[None].repeat(2, 1, 1), [[1, 1]] * 2)
    for _ in range(60):
        optimizer.zero_grad()
        classes, offset = network(batch).split([2, 2 * dims], dim=1)
        GridVoteLoss()({CLASS: classes, OFFSET: offset}, target, size).backward()
        optimizer.step()
    with torch.no_grad():
        classes, offset = network.eval()(batch[:1]).split([2, 2 * dims], dim=1)
    found = GridVoteDecoder(2).decode({CLASS: classes[0], OFFSET: offset[0]})
    assert float(torch.linalg.vector_norm(found.points - points, dim=1).max()) < 1.5
