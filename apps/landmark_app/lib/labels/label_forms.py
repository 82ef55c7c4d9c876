"""Whatever a client sends as the label of an image, as landmarks.

What is not in a label means:

* Balls and boxes show what is present, and nothing else. A landmark that was served with them and is not among them was
  removed by the annotator: absent. One that was served as absent and not added: absent. One that was never served:
  unknown. Only that answer of the server counts which the label goes back to: the newest ones that together have all
  names of the label.
* Point lists, tables and inline points say ``missing`` themselves. A landmark that is not in them is unknown.

Of a landmark of which an image may have any number, each piece of its value, each of its boxes and each of its points
is an instance. One that is not among them is gone.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from auto_config.bundle_scripts.points.landmark_files import read_landmark_file
from auto_config.bundle_scripts.points.landmark_text import read_text
from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, UNKNOWN, LandmarkFileError, LandmarkSet
from auto_config.bundle_scripts.points.matching import match

from ..core.errors import ClientError
from ..core.names import NONE_MANY, KnownNames, Many, listed
from ..core.served import Served
from ..geometry.balls import Grid, LabelledVoxels, covered, served_balls
from .label_map_form import LABEL_MAP_ENDINGS, landmarks_of, read_label_map, shown_point
from .roi_form import holds_boxes, read_boxes

POINT_ENDINGS = (".mrk.json", ".fcsv", ".json")
ENDINGS = (*LABEL_MAP_ENDINGS, *POINT_ENDINGS)
"""Endings of the files that can be a label; of two that fit, the first counts."""

MOST_POINT_BYTES = 2**24
"""Bytes of a list of points, a table or boxes: parsed, they take some ten times as much."""

_SAME_MM = 1e-3


@dataclass(frozen=True, eq=False)
class ClientLabel:
    """A label that was understood.

    Args:
        landmarks: World RAS mm; the names of the bundle or bundles that it belongs to, in their order.
        form: ``"label map"``, ``"boxes"`` or ``"points"``.
        kept: Names whose point is the served one, or all of whose instances are.
        confidence: Of the served points that were kept, by name; the mean of instances.
        radius_mm: How far off the served points that were kept may be, by name, where the model said so.
        notes: One line for everything that was ignored or is odd.
        verdict: Of the model on the image (``ok``, ``check``, ``failed``), by name of the served points that were kept;
            only where the model gave one.
    """

    landmarks: LandmarkSet
    form: str
    kept: tuple[str, ...]
    confidence: Mapping[str, float]
    radius_mm: Mapping[str, float]
    notes: tuple[str, ...]
    verdict: Mapping[str, str] = field(default_factory=dict)


def label_ending(name: str) -> str:
    """The ending of a label's file name, as one of `ENDINGS`.

    Raises:
        ClientError: Another ending.
    """
    lower = name.lower()
    ending = next((ending for ending in ENDINGS if lower.endswith(ending)), None)
    if ending is None:
        raise ClientError(f"a label file ends with one of {', '.join(ENDINGS)}; got {Path(name).suffix or 'none'!r}")
    return ending


def read_client_label(
    path: Path,
    *,
    image: str,
    grid: Grid,
    bundles: Mapping[str, Sequence[str]],
    info: Mapping[str, Any],
    records: Sequence[Served],
    outside: str = "error",
    many: Many = NONE_MANY,
) -> ClientLabel:
    """Read a label of any form.

    Args:
        path: The file that the client sent; its ending says the form.
        image: Id of the image, named in errors.
        grid: Grid of the image.
        bundles: Name of each bundle of the server to its landmark names in channel order.
        info: What the client sent with the label (``label_info``, ``model``).
        records: What was served for this image, newest first.
        outside: What a point outside the image is: ``"error"``, or ``"unknown"`` with a note, for what a model gave.
        many: Landmarks of which an image may have any number, with the mm that two of them are never nearer than.

    Raises:
        ClientError: The label cannot be used, with the reason and the remedy.
    """
    where = f"label of image {image!r}"
    known = KnownNames(bundles, many)
    ending = label_ending(path.name)
    label: LabelledVoxels | None = None
    if ending in LABEL_MAP_ENDINGS:
        form = "label map"
        label, notes = read_label_map(path, where, grid=grid, known=known, info=info, records=records)
        found = landmarks_of(label, grid, records, where, many)
    else:
        form, found, notes = _read_points(path, grid, known, where)
    found, outside_notes = _judged_outside(found, grid, outside, where, many)
    related = _related(found.names, records) if form != "points" else []
    removed, removed_notes = _removed(found.names, related, label, grid)
    removed = {name: status for name, status in removed.items() if name in known.all}
    names = _order([*found.names, *removed], known, info, related)
    landmarks = _with_status(found, removed, names, many)
    kept = _as_served(landmarks, records)
    return ClientLabel(
        landmarks=landmarks,
        form=form,
        kept=tuple(kept),
        confidence={name: one.confidence[name] for name, one in kept.items() if name in one.confidence},
        radius_mm={
            name: one.calibrated_radius_mm[name] for name, one in kept.items() if name in one.calibrated_radius_mm
        },
        notes=(*notes, *outside_notes, *removed_notes, *_counts(found, related)),
        verdict={name: one.verdict for name, one in kept.items() if one.verdict},
    )


def _read_points(path: Path, grid: Grid, known: KnownNames, where: str) -> tuple[str, LandmarkSet, list[str]]:
    """Form, landmarks and notes of boxes, a point list, a table or inline points."""
    notes: list[str] = []
    if path.stat().st_size > MOST_POINT_BYTES:
        raise ClientError(f"{where}: has more than {MOST_POINT_BYTES // 2**20} MB; send points alone", 413)
    try:
        document = _json(path, where) if path.name.lower().endswith(".json") else {}
        if holds_boxes(document):
            return ("boxes", *read_boxes(document, known, where))
        texts = _Repeatable(known)
        read = read_landmark_file(
            path, spatial_dims=len(grid.shape), image_affine=grid.affine, many=texts, names=_Known(known)
        )
    except LandmarkFileError as error:
        # The file is a temporary one of the server, whose path says nothing to a client.
        raise ClientError(str(error).replace(str(path), where)) from error
    found = {name: known.find(name) for name in read.names}
    if unknown := [name for name, own in found.items() if own is None]:
        raise known.refuse(unknown, where)
    if wrong := [name for name in read.instances if name not in texts]:
        raise ClientError(f"{where}: landmark {wrong[0]!r} has a list of points; give one point for each landmark")
    if not len(read):
        raise ClientError(f"{where}: holds no landmark; place the points and send it again")
    try:
        rows = read.rows()
        names = [str(found[read.names[index]]) for index, *_ in rows]
        points = np.array([point for _, point, _ in rows])
        return "points", LandmarkSet.from_rows(names, points, [status for *_, status in rows], known.many), notes
    except ValueError as error:
        raise ClientError(f"{where}: {error}") from error


class _Repeatable(Collection[str]):
    """The texts that may occur more than once in a list of points: those that name a landmark with many instances."""

    def __init__(self, known: KnownNames) -> None:
        self._known = known

    def __contains__(self, text: object) -> bool:
        return isinstance(text, str) and self._known.find(text) in self._known.many

    def __iter__(self) -> Iterator[str]:
        return iter(self._known.many)

    def __len__(self) -> int:
        return len(self._known.many)


class _Known(Collection[str]):
    """The texts that name a landmark: labels or descriptions of points are names, whichever has more of these."""

    def __init__(self, known: KnownNames) -> None:
        self._known = known

    def __contains__(self, text: object) -> bool:
        return isinstance(text, str) and self._known.find(text) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._known.all)

    def __len__(self) -> int:
        return len(self._known.all)


def _json(path: Path, where: str) -> Mapping[str, Any]:
    """A JSON object; anything else is left to the reader of landmark files, whose errors are good."""
    try:
        document = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ClientError(f"{where}: is not valid JSON; save the landmarks again") from error
    return document if isinstance(document, Mapping) else {}


def _judged_outside(
    found: LandmarkSet, grid: Grid, outside: str, where: str, many: Many
) -> tuple[LandmarkSet, list[str]]:
    """The landmarks, those outside the image refused or made unknown; of several instances only the others count."""
    rows = found.rows()
    names = [found.names[index] for index, *_ in rows]
    points = np.array([point for _, point, _ in rows])
    status = np.array([state for *_, state in rows])
    away = status == PRESENT
    away[away] = ~grid.inside(points[away])
    if not away.any():
        return found, []
    shown = [f"{names[k]!r} at {shown_point(points[k])}" for k in np.flatnonzero(away)]
    places = ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "")
    if outside == "error":
        hint = "; all of them: is it the label of another image, or are LPS and RAS swapped?" if away.all() else ""
        raise ClientError(
            f"{where}: {places} lies outside the image; move it, or mark it as missing in a point list{hint}"
        )
    judged = LandmarkSet.from_rows(names, points, np.where(away, UNKNOWN, status), many)
    return judged, [f"{places} lies outside the image: stored as unknown"]


def _related(names: Sequence[str], records: Sequence[Served]) -> list[Served]:
    """The newest records that together have all of `names`, as far as any have: what the label goes back to."""
    missing = set(names)
    related = []
    for one in records:
        if missing & set(one.landmarks.names):
            related.append(one)
            missing -= set(one.landmarks.names)
    return related


def _removed(
    names: Sequence[str], related: Sequence[Served], label: LabelledVoxels | None, grid: Grid
) -> tuple[dict[str, int], list[str]]:
    """Status of the served landmarks that are not among `names`, and notes."""
    status: dict[str, int] = {}
    notes: list[str] = []
    for one in related:
        balls = [] if label is None else served_balls(one, grid)
        for name, served_status in zip(one.landmarks.names, one.landmarks.status, strict=True):
            if name in names or name in status:
                continue
            status[name] = ABSENT
            if served_status != PRESENT or label is None:
                continue
            own = [ball.voxels for ball in balls if ball.name == name]
            if not own:
                status[name] = UNKNOWN
                notes.append(f"{name!r} was found outside the image and could not be shown: stored as unknown")
            elif any(covered(label, voxels, grid) for voxels in own):
                status[name] = UNKNOWN
                notes.append(f"another ball lies over all of {name!r}: stored as unknown")
    if gone := [name for name, state in status.items() if state == ABSENT]:
        notes.append(f"{listed(gone)} {'was' if len(gone) == 1 else 'were'} offered and not returned: stored as absent")
    return status, notes


def _order(
    names: Sequence[str], known: KnownNames, info: Mapping[str, Any], related: Sequence[Served]
) -> tuple[str, ...]:
    """All names of the canonical label: those of the bundles that it belongs to, in their order.

    These are the bundle of the client's ``model``, those of the records that it goes back to, and else the smallest
    number of bundles, in the server's order, that have all names.
    """
    missing = set(names)
    chosen: list[tuple[str, ...]] = []
    of_model = known.bundle_names(info.get("model"))
    candidates = [one.landmarks.names for one in related]
    candidates = [of_model, *candidates] if of_model and missing & set(of_model) else candidates
    whole = [bundle for bundle in known.bundles.values() if missing <= set(bundle)]
    for bundle in [*candidates, *(whole[:1] or known.bundles.values())]:
        if missing & set(bundle):
            chosen.append(bundle)
            missing -= set(bundle)
    return tuple(dict.fromkeys(name for bundle in chosen for name in bundle if name in known.all))


def _with_status(found: LandmarkSet, removed: Mapping[str, int], names: Sequence[str], many: Many) -> LandmarkSet:
    """`found` in the order of `names`, with the status of what was removed."""
    ordered = found.ordered(names)
    status = [removed.get(name, int(state)) for name, state in zip(names, ordered.status, strict=True)]
    none_left = {name: np.zeros((0, ordered.spatial_dims)) for name in removed if name in many}
    return LandmarkSet(
        tuple(names), ordered.points, np.array(status, dtype=np.int8), {**ordered.instances, **none_left}
    )


def _counts(found: LandmarkSet, related: Sequence[Served]) -> list[str]:
    """A note for each landmark of which there are more or fewer than were served."""
    notes = []
    for name, points in found.instances.items():
        offered = next((one.landmarks.instances[name] for one in related if name in one.landmarks.instances), None)
        if offered is not None and len(offered) != len(points):
            notes.append(f"{name!r} has {len(points)} instances, {len(offered)} were offered")
    return notes


def _as_served(landmarks: LandmarkSet, records: Sequence[Served]) -> dict[str, Served]:
    """For each landmark that is where it was served: the newest record that says so."""
    kept: dict[str, Served] = {}
    for one in records:
        if one.landmarks.spatial_dims != landmarks.spatial_dims:
            continue
        ordered = one.landmarks.ordered(landmarks.names)
        near = np.linalg.norm(ordered.points - landmarks.points, axis=1) <= _SAME_MM  # false for NaN
        for k, name in enumerate(landmarks.names):
            if name in landmarks.instances:
                same = _are_the_same(landmarks.instances[name], ordered.instances.get(name))
            else:
                same = bool(near[k])
            if same:
                kept.setdefault(name, one)
    return kept


def _are_the_same(points: np.ndarray, others: np.ndarray | None) -> bool:
    """Whether two sets of instances (K, D) are the same places, in whatever order; without any they are not."""
    if others is None or not len(points) or len(points) != len(others):
        return False
    return len(match(points, others, _SAME_MM)[0]) == len(points)
