"""The commands: parse, call, print. No logic, and no heavy import before a command is known to be well written."""

import os
import sys
from collections.abc import Sequence
from inspect import signature
from typing import Any, Literal

from auto_config import __version__
from auto_config.arguments import Command, Integers, Names, Numbers, call, choose, help_text, overview
from auto_config.errors import UserError

Missing = Literal["unknown", "absent"]
Outside = Literal["error", "absent"]
Images = Literal["refer", "link", "copy"]
Coordinates = Literal["ras", "lps", "voxel", "pixel", "mm"]
NameField = Literal["labels", "descriptions", "order"]
PointsFormat = Literal["roi", "fiducial"]

WRONG_INPUT = 2
INTERRUPTED = 130
READER_GONE = 141


def tables() -> dict[str, str]:
    """What stands in help in the place of ``{methods}`` and ``{networks}``: the rows of these tables."""
    from auto_config.methods import BACKBONES, METHODS

    return {
        "methods": "; ".join(f"{row.name}: {row.title}" for row in METHODS.values()),
        "networks": "; ".join(f"{row.name}: {row.title}" for row in BACKBONES.values()),
    }


def inspect(
    source: str,
    *,
    report: str | None = None,
    headers_only: bool = False,
    format: str | None = None,
    missing: Missing = "unknown",
    outside: Outside = "error",
    landmarks: Names | None = None,
    coordinates: Coordinates | None = None,
    missing_value: str | None = None,
    names: NameField | None = None,
    pixel_spacing: Numbers | None = None,
    workers: int | None = None,
) -> int | None:
    """Say what a data set is, and every problem found in it.

    Format, cases, landmarks, units, spacing, counts of present, absent and unknown landmarks, left-right pairs; points
    outside their image, swapped coordinate systems, duplicate names, unreadable files and more. Nothing is changed.

    Args:
        source: folder with images/ and landmarks/, folder with files side by side, cohort CSV or datalist JSON
        report: write an HTML page with pictures of every case to this file
        headers_only: read the headers of the images only: quick, but grey values are not checked
        format: read SOURCE as this format instead of detecting it
        missing: what a name that one case's file lacks means: unknown or absent
        outside: what a point outside its image is: error or absent
        landmarks: names to keep, in this order: AC,PC
        coordinates: what the numbers of a table or old .fcsv are, if it does not say it: ras, lps, voxel, pixel, mm
        missing_value: coordinates that mark a missing point, taken as MISSING says: 0 or -1,-1; none: all are real
        names: name of a point in Slicer's files: labels, descriptions or order (1, 2, ...); else chosen for all files
        pixel_spacing: mm of a pixel of pictures, one number or x,y, if the files do not say it
        workers: processes to read with, one on each core if not given

    Returns:
        The exit status: 0, or 2 if errors were found.

    Examples:
        auto_config inspect scans
        auto_config inspect scans --report scans.html
        auto_config inspect points.csv --missing absent --landmarks AC,PC
    """
    from auto_config.commands.inspect import inspect as run

    return run(
        source,
        report=report,
        headers_only=headers_only,
        format=format,
        missing=missing,
        outside=outside,
        landmarks=landmarks,
        coordinates=coordinates,
        missing_value=missing_value,
        names=names,
        pixel_spacing=pixel_spacing,
        workers=workers,
    )


def create(
    source: str,
    bundle: str,
    *,
    method: str | None = None,
    network: str | None = None,
    recipe: str | None = None,
    preset: str | None = None,
    gpu_memory_gb: float | None = None,
    folds: int = 5,
    test_fraction: float = 0.2,
    test: str | None = None,
    groups: str | None = None,
    landmarks: Names | None = None,
    modality: str | None = None,
    channels: Names | None = None,
    spacing: Numbers | None = None,
    patch_size: Integers | None = None,
    stages: int | None = None,
    format: str | None = None,
    missing: Missing = "unknown",
    outside: Outside = "error",
    coordinates: Coordinates | None = None,
    missing_value: str | None = None,
    names: NameField | None = None,
    pixel_spacing: Numbers | None = None,
    pretrained: str | None = None,
    overwrite: bool = False,
    seed: int = 0,
    workers: int | None = None,
) -> int | None:
    """Read a data set, choose everything that training needs, and write a MONAI Bundle.

    The bundle is plain JSON to read and edit; configs/plan.json gives the reason of every choice. Nothing is trained.

    Args:
        source: the data set, as for `inspect`
        bundle: folder to write; its name becomes the bundle's name
        method: {methods}
        network: {networks}; chosen by the GPU's memory if not given
        recipe: earlier name of --method
        preset: earlier name for a method and a network
        gpu_memory_gb: memory to plan for, in GB; that of this machine's GPU if not given
        folds: number of cross-validation folds
        test_fraction: share of the cases to hold back, if SOURCE marks none
        test: file with the names of the test cases, one a line
        groups: CSV `case,group`: cases of one group, such as scans of one patient, stay together
        landmarks: names to keep, in this order; with a folder of images alone, the names to annotate
        modality: ct or mr, if the grey values do not tell; one for each channel: ct,mr
        channels: what the channels of an image are called: T1,T2
        spacing: mm of the planned grid, in the order right, anterior, superior: 1,1,1.5
        patch_size: voxels of the training patch, in the same order: 96,96,64
        stages: 1, or 2 for coarse to fine
        format: read SOURCE as this format instead of detecting it
        missing: what a name that one case's file lacks means: unknown or absent
        outside: what a point outside its image is: error or absent
        coordinates: what the numbers of a table or old .fcsv are, if it does not say it: ras, lps, voxel, pixel, mm
        missing_value: coordinates that mark a missing point, taken as MISSING says: 0 or -1,-1; none: all are real
        names: name of a point in Slicer's files: labels, descriptions or order (1, 2, ...); else chosen for all files
        pixel_spacing: mm of a pixel of pictures, one number or x,y, if the files do not say it
        pretrained: bundle to take the first weights from
        overwrite: replace BUNDLE if it is there
        seed: of the split and of the training
        workers: processes to read with, one on each core if not given

    Examples:
        auto_config create scans brain_landmarks
        auto_config create scans brain_landmarks --network resenc_l --gpu_memory_gb 24
        auto_config create scans brain_landmarks --method nnlandmark
        auto_config create new_scans to_annotate --landmarks AC,PC
        auto_config create xrays xray_landmarks --pixel_spacing 0.1
    """
    from auto_config.commands.create import create as run

    return run(
        source,
        bundle,
        method=method,
        network=network,
        recipe=recipe,
        preset=preset,
        gpu_memory_gb=gpu_memory_gb,
        folds=folds,
        test_fraction=test_fraction,
        test=test,
        groups=groups,
        landmarks=landmarks,
        modality=modality,
        channels=channels,
        spacing=spacing,
        patch_size=patch_size,
        stages=stages,
        format=format,
        missing=missing,
        outside=outside,
        coordinates=coordinates,
        missing_value=missing_value,
        names=names,
        pixel_spacing=pixel_spacing,
        pretrained=pretrained,
        overwrite=overwrite,
        seed=seed,
        workers=workers,
    )


def train(
    bundle: str,
    *,
    fold: int | str = 0,
    max_epochs: int | None = None,
    time_budget: str | None = None,
    resume: bool = False,
    gpus: int | None = None,
    calibrate: bool = True,
    overwrite: bool = False,
    debug: bool = False,
    **overrides: Any,
) -> int | None:
    """Train a bundle: `python -m monai.bundle run training` with the right files.

    models/model.pt holds the best weights from the first validation on; training may be stopped and resumed any time.

    Args:
        bundle: the folder that `create` wrote
        fold: fold to validate on; all: one training after the other, averaged by `predict`; none: train on all cases
        max_epochs: number of epochs instead of the plan's
        time_budget: fit the whole schedule to this time: 15m, 1h30m, 90s
        resume: go on where the last training stopped
        gpus: number of GPUs; one process if not given
        calibrate: learn presence and regions from the validation cases afterwards
        overwrite: replace the weights of an earlier training of this fold
        debug: print the command that is run, and what MONAI says at its start, which else goes to eval/train.log
        overrides: any other id of configs/train.json: --learning_rate=0.001 --train#trainer#max_epochs=3

    Examples:
        auto_config train brain_landmarks --time_budget 15m
        auto_config train brain_landmarks --fold all
        auto_config train brain_landmarks --resume
        auto_config train brain_landmarks --batch_size 1 --amp false
    """
    from auto_config.commands.train import train as run

    return run(
        bundle,
        fold=fold,
        max_epochs=max_epochs,
        time_budget=time_budget,
        resume=resume,
        gpus=gpus,
        calibrate=calibrate,
        overwrite=overwrite,
        debug=debug,
        **overrides,
    )


def calibrate(
    bundle: str,
    *,
    data: str | None = None,
    pooled: bool = False,
    cost: float | None = None,
    device: str | None = None,
    format: str | None = None,
    split: str | None = None,
    cases: Names | None = None,
    missing: Missing = "unknown",
    outside: Outside = "error",
    coordinates: Coordinates | None = None,
    missing_value: str | None = None,
    workers: int | None = None,
) -> int | None:
    """Learn from unseen cases how sure predictions are: presence of each landmark, and the region that holds it.

    `train` does it at its end. Each fold's network predicts its validation cases; predictions then carry a probability
    of presence and a radius that holds the landmark with 90 % probability. With --data, the whole bundle predicts other
    labelled cases that it never saw, such as those of your own hospital.

    Args:
        bundle: the folder of a trained bundle; without --data, where its training images can be read
        data: calibrate on the cases of this data set, as for `inspect`, none of which the bundle was trained on
        pooled: one region for all landmarks, for few cases
        cost: cost of calling an absent landmark present, if calling a present one absent costs 1; not given: best F1
        device: cpu, cuda:0, ...; the GPU if there is one
        format: read DATA as this format instead of detecting it
        split: training or test: only the cases that DATA puts there
        cases: only these cases of DATA: anna,ben
        missing: what a name that a case of DATA lacks means, as for `create`
        outside: what a point of DATA outside its image is, as for `create`
        coordinates: what the numbers of a table are, as for `create`
        missing_value: coordinates that mark a missing point, as for `create`
        workers: processes to read DATA with, one on each core if not given

    Examples:
        auto_config calibrate brain_landmarks
        auto_config calibrate brain_landmarks --cost 5
        auto_config calibrate brain_landmarks --data our_scans
    """
    from auto_config.commands.calibrate import calibrate as run

    return run(
        bundle,
        data=data,
        pooled=pooled,
        cost=cost,
        device=device,
        format=format,
        split=split,
        cases=cases,
        missing=missing,
        outside=outside,
        coordinates=coordinates,
        missing_value=missing_value,
        workers=workers,
    )


def predict(
    bundle: str,
    input: str,
    output: str,
    *,
    device: str | None = None,
    fcsv: bool = False,
    json: bool = False,
    labelmap: bool = False,
    regions: bool = False,
    plausibility: bool | None = None,
    shape_prior: bool = False,
    all_present: bool = False,
    level: float = 0.9,
    overwrite: bool = False,
    debug: bool = False,
) -> int | None:
    """Predict landmarks: CASE.mrk.json for Slicer, and predictions.csv.

    Points are in world millimetres. A file that cannot be read is reported, and the others are predicted.

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
        all_present: call every landmark present, whatever the calibration says
        level: probability with which the regions hold their landmarks: 0.5, 0.8, 0.9 or 0.95
        overwrite: replace an earlier prediction in OUTPUT
        debug: show the traceback of the first image that fails

    Returns:
        The exit status: 0, 1 if some images could not be predicted, 2 if none could.

    Examples:
        auto_config predict brain_landmarks scan.nii.gz results
        auto_config predict brain_landmarks new_scans results --labelmap
    """
    from auto_config.commands.predict import predict as run

    return run(
        bundle,
        input,
        output,
        device=device,
        fcsv=fcsv,
        json=json,
        labelmap=labelmap,
        regions=regions,
        plausibility=plausibility,
        shape_prior=shape_prior,
        all_present=all_present,
        level=level,
        overwrite=overwrite,
        debug=debug,
    )


def evaluate(
    predictions: str,
    source: str,
    *,
    output: str | None = None,
    report: str | None = None,
    thresholds: Numbers | None = None,
    format: str | None = None,
    split: str | None = None,
    cases: Names | None = None,
    missing: Missing = "unknown",
    outside: Outside = "error",
    coordinates: Coordinates | None = None,
    missing_value: str | None = None,
    names: NameField | None = None,
    pixel_spacing: Numbers | None = None,
    compare_with: str | None = None,
) -> int | None:
    """Compare predicted landmarks with true ones: errors in mm or pixels, tables, a report with pictures.

    The error of predicting the mean shape of the training cases stands beside that of the predictions.

    Args:
        predictions: the folder that `predict` wrote
        source: the data set with the true landmarks, as for `inspect`
        output: folder for the results, PREDICTIONS if not given
        report: write the HTML page to this file instead of OUTPUT/report.html
        thresholds: distances for the share of landmarks that are found; 2,2.5,3,4 mm if not given, or 2,5,10,20 pixels
            where their size is not known
        format: read SOURCE as this format instead of detecting it
        split: training or test: only the cases that SOURCE puts there
        cases: only these cases: anna,ben
        missing: what a name that one case's file lacks means, as for `create`
        outside: what a point outside its image is, as for `create`
        coordinates: what the numbers of a table are, as for `create`
        missing_value: coordinates that mark a missing point, as for `create`
        names: name of a point in Slicer's files: labels, descriptions or order (1, 2, ...); else chosen for all files
        pixel_spacing: mm of a pixel of pictures, as for `create`; errors are in pixels where it is not known
        compare_with: predictions of the same cases by another model, whose errors are compared case by case

    Returns:
        The exit status: 0 once predictions and truth could be compared.

    Examples:
        auto_config evaluate results scans
        auto_config evaluate results scans --thresholds 0.5,1,2 --output report
        auto_config evaluate results scans --compare_with results_of_another_model
    """
    from auto_config.commands.evaluate import evaluate as run

    return run(
        predictions,
        source,
        output=output,
        report=report,
        thresholds=thresholds,
        format=format,
        split=split,
        cases=cases,
        missing=missing,
        outside=outside,
        coordinates=coordinates,
        missing_value=missing_value,
        names=names,
        pixel_spacing=pixel_spacing,
        compare_with=compare_with,
    )


def serve(
    studies: str,
    *,
    bundles: str,
    host: str = "127.0.0.1",
    port: int = 8000,
    device: str | None = None,
    points_format: PointsFormat = "roi",
    models: Names | None = None,
    tokens: str | None = None,
    insecure: bool = False,
    cors_origins: Names | None = None,
    admin_endpoints: Names | None = None,
    max_upload_mb: int | None = None,
    inference_workers: int | None = None,
    follow_links: bool = False,
    max_sessions_mb: int | None = None,
) -> int | None:
    """Serve bundles to 3D Slicer and OHIF, take corrections back and train on them.

    Starts MONAI Label with the landmark app, for this machine alone. Needs the extra `label`, which lives in an
    environment of its own with Python 3.10 to 3.12.

    Args:
        studies: folder with images (.nii.gz, .nii, .nrrd, .mha), or http(s) address of a DICOMweb server
        bundles: folder that holds the bundles
        host: address to listen on; other machines are answered only with --tokens or --insecure
        port: to listen on
        device: cpu, cuda or cuda:1; a GPU if there is one
        points_format: what NAME_points gives to Slicer: roi boxes, which its plugin submits again, or fiducial points
        models: names of the bundles to serve, all of them if not given
        tokens: file with the tokens of those who may use the server, and their roles
        insecure: answer other machines without tokens too
        cors_origins: web pages of other origins that may read answers: https://viewer.example.org
        admin_endpoints: switch on any of model, reload, logs: replace weights, load the app anew, read the log
        max_upload_mb: largest request in MB
        inference_workers: inferences at the same time
        follow_links: serve symbolic links to images outside of the folder too
        max_sessions_mb: what the images of all sessions together may take on disk, in MB

    Examples:
        auto_config serve scans --bundles my_bundles
        auto_config serve http://127.0.0.1:8042/dicom-web --bundles my_bundles --port 8001
    """
    from auto_config.commands.serve import serve as run

    return run(
        studies,
        bundles=bundles,
        host=host,
        port=port,
        device=device,
        points_format=points_format,
        models=models,
        tokens=tokens,
        insecure=insecure,
        cors_origins=cors_origins,
        admin_endpoints=admin_endpoints,
        max_upload_mb=max_upload_mb,
        inference_workers=inference_workers,
        follow_links=follow_links,
        max_sessions_mb=max_sessions_mb,
    )


def convert(
    source: str,
    target: str,
    *,
    to: str = "datalist",
    from_: str | None = None,
    images: Images | None = None,
    missing: Missing = "unknown",
    landmarks: Names | None = None,
    coordinates: Coordinates | None = None,
    missing_value: str | None = None,
    names: NameField | None = None,
    pixel_spacing: Numbers | None = None,
    complete: bool = False,
    allow_missing: bool = False,
    overwrite: bool = False,
    workers: int | None = None,
) -> int | None:
    """Convert a data set to another format, or a public benchmark to a data set.

    Points keep their place in the image to the last digit (in label maps to half a voxel). What the new format cannot
    hold is said. TARGET is written whole or not at all; SOURCE is never changed.

    Args:
        source: the data set, as for `inspect`, or the folder of a benchmark as it was downloaded
        target: folder to write
        to: markups, fcsv, json, csv, csv_wide, datalist, nnlandmark, labelmap, labelme or coco
        from_: format of SOURCE, if it is not detected; or a benchmark, with its published split: afids, mml, pddca,
            feta, lfc, fetal_pose, isbi2015 or hand_xray
        images: refer (by their paths), link or copy; tables and lists refer if not given, folders are given links
        missing: what a name that one case's file lacks means: unknown or absent
        landmarks: names to keep, in this order: AC,PC
        coordinates: what the numbers of a table or old .fcsv are, if it does not say it: ras, lps, voxel, pixel, mm
        missing_value: coordinates that mark a missing point, taken as MISSING says: 0 or -1,-1; none: all are real
        names: name of a point in Slicer's files: labels, descriptions or order (1, 2, ...); else chosen for all files
        pixel_spacing: mm of a pixel of pictures, one number or x,y, if the files do not say it
        complete: of the benchmark mml, only the cases with all landmarks
        allow_missing: convert a benchmark also where files of some cases are not there
        overwrite: replace TARGET if it is there
        workers: processes for the images of a benchmark, one on each core if not given

    Returns:
        The exit status: 0, or 1 if cases were left out because of errors.

    Examples:
        auto_config convert scans raw/Dataset700_Skull --to nnlandmark
        auto_config convert points.csv as_markups --to markups --coordinates lps
        auto_config convert afids_download afids --from afids
    """
    from auto_config.commands.convert import convert as run

    return run(
        source,
        target,
        to=to,
        from_=from_,
        images=images,
        missing=missing,
        landmarks=landmarks,
        coordinates=coordinates,
        missing_value=missing_value,
        names=names,
        pixel_spacing=pixel_spacing,
        complete=complete,
        allow_missing=allow_missing,
        overwrite=overwrite,
        workers=workers,
    )


def demo(directory: str | None = None, *, minutes: float = 5.0, cases: int = 30, seed: int = 0) -> int | None:
    """Run the whole way on built-in data: synthetic brains with 32 landmarks.

    Makes the data, creates a bundle, trains it, predicts, evaluates and draws a picture, in less than ten minutes on
    two cores. Needs the extra `demo`.

    Args:
        directory: new or empty folder for everything, demo_run if not given
        minutes: of training
        cases: number of brains to make, a fifth of them for the test
        seed: of the random brains

    Examples:
        auto_config demo
        auto_config demo my_demo --minutes 30
    """
    from auto_config.demo import demo as run

    return run(directory, minutes=minutes, cases=cases, seed=seed)


COMMANDS: dict[str, Command] = {
    command.__name__: command
    for command in (inspect, convert, create, train, calibrate, predict, evaluate, serve, demo)
}


def main(words: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        words: What stands after the program's name, `sys.argv` if not given.

    Returns:
        The exit status: what the command returns, 0 if that is None; 2 for wrong input, 130 for Ctrl+C.
    """
    words = list(sys.argv[1:] if words is None else words)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        return _run(words, debug=debug)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away, as in `auto_config inspect scans | head`; nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    except (UserError, ValueError, OSError) as error:
        if debug:
            raise
        print("error:", " ".join(_said(error).split()), file=sys.stderr)
        return WRONG_INPUT
    except Exception as error:
        if debug:
            raise
        # Not foreseen, so it may be a fault of ours: its kind is said, and how to see where it comes from.
        message = " ".join(str(error.__cause__ or error).split())
        print(f"error: {type(error).__name__}: {message} (--debug shows the traceback)", file=sys.stderr)
        return WRONG_INPUT


def _said(error: Exception) -> str:
    """The message of an error; of one of the operating system, the path first and what to do."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return (
            f"{error.filename}: {error.strerror}; check the path, and whether its folder is there and may be written to"
        )
    return str(error)


def _run(words: list[str], *, debug: bool) -> int:
    if not words or words in (["--help"], ["-h"], ["help"]):
        print(overview(COMMANDS))
        return 0
    if words == ["--version"]:
        print(__version__)
        return 0
    if words[0] == "help":
        words = [*words[1:], "--help"]
    command = choose(words[0], COMMANDS)
    if "--help" in words or "-h" in words:
        print(help_text(command, tables()))
        return 0
    passed_on = ["--debug"] if debug and "debug" in signature(command).parameters else []
    return call(command, [*words[1:], *passed_on]) or 0
