"""Problems of one case, found from its header, its voxels and its points. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from auto_config.bundle_scripts.grid.background import background_box
from auto_config.bundle_scripts.grid.grids import world_to_voxel
from auto_config.bundle_scripts.images.header import PIXELS, several_volumes
from auto_config.bundle_scripts.images.numpy_files import NUMPY_SUFFIXES
from auto_config.bundle_scripts.images.reading import no_place
from auto_config.bundle_scripts.images.volumes import METAIMAGE_SUFFIXES, NRRD_SUFFIXES
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, LandmarkSet
from auto_config.choices import Outside
from auto_config.datasets.images import Header, Image
from auto_config.datasets.model.dataset import Case, Problem, Severity

# A point may lie on the outer border of the outermost voxel; the slack takes up rounding in files.
_BORDER_SLACK_VOXELS = 0.01
_LARGEST_LIKELY_SPACING_MM = 20.0
_SHEAR_COSINE = 1e-3
_SAME_POINT_MM = 1e-6


def check_case(case: Case, image: Image | Header, names: Sequence[str], outside: Outside = "error") -> list[Problem]:
    """Find everything wrong with one case.

    Args:
        case: The case.
        image: Its image, or only its header; without the voxels nothing is said about them.
        names: Landmark names of the data set. A landmark of the case that is not among them is not judged.
        outside: What to do with a point outside the image: ``"error"``, or ``"absent"`` (a warning; `outside_absent`
            makes the change).

    Returns:
        Problems in order of image, grid, points; errors would train wrongly.
    """
    header = image.header if isinstance(image, Image) else image
    problems = check_header(case.name, header)
    if isinstance(image, Image):
        problems += check_voxels(case.name, image)
    grid_is_usable = not any(problem.severity == "error" for problem in problems)
    if case.landmarks is not None:
        landmarks = case.landmarks.ordered([name for name in names if name in case.landmarks.names])
        if grid_is_usable and landmarks.spatial_dims != len(header.shape):
            problems.append(_other_axes(case.name, landmarks, header))
        problems += _check_points(case.name, landmarks, header, outside, grid_is_usable)
        if isinstance(image, Image) and grid_is_usable and landmarks.spatial_dims == len(header.shape):
            problems += _check_cropped(case.name, landmarks, image)
    return problems


def _other_axes(case: str, landmarks: LandmarkSet, header: Header) -> Problem:
    what = "is a picture or a single slice" if len(header.shape) == 2 else "is a volume"
    wanted = "the whole volume" if len(header.shape) == 2 else "a picture or a single slice"
    message = (
        f"{header.path}: image {what} (shape {header.shape}), but its landmarks have {landmarks.spatial_dims} "
        f"coordinates; give {wanted}, or leave the case out"
    )
    return Problem("error", message, case)


def check_header(case: str, header: Header) -> list[Problem]:
    """Find what is wrong with size, axes, units and affine of an image."""
    file, shape = header.path, header.shape
    found: list[tuple[Severity, str]] = []
    if header.volumes > 1:
        found.append(("error", several_volumes(header)))
    if len(shape) not in (2, 3):
        found.append(("error", f"{file}: image has {len(shape)} axes; give a picture or a volume"))
    elif 0 in shape:
        found.append(("error", f"{file}: image is empty (shape {shape}); replace the file or leave the case out"))
    elif 1 in shape:
        found.append(
            ("error", f"{file}: image has a single slice (shape {shape}); give the whole volume or leave the case out")
        )
    affine_problem = _affine_problem(header)
    if affine_problem is not None:
        found.append(affine_problem)
    elif max(header.spacing) > _LARGEST_LIKELY_SPACING_MM and header.unit in ("mm", "unknown"):
        found.append(
            (
                "warning",
                f"{file}: voxels are {max(header.spacing):g} mm wide; if these are micrometres, save image and points "
                "in mm",
            )
        )
    if header.unit not in ("mm", "unknown", PIXELS):
        found.append(
            (
                "warning",
                f"{file}: header says lengths are in {header.unit}, but they are read as mm as by MONAI; save the "
                "image with its spacing in mm, and its points too",
            )
        )
    if not header.oriented:
        found.append(
            (
                "warning",
                f"{file}: header has {_missing_place(file)}, programs place it differently; check the report's "
                "pictures and save the image again with an orientation",
            )
        )
    found += [("warning", f"{file}: {note}") for note in header.notes]
    shift = form_distance(header)
    if shift > 0.5 * min(header.spacing):
        found.append(
            (
                "warning",
                f"{file}: sform and qform differ by up to {shift:.3g} mm; the sform is used, Slicer may show the "
                "qform; make both equal and check the points",
            )
        )
    return [Problem(severity, message, case) for severity, message in found]


def _missing_place(file: Path) -> str:
    """What a header without a place lacks, in the words of its format."""
    if file.name.lower().endswith(NRRD_SUFFIXES):
        return "neither space directions nor space origin"
    if file.name.lower().endswith(METAIMAGE_SUFFIXES):
        return "neither TransformMatrix nor Offset"
    if file.name.lower().endswith(NUMPY_SUFFIXES):
        return "a spacing and no affine, so that its axes are taken as right, front, up from (0, 0, 0)"
    return "neither sform nor qform"


def _affine_problem(header: Header) -> tuple[Severity, str] | None:
    file, matrix = header.path, header.affine[:-1, :-1]
    if reason := no_place(header.affine):
        return "error", f"{file}: {reason}; repair the header"
    lengths = np.linalg.norm(matrix, axis=0)
    cosines = (matrix / lengths).T @ (matrix / lengths) - np.eye(len(lengths))
    if np.abs(cosines).max() > _SHEAR_COSINE:
        degrees = np.degrees(np.arcsin(min(1.0, np.abs(cosines).max())))
        return "warning", (
            f"{file}: affine is sheared by {degrees:.2g} degrees (gantry tilt); the image is resampled to a right "
            "angle, check the result"
        )
    return None


def form_distance(header: Header) -> float:
    """Largest distance in mm, over the corners of the image, between the places that sform and qform give them."""
    if header.second_affine is None or len(header.shape) != 3:
        return 0.0
    corners = np.array(np.meshgrid(*[(0, size - 1) for size in header.shape])).reshape(3, -1)
    difference = (header.affine - header.second_affine) @ np.vstack([corners, np.ones(corners.shape[1])])
    distance = np.linalg.norm(difference[:3], axis=0).max()
    return float(distance) if np.isfinite(distance) else 0.0


def check_voxels(case: str, image: Image) -> list[Problem]:
    """Find voxels that are not finite and images without contrast."""
    array, file = image.array, image.path
    if array.size == 0:
        return []
    finite = np.isfinite(array)
    if not finite.all():
        count = int(array.size - np.count_nonzero(finite))
        message = f"{file}: image has {count} voxels that are NaN or infinite; set them to the value of air"
        return [Problem("error", message, case)]
    flat = [index for index, channel in enumerate(array) if channel.min() == channel.max()]
    if flat:
        which = "image is empty" if len(array) == 1 else f"channel {flat[0]} is empty"
        message = f"{file}: {which}, every voxel is {array[flat[0]].flat[0]:g}; replace the file or leave the case out"
        return [Problem("error", message, case)]
    return []


def outside_mask(landmarks: LandmarkSet, header: Header) -> np.ndarray:
    """(L,) bool: which present landmarks lie outside the image, the outer border of its voxels counted as inside."""
    mask = np.zeros(len(landmarks), dtype=bool)
    mask[landmarks.present] = ~_inside(landmarks.points[landmarks.present], header)
    for index, name in enumerate(landmarks.names):
        if name in landmarks.instances:
            mask[index] = not _inside(landmarks.instances[name], header).all()
    return mask


def outside_absent(case: Case, header: Header) -> Case:
    """The case with the landmarks outside its image turned absent, instances left out (``--outside absent``)."""
    if case.landmarks is None:
        return case
    before = case.landmarks
    mask = outside_mask(before, header)
    if not mask.any():
        return case
    points, status = before.points.copy(), np.where(mask, ABSENT, before.status)
    instances = {name: found[_inside(found, header)] for name, found in before.instances.items()}
    for index, name in enumerate(before.names):
        if len(instances.get(name, ())):
            points[index], status[index] = instances[name][0], PRESENT
    return replace(case, landmarks=LandmarkSet(before.names, points, status, instances))


def _inside(points: np.ndarray, header: Header) -> np.ndarray:
    """(N,) bool for (N, 3) RAS mm."""
    voxels = world_to_voxel(header.affine, points)
    border = 0.5 + _BORDER_SLACK_VOXELS
    return np.all((voxels >= -border) & (voxels <= np.array(header.shape) - 1 + border), axis=1)


def _check_points(
    case: str, landmarks: LandmarkSet, header: Header, outside: Outside, grid_is_usable: bool
) -> list[Problem]:
    problems: list[Problem] = []
    if len(landmarks) and (landmarks.status == ABSENT).all():
        return []  # an image that holds nothing is an example too; `inspect` counts it
    if not landmarks.present.any():
        message = f"{header.path}: no landmark of this case is present; annotate it or leave it out"
        return [Problem("warning", message, case)]
    if grid_is_usable and landmarks.spatial_dims == len(header.shape):
        problems += _check_outside(case, landmarks, header, outside)
    points = landmarks.points[landmarks.present]
    names = [name for name, status in zip(landmarks.names, landmarks.status, strict=True) if status == PRESENT]
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    for first, second in np.argwhere(np.triu(distances <= _SAME_POINT_MM, k=1)):
        message = (
            f"{header.path}: landmarks {names[first]!r} and {names[second]!r} lie at one point; check which is right"
        )
        problems.append(Problem("warning", message, case, names[first]))
    return problems


def _check_outside(case: str, landmarks: LandmarkSet, header: Header, outside: Outside) -> list[Problem]:
    what, name = outside_text(landmarks, header)
    if not what:
        return []
    if outside == "absent":
        return [Problem("warning", f"{header.path}: {what}; taken as absent", case, name, "outside")]
    remedy = "correct the point, or use --outside absent if the field of view is cut"
    return [Problem("error", f"{header.path}: {what}; {remedy}", case, name, "outside")]


def outside_text(landmarks: LandmarkSet, header: Header) -> tuple[str, str | None]:
    """Say which landmark lies outside the image, where, and how many more do.

    Returns:
        The text and the name of the landmark; an empty text and None where all lie inside.
    """
    mask = outside_mask(landmarks, header)
    if not mask.any():
        return "", None
    first = int(np.flatnonzero(mask)[0])
    name = landmarks.names[first]
    point = landmarks.points[first]
    if name in landmarks.instances:
        point = landmarks.instances[name][~_inside(landmarks.instances[name], header)][0]
    voxel = world_to_voxel(header.affine, point)
    where = ", ".join(f"{value:.1f}" for value in point)
    frame, element = ("mm RAS", "voxel") if len(header.shape) == 3 else (header.unit, "pixel")
    subject = f"landmark {name!r} at ({where}) {frame}, {element} {np.round(voxel, 1).tolist()} of {list(header.shape)}"
    what = f"{subject}, lies outside the image"
    if mask.sum() > 1:
        what += f", as do {int(mask.sum()) - 1} more of the {int(landmarks.present.sum())} present"
    return what, name


def _check_cropped(case: str, landmarks: LandmarkSet, image: Image) -> list[Problem]:
    """No present landmark inside the image may lie in the constant background that is cropped away."""
    judged = landmarks.present & ~outside_mask(landmarks, image.header)
    if not judged.any():
        return []
    box = background_box(image.array)
    voxels = world_to_voxel(image.affine, landmarks.points)
    border = 0.5 + _BORDER_SLACK_VOXELS
    low = np.array([part.start for part in box]) - border
    high = np.array([part.stop for part in box]) - 1 + border
    lost = judged & ((voxels < low) | (voxels > high)).any(axis=1)
    size = image.array.shape[1:]
    return [
        Problem(
            "error",
            f"{image.path}: landmark {landmarks.names[index]!r} lies in constant background that is cropped away (box "
            f"{[[part.start, part.stop] for part in box]} of {list(size)} voxels); correct the point or mark it absent",
            case,
            landmarks.names[index],
            "cropped",
        )
        for index in map(int, np.flatnonzero(lost))
    ]
