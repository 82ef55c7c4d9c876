"""`predict --runtime onnx`: the networks of a bundle by onnxruntime, everything else by the same code."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from auto_config.bundle.opened import OpenBundle
from auto_config.errors import UserError
from auto_config.exporting.onnx_files import OnnxNetwork, write_onnx
from auto_config.exporting.packages import require
from auto_config.exporting.stages import StageNetwork, stage_networks, with_networks

FOLDER = Path("cache") / "onnx"
"""Where a bundle keeps its networks as ONNX, under names made of their weights."""


@contextmanager
def by_onnxruntime(opened: OpenBundle) -> Iterator[OpenBundle]:
    """A bundle whose networks onnxruntime runs on the CPU.

    Files are written and checked once, into ``cache/onnx`` of the bundle, and found there the next time; where the
    bundle cannot be written to, into a temporary folder.

    Raises:
        UserError: a package is missing, the device is none of the CPU's, or a network cannot be ONNX.
    """
    require("onnxruntime")
    if opened.device.type != "cpu":
        raise UserError(f"--runtime onnx runs on the CPU, and the device is {opened.device}; give --device cpu as well")
    networks = stage_networks(opened)
    folder = opened.root / FOLDER
    temporary = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        temporary = tempfile.mkdtemp()
        folder = Path(temporary)
    try:
        files = {one.name: onnx_file(one, folder) for one in networks}
        yield with_networks(opened, lambda one: OnnxNetwork(files[one.name]))
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def onnx_file(network: StageNetwork, folder: Path) -> Path:
    """The ONNX file of a network, written and checked where it is not there yet."""
    path = folder / f"{network.name}-{digest_of(network)}.onnx"
    if path.is_file():
        return path
    write_onnx(network, path)
    for old in folder.glob(f"{network.name}-*.onnx"):
        if old != path:
            old.unlink(missing_ok=True)
    return path


def digest_of(network: StageNetwork) -> str:
    """Of everything that decides the file of a network: its layers, its weights, its patch and PyTorch."""
    content = hashlib.sha256(f"{torch.__version__} {network.channels} {network.size} {network.network}".encode())
    for name, value in network.network.state_dict().items():
        content.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        content.update(value.detach().cpu().contiguous().numpy().tobytes())
    return content.hexdigest()[:16]
