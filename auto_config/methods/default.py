"""`default`: nnLandmark's cones with a spatial cross-entropy beside them, and a schedule for minutes to hours."""

from __future__ import annotations

from auto_config.methods.augmentation import EVERY_PATCH
from auto_config.methods.base import Method, MethodRequest, Stage, StageParts, Training
from auto_config.methods.cones import (
    CPU_LOSS_BYTES_PER_VOXEL,
    LOSS_BYTES_PER_VOXEL,
    NNLANDMARK,
    cone,
    heatmap_parts,
    top_k_bce,
)
from auto_config.methods.plan import Decision, Plan


def _training(request: MethodRequest) -> Training:
    quick = request.backbone.memory_gb is None
    return Training(
        loss=Decision(
            {"bce_topk": 1.0, "top_percent": 20.0, "cross_entropy": 1.0, "sigma_voxels": 1.0, "output_bias": -4.0},
            "method default: top-20 % cross-entropy on cones finds the neighbourhood, a spatial softmax cross-entropy "
            "against a Gaussian of one voxel makes short schedules work (weight 1 beats 0.1 on the mouse skulls); the "
            "output bias of -4 starts the sigmoid where nearly every voxel is right",
        ),
        optimizer=Decision(
            {"name": "AdamW", "lr": 2e-3 if quick else 1e-3, "weight_decay": 1e-2}
            | ({} if quick else {"decay_norms": False}),
            "method default: AdamW learns in hundreds of steps where the reference's SGD needs 10^5"
            + (
                ""
                if quick
                else "; half the rate of the tiny network, and no weight decay on norms and biases, as is "
                "usual for networks of 30 to 100 million parameters (never measured here)"
            ),
        ),
        schedule=Decision(
            {"name": "poly", "power": 0.9, "warmup_steps": 20 if quick else 500, "gradient_clip": 12.0},
            f"method default: {20 if quick else 500} steps of warm-up, polynomial decay of power 0.9, gradient norm "
            "clipped at 12",
        ),
        sampling=Decision(
            {"landmark_share": 0.67, "placement": "anywhere"},
            "method default: two patches of three hold a random landmark, at a random place and not in the centre",
        ),
        augmentation=Decision(
            EVERY_PATCH,
            "method default: rotation and scale in one resampling, which keeps the affine right, then intensity",
        ),
        iterations_per_epoch=Decision(
            100 // min(request.batch_size, 100) if quick else 250,
            "100 images are about a minute of the tiny network on a CPU" if quick else "as the reference",
        ),
        max_epochs=Decision(
            60 if quick else 200,
            "about an hour on two CPU cores; --time_budget fits the schedule to any time"
            if quick
            else "a fifth of the reference: the default loss needs far fewer steps",
        ),
        val_interval=Decision(5, "validation reads whole volumes, so every fifth epoch"),
        overlap=Decision(0.5, "sliding windows overlap by half, as in the reference"),
    )


def _parts(plan: Plan, stage: Stage) -> StageParts:
    rule = plan.value("loss")
    return heatmap_parts(
        plan,
        stage,
        target=cone(plan, stage),
        loss={
            "_target_": "scripts.methods.losses.WeightedLoss",
            "losses": [
                top_k_bce(plan, stage),
                {"_target_": "scripts.methods.losses.SpatialCrossEntropyLoss", "sigma": rule["sigma_voxels"]},
            ],
            "weights": [rule["bce_topk"], rule["cross_entropy"]],
        },
        decoder={"_target_": "scripts.methods.decoders.ArgmaxDecoder", "link": "softmax"},
        output_bias=rule["output_bias"],
    )


METHOD = Method(
    name="default",
    title="nnLandmark's heatmaps and a spatial cross-entropy, for minutes to hours of training",
    citation=NNLANDMARK,
    backbone=None,
    training=_training,
    parts=_parts,
    loss_bytes_per_voxel=LOSS_BYTES_PER_VOXEL,
    cpu_loss_bytes_per_voxel=CPU_LOSS_BYTES_PER_VOXEL,
    stages="planned",
    whole_anatomy=False,
    mirrors=True,
    instances=True,
    cuts=True,
    cpu_batch=1,  # in the same minutes more steps teach more than larger ones
    half_precision=True,
    target="cone",
    loss="bce_and_cross_entropy",
    decoder="argmax",
)
