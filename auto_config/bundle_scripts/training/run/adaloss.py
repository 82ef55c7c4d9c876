"""Heatmaps that get narrower as the loss of their landmark comes to rest."""

from __future__ import annotations

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.engines import IterationEvents
from monai.utils.enums import CommonKeys
from torch import nn

from ...methods.gaussians.scheduled import ScheduledSigmaLoss
from ...methods.interfaces import PointBatch


class Adaloss:
    """Handler that sets the width of each landmark's heatmap after each epoch.

    ``sigma + rho (1 - V_before / V)``, V the variance of the landmark's mean loss over the last `window` epochs,
    V_before that over the same number one epoch earlier: where the loss varies less than it did, the landmark is learnt
    and its heatmap gets narrower. It never gets wider, and `least` is as narrow as it gets. A landmark that no patch of
    an epoch shows keeps its width.

    Widths and the losses of past epochs are numbers of the network, so that a training that was stopped goes on as it
    was.

    Source: Teixeira, Tamersoy, Singh and Kapoor, "Adaloss: Adaptive Loss Function for Landmark Localization", arXiv
        1908.01070, 2019.

    Args:
        network: a `LandmarkNetwork` with the heads ``sigma (L,)`` and ``losses ((window + 1) * L,)``, -1 where there
            was none.
        loss: of the stage.
        stage: its name.
        rho: largest step in voxels where a loss comes to rest slowly.
        window: epochs.
        least: voxels of the finest axis.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        loss: ScheduledSigmaLoss,
        stage: str = "fine",
        rho: float = 0.9,
        window: int = 3,
        least: float = 1.0,
    ) -> None:
        self.network, self.loss, self.stage = network, loss, stage
        self.rho, self.window, self.least = float(rho), int(window), float(least)
        self._sum: torch.Tensor | None = None
        self._count: torch.Tensor | None = None

    def attach(self, engine: Engine) -> None:
        """Collect in each step of this trainer, and set widths after each epoch."""
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._adapt)

    @torch.no_grad()
    def _collect(self, engine: Engine) -> None:
        """Add the losses of the landmarks of a step."""
        output = engine.state.output[CommonKeys.PRED][self.stage]
        target = engine.state.output[CommonKeys.LABEL][self.stage]
        truth = PointBatch(target["points"].unsqueeze(2), target["status"])
        lost, known = self.loss.each(output, truth, target["size"])
        total, count = torch.where(known, lost, 0.0).sum(0).double(), known.sum(0).double()
        self._sum = total if self._sum is None else self._sum + total
        self._count = count if self._count is None else self._count + count

    @torch.no_grad()
    def _adapt(self, _: Engine) -> None:
        """Set the widths now."""
        if self._sum is None or self._count is None:
            return
        # Of all processes.
        total, count = (torch.as_tensor(idist.all_reduce(value)) for value in (self._sum, self._count))
        self._sum = self._count = None
        sigma = self.network.get_buffer(f"scalars.{self.stage}.sigma")
        losses = self.network.get_buffer(f"scalars.{self.stage}.losses")
        mean = torch.where(count > 0, total / count.clamp(min=1), -1.0)
        history = torch.cat([losses.reshape(self.window + 1, -1)[1:], mean[None].to(losses)])
        losses.copy_(history.flatten())
        sigma.copy_(narrower(sigma, history, rho=self.rho, least=self.least))


def narrower(sigma: torch.Tensor, history: torch.Tensor, *, rho: float, least: float) -> torch.Tensor:
    """Widths ``(L,)`` after an epoch.

    Args:
        sigma: ``(L,)`` voxels.
        history: ``(window + 1, L)`` mean loss of each epoch, the newest last; -1 where there is none.
        rho: largest step.
        least: voxels.
    """
    before, now = history[:-1].var(0, unbiased=False), history[1:].var(0, unbiased=False)
    step = rho * (1 - before / now.clamp(min=1e-30))
    return torch.where((history >= 0).all(0), sigma + step, sigma).clamp(min=least).minimum(sigma)
