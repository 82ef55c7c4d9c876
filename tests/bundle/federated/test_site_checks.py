"""What a site's data must be for a plan that was made elsewhere: one line for each thing that does not fit."""

from dataclasses import replace

import numpy as np
import pytest

from auto_config.federation.checks import ACCEPTABLE, Planned, foreign_names, site_problems
from auto_config.fingerprint.summary import Fingerprint
from auto_config.methods.plan import Decision, Plan

TEMPLATE = np.random.default_rng(5).uniform(-40, 40, (7, 3))
NAMES = tuple("abcdefg")


def fingerprint(**given):
    usual = dict.fromkeys(Fingerprint.__dataclass_fields__)
    usual |= {"cases": 5, "spatial_dims": 3, "channels": 1, "unit": "mm", "many": [], "channel_guesses": [None]}
    usual["spacings"] = [[1.0, 1.0, 2.0], [1.2, 1.2, 3.0]]
    return Fingerprint(**{**usual, **given})


def planned(pose="upright", kind="zscore", **given):
    decisions = {
        "pose": Decision({"kind": pose, "limit_deg": 45.0}, ""),
        "normalization": Decision([{"kind": kind}], ""),
    }
    return Planned(Plan(decisions), fingerprint(**given), NAMES, TEMPLATE)


def points(change=lambda template: template):
    noise = np.random.default_rng(6).normal(0, 0.5, (4, *TEMPLATE.shape))
    return np.stack([change(TEMPLATE + one) for one in noise]) + 100


def turned(degrees):
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return lambda template: template @ turn.T


def mirrored(template):
    return template * (-1, 1, 1)


def messages(*arguments, **given):
    return [problem.message for problem in site_problems(*arguments, **given)]


def test_data_as_planned_have_no_problem():
    assert messages(planned(), fingerprint(), points()) == []
    assert messages(planned(), fingerprint(spacings=[[0.6, 0.6, 5.9]]), points(turned(40))) == []


@pytest.mark.parametrize(
    ("site", "words"),
    [
        ({"spatial_dims": 2}, "dimensions of the images are 2, the plan is for 3"),
        ({"channels": 2}, "channels of the images are 2, the plan is for 1"),
        ({"unit": "px"}, "unit of the images are px"),
        ({"many": [{"landmark": 1}]}, "'b' is declared many here and not in the plan"),
    ],
)
def test_facts_of_the_network_cannot_be_accepted(site, words):
    (problem,) = site_problems(planned(), fingerprint(**site), points(), ACCEPTABLE)
    assert problem.severity == "error"
    assert words in problem.message


@pytest.mark.parametrize(
    ("plan", "site", "change", "check", "words"),
    [
        ({}, {"spacings": [[1.0, 1.0, 6.5]]}, None, "spacing", "1 x 1 x 6.5 mm, the plan was made for 1 x 1 x 2 to"),
        ({}, {"spacings": [[0.4, 1.0, 2.0]]}, None, "spacing", "0.4 x 1 x 2"),
        ({}, {"channel_guesses": ["ct"]}, None, "normalization", "channel 0 holds Hounsfield units"),
        ({"kind": "ct"}, {}, None, "normalization", "holds no Hounsfield units, the plan normalizes by Hounsfield"),
        ({}, {}, turned(90), "pose", "lie 90 degrees off"),
        ({}, {}, mirrored, "pose", "left and right are exchanged"),
        ({}, {}, lambda template: template * 10, "size", "times as large as planned for; check the unit"),
    ],
)
def test_what_can_be_overruled_is_an_error_unless_it_is(plan, site, change, check, words):
    given = points() if change is None else points(change)
    (problem,) = site_problems(planned(**plan), fingerprint(**site), given)
    assert problem.severity == "error"
    assert words in problem.message and f"--accept {check}" in problem.message and "\n" not in problem.message
    (problem,) = site_problems(planned(**plan), fingerprint(**site), given, (check,))
    assert problem.severity == "warning"


def test_a_plan_for_any_pose_takes_any_pose_and_few_points_say_nothing():
    assert messages(planned(pose="free"), fingerprint(), points(turned(170))) == []
    few = points(turned(170))
    few[:, 3:] = np.nan
    assert messages(planned(), fingerprint(), few) == []
    assert messages(replace(planned(), offsets=np.full_like(TEMPLATE, np.nan)), fingerprint(), points()) == []


def test_names_that_the_plan_does_not_have():
    assert foreign_names(NAMES, ["a", "b"], [1, 2]) is None
    assert foreign_names(NAMES, ["a", "x"], [1, 0]) is None
    assert "no landmark 'x'; rename it" in foreign_names(NAMES, ["a", "x"], [1, 1])
    assert "none of its landmarks ('x') is in the plan, which has 'a', 'b', 'c', ..." in foreign_names(
        NAMES, ["x"], [1]
    )
