"""Networks: a bundle's network is one module for each stage, one channel for each landmark.

`plain` and `tiny` are MONAI's DynUNet, written into the config with its arguments; the residual-encoder U-Nets of
nnU-Net come from the package dynamic-network-architectures.
"""

from collections.abc import Mapping, Sequence, Set
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.fx import symbolic_trace

from ..points.shape import ShapeModel
from .interfaces import LOGITS, Output
from .networks.instance_norm import keep_channels_last
from .networks.pointwise import as_product


def residual_encoder_unet(
    *,
    spatial_dims: int,
    in_channels: int,
    out_channels: int,
    filters: Sequence[int],
    strides: Sequence[Sequence[int]],
    kernel_size: Sequence[Sequence[int]],
    blocks: Sequence[int],
) -> nn.Module:
    """nnU-Net's residual-encoder U-Net (Isensee et al., MICCAI 2024), without deep supervision.

    First weights are nnU-Net's: normal after He for a slope of 0.01, biases 0, and the last normalisation of each
    residual block 0, so that a block starts as its shortcut. The package leaves this to whoever builds the network.

    What is given is the package's network written out as one sequence of its layers. Its own modules cannot be scripted
    (functions as attributes, layers by computed numbers), name each convolution twice and the whole encoder once more
    in the decoder, and have output layers that nothing calls. Here each weight in use has one name, the first of its
    names there; a state dict with the other ones loads as well.

    Args:
        spatial_dims: 2 or 3.
        in_channels: image channels.
        out_channels: landmarks.
        filters: features of each level.
        strides: stride into each level, the first is 1.
        kernel_size: kernel of each level.
        blocks: residual blocks of each level; the decoder has one convolution a level.

    Raises:
        ImportError: if dynamic-network-architectures is not installed.
    """
    try:
        from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet
    except ImportError as error:
        raise ImportError(
            "the residual-encoder networks need a package: pip install dynamic-network-architectures"
        ) from error
    conv, norm = (nn.Conv3d, nn.InstanceNorm3d) if spatial_dims == 3 else (nn.Conv2d, nn.InstanceNorm2d)
    network = ResidualEncoderUNet(
        input_channels=in_channels,
        n_stages=len(filters),
        features_per_stage=list(filters),
        conv_op=conv,
        kernel_sizes=[list(k) for k in kernel_size],
        strides=[list(s) for s in strides],
        n_blocks_per_stage=list(blocks),
        num_classes=out_channels,
        n_conv_per_stage_decoder=[1] * (len(filters) - 1),
        conv_bias=True,
        norm_op=norm,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=False,
    )
    network.apply(ResidualEncoderUNet.initialize)
    written_out = symbolic_trace(network)
    gone = network.state_dict().keys() - written_out.state_dict().keys()
    written_out.register_load_state_dict_pre_hook(partial(_leave_out, gone))
    return written_out


def _leave_out(names: Set[str], _: nn.Module, state: dict[str, Any], prefix: str, *__: object) -> None:
    """Remove entries from a state dict that is about to be loaded."""
    for name in names:
        state.pop(prefix + name, None)


class LandmarkNetwork(nn.Module):
    """One network for each stage, and the shape model that stands between them.

    A dictionary goes through the stages that it names, and each gives an output: heads by name. A tensor goes through
    the last stage and gives the tensor of its first head, so that the module looks like any network to tools that know
    nothing of stages and of heads; this way it can be scripted. Learnt scalars are heads of a dictionary's outputs
    only: they say nothing of an image.

    Args:
        stages: network of each stage by name, in order; each maps ``(B, C, *size)`` to ``(B, channels, *grid)``, the
            channels of all heads one after the other.
        landmarks: L.
        spatial_dims: 2 or 3.
        output_bias: start value of the bias of the last convolution of the stages in `output_layers`: a negative number
            starts with empty heatmaps. None keeps the network's own.
        output_layers: name of the last convolution within the network of a stage.
        heads: channels of each head by name, of each stage; one channel of ``logits`` for each landmark in a stage that
            is not given.
        scalars: of each stage, first values of heads ``(n,)`` that are parameters of the network and not made from an
            image, such as the widths of heatmaps.
        scheduled: names of such heads that a schedule of the training sets, and no gradient; they are buffers.

    Raises:
        ValueError: if there is no stage, no such layer with a bias, or scalars of a stage that is not there or called
            as a head of it.
    """

    flipped = False

    def __init__(
        self,
        stages: Mapping[str, nn.Module],
        landmarks: int,
        spatial_dims: int = 3,
        *,
        output_bias: float | None = None,
        output_layers: Mapping[str, str] | None = None,
        heads: Mapping[str, Mapping[str, int]] | None = None,
        scalars: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
        scheduled: Sequence[str] = (),
    ) -> None:
        super().__init__()
        if not stages:
            raise ValueError("a network needs at least one stage")
        self.stages = nn.ModuleDict(dict(stages))
        self.number, self.volumes = len(stages), spatial_dims == 3
        self.heads = {name: dict((heads or {}).get(name, {LOGITS: landmarks})) for name in self.stages}
        self.first = next(iter(self.heads[list(self.stages)[-1]].values()))
        for name, values in (scalars or {}).items():
            if name not in self.heads or set(values) & set(self.heads[name]):
                raise ValueError(f"scalars of stage {name!r} need such a stage, and names that no head of it has")
        self.scalars = nn.ModuleDict(
            {name: LearntScalars(values, scheduled) for name, values in (scalars or {}).items()}
        )
        self.shape = ShapeModel(landmarks, spatial_dims)
        self.to(memory_format=torch.channels_last_3d if self.volumes else torch.channels_last)
        keep_channels_last(self.stages)
        for name, layer in (output_layers or {}).items():
            as_product(self.stages[name], layer)
        if output_bias is not None:
            if not output_layers:
                raise ValueError("an output bias needs an output layer; name the last convolution of a stage")
            for name, layer in output_layers.items():
                with torch.no_grad():
                    output_bias_of(self.stages[name], layer).fill_(output_bias)

    def _apply(self, *args: Any, **kwargs: Any) -> "LandmarkNetwork":
        """Move or convert; on another device than the CPU, weights lie as its convolutions want the images."""
        super()._apply(*args, **kwargs)
        if any(not x.is_cpu for x in self.parameters()):
            super()._apply(lambda x: x.contiguous())
        return self

    def views(self) -> list[nn.Module]:
        """Itself: nothing is averaged."""
        return [self]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """The output of each stage, or the first head of the last one.

        The annotation is that of TorchScript, which knows tensors only and leaves the case of a dictionary out.

        Args:
            image: such a tensor for each stage by name, or ``(B, C, *size)``.

        Returns:
            ``{stage: {head: (B, channels, *grid)}}``, with ``(n,)`` for learnt scalars, or ``(B, channels, *grid)``.
        """
        if torch.jit.is_scripting():  # type: ignore[attr-defined]
            return self._last(image)
        else:  # noqa: RET505  TorchScript leaves only a branch out
            return self._outputs(image) if isinstance(image, dict) else self._last(image)

    def _last(self, image: torch.Tensor) -> torch.Tensor:
        """The first head of the last stage, for an image ``(B, C, *size)``."""
        last = self._lay_out(image)
        # Enumerated, because TorchScript has no other way into a ModuleDict; only the last one is called.
        for number, stage in enumerate(self.stages.values()):
            if number == self.number - 1:
                last = stage(last)
        return last[:, : self.first]

    @torch.jit.unused
    def _outputs(self, images: dict[str, torch.Tensor]) -> dict[str, Output]:
        """The output of each stage that is named."""
        channels = {name: self.stages[name](self._lay_out(image)) for name, image in images.items()}
        outputs = {name: _split(found, self.heads[name]) for name, found in channels.items()}
        for name in outputs:
            if name in self.scalars:
                outputs[name] |= self.scalars[name]()
        return outputs

    def _lay_out(self, image: torch.Tensor) -> torch.Tensor:
        """Channels last on CPUs, where convolutions are up to twice as fast.

        On CUDA the instance norm gives back channels first, and every convolution converts anew: a quarter slower on
        nnU-Net's residual U-Net (pytorch#59168).
        """
        if not image.is_cpu:
            return image.contiguous()
        if self.volumes:
            return image.contiguous(memory_format=torch.channels_last_3d)
        return image.contiguous(memory_format=torch.channels_last)


class LearntScalars(nn.Module):
    """Numbers that a network has learnt for itself, as heads of its output.

    Args:
        values: first values by name of the head.
        scheduled: names of those that no gradient changes.
    """

    def __init__(self, values: Mapping[str, Sequence[float]], scheduled: Sequence[str] = ()) -> None:
        super().__init__()
        self.names = list(values)
        for name, numbers in values.items():
            first = torch.tensor([float(number) for number in numbers])
            if name in scheduled:
                self.register_buffer(name, first)
            else:
                self.register_parameter(name, nn.Parameter(first))

    @torch.jit.unused
    def forward(self) -> Output:
        """Each head ``(n,)``."""
        found = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        return {name: found[name] for name in self.names}


def _split(channels: torch.Tensor, heads: Mapping[str, int]) -> Output:
    """The heads of ``(B, channels, *grid)``."""
    return dict(zip(heads, channels.split(list(heads.values()), dim=1), strict=True))


def output_bias_of(network: nn.Module, layer: str) -> torch.Tensor:
    """Bias of a layer of a network.

    Raises:
        ValueError: there is no such layer, or it has no bias.
    """
    found = dict(network.named_modules()).get(layer)
    bias = dict(found.named_parameters(recurse=False)).get("bias") if found is not None else None
    if bias is None:
        raise ValueError(f"the network has no output layer {layer!r} with a bias; name its last convolution")
    return bias
