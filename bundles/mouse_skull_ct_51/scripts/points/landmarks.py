"""A set of named landmarks: points in world millimetres, each present, absent or unknown."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

PRESENT = 1
"""The landmark is there and its point is known."""
ABSENT = 0
"""Somebody looked for the landmark and it is not there."""
UNKNOWN = -1
"""Nobody annotated the landmark: it may be there or not."""

STATUS_WORDS = {"absent": ABSENT, "unknown": UNKNOWN}
# MONAI evaluates strings that begin with one of these.
_CONFIG_MARKS = ("$", "@", "%")


class LandmarkFileError(ValueError):
    """A landmark file or an inline landmark mapping is wrong: one line with file, landmark and remedy."""


def name_problem(name: object) -> str | None:
    """Say what is wrong with a landmark name.

    Args:
        name: The name as it was read.

    Returns:
        One line with the remedy, or None when the name can be used.
    """
    if not isinstance(name, str) or not name.strip():
        return f"landmark name {name!r} is empty or not text; give the landmark a name"
    if name.startswith(_CONFIG_MARKS):
        return f"landmark name {name!r} begins with {name[0]!r}, which MONAI would run as code; rename the landmark"
    if name != name.strip() or not name.isprintable():
        return f"landmark name {name!r} has a blank at an end or an unprintable character; rename the landmark"
    return None


def duplicate_names(names: Iterable[str]) -> list[str]:
    """Names that occur more than once, in the order of their first repetition."""
    seen: set[str] = set()
    repeated: dict[str, None] = {}
    for name in names:
        if name in seen:
            repeated[name] = None
        seen.add(name)
    return list(repeated)


def unique_slugs(names: Sequence[str]) -> list[str]:
    """Make a unique, lower-case ASCII slug for each name.

    Names that differ only in case or in signs (``a`` and ``A``) get a number at the end, so no name has to be refused.

    Args:
        names: Landmark names in their order.

    Returns:
        As many slugs of the letters ``a-z``, digits and ``_``, in the same order. The same names give the same slugs.
    """
    slugs: list[str] = []
    taken: set[str] = set()
    for name in names:
        ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
        base = re.sub(r"[^a-z0-9]+", "_", ascii_name).strip("_") or "landmark"
        slug, number = base, 1
        while slug in taken:
            number += 1
            slug = f"{base}_{number}"
        taken.add(slug)
        slugs.append(slug)
    return slugs


@dataclass(frozen=True, eq=False)
class LandmarkSet:
    """Landmarks of one image.

    Args:
        names: Unique names, L of them.
        points: (L, D) float64, world millimetres (3D: RAS; 2D: x right, y down), NaN where not present.
        status: (L,) int8, `PRESENT`, `ABSENT` or `UNKNOWN`.
        instances: For a landmark of which an image may have any number: its name to all its points (K, D). Its row of
            `points` is the first of them; K is 0 where it is absent. A name that is unknown is left out.

    Raises:
        ValueError: Names that are not unique or cannot be used, shapes that do not fit, a status that does not exist,
            a present landmark whose point is not finite, or instances that do not fit points and status.
    """

    names: tuple[str, ...]
    points: np.ndarray
    status: np.ndarray
    instances: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = tuple(self.names)
        points = np.array(self.points, dtype=np.float64)
        status = np.array(self.status, dtype=np.int8)
        for name in names:
            problem = name_problem(name)
            if problem:
                raise ValueError(problem)
        if repeated := duplicate_names(names):
            raise ValueError(
                f"landmark name {repeated[0]!r} occurs more than once; rename one of them, or declare it in "
                'landmarks.json with "instances": "many"'
            )
        if status.shape != (len(names),) or points.ndim != 2 or points.shape[0] != len(names):
            raise ValueError(f"{len(names)} names, points of shape {points.shape} and status of shape {status.shape}")
        if not np.isin(status, (PRESENT, ABSENT, UNKNOWN)).all():
            raise ValueError(f"status must be {PRESENT}, {ABSENT} or {UNKNOWN}, got {sorted(set(status.tolist()))}")
        wrong = np.flatnonzero((status == PRESENT) & ~np.isfinite(points).all(axis=1))
        if wrong.size:
            raise ValueError(f"landmark {names[wrong[0]]!r} has coordinates that are not finite; place it again")
        points[status != PRESENT] = np.nan
        # Shared between threads and caches: nobody may change a set in place.
        points.setflags(write=False)
        status.setflags(write=False)
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "status", status)
        object.__setattr__(self, "instances", _checked_instances(names, points, status, self.instances))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LandmarkSet):
            return NotImplemented
        return (
            self.names == other.names
            and np.array_equal(self.status, other.status)
            and np.array_equal(self.points, other.points, equal_nan=True)
            and self.instances.keys() == other.instances.keys()
            and all(np.array_equal(found, other.instances[name]) for name, found in self.instances.items())
        )

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def spatial_dims(self) -> int:
        """Number D of coordinates of a point."""
        return int(self.points.shape[1])

    @property
    def present(self) -> np.ndarray:
        """(L,) bool: which landmarks are present."""
        return self.status == PRESENT

    def ordered(self, names: Sequence[str], missing: Literal["unknown", "absent"] = "unknown") -> LandmarkSet:
        """Give the landmarks in the order of `names`.

        Args:
            names: The wanted names. Landmarks of this set that are not among them are left out.
            missing: Status of a wanted landmark that this set does not have.

        Returns:
            A set with exactly `names`.
        """
        if missing not in STATUS_WORDS:
            raise ValueError(f"missing must be 'unknown' or 'absent', got {missing!r}")
        row = {name: index for index, name in enumerate(self.names)}
        points = np.full((len(names), self.spatial_dims), np.nan)
        status = np.full(len(names), STATUS_WORDS[missing], dtype=np.int8)
        for index, name in enumerate(names):
            if name in row:
                points[index] = self.points[row[name]]
                status[index] = self.status[row[name]]
        wanted = set(names)
        instances = {name: found for name, found in self.instances.items() if name in wanted}
        return LandmarkSet(tuple(names), points, status, instances)

    def rows(self) -> list[tuple[int, np.ndarray, int]]:
        """One row for each instance, as files hold them: the landmark's index, its point (D,), its status.

        A landmark that is not present has one row, with a point of NaN.
        """
        found: list[tuple[int, np.ndarray, int]] = []
        for index, name in enumerate(self.names):
            points = self.instances.get(name)
            if points is None or not len(points):
                points = self.points[index : index + 1]
            found += [(index, point, int(self.status[index])) for point in points]
        return found

    @classmethod
    def from_rows(
        cls, names: Sequence[str], points: np.ndarray, status: Sequence[int] | np.ndarray, many: Collection[str] = ()
    ) -> LandmarkSet:
        """Make a set of rows in which the names in `many` may occur any number of times.

        Args:
            names: (N,) name of each row.
            points: (N, D) world millimetres.
            status: (N,) of each row. Of a repeated name, present rows count before absent ones before unknown ones.
            many: Names that may be repeated.

        Raises:
            ValueError: What the class refuses, such as a name that is repeated and not in `many`.
        """
        points = np.asarray(points, dtype=np.float64)
        kept: list[int] = []
        groups: dict[str, list[int]] = {}
        for index, name in enumerate(names):
            if name in many:
                if name not in groups:
                    kept.append(index)
                groups.setdefault(name, []).append(index)
            else:
                kept.append(index)
        chosen, instances = list(kept), {}
        for name, rows in groups.items():
            first = max(rows, key=lambda row: int(status[row]))
            chosen[kept.index(rows[0])] = first
            if status[first] != UNKNOWN:
                instances[name] = points[[row for row in rows if status[row] == PRESENT]]
        return cls(
            tuple(names[row] for row in chosen), points[chosen], np.array([status[row] for row in chosen]), instances
        )

    def to_inline(self) -> dict[str, Any]:
        """Give the set as JSON, world millimetres.

        ``{"AC": [x, y, z], "PC": "absent", "X": "unknown", "suture": [[x, y, z], ...]}``; a list of points is a
        landmark with any number of instances, the empty list one that is absent.
        """
        words = {status: word for word, status in STATUS_WORDS.items()}
        inline = {
            name: point.tolist() if status == PRESENT else words[int(status)]
            for name, point, status in zip(self.names, self.points, self.status, strict=True)
        }
        return inline | {name: self.instances[name].tolist() for name in self.names if name in self.instances}

    @classmethod
    def from_inline(
        cls,
        mapping: Mapping[str, Any],
        names: Sequence[str] | None = None,
        *,
        spatial_dims: int | None = None,
        where: str = "inline landmarks",
        many: Collection[str] = (),
    ) -> LandmarkSet:
        """Read what `to_inline` writes.

        Args:
            mapping: Name to ``[x, y, z]`` or ``[x, y]`` in world millimetres, ``"absent"``, ``"unknown"`` or None
                (unknown); or to a list of points, which makes it a landmark with any number of instances.
            names: The wanted names in their order; names that are not in `mapping` are unknown. All, if None.
            spatial_dims: Number of coordinates. From the points if None, and 3 where no landmark is present.
            where: What to name in errors.
            many: Names that may have any number of instances also where one point or a word is given.

        Raises:
            LandmarkFileError: A value that is none of these, coordinates that are not finite or of another number, or
                a name that cannot be used.
        """
        rows: list[tuple[str, list[float] | None, int]] = []
        repeated = set(many)
        for name, value in mapping.items():
            if _is_list_of_points(value):
                repeated.add(name)
                rows += [(name, *_inline_value(name, point, where)) for point in value] or [(name, None, ABSENT)]
            else:
                rows.append((name, *_inline_value(name, value, where)))
        for name, point, _ in rows:
            if point is not None and spatial_dims is None:
                spatial_dims = len(point)
            if point is not None and len(point) != spatial_dims:
                raise LandmarkFileError(
                    f"{where}: landmark {name!r} has {len(point)} coordinates, expected {spatial_dims} "
                    f"in mm; give {spatial_dims} for each landmark"
                )
        dims = 3 if spatial_dims is None else spatial_dims
        points = np.array([[math.nan] * dims if point is None else point for _, point, _ in rows])
        try:
            landmark_set = cls.from_rows(
                [name for name, _, _ in rows], points.reshape(len(rows), dims), [state for *_, state in rows], repeated
            )
        except ValueError as error:
            raise LandmarkFileError(f"{where}: {error}") from error
        return landmark_set if names is None else landmark_set.ordered(names)


def _checked_instances(
    names: tuple[str, ...], points: np.ndarray, status: np.ndarray, instances: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Instances that fit points and status, read only, in the order of the names."""
    if unknown := [name for name in instances if name not in names]:
        raise ValueError(f"instances are given for {unknown[0]!r}, which is not among the landmarks")
    checked: dict[str, np.ndarray] = {}
    for index, name in enumerate(names):
        if name not in instances or status[index] == UNKNOWN:
            continue
        found = np.array(instances[name], dtype=np.float64).reshape(-1, points.shape[1])
        if not np.isfinite(found).all():
            raise ValueError(f"landmark {name!r} has coordinates that are not finite; place it again")
        if (status[index] == PRESENT) != bool(len(found)) or (len(found) and (found[0] != points[index]).any()):
            raise ValueError(f"landmark {name!r} has {len(found)} instances that do not fit its point and its status")
        found.setflags(write=False)
        checked[name] = found
    return checked


def _is_list_of_points(value: object) -> bool:
    """Whether an inline value is a list of points (or the empty list), and not one point."""
    if isinstance(value, np.ndarray):
        return value.ndim == 2
    if not isinstance(value, Sequence) or isinstance(value, str):
        return False
    return all(isinstance(item, (Sequence, np.ndarray)) and not isinstance(item, str) for item in value)


def _inline_value(name: object, value: object, where: str) -> tuple[list[float] | None, int]:
    """Read one value of an inline mapping: the point (or None) and the status."""
    if value is None:
        return None, UNKNOWN
    if isinstance(value, str) and value in STATUS_WORDS:
        return None, STATUS_WORDS[value]
    numbers = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(numbers, Sequence) or isinstance(numbers, str) or len(numbers) not in (2, 3):
        raise LandmarkFileError(
            f"{where}: landmark {name!r} is {value!r}; allowed are [x, y, z] in mm (or [x, y]), "
            "a list of such points, 'absent' and 'unknown'; correct this value"
        )
    if any(isinstance(number, bool) or not isinstance(number, int | float) for number in numbers):
        raise LandmarkFileError(f"{where}: landmark {name!r} has coordinates {value!r}; give numbers in mm")
    try:
        point = [float(number) for number in numbers]
    except OverflowError:  # a whole number of hundreds of digits
        point = [math.inf]
    if not all(map(math.isfinite, point)):
        raise LandmarkFileError(
            f"{where}: landmark {name!r} has coordinates {value!r} that are not finite; "
            "place it again, or write 'absent' or 'unknown'"
        )
    return point, PRESENT
