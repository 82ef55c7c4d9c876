"""From a fingerprint and the user's wishes to a plan."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from auto_config.errors import UserError
from auto_config.fingerprint.summary import Fingerprint
from auto_config.memory.stated import memory_decision, state
from auto_config.methods import BACKBONES, METHODS, Backbone, Method, MethodRequest
from auto_config.methods.combining.boxes import box_radius
from auto_config.methods.combining.chosen import Combination, chosen, combined
from auto_config.methods.networks.own import is_own, own_backbone
from auto_config.methods.plan import Decision, Plan
from auto_config.methods.unets import UNETS
from auto_config.planning.few_labels import augmentation, regions
from auto_config.planning.instances import plan_instances, wanted_stages
from auto_config.planning.normalization import plan_normalization
from auto_config.planning.options import PlanOptions
from auto_config.planning.patch import coarser_for_whole, cost_of
from auto_config.planning.pose import any_lie, cubic, plan_pose, turned_crops, with_pose
from auto_config.planning.prediction.places import plan_places
from auto_config.planning.spacing import target_spacing
from auto_config.planning.stages import describe, jitter_mm, plan_stages

CONE_RADIUS_VOXELS = 15
"""Radius of a heatmap in voxels of the finest axis (nnLandmark: 11 to 23 are equal, 7 fails)."""

CUT_SHARE = 0.2
"""Share of the training samples whose field of view is cut: some 4 % of the landmarks are lost to it."""

MIN_GPU_GB = 4.0
"""A GPU below this is planned for as if there were none."""

CPU_SHARE = 0.25
"""Of the memory that a method's own network is made for, where there is no GPU. On the mouse skulls and one core,
`landmarker` made 23 steps in 15 minutes on the grid for 8 GB (8.6 mm) and 135 on this one (0.27 mm)."""

_USER = "given by the user"


def make_plan(fingerprint: Fingerprint, options: PlanOptions, split: Mapping[str, Decision]) -> Plan:
    """Decide everything.

    Args:
        fingerprint: numbers of the training cases.
        options: what the user wants otherwise.
        split: decisions ``test`` and ``folds``, of `splits.Split.decisions`.

    Raises:
        UserError: an option is not allowed or does not fit the data.
    """
    options.check(fingerprint.spatial_dims)
    options.check_channels(fingerprint.channels)
    dims = fingerprint.spatial_dims
    method_name = _method(options)
    parts = _parts(options, METHODS[method_name.value])
    method = combined(METHODS[method_name.value], Combination(**parts.value))
    network_name = _network(options, method)
    own = _own_network(options, fingerprint)
    network = BACKBONES[network_name.value] if own.value is None else own_backbone(own.value)
    _check_instances(fingerprint, method)
    memory = _memory(options, network, method)
    pose = plan_pose(fingerprint, options.pose)
    spacing = cubic(_spacing(fingerprint, options), pose, options.spacing)
    wanted, why_wanted = with_pose(wanted_stages(fingerprint, options.stages), pose, options.stages)
    if method.whole_anatomy and not (options.spacing or options.patch_size or wanted == 2):
        spacing = _whole_anatomy(fingerprint, spacing, method, network, memory)
    normalization, pad_value = plan_normalization(
        fingerprint.intensity, options.modalities or None, fingerprint.channel_guesses or fingerprint.modality_guess
    )
    anatomy = describe(
        spacing.value, fingerprint.spacings, fingerprint.shapes, fingerprint.extents_mm, fingerprint.landmarks
    )
    if wanted == 1 and method.stages == "two":
        raise UserError(f"--stages 1: method {method.name} has two stages; omit --stages, or give another --method")
    heatmap_radius_mm = round(CONE_RADIUS_VOXELS * min(spacing.value), 6)
    stages, why_stages = plan_stages(
        network,
        method,
        anatomy,
        memory_gb=memory.value,
        room_gb=options.gpu_memory_gb or options.found_gpu_memory_gb,
        wanted=wanted,
        why_wanted=why_wanted,
        patch_size=options.patch_size,
        coarse_anatomy=any_lie(anatomy, fingerprint) if pose.value["kind"] == "free" else anatomy,
    )
    decisions = {
        "network": network_name,
        "method": method_name,
        "own_network": own,
        "parts": parts,
        "gpu_memory_gb": memory,
        "spatial_dims": Decision(dims, "of the images"),
        "channels": Decision(fingerprint.channels, "of the images"),
        "channel_names": _channel_names(fingerprint, options),
        "landmarks": Decision(fingerprint.landmarks, "of the data set"),
        "unit": _unit(fingerprint),
        "pixel_spacing": _pixel_spacing(fingerprint),
        "orientation": Decision(
            "RAS" if dims == 3 else None,
            "x to the right, y to the front, z up"
            if dims == 3
            else "pictures: x to the right, y down, as they are stored",
        ),
        "spacing": spacing,
        "normalization": normalization,
        "pad_value": pad_value,
        "stages": Decision(stages, why_stages),
        "jitter_mm": Decision(
            jitter_mm(stages, network.stride),
            "there is no coarse stage"
            if len(stages) == 1
            else "two thirds of a coarse voxel: what the coarse stage is off by, with room"
            if network.stride == 1
            else f"a sixth of a coarse cell of {network.stride} voxels: what the coarse stage is off by, with room",
        ),
        "heatmap_radius_mm": Decision(
            heatmap_radius_mm,
            f"{CONE_RADIUS_VOXELS} voxels of the finest axis; the same millimetres, so fewer voxels, on thick axes",
        ),
        "pairs": Decision(fingerprint.pairs, str(fingerprint.left_right_axis_evidence["reason"])),
        "mirror": _mirror(fingerprint, method),
        "instances": plan_instances(fingerprint, spacing.value, heatmap_radius_mm),
        "pose": turned_crops(pose, len(stages)),
        **_training(method, MethodRequest(network, stages[0]), fingerprint, options),
        "cut_share": _cut_share(options, method),
        "workers": _workers(network),
    }
    decisions["memory"] = _stated_memory(Plan(decisions), network, method, fingerprint)
    decided = {name: decisions[name].value for name in ("pose", "instances", "overlap")}
    places = plan_places(fingerprint, method, network, stages, decided)
    last = {"test": split["test"], "folds": split["folds"], "regions": regions(options.few_labels)}
    return Plan(decisions | last | places)


def _stated_memory(plan: Plan, network: Backbone, method: Method, fingerprint: Fingerprint) -> Decision:
    stages = plan.value("stages")
    stated = state(
        [network.of_stage(plan, stage) for stage in stages],
        stages,
        spacing=plan.value("spacing"),
        shapes=fingerprint.shapes,
        spacings=fingerprint.spacings,
        landmark_extent_mm=fingerprint.landmark_extent_mm,
        landmarks=fingerprint.landmarks,
        channels=fingerprint.channels,
        loss_bytes_per_voxel=method.loss_bytes_per_voxel,
        cpu_loss_bytes_per_voxel=method.cpu_loss_bytes_per_voxel or method.loss_bytes_per_voxel,
        optimizer=plan.value("optimizer")["name"],
        workers=plan.value("workers"),
        views=1 + plan.value("mirror"),
        box_radius=None if plan.value("instances")["many"] else box_radius(method.parts(plan, stages[-1]).decoder),
    )
    return memory_decision(stated)


def _training(
    method: Method, request: MethodRequest, fingerprint: Fingerprint, options: PlanOptions
) -> dict[str, Decision]:
    decisions = method.training(request).decisions()
    planned = decisions["augmentation"]
    extents = fingerprint.extents_mm
    return decisions | {"augmentation": augmentation(planned, method, options.few_labels, options.deformation, extents)}


def _channel_names(fingerprint: Fingerprint, options: PlanOptions) -> Decision:
    if options.channel_names is not None:
        return Decision(list(options.channel_names), _USER)
    if fingerprint.channels == 1:
        return Decision(["image"], "there is one channel")
    names = [f"image {number}" for number in range(fingerprint.channels)]
    return Decision(names, "in the order of the files; --channels names them")


def _unit(fingerprint: Fingerprint) -> Decision:
    if fingerprint.spatial_dims == 3:
        return Decision("mm", "volumes hold their voxel size")
    if fingerprint.unit == "px":
        return Decision("px", "warning: no file holds its pixel size; --pixel_spacing gives it, for errors in mm")
    return Decision("mm", "the pixel size is known")


def _pixel_spacing(fingerprint: Fingerprint) -> Decision:
    if fingerprint.pixel_spacing is not None:
        return Decision(fingerprint.pixel_spacing, "mm, given with the data; pictures to predict are read with it too")
    if fingerprint.unit == "px":
        return Decision(None, "not known: a pixel counts as one unit of length")
    return Decision(None, "each file holds its own")


def _method(options: PlanOptions) -> Decision:
    if options.method is not None:
        return Decision(options.method, _USER)
    name = next(iter(METHODS))
    return Decision(name, METHODS[name].title)


def _network(options: PlanOptions, method: Method) -> Decision:
    if options.network is not None:
        return Decision(options.network, _USER)
    if method.backbone is not None:
        return Decision(method.backbone, f"method {method.name} has its own network")
    memory = options.gpu_memory_gb or options.found_gpu_memory_gb
    if memory is None:
        why = (
            "warning: no GPU was found and no --gpu_memory_gb given, so the small network for CPUs; for a GPU, "
            "create the bundle with --network plain"
        )
        return Decision("tiny", why)
    if memory < MIN_GPU_GB:
        why = f"warning: {memory:g} GB of GPU memory are too few for the other networks, which need {MIN_GPU_GB:g} GB"
        return Decision("tiny", why)
    why = "there is a GPU; plain is as good as the residual networks on most published data sets, and the quickest"
    return Decision("plain", why)


def _own_network(options: PlanOptions, fingerprint: Fingerprint) -> Decision:
    """What a network is that no table has: a class of MONAI or of the user."""
    if options.network is None or not is_own(options.network):
        return Decision(None, "the network is one of the table")
    from auto_config.planning.own_network import measured

    gpu = options.gpu_memory_gb or options.found_gpu_memory_gb
    found = measured(
        options.network,
        spatial_dims=fingerprint.spatial_dims,
        channels=fingerprint.channels,
        landmarks=fingerprint.landmarks,
        memory_gb=None if gpu is None or gpu < MIN_GPU_GB else UNETS["plain"].memory_gb,
    )
    return Decision(found, f"{_USER}; edges of patches and memory as its layers show them")


def _parts(options: PlanOptions, method: Method) -> Decision:
    """Names of target, loss and decoder."""
    found = chosen(method, options.target, options.loss, options.decoder)
    if found == Combination.own(method):
        return Decision(vars(found), f"those of method {method.name}")
    return Decision(vars(found), f"{_USER}; what was not given is the method's, or the first that fits")


def _check_instances(fingerprint: Fingerprint, method: Method) -> None:
    """Refuse landmarks that are not one point each, where the method knows no others."""
    if method.instances or not (fingerprint.many or fingerprint.exchangeable):
        return
    others = [name for name, other in METHODS.items() if other.instances]
    raise UserError(
        f"--method {method.name}: finds one point for each landmark, and landmarks are declared as many or "
        f"exchangeable; give --method {' or '.join(others)}"
    )


def _memory(options: PlanOptions, network: Backbone, method: Method) -> Decision:
    if network.memory_gb is None:
        return Decision(None, "the tiny network is planned by voxels for a CPU")
    if options.gpu_memory_gb is not None:
        return Decision(options.gpu_memory_gb, _USER)
    found = options.found_gpu_memory_gb
    if found is None and options.network is None and method.backbone is not None:
        why = (
            f"warning: no GPU was found and no --gpu_memory_gb given, so a quarter of {network.memory_gb:g} GB, which "
            f"{network.name} is made for: CPUs take too long for more; for a GPU, give --gpu_memory_gb"
        )
        return Decision(network.memory_gb * CPU_SHARE, why)
    if found is not None and found < network.memory_gb:
        return Decision(
            found, f"the GPU of this machine, less than the {network.memory_gb:g} GB that {network.name} is made for"
        )
    # Not all of a large GPU: the plan would follow the machine and not the data.
    return Decision(network.memory_gb, f"what {network.name} is made for")


def _spacing(fingerprint: Fingerprint, options: PlanOptions) -> Decision:
    if options.spacing is not None:
        return Decision([float(value) for value in options.spacing], _USER)
    return Decision(*target_spacing(fingerprint.spacings, fingerprint.shapes))


def _whole_anatomy(
    fingerprint: Fingerprint, spacing: Decision, method: Method, network: Backbone, memory: Decision
) -> Decision:
    """A grid that is as coarse as it takes for a patch to hold all of it."""
    extent_mm = np.percentile(np.asarray(fingerprint.extents_mm, dtype=float), 95, axis=0)
    cost = cost_of(
        network,
        fingerprint.spatial_dims,
        landmarks=fingerprint.landmarks,
        loss_bytes_per_voxel=method.loss_bytes_per_voxel,
        memory_gb=memory.value,
    )
    grid, factor = coarser_for_whole(network, spacing.value, extent_mm.tolist(), cost)
    if factor == 1:
        return spacing
    why = f"{factor:.2f} times as coarse, so that a patch holds the whole anatomy, as method {method.name} needs it"
    return Decision(grid, f"{spacing.reason}; {why}")


def _mirror(fingerprint: Fingerprint, method: Method) -> Decision:
    if not method.mirrors:
        return Decision(False, f"method {method.name} never mirrors")
    paired = 2 * len(fingerprint.pairs) + len(fingerprint.midline)
    if not fingerprint.pairs:
        return Decision(False, "no left-right pairs are known")
    if paired < fingerprint.landmarks:
        missing = fingerprint.landmarks - paired
        return Decision(False, f"{missing} landmarks are neither paired nor known to lie on the midline")
    return Decision(True, "every landmark is paired or on the midline, so a mirrored image is another training case")


def _cut_share(options: PlanOptions, method: Method) -> Decision:
    if options.cut_share is not None:
        return Decision(float(options.cut_share), _USER)
    if not method.cuts:
        return Decision(
            0.0, f"method {method.name} trains on whole fields of view, as published; --cut_share cuts some"
        )
    return Decision(
        CUT_SHARE,
        "this share of the samples ends within the anatomy, so that complete cases teach what a landmark outside of "
        "the field of view looks like; the others are as they were, and most cuts keep most of the anatomy",
    )


def _workers(network: Backbone) -> Decision:
    if network.memory_gb is None:
        return Decision(1, "the cores are needed for training; patches are cut from cached images in milliseconds")
    return Decision(4, "enough to cut patches while the GPU computes")
