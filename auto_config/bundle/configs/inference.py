"""``inference.json`` and ``evaluate.json``: the workflows that use weights."""

from __future__ import annotations

from auto_config.bundle import parts
from auto_config.bundle.configs.common import DEVICE, FIND_SCRIPTS, load_weights, paths
from auto_config.methods.base import Json
from auto_config.methods.plan import Plan

MODELS = "$@bundle_root + '/models'"
WHERE = "$None if @all_windows else @places"


def inference_config(plan: Plan, landmarks: int) -> Json:
    """``configs/inference.json``: a folder of images to points; also what MONAI Label and `predict` open.

    Args:
        plan: all decisions.
        landmarks: number of landmarks.
    """
    return {
        **paths("/path/to/images"),
        **parts.card(plan, training=False),
        **parts.instances(plan, MODELS),
        **parts.numbers(plan),
        "calibration": "$@bundle_root + '/models/calibration.json'",
        "region_level": 0.9,
        "all_present": False,
        **({"shape_prior": False} if parts.has_shape_prior(plan) else {}),
        **_places(plan),
        **({"amp": True} if parts.amp(plan) else {}),
        "device": DEVICE,
        "network_def": parts.network_def(plan, landmarks),
        "network": "$@network_def.to(@device)",
        "inferer": parts.calibrated_inferer(plan) | ({"expected": WHERE} if _places(plan) else {}),
        "preprocessing": {"_target_": "Compose", "transforms": parts.image_transforms(plan)},
        "dataset": {
            "_target_": "Dataset",
            "data": {
                "_target_": "scripts.training.dataset.find_images",
                "dataset_dir": "@dataset_dir",
                "spatial_dims": plan.value("spatial_dims"),
                "channels": plan.value("channels"),
            },
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                parts.to_world(),
                parts.calibrated_result(plan),
                parts.case_verdict(plan),
                *parts.turned_cases(plan),
                {
                    "_target_": "scripts.inference.results.BallLabelMapd",
                    "keys": "pred",
                    "ref_image": "image",
                    "radius_mm": parts.ball_radius_mm(plan),
                },
            ],
        },
        "handlers": [
            load_weights(),
            {
                "_target_": "scripts.inference.outputs.PredictionWriter",
                "output_dir": "@output_dir",
                "landmarks": "@landmarks",
            },
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
        },
        "initialize": FIND_SCRIPTS,
        "run": [
            {"_target_": "scripts.training.dataset.require_images", "dataset_dir": "@dataset_dir"},
            "$@evaluator.run()",
        ],
        "evaluating": "%run",
    }


def _places(plan: Plan) -> Json:
    """``all_windows`` and ``places``, where the plan says where landmarks are expected; earlier plans never do."""
    decided = plan.decisions.get("places")
    if decided is None or decided.value is None:
        return {}
    part = {"_target_": "scripts.inference.expected.places.ExpectedPlaces", **decided.value, "spacing": "@spacing"}
    return {"all_windows": False, "places": part}


def evaluate_config(plan: Plan) -> Json:
    """``configs/evaluate.json``, read on top of train.json: the kept weights on validation or test cases."""
    thresholds = {"instances#models": MODELS} if parts.has_instances(plan) else {}
    weights = {
        "_target_": "scripts.training.run.weights_in_use.weights_to_evaluate",
        "folder": "$@bundle_root + '/models'",
        "fold": "@fold",
        "split": "@split",
    }
    return {
        "split": "validation",
        **thresholds,
        "validate#dataset#data#split": "@split",
        "+validate#postprocessing#transforms": [parts.result(plan)],
        "validate#handlers": [
            load_weights(weights),
            {"_target_": "StatsHandler", "iteration_log": False},
            {
                "_target_": "MetricsSaver",
                "save_dir": "@output_dir",
                "metrics": ["mre_mm", "sdr_2mm"],
                "metric_details": ["mre_mm"],
                "batch_transform": "$lambda batch: [item['image'].meta for item in batch]",
                "summary_ops": "*",
            },
            {
                "_target_": "scripts.inference.outputs.PredictionWriter",
                "output_dir": "@output_dir",
                "landmarks": "@landmarks",
            },
        ],
        "initialize": FIND_SCRIPTS,
        "run": ["$@validate#evaluator.run()"],
        "evaluating": "%run",
    }
