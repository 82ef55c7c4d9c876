"""What a calibration adds to a result: presence, regions, and what the shape of the training cases rules out."""

import json

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from auto_config.bundle_scripts.calibration import read_calibration, shape_document
from auto_config.bundle_scripts.peaks import make_peaks
from auto_config.bundle_scripts.results import BallLabelMapd, LandmarkResultd
from auto_config.bundle_scripts.shape import ShapeModel

NAMES = [f"{side} {number}" for number in range(5) for side in ("left", "right")]
POINTS = np.random.default_rng(0).uniform(-30, 30, (10, 3))
PRESENCE = {
    "features": ["peak"],
    "mean": [0.0],
    "scale": [1.0],
    "weights": [1.0],
    "intercept": 0.0,
    "offsets": [0.0] * 10,
    "thresholds": [0.5] * 9 + [0.95],
}


def written(path, *, presence=None, spread=0.3):
    random = np.random.default_rng(1)
    model = ShapeModel(10, 3)
    model.fit(np.stack([POINTS + random.normal(size=POINTS.shape) * spread for _ in range(12)]))
    bounds = [[1.0] * 10, [2.0] * 10, [3.0] * 9 + [None], [None] * 10]
    document = {
        "landmarks": NAMES,
        "levels": [0.5, 0.8, 0.9, 0.95],
        "cases": 12,
        "notes": ["few"],
        "presence": presence,
        "shape": shape_document(model),
        "regions": {"ball_mm": bounds, "ellipsoid": bounds, "levelset": bounds},
    }
    path.write_text(json.dumps(document, allow_nan=False))
    return path


def data(points, confidence=0.9):
    image = MetaTensor(
        torch.zeros(1, 4, 4, 4), meta={"original_affine": np.eye(4), "spatial_shape": np.array([40, 40, 40])}
    )
    covariance = torch.eye(3).repeat(10, 1, 1) * 4
    peaks = make_peaks(torch.as_tensor(points), torch.as_tensor(confidence).expand(10), covariance)
    return {"pred": peaks.pack(), "image": image}


def result(path, points, **options):
    confidence = options.pop("confidence", 0.9)
    return LandmarkResultd(landmarks=NAMES, calibration=path, **options)(data(points, confidence))["result"]


def test_regions_are_those_of_the_level(tmp_path):
    path = written(tmp_path / "calibration.json")
    at_ninety = result(path, POINTS)
    assert [item["radius_mm"] for item in at_ninety["landmarks"]] == [3.0] * 9 + [None]
    assert at_ninety["level"] == 0.9
    # A factor of 3 on a covariance of 4 I.
    assert at_ninety["landmarks"][0]["ellipsoid_mm2"] == [[36.0, 0.0, 0.0], [0.0, 36.0, 0.0], [0.0, 0.0, 36.0]]
    assert at_ninety["landmarks"][9]["ellipsoid_mm2"] is None
    assert result(path, POINTS, level=0.5)["landmarks"][9]["radius_mm"] == 1.0
    with pytest.raises(ValueError, match="allowed are"):
        LandmarkResultd(landmarks=NAMES, calibration=path, level=0.7)


def test_presence_is_a_probability_and_a_threshold_for_each_landmark(tmp_path):
    path = written(tmp_path / "calibration.json", presence=PRESENCE)
    found = result(path, POINTS)["landmarks"]
    # The logit of the confidence is the whole evidence here, so the probability is the confidence.
    assert [item["confidence"] for item in found] == pytest.approx([0.9] * 10)
    assert [item["present"] for item in found] == [1] * 9 + [0]
    assert {item["present"] for item in result(path, POINTS, all_present=True)["landmarks"]} == {1}
    without = result(written(tmp_path / "other.json"), POINTS, confidence=0.2)["landmarks"]
    assert {(item["present"], round(item["confidence"], 5)) for item in without} == {(1, 0.2)}


def test_absent_landmarks_are_not_drawn(tmp_path):
    path = written(tmp_path / "calibration.json", presence=PRESENCE)
    points = np.arange(10)[:, None] * np.array([[3.0, 3.0, 3.0]]) + 4
    done = BallLabelMapd(radius_mm=1.0)(LandmarkResultd(landmarks=NAMES, calibration=path)(data(points)))
    assert set(np.unique(done["pred"])) == set(range(10))


def test_exchanged_sides_are_implausible(tmp_path):
    path = written(tmp_path / "calibration.json")
    assert [item["implausible"] for item in result(path, POINTS)["landmarks"]] == [False] * 10
    exchanged = POINTS.copy()
    exchanged[[2, 3]] = exchanged[[3, 2]]
    found = [item["implausible"] for item in result(path, exchanged)["landmarks"]]
    assert found == [i in (2, 3) for i in range(10)]


def test_landmarks_that_are_not_there_are_no_part_of_the_shape(tmp_path):
    path = written(tmp_path / "calibration.json", presence=PRESENCE)
    points = POINTS.copy()
    points[9] += 100
    found = [item["implausible"] for item in result(path, points)["landmarks"]]
    assert found == [False] * 9 + [None]


def test_a_shape_that_varies_freely_judges_nothing(tmp_path):
    path = written(tmp_path / "calibration.json", spread=15.0)
    assert {item["implausible"] for item in result(path, POINTS)["landmarks"]} == {None}


def test_the_summary_is_json_and_says_what_is_infinite(tmp_path):
    summary = read_calibration(written(tmp_path / "calibration.json"), NAMES).summary()
    again = json.loads(json.dumps(summary, allow_nan=False))
    assert again["ball_mm"]["right 4"] == [1.0, 2.0, None, None]
    assert (again["cases"], again["notes"], again["presence"]) == (12, ["few"], False)
