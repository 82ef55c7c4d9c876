"""``pipeline.json``: the way from an image to points in plain numbers, for bundles that a short program can follow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from auto_config.bundle_scripts.grid.background import MARGIN_VOXELS
from auto_config.bundle_scripts.points.landmark_names import read_flip_pairs
from auto_config.methods.base import Json

FORMAT = 2
"""Goes up when the meaning of ``pipeline.json`` changes."""
_DECODER = "scripts.methods.decoders.ArgmaxDecoder"
_DEFAULTS = {"link": "softmax", "sharpness": 1.0, "window": 1.5, "radius": 5, "rounds": 12}
_INFERERS = ("scripts.inference.dense.DenseInferer", "scripts.inference.coarse_to_fine.CoarseToFineInferer")
_PREPROCESSING = (
    "scripts.images.loader.LoadFilesd",
    "Orientationd",
    "scripts.grid.transforms.ResampleGridd",
    "scripts.grid.transforms.NormalizeChannelsd",
)


def describe(root: Path, config: Json, files: Mapping[str, Sequence[str]]) -> Json | str:
    """The numbers of a bundle's prediction.

    Args:
        root: folder of the bundle.
        config: its ``inference.json``.
        files: names of the ONNX files of each stage, one for each member of an ensemble; coarse before fine.

    Returns:
        The content of ``pipeline.json``, or why there is none.
    """
    reason = _out_of_reach(config, list(files))
    if reason is not None:
        return reason
    landmarks = root / "configs" / "landmarks.json"
    metadata = json.loads((root / "configs" / "metadata.json").read_text(encoding="utf-8"))
    _, orientation, resample, normalize = config["preprocessing"]["transforms"]
    inferer, two = config["inferer"], len(files) == 2
    stages = [
        {
            "name": name,
            "files": list(files[name]),
            "patch_size": config["coarse_patch_size" if name == "coarse" else "patch_size"],
            "factor": config["coarse_factor"] if name == "coarse" else [1, 1, 1],
            "decoder": {**_DEFAULTS, **_without_target(config[_decoder_id(name)])},
        }
        for name in files
    ]
    return {
        "format": FORMAT,
        "name": metadata["name"],
        "version": metadata["version"],
        "landmarks": [item["name"] for item in json.loads(landmarks.read_text(encoding="utf-8"))["landmarks"]],
        "orientation": orientation["axcodes"],
        "crop_background": resample["crop_background"],
        "background_margin": MARGIN_VOXELS,
        "low_pass": resample["low_pass"],
        "spacing": config["spacing"],
        "normalization": normalize["channels"],
        "pad_value": config["pad_value"],
        "overlap": config["overlap"],
        "mirror": [int(pair) for pair in read_flip_pairs(landmarks)] if "flip_pairs" in inferer else None,
        "stages": stages,
        **(_crops(inferer) if two else {}),
    }


def _crops(inferer: Json) -> Json:
    """The numbers of a fine stage."""
    return {
        "reach_mm": inferer["reach"],
        "crops_per_batch": inferer.get("batch_size", 8),
        "crop_sharing": inferer.get("crop_sharing", 0.0),
    }


def _decoder_id(stage: str) -> str:
    return "coarse_decoder" if stage == "coarse" else "decoder"


def _without_target(part: Mapping[str, Any]) -> Json:
    return {key: value for key, value in part.items() if key != "_target_"}


def _out_of_reach(config: Json, stages: Sequence[str]) -> str | None:
    """The first thing that ``pipeline.json`` has no words for."""
    network, inferer = config["network_def"], config["inferer"]
    transforms = config["preprocessing"].get("transforms", ())
    if len(config["spacing"]) != 3:
        return "the bundle is for pictures"
    if "instances" in config:
        return "it finds several instances of a landmark, or landmarks that may change places"
    if network.get("heads") or network.get("scalars"):
        return "its network gives more than one heatmap for each landmark"
    for stage in stages:
        decoder = config.get(_decoder_id(stage), {})
        if decoder.get("_target_") != _DECODER:
            return f"the decoder of the {stage} stage is {decoder.get('_target_')}"
        if strange := set(_without_target(decoder)) - set(_DEFAULTS):
            return f"its decoder has {sorted(strange)[0]}"
    if config.get("window", {}).get("_target_") != "SlidingWindowInferer":
        return "its windows lie on cells of several voxels"
    if inferer.get("_target_") not in _INFERERS or stages not in (["fine"], ["coarse", "fine"]):
        return "it has an inferer of its own"
    if inferer.get("pose", {}).get("kind") == "free":
        return "cases lie in any pose, and crops are turned"
    if [part.get("_target_") for part in transforms] != list(_PREPROCESSING):
        return "it has a preprocessing of its own"
    if transforms[1].get("axcodes") != "RAS" or transforms[2].get("spacing") != "@spacing":
        return "its orientation or spacing is not the planned one"
    return _not_a_number(config)


def _not_a_number(config: Json) -> str | None:
    """Numbers of a config may be expressions, which only MONAI can read."""
    keys = ["spacing", "pad_value", "overlap", "patch_size"]
    keys += ["coarse_factor", "coarse_patch_size"] if "coarse_factor" in config else []
    values = {key: config[key] for key in keys} | {
        key: config["inferer"].get(key, 0) for key in ("reach", "crop_sharing")
    }
    for key, value in values.items():
        for number in value if isinstance(value, list) else [value]:
            if not isinstance(number, int | float):
                return f"{key} of inference.json is {number!r} and no number"
    return None
