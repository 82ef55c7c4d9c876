"""A model that is no better than the mean shape: said by the calibration, and every case has failed."""

import json
from dataclasses import replace

import numpy as np
import pytest
from test_verdict_section import AFFINE, KNOWN, LANDMARKS, MEAN, NAMES, RANGES, predicted, shapes

from auto_config.bundle_scripts.inference.verdict.judging import Verdict, distrusted
from auto_config.bundle_scripts.inference.verdict.known import read_known_cases
from auto_config.bundle_scripts.points.landmarks import ABSENT
from auto_config.calibration.verdict.useless import why_useless

CENTER = AFFINE[:3, 3] + 40.0  # of 81 voxels of 1 mm


def unseen(error, cases=6):
    """Cases whose points are `error` mm to the right of the truth, which is 3 mm above the mean shape."""
    truth = np.tile(CENTER + MEAN + [0, 0, 3.0], (cases, 1, 1))
    found = predicted(truth, np.random.default_rng(0), points=truth + [error, 0, 0])
    return replace(found, affine=np.tile(AFFINE, (cases, 1, 1)), shape=np.full((cases, 3), 81))


@pytest.mark.parametrize(("error", "is_useless"), [(0.5, False), (2.9, False), (3.0, True), (27.0, True)])
def test_errors_are_compared_with_those_of_the_mean_shape(error, is_useless):
    said = why_useless(unseen(error), MEAN, KNOWN, "mm")
    assert (said is not None) == is_useless
    if is_useless:
        assert said == (
            f"the model is no better than always predicting the mean shape: {error:.3g} mm off against 3 mm on 6 "
            "unseen cases; train it longer"
        )


def test_only_landmarks_count_that_are_there_and_have_a_mean_place():
    found = unseen(1.0)
    far = found.points.copy()
    far[:, :2] += 1000.0
    status = found.status.copy()
    status[:, 0] = ABSENT
    offsets = MEAN.copy()
    offsets[1] = np.nan
    assert why_useless(replace(found, points=far, status=status), offsets, KNOWN, "mm") is None
    assert why_useless(replace(found, points=far), offsets, KNOWN, "mm") is not None


def test_where_nothing_is_known_of_the_images_nothing_is_said():
    found = predicted(shapes(4), np.random.default_rng(0), points=shapes(4) + 100.0)
    assert why_useless(found, MEAN, KNOWN, "mm") is None
    assert why_useless(unseen(27.0), np.full((LANDMARKS, 3), np.nan), KNOWN, "mm") is None


def test_every_case_of_such_a_model_has_failed(tmp_path):
    training, calibration = tmp_path / "verdict.json", tmp_path / "calibration.json"
    training.write_text(json.dumps({"landmarks": NAMES, "ranges": RANGES, "shape": None, "reference": None}))
    calibration.write_text(json.dumps({"landmarks": NAMES, "verdict": None, "useless": "it has learnt nothing"}))
    assert read_known_cases(training, None, NAMES).useless is None
    reason = read_known_cases(training, calibration, NAMES).useless
    assert reason == "it has learnt nothing"
    good, odd = Verdict("ok", ()), Verdict("check", ("grey values",), ("pose",), 3.0)
    assert distrusted(good, None) is good
    assert distrusted(good, reason) == Verdict("failed", (reason,))
    assert distrusted(odd, reason) == Verdict("failed", (reason, "grey values"), ("pose",), 3.0)
