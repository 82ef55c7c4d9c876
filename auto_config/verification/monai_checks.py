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

from auto_config.bundle_scripts.files.weights import read_weights
from auto_config.verification.finding import Finding, State, passed
from auto_config.verification.large_files import listed_paths
from auto_config.verification.weights import fault_of
from auto_config.wording import install_line

Outcome = tuple[State, str, str] | None
"""State, problem and remedy of a check; None where nothing is wrong."""
_TOLERANCE = 1e-4
"""An exported network may differ by this from the network, relative to the largest value of its output."""
_SCRIPTED = "models/model.ts"
_IS_SCRIPTED = f"{_SCRIPTED} is TorchScript"
_META, _INFERENCE = "configs/metadata.json", "configs/inference.json"


# What helps where a check ends in an error; docs/bundle.md has the whole commands.
_REMEDIES = {
    "properties of inference": "repair the part it names in configs/inference.json; `python -m monai.bundle run"
    " --config_file configs/inference.json` shows where it fails",
    "properties of training": "repair the part it names in configs/train.json, or a case of data/datalist.json;"
    " `python -m monai.bundle run training --config_file configs/train.json` shows where it fails",
    "properties of evaluation": "repair the part it names in configs/evaluate.json, which is read on top of train.json;"
    " `python -m monai.bundle run evaluating` with both shows where it fails",
    "verify_net_in_out": "let network_data_format of configs/metadata.json say what network_def of"
    " configs/inference.json takes and gives (num_channels, spatial_shape, dtype)",
    "ckpt_export, scripted": "models/model.pt must be of network_def in configs/inference.json: train again after a"
    " change of the network; one of your own must be what torch.jit.script takes, with types and without **kwargs",
    _IS_SCRIPTED: "write it anew with `python -m monai.bundle ckpt_export`, or remove it: bundles"
    " need models/model.pt alone",
    "onnx_export": "models/model.pt must be of network_def in configs/inference.json: train again after a change of the"
    " network; in one of your own avoid what ONNX has no operator for",
}
_DIFFERS = (
    "let forward of the network follow from its input alone: no numbers drawn in eval, no branch on values, nothing"
    " kept between calls; then verify again"
)


def check(root: Path, dataset_dir: str | None) -> list[Finding]:
    """All checks that need the bundle's code.

    Args:
        root: folder of the bundle.
        dataset_dir: folder with the images of the data list; None for that of ``train.json``.
    """
    without = _without_weights(root)
    with tempfile.TemporaryDirectory() as folder:
        checks: dict[str, Callable[[], Outcome]] = {
            "properties of inference": lambda: _properties("infer", ["inference"], folder, None),
            "properties of training": lambda: _training(root, ["train"], folder, dataset_dir),
            "properties of evaluation": lambda: _training(root, ["train", "evaluate"], folder, dataset_dir),
            "verify_net_in_out": _net_in_out,
            "ckpt_export, scripted": lambda: without or _torchscript(root, Path(folder)),
            "onnx_export": lambda: without or _onnx(root, Path(folder)),
        }
        if (root / _SCRIPTED).is_file():
            checks[_IS_SCRIPTED] = lambda: _loaded(root / _SCRIPTED)
        return [_tried(what, run) for what, run in checks.items()]


def _without_weights(root: Path) -> Outcome:
    """Why exports cannot be checked: weights that are missing, lie elsewhere or cannot be read; None for sound ones."""
    if (root / "models" / "model.pt").is_file():
        # MONAI would repeat what torch says of a damaged file, which is how to read it with any code that is in it.
        fault = fault_of(root, "models/model.pt")
        return None if fault is None else ("not checked", "models/model.pt cannot be read", "see the line `weights`")
    if "models/model.pt" in listed_paths(root):
        fetch = "python -m monai.bundle download_large_files --bundle_path ."
        return "not checked", "the weights are listed in large_files.yml and not here", f"fetch them: {fetch}"
    return "not checked", "the bundle has no weights yet", "train it"


def _tried(what: str, run: Callable[[], Outcome]) -> Finding:
    try:
        outcome = run()
    except Exception as error:
        message = " ".join(str(error.__cause__ or error).split())
        outcome = ("failed", f"{type(error).__name__}: {message[:400]}", _REMEDIES[what])
    return passed(what) if outcome is None else Finding(what, *outcome)


def _training(root: Path, configs: Sequence[str], folder: str, dataset_dir: str | None) -> Outcome:
    images = dataset_dir or json.loads((root / "configs" / "train.json").read_text(encoding="utf-8"))["dataset_dir"]
    if not isinstance(images, str) or not Path(images).is_dir() or not (root / "data" / "datalist.json").is_file():
        return "not checked", f"there are no images at {images}", "--dataset_dir FOLDER"
    return _properties("train", configs, folder, images)


def _properties(kind: str, configs: Sequence[str], folder: str, dataset_dir: str | None) -> Outcome:
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
    if wrong:
        ids = ", ".join(str(workflow.properties[name]["id"]).replace("::", "#") for name in wrong)
        remedy = f"define {ids} in configs/{configs[-1]}.json"
        return "failed", f"missing or under another id: {', '.join(wrong)}", remedy
    return None


def _net_in_out() -> None:
    monai_bundle.verify_net_in_out(net_id="network_def", meta_file=_META, config_file=_INFERENCE, device="cpu")


def _network_and_image(root: Path) -> tuple[torch.nn.Module, torch.Tensor]:
    parser = ConfigParser()
    parser.read_config(_INFERENCE)
    parser.read_meta(_META)
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(read_weights(root / "models" / "model.pt"))
    image = parser["_meta_"]["network_data_format"]["inputs"]["image"]
    generator = torch.Generator().manual_seed(0)
    return network, torch.rand(1, image["num_channels"], *image["spatial_shape"], generator=generator)


def _exported(command: Callable[..., Any], path: Path, **options: Any) -> str:
    """The file that one of MONAI's exports of the trained network writes, as the zoo calls it."""
    files = {"ckpt_file": "models/model.pt", "meta_file": _META, "config_file": _INFERENCE}
    command(net_id="network_def", filepath=str(path), **files, **options)
    return str(path)


def _torchscript(root: Path, folder: Path) -> Outcome:
    """As the zoo calls it: scripted, never traced."""
    path = _exported(monai_bundle.ckpt_export, folder / "model.ts")
    network, image = _network_and_image(root)
    with torch.no_grad():
        return _difference(network(image), torch.jit.load(path).eval()(image))


def _loaded(path: Path) -> Outcome:
    """A scripted network that somebody put there; what PyTorch says of another file are places in its own sources."""
    try:
        torch.jit.load(str(path), map_location="cpu")
    except RuntimeError:
        problem = f"torch.jit.load cannot read {_SCRIPTED}: it is damaged, or no TorchScript"
        return "failed", problem, _REMEDIES[_IS_SCRIPTED]
    return None


def _onnx(root: Path, folder: Path) -> Outcome:
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        return "not checked", f"not installed: {', '.join(missing)}", install_line(*missing)
    import onnxruntime

    network, image = _network_and_image(root)
    path = _exported(monai_bundle.onnx_export, folder / "model.onnx", input_shape=list(image.shape))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: image.numpy()})[0]
    with torch.no_grad():
        return _difference(network(image), torch.from_numpy(found))


def _difference(wanted: torch.Tensor, found: torch.Tensor) -> Outcome:
    if found.shape != wanted.shape:
        return "failed", f"gives {tuple(found.shape)}, the network {tuple(wanted.shape)}", _DIFFERS
    apart = float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-9))
    # Written so that an output that is no number fails.
    return None if apart <= _TOLERANCE else ("failed", f"its output is {apart:.1g} of the largest value off", _DIFFERS)


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
