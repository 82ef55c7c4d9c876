"""`calibrate`: predict what the networks did not see, and write what that says into the bundle."""

import json
import math
import time
from pathlib import Path
from typing import Any

from auto_config.arguments import Names, Place
from auto_config.choices import Coordinates, Missing, Outside
from auto_config.errors import UserError


def calibrate(
    bundle: Place,
    *,
    data: Place | None = None,
    raters: Place | None = None,
    pooled: bool | None = None,
    cost: float | None = None,
    device: str | None = None,
    time_budget: str | float | None = None,
    format: str | None = None,
    split: str | None = None,
    cases: Names | None = None,
    missing: Missing = "unknown",
    outside: Outside = "error",
    coordinates: Coordinates | None = None,
    missing_value: str | None = None,
    workers: int | None = None,
) -> int:
    """Learn from unseen cases how sure predictions are: presence of each landmark, and the region that holds it.

    `train` does it at its end. Each fold's network predicts its validation cases; predictions then carry a probability
    of presence and a radius that holds the landmark with 90 % probability. Where training cut fields of view, up to 60
    seeded cuts of the cases (at most three of each, and ten minutes) teach presence what lies outside. With --data, the
    whole bundle predicts other labelled cases that it never saw, such as those of your own hospital.

    Args:
        bundle: the folder of a trained bundle; without --data, where its training images can be read
        data: calibrate on the cases of this data set, as for `inspect`, none of which the bundle was trained on
        raters: data set of the same cases that has the points of several people: regions then hold the point of any
            one of them, not only their consensus
        pooled: one region for all landmarks, for few cases; as the bundle was planned if not given
        cost: cost of calling an absent landmark present, if calling a present one absent costs 1; not given: best F1
        device: cpu, cuda:0, ...; the GPU if there is one
        time_budget: for the command, 90s or 5m: every case is predicted whole, then as many cuts and spoiled cases as
            fit; not given: all of these, cuts for ten minutes at most
        format: read DATA as this format instead of detecting it
        split: training or test: only the cases that DATA puts there
        cases: only these cases of DATA: anna,ben
        missing: what a name that a case of DATA lacks means, as for `create`
        outside: what a point of DATA outside its image is, as for `create`
        coordinates: what the numbers of a table are, as for `create`
        missing_value: coordinates that mark a missing point, as for `create`
        workers: processes to read DATA with, one on each core if not given

    Raises:
        UserError: wrong bundle, no case that the weights in use did not see, cases with errors, options of DATA
            without it, raters of other cases or of none, a cost that is not above 0, or no time.

    Examples:
        auto_config calibrate brain_landmarks
        auto_config calibrate brain_landmarks --cost 5
        auto_config calibrate brain_landmarks --time_budget 2m
        auto_config calibrate brain_landmarks --data our_scans
        auto_config calibrate brain_landmarks --raters two_doctors
    """
    started = time.monotonic()
    if cost is not None and not (math.isfinite(cost) and cost > 0):
        raise UserError(f"--cost {cost}: must be above 0; 1 makes both mistakes equally bad")
    reading: dict[str, Any] = {
        "format": format,
        "split": split,
        "cases": cases,
        "coordinates": coordinates,
        "workers": workers,
        "missing_value": missing_value,
    }
    given = [name for name, value in reading.items() if value is not None]
    given += ["missing"] * (missing != "unknown") + ["outside"] * (outside != "error")
    if data is None and given:
        raise UserError(f"--{given[0]}: says how other cases are read; give these with --data")

    from auto_config.running.time_budget import CLOSING_SECONDS, parse_time_budget

    end = None if time_budget is None else started + parse_time_budget(time_budget) - CLOSING_SECONDS

    from auto_config.bundle.opened import weight_files
    from auto_config.bundle_scripts.file_names import CALIBRATION as FILE_NAME
    from auto_config.bundle_scripts.points.landmark_names import read_landmark_names
    from auto_config.calibration.cuts import cut_cases
    from auto_config.calibration.others.other_cases import CaseSource, other_cases, predict_other_cases
    from auto_config.calibration.planned import planned_pooling
    from auto_config.calibration.raters.reading import points_of_raters, read_raters
    from auto_config.calibration.terminal import print_calibration
    from auto_config.calibration.time_limit import limits_of, omitted_notes
    from auto_config.calibration.validation_cases import cut_validation_cases, validation_cases
    from auto_config.calibration.verdict.spoiled_cases import spoiled_other_cases, spoiled_validation_cases
    from auto_config.calibration.writing import (
        POOLED_NOTE,
        USELESS_NOTE,
        landmarks_file,
        useless_reason,
        write_calibration,
    )

    root = Path(bundle)
    table = landmarks_file(root)
    names = read_landmark_names(table)
    document = json.loads(table.read_text(encoding="utf-8"))
    spatial_dims, unit = int(document["spatial_dims"]), str(document.get("unit", "mm"))
    notes: list[str] = []
    cuts, spoiled = None, None
    several = {} if raters is None else read_raters(root, Path(raters))
    if data is None:
        items = None
        found = validation_cases(root, names, device)
    else:
        weight_files(root)  # says that there are none before anything is read
        source = CaseSource(Path(data), missing=missing, outside=outside, **reading)
        items, notes = other_cases(root, source, names, spatial_dims=spatial_dims, unit=unit)
        found = predict_other_cases(root, items, device=device)
    people = None if raters is None else points_of_raters(root, Path(raters), several, found)
    cut_limit, limit = limits_of(*_left(started, end, len(found.cases)))
    if end is not None and useless_reason(root, found) is not None:
        notes = [*notes, USELESS_NOTE]  # each of its cases may be looked at in every pose, for nothing
    elif items is None:
        cuts = cut_validation_cases(root, names, device, cut_limit)
        if found.images.size:
            spoiled = spoiled_validation_cases(root, found, names, limit=limit, device=device)
    else:
        cuts = cut_cases(root, items, device=device, limit=cut_limit)
        spoiled = spoiled_other_cases(root, items, device=device, limit=limit)
    planned = planned_pooling(root) if pooled is None else pooled
    if planned and pooled is None:
        notes = [*notes, POOLED_NOTE]
    notes = [*notes, *omitted_notes(cut_limit, limit)]
    numbers = write_calibration(
        root, found, pooled=planned, cost=cost, notes=notes, cuts=cuts, spoiled=spoiled, raters=people
    )
    print_calibration(numbers, found, unit, root / "models" / FILE_NAME)
    return 0


def _left(started: float, end: float | None, cases: int) -> tuple[float | None, float]:
    """Seconds that are left for cuts and spoiled cases, None for no limit, and those of a whole case."""
    now = time.monotonic()
    return None if end is None else end - now, (now - started) / max(cases, 1)
