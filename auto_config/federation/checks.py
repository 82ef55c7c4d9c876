"""Whether the data of a site fit a plan that was made elsewhere: pure functions, one line for each problem."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from auto_config.bundle_scripts.points.pose.rotations import angle_deg
from auto_config.bundle_scripts.points.procrustes import procrustes, similarity, size_of
from auto_config.datasets.model.dataset import Problem
from auto_config.fingerprint.summary import Fingerprint
from auto_config.methods.plan import Plan

ACCEPTABLE = ("spacing", "normalization", "pose", "size")
"""Checks that a person may overrule; the others are facts of the network."""
COARSER, LARGER, MIRRORED = 2.0, 1.5, 0.5
"""Largest factors: of spacings beyond those planned for, of the anatomy's size, of the residuals of a mirror image."""


@dataclass(frozen=True)
class Planned:
    """What a package says of the data that it was planned for.

    Args:
        plan: of the coordinator.
        numbers: of the coordinator's data.
        names: in channel order.
        offsets: ``(L, D)`` mm, where landmarks lie on average in the coordinator's data, NaN where unknown.
    """

    plan: Plan
    numbers: Fingerprint
    names: tuple[str, ...]
    offsets: np.ndarray


def site_problems(
    planned: Planned, site: Fingerprint, points: np.ndarray, accept: Collection[str] = ()
) -> list[Problem]:
    """What does not fit.

    Args:
        planned: what the package says.
        site: numbers of the site's data.
        points: ``(N, L, D)`` world mm of the site's cases in the order of `names`, NaN where not present.
        accept: checks of `ACCEPTABLE` whose problems are warnings.

    Returns:
        Errors, and warnings where they are accepted.
    """
    facts = [*_dimensions(planned.numbers, site), *_many(planned.names, planned.numbers, site)]
    if facts:
        return [Problem("error", text) for text in facts]
    found = {
        "spacing": _spacing(planned.numbers, site),
        "normalization": _normalization(planned.plan, site),
        **_shape(planned.plan, planned.offsets, points),
    }
    return [
        Problem("warning" if check in accept else "error", text if check in accept else f"{text}, or --accept {check}")
        for check, text in found.items()
        if text is not None
    ]


def foreign_names(names: Sequence[str], found: Sequence[str], counts: Sequence[int]) -> str | None:
    """What to say of landmarks that the plan does not have; None where the plan has all.

    Args:
        names: of the plan.
        found: of the site's data.
        counts: how many of the site's cases have each of `found`.
    """
    strange = [name for name, count in zip(found, counts, strict=True) if name not in names and count]
    if not strange:
        return None
    shared = [name for name in found if name in names]
    listed = ", ".join(repr(name) for name in strange[:3]) + (", ..." if len(strange) > 3 else "")
    if not shared:
        known = ", ".join(map(repr, names[:3])) + (", ..." if len(names) > 3 else "")
        return f"none of its landmarks ({listed}) is in the plan, which has {known}; name them as the plan does"
    return f"the plan has no landmark {listed}; rename it as in the plan, or give --landmarks with those to keep"


def _dimensions(planned: Fingerprint, site: Fingerprint) -> list[str]:
    found = []
    for what, wanted, there in (
        ("dimensions", planned.spatial_dims, site.spatial_dims),
        ("channels", planned.channels, site.channels),
        ("unit", planned.unit, site.unit),
    ):
        if wanted != there:
            found.append(f"{what} of the images are {there}, the plan is for {wanted}; give images as planned")
    return found


def _many(names: Sequence[str], planned: Fingerprint, site: Fingerprint) -> list[str]:
    here = {names[one["landmark"]] for one in site.many}
    there = {names[one["landmark"]] for one in planned.many}
    if here <= there:
        return []
    return [f"{sorted(here - there)[0]!r} is declared many here and not in the plan; declare it as the plan does"]


def _spacing(planned: Fingerprint, site: Fingerprint) -> str | None:
    """Images far coarser or finer than those that the grid was planned for."""
    low, high = np.min(planned.spacings, axis=0) / COARSER, np.max(planned.spacings, axis=0) * COARSER
    here = np.median(site.spacings, axis=0)
    if (here >= low).all() and (here <= high).all():
        return None
    unit = planned.unit
    return (
        f"the median spacing here is {_numbers(here)} {unit}, the plan was made for {_numbers(low * COARSER)} to "
        f"{_numbers(high / COARSER)} {unit} and takes twice as fine to twice as coarse; give images like those"
    )


def _normalization(plan: Plan, site: Fingerprint) -> str | None:
    """Grey values of another kind: Hounsfield units where the plan scales by each image, or the other way round."""
    guesses = site.channel_guesses or [site.modality_guess] * site.channels
    for number, (rule, guess) in enumerate(zip(plan.value("normalization"), guesses, strict=True)):
        if (rule["kind"] == "ct") != (guess == "ct"):
            wanted = "Hounsfield units" if rule["kind"] == "ct" else "each image's own grey values"
            there = "Hounsfield units" if guess == "ct" else "no Hounsfield units"
            return f"channel {number} holds {there}, the plan normalizes by {wanted}; give images of the same kind"
    return None


def _shape(plan: Plan, offsets: np.ndarray, points: np.ndarray) -> dict[str, str | None]:
    """Compare the mean shape of the site with the coordinator's: size, pose, left and right."""
    nothing: dict[str, str | None] = {"size": None, "pose": None}
    mean, _, _ = procrustes(points) if len(points) else (np.full_like(offsets, np.nan), None, None)
    both = np.isfinite(mean).all(1) & np.isfinite(offsets).all(1)
    dims = offsets.shape[1]
    if both.sum() <= dims + 1:
        return nothing
    here, there = mean[both], offsets[both]
    ratio = size_of(here) / size_of(there)
    if not 1 / LARGER <= ratio <= LARGER:
        return {**nothing, "size": f"the anatomy here is {ratio:.3g} times as large as planned for; check the unit"}
    if plan.value("pose")["kind"] == "free":
        return nothing
    matrix, residual = _fit(here, there)
    mirror = np.ones(dims)
    mirror[0] = -1
    turned, mirrored = _fit(here * mirror, there)
    if mirrored < MIRRORED * residual and angle_deg(turned) <= plan.value("pose")["limit_deg"]:
        return {**nothing, "pose": "left and right are exchanged against the plan; correct names or image headers"}
    angle, limit = angle_deg(matrix), plan.value("pose")["limit_deg"]
    if angle > limit:
        text = f"the cases lie {angle:.0f} degrees off those planned for, which may be {limit:.0f}; correct the headers"
        return {**nothing, "pose": text}
    return nothing


def _fit(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, float]:
    """Rotation (D, D) of the similarity between two shapes (N, D), and the root mean square residual."""
    matrix = similarity(source, target, np.ones(len(source)))
    left = source @ matrix[:-1, :-1].T + matrix[:-1, -1] - target
    scale = np.linalg.norm(matrix[:-1, :-1], axis=0).mean()
    return matrix[:-1, :-1] / scale, float(np.sqrt((left**2).sum(1).mean()))


def _numbers(values: np.ndarray) -> str:
    return " x ".join(f"{value:.3g}" for value in values)
