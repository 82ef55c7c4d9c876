"""Coverage and size of regions in an evaluation, by hand."""

import json
import math

import numpy as np
import pytest

from auto_config.evaluation.coverage import region_coverage


def test_coverage_of_balls_and_ellipsoids_by_hand():
    truth = np.zeros((4, 1, 3))
    predicted = np.array([0.5, 1.5, 2.5, np.nan])[:, None, None] * np.array([1.0, 0, 0])
    truth[3] = np.nan
    covariance = np.tile(np.diag([4.0, 1.0, 1.0]), (4, 1, 1, 1))
    calibration = {"levels": [0.5, 0.95], "ball_mm": {"a": [2.0, None]}, "ellipsoid": {"a": [1.0, None]}}
    found = json.loads(json.dumps(region_coverage(predicted, truth, covariance, ("a",), calibration), allow_nan=False))
    ball, ellipsoid = found["ball"]["0.5"], found["ellipsoid"]["0.5"]
    assert (ball["share"], ball["count"], ball["infinite"]) == (pytest.approx(2 / 3), 3, 0)
    assert ball["median_size"] == pytest.approx(4 / 3 * math.pi * 8)
    # Two standard deviations of 1 along x: 2.5 mm lie outside of 2, 1.5 inside.
    assert ellipsoid["share"] == pytest.approx(2 / 3)
    assert ellipsoid["median_size"] == pytest.approx(4 / 3 * math.pi * 2)
    assert (found["ball"]["0.95"]["share"], found["ball"]["0.95"]["infinite"]) == (1.0, 1.0)
    assert found["ball"]["0.95"]["median_size"] is None


def test_a_heatmap_that_is_not_known_has_no_ellipsoid():
    points = np.zeros((2, 1, 2))
    covariance = np.tile(np.eye(2), (2, 1, 1, 1))
    covariance[0] = np.nan
    calibration = {"levels": [0.9], "ball_mm": {"a": [1.0]}, "ellipsoid": {"a": [1.0]}}
    found = region_coverage(points, points, covariance, ("a",), calibration)
    assert (found["ball"]["0.9"]["count"], found["ellipsoid"]["0.9"]["count"]) == (2, 1)
