"""Where landmarks lie, measured, and when predictions look there first."""

import json
from dataclasses import replace

import numpy as np
import pytest
from analytic_blobs import parse, plan_of

from auto_config.bundle import configs
from auto_config.bundle_scripts.inference.expected.places import ExpectedPlaces
from auto_config.fingerprint.places import where_landmarks_lie
from auto_config.fingerprint.summary import Fingerprint
from auto_config.methods import BACKBONES, METHODS
from auto_config.methods.plan import Decision
from auto_config.planning.prediction.places import plan_places

DECIDED = {"pose": {"kind": "upright"}, "instances": {"many": [], "exchangeable": []}, "overlap": 0.5}
STAGE = {"name": "fine", "spacing": [1.0] * 3, "patch_size": [96] * 3}


def cohort(spread, cases=20, landmarks=32):
    """Points (N, L, 3) in mm of an anatomy of 180 mm in images of 300 mm about (10, 20, 30)."""
    random = np.random.default_rng(0)
    mean = random.uniform(-60, 60, (landmarks, 3))
    points = mean + random.normal(size=(cases, landmarks, 3)) * spread + [10, 20, 30]
    return mean, points


def numbers(points, **given):
    """The part of a fingerprint that is asked."""
    cases, landmarks = points.shape[:2]
    usual = Fingerprint(
        cases=cases,
        spatial_dims=3,
        channels=1,
        landmarks=landmarks,
        shapes=[[300] * 3] * cases,
        spacings=[[1.0] * 3] * cases,
        extents_mm=[[300.0] * 3] * cases,
        intensity=[],
        is_integer=False,
        modality_guess=None,
        landmark_extent_mm=[],
        present=[cases] * landmarks,
        absent=[0] * landmarks,
        unknown=[0] * landmarks,
        nearest_landmarks_mm={},
        pairs=[],
        midline=[],
        left_right_axis_evidence={},
        places=where_landmarks_lie(points, [[10.0, 20.0, 30.0]] * cases, [None] * cases),
    )
    return replace(usual, **given)


def decided(fingerprint, method="nnlandmark", stage=STAGE, **changes):
    return plan_places(fingerprint, METHODS[method], BACKBONES["tiny"], [stage], DECIDED | changes)["places"]


def test_places_are_about_the_middle_along_the_axes_of_the_grid():
    points = np.array([[[11.0, 22.0, 33.0]], [[13.0, 22.0, 37.0]], [[np.nan] * 3]])
    turned = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    found = where_landmarks_lie(points, [[10.0, 20.0, 30.0]] * 3, [turned] * 3)
    assert found["cases"] == [2] and found["mean_mm"] == [[2.0, 2.0, 5.0]]
    # Two cases: the standard deviation sqrt(2) d, and that of a further one sqrt(3/2) times as large.
    np.testing.assert_allclose(found["spread_mm"], [[0.0, 3**0.5, 2 * 3**0.5]], atol=1e-3)
    assert found["largest_mm"] == [[0.0, 1.0, 2.0]]
    alone = where_landmarks_lie(points[:1], [[0.0] * 3], [None])
    assert alone == {"cases": [1], "mean_mm": [None], "spread_mm": [None], "largest_mm": [None]}


def test_predictable_places_are_used_and_hold_every_training_case():
    mean, points = cohort(5.0)
    plan = decided(numbers(points, absent=[0, 3] + [0] * 30))
    assert "windows show them, in place of 216" in plan.reason
    assert plan.value["absent"] == [1] and plan.value["extent_mm"] == [[300.0] * 3] * 2
    places = ExpectedPlaces(**json.loads(json.dumps(plan.value)), spacing=[1.0] * 3)
    boxes, voxels = places.boxes([300] * 3), points - [10, 20, 30] + 149.5
    assert ((boxes.low <= voxels) & (voxels <= boxes.high)).all()
    np.testing.assert_allclose(places.mean_mm, mean, atol=5)
    assert places.usual_size([300] * 3) and places.usual_size([325, 300, 275])
    assert not places.usual_size([335, 300, 300]) and not places.usual_size([300, 300, 265])


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"pose": {"kind": "free"}}, "any pose"),
        ({"instances": {"many": [{"landmark": 0}], "exchangeable": []}}, "several instances"),
        ({"method": "dsnt"}, "no confidence says"),
        ({"stage": STAGE | {"patch_size": [32] * 3}}, "more than 50%"),
        ({"stage": STAGE | {"patch_size": [256] * 3}}, "more than 50%"),
    ],
)
def test_all_windows_where_places_do_not_help(changes, why):
    plan = decided(numbers(cohort(5.0)[1]), **changes)
    assert plan.value is None and why in plan.reason


def test_all_windows_where_places_are_not_known():
    assert "fewer than 10 cases" in decided(numbers(cohort(5.0, cases=9)[1])).reason
    assert "spread by up to" in decided(numbers(cohort(20.0)[1])).reason
    assert "earlier version" in decided(numbers(cohort(5.0)[1], places={})).reason
    assert plan_places(numbers(cohort(5.0)[1]), METHODS["default"], BACKBONES["tiny"], [STAGE] * 2, DECIDED) == {}


def test_only_a_plan_with_places_writes_them():
    plan = plan_of(landmarks=2)
    assert plan.decisions["places"].value is None
    config = configs.inference_config(plan, 2)
    assert "places" not in config and "all_windows" not in config and "expected" not in config["inferer"]
    value = {"mean_mm": [[0.0] * 3] * 2, "spread_mm": [[1.0] * 3] * 2, "extent_mm": [[48.0] * 3] * 2, "absent": []}
    config = configs.inference_config(replace(plan, decisions=plan.decisions | {"places": Decision(value, "so")}), 2)
    assert config["places"]["mean_mm"] == value["mean_mm"] and config["all_windows"] is False
    assert config["inferer"]["expected"] == "$None if @all_windows else @places"
    assert "places" not in plan_of(landmarks=2, stages=2).decisions


@pytest.mark.parametrize("everywhere", [False, True])
def test_a_switch_of_the_config_turns_them_off(tmp_path, everywhere):
    plan, names = plan_of(landmarks=2), ["a", "b"]
    value = {"mean_mm": [[0.0] * 3] * 2, "spread_mm": [[1.0] * 3] * 2, "extent_mm": [[48.0] * 3] * 2, "absent": []}
    config = configs.inference_config(replace(plan, decisions=plan.decisions | {"places": Decision(value, "so")}), 2)
    inferer = parse(config, tmp_path, names, all_windows=everywhere).get_parsed_content("inferer")
    assert (inferer.expected is None) == everywhere
    assert everywhere or inferer.expected.mean_mm.shape == (2, 3)
