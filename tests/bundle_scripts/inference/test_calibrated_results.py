"""What a calibration adds to a result: presence, regions, and what the shape of the training cases rules out."""

import json

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from auto_config.bundle_scripts.inference.calibration import read_calibration, shape_document
from auto_config.bundle_scripts.inference.results import BallLabelMapd, LandmarkResultd
from auto_config.bundle_scripts.points.instances import Instances
from auto_config.bundle_scripts.points.peaks import make_peaks
from auto_config.bundle_scripts.points.shape import ShapeModel

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


MANY = ("tip", "bud", "end 1", "end 2")
KNOWN = Instances(MANY, (1, 4, 1, 1), (False, True, False, False), ((2, 3),), (0.0, 5.0, 4.0, 4.0), (0.5,) * 4)
"""Rows: tip, bud, end 1, end 2, three more of bud."""


def of_many(path, confidence, *, thresholds=(0.5, 0.5, 0.5, 0.5), presence=True, **options):
    """The result of seven rows of which the last is empty."""
    section = {**PRESENCE, "offsets": [0.0, 1.0, 0.0, 0.0], "thresholds": list(thresholds)}
    model = ShapeModel(4, 3)
    document = {
        "landmarks": list(MANY),
        "levels": [0.9],
        "cases": 12,
        "notes": [],
        "match_mm": {"bud": 5.0},
        "presence": section if presence else None,
        "shape": shape_document(model),
        "regions": {kind: [[1.0, 2.0, 3.0, 4.0]] for kind in ("ball_mm", "ellipsoid", "levelset")},
    }
    path.write_text(json.dumps(document, allow_nan=False))
    points = torch.arange(21, dtype=torch.float32).reshape(7, 3)
    covariance = torch.eye(3).repeat(7, 1, 1)
    points[6], covariance[6] = torch.nan, torch.nan
    image = data(POINTS)["image"]
    peaks = make_peaks(points, torch.tensor([*confidence, 0.0]), covariance)
    step = LandmarkResultd(landmarks=MANY, calibration=path, instances=KNOWN, **options)
    return step({"pred": peaks.pack(), "image": image})["result"]


def listed(result):
    return [(item["name"], item.get("instance"), item["present"]) for item in result["landmarks"]]


def test_a_calibration_says_which_instances_are_listed(tmp_path):
    path = tmp_path / "calibration.json"
    # Logits of bud are one higher than those of the peaks: 0.4 is 0.64, 0.3 is 0.54 and 0.2 is 0.40.
    confidence = [0.9, 0.4, 0.9, 0.3, 0.3, 0.2]
    found = of_many(path, confidence)
    assert listed(found) == [("tip", None, 1), ("bud", 1, 1), ("bud", 2, 1), ("end 1", None, 1), ("end 2", None, 0)]
    assert found["level"] == 0.9
    bud = [item for item in found["landmarks"] if item["name"] == "bud"]
    assert [item["confidence"] for item in bud] == pytest.approx([0.6444, 0.5381], abs=1e-3)
    assert [item["world"][0] for item in bud] == [3.0, 12.0]
    assert [item["radius_mm"] for item in found["landmarks"]] == [1.0, 2.0, 2.0, 3.0, 4.0]
    np.testing.assert_array_equal(bud[1]["ellipsoid_mm2"], np.eye(3) * 4)
    assert {item["implausible"] for item in found["landmarks"]} == {None}
    # The thresholds of the training (0.5) would have listed the first one alone, as absent.
    assert listed(of_many(path, confidence, presence=False))[:3] == [
        ("tip", None, 1),
        ("bud", 1, 0),
        ("end 1", None, 1),
    ]
    assert len(of_many(path, confidence, thresholds=(0.5, 0.39, 0.5, 0.5))["landmarks"]) == 6


def test_an_image_without_instances_lists_the_most_probable_one_as_absent(tmp_path):
    path = tmp_path / "calibration.json"
    found = of_many(path, [0.9, 0.1, 0.9, 0.9, 0.09, 0.08])
    assert listed(found)[:3] == [("tip", None, 1), ("bud", 1, 0), ("end 1", None, 1)]
    everything = of_many(path, [0.1, 0.1, 0.1, 0.1, 0.09, 0.08], all_present=True)
    assert [present for *_, present in listed(everything)] == [1] * 4


def test_what_is_below_the_floor_is_no_instance_whatever_the_threshold(tmp_path):
    found = of_many(tmp_path / "calibration.json", [0.9, 0.04, 0.9, 0.9, 0.03, 0.02], thresholds=(0.5, 0.01, 0.5, 0.5))
    assert listed(found)[1] == ("bud", 1, 0) and len(found["landmarks"]) == 4


def test_candidates_are_listed_by_probability_and_not_by_place():
    confidence, finite = np.array([0.9, 0.2, 0.9, 0.9, 0.7, 0.6, np.nan]), np.array([True] * 6 + [False])
    assert KNOWN.counted(confidence, finite) == [0, 4, 5, 2, 3]
    assert KNOWN.counted(confidence, finite, [0.5, 0.8, 0.5, 0.5]) == [0, 4, 2, 3]  # the most confident of too few
    assert KNOWN.counted(np.zeros(7), np.zeros(7, dtype=bool)) == [0, 1, 2, 3]
