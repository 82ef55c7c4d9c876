"""Parts of a config that several files share: transforms, networks, losses, inferers. Plan in, plain JSON out."""

from __future__ import annotations

import math
from collections.abc import Sequence

from auto_config.methods import StageParts
from auto_config.methods.backbones import network_of
from auto_config.methods.base import Json, stage_id
from auto_config.methods.combining.of_plan import method_of
from auto_config.methods.plan import Plan

# MONAI warns when it has to choose these itself.
LABELS = [["L", "R"], ["P", "A"], ["I", "S"]]
CROP_SHARING = 0.1875
"""Of an edge of a fine crop: 6 of 32 voxels. Three fifths of the crops are left of the 51 of a mouse skull, and the
error is the same within 0.6 %; from a quarter on, single points are lost (docs/performance.md)."""


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
        {
            "_target_": "scripts.grid.transforms.ResampleGridd",
            "keys": "image",
            "spacing": "@spacing",
            "crop_background": True,
            "low_pass": True,
        },
        normalisation(plan.value("normalization")),
    ]


def normalisation(rules: Sequence[Json]) -> Json:
    """MONAI's transform where it does the same: numbers of the cohort for one channel."""
    rule = rules[0]
    if len(rules) > 1 or rule["kind"] != "ct" or not rule["low"] < rule["high"] or rule["std"] < 1e-8:
        return {"_target_": "scripts.grid.transforms.NormalizeChannelsd", "keys": "image", "channels": rules}
    low, high = rule["low"], rule["high"]
    return {
        "_target_": "ScaleIntensityRanged",
        "keys": "image",
        "a_min": low,
        "a_max": high,
        "b_min": round((low - rule["mean"]) / rule["std"], 6),
        "b_max": round((high - rule["mean"]) / rule["std"], 6),
        "clip": True,
    }


def load(plan: Plan) -> Json:
    """One reader for each format, the one that the data set was inspected with."""
    dims = plan.value("spatial_dims")
    pictures = {"pixel_spacing": "@pixel_spacing"} if dims == 2 else {}
    return {
        "_target_": "scripts.images.loader.LoadFilesd",
        "keys": "image",
        "spatial_dims": dims,
        "channels": plan.value("channels"),
        **pictures,
    }


def stage_parts(plan: Plan) -> dict[str, StageParts]:
    """What the plan's method gives each stage, by the stage's name."""
    method = method_of(plan)
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
    scalars = {name: part.scalars for name, part in stages.items() if part.scalars}
    scheduled = sorted({head for part in stages.values() for head in part.scheduled})
    return {
        "_target_": "scripts.methods.stages.LandmarkNetwork",
        "stages": {name: part.network for name, part in stages.items()},
        "landmarks": landmarks,
        "spatial_dims": plan.value("spatial_dims"),
        "output_bias": biases.pop(),
        "output_layers": layers,
        # One map for each landmark goes without saying.
        **({} if all(one == {"logits": landmarks} for one in heads.values()) else {"heads": heads}),
        **({"scalars": scalars} if scalars else {}),
        **({"scheduled": scheduled} if scheduled else {}),
    }


def targets(plan: Plan) -> Json:
    """``target``, and ``coarse_target`` of two stages: what makes heatmaps, where a loss needs them."""
    found = {name: part.target for name, part in stage_parts(plan).items()}
    return {stage_id("target", name): part for name, part in found.items() if part is not None}


def losses(plan: Plan) -> Json:
    """``loss``, and ``coarse_loss`` of two stages."""
    return {stage_id("loss", name): part.loss for name, part in stage_parts(plan).items()}


def cut_share(plan: Plan) -> Json:
    """``cut_share``, a top-level number of train.json, where fields of view are cut."""
    share = plan.value("cut_share") if "cut_share" in plan.decisions else 0.0
    return {"cut_share": share} if share else {}


def method_handlers(plan: Plan) -> list[Json]:
    """What the training of each stage attaches for its method."""
    return [handler for part in stage_parts(plan).values() for handler in part.handlers]


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
    part = {"_target_": "scripts.points.instances.read_instances", "landmarks": "@landmarks", "models": models}
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
        "_target_": "scripts.methods.instances.InstanceDecoder",
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
    """``decoder``, and ``coarse_decoder`` of two stages."""
    return {stage_id("decoder", stage["name"]): decoder(plan, stage) for stage in plan.value("stages")}


def pose(plan: Plan) -> Json:
    """How cases lie; plans of earlier versions say nothing of it, and their cases lie alike."""
    decided = plan.decisions.get("pose")
    return {"kind": "upright", "limit_deg": 45.0, "turned_crops": False} if decided is None else dict(decided.value)


def pose_search(plan: Plan, *, search: bool) -> Json:
    """The argument of an inferer that tries poses.

    Args:
        plan: all decisions.
        search: whether turned images are tried at all; without, only free poses need it, to turn crops upright.
    """
    value = pose(plan)
    free = value["kind"] == "free"
    if not (search or value["turned_crops"]):
        return {}
    part = {
        "_target_": "scripts.inference.poses.PoseSearch",
        "kind": value["kind"],
        "limit_deg": value["limit_deg"],
        **({"calibration": "@calibration"} if search else {"search": False}),
        **({} if free else {"landmarks": "@landmarks"}),
    }
    return {"pose": part}


def window(plan: Plan) -> Json:
    """``window``: MONAI's sliding window over the grid of the only, or of the coarse stage."""
    stage = plan.value("stages")[0]
    stride = network_of(plan).of_stage(plan, stage).stride
    # Windows of an output with a cell for several voxels must lie on whole cells.
    kind = {"_target_": "scripts.inference.strided_window.StridedWindowInferer", "stride": stride}
    return {
        "window": {
            **({"_target_": "SlidingWindowInferer"} if stride == 1 else kind),
            "roi_size": "@coarse_patch_size" if two_stages(plan) else "@patch_size",
            "sw_batch_size": 1,
            "overlap": "@overlap",
            "mode": "gaussian",
            "padding_mode": "constant",
            "cval": "@pad_value",
        }
    }


def card(plan: Plan, *, training: bool) -> Json:
    """What makes the method, as top-level ids: targets, losses, window and decoders, the coarse stage last.

    Args:
        plan: all decisions.
        training: with what only training needs.
    """
    found = {**targets(plan), **losses(plan)} if training else {}
    found |= {**window(plan), **decoders(plan)}
    return dict(sorted(found.items(), key=lambda item: item[0].startswith("coarse_")))


def inferer(plan: Plan, *, search: bool = False) -> Json:
    """From images to peaks, by a sliding window or coarse to fine; mirrored where training is.

    Args:
        plan: all decisions.
        search: try poses: not in validations, where a network that has learnt nothing yet would search in vain.
    """
    part = coarse_to_fine(plan) if two_stages(plan) else dense(plan)
    tried = pose_search(plan, search=search)
    around = {"pad_value": "@pad_value"} if tried and not two_stages(plan) else {}
    return {**part, **tried, **around}


def has_shape_prior(plan: Plan) -> bool:
    """Whether a shape can choose among maxima: not where one stage looks for landmarks without a fixed place."""
    return two_stages(plan) or not has_instances(plan)


def calibrated_inferer(plan: Plan) -> Json:
    """`inferer`, with the shape of the training cases where one stage has no other way to it."""
    if two_stages(plan) or not has_shape_prior(plan):
        return inferer(plan, search=True)
    shape = {
        "_target_": "scripts.inference.calibration.calibrated_shape",
        "path": "@calibration",
        "landmarks": "@landmarks",
        "wanted": "@shape_prior",
    }
    return {**inferer(plan, search=True), "shape": shape}


def flip_pairs(plan: Plan) -> Json:
    """The argument of what flips images left to right, where training does."""
    return {"flip_pairs": "@landmarks"} if plan.value("mirror") else {}


def amp(plan: Plan) -> Json:
    """The argument of what predicts in half precision, for methods whose points stay the same in it."""
    return {"amp": "@amp"} if method_of(plan).half_precision else {}


def dense(plan: Plan) -> Json:
    """The inferer of one stage."""
    return {
        "_target_": "scripts.inference.dense.DenseInferer",
        "window": "@window",
        "decoder": "@decoder",
        "spacing": "@spacing",
        **flip_pairs(plan),
        **amp(plan),
        **uses_instances(plan),
    }


def coarse_to_fine(plan: Plan) -> Json:
    """The inferer of two stages."""
    return {
        "_target_": "scripts.inference.coarse_to_fine.CoarseToFineInferer",
        "window": "@window",
        "factor": "@coarse_factor",
        "crop_size": "@patch_size",
        "spacing": "@spacing",
        "coarse_decoder": "@coarse_decoder",
        "fine_decoder": "@decoder",
        # Twice the jitter that the fine stage was trained with.
        "reach": round(2 * plan.value("jitter_mm"), 4),
        "crop_sharing": CROP_SHARING,
        "plausibility": "@plausibility",
        "shape_prior": "@shape_prior",
        "pad_value": "@pad_value",
        **flip_pairs(plan),
        **amp(plan),
        **uses_instances(plan),
    }


def to_world() -> Json:
    """Post-processing that every workflow needs: from the inferer's peaks to peaks in world mm."""
    return {"_target_": "scripts.inference.results.PeaksToWorldd", "keys": "pred", "ref_image": "image"}


def result(plan: Plan) -> Json:
    """Post-processing that names the points."""
    return {
        "_target_": "scripts.inference.results.LandmarkResultd",
        "keys": "pred",
        "ref_image": "image",
        "landmarks": "@landmarks",
        **uses_instances(plan),
    }


def calibrated_result(plan: Plan) -> Json:
    """`result` with presence and regions, where ``models/calibration.json`` is there."""
    return {**result(plan), "calibration": "@calibration", "level": "@region_level", "all_present": "@all_present"}


def case_verdict(plan: Plan) -> Json:
    """Post-processing that says whether a prediction can be trusted."""
    return {
        "_target_": "scripts.inference.verdict.step.CaseVerdictd",
        "keys": "pred",
        "ref_image": "image",
        "landmarks": "@landmarks",
        "training": "$@bundle_root + '/configs/verdict.json'",
        "calibration": "@calibration",
        **uses_instances(plan),
    }


def turned_cases(plan: Plan) -> list[Json]:
    """What says that a case lies turned, where cases lie alike."""
    value = pose(plan)
    if value["kind"] == "free":
        return []
    part = {
        "_target_": "scripts.inference.turned_cases.TurnedCased",
        "keys": "pred",
        "ref_image": "image",
        "landmarks": "@landmarks",
        "limit_deg": value["limit_deg"],
        **uses_instances(plan),
    }
    return [part]


def ball_radius_mm(plan: Plan) -> float:
    """Radius in mm of the balls of the label map: three voxels of the planned grid (geometric mean of its axes)."""
    return round(3 * math.prod(plan.value("spacing")) ** (1 / len(plan.value("spacing"))), 3)
