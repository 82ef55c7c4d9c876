"""Heatmaps of a whole image that a GPU has no room for are merged on the host, and what is found is the same."""

import logging
import math

import numpy as np
import pytest
import torch
from contract_parts import LANDMARKS, PAIRS, plan_of
from emulated_gpu import GPU, emulated_gpu
from monai.inferers import SlidingWindowInferer
from prediction_paths import instance_inferer, network_of, opened_bundle, pose_search
from training_paths import TWO_AND_MANY

from auto_config.bundle_scripts.inference.dense import DenseInferer
from auto_config.bundle_scripts.inference.heatmaps import slide
from auto_config.bundle_scripts.methods.decoders import ArgmaxDecoder


@pytest.fixture
def full(monkeypatch):
    """A GPU without room for merged maps; gives the sizes of the images that were tried there."""
    tried, merge = [], SlidingWindowInferer.__call__

    def with_no_room(self, inputs, *args, **kwargs):
        if self.device is None and inputs.device.type == "cuda":
            tried.append(tuple(inputs.shape[2:]))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 11.7 GiB")
        return merge(self, inputs, *args, **kwargs)

    monkeypatch.setattr(SlidingWindowInferer, "__call__", with_no_room)
    return tried


def rows_of(inferer, network, *sizes):
    """What is found in images of some sizes, on a GPU."""
    found = []
    with emulated_gpu() as gpu, torch.inference_mode():
        network = network.to(GPU)
        for number, size in enumerate(sizes):
            image = np.random.default_rng(number).normal(size=(1, 1, *size)).astype(np.float32)
            rows = inferer(torch.from_numpy(image).to(GPU), network)
            assert gpu.holds(rows)
            found.append(rows.cpu())
    return found


def inferer_of(kind, plan):
    """One that needs heatmaps of the whole image."""
    if kind == "many":
        return instance_inferer(plan, mirrored=True)
    dims = plan.value("spatial_dims")
    return DenseInferer(
        window=SlidingWindowInferer([16] * dims, sw_batch_size=1, overlap=0.5, mode="gaussian"),
        decoder=ArgmaxDecoder(),
        spacing=[1.0] * dims,
        shape=network_of(plan).shape,
        flip_pairs=PAIRS,
    )


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["many", "shape"])
def test_what_is_found_is_the_same(kind, dims, request, caplog):
    plan = plan_of("default", dims, 1)
    sizes = [(24, 20, 16)[:dims], (24, 20, 16)[:dims], (20, 20, 16)[:dims]]
    expected = rows_of(inferer_of(kind, plan), network_of(plan), *sizes)
    tried = request.getfixturevalue("full")
    with caplog.at_level(logging.WARNING):
        found = rows_of(inferer_of(kind, plan), network_of(plan), *sizes)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, equal_nan=True)
        assert mine.shape[1] == (len(TWO_AND_MANY.channels) if kind == "many" else LANDMARKS)
    # One as large is not tried again, a smaller one is.
    assert tried == [sizes[0], sizes[2]]
    assert [record.getMessage().startswith("no room on the GPU") for record in caplog.records] == [True, True]


def test_learnt_numbers_go_where_the_heatmaps_are():
    """Those of an output are the network's own, and a decoder reads both."""
    with emulated_gpu() as gpu:
        learnt = torch.ones(2, device=GPU)
        for window, there in (
            (SlidingWindowInferer([8, 8]), True),
            (SlidingWindowInferer([8, 8], device="cpu"), False),
        ):
            output = slide(window, torch.ones(1, 12, 12, device=GPU), lambda x: {"logits": 2 * x, "spread": learnt})
            assert {name: gpu.holds(value) for name, value in output.items()} == {"logits": there, "spread": there}


def test_poses_are_tried_there_too(full):
    pose_search(3)


@pytest.mark.parametrize(("dims", "members"), [(3, 1), (2, 2)])
def test_level_sets_and_corrections_are_those_of_a_cpu(tmp_path, full, dims, members):
    from auto_config.prediction.corrected import corrected, first_look
    from auto_config.prediction.fixed_cases import shape_of
    from auto_config.prediction.regions import find_regions

    def everything(gpu, opened, data, truth, on_cpu):
        result = opened.predict(data)["result"]
        np.testing.assert_allclose([item["world"] for item in result["landmarks"]], on_cpu, atol=1e-3)
        found = opened.heatmaps(data)
        assert full and not any(gpu.holds(value) for value in found.output.values())
        labels, _ = find_regions(opened, data, result, np.full(len(truth), 1e-4), 0.9)
        assert labels.max() == len(truth)
        given, status = np.full_like(truth, np.nan), np.full(len(truth), -1)
        given[1], status[1] = truth[1], 1
        again = corrected(opened, first_look(opened, data), shape_of(opened), given, status)
        assert again["result"]["landmarks"][1]["world"] == truth[1].tolist()

    opened_bundle(tmp_path, dims, 1, members, everything)


@pytest.mark.parametrize(("device", "tries"), [(None, 2), ("cpu", 1)])
def test_a_gpu_too_small_for_the_network_says_so(monkeypatch, device, tries):
    """What the host's memory is no help for is passed on, nothing is kept of it, and the same is not tried again."""
    calls = []

    def too_large(*_):
        calls.append(1)
        raise torch.OutOfMemoryError("CUDA out of memory")

    plan = plan_of("default", 2, 1)
    network, inferer = network_of(plan), inferer_of("shape", plan)
    inferer.window.device = device
    monkeypatch.setattr(type(network), "forward", too_large)
    with pytest.raises(torch.OutOfMemoryError):
        rows_of(inferer, network, (24, 20))
    assert len(calls) == tries
    assert inferer._too_large == math.inf
