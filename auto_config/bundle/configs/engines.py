"""The two engines of train.json: the trainer on patches, the evaluator on whole volumes."""

from __future__ import annotations

from typing import Any

from auto_config.bundle import parts
from auto_config.methods.base import Json
from auto_config.methods.plan import Plan

# Curves are drawn once: every process validates all cases.
NOT_FIRST_PROCESS = "$torch.distributed.is_initialized() and torch.distributed.get_rank() > 0"


def train_section(plan: Plan, pretrained: bool) -> Json:
    """``train`` of train.json: data, handlers and trainer."""
    clip = plan.value("schedule")["gradient_clip"]
    course = ["@schedule", "@checkpoints", "@shape_fit"]
    if plan.value("instances")["many"]:
        course.append("@instance_thresholds")
    loading = {
        "_target_": "scripts.pretrained.LoadPretrained",
        "network": "@network_def",
        "path": "$@bundle_root + '/models/pretrained.pt'",
    }
    return {
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                "@images",
                _load_landmarks(plan),
                *_patches(plan),
                {"_target_": "scripts.dataset.SelectStagesd", "stages": "@stages"},
            ],
        },
        "dataset": {
            "_target_": "scripts.dataset.SampledDataset",
            "data": _cases("training"),
            "transform": "@train#preprocessing",
            "seed": "@seed",
        },
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@train#dataset",
            "batch_size": "@batch_size",
            "sampler": {
                "_target_": "scripts.sampler.GlobalIndexSampler",
                "samples_per_epoch": "$@iterations_per_epoch * @batch_size",
            },
            "num_workers": "@num_workers",
            "persistent_workers": "$@num_workers > 0",
            "pin_memory": "$torch.cuda.is_available()",
        },
        "prepare_batch": {
            "_target_": "scripts.inferers.PrepareBatch",
            "stages": "@stages",
            "augmentation": _intensity_augmentation(plan),
        },
        "inferer": {"_target_": "scripts.inferers.TrainingInferer", "amp": "@amp"},
        "handlers": [
            *([loading] if pretrained else []),
            {
                "_target_": "scripts.cache.FillCache",
                "images": "@images",
                "data": "$list(@train#dataset#data) + list(@validate#dataset#data)",
                # Before training the cores are idle.
                "num_workers": "$max(@num_workers, 2)",
            },
            {
                "_target_": "scripts.validation.Validation",
                "validator": "@validate#evaluator",
                "interval": "@val_interval",
                "schedule": "@schedule",
            },
            {"_target_": "scripts.training_output.KeepLoss"},
            {
                "_target_": "scripts.progress.ProgressReport",
                "schedule": "@schedule",
                "checkpoints": "@checkpoints",
                "mean_shape": {
                    "_target_": "scripts.mean_shape.MeanShapeError",
                    "evaluator": "@validate#evaluator",
                    "landmarks": "@landmarks",
                },
                **({"unit": plan.value("unit")} if plan.value("unit") != "mm" else {}),
            },
            {
                "_target_": "TensorBoardStatsHandler",
                "_disabled_": NOT_FIRST_PROCESS,
                "log_dir": "@output_dir",
                "tag_name": "train_loss",
                "output_transform": "$monai.handlers.from_engine(['loss'], first=True)",
                "state_attributes": ["learning_rate"],
            },
            {"_target_": "scripts.gradients.GradientClip", "network": "@network", "max_norm": clip},
        ],
        "trainer": {
            "_target_": "SupervisedTrainer",
            "max_epochs": plan.value("max_epochs"),
            "device": "@device",
            "train_data_loader": "@train#dataloader",
            "network": "@network",
            "optimizer": "@optimizer",
            "loss_function": "@loss",
            "inferer": "@train#inferer",
            "prepare_batch": "@train#prepare_batch",
            "decollate": False,
            # Whoever runs the trainer gets the whole course, also clients that replace `train#handlers` or that never
            # look at `run` (MONAI's federated learning). In this order, after everything that works in a step.
            "train_handlers": f"$list(@train#handlers) + [{', '.join(course)}]",
        },
    }


def validate_section(plan: Plan) -> Json:
    """``validate`` of train.json: whole volumes, errors in mm."""
    dropped: list[Any] = [{"_target_": "DeleteItemsd", "keys": "coarse_image"}] if parts.two_stages(plan) else []
    return {
        "preprocessing": {"_target_": "Compose", "transforms": ["@images", *dropped, _load_landmarks(plan)]},
        "dataset": {"_target_": "Dataset", "data": _cases("validation"), "transform": "@validate#preprocessing"},
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@validate#dataset",
            "batch_size": 1,
            "shuffle": False,
            "num_workers": 0,
        },
        "inferer": "@inferer",
        "postprocessing": {"_target_": "Compose", "transforms": [parts.to_world(), parts.result(plan)]},
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
                "metric_fn": {"_target_": "scripts.metrics.RadialError", **parts.uses_instances(plan)},
                "output_transform": "$monai.handlers.from_engine(['pred', 'label'])",
            }
        },
        "additional_metrics": {
            "sdr_2mm": {
                "_target_": "IgniteMetricHandler",
                "metric_fn": {
                    "_target_": "scripts.metrics.SuccessRate",
                    "threshold_mm": 2.0,
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


def _load_landmarks(plan: Plan) -> Json:
    return {
        "_target_": "scripts.dataset.LoadLandmarksd",
        "keys": "label",
        "landmarks": "@landmarks",
        "spatial_dims": plan.value("spatial_dims"),
        **parts.uses_instances(plan),
    }


def _cases(split: str) -> Json:
    return {
        "_target_": "scripts.dataset.read_cases",
        "datalist": "@datalist",
        "dataset_dir": "@dataset_dir",
        "split": split,
        "fold": "@fold",
    }


def _patches(plan: Plan) -> list[Json]:
    sampling = plan.value("sampling")
    two = parts.two_stages(plan)
    centred = sampling["placement"] == "centre"
    patch = {
        "_target_": "scripts.patches.RandPatchd",
        "key": "coarse_image" if two else "image",
        "name": plan.value("stages")[0]["name"],
        "size": "@coarse_patch_size" if two else "@patch_size",
        "augmentation": "@augmentation",
        "placement": {
            "_target_": "scripts.patches.Placement",
            "foreground": sampling["landmark_share"],
            "where": sampling["placement"],
            "every": "@batch_size" if centred else None,
        },
        "pad_value": "@pad_value",
    }
    if not two:
        return [patch]
    crops = {
        "_target_": "scripts.patches.RandCropsd",
        "key": "image",
        "name": "fine",
        "size": "@patch_size",
        "count": "@crops_per_image",
        "jitter": "@jitter_mm",
        "augmentation": "@augmentation",
        "pad_value": "@pad_value",
    }
    return [patch, crops]


def _intensity_augmentation(plan: Plan) -> Json:
    rule = plan.value("augmentation")
    effects: Json = {"_target_": "scripts.augmentation.IntensityAugmentation"}
    if "noise" in rule:
        effects["noise"] = [rule["noise"]["prob"], rule["noise"]["max_std"]]
    if "blur" in rule:
        effects["blur"] = [rule["blur"]["prob"], rule["blur"]["low_sigma"], rule["blur"]["high_sigma"]]
    for name in ("brightness", "contrast", "low_resolution", "gamma", "gamma_inverted"):
        if name in rule:
            effects[name] = [rule[name]["prob"], rule[name]["low"], rule[name]["high"]]
    return effects
