"""What the parts of a method owe each other: the output of a network, the truth of a batch, loss and decoder.

Only a method's `Loss` and its `Decoder` know what its `Output` means. Everything else passes outputs on, merges
windows of them and averages them over views, head by head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import distributed

from ..points.peaks import Peaks

Output = dict[str, torch.Tensor]
"""Head name to ``(B, channels, *grid)``, or ``(n,)`` for learnt scalars. The head of heatmaps is `LOGITS`.

Learnt scalars are parameters of the network. They are averaged over ensembles as maps are, and stand beside what a
sliding window merges; the first head that a decoder reads is a map.
"""

LOGITS = "logits"


@dataclass(frozen=True)
class PointBatch:
    """What a loss compares an output with.

    Args:
        points: ``(B, L, K, D)`` voxels of the patch, NaN where a landmark has fewer than K; K is 1 without instances.
        status: ``(B, L)``: 1 present, 0 absent, -1 unknown.
        host: the same in the memory of the host, where points and status are on another device.
    """

    points: torch.Tensor
    status: torch.Tensor
    host: PointBatch | None = None

    def on_host(self) -> PointBatch:
        """The same in the memory of the host, where a look at a value waits for nobody; fetched unless given."""
        if self.points.device.type == "cpu":
            return self
        return self.host or PointBatch(self.points.cpu(), self.status.cpu())


class Loss(Protocol):
    """A loss without parameters of its own: what is learnt is an output of the network and in its state dict."""

    def __call__(self, output: Output, truth: PointBatch, size: Sequence[int]) -> torch.Tensor:
        """Scalar loss.

        Args:
            output: heads ``(B, channels, *grid)``, float32, and ``(n,)`` of learnt scalars.
            truth: points in voxels of the patch, and their status.
            size: shape of the patch in voxels; that of the grid times the decoder's stride.
        """
        ...


class Decoder(Protocol):
    """Reads what a loss has trained. Every attribute and method is mandatory, empty answers included.

    Attributes:
        heads: what inference keeps of an output.
        stride: voxels of the patch for one cell of the output's grid; 1 for heatmaps.
    """

    heads: tuple[str, ...]
    stride: int

    def decode(self, output: Output, log_prior: torch.Tensor | None = None) -> Peaks:
        """Peaks of R landmarks in voxels of the patch.

        Args:
            output: heads ``(channels, *grid)`` of one image, and ``(n,)`` of learnt scalars.
            log_prior: ``(L, *grid)`` or what broadcasts to it: added where a maximum is chosen or votes are
                weighed, and only there.
        """
        ...

    def unflip(self, output: Output, pairs: Sequence[int]) -> Output:
        """The output of a mirror image ``(B, channels, *grid)``, flipped along the first axis, as that of the image.

        Args:
            output: what the network gave for the flipped image.
            pairs: for each landmark the one that takes its place in the mirror image, itself on the midline.
        """
        ...

    def density(self, output: Output) -> torch.Tensor | None:
        """Probability of each voxel ``(L, *size)``, sums of 1; None where the method has no level sets."""
        ...

    def single(self) -> Decoder:
        """The decoder of one peak for each landmark."""
        ...


class StageNetwork(Protocol):
    """What inference calls: a network, several as one, or one that also sees the mirror image.

    Attributes:
        flipped: whether the second half of the views sees the mirror image.
    """

    flipped: bool

    @property
    def shape(self) -> Any:
        """The shape model between the stages; None where there is none."""
        ...

    def views(self) -> Sequence[StageNetwork]:
        """The networks whose outputs are averaged, or the network alone."""
        ...

    def __call__(self, images: dict[str, torch.Tensor]) -> dict[str, Output]:
        """Images ``(B, C, *size)`` of some stages to their outputs."""
        ...


def kept_heads(output: Output, decoder: Decoder) -> Output:
    """What inference keeps of an output: the heads that the decoder reads."""
    return {head: output[head] for head in decoder.heads}


def without_scalars(output: Output) -> tuple[Output, Output]:
    """The maps of an output, which windows merge and crops cut, and its learnt scalars, which are the same for all."""
    maps = {head: value for head, value in output.items() if value.ndim > 1}
    return maps, {head: value for head, value in output.items() if value.ndim == 1}


def share_of_process(count: torch.Tensor) -> torch.Tensor | float:
    """What the mean over the entries of this process is multiplied by where several processes share a batch.

    `DistributedDataParallel` averages gradients over processes, whatever number of entries each has. Multiplied by
    this, the average is the gradient of the mean over all entries, as one process with the whole batch has it. Every
    process must ask, also one without an entry.

    Args:
        count: Scalar, entries of this process.

    Returns:
        Its count over the mean count of all processes, a scalar; 1.0 where there is one process, 0 where no process has
        an entry.
    """
    if not _is_shared():
        return 1.0
    everywhere = count.detach().to(torch.float32, copy=True)
    distributed.all_reduce(everywhere)
    return count * distributed.get_world_size() / everywhere.clamp(min=1)


def mean_over_batch(total: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """``total / count``, 0 where nothing is counted; see `share_of_process` for batches that processes share.

    Args:
        total: Scalar, sum over the entries of this process.
        count: Scalar, their number.
    """
    return total / count.clamp(min=1) * share_of_process(count)


def _is_shared() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
