"""The two engines of train.json: the trainer on patches, the evaluator on whole volumes."""

from __future__ import annotations

from typing import Any

from auto_config.bundle import parts
from auto_config.methods.base import Json, stage_id
from auto_config.methods.plan import Plan

# Curves are drawn once: every process validates all cases.
NOT_FIRST_PROCESS = "$torch.distributed.is_initialized() and torch.distributed.get_rank() > 0"


def train_section(plan: Plan, pretrained: bool) -> Json:
    """``train`` of train.json: data, handlers and trainer."""
    clip = plan.value("schedule")["gradient_clip"]
    course = ["@schedule", "@checkpoints", "@progress", "@shape_fit"]
    if plan.value("instances")["many"]:
        course.append("@instance_thresholds")
    course.append("@tracker")
    loading = {
        "_target_": "scripts.training.pretrained.LoadPretrained",
        "network": "@network_def",
        "path": "$@bundle_root + '/models/pretrained.pt'",
    }
    return {
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                "@images",
                "@labels",
                *_patches(plan),
                {"_target_": "SelectItemsd", "keys": [*parts.stage_names(plan), "seed", "index"]},
            ],
        },
        "dataset": {
            "_target_": "Dataset",
            "data": _cases("training"),
            "transform": "@train#preprocessing",
        },
        "dataloader": {
            "_target_": "scripts.training.dataset.SampleLoader",
            "dataset": "@train#dataset",
            "seed": "@seed",
            "iterations": "@iterations_per_epoch",
            "batch_size": "@batch_size",
            "num_workers": "@num_workers",
        },
        "inferer": {"_target_": "SimpleInferer"},
        "handlers": [
            *([loading] if pretrained else []),
            *parts.method_handlers(plan),
            {
                "_target_": "TensorBoardStatsHandler",
                "_disabled_": NOT_FIRST_PROCESS,
                "log_dir": "@output_dir",
                "tag_name": "train_loss",
                # To draw a loss the host waits for the GPU.
                "iteration_log": 10,
                "output_transform": "$monai.handlers.from_engine(['loss'], first=True)",
                "state_attributes": ["learning_rate"],
            },
        ],
        "trainer": {
            "_target_": "scripts.training.trainer.PatchTrainer",
            "max_epochs": plan.value("max_epochs"),
            "device": "@device",
            "train_data_loader": "@train#dataloader",
            "network": "@network",
            "optimizer": "@optimizer",
            "loss_function": {name: f"@{stage_id('loss', name)}" for name in parts.stage_names(plan)},
            "inferer": "@train#inferer",
            "augmentation": "@augmentation",
            "gradient_clip": clip,
            "amp": "@amp",
            **parts.uses_instances(plan),
            # Whoever runs the trainer gets the whole course, also clients that replace `train#handlers` or that never
            # look at `run` (MONAI's federated learning). In this order, after everything that works in a step.
            "train_handlers": f"$list(@train#handlers) + [{', '.join(course)}]",
        },
    }


def validate_section(plan: Plan) -> Json:
    """``validate`` of train.json: whole volumes, errors in mm."""
    dropped: list[Any] = [{"_target_": "DeleteItemsd", "keys": "coarse_image"}] if parts.two_stages(plan) else []
    return {
        "preprocessing": {"_target_": "Compose", "transforms": ["@images", *dropped, "@labels"]},
        "dataset": {"_target_": "Dataset", "data": _cases("validation"), "transform": "@validate#preprocessing"},
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@validate#dataset",
            "batch_size": 1,
            "shuffle": False,
            "num_workers": 0,
        },
        "inferer": "@inferer",
        "postprocessing": {"_target_": "Compose", "transforms": [parts.to_world()]},
        "handlers": [
            {
                "_target_": "TensorBoardStatsHandler",
                "_disabled_": NOT_FIRST_PROCESS,
                "log_dir": "@output_dir",
                "iteration_log": False,
            }
        ],
        "key_metric": {
            "mre_mm": {
                "_target_": "IgniteMetricHandler",
                "metric_fn": {"_target_": "scripts.training.metrics.RadialError", **parts.uses_instances(plan)},
                "output_transform": "$monai.handlers.from_engine(['pred', 'label'])",
            }
        },
        "additional_metrics": {
            "sdr_2mm": {
                "_target_": "IgniteMetricHandler",
                "metric_fn": {
                    "_target_": "scripts.training.metrics.RadialError",
                    "within_mm": 2.0,
                    **parts.uses_instances(plan),
                },
                "output_transform": "$monai.handlers.from_engine(['pred', 'label'])",
            }
        },
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@validate#dataloader",
            "network": "@network",
            "inferer": "@validate#inferer",
            "postprocessing": "@validate#postprocessing",
            "key_val_metric": "@validate#key_metric",
            "additional_metrics": "@validate#additional_metrics",
            "metric_cmp_fn": "$lambda new, old: new < old",
            "val_handlers": "@validate#handlers",
        },
    }


def _cases(split: str) -> Json:
    return {
        "_target_": "scripts.training.dataset.read_cases",
        "datalist": "@datalist",
        "dataset_dir": "@dataset_dir",
        "split": split,
        "fold": "@fold",
    }


def _patches(plan: Plan) -> list[Json]:
    sampling = plan.value("sampling")
    two = parts.two_stages(plan)
    cut = {name: f"@{name}" for name in parts.cut_share(plan)}
    patch = {
        "_target_": "scripts.training.patches.RandPatchd",
        "key": "coarse_image" if two else "image",
        "name": plan.value("stages")[0]["name"],
        "size": "@coarse_patch_size" if two else "@patch_size",
        "augmentation": "@augmentation",
        "foreground": sampling["landmark_share"],
        "where": sampling["placement"],
        **({"every": "@batch_size"} if sampling["placement"] == "centre" else {}),
        "pad_value": "@pad_value",
        **cut,
        **({"any_pose": True} if parts.pose(plan)["kind"] == "free" else {}),
    }
    if not two:
        return [patch]
    crops = {
        "_target_": "scripts.training.crops.rand_crops.RandCropsd",
        "key": "image",
        "name": "fine",
        "size": "@patch_size",
        "count": "@crops_per_image",
        "jitter": "@jitter_mm",
        "errors": "@coarse_errors",
        "augmentation": "@augmentation",
        "pad_value": "@pad_value",
        **cut,
        **_upright(plan),
    }
    return [patch, crops]


def _upright(plan: Plan) -> Json:
    """What turns crops upright, where they are turned."""
    if not parts.pose(plan)["turned_crops"]:
        return {}
    return {
        "upright": {
            "_target_": "scripts.training.crops.upright.UprightPose",
            "data": "@train#dataset#data",
            "landmarks": "@landmarks",
            "spatial_dims": plan.value("spatial_dims"),
            **parts.flip_pairs(plan),
        }
    }
