"""Every path runs on a device that is not the host's, and waits for it no more often than docs/gpu.md says.

The counts in its tables are upper bounds: a new wait fails here. `python benchmarks/device_waits.py` writes them anew.
"""

import numpy as np
import pytest
import torch
from contract_parts import LANDMARKS
from emulated_gpu import GPU, MixedDevicesError, emulated_gpu
from prediction_paths import opened_bundle, prediction
from waits import BOUNDS, LARGE, NETWORKS, OF_METHODS, PATHS

from auto_config.bundle_scripts.methods.stages import LandmarkNetwork


@pytest.mark.parametrize("name", PATHS)
def test_a_prediction_waits_no_more_often_than_documented(name):
    assert PATHS[name]().total() <= BOUNDS[name]


@pytest.mark.parametrize(("method", "path"), OF_METHODS, ids=["-".join(one) for one in OF_METHODS])
def test_a_method_waits_no_more_often_than_documented(method, path):
    assert OF_METHODS[method, path]().total() <= BOUNDS[method, path]


WHOLE_MAPS = [
    *[("default", 2, 2), ("default", 3, 2), ("h3de", 2, 1), ("h3de", 3, 1), ("nnlandmark_v1", 3, 1)],
    *[("global_to_local", 3, 2), ("anchor_ball", 2, 1), ("anchor_ball", 3, 1)],
]


@pytest.mark.parametrize(("method", "dims", "stages"), WHOLE_MAPS)
def test_waits_for_an_image_do_not_grow_with_its_windows(method, dims, stages):
    few, many = [], []
    waits = prediction(method, dims, stages, looks=few)
    assert prediction(method, dims, stages, size=LARGE, looks=many).total() <= waits.total()
    assert sum(many) >= 2 * sum(few)


@pytest.mark.parametrize(("size", "slabs"), [((40, 36, 16), 4), ((40, 36, 24), 4), ((56, 36, 16), 6)])
def test_slabs_wait_twice_and_three_times_for_each_landmark_whatever_windows_they_have(size, slabs):
    """Of windows of 16 voxels that overlap by half; both views and their mean are searched in slabs."""
    views, windows = 3, []
    found = prediction("default", 3, 1, size=size, looks=windows).total()
    whole = BOUNDS["image, one stage, 3D, mirrored"]
    # Values are random: which landmarks are higher in a slab than before is left to them.
    assert whole + 2 * views * slabs <= found <= whole + views * slabs * (2 + 3 * LANDMARKS)
    assert sum(windows) >= 2 * 2 * slabs


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_runs_forward_and_backward_and_never_waits(name):
    assert NETWORKS[name]().total() == 0


def test_the_emulation_raises_on_mixed_devices_and_on_numpy():
    with emulated_gpu() as gpu:
        there, here = torch.ones(3, device=GPU), torch.ones(3)
        for mix in (lambda: there + here, lambda: torch.cat([there, here]), lambda: here[there > 0]):
            with pytest.raises(MixedDevicesError):
                mix()
        for array in (there.numpy, lambda: np.asarray(there)):
            with pytest.raises(TypeError, match="numpy"):
                array()
        assert there.device == GPU and here.device.type == "cpu"
        assert (there + 1).is_cuda and not here.is_cuda and (there + torch.tensor(2.0)).is_cuda
        assert gpu.count == 0


@pytest.mark.parametrize(
    ("wait", "count"),
    [
        (lambda x: x.sum().item(), 1),
        (lambda x: bool((x > 0).all()), 1),
        (lambda x: x.tolist(), 1),
        (lambda x: x.cpu(), 1),
        (lambda x: x.to("cpu"), 1),
        (lambda x: x.nonzero(), 1),
        (lambda x: x[x > 0], 1),
        (lambda x: x[[0, 1]], 1),
        (lambda x: torch.tensor([1.0, 2.0], device=x.device), 1),
        (lambda x: x.unique(), 1),
        (lambda x: torch.linalg.solve(torch.eye(3, device=x.device), x), 1),
        (lambda x: x.to("cpu", non_blocking=True), 0),
        (lambda x: torch.ones(3).to(x.device, non_blocking=True), 1),
        (lambda x: torch.ones(3).pin_memory().to(x.device, non_blocking=True), 0),
        (lambda x: torch.ones(3).pin_memory()[1:].to(x.device, non_blocking=True), 0),
        (lambda x: (torch.ones(3).pin_memory() + 1).to(x.device, non_blocking=True), 1),
        (lambda x: torch.ones(3).pin_memory().to(x.device), 1),
        (lambda x: x.copy_(torch.ones(3), non_blocking=True), 1),
        (lambda x: x.copy_(torch.ones(3).pin_memory(), non_blocking=True), 0),
        (lambda x: torch.ones(3).copy_(x, non_blocking=True), 1),
        (lambda x: torch.arange(3, device=x.device) + x, 0),
        (lambda x: torch.where(x > 0, x, 0.0), 0),
        (lambda x: x.topk(2).values, 0),
    ],
)
def test_the_emulation_counts_waits(wait, count):
    with emulated_gpu() as gpu:
        there = torch.ones(3, device=GPU)
        wait(there)
        assert gpu.count == count


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
@pytest.mark.parametrize(
    "read", [torch.Tensor.item, bool, int, float, lambda x: [5, 6][x.long()], lambda x: x.tolist()]
)
def test_the_emulation_counts_each_value_that_is_read_in_every_mode(read, mode):
    with emulated_gpu() as gpu, mode():
        there = torch.ones(3, device=GPU)
        gpu.reset()
        read(there[0])
        assert gpu.count == 1


@pytest.mark.parametrize(("dims", "stages", "members"), [(3, 1, 1), (3, 2, 2), (2, 1, 2), (2, 2, 1)])
def test_a_bundle_predicts_corrects_and_gives_level_sets_there(tmp_path, dims, stages, members):
    from auto_config.bundle_scripts.points.landmarks import LandmarkSet
    from auto_config.calibration.out_of_fold import predict_image
    from auto_config.prediction.corrected import corrected, first_look
    from auto_config.prediction.fixed_cases import shape_of
    from auto_config.prediction.regions import find_regions

    def everything(gpu, opened, data, truth, on_cpu):
        done = opened.predict(data)
        found = np.array([item["world"] for item in done["result"]["landmarks"]])
        np.testing.assert_allclose(found, on_cpu, atol=1e-3)
        # Decoys take some of the points, of two stages more than of one.
        assert (np.linalg.norm(found - truth, axis=1) < 1).sum() >= len(truth) // 2
        names = [item["name"] for item in done["result"]["landmarks"]]
        bounds = np.full(len(names), 1e-4)
        labels, _ = find_regions(opened, data, done["result"], bounds, 0.9)
        assert labels.max() == len(names)
        label = LandmarkSet(tuple(names), truth, np.ones(len(names), dtype=np.int8))
        rows, density = predict_image(opened, data, label)
        assert density is not None and np.isfinite(rows["points"]).all()
        given, status = np.full_like(truth, np.nan), np.full(len(truth), -1)
        given[1], status[1] = truth[1], 1
        again = corrected(opened, first_look(opened, data), shape_of(opened), given, status)
        assert again["result"]["landmarks"][1]["world"] == truth[1].tolist()
        assert gpu.count > 0

    opened_bundle(tmp_path, dims, stages, members, everything)


def test_channels_are_last_on_cpus_alone():
    """With instance norms, CUDA changes the layout after each convolution (pytorch#59168)."""
    layer = torch.nn.Conv3d(2, 4, 3, padding=1)
    network = LandmarkNetwork({"fine": layer}, 4)
    seen = []
    layer.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    image = torch.randn(1, 2, 4, 4, 4)
    last = torch.channels_last_3d
    expected = network(image)
    assert layer.weight.is_contiguous(memory_format=last) and seen[0].is_contiguous(memory_format=last)
    with emulated_gpu():
        found = network.to(GPU)(image.to(GPU))
        for value in (layer.weight, seen[1]):
            assert value.is_contiguous() and not value.is_contiguous(memory_format=last)
        torch.testing.assert_close(found.cpu(), expected)
