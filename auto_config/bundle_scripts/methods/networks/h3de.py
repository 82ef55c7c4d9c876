"""The network of H3DE-Net: a U-Net whose encoder looks from window to window where it matters (bi-level routing).

Source: Huang et al., "H3DE-Net: Efficient and Accurate 3D Landmark Detection in Medical Imaging", 2025; attention after
Zhu et al., "BiFormer: Vision Transformer with Bi-Level Routing Attention", CVPR 2023. Written from these descriptions.
"""

from collections.abc import Sequence

import torch
from monai.networks.layers.factories import Conv, Norm
from torch import nn
from torch.nn import functional


class RoutingAttention(nn.Module):
    """Attention of each window to the few windows that are most like it (bi-level routing).

    The mean query of a window is compared with the mean key of all windows; its voxels then attend to all voxels of the
    best `top` ones. A depthwise convolution of the values is added.

    Published code takes only maps that are whole numbers of windows, and crashes on others. Here a map is padded to the
    next size that is, padding is attended to by nobody and counts in no mean, and a map with fewer voxels along an axis
    than windows has a window for each voxel.

    Args:
        dims: 2 or 3.
        channels: of the map.
        heads: of the attention; they divide the channels.
        windows: along each axis.
        top: windows that a window attends to, at most all of them.
    """

    def __init__(self, dims: int, channels: int, heads: int, windows: Sequence[int], top: int) -> None:
        super().__init__()
        convolution = Conv[Conv.CONV, dims]
        self.dims, self.heads, self.top = dims, heads, top
        self.windows = [int(n) for n in windows]
        self.qkv = convolution(channels, 3 * channels, kernel_size=1)
        self.local = convolution(channels, channels, kernel_size=5, padding=2, groups=channels)
        self.output = convolution(channels, channels, kernel_size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, C, *size)`` to the same."""
        q, k, v = self.qkv(x).chunk(3, dim=1)
        counts: list[int] = []
        edges: list[int] = []
        pads: list[int] = []
        for axis in range(self.dims):
            size = x.size(2 + axis)
            edge = (size + self.windows[axis] - 1) // self.windows[axis]
            count = (size + edge - 1) // edge
            counts.append(count)
            edges.append(edge)
            pads = [0, count * edge - size] + pads
        there = self._cut(functional.pad(torch.ones_like(x[:, :1]), pads), counts, edges)
        q = self._cut(functional.pad(q, pads), counts, edges)
        k = self._cut(functional.pad(k, pads), counts, edges)
        values = self._cut(functional.pad(v, pads), counts, edges)
        found = self._attend(q, k, values, there)
        whole = self._join(found, counts, edges)
        for axis in range(self.dims):
            whole = whole.narrow(2 + axis, 0, x.size(2 + axis))
        return self.output(whole + self.local(v))

    def _attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """Windows ``(B, P, W, C)`` of queries, keys and values, and ``(B, P, W, 1)`` which voxels are in the map."""
        batch, number, voxels, channels = q.shape[0], q.shape[1], q.shape[2], q.shape[3]
        top = min(self.top, number)
        share = there / there.sum(2, keepdim=True).clamp(min=1.0)
        # Which windows: no gradient goes through the choice.
        like = torch.matmul((q * share).sum(2).detach(), (k * share).sum(2).detach().transpose(1, 2))
        best = like.topk(top, dim=2).indices
        start = torch.arange(batch, device=q.device).reshape(-1, 1, 1) * number
        chosen = (best + start).flatten()
        width = channels // self.heads

        keys = k.flatten(0, 1)[chosen].reshape(batch * number, top * voxels, self.heads, width).transpose(1, 2)
        values = v.flatten(0, 1)[chosen].reshape(batch * number, top * voxels, self.heads, width).transpose(1, 2)
        seen = there.flatten(0, 1)[chosen].reshape(batch * number, 1, 1, top * voxels) > 0.5
        queries = q.reshape(batch * number, voxels, self.heads, width).transpose(1, 2)
        found = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=seen)
        return found.transpose(1, 2).reshape(batch, number, voxels, channels)

    def _cut(self, x: torch.Tensor, counts: list[int], edges: list[int]) -> torch.Tensor:
        """A map ``(B, C, *size)`` as windows ``(B, P, W, C)``."""
        shape = [x.size(0), x.size(1)]
        order = [0]
        for axis in range(self.dims):
            shape += [counts[axis], edges[axis]]
            order.append(2 + 2 * axis)
        order += [3 + 2 * axis for axis in range(self.dims)] + [1]
        return x.reshape(shape).permute(order).flatten(1, self.dims).flatten(2, 1 + self.dims)

    def _join(self, x: torch.Tensor, counts: list[int], edges: list[int]) -> torch.Tensor:
        """The inverse of `_cut`."""
        shape = [x.size(0)] + counts + edges + [x.size(3)]
        order = [0, 1 + 2 * self.dims]
        whole = [x.size(0), x.size(3)]
        for axis in range(self.dims):
            order += [1 + axis, 1 + self.dims + axis]
            whole.append(counts[axis] * edges[axis])
        return x.reshape(shape).permute(order).reshape(whole)


class _LayerNorm(nn.Module):
    """Layer normalisation over the channels of a map ``(B, C, *size)``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x.transpose(1, -1)).transpose(1, -1)


class RoutingBlock(nn.Module):
    """A depthwise convolution, routing attention and two layers for each voxel, each added to what went in.

    Args:
        dims: 2 or 3.
        channels: of the map.
        windows: along each axis.
        top: windows that a window attends to.
    """

    def __init__(self, dims: int, channels: int, windows: Sequence[int], top: int) -> None:
        super().__init__()
        convolution = Conv[Conv.CONV, dims]
        heads = max(1, channels // 8)
        heads = heads if channels % heads == 0 else 1
        self.position = convolution(channels, channels, kernel_size=3, padding=1, groups=channels)
        self.attention = nn.Sequential(_LayerNorm(channels), RoutingAttention(dims, channels, heads, windows, top))
        self.layers = nn.Sequential(
            _LayerNorm(channels),
            convolution(channels, 4 * channels, kernel_size=1),
            nn.GELU(),
            convolution(4 * channels, channels, kernel_size=1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, C, *size)`` to the same."""
        x = x + self.position(x)
        x = x + self.attention(x)
        return x + self.layers(x)


class _Halving(nn.Module):
    """A convolution of 3 with stride 2.

    On a CPU with AMX, oneDNN's convolution in bfloat16 reads memory that nobody wrote where its output has one voxel
    along the last axis and more along another one, and gives NaN (torch 2.14). There the map gets further zeros, as
    padding has them, and what comes of these is cut off: the same numbers.
    """

    def __init__(self, dims: int, channels: int, filters: int) -> None:
        super().__init__()
        self.layer = Conv[Conv.CONV, dims](channels, filters, kernel_size=3, stride=2, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        missing = 3 - x.size(-1)
        if missing > 0:
            return self.layer(functional.pad(x, [0, missing])).narrow(-1, 0, 1)
        return self.layer(x)


class _Up(nn.Module):
    """Linear up-sampling to the size of another map, that map beside it, and two convolutions."""

    def __init__(self, dims: int, channels: int, skip: int, filters: int) -> None:
        super().__init__()
        self.mode = "trilinear" if dims == 3 else "bilinear"
        self.layers = nn.Sequential(
            *_convolution(dims, channels + skip, filters, 1), *_convolution(dims, filters, filters, 1)
        )

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        # A list of numbers, because a torch.Size is none in TorchScript.
        size = [skip.size(axis) for axis in range(2, skip.dim())]
        raised = functional.interpolate(x, size=size, mode=self.mode, align_corners=False)
        return self.layers(torch.cat([raised, skip], dim=1))


def _convolution(dims: int, channels: int, filters: int, stride: int) -> list[nn.Module]:
    """A convolution of 3 without bias, instance normalisation and leaky ReLU."""
    return [
        Conv[Conv.CONV, dims](channels, filters, kernel_size=3, stride=stride, padding=1, bias=False),
        Norm[Norm.INSTANCE, dims](filters, affine=True),
        nn.LeakyReLU(0.01, inplace=True),
    ]


class RoutingUNet(nn.Module):
    """The network of H3DE-Net, 24.5 million parameters in 3D, for a patch of any size.

    A stem of two convolutions of stride 2, four stages of `RoutingBlock` with a convolution of stride 2 between them,
    and a decoder that goes up by linear interpolation, at first to a quarter of the resolution, then with features of
    the image at a half and at the whole of it. Sizes that are no multiples are rounded up where a stage halves them and
    met again where the decoder goes up to the size of its other input.

    In 2D, which the publication does not have, windows are 4 x 4; the axis with two windows is the last one.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the image.
        out_channels: of the output.
        filters: channels of each stage.
        depths: blocks of each stage.
        tops: windows that a window attends to, of each stage.
        stride: voxels for one cell of the output: 1, or 4 to end at a quarter of the resolution.

    Raises:
        ValueError: another stride.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        *,
        filters: Sequence[int] = (64, 128, 256, 512),
        depths: Sequence[int] = (2, 2, 4, 2),
        tops: Sequence[int] = (1, 4, 16, 16),
        stride: int = 1,
    ) -> None:
        super().__init__()
        if stride not in (1, 4):
            raise ValueError(f"the network's stride is {stride}; allowed are 1 and 4")
        dims, convolution, norm = spatial_dims, Conv[Conv.CONV, spatial_dims], Norm[Norm.INSTANCE, spatial_dims]
        windows = (4, 4, 2)[:dims]
        half, whole = max(1, filters[0] // 2), max(1, filters[0] // 4)
        self.stem = nn.Sequential(
            _Halving(dims, in_channels, half),
            norm(half, affine=True),
            nn.GELU(),
            _Halving(dims, half, filters[0]),
            norm(filters[0], affine=True),
        )
        self.down, self.stages, self.up = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        before = filters[0]
        for number, (channels, depth, top) in enumerate(zip(filters, depths, tops, strict=True)):
            step: nn.Module = nn.Identity()
            if number:
                step = nn.Sequential(_Halving(dims, before, channels), norm(channels, affine=True))
            self.down.append(step)
            self.stages.append(nn.Sequential(*[RoutingBlock(dims, channels, windows, top) for _ in range(depth)]))
            before = channels
        for channels in list(filters)[-2::-1]:
            self.up.append(_Up(dims, before, channels, channels))
            before = channels
        # Features of the image itself, for the way to its own resolution.
        self.finer, self.image, self.stride = nn.ModuleList(), nn.ModuleList(), stride
        if stride == 1:
            for filters_here, step_here in ((half, 2), (whole, 1)):
                self.image.append(nn.Sequential(*_convolution(dims, in_channels, filters_here, step_here)))
                self.finer.append(_Up(dims, before, filters_here, filters_here))
                before = filters_here
        self.last = convolution(before, out_channels, kernel_size=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """``(B, C, *size)`` to ``(B, out_channels, *size)``, or to a quarter of it, rounded up."""
        x = self.stem(image)
        maps = [x]
        for down, stage in zip(self.down, self.stages):  # noqa: B905  TorchScript knows no strict
            x = stage(down(x))
            maps.append(x)
        for number, up in enumerate(self.up):
            x = up(x, maps[len(maps) - 2 - number])
        for features, up in zip(self.image, self.finer):  # noqa: B905
            x = up(x, features(image))
        return self.last(x)
