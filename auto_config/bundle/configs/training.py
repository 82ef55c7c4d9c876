"""``train.json`` and ``multi_gpu_train.json``: numbers a person changes, parts, workflow."""

from __future__ import annotations

from auto_config.bundle import parts
from auto_config.bundle.configs.common import DEVICE, FIND_SCRIPTS, KEEP_MEMORY, paths
from auto_config.bundle.configs.engines import train_section, validate_section
from auto_config.methods import BACKBONES
from auto_config.methods.base import Json
from auto_config.methods.plan import Plan


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
    return {
        **paths(dataset_dir),
        "datalist": "$@bundle_root + '/data/datalist.json'",
        "cache_dir": "$@bundle_root + '/cache'",
        "fold": 0,
        "seed": seed,
        "resume": False,
        "time_budget": None,
        "started": None,
        "keep_ensemble": False,
        "keep_better": False,
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
        **parts.instances(plan, None),
        "network_def": parts.network_def(plan, landmarks),
        "network": "$@network_def.to(@device)",
        **parts.targets(plan),
        "loss": parts.loss(plan),
        "optimizer": _optimizer(optimizer),
        "inferer": parts.inferer(plan),
        **parts.decoders(plan),
        "augmentation": _spatial_augmentation(plan),
        "images": _cached_images(plan),
        "train": train_section(plan, pretrained),
        "validate": validate_section(plan),
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
            "keep_better": "@keep_better",
        },
        **_instance_thresholds(plan),
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
        "run": ["$@train#trainer.run()"],
        "training": "%run",
    }


def multi_gpu_config(plan: Plan) -> Json:
    """``configs/multi_gpu_train.json``, read on top of train.json under torchrun: nccl on GPUs, gloo on CPUs.

    Every process validates all cases: it costs no time, and no process can wait for another in vain.
    """
    return {
        "device": "$torch.device('cuda:' + os.environ['LOCAL_RANK'] if torch.cuda.is_available() else 'cpu')",
        "network": {
            "_target_": "torch.nn.parallel.DistributedDataParallel",
            "module": "$@network_def.to(@device)",
            "device_ids": "$[@device] if torch.cuda.is_available() else None",
            "find_unused_parameters": BACKBONES[plan.value("network")].unused_parameters,
        },
        # Whole volumes go to the module itself: the wrapper only adds what a backward pass needs.
        "validate#evaluator#network": "@network_def",
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
        "mirror_pairs": _mirror_pairs(plan) if plan.value("mirror") else None,
    }


def _mirror_pairs(plan: Plan) -> Json:
    """The partner of each landmark, or of each row of points where a landmark has several."""
    if not plan.value("instances")["many"]:
        return parts.MIRROR_PAIRS
    return {"_target_": "scripts.instances.read_row_mirror", "landmarks": "@landmarks"}


def _instance_thresholds(plan: Plan) -> Json:
    """What chooses from which confidence an instance counts, where there are many of a landmark."""
    if not plan.value("instances")["many"]:
        return {}
    return {
        "instance_thresholds": {
            "_target_": "scripts.instance_thresholds.InstanceThresholds",
            "instances": "@instances",
            "evaluator": "@validate#evaluator",
            "checkpoints": "@checkpoints",
        }
    }


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
