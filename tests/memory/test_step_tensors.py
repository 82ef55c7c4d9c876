"""What a step is stated to hold, beside what the tensors of real small networks and losses hold."""

import json
from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.bundle import ConfigParser
from peak_memory import PeakMemory

from auto_config.bundle_scripts.methods import losses
from auto_config.bundle_scripts.methods.heatmap import EDTHeatmap
from auto_config.bundle_scripts.methods.interfaces import LOGITS
from auto_config.bundle_scripts.methods.losses import SpatialCrossEntropyLoss, StagesLoss, TopKBCELoss, WeightedLoss
from auto_config.memory.step import FLOAT, HALF, MB, StageCost, loss_bytes, seen_share, stage_cost, step_memory
from auto_config.methods import BACKBONES, METHODS

CASES = (("tiny", 3, 32), ("tiny", 2, 64), ("plain", 3, 32), ("plain", 2, 64), ("resenc_m", 3, 32))
LANDMARKS, BATCH = 3, 2


def built(name, dims, edge):
    """A stage, its row of the table and its network."""
    backbone = BACKBONES[name]
    topology = backbone.topology([1.0] * dims, [edge] * dims)
    stage = {
        "name": "fine",
        "spacing": [1.0] * dims,
        "patch_size": list(topology.patch_size),
        "batch_size": BATCH,
        **backbone.describe(topology),
    }
    config = json.dumps(backbone.config(stage, dims, 1, LANDMARKS)).replace('"scripts.', '"auto_config.bundle_scripts.')
    return backbone, stage, ConfigParser({"network": json.loads(config)}).get_parsed_content("network")


@pytest.mark.parametrize(("name", "dims", "edge"), CASES)
def test_stated_weights_and_feature_maps_are_those_of_the_network(name, dims, edge):
    backbone, stage, network = built(name, dims, edge)
    cost = stage_cost(backbone, stage, channels=1, landmarks=LANDMARKS)
    assert cost.weights == sum(weight.numel() for weight in network.parameters())
    weights = {weight.untyped_storage().data_ptr() for weight in network.parameters()}
    held = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            held[storage.data_ptr()] = storage  # alive, so that no other one gets its place
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(torch.zeros(BATCH, 1, *stage["patch_size"]))
    saved = sum(storage.nbytes() for storage in held.values()) / FLOAT
    # Means, deviations and weights of the normalisations are not counted.
    assert cost.saved == pytest.approx(saved, rel=0.02)
    assert cost.saved <= saved


def truth(sizes, landmarks, seen):
    """Targets of each stage, of which `seen` landmarks of each patch are known."""
    found = {}
    for name, (count, size) in sizes.items():
        status = torch.ones(count, landmarks, dtype=torch.int64)
        status[:, seen[name] :] = -1
        points = torch.full((count, landmarks, 3), size[0] / 2)
        found[name] = {"points": points, "status": status, "size": size}
    return found


@pytest.mark.parametrize("by_channels", [False, True])
@pytest.mark.parametrize("few", [False, True])
def test_losses_of_two_stages_hold_what_is_stated(few, by_channels, monkeypatch):
    """Of a whole batch, and channel by channel, as of large ones on a CPU."""
    monkeypatch.setattr(losses, "by_channels", lambda _logits: by_channels)
    landmarks, sizes = 10, {"coarse": (2, (24, 24, 24)), "fine": (8, (16, 16, 16))}
    seen = {"coarse": landmarks, "fine": 1 if few else landmarks}
    loss = StagesLoss(
        {
            name: WeightedLoss([TopKBCELoss(EDTHeatmap([5.0] * 3)), SpatialCrossEntropyLoss()], [1.0, 1.0])
            for name in sizes
        }
    )
    targets = truth(sizes, landmarks, seen)
    halves = {name: torch.randn(n, landmarks, *size, requires_grad=True) for name, (n, size) in sizes.items()}
    with PeakMemory() as memory:
        # As a network gives them; an operation, so that they are counted.
        outputs = {name: {LOGITS: half * 1.0} for name, half in halves.items()}
        loss(outputs, targets).backward()
    costs = [
        StageCost(0, 0.0, float(count * prod(size) * landmarks), 0.0, seen[name] / landmarks)
        for name, (count, size) in sizes.items()
    ]
    method = METHODS["default"]
    stated = loss_bytes(costs, method.cpu_loss_bytes_per_voxel if by_channels else method.loss_bytes_per_voxel)
    # The gradients of the logits themselves stay here, where a network would go on with them.
    assert stated == pytest.approx(memory.peak, rel=0.15)


def test_a_step_is_the_sum_of_its_parts_in_closed_form():
    one = StageCost(weights=MB, saved=3.0 * MB, maps=2.0 * MB, inputs=MB)
    step = step_memory([one], loss_bytes_per_voxel=16.0, optimizer="AdamW", value_bytes=FLOAT)
    assert (step.weights, step.feature_maps, step.loss, step.images) == (16.0, 12.0, 32.0, 4.0)
    assert step.total == 64.0
    half = step_memory([one], loss_bytes_per_voxel=16.0, optimizer="SGD", value_bytes=HALF)
    assert (half.weights, half.feature_maps, half.loss) == (14.0, 6.0, 32.0)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 4), st.integers(1, 60), st.sampled_from([32, 48, 64]), st.sampled_from(["tiny", "plain"]))
def test_memory_grows_with_batch_landmarks_and_patch(batch, landmarks, edge, name):
    def total(batch, landmarks, edge):
        stage = {"spacing": [1.0] * 3, "patch_size": [edge] * 3, "batch_size": batch}
        cost = stage_cost(BACKBONES[name], stage, channels=1, landmarks=landmarks)
        return step_memory([cost], loss_bytes_per_voxel=22.4, optimizer="AdamW", value_bytes=FLOAT).total

    here = total(batch, landmarks, edge)
    assert here < total(batch + 1, landmarks, edge)
    assert here < total(batch, landmarks + 1, edge)
    assert here < total(batch, landmarks, edge + 16)


def test_share_of_landmarks_in_a_crop():
    # Two of three dimensions are seen whole; along the third, of points spread evenly over 4 edges: 1/4 - 1/64.
    assert seen_share([10.0, 10.0, 10.0], [[1.0, 5.0, 40.0]]) == pytest.approx(1 / 4 - 1 / 64)
    assert seen_share([10.0] * 3, []) == 1.0
    assert seen_share([10.0] * 3, [[0.0, 0.0, 0.0]]) == 1.0
