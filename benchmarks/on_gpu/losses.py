"""The fused top-20 % loss beside the one of autograd, and both beside the memory's bandwidth."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from auto_config.bundle_scripts.methods.heatmap import EDTHeatmap
from auto_config.bundle_scripts.methods.interfaces import LOGITS, PointBatch
from auto_config.bundle_scripts.methods.losses import TopKBCELoss
from on_gpu.card import Card
from on_gpu.made import LANDMARKS
from on_gpu.rows import Row


def floor_seconds(card: Card, maps: Sequence[torch.Tensor], times: int) -> float:
    """Seconds in which maps are read once and as much is written once, which no loss with a gradient undercuts."""
    gradients = [torch.empty_like(one) for one in maps]

    def work() -> None:
        for one, gradient in zip(maps, gradients, strict=True):
            torch.mul(one, 0.5, out=gradient)

    return card.seconds(work, 4 * times)


def loss_ratio(card: Card, found: Row, edge: int, times: int) -> None:
    """Fill a row with seconds, forward and backward, of two images of `edge` ^3 voxels in float32."""
    size = (edge,) * 3
    logits = torch.randn(2, LANDMARKS, *size, device=card.device)
    points, status = torch.rand(2, LANDMARKS, 1, 3) * edge, torch.ones(2, LANDMARKS, dtype=torch.long)
    truth = PointBatch(points.to(card.device), status.to(card.device), PointBatch(points, status))
    target = EDTHeatmap([15.0] * 3)
    fused_loss, keep = TopKBCELoss(target), round(0.2 * edge**3)

    def fused() -> torch.Tensor:
        given = logits.detach().requires_grad_(True)
        value = fused_loss({LOGITS: given}, truth, size)
        value.backward()
        return torch.stack([value.detach(), given.grad.norm()])

    def naive() -> torch.Tensor:
        given = logits.detach().requires_grad_(True)
        wanted = target(truth.points[:, :, 0], size).flatten(2)
        each = torch.nn.functional.binary_cross_entropy_with_logits(given.flatten(2), wanted, reduction="none")
        value = each.topk(keep, dim=2).values.mean()
        value.backward()
        return torch.stack([value.detach(), given.grad.norm()])

    torch.testing.assert_close(fused(), naive(), rtol=1e-4, atol=1e-5)
    card.forget_peak()
    found["fused_s"] = card.seconds(fused, times)
    found |= card.peak("fused_")
    card.forget_peak()
    found["naive_s"] = card.seconds(naive, times)
    found |= card.peak("naive_")
    found["floor_s"] = floor_seconds(card, [logits], times)
    found["fused_to_naive"], found["fused_to_floor"] = (
        found["fused_s"] / found["naive_s"],
        found["fused_s"] / found["floor_s"],
    )
