"""`recipe`: a public benchmark as it was downloaded, to a bundle in one command."""

from pathlib import Path

from auto_config.arguments import Place
from auto_config.choices import ImageMode
from auto_config.errors import UserError


def recipe(
    name: str,
    source: Place,
    bundle: Place,
    *,
    data: Place | None = None,
    images: ImageMode = "link",
    complete: bool = False,
    allow_missing: bool = False,
    method: str | None = None,
    network: str | None = None,
    gpu_memory_gb: float | None = None,
    overwrite: bool = False,
    seed: int = 0,
    workers: int | None = None,
) -> int:
    """Make a bundle of a public benchmark as it was downloaded: convert it, plan, and write the bundle.

    The published split is kept, its test cases are held back, and what the files do not say (size of pixels, raters,
    left-right pairs) comes from what is known of the benchmark. Nothing is downloaded, and nothing is trained.
    Data that an earlier call has converted are used.

    Args:
        name: isbi2015 (cephalograms), afids (brain MR) or mml (dental CT)
        source: folder of the benchmark as it was downloaded and unpacked
        bundle: folder to write; its name becomes the bundle's name
        data: folder for the data list and its images; BUNDLE_data beside the bundle if not given
        images: link or copy
        complete: of mml, only the cases with all landmarks
        allow_missing: leave out cases whose files are not there or wrong
        method: as for `create`
        network: as for `create`
        gpu_memory_gb: memory to plan for, in GB; that of this machine's GPU if not given
        overwrite: replace BUNDLE and its data if they are there
        seed: of the folds and of the training
        workers: processes to read with, one on each core if not given

    Returns:
        0, or 1 if cases were left out because --allow_missing says so.

    Raises:
        UserError: no such recipe, another folder than that of the benchmark, or files that are missing or wrong.

    Examples:
        auto_config recipe isbi2015 cephalograms ceph_landmarks
        auto_config recipe afids afids_download brain_landmarks --network resenc_l --gpu_memory_gb 24
        auto_config recipe mml mmld_dataset molars --complete
    """
    from rich.console import Console

    from auto_config.bundle.writer import check_target
    from auto_config.commands.create import create
    from auto_config.methods.choosing import check_names
    from auto_config.public_datasets import convert
    from auto_config.public_datasets.recipes import recipe_of

    chosen = recipe_of(name)
    if images == "refer":
        raise UserError("--images is refer; a recipe puts the images beside their data list, use link or copy")
    place = Path(bundle)
    folder = place.with_name(f"{place.name}_data") if data is None else Path(data)
    if folder.absolute() == place.absolute():
        raise UserError(f"--data {folder}: is the folder of the bundle; give another one")
    check_target(place, overwrite)
    check_names(method, network)  # what `create` would refuse when all images have been converted
    left_out = convert(
        name,
        source,
        folder,
        images="copy" if images == "copy" else "link",
        overwrite=overwrite,
        allow_missing=allow_missing,
        complete=complete,
        workers=workers,
        go_on=True,
    )
    create(
        folder / "datalist.json",
        place,
        method=method,
        network=network,
        gpu_memory_gb=gpu_memory_gb,
        modality=chosen.modality,
        overwrite=overwrite,
        seed=seed,
        workers=workers,
    )
    results = place.with_name(f"{place.name}_results")
    console = Console(highlight=False)
    for line in chosen.right:
        console.print(f"{name}: {line}", markup=False, soft_wrap=True)
    console.print("Next:", markup=False)
    for words in (
        f"train {place}",
        f"predict {place} {place}/data/datalist.json {results}",
        f"evaluate {results} {folder}/datalist.json --split test --compare_published {name}",
    ):
        console.print(f"  auto_config {words}", markup=False, soft_wrap=True)
    return left_out
