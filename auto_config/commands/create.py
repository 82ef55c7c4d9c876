"""`create`: read a data set, check it, plan, and write a bundle."""

from collections.abc import Sequence
from pathlib import Path

from auto_config.arguments import Integers, Names, Numbers, Place
from auto_config.choices import Coordinates, Missing, NameField, Outside, Pose
from auto_config.errors import UserError


def create(
    source: Place,
    bundle: Place,
    *,
    method: str | None = None,
    network: str | None = None,
    target: str | None = None,
    loss: str | None = None,
    decoder: str | None = None,
    recipe: str | None = None,
    preset: str | None = None,
    gpu_memory_gb: float | None = None,
    folds: int | None = None,
    test_fraction: float | None = None,
    test: Place | None = None,
    test_groups: Names | None = None,
    groups: Place | None = None,
    landmarks: Names | None = None,
    modality: str | None = None,
    channels: Names | None = None,
    spacing: Numbers | None = None,
    patch_size: Integers | None = None,
    stages: int | None = None,
    cut_share: float | None = None,
    pose: Pose = "auto",
    format: str | None = None,
    missing: Missing = "unknown",
    outside: Outside = "error",
    coordinates: Coordinates | None = None,
    missing_value: str | None = None,
    names: NameField | None = None,
    pixel_spacing: Numbers | None = None,
    few_labels: bool | None = None,
    deformation: bool | None = None,
    pretrained: Place | None = None,
    unlabelled: Place | None = None,
    atlas: str | None = None,
    authors: str | None = None,
    copyright: str | None = None,
    data_source: str | None = None,
    data_license: str | None = None,
    changes: str | None = None,
    overwrite: bool = False,
    seed: int = 0,
    workers: int | None = None,
) -> int:
    """Read a data set, choose everything that training needs, and write a MONAI Bundle.

    The bundle is plain JSON to read and edit; configs/plan.json gives the reason of every choice. Nothing is trained.

    Args:
        source: the data set, as for `inspect`
        bundle: folder to write; its name becomes the bundle's name
        method: {methods}
        network: {networks}; a class such as monai.networks.nets.SwinUNETR, or a .json file with its _target_ and
            arguments; chosen by the GPU's memory if not given
        target: in the place of the method's: {targets}
        loss: in the place of the method's: {losses}
        decoder: in the place of the method's: {decoders}
        recipe: earlier name of --method
        preset: earlier name for a method and a network
        gpu_memory_gb: memory to plan for, in GB; that of this machine's GPU if not given
        folds: number of cross-validation folds; 5, or each case one of its own where labels are few
        test_fraction: share of the cases to hold back, if SOURCE marks none; 0.2, or 0 where labels are few
        test: file with the names of the test cases, one a line
        test_groups: hold back all cases of these groups, such as a site: hospital_a,hospital_b
        groups: CSV `case,group`: cases of one group, such as scans of one patient, stay together
        landmarks: names to keep, in this order; with a folder of images alone, the names to annotate
        modality: ct or mr, if the grey values do not tell; one for each channel: ct,mr
        channels: what the channels of an image are called: T1,T2
        spacing: mm of the planned grid, in the order right, anterior, superior: 1,1,1.5
        patch_size: voxels of the training patch, in the same order: 96,96,64
        stages: 1, or 2 for coarse to fine
        cut_share: share of the training samples whose field of view is cut, to learn presence; 0 for none
        pose: upright where cases lie alike, free for any pose; auto as their points tell
        format: read SOURCE as this format instead of detecting it
        missing: what a name that one case's file lacks means: unknown or absent
        outside: what a point outside its image is: error or absent
        coordinates: what the numbers of a table or old .fcsv are, if it does not say it: ras, lps, voxel, pixel, mm
        missing_value: coordinates that mark a missing point, taken as MISSING says: 0 or -1,-1; none: all are real
        names: name of a point in Slicer's files: labels, descriptions or order (1, 2, ...); else chosen for all files
        pixel_spacing: mm of a pixel of pictures, one number or x,y, if the files do not say it
        few_labels: plan for few labelled cases; below 10 if not given
        deformation: deform half of the training patches smoothly; only where labels are few if not given
        pretrained: bundle, or file of weights, to start from
        unlabelled: folder of further scans without points, which `train --self_training` learns from
        atlas: training case whose image the atlas shows, or nearest (to the mean shape); no image if not given
        authors: of the model, for metadata.json and docs/README.md, as the next four; `package` takes them too
        copyright: of the model
        data_source: where the data come from
        data_license: of the data
        changes: what is in the first version
        overwrite: replace BUNDLE if it is there
        seed: of the split and of the training
        workers: processes to read with, one on each core if not given

    Returns:
        0.

    Raises:
        UserError: wrong options, or data that would train wrongly; every such problem is printed first.

    Examples:
        auto_config create scans brain_landmarks
        auto_config create scans brain_landmarks --network resenc_l --gpu_memory_gb 24
        auto_config create scans brain_landmarks --method nnlandmark
        auto_config create scans brain_landmarks --test_groups hospital_b
        auto_config create scans brain_landmarks --target gaussian --loss mse --decoder taylor
        auto_config create scans brain_landmarks --network monai.networks.nets.SwinUNETR
        auto_config create new_scans to_annotate --landmarks AC,PC
        auto_config create xrays xray_landmarks --pixel_spacing 0.1
    """
    from rich.console import Console

    from auto_config.bundle.credits import Credits
    from auto_config.bundle.planning_data import SplitOptions, plan_data
    from auto_config.bundle.writer import check_target, write_bundle
    from auto_config.datasets import read_dataset
    from auto_config.datasets.assembly.groups import cases_of_groups, meant_cases, with_groups
    from auto_config.inspection.terminal import refuse_errors
    from auto_config.memory.hardware import gpu_memory_gb as find_gpu_memory
    from auto_config.methods.choosing import check_names, earlier_names
    from auto_config.planning import PlanOptions, read_test_file
    from auto_config.planning.terminal import print_plan

    console = Console(stderr=True, highlight=False)
    place = Path(bundle)
    check_target(place, overwrite)
    weights = None if pretrained is None else _pretrained_weights(Path(pretrained))
    method, network, note = earlier_names(method, network, recipe, preset)
    if note is not None:
        console.print(f"note: {note}", markup=False, soft_wrap=True)
    check_names(method, network, target, loss, decoder)
    options = PlanOptions(
        method=method,
        network=network,
        target=target,
        loss=loss,
        decoder=decoder,
        gpu_memory_gb=gpu_memory_gb,
        found_gpu_memory_gb=find_gpu_memory(),
        spacing=None if spacing is None else tuple(spacing),
        patch_size=None if patch_size is None else tuple(patch_size),
        stages=stages,
        cut_share=cut_share,
        pose=pose,
        modality=modality,
        channel_names=None if channels is None else tuple(channels),
        deformation=deformation,
    )
    if test is not None and test_groups is not None:
        raise UserError("--test and --test_groups both say what is held back; give one of them")
    test_names = None if test is None else read_test_file(Path(test))
    dataset, problems = read_dataset(
        source,
        format=format,
        missing=missing,
        landmarks=landmarks,
        coordinates=coordinates,
        names=names,
        pixel_spacing=pixel_spacing,
        missing_value=missing_value,
    )
    if test_names is not None:
        test_names = meant_cases(dataset, test_names)
    if groups is not None:
        dataset = with_groups(dataset, Path(groups))
    if test_groups is not None:
        test_names = cases_of_groups(dataset, test_groups)
    further = None
    if unlabelled is not None:
        images = [case.image for case in dataset.cases]
        further = _unlabelled_images(Path(unlabelled), images, dataset.spatial_dims)
    planned = plan_data(
        dataset,
        options,
        SplitOptions(folds, test_fraction, test_names, few_labels, seed),
        lambda found: refuse_errors(found, console),
        outside=outside,
        workers=workers,
        problems=problems,
    )
    parts = (planned.dataset, planned.plan, planned.split, planned.fingerprint)
    credits = Credits(authors, copyright, data_source, data_license, changes)
    write_bundle(
        place, *parts, seed=seed, weights=weights, atlas=atlas, credits=credits, unlabelled=further, overwrite=overwrite
    )
    print_plan(place, planned.plan, console)
    return 0


def _unlabelled_images(
    folder: Path, labelled: Sequence[Sequence[Path]], spatial_dims: int
) -> dict[str, tuple[Path, ...]]:
    """Images of a folder that are none of the data set's, as files of each case.

    Raises:
        UserError: there are none.
    """
    from auto_config.prediction.input import find_images

    found = find_images(folder, spatial_dims=spatial_dims, channels=max(map(len, labelled)))
    known = {part.resolve() for image in labelled for part in image}
    others = {case: paths for case, paths in found.items() if not any(path.resolve() in known for path in paths)}
    if not others:
        raise UserError(f"{folder}: has no image that is not a case of the data set; give a folder of further scans")
    return others


def _pretrained_weights(source: Path) -> Path:
    """The weights of a bundle, or a file of weights.

    Raises:
        UserError: if there are none.
    """
    if source.is_file():
        return source
    weights = source / "models" / "model.pt"
    if not weights.is_file():
        raise UserError(
            f"--pretrained {source}: has no models/model.pt; give the folder of a trained bundle, or a file of weights"
        )
    return weights
