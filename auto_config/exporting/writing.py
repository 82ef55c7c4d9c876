"""Writes the exports of a bundle into a folder, and checks each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn

from auto_config.bundle.json_text import json_text
from auto_config.bundle.opened import OpenBundle
from auto_config.bundle_scripts.files.text import atomic_write_text
from auto_config.exporting.checks import Case
from auto_config.exporting.folder import ENDINGS, ONNX, PIPELINE, exports_in
from auto_config.exporting.onnx_files import OnnxNetwork, write_onnx
from auto_config.exporting.packages import require
from auto_config.exporting.pipeline import describe
from auto_config.exporting.stages import StageNetwork, read_config, stage_networks
from auto_config.exporting.torchscript import NotScriptableError, read_torchscript, write_torchscript


@dataclass
class Exported:
    """What was written, and what it was found to be.

    Args:
        files: paths in the order in which they were written.
        share: largest difference of an output, as a share of its largest value, by format.
        mm: largest distance of a point in mm by format; empty where no case was at hand.
        notes: what was not written, and why.
    """

    files: list[Path] = field(default_factory=list)
    share: dict[str, float] = field(default_factory=dict)
    mm: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def write_exports(opened: OpenBundle, folder: Path, formats: Sequence[str], image: Sequence[Path] | None) -> Exported:
    """Write and check all networks of a bundle.

    Args:
        opened: on the CPU.
        folder: earlier exports in it of the formats that are written are replaced when all is well; else they stay.
        formats: of `ENDINGS`.
        image: files of an image whose points are compared; None compares outputs alone.

    Raises:
        UserError: a package is missing, no network can be written, or an export differs from its network.
    """
    if ONNX in formats:
        require("onnx", "onnxscript", "onnxruntime")
    networks = stage_networks(opened)
    case = None if image is None else Case.of(opened, image)
    folder.mkdir(parents=True, exist_ok=True)
    done = Exported()
    # Beside what is there, which an export that fails leaves as it is.
    with TemporaryDirectory(dir=folder, prefix=".export.") as temporary:
        place = Path(temporary)
        for kind in formats:
            write, read = (write_onnx, OnnxNetwork) if kind == ONNX else (write_torchscript, read_torchscript)
            files = {one.name: place / f"{one.name}{ENDINGS[kind]}" for one in networks}
            try:
                done.share[kind] = max(write(one, files[one.name]) for one in networks)
            except NotScriptableError as error:
                done.notes.append(f"no TorchScript: {error}")
                continue
            if case is not None:
                done.mm[kind] = case.mm_apart(opened, partial(_read, read, files), kind)
            done.files += files.values()
        if ONNX in done.share:
            done.notes += _pipeline(opened, networks, done.files, place)
        for path in exports_in(folder, list(done.share)):
            path.unlink(missing_ok=True)
        done.files = [path.replace(folder / path.name) for path in done.files]
    return done


def _pipeline(opened: OpenBundle, networks: Sequence[StageNetwork], files: list[Path], place: Path) -> list[str]:
    """Write ``pipeline.json`` and add it to `files`; or say in a note why the bundle has none."""
    stages = list(dict.fromkeys(one.stage for one in networks))
    names = {stage: [f"{one.name}{ENDINGS[ONNX]}" for one in networks if one.stage == stage] for stage in stages}
    pipeline = describe(opened.root, read_config(opened.root), names)
    if isinstance(pipeline, str):
        return [f"no {PIPELINE}, which a program without PyTorch would follow: {pipeline}"]
    atomic_write_text(place / PIPELINE, json_text(pipeline))
    files.append(place / PIPELINE)
    return []


def _read(read: Callable[[Path], nn.Module], files: Mapping[str, Path], network: StageNetwork) -> nn.Module:
    """The export of a network."""
    return read(files[network.name])
