"""What happens to an image on an emulated GPU: from the first window to points, level sets and corrections."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contract_parts import LANDMARKS, PAIRS, batch_of, parsed, parts_of, plan_of, truth_of
from emulated_gpu import GPU, EmulatedGPU, emulated_gpu
from monai.inferers import SlidingWindowInferer
from training_paths import EDGES, TWO_AND_MANY, one_layer

from auto_config.bundle import configs
from auto_config.bundle_scripts.inference.dense import DenseInferer
from auto_config.bundle_scripts.inference.expected.places import ExpectedPlaces
from auto_config.bundle_scripts.inference.poses import PoseSearch
from auto_config.bundle_scripts.methods.decoders import ArgmaxDecoder
from auto_config.bundle_scripts.methods.ensemble import EnsembleNetwork
from auto_config.bundle_scripts.methods.instances import InstanceDecoder
from auto_config.bundle_scripts.methods.interfaces import LOGITS
from auto_config.methods.plan import Plan

SIZE = (24, 20, 16)
IMAGES = 2


def network_of(plan: Plan, members: int = 1) -> Any:
    """Networks of one layer, each with a shape of its landmarks."""
    make = parsed({"network": one_layer(plan)})
    networks = []
    for number in range(members):
        torch.manual_seed(number)
        network = make.get_parsed_content("network", instantiate=True, lazy=False).eval()
        dims = plan.value("spatial_dims")
        anatomy = np.random.default_rng(0).uniform(2, 12, (LANDMARKS, dims))
        network.shape.fit(anatomy + np.random.default_rng(1).normal(0, 0.05, (8, LANDMARKS, dims)))
        networks.append(network)
    return networks[0] if members == 1 else EnsembleNetwork(networks)


def _image(size: Sequence[int], seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(1, *size)).astype(np.float32))


def _found(
    inferer: Any,
    network: Any,
    dims: int,
    *,
    small: bool = True,
    size: Sequence[int] = SIZE,
    looks: list[int] | None = None,
) -> Counter[str]:
    """Waits for one image, its peaks on the host included; the first image has what is made once.

    Args:
        inferer: of the image.
        network: of one layer.
        dims: 2 or 3.
        small: whether each landmark has a point, and not the last ones alone.
        size: of the image in voxels.
        looks: gets how many windows or crops each call of a network had.
    """
    waits: Counter[str] = Counter()
    if looks is not None:
        for stage in network.stages.values():
            stage.register_forward_pre_hook(lambda _, given: looks.append(len(given[0])))
    with emulated_gpu() as gpu, torch.inference_mode():
        network = network.to(GPU)
        for number in range(IMAGES):
            image = _image(size[:dims], number).to(GPU)[None]
            gpu.reset()
            rows = inferer(image, network)
            assert gpu.holds(rows)
            found = rows[0].cpu()
            waits = Counter(gpu.waits)
        assert torch.isfinite(found[: len(found) - 2 if small else None, :dims]).all()
    return waits


def prediction(
    method: str,
    dims: int,
    stages: int,
    *,
    members: int = 1,
    pose: str = "upright",
    prior: bool = False,
    size: Sequence[int] = SIZE,
    looks: list[int] | None = None,
) -> Counter[str]:
    """Waits for an image that the inferer of a bundle looks at, its mirror image included where pairs are known."""
    plan = plan_of(method, dims, stages, pose=pose)
    edges = {part.name: list(part.size(*[16] * dims)) for part in parts_of(plan)}
    small = {"patch_size": edges["fine"], "coarse_patch_size": edges.get("coarse"), "pad_value": 0.0}
    config = configs.inference_config(plan, LANDMARKS)
    small |= {"network_def": one_layer(plan), "calibration": None, "bundle_root": "/nowhere"}
    if "plausibility" in config:
        small["shape_prior"] = prior
    elif "shape" in config["inferer"]:
        config["inferer"] = {name: value for name, value in config["inferer"].items() if name != "shape"}
    inferer = parsed(config, **{k: v for k, v in small.items() if v is not None}).get_parsed_content("inferer")
    network = network_of(plan, members)
    if prior and isinstance(inferer, DenseInferer):
        inferer.shape = network.shape
    return _found(inferer, network, dims, size=size, looks=looks)


def instance_inferer(plan: Plan, mirrored: bool) -> DenseInferer:
    """An inferer of one stage that finds an exchangeable pair, and any number of a landmark."""
    dims = plan.value("spatial_dims")
    spacing = [1.0] * dims
    return DenseInferer(
        window=parsed(
            configs.inference_config(plan, LANDMARKS), patch_size=[16] * dims, pad_value=0.0
        ).get_parsed_content("window"),
        decoder=InstanceDecoder(ArgmaxDecoder(), TWO_AND_MANY, spacing, reach_mm=5.0),
        spacing=spacing,
        instances=TWO_AND_MANY,
        flip_pairs=PAIRS if mirrored else None,
    )


def instances(dims: int, mirrored: bool) -> Counter[str]:
    """Waits for an image with an exchangeable pair, and with any number of a landmark."""
    plan = plan_of("default", dims, 1)
    return _found(instance_inferer(plan, mirrored), network_of(plan), dims, small=False)


def pose_search(dims: int) -> Counter[str]:
    """Waits for an image that looks wrong as it lies, so that turned ones are tried."""
    plan = plan_of("default", dims, 1)
    window = parsed(
        configs.inference_config(plan, LANDMARKS), patch_size=[16] * dims, pad_value=0.0
    ).get_parsed_content("window")
    search = PoseSearch("free", 180.0)
    inferer = DenseInferer(window=window, decoder=ArgmaxDecoder(), spacing=[1.0] * dims, pose=search)
    return _found(inferer, network_of(plan), dims)


class _Repeats(torch.nn.Module):
    """The image as the logits of each landmark."""

    flipped, shape = False, None

    def views(self) -> list[Any]:
        return [self]

    def forward(self, images: dict[str, torch.Tensor]) -> Any:
        return {name: {LOGITS: image.repeat(1, LANDMARKS, *[1] * (image.ndim - 2))} for name, image in images.items()}


def expected_places(dims: int) -> Counter[str]:
    """Waits for an image whose landmarks lie where they are expected: one window is enough."""
    size, waits = [40] * dims, Counter[str]()
    places = ExpectedPlaces(
        mean_mm=[[0.0] * dims] * LANDMARKS,
        spread_mm=[[1.0] * dims] * LANDMARKS,
        extent_mm=[size, size],
        absent=[],
        spacing=[1.0] * dims,
    )
    inferer = DenseInferer(
        window=SlidingWindowInferer([24] * dims, sw_batch_size=1, overlap=0.5, mode="gaussian"),
        decoder=ArgmaxDecoder("sigmoid", 5.0),
        spacing=[1.0] * dims,
        expected=places,
    )
    grid = torch.stack(torch.meshgrid(*[torch.arange(float(n)) for n in size], indexing="ij"))
    cone = 6 - (grid - 20).square().sum(0).sqrt()
    with emulated_gpu() as gpu, torch.inference_mode():
        for _ in range(IMAGES):
            image = cone[None, None].to(GPU)
            gpu.reset()
            rows = inferer(image, _Repeats())
            assert gpu.holds(rows) and inferer.why_all_windows is None
            assert (rows[0, :, :dims].cpu() - 20).abs().max() < 0.1
            waits = Counter(gpu.waits)
    return waits


def decoding(method: str, dims: int) -> Counter[str]:
    """Waits of the decoders of a method: peaks with and without a prior, mirror image, density; and of a loss."""
    waits: Counter[str] = Counter()
    for part in parts_of(plan_of(method, dims)):
        size = part.size(*EDGES[:dims])
        generator = torch.Generator().manual_seed(0)
        zeros = part.zeros(1, size)
        output = {k: torch.randn(v.shape, generator=generator) if v.ndim > 1 else v for k, v in zeros.items()}
        with emulated_gpu() as gpu:
            there = {head: value.to(GPU) for head, value in output.items()}
            one = {head: value[0] if value.ndim > 1 else value for head, value in there.items()}
            grid = one[part.decoder.heads[0]]
            prior = torch.zeros(LANDMARKS, *grid.shape[1:], device=GPU)
            gpu.reset()
            peaks = part.decoder.decode(one, prior)
            assert all(gpu.holds(value) for value in vars(peaks).values())
            part.decoder.unflip(there, PAIRS)
            density = part.decoder.density(one)
            assert density is None or gpu.holds(density)
            waits.update(gpu.waits)
    return waits


def opened_bundle(
    folder: Path,
    dims: int,
    stages: int,
    members: int,
    do: Callable[[EmulatedGPU, Any, Any, np.ndarray, np.ndarray], None],
) -> None:
    """A whole bundle on the device, with an image, its true points and those found on the CPU, in mm."""
    from dataclasses import replace

    from decoy_bundle import write_decoy_bundle, write_failed_case

    from auto_config.bundle.opened import open_bundle

    truth = write_failed_case(folder / "case.nii.gz", dims, (1, 4, 7, 9), None)
    opened = open_bundle(write_decoy_bundle(folder / "bundle", dims, stages, members))
    data = opened.preprocess(folder / "case.nii.gz")
    result = opened.predict(opened.preprocess(folder / "case.nii.gz"))["result"]
    on_cpu = np.array([item["world"] for item in result["landmarks"]])
    with emulated_gpu() as gpu:
        there = replace(opened, network=opened.network.to(GPU), device=GPU)
        gpu.reset()
        do(gpu, there, data, truth, on_cpu)


__all__ = [
    "LOGITS",
    "batch_of",
    "decoding",
    "expected_places",
    "instance_inferer",
    "instances",
    "network_of",
    "opened_bundle",
    "pose_search",
    "prediction",
    "truth_of",
]
