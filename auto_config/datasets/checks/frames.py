"""Say why points do not fit their image, by comparison with the other cases: a second look at the cases concerned."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np

from auto_config.datasets.checks.cases import Outside, outside_text
from auto_config.datasets.checks.frame_evidence import Evidence, Greys, Verdict, weigh
from auto_config.datasets.checks.frame_readings import (
    Reading,
    Seen,
    distinct_fellow,
    header_readings,
    rank_quantiles,
    readings,
    see,
    sorted_values,
)
from auto_config.datasets.images import Header, Image, read_header, read_image
from auto_config.datasets.model.dataset import Case, Dataset, Problem, present_points
from auto_config.errors import UserError
from auto_config.running.parallel import map_cases

_FEWEST_FOR_GREYS = 3
_MOST_OTHER_CASES = 8
_ODD_FACTOR, _ODD_RANKS = 3.0, 0.2
_TOPICS: dict[str, Literal["outside", "frame", "no frame"]] = {"header": "frame", "frame": "frame", "none": "no frame"}


@dataclass(frozen=True)
class CheckedCase:
    """What the first look at a case found.

    Args:
        case: The case as it was read, no point turned absent.
        header: Of its image; None where it could not be read.
        problems: Its problems.
        greys: (L,) `grey_ranks` at its points; None where the voxels were not read.
    """

    case: Case
    header: Header | None
    problems: tuple[Problem, ...]
    greys: np.ndarray | None


@dataclass(frozen=True)
class _Task:
    case: Case
    points: np.ndarray
    fellow: Header | None
    others: Mapping[str, np.ndarray]
    headers_only: bool


@dataclass(frozen=True)
class _Looked:
    seen: tuple[Seen, ...]
    quantiles: np.ndarray | None


def greys_of(image: Image, case: Case, names: Sequence[str], problems: Sequence[Problem]) -> np.ndarray | None:
    """(L,) `grey_ranks` at the points of a case, in the order of `names`; NaN where there is none inside.

    None for a case without points, or with an error, whose grey values are no example for others.
    """
    header = image.header
    if case.landmarks is None or case.landmarks.spatial_dims != len(header.shape):
        return None
    if any(problem.severity == "error" for problem in problems):
        return None
    points = present_points(case, names, len(header.shape))
    return see(Reading("given", "given", points, ""), image, sorted_values(image.array[0])).greys


def explain_frames(
    dataset: Dataset,
    checked: Sequence[CheckedCase],
    *,
    outside: Outside,
    headers_only: bool,
    workers: int | None,
) -> list[tuple[Problem, ...]]:
    """Weigh why points lie outside their image or in its background, and say the most likely reason.

    Args:
        dataset: For its names and axes.
        checked: Its cases after the first look.
        outside: What the user chose for points outside.
        headers_only: Whether voxels may not be read.
        workers: Processes, see `parallel.map_cases`.

    Returns:
        The problems of each case, in the order of `checked`; one error takes the place of those that have a reason in
        common.
    """
    odd = odd_greys({one.case.name: one.greys for one in checked if one.greys is not None})
    concerned = [one for one in checked if _is_concerned(one, dataset.spatial_dims) or one.case.name in odd]
    if not concerned:
        return [one.problems for one in checked]
    fellows = [one for one in checked if one not in concerned and _is_fellow(one, dataset.spatial_dims)]
    points = {one.case.name: present_points(one.case, dataset.names, dataset.spatial_dims) for one in checked}
    headers = [one.header for one in fellows if one.header is not None]
    tasks = [
        _Task(
            one.case,
            points[one.case.name],
            distinct_fellow(one.header, headers) if one.header is not None and len(one.header.shape) == 3 else None,
            _exchanged_with(one, concerned, points),
            headers_only,
        )
        for one in concerned
    ]
    looked = map_cases(_look, tasks, workers=workers, label="looking at points that do not fit")
    results = dict(zip([one.case.name for one in concerned], looked, strict=True))
    given = [one.greys for one in fellows if one.greys is not None]
    shapes = [points[one.case.name] for one in fellows]
    answers = {}
    for one in concerned:
        assert one.header is not None
        others = [found for name, found in results.items() if name != one.case.name]
        verdict = _judge(
            _with_exchange(one.case.name, results),
            given,
            shapes,
            others,
            lost_header(one.header, headers),
            headers_only=headers_only,
        )
        answers[one.case.name] = _told(one, verdict, dataset.names, outside)
    return [answers.get(one.case.name, one.problems) for one in checked]


def odd_greys(greys: Mapping[str, np.ndarray]) -> set[str]:
    """Cases whose points lie on other grey values than those of the other cases, far beyond what these differ by.

    Args:
        greys: Name of the case to the ranks (L,) at its points.
    """
    if len(greys) <= _FEWEST_FOR_GREYS:
        return set()
    names, table = list(greys), np.stack(list(greys.values()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a landmark that is in no case
        middle = np.nanmedian(table, axis=0)
    differences = {
        name: float(np.abs(row - middle)[np.isfinite(row)].mean())
        for name, row in zip(names, table, strict=True)
        if np.isfinite(row).sum() >= _FEWEST_FOR_GREYS
    }
    if not differences:
        return set()
    usual = float(np.median(list(differences.values())))
    return {name for name, value in differences.items() if value > max(_ODD_FACTOR * usual, usual + _ODD_RANKS)}


def _is_concerned(one: CheckedCase, dims: int) -> bool:
    return (
        one.header is not None
        and one.case.landmarks is not None
        and len(one.header.shape) == dims
        and any(problem.topic in ("outside", "cropped") for problem in one.problems)
    )


def _is_fellow(one: CheckedCase, dims: int) -> bool:
    return (
        one.header is not None
        and one.case.landmarks is not None
        and len(one.header.shape) == dims
        and not any(problem.severity == "error" for problem in one.problems)
    )


def _look(task: _Task) -> _Looked:
    """Read the image of a case once more and look at the places that every reading names."""
    read = read_header if task.headers_only else read_image
    try:
        image: Image | Header = read(task.case.image, task.case.pixel_spacing)
    except UserError:  # it changed since the first look, which will be said when it is read again
        return _Looked((), None)
    header = image.header if isinstance(image, Image) else image
    candidates = readings(task.points, header)
    if task.fellow is not None:
        candidates += header_readings(task.points, header, task.fellow)
    for name, points in task.others.items():
        candidates.append(Reading(f"case {name}", "case", points, ""))
    values = sorted_values(image.array[0]) if isinstance(image, Image) else None
    seen = tuple(map(partial(see, image=image, values=values), candidates))
    return _Looked(seen, None if values is None else rank_quantiles(values))


def _exchanged_with(
    one: CheckedCase, concerned: Sequence[CheckedCase], points: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Points of other cases that fit into this image and not into their own, where the same holds the other way."""
    found: dict[str, np.ndarray] = {}
    for other in concerned:
        if other is one or other.header is None or one.header is None or len(found) == _MOST_OTHER_CASES:
            continue
        pairs = ((other, one.header), (one, other.header))
        if all(_all_inside(points[owner.case.name], header) for owner, header in pairs):
            found[other.case.name] = points[other.case.name]
    return found


def _all_inside(points: np.ndarray, header: Header) -> bool:
    return see(Reading("", "case", points, ""), header, None).inside == int(np.isfinite(points[:, 0]).sum())


def _with_exchange(name: str, results: Mapping[str, _Looked]) -> _Looked:
    """What was seen of a case; its points on the images of other cases stand for the theirs on its own."""
    own = results[name]
    seen = [one for one in own.seen if one.reading.kind != "case"]
    for other, looked in results.items():
        for one in looked.seen:
            if one.reading.key == f"case {name}":
                claim = f"those of the image of case {other!r}, and the other way round: exchange the two files"
                seen.append(replace(one, reading=replace(one.reading, key=f"image {other}", claim=claim)))
    return _Looked(tuple(seen), own.quantiles)


def _judge(
    own: _Looked,
    given: Sequence[np.ndarray],
    shapes: Sequence[np.ndarray],
    others: Sequence[_Looked],
    lost: str | None,
    *,
    headers_only: bool,
) -> Verdict:
    if not own.seen:
        return Verdict("unknown", "the image could not be read again")
    references = _references(own, given, others)
    usual, key = None, "given"
    if references:
        usual, key = min((_usual(found), name) for name, found in references.items())
    chance = 0.0
    if usual is not None and own.quantiles is not None:
        middle = np.nanmedian(references[key], axis=0)
        middle = middle[np.isfinite(middle)]
        chance = float(np.abs(own.quantiles[:, None] - middle).mean()) if middle.size else 0.0
    greys = Greys(usual, chance, looked_at=not headers_only)
    found = []
    for seen in own.seen:
        reference = references.get(seen.reading.key if len(given) < _FEWEST_FOR_GREYS else "given")
        found.append(
            Evidence(
                seen.reading,
                seen.inside,
                int(np.isfinite(seen.reading.points[:, 0]).sum()),
                *_spread(seen.reading.shape, shapes),
                grey=None if reference is None or seen.greys is None else _difference(seen.greys, reference),
            )
        )
    return weigh(found, greys, lost)


def _references(own: _Looked, given: Sequence[np.ndarray], others: Sequence[_Looked]) -> dict[str, np.ndarray]:
    """Grey values (N, L) to compare with: of the cases that fit; where they are few, of those that a reading makes fit.

    Returns:
        By the key of the reading; ``"given"`` alone where enough cases fit as they are.
    """
    if len(given) >= _FEWEST_FOR_GREYS:
        return {"given": np.stack(given)}
    found: dict[str, np.ndarray] = {}
    for one in own.seen:
        present = int(np.isfinite(one.reading.points[:, 0]).sum())
        if one.greys is None or one.inside < present:
            continue
        same = [
            seen.greys
            for looked in others
            for seen in looked.seen
            if seen.reading.key == one.reading.key
            and seen.greys is not None
            and seen.inside == int(np.isfinite(seen.reading.points[:, 0]).sum())
        ]
        if len(same) + len(given) >= _FEWEST_FOR_GREYS - 1 and same:
            found[one.reading.key] = np.stack([*given, *same])
    return found


def _usual(greys: np.ndarray) -> float:
    """What nine of ten cases differ by from the median of the rest, (N, L)."""
    differences = [
        _difference(one, np.delete(greys, index, axis=0)) for index, one in enumerate(greys) if len(greys) > 1
    ]
    known = [one for one in differences if one is not None]
    return float(np.quantile(known, 0.9)) if known else np.inf


def _difference(greys: np.ndarray, reference: np.ndarray) -> float | None:
    """Mean difference of ranks (L,) from the median of those of other cases (N, L); None without a common one."""
    has_both = np.isfinite(greys) & np.isfinite(reference).any(axis=0)
    if not has_both.any():
        return None
    return float(np.abs(greys[has_both] - np.nanmedian(reference[:, has_both], axis=0)).mean())


def _spread(points: np.ndarray, others: Sequence[np.ndarray]) -> tuple[float | None, float | None]:
    """Spread as a multiple of that of the same landmarks in the others (median), and the largest log along an axis."""
    ratios, along = [], []
    for other in others:
        both = np.isfinite(points[:, 0]) & np.isfinite(other[:, 0])
        if both.sum() < 2:
            continue
        own, their = points[both].std(axis=0), other[both].std(axis=0)
        whole = np.linalg.norm(own), np.linalg.norm(their)
        if min(whole) <= 0:
            continue
        ratios.append(whole[0] / whole[1])
        along.append(np.log(np.maximum(own, 0.02 * whole[0]) / np.maximum(their, 0.02 * whole[1])))
    if not ratios:
        return None, None
    return float(np.median(ratios)), float(np.abs(np.median(along, axis=0)).max())


def lost_header(header: Header, fellows: Sequence[Header]) -> str | None:
    """What in a header looks lost: an origin of 0, a spacing of 1, no orientation, unlike all other cases.

    Args:
        header: Of the case in question.
        fellows: Of the cases whose points fit.

    Returns:
        The facts with those of the neighbours as evidence; None if nothing looks lost.
    """
    fellows = [one for one in fellows if len(one.shape) == len(header.shape)]
    if len(header.shape) != 3 or not fellows:
        return None
    facts = []
    if _origin_is_zero(header) and not any(map(_origin_is_zero, fellows)):
        facts.append(f"its origin is (0, 0, 0), {_others(fellows)} {_triple(fellows[0].affine[:3, 3])} or another")
    if _spacing_is_one(header) and not any(map(_spacing_is_one, fellows)):
        facts.append(f"its spacing is 1 mm, {_others(fellows)} {_triple(np.array(fellows[0].spacing))} mm or another")
    if not header.oriented and all(one.oriented for one in fellows):
        facts.append(f"it says no orientation, {_others(fellows)} one")
    return ", ".join(facts) or None


def _others(fellows: Sequence[Header]) -> str:
    return "the other case has" if len(fellows) == 1 else f"the {len(fellows)} other cases that fit have"


def _triple(values: np.ndarray) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values) + ")"


def _origin_is_zero(header: Header) -> bool:
    return bool(np.abs(header.affine[:-1, -1]).max() < 1e-6)


def _spacing_is_one(header: Header) -> bool:
    return bool(np.abs(np.array(header.spacing) - 1.0).max() < 1e-6)


def _told(one: CheckedCase, verdict: Verdict, names: Sequence[str], outside: Outside) -> tuple[Problem, ...]:
    """The problems of a case with what was found out."""
    has_outside = any(problem.topic == "outside" for problem in one.problems)
    is_explained = verdict.kind in ("header", "frame")
    assert one.header is not None and one.case.landmarks is not None
    file, case = one.header.path, one.case.name
    if verdict.kind == "odd":
        if any(problem.topic == "cropped" for problem in one.problems):
            return one.problems
        return (*one.problems, Problem("warning", f"{file}: {verdict.text}", case, None, "no frame"))
    if not is_explained and (not has_outside or (outside == "absent" and verdict.kind != "none")):
        return one.problems
    replaced = ("outside", "cropped") if is_explained else ("outside",)
    kept = [problem for problem in one.problems if problem.topic not in replaced]
    subject, first = outside_text(one.case.landmarks.ordered(names), one.header)
    text = f"{subject}; {verdict.text}" if subject else verdict.text
    if verdict.kind == "header" and subject:
        text = f"{verdict.text} ({subject})"
    elif verdict.kind == "frame" and not subject:
        text = f"its points do not lie on what they mark: {verdict.text}"
    return (*kept, Problem("error", f"{file}: {text}", case, first, _TOPICS.get(verdict.kind, "outside")))
