"""`predict`: from a trained bundle and image files to landmark files."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auto_config.arguments import Place
from auto_config.choices import Runtime
from auto_config.errors import UserError
from auto_config.wording import counted

if TYPE_CHECKING:
    from auto_config.bundle_scripts.points.landmarks import LandmarkSet

DONE, SOME_FAILED, ALL_FAILED = 0, 1, 2


def predict(
    bundle: Place,
    input: Place,
    output: Place,
    *,
    device: str | None = None,
    runtime: Runtime = "torch",
    fcsv: bool = False,
    json: bool = False,
    labelmap: bool = False,
    regions: bool = False,
    plausibility: bool | None = None,
    shape_prior: bool = False,
    fixed: Place | None = None,
    all_present: bool = False,
    level: float = 0.9,
    workers: int = 1,
    skip_existing: bool = False,
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
        runtime: torch, or onnx: the networks by onnxruntime on the CPU; the first time they are written as ONNX into
            cache/onnx of the bundle
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
        workers: processes that share the images, on GPUs each with one of its own
        skip_existing: go on in OUTPUT: leave results as they are that these weights and options made of these images
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
        auto_config predict brain_landmarks new_scans results --workers 4 --skip_existing
        auto_config predict brain_landmarks scan.nii.gz corrected --fixed two_points.mrk.json
    """
    from auto_config.bundle.shared_numbers import disagreement
    from auto_config.bundle_scripts.inference.prediction_files import PREDICTIONS_FILE, RUN_FILE, PredictionFolder
    from auto_config.prediction.fixed_points import landmark_table, read_fixed
    from auto_config.prediction.input import find_images, training_cases, wanted_images
    from auto_config.prediction.output import check_output, remove_previous

    if runtime == "onnx":
        from auto_config.exporting.packages import require

        if device not in (None, "cpu"):
            raise UserError(f"--runtime onnx runs on the CPU; omit --device {device}, or the runtime")
        device = "cpu"
        require("onnxruntime")
    images = find_images(Path(input), **wanted_images(Path(bundle)))
    folder = Path(output)
    previous = check_output(folder, images, overwrite or skip_existing)

    given = None if fixed is None else read_fixed(Path(fixed), list(images), *landmark_table(Path(bundle)))

    # MONAI takes seconds to import, so everything that can be wrong without it has been checked before.
    from auto_config.bundle.opened import require_bundle, weight_files
    from auto_config.bundle_scripts.training.cpu_memory import keep_freed_memory
    from auto_config.memory.enough import before_prediction
    from auto_config.prediction.cases import one_by_one, write_outcomes
    from auto_config.prediction.cost import peak_memory
    from auto_config.prediction.sharing.job import Job, Predictor
    from auto_config.prediction.sharing.kept import Kept, digest_of_image, digest_of_run, kept_results
    from auto_config.prediction.sharing.workers import Workers, devices_of
    from auto_config.prediction.terminal import print_verdicts

    root = Path(bundle).resolve()
    require_bundle(root)
    devices = devices_of(workers, device)
    if (said := before_prediction(root, device, workers)) is not None:
        print(f"warning: {said}", file=sys.stderr)
    # What is not asked for is not set, so that bundles from before these settings still predict.
    chosen = {"shape_prior": (shape_prior, False), "all_present": (all_present, False), "region_level": (level, 0.9)}
    settings = {name: value for name, (value, default) in chosen.items() if value != default}
    files: dict[str, Any] = {"fcsv": fcsv, "json": json, "labelmap": labelmap, "regions": regions, "level": level}
    job = Job(root, folder, plausibility, settings, runtime=runtime, fixed=given, debug=debug, **files)
    digest = digest_of_run(
        root, weight_files(root), {**settings, **files, "plausibility": plausibility, "runtime": runtime}
    )
    digests = {case: digest_of_image(paths, (given or {}).get(case)) for case, paths in images.items()}
    kept = kept_results(folder, digest, digests, _endings(files)) if skip_existing else Kept({}, {}, {})
    lost = sorted(previous - set(kept.entries) - kept.stale)
    if lost and not overwrite:
        raise UserError(
            f"{folder}: results of {_some(lost)} were made with other weights or options, and may have been corrected "
            "since; give another folder, or --overwrite to make them anew"
        )
    wanted = {case: paths for case, paths in images.items() if case not in kept.entries}
    sharing = Workers(job, devices) if len(devices) > 1 and len(wanted) > 1 else None
    if sharing is not None:
        sharing.open()  # before anything is taken away
    keep_freed_memory()
    alone = Predictor(job, devices[0]) if sharing is None and wanted else None
    if (said := disagreement(root)) is not None:
        print(f"warning: {said}", file=sys.stderr)
    for line in [] if alone is None else alone.notes:
        print(line, file=sys.stderr)
    seen = [*kept.training_cases, *training_cases(root, wanted)]
    if wanted:
        remove_previous(folder, previous, kept.entries)
    writer = PredictionFolder(folder, root, list(images))
    for case, entry in kept.entries.items():
        writer.keep(case, entry, kept.rows[case], kept.uncertainty[case])
    options = {
        "command": "predict",
        "device": devices[0] if alone is None else str(alone.device),
        "runtime": runtime,
        "plausibility": plausibility,
        "shape_prior": shape_prior,
        "fixed": None if given is None else {case: _set_names(points) for case, points in given.items()},
        "all_present": all_present,
        **files,
        "workers": workers,
        "strict": strict,
    }

    def note(failed: Mapping[str, str]) -> None:
        """Write what there is, so that a run that is killed can go on."""
        image = {**{case: entry["image"] for case, entry in kept.entries.items()}, **digests}
        writer.finish(
            options=options,
            failed=failed,
            training_cases=[case for case in seen if case in writer.cases],
            peak_memory=peak_memory(alone.device) if alone else sharing.memory if sharing else {},
            made_by={
                "digest": digest,
                "cases": {case: {**entry, "image": image[case]} for case, entry in writer.entries().items()},
            },
        )

    if wanted:
        note({})
    if skip_existing:
        there = len(images) - len(wanted)
        print(f"{there} of {counted(len(images), 'image')} left as they are, made by the same weights and options")
    outcomes = sharing.predict(wanted) if sharing else one_by_one(alone, wanted) if alone else ()
    failed = write_outcomes(outcomes, writer, job, len(wanted), note)
    if wanted:
        note(failed)
    count = len(wanted) - len(failed)
    print(f"{counted(count, 'image')} predicted: {folder / PREDICTIONS_FILE}")
    all_ok = print_verdicts(writer.verdicts(failed), count)
    if not failed:
        return DONE if all_ok or not strict else SOME_FAILED
    print(f"{len(failed)} not predicted, see 'failed' in {folder / RUN_FILE}: {', '.join(failed)}", file=sys.stderr)
    return SOME_FAILED if len(failed) < len(images) else ALL_FAILED


def _some(cases: list[str]) -> str:
    """The first two names, and how many more there are."""
    more = f" and {len(cases) - 2} more" if len(cases) > 2 else ""
    return ", ".join(map(repr, cases[:2])) + more


def _endings(files: Mapping[str, Any]) -> list[str]:
    """What the files of each case end with."""
    wanted = {"fcsv": [".fcsv"], "json": [".json"], "labelmap": [".labels.nii.gz"]}
    wanted["regions"] = [".regions.nii.gz", ".regions.npz"]
    return [".mrk.json", *(ending for name, endings in wanted.items() if files[name] for ending in endings)]


def _set_names(points: "LandmarkSet") -> list[str]:
    """The names that a person said something of."""
    return [name for name, status in zip(points.names, points.status, strict=True) if status >= 0]
