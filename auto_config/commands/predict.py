"""`predict`: from a trained bundle and image files to landmark files."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from auto_config.arguments import Place

if TYPE_CHECKING:
    from auto_config.bundle_scripts.points.landmarks import LandmarkSet

DONE, SOME_FAILED, ALL_FAILED = 0, 1, 2


def predict(
    bundle: Place,
    input: Place,
    output: Place,
    *,
    device: str | None = None,
    fcsv: bool = False,
    json: bool = False,
    labelmap: bool = False,
    regions: bool = False,
    plausibility: bool | None = None,
    shape_prior: bool = False,
    fixed: Place | None = None,
    all_present: bool = False,
    level: float = 0.9,
    strict: bool = False,
    overwrite: bool = False,
    debug: bool = False,
) -> int:
    """Predict landmarks: CASE.mrk.json for Slicer, and predictions.csv.

    Points are in world millimetres. A file that cannot be read is reported, and the others are predicted. Each case has
    a verdict, ok, check or failed; those that are not ok are listed at the end with the reason.

    Args:
        bundle: a trained bundle
        input: an image, a DICOM series (a folder), a folder of images, or data/datalist.json of a bundle for its test
            cases
        output: folder for the results
        device: cpu, cuda or cuda:1; a GPU if there is one
        fcsv: write CASE.fcsv too
        json: write CASE.json too
        labelmap: write a label map of balls on the image's own grid too
        regions: write CASE.regions.nii.gz and .npz too: where each landmark lies with the probability LEVEL, for
            calibrated bundles
        plausibility: true or false: whether implausible points of the coarse stage are replaced; the bundle's choice
            if not given
        shape_prior: where the shape of the others rules out a point, take the next best maximum of its heatmap
        fixed: points that you set, which move the others: a landmark file, a folder with CASE.mrk.json for each case,
            or a table; they come out as given
        all_present: call every landmark present, whatever the calibration says
        level: probability with which the regions hold their landmarks: 0.5, 0.8, 0.9 or 0.95
        strict: exit with 1 where a case is not ok
        overwrite: replace an earlier prediction in OUTPUT
        debug: show the traceback of the first image that fails

    Returns:
        The exit status: 0, 1 if some images could not be predicted (with --strict also if a case is not ok), 2 if none
        could.

    Raises:
        UserError: wrong bundle, no image, or a folder for the results that would lose files.

    Examples:
        auto_config predict brain_landmarks scan.nii.gz results
        auto_config predict brain_landmarks new_scans results --labelmap
        auto_config predict brain_landmarks scan.nii.gz corrected --fixed two_points.mrk.json
    """
    from auto_config.bundle.shared_numbers import disagreement
    from auto_config.bundle_scripts.inference.prediction_files import PREDICTIONS_FILE, RUN_FILE, PredictionFolder
    from auto_config.prediction.fixed_points import landmark_table, read_fixed
    from auto_config.prediction.input import find_images, training_cases, wanted_images
    from auto_config.prediction.output import check_output, remove_previous

    images = find_images(Path(input), **wanted_images(Path(bundle)))
    folder = Path(output)
    previous = check_output(folder, images, overwrite)

    given = None if fixed is None else read_fixed(Path(fixed), list(images), *landmark_table(Path(bundle)))

    # MONAI takes seconds to import, so everything that can be wrong without it has been checked before.
    from auto_config.bundle.opened import open_bundle
    from auto_config.prediction.cases import Wanted, predict_cases
    from auto_config.prediction.cost import peak_memory
    from auto_config.prediction.fixed_cases import Fixed
    from auto_config.prediction.regions import level_sets, missing_regions
    from auto_config.prediction.terminal import print_verdicts

    # What is not asked for is not set, so that bundles from before these settings still predict.
    chosen = {"shape_prior": (shape_prior, False), "all_present": (all_present, False), "region_level": (level, 0.9)}
    settings = {name: value for name, (value, default) in chosen.items() if value != default}
    opened = open_bundle(bundle, device=device, plausibility=plausibility, settings=settings)
    if (said := disagreement(opened.root)) is not None:
        print(f"warning: {said}", file=sys.stderr)
    moved = None if given is None else Fixed.of(opened, given)
    bounds = level_sets(opened, level) if regions else None
    for line in [] if bounds is None else missing_regions(opened, bounds, level):
        print(line, file=sys.stderr)
    seen = training_cases(opened.root, images)
    remove_previous(folder, previous)
    writer = PredictionFolder(folder, opened.root)
    failed = predict_cases(opened, images, writer, Wanted(fcsv, json, labelmap, bounds, level, moved), debug=debug)
    options = {
        "command": "predict",
        "device": str(opened.device),
        "plausibility": plausibility,
        "shape_prior": shape_prior,
        "fixed": None if given is None else {case: _set_names(points) for case, points in given.items()},
        "all_present": all_present,
        "level": level,
        "fcsv": fcsv,
        "json": json,
        "labelmap": labelmap,
        "regions": regions,
        "strict": strict,
    }
    writer.finish(
        options=options,
        failed=failed,
        training_cases=[case for case in seen if case not in failed],
        peak_memory=peak_memory(opened.device),
    )
    count = len(images) - len(failed)
    print(f"{count} {'image' if count == 1 else 'images'} predicted: {folder / PREDICTIONS_FILE}")
    all_ok = print_verdicts(writer.verdicts(failed), count)
    if not failed:
        return DONE if all_ok or not strict else SOME_FAILED
    print(f"{len(failed)} not predicted, see 'failed' in {folder / RUN_FILE}: {', '.join(failed)}", file=sys.stderr)
    return SOME_FAILED if len(failed) < len(images) else ALL_FAILED


def _set_names(points: "LandmarkSet") -> list[str]:
    """The names that a person said something of."""
    return [name for name, status in zip(points.names, points.status, strict=True) if status >= 0]
