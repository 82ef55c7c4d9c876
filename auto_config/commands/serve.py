"""`serve`: starts MONAI Label with the landmark app."""

from pathlib import Path

from auto_config.arguments import Names, Place
from auto_config.choices import PointsFormat
from auto_config.errors import UserError


def serve(
    studies: str,
    *,
    bundles: Place,
    host: str = "127.0.0.1",
    port: int = 8000,
    device: str | None = None,
    points_format: PointsFormat = "roi",
    models: Names | None = None,
    tokens: Place | None = None,
    insecure: bool = False,
    cors_origins: Names | None = None,
    admin_endpoints: Names | None = None,
    max_upload_mb: int | None = None,
    inference_workers: int | None = None,
    follow_links: bool = False,
    max_sessions_mb: int | None = None,
    max_voxels: int | None = None,
) -> int:
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
        max_voxels: largest image or label that clients may send, in voxels

    Raises:
        UserError: wrong arguments, other machines could reach the server without signing in, or MONAI Label is not
            installed.

    Examples:
        auto_config serve scans --bundles my_bundles
        auto_config serve http://127.0.0.1:8042/dicom-web --bundles my_bundles --port 8001
    """
    from auto_config.running.exposure import exposure_problem
    from auto_config.running.server import check_start, run_server

    if problem := exposure_problem(host, None if tokens is None else Path(tokens), insecure):
        raise UserError(problem)
    check_start(studies, Path(bundles), host, port)
    choices = {
        "bundles": Path(bundles).resolve(),
        "device": device,
        "points_format": points_format,
        "models": models,
        "tokens": None if tokens is None else Path(tokens).expanduser().resolve(),
        "insecure": insecure,
        "cors_origins": cors_origins,
        "admin_endpoints": admin_endpoints,
        "max_upload_mb": max_upload_mb,
        "inference_workers": inference_workers,
        "follow_links": follow_links,
        "max_sessions_mb": max_sessions_mb,
        "max_voxels": max_voxels,
    }
    return run_server(studies, host, port, choices)
