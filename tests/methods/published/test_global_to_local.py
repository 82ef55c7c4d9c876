"""The grid networks: their size against the specification, scripting, planned memory, and that they learn."""

from types import SimpleNamespace

import pytest
import torch
from contract_parts import plan_of

from auto_config.bundle.documentation import readme
from auto_config.bundle.metadata import metadata
from auto_config.bundle_scripts.methods.grid_network import GlobalGridNetwork, LocalGridNetwork
from auto_config.bundle_scripts.methods.grid_votes import (
    CLASS,
    OFFSET,
    GridVoteDecoder,
    GridVoteLoss,
)
from auto_config.bundle_scripts.methods.interfaces import PointBatch
from auto_config.bundle_scripts.methods.stages import LandmarkNetwork
from auto_config.methods import BACKBONES


def truth(points, status):
    return PointBatch(torch.as_tensor(points, dtype=torch.float32)[:, :, None], torch.tensor(status))


def coordinates(size):
    return torch.stack(torch.meshgrid(*[torch.arange(n, dtype=torch.float32) for n in size], indexing="ij"))


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


@pytest.mark.parametrize("dims", [2, 3])
def test_metadata_and_readme_say_what_an_export_gives(dims):
    """The cells of the fine stage, which are half as many along each axis as the patch has voxels."""
    plan = plan_of("global_to_local", dims)
    names = [{"name": name, "slug": name} for name in ("a", "b", "c")]
    formats = metadata(plan, "votes", {"landmarks": names}, 20)["network_data_format"]
    patch, output = formats["inputs"]["image"]["spatial_shape"], formats["outputs"]["pred"]
    assert patch == plan.stage("fine")["patch_size"]
    assert (output["num_channels"], output["spatial_shape"]) == (3, [edge // 2 for edge in patch])
    text = readme("votes", plan, {"landmarks": names}, SimpleNamespace(folds={}, test=[]))
    assert "its output the first of its heads (class, offset)" in " ".join(text.split())
    other = readme("votes", plan_of("default", dims), {"landmarks": names}, SimpleNamespace(folds={}, test=[]))
    assert "of its heads" not in other
