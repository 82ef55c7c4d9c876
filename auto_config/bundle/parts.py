"""Parts of a config that several files share: transforms, networks, losses, inferers. Plan in, plain JSON out."""

from __future__ import annotations

import math

from auto_config.methods import METHODS, StageParts
from auto_config.methods.base import Json
from auto_config.methods.plan import Plan

# MONAI warns when it has to choose these itself.
LABELS = [["L", "R"], ["P", "A"], ["I", "S"]]
MIRROR_PAIRS = {"_target_": "scripts.dataset.read_mirror", "landmarks": "@landmarks"}


def two_stages(plan: Plan) -> bool:
    """Whether there is a coarse stage."""
    return len(plan.value("stages")) == 2


def stage_names(plan: Plan) -> list[str]:
    """Names of the stages in order."""
    return [stage["name"] for stage in plan.value("stages")]


def image_transforms(plan: Plan) -> list[Json]:
    """From the file to the planned grid, points untouched."""
    transforms: list[Json] = [load(plan)]
    if plan.value("orientation"):
        transforms.append(
            {"_target_": "Orientationd", "keys": "image", "axcodes": plan.value("orientation"), "labels": LABELS}
        )
    return [
        *transforms,
        {"_target_": "scripts.transforms.CropBackgroundd", "keys": "image"},
        {"_target_": "scripts.transforms.LowPassd", "keys": "image", "spacing": "@spacing"},
        {"_target_": "scripts.transforms.ResampleGridd", "keys": "image", "spacing": "@spacing"},
        {
            "_target_": "scripts.transforms.NormalizeChannelsd",
            "keys": "image",
            "channels": plan.value("normalization"),
        },
    ]


def load(plan: Plan) -> Json:
    """One reader for each format, the one that the data set was inspected with."""
    dims = plan.value("spatial_dims")
    pictures = {"pixel_spacing": "@pixel_spacing"} if dims == 2 else {}
    return {"_target_": "scripts.image_reader.LoadFilesd", "keys": "image", "spatial_dims": dims, **pictures}


def stage_parts(plan: Plan) -> dict[str, StageParts]:
    """What the plan's method gives each stage, by the stage's name."""
    method = METHODS[plan.value("method")]
    return {stage["name"]: method.parts(plan, stage) for stage in plan.value("stages")}


def network_def(plan: Plan, landmarks: int) -> Json:
    """The network of all stages.

    Raises:
        ValueError: stages that start with different biases.
    """
    stages = stage_parts(plan)
    layers = {name: part.output_layer for name, part in stages.items() if part.output_layer is not None}
    biases = {stages[name].output_bias for name in layers} or {None}
    if len(biases) > 1:
        raise ValueError(f"a network has one output bias for all stages, not {sorted(map(str, biases))}")
    heads = {name: part.heads for name, part in stages.items()}
    return {
        "_target_": "scripts.networks.LandmarkNetwork",
        "stages": {name: part.network for name, part in stages.items()},
        "landmarks": landmarks,
        "spatial_dims": plan.value("spatial_dims"),
        "output_bias": biases.pop(),
        "output_layers": layers,
        # One map for each landmark goes without saying.
        **({} if all(one == {"logits": landmarks} for one in heads.values()) else {"heads": heads}),
    }


def targets(plan: Plan) -> Json:
    """``heatmap``, a top-level id: what makes the heatmaps of each stage whose loss needs them."""
    found = {name: part.target for name, part in stage_parts(plan).items() if part.target is not None}
    return {"heatmap": found} if found else {}


def loss(plan: Plan) -> Json:
    """Sum over the stages of the method's loss."""
    stages = {name: part.loss for name, part in stage_parts(plan).items()}
    return {"_target_": "scripts.losses.StagesLoss", "stages": stages, **uses_instances(plan)}


def has_instances(plan: Plan) -> bool:
    """Whether there is a landmark with many instances, or a pair that may change places."""
    value = plan.value("instances")
    return bool(value["many"] or value["exchangeable"])


def instances(plan: Plan, models: str | None) -> Json:
    """``instances``, a top-level id, where there are any.

    Args:
        plan: all decisions.
        models: expression of the folder with calibrated thresholds; None for the default ones.
    """
    if not has_instances(plan):
        return {}
    part = {"_target_": "scripts.instances.read_instances", "landmarks": "@landmarks", "models": models}
    return {"instances": part}


def uses_instances(plan: Plan) -> Json:
    """The argument of a part that looks at rows of points."""
    return {"instances": "@instances"} if has_instances(plan) else {}


def decoder(plan: Plan, stage: Json) -> Json:
    """The decoder of a stage: of several peaks where it sees whole images and there are instances."""
    one = stage_parts(plan)[stage["name"]].decoder
    if not has_instances(plan) or (two_stages(plan) and stage["name"] == "fine"):
        return one
    return {
        "_target_": "scripts.instance_decoding.InstanceDecoder",
        "decoder": one,
        "instances": "@instances",
        "spacing": stage["spacing"],
        "reach_mm": plan.value("heatmap_radius_mm"),
    }


def numbers(plan: Plan) -> Json:
    """The grid and patch numbers that training and inference share, as top-level ids."""
    coarse = {}
    if two_stages(plan):
        stage = plan.stage("coarse")
        coarse = {
            "coarse_factor": stage["factor"],
            "coarse_patch_size": stage["patch_size"],
            "plausibility": True,
            "shape_prior": False,
        }
    pictures = {"pixel_spacing": plan.value("pixel_spacing")} if plan.value("spatial_dims") == 2 else {}
    return {
        **pictures,
        "spacing": plan.value("spacing"),
        "pad_value": plan.value("pad_value"),
        **coarse,
        "patch_size": plan.stage("fine")["patch_size"],
        "overlap": plan.value("overlap"),
    }


def decoders(plan: Plan) -> Json:
    """``decoder``, and ``coarse_decoder`` where there are two stages, as top-level ids."""
    out = {"coarse_decoder": decoder(plan, plan.stage("coarse"))} if two_stages(plan) else {}
    return {**out, "decoder": decoder(plan, plan.stage("fine"))}


def inferer(plan: Plan) -> Json:
    """From images to peaks, by a sliding window or coarse to fine; mirrored where training is."""
    return mirrored(plan, coarse_to_fine(plan) if two_stages(plan) else dense(plan))


def has_shape_prior(plan: Plan) -> bool:
    """Whether a shape can choose among maxima: not where one stage looks for landmarks without a fixed place."""
    return two_stages(plan) or not has_instances(plan)


def calibrated_inferer(plan: Plan) -> Json:
    """`inferer`, with the shape of the training cases where one stage has no other way to it."""
    if two_stages(plan) or not has_shape_prior(plan):
        return inferer(plan)
    shape = {
        "_target_": "scripts.calibration.calibrated_shape",
        "path": "@calibration",
        "landmarks": "@landmarks",
        "wanted": "@shape_prior",
    }
    return mirrored(plan, {**dense(plan), "shape": shape})


def mirrored(plan: Plan, inferer: Json) -> Json:
    """The inferer, looking in the mirror as well where training mirrors."""
    if not plan.value("mirror"):
        return inferer
    return {"_target_": "scripts.mirror.MirroredInferer", "inferer": inferer, "mirror_pairs": MIRROR_PAIRS}


def sliding_window(patch_size: str) -> Json:
    """MONAI's sliding window.

    Args:
        patch_size: reference to the size of the window.
    """
    return {
        "_target_": "SlidingWindowInferer",
        "roi_size": patch_size,
        "sw_batch_size": 1,
        "overlap": "@overlap",
        "mode": "gaussian",
        "padding_mode": "constant",
        "cval": "@pad_value",
    }


def dense(plan: Plan) -> Json:
    """The inferer of one stage, with a sliding window on the planned grid."""
    return {
        "_target_": "scripts.dense_inferer.DenseInferer",
        "window": sliding_window("@patch_size"),
        "decoder": "@decoder",
        "spacing": "@spacing",
        **uses_instances(plan),
    }


def coarse_to_fine(plan: Plan) -> Json:
    """The inferer of two stages, with a sliding window on the coarse grid."""
    return {
        "_target_": "scripts.inferers.CoarseToFineInferer",
        "coarse": sliding_window("@coarse_patch_size"),
        "factor": "@coarse_factor",
        "crop_size": "@patch_size",
        "spacing": "@spacing",
        "coarse_decoder": "@coarse_decoder",
        "fine_decoder": "@decoder",
        # Twice the jitter that the fine stage was trained with.
        "reach": round(2 * plan.value("jitter_mm"), 4),
        "plausibility": "@plausibility",
        "shape_prior": "@shape_prior",
        "pad_value": "@pad_value",
        **uses_instances(plan),
    }


def to_world() -> Json:
    """Post-processing that every workflow needs: from the inferer's peaks to peaks in world mm."""
    return {"_target_": "scripts.results.PeaksToWorldd", "keys": "pred", "ref_image": "image"}


def result(plan: Plan) -> Json:
    """Post-processing that names the points."""
    return {
        "_target_": "scripts.results.LandmarkResultd",
        "keys": "pred",
        "ref_image": "image",
        "landmarks": "@landmarks",
        **uses_instances(plan),
    }


def calibrated_result(plan: Plan) -> Json:
    """`result` with presence and regions, where ``models/calibration.json`` is there."""
    return {**result(plan), "calibration": "@calibration", "level": "@region_level", "all_present": "@all_present"}


def ball_radius_mm(plan: Plan) -> float:
    """Radius in mm of the balls of the label map: three voxels of the planned grid (geometric mean of its axes)."""
    return round(3 * math.prod(plan.value("spacing")) ** (1 / len(plan.value("spacing"))), 3)
