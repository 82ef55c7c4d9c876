"""What MONAI's own commands say of a bundle: ``python -m auto_config.verification.monai_checks REQUEST.json``.

Runs in a process of its own, with the bundle as working directory and first in `sys.path` as in the checks of the zoo,
because the code of a bundle is run here. The answer, a list of findings, is written to the path that the request names.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from monai import bundle as monai_bundle
from monai.bundle import ConfigParser, ConfigWorkflow

from auto_config.verification.finding import Finding, passed

_TOLERANCE = 1e-4
"""An exported network may differ by this from the network, relative to the largest value of its output."""
_META, _INFERENCE = "configs/metadata.json", "configs/inference.json"


def check(root: Path, dataset_dir: str | None) -> list[Finding]:
    """All checks that need the bundle's code.

    Args:
        root: folder of the bundle.
        dataset_dir: folder with the images of the data list; None for that of ``train.json``.
    """
    trained = (root / "models" / "model.pt").is_file()
    with tempfile.TemporaryDirectory() as folder:
        checks: list[tuple[str, Callable[[], Finding | None]]] = [
            ("properties of inference", lambda: _properties("infer", ["inference"], folder, None)),
            *(
                (f"properties of {name}", lambda configs=configs: _training(root, configs, folder, dataset_dir))
                for name, configs in (("training", ["train"]), ("evaluation", ["train", "evaluate"]))
            ),
            ("verify_net_in_out", _net_in_out),
            (
                "ckpt_export, scripted",
                lambda: _torchscript(root, Path(folder)) if trained else _untrained("TorchScript"),
            ),
            ("onnx_export", lambda: _onnx(root, Path(folder)) if trained else _untrained("ONNX")),
        ]
        return [_tried(what, run) for what, run in checks]


def _tried(what: str, run: Callable[[], Finding | None]) -> Finding:
    try:
        return run() or passed(what)
    except Exception as error:
        message = " ".join(str(error.__cause__ or error).split())
        return Finding(
            what, "failed", f"{type(error).__name__}: {message[:400]}", "the command of docs/bundle.md shows all"
        )


def _untrained(kind: str) -> Finding:
    return Finding(f"export as {kind}", "not checked", "the bundle has no weights yet", "train it")


def _training(root: Path, configs: Sequence[str], folder: str, dataset_dir: str | None) -> Finding | None:
    what = "properties of " + ("evaluation" if "evaluate" in configs else "training")
    images = dataset_dir or json.loads((root / "configs" / "train.json").read_text(encoding="utf-8"))["dataset_dir"]
    if not isinstance(images, str) or not Path(images).is_dir() or not (root / "data" / "datalist.json").is_file():
        return Finding(what, "not checked", f"there are no images at {images}", "--dataset_dir FOLDER")
    return _properties("train", configs, folder, images)


def _properties(kind: str, configs: Sequence[str], folder: str, dataset_dir: str | None) -> Finding | None:
    """What MONAI's clients ask of a workflow; see `monai.bundle.properties`."""
    overrides = {} if dataset_dir is None else {"dataset_dir": dataset_dir}
    workflow = ConfigWorkflow(
        workflow_type=kind,
        config_file=[f"configs/{name}.json" for name in configs],
        logging_file=False,
        output_dir=folder,
        **overrides,
    )
    workflow.initialize()
    wrong = workflow.check_properties()
    workflow.finalize()
    if not wrong:
        return None
    what = f"properties of {'inference' if kind == 'infer' else 'training'}"
    return Finding(what, "failed", f"missing or under another id: {', '.join(wrong)}", "see monai/bundle/properties.py")


def _net_in_out() -> None:
    monai_bundle.verify_net_in_out(net_id="network_def", meta_file=_META, config_file=_INFERENCE, device="cpu")


def _network_and_image(root: Path) -> tuple[torch.nn.Module, torch.Tensor]:
    parser = ConfigParser()
    parser.read_config(_INFERENCE)
    parser.read_meta(_META)
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(root / "models" / "model.pt", map_location="cpu", weights_only=True))
    image = json.loads((root / _META).read_text(encoding="utf-8"))["network_data_format"]["inputs"]["image"]
    generator = torch.Generator().manual_seed(0)
    return network, torch.rand(1, image["num_channels"], *image["spatial_shape"], generator=generator)


def _torchscript(root: Path, folder: Path) -> Finding | None:
    """As the zoo calls it: scripted, never traced."""
    path = folder / "model.ts"
    monai_bundle.ckpt_export(
        net_id="network_def",
        filepath=str(path),
        ckpt_file="models/model.pt",
        meta_file=_META,
        config_file=_INFERENCE,
    )
    network, image = _network_and_image(root)
    with torch.no_grad():
        return _difference("ckpt_export, scripted", network(image), torch.jit.load(str(path)).eval()(image))


def _onnx(root: Path, folder: Path) -> Finding | None:
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        what = f"not installed: {', '.join(missing)}"
        return Finding("onnx_export", "not checked", what, f"pip install {' '.join(missing)}")
    import onnxruntime

    path = folder / "model.onnx"
    network, image = _network_and_image(root)
    monai_bundle.onnx_export(
        net_id="network_def",
        filepath=str(path),
        ckpt_file="models/model.pt",
        meta_file=_META,
        config_file=_INFERENCE,
        input_shape=list(image.shape),
    )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: image.numpy()})[0]
    with torch.no_grad():
        return _difference("onnx_export", network(image), torch.from_numpy(found))


def _difference(what: str, wanted: torch.Tensor, found: torch.Tensor) -> Finding | None:
    if found.shape != wanted.shape:
        return Finding(what, "failed", f"gives {tuple(found.shape)}, the network {tuple(wanted.shape)}")
    apart = float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-9))
    if not apart <= _TOLERANCE:
        return Finding(what, "failed", f"its output is {apart:.1g} of the largest value off")
    return None


def main(arguments: Sequence[str]) -> None:
    """Answer a request."""
    request: dict[str, Any] = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    root = Path(request["bundle"])
    os.chdir(root)
    sys.path.insert(0, str(root))
    findings = check(root, request["dataset_dir"])
    Path(request["answer"]).write_text(json.dumps([asdict(finding) for finding in findings]), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
