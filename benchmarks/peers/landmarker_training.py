"""The training of landmarker_package.py: data, network and steps from the package's own parts. Needs the package."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from landmarker.data import MaskDataset
from landmarker.heatmap.decoder import heatmap_to_coord
from landmarker.losses import NLLLoss
from landmarker.models.utils import SoftmaxND
from monai.data import MetaTensor
from monai.networks.nets import FlexibleUNet
from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandAffined,
    RandGaussianNoised,
    RandHistogramShiftd,
    RandScaleIntensityd,
    ScaleIntensityd,
)
from monai.utils import set_determinism
from peer_files import PeerSplit
from peer_grid import PeerGrid, peer_grid
from torch import nn
from torch.utils.data import DataLoader

from auto_config.bundle_scripts.images.frame import image_center
from auto_config.datasets.images import read_header, read_image
from auto_config.datasets.model.dataset import Case, Dataset, present_points


@dataclass(frozen=True)
class Recipe:
    """What of a training is chosen; the rest is as published.

    Attributes:
        decoder_channels: of the network's decoder, the coarsest level first.
        dropout: of the decoder.
        learning_rate: of Adam.
        batch: images of a step.
        momentum: of every batch normalisation; None for the network's own.
        augment: whether images are changed at random.
        seed: of weights and chance.
    """

    decoder_channels: tuple[int, ...]
    dropout: float
    learning_rate: float
    batch: int
    momentum: float | None
    augment: bool
    seed: int


@dataclass(frozen=True)
class Data:
    """A data set on one grid.

    Attributes:
        grid: of all images.
        names: of the L landmarks.
        training: images (C, *shape) and voxels (L, D) of points, NaN where not present.
        validation: the same.
    """

    grid: PeerGrid
    names: tuple[str, ...]
    training: tuple[list[MetaTensor], np.ndarray]
    validation: tuple[list[MetaTensor], np.ndarray]


class NearestMasks(MaskDataset):
    """The package's masks, at the voxel that is nearest to a point.

    The package cuts decimals off, which moves every point by half a voxel towards the first corner. A user who sees
    it adds the half; a measurement of the package should not be one of that.
    """

    def _create_mask(self, landmark: torch.Tensor, dim: tuple[int, ...]) -> torch.Tensor:
        """(L, *dim) with a 1 at each point of `landmark` (L, D) in voxels that is inside, as the package makes it."""
        return super()._create_mask(landmark + 0.5, dim)


def prepared(dataset: Dataset, split: PeerSplit, edge: int) -> Data:
    """Bring the cases that are not test cases onto one grid, which is made for them.

    Args:
        dataset: as it was read.
        split: of its cases.
        edge: voxels of the grid's longest edge.
    """
    headers = [read_header(case.image, case.pixel_spacing) for case in split.known]
    grid = peer_grid([(header.shape, header.affine) for header in headers], edge)
    parts = []
    for cases in (split.training, split.validation):
        images, points = [], []
        for case in cases:
            image, center = sampled(case, grid)
            images.append(image)
            points.append(grid.voxels(present_points(case, dataset.names, dataset.spatial_dims), center))
        parts.append((images, np.stack(points)))
    return Data(grid, dataset.names, parts[0], parts[1])


def sampled(case: Case, grid: PeerGrid) -> tuple[MetaTensor, np.ndarray]:
    """The image of a case (C, *shape) on the grid, and its middle (D,) in world mm."""
    image = read_image(case.image, case.pixel_spacing)
    # The package counts in voxels: an affine of its own would be taken for a transform.
    return MetaTensor(torch.from_numpy(grid.sampled(image.array, image.affine)), affine=torch.eye(4)), image_center(
        image.array.shape[1:], image.affine
    )


def network_of(data: Data, recipe: Recipe) -> nn.Module:
    """The published network with random weights."""
    network = FlexibleUNet(
        in_channels=len(data.training[0][0]),
        out_channels=len(data.names),
        backbone="efficientnet-b0",
        pretrained=False,
        decoder_channels=recipe.decoder_channels,
        spatial_dims=len(data.grid.shape),
        norm="batch",
        act="relu",
        dropout=recipe.dropout,
    )
    for module in network.modules():
        if recipe.momentum is not None and isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.momentum = recipe.momentum
    return network


def transforms(recipe: Recipe | None, dims: int) -> Compose:
    """Grey values from 0 to 1, and for a training that augments the random changes that are published for pictures.

    Args:
        recipe: of a training; None for other images.
        dims: number of spatial axes.
    """
    key = ["image"]
    if recipe is None or not recipe.augment:
        return Compose([ScaleIntensityd(key)])
    return Compose(
        [
            ScaleIntensityd(key),
            RandGaussianNoised(key, prob=0.2, mean=0.0, std=0.1),
            RandScaleIntensityd(key, factors=0.25, prob=0.2),
            RandAdjustContrastd(key, prob=0.2, gamma=(0.5, 4.5)),
            RandHistogramShiftd(key, prob=0.2),
            ScaleIntensityd(key),
            RandAffined(
                key,
                prob=1.0,
                rotate_range=[(-0.3, 0.3)] * (3 if dims == 3 else 1),
                translate_range=[(-10, 10)] * dims,
                scale_range=[(-0.1, 0.1)] * dims,
            ),
        ]
    )


def trained(data: Data, recipe: Recipe, end: float) -> tuple[nn.Module, dict[str, Any]]:
    """Train until the time is over; the weights with the smallest loss of the validation.

    Args:
        data: on its grid.
        recipe: what was chosen.
        end: by `time.perf_counter`; a step that would end later is not begun, and time for a validation is kept.

    Returns:
        The network on its device, in evaluation; and ``steps``, ``epochs``, ``loss`` of the training by epoch and
        ``validation_loss`` by epoch.
    """
    set_determinism(recipe.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dims = len(data.grid.shape)
    loaders = {}
    for name, (images, points), chosen in (("train", data.training, recipe), ("check", data.validation, None)):
        # Copies in a list: the package keeps the list as its own.
        masks = NearestMasks([*images], torch.from_numpy(points), spatial_dims=dims, transform=transforms(chosen, dims))
        loaders[name] = DataLoader(masks, batch_size=recipe.batch if chosen else 1, shuffle=chosen is not None)
    network = network_of(data, recipe).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=10, cooldown=5)
    criterion = NLLLoss(spatial_dims=dims)
    best: tuple[float, Mapping[str, torch.Tensor]] | None = None
    losses: list[float] = []
    checks: list[float] = []
    steps, longest, check_seconds, over = 0, 0.0, 0.0, False
    while not over:
        network.train()
        running = []
        start = time.perf_counter()
        for batch in loaders["train"]:
            optimizer.zero_grad()
            loss = criterion(network(batch["image"].to(device)), batch["mask"].to(device))
            loss.backward()
            optimizer.step()
            running.append(loss.item())
            steps += 1
            now = time.perf_counter()
            longest, start = max(longest, now - start), now
            # Before the first validation: one image costs a third of its part in a step, and some more.
            kept = check_seconds or longest / recipe.batch * len(data.validation[0]) / 2
            if now + longest + kept > end:
                over = True
                break
        losses.append(float(np.mean(running)))
        start = time.perf_counter()
        checks.append(_checked(network, loaders["check"], criterion, device))
        check_seconds = max(check_seconds, time.perf_counter() - start)
        schedule.step(losses[-1])
        if best is None or checks[-1] < best[0]:
            best = checks[-1], copy.deepcopy(network.state_dict())
        over = over or time.perf_counter() + longest + check_seconds > end
    assert best is not None
    network.load_state_dict(best[1])
    return network.eval(), {
        "steps": steps,
        "epochs": len(losses),
        "loss": [round(value, 4) for value in losses],
        "validation_loss": [round(value, 4) for value in checks],
    }


def _checked(network: nn.Module, loader: DataLoader, criterion: nn.Module, device: torch.device) -> float:
    """Mean loss of the validation."""
    network.eval()
    with torch.no_grad():
        found = [float(criterion(network(one["image"].to(device)), one["mask"].to(device))) for one in loader]
    return float(np.mean(found))


def predicted_points(
    network: nn.Module, data: Data, cases: Sequence[Case], decoders: Sequence[str]
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, float]]:
    """Predict cases from their files.

    Args:
        network: in evaluation.
        data: whose grid the network knows.
        cases: to predict.
        decoders: names of the package's decoders.

    Returns:
        (L, D) world mm by decoder and case, and the seconds of each case with the first decoder.
    """
    dims = len(data.grid.shape)
    device = next(network.parameters()).device
    scale, softmax = transforms(None, dims), SoftmaxND(dims)
    points: dict[str, dict[str, np.ndarray]] = {decoder: {} for decoder in decoders}
    seconds = {}
    for case in cases:
        start = time.perf_counter()
        image, center = sampled(case, data.grid)
        with torch.no_grad():
            # The decoders make masks on the CPU.
            heatmaps = softmax(network(scale({"image": image})["image"].as_tensor()[None].to(device))).cpu()
        for decoder in decoders:
            voxels = heatmap_to_coord(heatmaps, method=decoder, spatial_dims=dims)[0].double().numpy()
            points[decoder][case.name] = data.grid.world(voxels, center)
            seconds.setdefault(case.name, time.perf_counter() - start)
    return points, seconds
