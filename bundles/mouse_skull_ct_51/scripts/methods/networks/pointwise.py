"""The last convolution of a network, of one voxel, as the product of two matrices on CPUs."""

import torch
from torch import nn
from torch.nn import functional


class PointwiseOutput(nn.Module):
    """A convolution of one voxel that turns a few features into a map for each landmark.

    On a CPU it is a product of matrices whose result lies channel after channel, as losses and decoders want it, and
    whose features may lie as they do. A convolution with channels last gives maps that have to be brought in order
    afterwards, which takes longer than the convolution. On a GPU, and in an exported network, it is a convolution.

    Args:
        convolution: whose weights it takes, with a bias.
    """

    def __init__(self, convolution: nn.Conv2d | nn.Conv3d) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        self.volumes = convolution.weight.ndim == 5

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """``(B, C, *size)`` to ``(B, L, *size)``."""
        if torch.jit.is_scripting():  # type: ignore[attr-defined]
            return self._convolved(image)
        else:  # noqa: RET505  TorchScript leaves only a branch out
            return self._product(image)

    def _convolved(self, image: torch.Tensor) -> torch.Tensor:
        if self.volumes:
            return functional.conv3d(image, self.weight, self.bias)
        return functional.conv2d(image, self.weight, self.bias)

    @torch.jit.unused
    def _product(self, image: torch.Tensor) -> torch.Tensor:
        """The faster of both."""
        traced = torch.jit.is_tracing() or torch.compiler.is_compiling()  # type: ignore[attr-defined]
        if traced or not image.is_cpu:
            return self._convolved(image)
        # Not copied, neither with channels last nor with channels first.
        features = image.movedim(1, -1).flatten(1, -2).transpose(1, 2)
        weight = self.weight.flatten(1).expand(len(image), -1, -1)
        assert self.bias is not None
        return torch.baddbmm(self.bias[:, None], weight, features).unflatten(2, image.shape[2:])


def as_product(network: nn.Module, layer: str) -> None:
    """Put a `PointwiseOutput` in the place of a layer of a network, if that is a plain convolution of one voxel.

    Names of weights stay, so that those of earlier bundles are read.
    """
    found = dict(network.named_modules()).get(layer)
    # Not a subclass, which may do something else.
    if type(found) is not nn.Conv2d and type(found) is not nn.Conv3d:
        return
    one = all(edge == 1 for edge in (*found.kernel_size, *found.stride)) and found.groups == 1
    unpadded = not isinstance(found.padding, str) and not any(found.padding)
    if one and unpadded and found.bias is not None:
        parent, _, name = layer.rpartition(".")
        setattr(network.get_submodule(parent), name, PointwiseOutput(found))
