"""`landmarker`: one-hot heatmaps under a softmax over all voxels, the best published set-up of that package."""

from __future__ import annotations

from auto_config.methods.augmentation import EVERY_PATCH
from auto_config.methods.backbones import network_of
from auto_config.methods.base import Method, MethodRequest, Stage, StageParts, Training
from auto_config.methods.combining.chosen import with_distribution
from auto_config.methods.plan import Decision, Plan

_WHY = "method landmarker"


def _training(request: MethodRequest) -> Training:  # noqa: ARG001
    return Training(
        loss=Decision(
            {"box_radius_voxels": 2, "temperature": 1.0},
            f"{_WHY}: negative log-likelihood of the point under a softmax over the patch; a point between voxels is "
            "shared by them; decoded as the mean in a box of 5 voxels around the highest (a radius of 0 is the argmax)",
        ),
        optimizer=Decision(
            {"name": "Adam", "lr": 1e-3, "weight_decay": 0.0}, f"{_WHY}: Adam at 1e-3 (McCouat and Voiculescu, 2022)"
        ),
        schedule=Decision(
            {"name": "poly", "power": 0.9, "warmup_steps": 20, "gradient_clip": 12.0},
            f"{_WHY}: the publications decay in steps at epochs of their data sets; a polynomial fits any length",
        ),
        sampling=Decision(
            {"landmark_share": 1.0, "placement": "anywhere"},
            f"{_WHY}: a patch holds the whole anatomy; in larger images each holds a random landmark",
        ),
        augmentation=Decision(
            EVERY_PATCH,
            f"{_WHY}: rotation, scale and intensity as the first method here; the publications are silent",
        ),
        iterations_per_epoch=Decision(250, f"{_WHY}: as the other methods, so that epochs can be compared"),
        max_epochs=Decision(200, f"{_WHY}: 50 000 steps; --time_budget fits the schedule to any time"),
        val_interval=Decision(5, "validation reads whole volumes, so every fifth epoch"),
        overlap=Decision(0.5, "sliding windows overlap by half where an image is larger than the patch"),
    )


def _parts(plan: Plan, stage: Stage) -> StageParts:
    backbone, landmarks = network_of(plan), plan.value("landmarks")
    rule = plan.value("loss")
    network = backbone.config(stage, plan.value("spatial_dims"), plan.value("channels"), landmarks)
    return StageParts(
        network=with_distribution(network, backbone),
        heads={"logits": landmarks},
        loss={"_target_": "scripts.methods.one_hot.OneHotLoss"},
        decoder={
            "_target_": "scripts.methods.one_hot.LocalSoftArgmaxDecoder",
            "radius": rule["box_radius_voxels"],
            "temperature": rule["temperature"],
        },
    )


METHOD = Method(
    name="landmarker",
    title="one-hot heatmaps with a softmax over the whole anatomy, as the package landmarker's best",
    citation="Jonkers et al., landmarker, SoftwareX 2025; McCouat and Voiculescu, Contour-Hugging Heatmaps, CVPR 2022",
    backbone="flexible_unet",
    training=_training,
    parts=_parts,
    # float32: the logits, the log-softmax, and the gradient of each.
    loss_bytes_per_voxel=16.0,
    stages="one",
    whole_anatomy=True,
    mirrors=True,
    instances=False,
    loss="one_hot",
    decoder="local_soft_argmax",
)
