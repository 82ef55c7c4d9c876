"""Open a trained bundle for prediction, several of them side by side in one process."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose
from torch import nn

from auto_config.bundle import light_monai
from auto_config.bundle.earlier import Find, earlier_decoder, earlier_find, has_methods
from auto_config.bundle_scripts.files.weights import read_weights
from auto_config.bundle_scripts.images.header import Image, ImageFileError
from auto_config.bundle_scripts.images.loader import check_axes
from auto_config.bundle_scripts.inference.heatmaps import Heatmaps
from auto_config.bundle_scripts.methods.ensemble import EnsembleNetwork
from auto_config.bundle_scripts.methods.interfaces import Decoder
from auto_config.datasets.images import read_image
from auto_config.errors import UserError


@dataclass(frozen=True)
class OpenBundle:
    """The parts of a bundle that turn an image file into named points.

    Attributes:
        root: folder of the bundle.
        names: landmark names in channel order.
        spatial_dims: 2 or 3.
        preprocessing: file path to the image on the planned grid.
        inferer: from image and network to peaks; to logits in bundles of one stage that earlier versions made.
        network: on ``device``, in evaluation mode; the mean of several if ``models/ensemble.json`` lists several.
        postprocessing: from what the inferer gives to ``result`` and the label map.
        decoder: knows what an output of the last stage means; None in a config without one.
        find: from an image and the network to the output and its peaks.
        device: where the network runs.
    """

    root: Path
    names: tuple[str, ...]
    spatial_dims: int
    preprocessing: Compose
    inferer: Any
    network: nn.Module
    postprocessing: Compose
    decoder: Decoder | None
    find: Find
    device: torch.device

    def preprocess(self, image: str | Path | Sequence[Path]) -> dict[str, Any]:
        """Read an image, one file or one for each channel, and bring it to the planned grid.

        Raises:
            UserError: a file cannot be read, or its voxels are not numbers or all equal. What MONAI's transforms raise
                over an image that can be read is passed on.
        """
        paths = [Path(image)] if isinstance(image, (str, Path)) else [Path(path) for path in image]
        files = [str(path) for path in paths]
        try:
            data = self.preprocessing({"image": files[0] if len(files) == 1 else files})
        except Exception:
            # These say in one line what is wrong with the file, if it is the file.
            check_axes(read_image(paths), self.spatial_dims)
            raise
        if not isinstance(data, dict):
            raise TypeError(f"{self.root}: 'preprocessing' of configs/inference.json gave a {type(data).__name__}")
        return _usable(data, files[0])

    def preprocess_in_memory(self, image: Image) -> dict[str, Any]:
        """Bring an image that no file holds to the planned grid: the loader is given it in place of what it would read.

        Raises:
            UserError: it does not fit the bundle, its voxels are not numbers or all equal, or the bundle is too old.
        """
        load, *others = self.preprocessing.transforms
        reader = getattr(load, "file_reader", None)
        if reader is None:
            raise UserError(f"{self.root}: reads files only, because an earlier version made it; create it again")
        try:
            check_axes(image, self.spatial_dims)
        except ImageFileError as error:
            raise UserError(str(error)) from error
        if reader.channels not in (None, len(image.array)):
            raise UserError(
                f"{image.path}: has {len(image.array)} channels; this bundle was made for {reader.channels}, give an "
                "image with as many"
            )
        given = copy(reader)
        given.read = lambda *_, **__: image
        return _usable(Compose(others)(load({"image": str(image.path)}, reader=given)), str(image.path))

    def predict(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Predict what `preprocess` gave: adds ``result`` (world mm) and, as ``pred``, the label map of balls."""
        with torch.inference_mode():
            outputs = self.inferer(data["image"][None].to(self.device), self.network)
        done = self.postprocessing({**data, "pred": outputs[0]})
        if not isinstance(done, dict) or "result" not in done:
            raise ValueError(f"{self.root}: 'postprocessing' of configs/inference.json leaves no 'result'")
        # Only an inferer that first looks where landmarks are expected has a reason to look at the rest.
        if (why := getattr(self.inferer, "why_all_windows", None)) is not None:
            done["result"] = {**done["result"], "all_windows": why}
        return done

    def heatmaps(self, data: Mapping[str, Any]) -> Heatmaps:
        """The heatmaps of what `preprocess` gave, where its landmarks are, and their peaks in planned voxels."""
        image = data["image"].as_tensor().to(self.device)
        with torch.inference_mode():
            return self.find(image, self.network)


def _usable(data: dict[str, Any], name: str) -> dict[str, Any]:
    """The image on the planned grid, unless there is nothing to see in it.

    Raises:
        UserError: voxels are not numbers, or all equal.
    """
    grey = data["image"]
    if not bool(grey.isfinite().all()):
        raise UserError(f"{name}: holds voxels that are not numbers (NaN or infinite); repair the image")
    if bool((grey == grey.flatten()[0]).all()):
        raise UserError(f"{name}: has the same grey value everywhere; replace the image")
    return data


def open_bundle(
    root: str | Path,
    *,
    device: str | None = None,
    plausibility: bool | None = None,
    weights: Sequence[Path] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> OpenBundle:
    """Open a bundle through its ``configs/inference.json``.

    Its ``scripts`` are imported under a name of their own, made of their content, so that two bundles never get each
    other's code and ``sys.path`` is not touched.

    Args:
        root: folder of the bundle.
        device: such as ``cpu`` or ``cuda:1``; None for the bundle's own choice.
        plausibility: switches the shape check between two stages; None for the bundle's own choice.
        weights: files to average; None for those that the bundle uses.
        settings: other values for top-level ids of ``inference.json``, such as ``{"all_present": True}``.

    Returns:
        The parts, ready to predict.

    Raises:
        UserError: not a bundle, not trained, weights that do not fit, an unknown device, no stages to check between, or
            a setting that the bundle does not have.
    """
    folder = Path(root).resolve()
    return light_monai.or_with_all_of_monai(lambda: _open(folder, device, plausibility, weights, settings or {}))


def _open(
    root: Path,
    device: str | None,
    plausibility: bool | None,
    weights: Sequence[Path] | None,
    settings: Mapping[str, Any],
) -> OpenBundle:
    """`open_bundle` with the modules of MONAI that are there."""
    config = _read_config(root)
    landmarks = _read_json(root / "configs" / "landmarks.json")
    missing = [
        key for key in ("preprocessing", "inferer", "network_def", "postprocessing", "device") if key not in config
    ]
    if missing:
        raise UserError(f"{root}/configs/inference.json: has no '{missing[0]}'; create the bundle again")
    config["bundle_root"] = str(root)
    if device is not None:
        config["device"] = _device(device)
    if plausibility is not None:
        if "plausibility" not in config:
            raise UserError(f"{root}: has no plausibility step, because it has one stage; omit --plausibility")
        config["plausibility"] = plausibility
    for name, value in settings.items():
        if name not in config:
            raise UserError(
                f"{root}/configs/inference.json: has no '{name}', so it cannot be set; omit it, or create the "
                "bundle again if an earlier version made it"
            )
        config[name] = value
    parser = _parser(_with_package(config, _import_scripts(root / "scripts")))
    parser.read_meta(str(root / "configs" / "metadata.json"))
    chosen = torch.device(parser.get_parsed_content("device"))
    members = [_load(parser, path) for path in (weight_files(root) if weights is None else weights)]
    network = members[0] if len(members) == 1 else EnsembleNetwork(members)
    inferer = _parsed(parser, "inferer")
    decoder = parser.get_parsed_content("decoder") if "decoder" in config else None
    if has_methods(root / "scripts"):
        find = find_of(inferer)
    else:
        decoder = None if decoder is None else earlier_decoder(config, decoder)
        find = earlier_find(root, config, inferer, decoder)
    return OpenBundle(
        root=root,
        names=tuple(item["name"] for item in landmarks["landmarks"]),
        spatial_dims=int(landmarks["spatial_dims"]),
        preprocessing=parser.get_parsed_content("preprocessing"),
        inferer=inferer,
        network=network.to(chosen).eval(),
        postprocessing=_parsed(parser, "postprocessing"),
        decoder=decoder,
        find=find,
        device=chosen,
    )


def untrained_network(root: str | Path, seed: int = 0) -> nn.Module:
    """The network of a bundle with new weights, on the CPU.

    Args:
        root: folder of the bundle; it needs no weights.
        seed: of the weights.

    Raises:
        UserError: not a bundle.
    """
    root = Path(root).resolve()
    config = _read_config(root)
    config["bundle_root"] = str(root)
    parser = ConfigParser(_with_package(config, _import_scripts(root / "scripts")))
    parser.read_meta(str(root / "configs" / "metadata.json"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: nn.Module = _parsed(parser, "network_def")
    return network


def find_of(inferer: Any) -> Find:
    """The output and peaks that a bundle's inferer finds; asked for only when needed, other inferers have none."""

    def find(image: torch.Tensor, network: Any) -> Heatmaps:
        found = inferer.heatmaps(image, network)
        # A bundle has the class of its own time.
        return Heatmaps(found.output, found.origins, found.peaks, vars(found).get("turn"))

    return find


def _parser(config: dict[str, Any]) -> ConfigParser:
    """A parser that finds the parts of MONAI also where their imports are put off."""
    if not light_monai.puts_off():
        return ConfigParser(config)
    try:
        # With whole names nothing is looked up in the modules of MONAI, which takes a second.
        return ConfigParser(light_monai.full_targets(config), excludes=["monai"])
    except KeyError:
        light_monai.import_all()
        return ConfigParser(config)


def _parsed(parser: ConfigParser, name: str) -> Any:
    """A part of the config; what it says of its own files, such as those of a calibration, is passed on."""
    try:
        return parser.get_parsed_content(name)
    except RuntimeError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, ValueError):
            cause = cause.__cause__
        if cause is None:
            raise
        raise UserError(" ".join(str(cause).split())) from error


def require_bundle(root: Path) -> None:
    """Look whether a folder is a bundle that can predict.

    Raises:
        UserError: it is not.
    """
    _read_config(root)


def weight_files(root: Path) -> list[Path]:
    """The weights whose heatmaps are averaged: those of ``models/ensemble.json``, else ``models/model.pt``.

    Raises:
        UserError: one of them is not there.
    """
    files = _weights_in_use(root)
    for path in files:
        if not path.is_file():
            following = f"auto_config train {shlex.quote(str(root))}"
            raise UserError(f"{path}: is not there, the bundle is not trained yet; run `{following}` first")
    return files


def _weights_in_use(root: Path) -> list[Path]:
    """Files that the bundle averages, there or not."""
    listed = root / "models" / "ensemble.json"
    names = _read_json(listed)["files"] if listed.is_file() else ["model.pt"]
    return [root / "models" / name for name in names]


def fold_of(root: Path, weights: Path) -> str | None:
    """The fold that weights in ``models/fold_FOLD/`` or ``models/fold_FOLD/seed_N/`` are of; None for others."""
    inside = weights.resolve().relative_to((root / "models").resolve()).parts
    return inside[0].removeprefix("fold_") if len(inside) > 1 and inside[0].startswith("fold_") else None


def weights_of_fold(root: Path, fold: int) -> list[Path]:
    """The weights of a fold that are in use: one file, or several that differ by the seed of their training.

    Those of a fold alone, where the bundle uses none of its weights: another fold may still be trained.
    """
    used = [path for path in _weights_in_use(root) if fold_of(root, path) == str(fold)]
    return used or [root / "models" / f"fold_{fold}" / "model.pt"]


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); give a bundle that `auto_config create` wrote"
        ) from error
    except ValueError as error:
        raise UserError(f"{path}: is not JSON ({error}); correct it or create the bundle again") from error


def _read_config(root: Path) -> dict[str, Any]:
    path = root / "configs" / "inference.json"
    if not path.is_file():
        raise UserError(
            f"{root}: is no bundle, it has no configs/inference.json; give a folder that `auto_config create` wrote"
        )
    config = _read_json(path)
    if not isinstance(config, dict):
        raise UserError(f"{path}: must be a JSON object; create the bundle again")
    return config


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {name}: not a device of this machine; allowed are cpu, cuda, cuda:0, ...") from error
    return device


def _import_scripts(folder: Path) -> str:
    """Import a bundle's ``scripts`` as a package named after its content, and return that name."""
    if not (folder / "__init__.py").is_file():
        raise UserError(f"{folder}: has no __init__.py, so the bundle cannot run; create the bundle again")
    content = hashlib.sha256(str(folder).encode())
    for path in sorted(folder.rglob("*.py")):
        content.update(path.read_bytes())
    name = f"bundle_scripts_{content.hexdigest()[:16]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return name


def _with_package(config: Any, package: str) -> Any:
    """A config whose ``_target_`` entries name ``package`` where they name ``scripts``."""
    if isinstance(config, dict):
        return {
            key: f"{package}.{value.removeprefix('scripts.')}"
            if key == "_target_" and isinstance(value, str) and value.startswith("scripts.")
            else _with_package(value, package)
            for key, value in config.items()
        }
    if isinstance(config, list):
        return [_with_package(value, package) for value in config]
    return config


def _load(parser: ConfigParser, path: Path) -> nn.Module:
    """A new network with the weights of a file."""
    network: nn.Module = parser.get_parsed_content("network_def", instantiate=True, eval_expr=True, lazy=False)
    try:
        network.load_state_dict(read_weights(path))
    except ValueError as error:
        raise UserError(str(error)) from error
    except (RuntimeError, OSError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: does not fit the network of configs/inference.json ({str(error).splitlines()[0]}); train it again"
        ) from error
    return network
