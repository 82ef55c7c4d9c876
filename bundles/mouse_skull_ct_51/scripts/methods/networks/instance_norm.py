"""Instance normalisation that keeps channels last, for prediction on CPUs."""

import torch
from torch import nn
from torch.nn import functional

_VOXELS = 1024
"""Below this torch's group norm goes through a map channel by channel, which is slow where channels lie last."""

_CHANNELS = 16
"""Fewer channels do not fill the registers of a CPU."""


_FAR = 4.0
"""Standard deviations from 0 of a channel's mean, up to which the group norm is within 0.0005 of the exact one."""


class ChannelsLastInstanceNorm(nn.Module):
    """MONAI's and torch's affine instance norm, and on a CPU without gradients a group norm of one channel each.

    Both are the same function, but torch's group norm takes variances from sums of squares, which cancel where a mean
    is larger than its standard deviation; there the instance norm is made after all. torch's instance norm brings
    images with channels last to channels first, and the next convolution brings them back: a map of 512 x 512 with 16
    channels takes 11 ms in place of 2.6 (bfloat16, one core). Its group norm does not, but its gradient in bfloat16
    takes four times as long; so a training, an exported network and a GPU have the instance norm.

    Args:
        norm: whose weights it takes, with an affine part and without running statistics.
    """

    def __init__(self, norm: nn.InstanceNorm2d | nn.InstanceNorm3d) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, float(norm.eps)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """``(B, C, *size)`` to the same shape."""
        if torch.jit.is_scripting():  # type: ignore[attr-defined]
            return functional.instance_norm(image, None, None, self.weight, self.bias, True, 0.1, self.eps)
        else:  # noqa: RET505  TorchScript leaves only a branch out
            return self._norm(image)

    @torch.jit.unused
    def _norm(self, image: torch.Tensor) -> torch.Tensor:
        """The faster of both."""
        traced = torch.jit.is_tracing()  # type: ignore[attr-defined]
        recorded = torch.is_grad_enabled() or traced or torch.compiler.is_compiling()
        channels = image.shape[1]
        if not recorded and image.is_cpu and channels >= _CHANNELS and image[0, 0].numel() >= _VOXELS:
            voxels = image[0, 0].numel()
            out, mean, scale = torch.native_group_norm(
                image, self.weight, self.bias, len(image), channels, voxels, channels, self.eps
            )
            if bool((mean.abs() * scale <= _FAR).all()):
                return out
        return functional.instance_norm(image, None, None, self.weight, self.bias, True, 0.1, self.eps)


def keep_channels_last(network: nn.Module) -> None:
    """Put a `ChannelsLastInstanceNorm` in the place of each affine instance norm of a network; names stay."""
    for parent in list(network.modules()):
        for name, norm in list(parent.named_children()):
            # Not a subclass, which may do something else.
            if type(norm) is not nn.InstanceNorm2d and type(norm) is not nn.InstanceNorm3d:
                continue
            if norm.affine and not norm.track_running_stats:
                setattr(parent, name, ChannelsLastInstanceNorm(norm))
