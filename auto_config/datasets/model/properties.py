"""What is declared about the landmarks of a data set, beside their points: ``landmarks.json``.

``{"landmarks": [{"name", "pair", "exchangeable", "instances", "description"}], "measures": [{"name", "kind",
"landmarks"}], "notes": [...]}``; everything but a landmark's name may be left out. The file lies in the folder of the
data set; a MONAI datalist may have the same content under its key ``properties``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from auto_config.bundle_scripts.files.text import atomic_write_text
from auto_config.bundle_scripts.points.landmarks import duplicate_names, name_problem
from auto_config.datasets.json_files import read_json
from auto_config.datasets.model.names import mistyped, similar_name
from auto_config.errors import UserError

FILE_NAME = "landmarks.json"
"""Name of the file in the folder of a data set."""

Kind = Literal["distance", "angle", "ratio"]
_SECTIONS = ("landmarks", "measures", "notes", "pixel_spacing")
_KEYS = ("name", "pair", "exchangeable", "instances", "description")
_KINDS = get_args(Kind)
_POINTS = {"distance": (2,), "angle": (3, 4), "ratio": (4,)}


@dataclass(frozen=True)
class Measure:
    """A measurement between landmarks (biometry).

    Args:
        name: Name of the measure.
        kind: ``"distance"`` between two landmarks; ``"angle"`` in degrees at the second of three landmarks, or between
            the lines 1-2 and 3-4 of four; ``"ratio"`` of the distances 1-2 and 3-4 of four.
        landmarks: Their names.

    Raises:
        ValueError: A kind that does not exist, or another number of landmarks than it needs.
    """

    name: str
    kind: Kind
    landmarks: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ValueError(f"measure {self.name!r} has the kind {self.kind!r}; allowed are {', '.join(_KINDS)}")
        if len(self.landmarks) not in _POINTS[self.kind]:
            needed = " or ".join(map(str, _POINTS[self.kind]))
            raise ValueError(f"measure {self.name!r} has {len(self.landmarks)} landmarks; its kind needs {needed}")


@dataclass(frozen=True)
class Properties:
    """What is declared about landmarks.

    Args:
        pairs: Left-right pairs of names; None where nothing is declared, so that names and geometry say them.
        exchangeable: Pairs of names whose points may change places, such as the two ends of a measured line.
        many: Names of landmarks of which an image may have any number.
        measures: Measures between landmarks.
        descriptions: Description of a landmark by its name.
        notes: What a reader of the data should know, a sentence each.
    """

    pairs: tuple[tuple[str, str], ...] | None = None
    exchangeable: tuple[tuple[str, str], ...] = ()
    many: tuple[str, ...] = ()
    measures: tuple[Measure, ...] = ()
    descriptions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def for_names(self, names: tuple[str, ...]) -> Properties:
        """The part that speaks of `names` only: a pair or a measure stays where all its landmarks are there."""
        known = set(names)
        return Properties(
            pairs=None if self.pairs is None else tuple(pair for pair in self.pairs if known.issuperset(pair)),
            exchangeable=tuple(pair for pair in self.exchangeable if known.issuperset(pair)),
            many=tuple(name for name in self.many if name in known),
            measures=tuple(measure for measure in self.measures if known.issuperset(measure.landmarks)),
            descriptions={name: text for name, text in self.descriptions.items() if name in known},
            notes=self.notes,
        )


def read_properties(path: Path) -> tuple[tuple[str, ...], Properties]:
    """Read a ``landmarks.json``.

    Returns:
        The names in their order, and what is declared.

    Raises:
        UserError: The file cannot be read, or something in it is wrong.
    """
    return parse_properties(read_json(path), str(path))


def parse_properties(document: Any, where: str) -> tuple[tuple[str, ...], Properties]:
    """Read the content of a ``landmarks.json``; `where` is named in errors.

    Raises:
        UserError: Something in it is wrong.
    """
    rows = document.get("landmarks") if isinstance(document, Mapping) else None
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) and "name" in row for row in rows):
        raise UserError(f"{where}: needs a list 'landmarks' of objects with a 'name' each; correct it")
    names = tuple(row["name"] for row in rows)
    if problem := next(filter(None, map(name_problem, names)), None):
        raise UserError(f"{where}: {problem}")
    if repeated := duplicate_names(names):
        raise UserError(f"{where}: landmark {repeated[0]!r} occurs more than once; keep one of them")
    for row in rows:
        if row.get("instances", "one") not in ("one", "many"):
            raise UserError(f"{where}: 'instances' of {row['name']!r} is {row['instances']!r}; allowed: one, many")
    _check_keys(rows, where)
    if slip := mistyped(list(document), _SECTIONS):
        raise UserError(f"{where}: has the key {slip[0]!r}; if {slip[1]!r} is meant, correct it")
    notes = document.get("notes") or []
    if not isinstance(notes, list):
        raise UserError(f"{where}: 'notes' needs a list of sentences; correct it or leave it out")
    try:
        measures = tuple(
            Measure(str(one["name"]), one["kind"], tuple(one["landmarks"])) for one in document.get("measures") or []
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{where}: 'measures' is wrong ({error}); give name, kind and landmarks of each") from error
    for measure in measures:
        if unknown := [name for name in measure.landmarks if name not in names]:
            raise UserError(f"{where}: measure {measure.name!r} names {unknown[0]!r}, which is not among the landmarks")
    many = tuple(row["name"] for row in rows if row.get("instances") == "many")
    exchangeable = _pairs(rows, names, "exchangeable", where)
    for what, members in (
        *(("is exchangeable", pair) for pair in exchangeable),
        *((f"belongs to measure {measure.name!r}", measure.landmarks) for measure in measures),
    ):
        if several := [name for name in members if name in many]:
            raise UserError(
                f"{where}: {several[0]!r} {what} and is 'many': it has no single point; leave one of the two out"
            )
    return names, Properties(
        pairs=_pairs(rows, names, "pair", where) if any("pair" in row for row in rows) else None,
        exchangeable=exchangeable,
        many=many,
        measures=measures,
        descriptions={row["name"]: str(row["description"]) for row in rows if row.get("description")},
        notes=tuple(map(str, notes)),
    )


def _check_keys(rows: list[Any], where: str) -> None:
    """Refuse a key that is a typo of one that means something; other keys are left alone."""
    for row in rows:
        for key in row:
            meant = None if key in _KEYS else similar_name(key, _KEYS)
            if meant is not None:
                raise UserError(f"{where}: {row['name']!r} has the key {key!r}; if {meant!r} is meant, correct it")


def _pairs(rows: list[Any], names: tuple[str, ...], key: str, where: str) -> tuple[tuple[str, str], ...]:
    """Pairs of names, each once; a partner may be named by one side only."""
    found: dict[str, str] = {}
    for row in rows:
        name, partner = row["name"], row.get(key)
        if partner is None:
            continue
        if partner == name:
            raise UserError(f"{where}: {key!r} of {name!r} is itself; give the name of another landmark, or null")
        if partner not in names:
            raise UserError(
                f"{where}: {key!r} of {name!r} is {partner!r}, which is not in the list of landmarks; list it too"
            )
        for one, other in ((name, partner), (partner, name)):
            if found.setdefault(one, other) != other:
                raise UserError(f"{where}: {one!r} has two partners in {key!r}, {found[one]!r} and {other!r}; keep one")
    return tuple(
        (name, found[name]) for name in names if name in found and names.index(name) < names.index(found[name])
    )


def properties_document(names: tuple[str, ...], properties: Properties) -> dict[str, Any]:
    """The content of a ``landmarks.json``, which `parse_properties` reads back."""
    partners: dict[str, dict[str, str]] = {
        key: {one: other for pair in pairs or () for one, other in (pair, pair[::-1])}
        for key, pairs in (("pair", properties.pairs), ("exchangeable", properties.exchangeable))
    }
    rows = []
    for name in names:
        row: dict[str, Any] = {"name": name}
        if properties.pairs is not None:
            row["pair"] = partners["pair"].get(name)
        if name in partners["exchangeable"]:
            row["exchangeable"] = partners["exchangeable"][name]
        if name in properties.many:
            row["instances"] = "many"
        if name in properties.descriptions:
            row["description"] = properties.descriptions[name]
        rows.append(row)
    measures = [
        {"name": measure.name, "kind": measure.kind, "landmarks": list(measure.landmarks)}
        for measure in properties.measures
    ]
    return {"landmarks": rows, "measures": measures, "notes": list(properties.notes)}


def write_properties(path: Path, names: tuple[str, ...], properties: Properties) -> None:
    """Write a ``landmarks.json``, atomically."""
    text = json.dumps(properties_document(names, properties), indent=1, ensure_ascii=False)
    atomic_write_text(path, text + "\n")
