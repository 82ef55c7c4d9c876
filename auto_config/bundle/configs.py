"""The config files of a bundle. Each reads from top to bottom: numbers a person changes, parts, workflow."""

from __future__ import annotations

from typing import Any

from auto_config.bundle import parts
from auto_config.bundle.parts import Json
from auto_config.planning.plan import Plan

IMPORTS = ["$import os", "$import sys", "$import torch", "$import monai"]
# First of all, and not in `run`: MONAI instantiates before it adds the bundle to the path (docs/bundle.md). What
# another bundle in this process left under the name `scripts` must go first.
FIND_SCRIPTS = [
    "$[sys.modules.pop(name) for name in list(sys.modules) if name.split('.')[0] == 'scripts' and "
    "os.path.abspath(@bundle_root + '/scripts') not in getattr(sys.modules.get('scripts'), '__path__', [])]",
    "$sys.path.insert(0, os.path.abspath(@bundle_root))",
]
KEEP_MEMORY = {"_target_": "scripts.cpu_memory.keep_freed_memory"}
DEVICE = "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')"
WEIGHTS = "$@bundle_root + '/models/model.pt'"


def _paths(dataset_dir: str) -> Json:
    return {
        "imports": IMPORTS,
        "bundle_root": ".",
        "dataset_dir": dataset_dir,
        "output_dir": "$@bundle_root + '/eval'",
        "landmarks": "$@bundle_root + '/configs/landmarks.json'",
    }


def train_config(plan: Plan, landmarks: int, dataset_dir: str, seed: int, *, pretrained: bool = False) -> Json:
    """``configs/train.json``.

    Args:
        plan: all decisions.
        landmarks: number of landmarks.
        dataset_dir: absolute folder that the image paths of the data list start from.
        seed: of samples and of the first weights.
        pretrained: start from ``models/pretrained.pt``.
    """
    optimizer, schedule = plan.value("optimizer"), plan.value("schedule")
    crops: Json = {}
    if parts.two_stages(plan):
        crops = {"crops_per_image": plan.stage("fine")["crops_per_image"], "jitter_mm": plan.value("jitter_mm")}
    run = [
        "$@schedule.attach(@train#trainer)",
        "$@checkpoints.attach(@train#trainer)",
        "$@shape_fit.attach(@train#trainer)",
        "$@train#trainer.run()",
    ]
    return {
        **_paths(dataset_dir),
        "datalist": "$@bundle_root + '/data/datalist.json'",
        "cache_dir": "$@bundle_root + '/cache'",
        "fold": 0,
        "seed": seed,
        "resume": False,
        "time_budget": None,
        "started": None,
        "keep_ensemble": False,
        **parts.numbers(plan),
        "batch_size": plan.value("stages")[0]["batch_size"],
        **crops,
        "iterations_per_epoch": plan.value("iterations_per_epoch"),
        "val_interval": plan.value("val_interval"),
        "learning_rate": optimizer["lr"],
        "amp": True,
        "num_workers": plan.value("workers"),
        "device": DEVICE,
        "stages": parts.stage_names(plan),
        "network_def": parts.network_def(plan, landmarks),
        "network": "$@network_def.to(@device)",
        "heatmap": {stage["name"]: parts.heatmap(plan, stage) for stage in plan.value("stages")},
        "loss": parts.loss(plan),
        "optimizer": _optimizer(optimizer),
        "inferer": parts.inferer(plan),
        **parts.decoders(plan),
        "augmentation": _spatial_augmentation(plan),
        "images": _cached_images(plan),
        "train": _train(plan, pretrained),
        "validate": _validate(plan),
        "schedule": {
            "_target_": "scripts.schedule.Schedule",
            "optimizer": "@optimizer",
            "warm_up": schedule["warmup_steps"],
            "power": schedule["power"],
            "evaluator": "@validate#evaluator",
            "time_budget": "@time_budget",
            "started": "@started",
        },
        "checkpoints": {
            "_target_": "scripts.checkpoints.Checkpoints",
            "network": "@network",
            "optimizer": "@optimizer",
            "schedule": "@schedule",
            "evaluator": "@validate#evaluator",
            "key_metric": "mre_mm",
            "folder": "$@bundle_root + '/models'",
            "fold": "@fold",
            "resume": "@resume",
            "keep_ensemble": "@keep_ensemble",
        },
        "shape_fit": {
            "_target_": "scripts.shape.FitShape",
            "network": "@network_def",
            "shapes": {
                "_target_": "scripts.dataset.training_shapes",
                "data": "@train#dataset#data",
                "landmarks": "@landmarks",
                "spatial_dims": plan.value("spatial_dims"),
            },
        },
        "initialize": [*FIND_SCRIPTS, KEEP_MEMORY, "$monai.utils.set_determinism(@seed)"],
        "run": run,
        "training": "%run",
    }


def evaluate_config() -> Json:
    """``configs/evaluate.json``, read on top of train.json: the best weights on validation or test cases."""
    return {
        "split": "validation",
        "validate#dataset#data#split": "@split",
        "validate#handlers": [
            {
                "_target_": "CheckpointLoader",
                "load_path": WEIGHTS,
                "load_dict": {"model": "@network"},
                "map_location": "@device",
            },
            {"_target_": "StatsHandler", "iteration_log": False},
            {
                "_target_": "MetricsSaver",
                "save_dir": "@output_dir",
                "metrics": ["mre_mm", "sdr_2mm"],
                "metric_details": ["mre_mm"],
                "summary_ops": "*",
            },
            {"_target_": "scripts.outputs.PredictionWriter", "output_dir": "@output_dir", "landmarks": "@landmarks"},
        ],
        "initialize": FIND_SCRIPTS,
        "run": ["$@validate#evaluator.run()"],
        "evaluating": "%run",
    }


def inference_config(plan: Plan, landmarks: int) -> Json:
    """``configs/inference.json``: a folder of images to points; also what MONAI Label and `predict` open.

    Args:
        plan: all decisions.
        landmarks: number of landmarks.
    """
    return {
        **_paths("/path/to/images"),
        **parts.numbers(plan),
        "device": DEVICE,
        "network_def": parts.network_def(plan, landmarks),
        "network": "$@network_def.to(@device)",
        "inferer": parts.inferer(plan),
        **parts.decoders(plan),
        "preprocessing": {"_target_": "Compose", "transforms": parts.image_transforms(plan)},
        "dataset": {
            "_target_": "Dataset",
            "data": {"_target_": "scripts.dataset.find_images", "dataset_dir": "@dataset_dir"},
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                *parts.to_world(plan),
                parts.result(),
                {
                    "_target_": "scripts.results.BallLabelMapd",
                    "keys": "pred",
                    "ref_image": "image",
                    "radius_mm": parts.ball_radius_mm(plan),
                },
            ],
        },
        "handlers": [
            {
                "_target_": "CheckpointLoader",
                "load_path": WEIGHTS,
                "load_dict": {"model": "@network"},
                "map_location": "@device",
            },
            {"_target_": "scripts.outputs.PredictionWriter", "output_dir": "@output_dir", "landmarks": "@landmarks"},
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
        "run": ["$@evaluator.run()"],
        "evaluating": "%run",
    }


def multi_gpu_config(plan: Plan) -> Json:
    """``configs/multi_gpu_train.json``, read on top of train.json under torchrun: nccl on GPUs, gloo on CPUs.

    Every process validates all cases: it costs no time, and no process can wait for another in vain.
    """
    residual = any(stage.get("blocks") for stage in plan.value("stages"))
    return {
        "device": "$torch.device('cuda:' + os.environ['LOCAL_RANK'] if torch.cuda.is_available() else 'cpu')",
        "network": {
            "_target_": "torch.nn.parallel.DistributedDataParallel",
            "module": "$@network_def.to(@device)",
            "device_ids": "$[@device] if torch.cuda.is_available() else None",
            # The residual networks carry output layers of deep supervision that are not used.
            "find_unused_parameters": residual,
        },
        "train#dataloader#sampler": {
            "_target_": "scripts.sampler.GlobalIndexSampler",
            "samples_per_epoch": "$@iterations_per_epoch * @batch_size * torch.distributed.get_world_size()",
            "rank": "$torch.distributed.get_rank()",
            "world_size": "$torch.distributed.get_world_size()",
        },
        "initialize": [
            *FIND_SCRIPTS,
            KEEP_MEMORY,
            "$monai.utils.set_determinism(@seed)",
            "$torch.cuda.set_device(@device) if torch.cuda.is_available() else None",
            "$torch.distributed.init_process_group('nccl' if torch.cuda.is_available() else 'gloo')",
        ],
        "finalize": [
            "$torch.distributed.destroy_process_group() if torch.distributed.is_initialized() else None",
        ],
    }


def _optimizer(rule: Json) -> Json:
    arguments = {key: value for key, value in rule.items() if key not in ("name", "lr")}
    return {
        "_target_": f"torch.optim.{rule['name']}",
        "params": "$@network.parameters()",
        "lr": "@learning_rate",
        **arguments,
    }


def _spatial_augmentation(plan: Plan) -> Json:
    rule = plan.value("augmentation")
    return {
        "_target_": "scripts.patches.SpatialAugmentation",
        "rotation": rule["rotation"]["max_rad"],
        "rotation_probability": rule["rotation"]["prob"],
        "scale": [rule["scale"]["low"], rule["scale"]["high"]],
        "scale_probability": rule["scale"]["prob"],
        "mirror_pairs": {"_target_": "scripts.dataset.read_mirror", "landmarks": "@landmarks"}
        if plan.value("mirror")
        else None,
    }


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


def _cached_images(plan: Plan) -> Json:
    transforms = parts.image_transforms(plan)
    keys = ["image"]
    if parts.two_stages(plan):
        coarse = {
            "_target_": "scripts.transforms.CoarseViewd",
            "keys": "image",
            "name": "coarse_image",
            "factor": "@coarse_factor",
        }
        transforms, keys = [*transforms, coarse], ["image", "coarse_image"]
    return {
        "_target_": "scripts.cache.CachedTransformd",
        "keys": keys,
        "transform": {"_target_": "Compose", "transforms": transforms},
        "cache_dir": "@cache_dir",
    }


def _load_landmarks(plan: Plan) -> Json:
    return {
        "_target_": "scripts.dataset.LoadLandmarksd",
        "keys": "label",
        "landmarks": "@landmarks",
        "spatial_dims": plan.value("spatial_dims"),
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


def _train(plan: Plan, pretrained: bool) -> Json:
    clip = plan.value("schedule")["gradient_clip"]
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
            {"_target_": "scripts.progress.ProgressReport", "schedule": "@schedule", "checkpoints": "@checkpoints"},
            {
                "_target_": "TensorBoardStatsHandler",
                "log_dir": "@output_dir",
                "tag_name": "train_loss",
                "output_transform": "$lambda output: output['loss'].item()",
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
            "train_handlers": "@train#handlers",
        },
    }


def _validate(plan: Plan) -> Json:
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
        "postprocessing": {"_target_": "Compose", "transforms": [*parts.to_world(plan), parts.result()]},
        "handlers": [
            {
                "_target_": "TensorBoardStatsHandler",
                "log_dir": "@output_dir",
                "iteration_log": False,
            }
        ],
        "key_metric": {
            "mre_mm": {
                "_target_": "IgniteMetricHandler",
                "metric_fn": {"_target_": "scripts.metrics.RadialError"},
                "output_transform": "$monai.handlers.from_engine(['pred', 'label'])",
            }
        },
        "additional_metrics": {
            "sdr_2mm": {
                "_target_": "IgniteMetricHandler",
                "metric_fn": {"_target_": "scripts.metrics.SuccessRate", "threshold_mm": 2.0},
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
