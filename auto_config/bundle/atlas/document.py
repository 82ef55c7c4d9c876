"""``atlas/atlas.json``: the definition of each landmark, its place in the mean shape, and its pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from auto_config.bundle.atlas.pictures import case_picture, shape_picture
from auto_config.bundle_scripts.inference.verdict.shape import TrainingShape
from auto_config.bundle_scripts.points.landmarks import unique_slugs
from auto_config.datasets.images import read_image
from auto_config.datasets.model.dataset import Case, present_points
from auto_config.errors import UserError

FOLDER = "atlas"
DOCUMENT = f"{FOLDER}/atlas.json"
NEAREST = "nearest"
"""Stands for the training case that lies nearest to the mean shape."""
_MOST = 0.5
"""The case that pictures are taken from has more than this share of the landmarks."""


def positions(landmarks: Mapping[str, Any], verdict: Mapping[str, Any] | None) -> np.ndarray:
    """Where the landmarks lie in the mean shape.

    Args:
        landmarks: content of ``configs/landmarks.json``.
        verdict: content of ``configs/verdict.json``; None where a bundle has none.

    Returns:
        (L, D) mm (pixels, where their size is not known) from the middle of an image, in the mean pose of the training
        cases; NaN for landmarks without a fixed place.
    """
    nothing = [np.nan] * int(landmarks["spatial_dims"])
    places = np.array([row["mean_offset_mm"] or nothing for row in landmarks["landmarks"]], dtype=np.float64)
    if verdict is None or verdict["shape"] is None:
        return places
    shape = TrainingShape.read(verdict["shape"], verdict["shape"])
    turned = shape.mean @ shape.rotation.T + (0.0 if shape.offset is None else shape.offset)
    return np.where(shape.known[:, None], turned, places)


def atlas_files(
    landmarks: Mapping[str, Any],
    verdict: Mapping[str, Any] | None,
    definitions: Mapping[str, str],
    *,
    upright: bool = True,
    case: Case | None = None,
) -> dict[str, bytes]:
    """The files of the atlas, by their path in the bundle.

    ``SLUG.png`` of each landmark is drawn from the mean shape alone, which is nobody's image. Where a case is given,
    slices of its image are added as ``SLUG_slices.jpg``.

    Args:
        landmarks: content of ``configs/landmarks.json``.
        verdict: content of ``configs/verdict.json``; None where a bundle has none.
        definitions: what each landmark is, by its name; those that nobody defined may lack.
        upright: whether the axes of the mean pose are those of the body.
        case: the case to take slices from.

    Raises:
        UserError: The image of the case cannot be read.
    """
    names = [row["name"] for row in landmarks["landmarks"]]
    places = positions(landmarks, verdict)
    slices = {} if case is None else _slices(case, names, int(landmarks["spatial_dims"]))
    files: dict[str, bytes] = {}
    rows = []
    for index, (row, place) in enumerate(zip(landmarks["landmarks"], places, strict=True)):
        name, slug = row["name"], row["slug"]
        pictures = {f"{slug}.png": shape_picture(places, index, upright=upright)} if np.isfinite(place).all() else {}
        if name in slices:
            pictures[f"{slug}_slices.jpg"] = slices[name]
        files |= {f"{FOLDER}/{file}": content for file, content in pictures.items()}
        rows.append(
            {
                "name": name,
                "definition": definitions.get(name, ""),
                "position_mm": [round(float(x), 2) for x in place] if np.isfinite(place).all() else None,
                "pictures": list(pictures),
            }
        )
    return {DOCUMENT: _text({"frame": _frame(landmarks, upright=upright), "landmarks": rows}), **files}


def without_case_pictures(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Files of a bundle whose atlas shows nobody's image: of its pictures those that `create` drew from the mean shape.

    Args:
        files: By their path in the bundle; those of an atlas need not be among them.
    """
    others = {name: data for name, data in files.items() if not name.startswith(f"{FOLDER}/")}
    if DOCUMENT not in files:
        return others
    document = _read(files[DOCUMENT])
    drawn = _drawn(document)
    rows = [{**row, "pictures": [one for one in row["pictures"] if one in drawn]} for row in document["landmarks"]]
    kept = {f"{FOLDER}/{one}" for row in rows for one in row["pictures"]}
    pictures = {name: data for name, data in files.items() if name in kept}
    return {**others, **pictures, DOCUMENT: _text({**document, "landmarks": rows})}


def with_case_pictures(files: Mapping[str, bytes], pictures: Mapping[str, Sequence[str]]) -> dict[str, bytes]:
    """An atlas that was drawn anew, which again names the pictures of a case that it named before.

    Args:
        files: Of the new atlas, by their path in the bundle.
        pictures: By the name of a landmark, those of the atlas before; the drawings among them do not count.
    """
    document = _read(files[DOCUMENT])
    drawn = _drawn(document)
    for row in document["landmarks"]:
        row["pictures"] = [*row["pictures"], *(one for one in pictures.get(row["name"], ()) if one not in drawn)]
    return {**files, DOCUMENT: _text(document)}


def case_pictures(files: Mapping[str, bytes]) -> list[str]:
    """Files of an atlas that may show a case: all but those that `create` drew from the mean shape."""
    if DOCUMENT not in files:
        return []
    drawn = {DOCUMENT, *(f"{FOLDER}/{one}" for one in _drawn(_read(files[DOCUMENT])))}
    return [name for name in files if name.startswith(f"{FOLDER}/") and name not in drawn]


def _read(content: bytes) -> dict[str, Any]:
    """The document, which people may have edited; a landmark may lack pictures.

    Raises:
        UserError: It is no JSON, or its landmarks have no names.
    """
    try:
        document: dict[str, Any] = json.loads(content)
        rows = [
            {**row, "name": str(row["name"]), "pictures": list(row.get("pictures", []))}
            for row in document["landmarks"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{DOCUMENT}: is not what `create` writes ({type(error).__name__}: {error}); it needs "
            '{"landmarks": [{"name": ..., "definition": ..., "pictures": [...]}]}'
        ) from error
    return {**document, "landmarks": rows}


def _drawn(document: Mapping[str, Any]) -> set[str]:
    return {f"{slug}.png" for slug in unique_slugs([row["name"] for row in document["landmarks"]])}


def _text(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def atlas_case(wanted: str, cases: Sequence[Case], names: Sequence[str], verdict: Mapping[str, Any]) -> Case:
    """The training case that the slices of the atlas are taken from.

    Args:
        wanted: its name, or ``"nearest"``.
        cases: the training cases.
        names: of the landmarks.
        verdict: content of ``configs/verdict.json``.

    Raises:
        UserError: There is no such case, or no case has enough landmarks to be compared with the mean shape.
    """
    if wanted != NEAREST:
        if found := next((case for case in cases if case.name == wanted), None):
            return found
        raise UserError(f"--atlas is {wanted!r}; give the name of a training case, or {NEAREST}")
    shape = None if verdict["shape"] is None else TrainingShape.read(verdict["shape"], verdict["shape"])
    distances = {}
    for index, case in enumerate(cases if shape is not None else []):
        assert shape is not None
        points = present_points(case, names, shape.mean.shape[1])
        both = np.isfinite(points).all(axis=1) & shape.known
        fit = shape.fit(np.where(both[:, None], points, np.nan), 0.0)
        if fit is not None and both.sum() > _MOST * shape.known.sum():
            distances[index] = (-int(both.sum()), float(np.sqrt(np.nanmean(fit.distance**2))))
    if not distances:
        raise UserError(f"--atlas {NEAREST}: no training case has enough landmarks; give the name of one")
    # Of those with the most landmarks, so that as many as can be are shown.
    return cases[min(distances, key=lambda index: distances[index])]


def _slices(case: Case, names: Sequence[str], spatial_dims: int) -> dict[str, bytes]:
    image = read_image(list(case.image), case.pixel_spacing)
    points = present_points(case, names, spatial_dims)
    return {
        name: case_picture(image, point) for name, point in zip(names, points, strict=True) if np.isfinite(point).all()
    }


def _frame(landmarks: Mapping[str, Any], *, upright: bool) -> str:
    if int(landmarks["spatial_dims"]) == 2:
        return f"{landmarks.get('unit', 'mm')} from the middle of the picture; x right, y down"
    axes = "axes right, anterior, superior" if upright else "axes of no meaning, since cases lie in any pose"
    return f"mm from the middle of the image, in the mean pose of the training cases; {axes}"
