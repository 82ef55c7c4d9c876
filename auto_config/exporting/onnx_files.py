"""ONNX files: written from networks, and run by onnxruntime in the place of these."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import torch
from torch import nn

from auto_config.bundle_scripts.files.atomic import written_whole
from auto_config.errors import UserError
from auto_config.exporting.checks import share_apart
from auto_config.exporting.packages import require
from auto_config.exporting.stages import StageNetwork

IMAGE, OUTPUT = "image", "output"
"""Names of the input ``(patches, C, *size)`` and the output ``(patches, channels, *grid)``."""
OPSET = 18
"""Version of ONNX's operators."""


def write_onnx(network: StageNetwork, path: Path) -> float:
    """Write a network as one ONNX file, and compare it; the number of patches is free, their size is not.

    PyTorch has two exporters. The one that traces takes seconds and is tried first; the one with `torch.export` takes a
    minute, and follows what tracing does not.

    Args:
        network: to be written.
        path: appears whole, with an export that does what the network does, or not at all.

    Returns:
        The largest difference, as a share of the largest value; see `share_apart`.

    Raises:
        UserError: a package is missing, or no exporter gives what the network gives.
    """
    require("onnx", "onnxscript", "onnxruntime")
    said = logging.getLogger("torch.onnx")
    level = said.level
    said.setLevel(logging.ERROR)
    reasons = []
    try:
        for export in (_traced, _exported):
            try:
                # What either prints is for those who work on exporters.
                with warnings.catch_warnings(), redirect_stdout(StringIO()):
                    warnings.simplefilter("ignore")
                    content = export(network)
                share = share_apart(network, OnnxNetwork(content))
            except Exception as error:  # whatever the exporters raise of a network that they cannot follow
                reasons.append(" ".join(str(error).split())[:200] or type(error).__name__)
                continue
            with written_whole(path) as stream:
                stream.write(content)
            return share
    finally:
        said.setLevel(level)
    raise UserError(f"{path.name}: this network cannot be written as ONNX ({'; '.join(reasons)})")


def _traced(network: StageNetwork) -> bytes:
    """By tracing."""
    content: Any = BytesIO()  # its annotation has paths alone, its documentation has streams too
    torch.onnx.export(
        network.network.eval(),
        (network.patches(2),),
        content,
        input_names=[IMAGE],
        output_names=[OUTPUT],
        dynamic_axes={IMAGE: {0: "patches"}, OUTPUT: {0: "patches"}},
        opset_version=OPSET,
        dynamo=False,
    )
    return content.getvalue()


def _exported(network: StageNetwork) -> bytes:
    """By `torch.export`; with two patches, because it takes a size of 1 for one that never changes."""
    program = torch.onnx.export(
        network.network.eval(),
        (network.patches(2),),
        input_names=[IMAGE],
        output_names=[OUTPUT],
        dynamic_shapes=({0: torch.export.Dim("patches", min=1)},),
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    content: bytes = program.model_proto.SerializeToString()
    return content


class OnnxNetwork(nn.Module):
    """A network that onnxruntime runs on the CPU, called as the network that it was made of.

    Args:
        model: path of a file of `write_onnx`, or what is in it.
        threads: of one call; those of PyTorch if not given.

    Raises:
        UserError: onnxruntime is not installed.
    """

    def __init__(self, model: Path | bytes, threads: int | None = None) -> None:
        super().__init__()
        self.session = session_of(model, threads)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Patches ``(N, C, *size)`` to the channels of all heads."""
        (found,) = self.session.run(None, {IMAGE: image.detach().float().contiguous().numpy()})
        return torch.from_numpy(found)


def session_of(model: Path | bytes, threads: int | None = None) -> Any:
    """An onnxruntime session on the CPU."""
    require("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.log_severity_level = 3
    providers: Sequence[str] = ["CPUExecutionProvider"]
    return onnxruntime.InferenceSession(model if isinstance(model, bytes) else str(model), options, providers=providers)
