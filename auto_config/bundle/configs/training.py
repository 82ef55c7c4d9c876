"""``train.json`` and ``multi_gpu_train.json``: the method's parts, numbers a person changes, other parts, workflow."""

from __future__ import annotations

from auto_config.bundle import parts
from auto_config.bundle.configs.common import DEVICE, FIND_SCRIPTS, paths
from auto_config.bundle.configs.engines import train_section, validate_section
from auto_config.methods.backbones import network_of
from auto_config.methods.base import Json
from auto_config.methods.plan import Plan

# Seeds of numbers always. cuDNN chooses its fastest kernels unless `deterministic` is set: MONAI's own function chooses
# the reproducible ones, which for 3D convolutions are much slower, and samples and weights here do not need them.
_RANDOM = [
    "$monai.utils.set_determinism(@seed)",
    "$setattr(torch.backends.cudnn, 'deterministic', @deterministic)",
    "$setattr(torch.backends.cudnn, 'benchmark', not @deterministic)",
]


# Biases, weights of norms and learnt numbers have one axis or none; a decay would draw them to 0 for no reason.
_NORMS_SPARED = [
    {"params": "$[x for x in @network.parameters() if x.ndim > 1]"},
    {"params": "$[x for x in @network.parameters() if x.ndim <= 1]", "weight_decay": 0.0},
]


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
        crops = {
            "crops_per_image": plan.stage("fine")["crops_per_image"],
            "jitter_mm": plan.value("jitter_mm"),
            "coarse_errors": None,
        }
    return {
        **paths(dataset_dir),
        "datalist": "$@bundle_root + '/data/datalist.json'",
        "cache_dir": "$@bundle_root + '/cache'",
        **parts.card(plan, training=True),
        **parts.instances(plan, None),
        "cache_dtype": "float32",
        "fold": 0,
        "member": None,
        "seed": seed,
        "deterministic": False,
        "resume": False,
        "time_budget": None,
        "started": None,
        "predictions_after": 0,
        "pictures": 2,
        "wandb": None,
        "keep": plan.value("keep"),
        "keep_ensemble": False,
        "keep_better": False,
        "keep_tolerance": 0.0,
        **parts.numbers(plan),
        "batch_size": plan.value("stages")[0]["batch_size"],
        **crops,
        **parts.cut_share(plan),
        "iterations_per_epoch": plan.value("iterations_per_epoch"),
        "val_interval": plan.value("val_interval"),
        "learning_rate": optimizer["lr"],
        "amp": True,
        "num_workers": plan.value("workers"),
        "device": DEVICE,
        "network_def": parts.network_def(plan, landmarks),
        "network": "$@network_def.to(@device)",
        "inferer": parts.inferer(plan),
        "optimizer": _optimizer(optimizer),
        "augmentation": _augmentation(plan),
        "preprocessing": {"_target_": "Compose", "transforms": parts.image_transforms(plan)},
        "images": _cached_images(plan),
        "labels": {
            "_target_": "scripts.training.dataset.LoadLandmarksd",
            "keys": "label",
            "landmarks": "@landmarks",
            "spatial_dims": plan.value("spatial_dims"),
            **parts.uses_instances(plan),
        },
        "train": train_section(plan, pretrained),
        "validate": validate_section(plan),
        "schedule": {
            "_target_": "scripts.training.run.schedule.Schedule",
            "optimizer": "@optimizer",
            "warm_up": schedule["warmup_steps"],
            "power": schedule["power"],
            "evaluator": "@validate#evaluator",
            "val_interval": "@val_interval",
            "time_budget": "@time_budget",
            "started": "@started",
            "predictions_after": "@predictions_after",
        },
        "checkpoints": {
            "_target_": "scripts.training.run.checkpoints.Checkpoints",
            "network": "@network",
            "optimizer": "@optimizer",
            "schedule": "@schedule",
            "evaluator": "@validate#evaluator",
            "key_metric": "mre_mm",
            "folder": "$@bundle_root + '/models'",
            "fold": "@fold",
            "member": "@member",
            "resume": "@resume",
            "keep": "@keep",
            "keep_ensemble": "@keep_ensemble",
            "keep_better": "@keep_better",
            "keep_tolerance": "@keep_tolerance",
        },
        "progress": {
            "_target_": "scripts.training.run.progress.ProgressReport",
            "schedule": "@schedule",
            "checkpoints": "@checkpoints",
            "evaluator": "@validate#evaluator",
            "landmarks": "@landmarks",
            **({"unit": plan.value("unit")} if plan.value("unit") != "mm" else {}),
        },
        **_instance_thresholds(plan),
        "shape_fit": {
            "_target_": "scripts.training.shape_fit.FitShape",
            "network": "@network_def",
            "data": "@train#dataset#data",
            "landmarks": "@landmarks",
            "spatial_dims": plan.value("spatial_dims"),
            **({"upright": True, **parts.flip_pairs(plan)} if parts.pose(plan)["turned_crops"] else {}),
        },
        "tracker": {
            "_target_": "scripts.training.tracking.tracker.Tracker",
            "output_dir": "@output_dir",
            "bundle_root": "@bundle_root",
            "landmarks": "@landmarks",
            "evaluator": "@validate#evaluator",
            "schedule": "@schedule",
            "handlers": "@train#handlers",
            "pictures": "@pictures",
            "wandb": "@wandb",
        },
        "initialize": [*FIND_SCRIPTS, *_RANDOM],
        # Before training the cores are idle.
        "run": [
            "$@schedule.prepare(@images, @train#dataset#data, @validate#dataset#data, max(@num_workers, 2))",
            "$@train#trainer.run()",
        ],
        "training": "%run",
    }


def multi_gpu_config(plan: Plan) -> Json:
    """``configs/multi_gpu_train.json``, read on top of train.json under torchrun: nccl on GPUs, gloo on CPUs.

    The batch of the plan is shared by the processes, so the learning rate stays right; so are the validation cases.
    """
    return {
        "device": "$torch.device('cuda:' + os.environ['LOCAL_RANK'] if torch.cuda.is_available() else 'cpu')",
        "network": {
            "_target_": "torch.nn.parallel.DistributedDataParallel",
            "module": "$@network_def.to(@device)",
            "device_ids": "$[@device] if torch.cuda.is_available() else None",
            "find_unused_parameters": network_of(plan).unused_parameters,
        },
        # Whole volumes go to the module itself: the wrapper only adds what a backward pass needs.
        "validate#evaluator#network": "@network_def",
        "validate#dataloader#sampler": {
            "_target_": "scripts.training.sampler.ShareOfCases",
            "data": "@validate#dataset",
        },
        "initialize": [
            *FIND_SCRIPTS,
            *_RANDOM,
            "$torch.cuda.set_device(@device) if torch.cuda.is_available() else None",
            # A process that has preprocessed or validated its share waits for the others.
            "$torch.distributed.init_process_group('nccl' if torch.cuda.is_available() else 'gloo', "
            "timeout=__import__('datetime').timedelta(hours=2))",
        ],
        "finalize": [
            "$torch.distributed.destroy_process_group() if torch.distributed.is_initialized() else None",
        ],
    }


def _optimizer(rule: Json) -> Json:
    arguments = {key: value for key, value in rule.items() if key not in ("name", "lr", "decay_norms")}
    decays_all = rule.get("decay_norms", True)
    return {
        "_target_": f"torch.optim.{rule['name']}",
        "params": "$@network.parameters()" if decays_all else _NORMS_SPARED,
        "lr": "@learning_rate",
        **arguments,
    }


def _augmentation(plan: Plan) -> Json:
    rule = plan.value("augmentation")
    effects: Json = {
        "_target_": "scripts.training.augmentation.Augmentation",
        "rotation": rule["rotation"]["max_rad"],
        "rotation_probability": rule["rotation"]["prob"],
        "scale": [rule["scale"]["low"], rule["scale"]["high"]],
        "scale_probability": rule["scale"]["prob"],
        **parts.flip_pairs(plan),
        **({"uniform_step": True} if rule["scale"].get("uniform_step") else {}),
    }
    if "noise" in rule:
        effects["noise"] = [rule["noise"]["prob"], rule["noise"]["max_std"]]
    if "blur" in rule:
        effects["blur"] = [rule["blur"]["prob"], rule["blur"]["low_sigma"], rule["blur"]["high_sigma"]]
    if "deformation" in rule:
        bend = rule["deformation"]
        effects["deformation"] = [bend["prob"], bend["amplitude"], bend["control_mm"]]
    for name in ("brightness", "contrast", "low_resolution", "gamma", "gamma_inverted"):
        if name in rule:
            effects[name] = [rule[name]["prob"], rule[name]["low"], rule[name]["high"]]
    if rule.get("gamma", {}).get("half_below_one"):
        effects["half_below_one"] = True
    return effects | {name: rule[name] for name in ("channel_share", "fixed_axis") if rule.get(name) is not None}


def _instance_thresholds(plan: Plan) -> Json:
    """What chooses from which confidence an instance counts, where there are many of a landmark."""
    if not plan.value("instances")["many"]:
        return {}
    return {
        "instance_thresholds": {
            "_target_": "scripts.training.run.instance_thresholds.InstanceThresholds",
            "instances": "@instances",
            "evaluator": "@validate#evaluator",
            "checkpoints": "@checkpoints",
        }
    }


def _cached_images(plan: Plan) -> Json:
    """The preprocessing, made once; with two stages the image of the coarse grid too."""
    transform: str | Json = "@preprocessing"
    keys = ["image"]
    if parts.two_stages(plan):
        coarse = {
            "_target_": "scripts.grid.transforms.CoarseViewd",
            "keys": "image",
            "name": "coarse_image",
            "factor": "@coarse_factor",
        }
        transform = {"_target_": "Compose", "transforms": ["@preprocessing", coarse]}
        keys = ["image", "coarse_image"]
    return {
        "_target_": "scripts.grid.cache.CachedTransformd",
        "keys": keys,
        "transform": transform,
        "cache_dir": "@cache_dir",
        "dtype": "@cache_dtype",
    }
