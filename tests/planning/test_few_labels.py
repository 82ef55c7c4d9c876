"""What is planned otherwise below ten labelled cases, and what is not."""

import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from test_planner_decisions import SKULLS, SPLIT

from auto_config.bundle.configs import train_config
from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.bundle_scripts.training.deformation import MOST_AMPLITUDE
from auto_config.datasets.model.dataset import Case
from auto_config.planning import Decision, PlanOptions, make_plan, make_split
from auto_config.planning.few_labels import (
    AMPLITUDE,
    are_few,
    deformation_of,
    folds_and_test,
    split_decisions,
    stronger,
)
from auto_config.planning.splits import number_to_train_on
from auto_config.planning.terminal import print_plan


def case(number, split="training", labelled=True, group=None):
    points = LandmarkSet(("a",), np.zeros((1, 3)), np.ones(1, dtype=np.int8)) if labelled else None
    return Case(f"c{number}", (Path(f"/images/c{number}.nii.gz"),), points, split=split, group=group)


def plan(**options):
    return make_plan(SKULLS, PlanOptions(**options), SPLIT)


@pytest.mark.parametrize(
    ("labelled", "wanted", "few"), [(9, None, True), (10, None, False), (9, False, False), (40, True, True)]
)
def test_fewer_than_ten_are_few_unless_the_user_says_otherwise(labelled, wanted, few):
    assert are_few(labelled, wanted) is few


@pytest.mark.parametrize(
    ("few", "labelled", "folds", "fraction", "expected"),
    [
        (True, 7, None, None, (7, 0.0)),
        (True, 1, None, None, (2, 0.0)),  # `make_split` makes one of it
        (True, 7, 3, 0.3, (3, 0.3)),
        (True, 7, None, 0.3, (7, 0.3)),
        (False, 34, None, None, (5, 0.2)),
        (False, 34, 2, 0.0, (2, 0.0)),
    ],
)
def test_each_case_is_a_fold_and_none_is_held_back(few, labelled, folds, fraction, expected):
    assert folds_and_test(few, labelled, folds, fraction) == expected


@pytest.mark.parametrize("number", [1, 2, 3, 9])
def test_leave_one_out(number):
    cases = [case(n) for n in range(number)]
    count, fraction = folds_and_test(True, number, None, None)
    split = make_split(cases, folds=count, test_fraction=fraction)
    assert split.test == ()
    assert sorted(split.folds.values()) == list(range(number))
    decisions = split_decisions(split.decisions, True, number, None, None)
    assert decisions["folds"].value["from"] == "leave_one_out"
    assert f"{number} labelled cases are few, so each is left out once" in decisions["folds"].reason
    assert "each is judged by the fold that did not see it" in decisions["test"].reason


def test_groups_stay_together_in_leave_one_out():
    cases = [case(n, group=f"patient {n // 2}") for n in range(6)]
    split = make_split(cases, folds=folds_and_test(True, 6, None, None)[0], test_fraction=0.0)
    assert sorted(split.folds.values()) == [0, 0, 1, 1, 2, 2]


def test_what_the_user_or_the_data_set_says_stays():
    cases = [case(n, split="test" if n < 2 else "training") for n in range(6)]
    split = make_split(cases, folds=2, test_fraction=0.0)
    assert split_decisions(split.decisions, True, 4, 2, 0.0) == dict(split.decisions)
    assert split_decisions(split.decisions, True, 4, None, None)["test"] == split.decisions["test"]
    assert split_decisions(split.decisions, False, 40, None, None) == dict(split.decisions)


def test_test_cases_and_cases_without_landmarks_are_no_labels_to_train_on():
    cases = [case(0), case(1), case(2, split="test"), case(3, labelled=False)]
    assert number_to_train_on(cases, None) == 2
    assert number_to_train_on(cases, ["c0"]) == 2  # the user's test takes the place of the data set's


def test_ranges_are_a_third_wider_and_shares_stay():
    found = stronger(
        {"rotation": {"prob": 0.5, "max_rad": 0.3}, "scale": {"prob": 1.0, "low": 0.8, "high": 1.25}, "axis": None}
    )
    assert found["rotation"] == {"prob": 0.5, "max_rad": 0.4}
    assert found["scale"]["high"] == pytest.approx(math.exp(4 / 3 * math.log(1.25)), abs=1e-4)
    assert found["scale"]["low"] * found["scale"]["high"] == pytest.approx(1.0, abs=1e-3)
    assert found["axis"] is None


def test_few_labels_are_augmented_more_and_deformed_and_pooled():
    usual, few = plan(), plan(few_labels=True)
    before, after = usual.value("augmentation"), few.value("augmentation")
    assert "deformation" not in before
    assert after["rotation"]["max_rad"] > before["rotation"]["max_rad"]
    # A quarter of the mean extent (16 + 25.6 + 12.8) / 3 mm.
    assert after["deformation"] == {"prob": 0.5, "amplitude": AMPLITUDE, "control_mm": 4.533}
    assert "half of the patches are deformed smoothly, because few cases are labelled" in few.reason("augmentation")
    assert (usual.value("regions"), few.value("regions")) == ({"pooled": False}, {"pooled": True})
    changed = {name for name in few.decisions if few.decisions[name] != usual.decisions[name]}
    assert changed == {"augmentation", "regions"}
    assert AMPLITUDE <= MOST_AMPLITUDE


def test_deformation_can_be_asked_for_and_refused():
    assert plan(few_labels=True, deformation=False).value("augmentation").keys() == plan().value("augmentation").keys()
    asked = plan(deformation=True)
    assert asked.value("augmentation") == {
        **plan().value("augmentation"),
        "deformation": deformation_of(SKULLS.extents_mm),
    }
    assert "given by the user" in asked.reason("augmentation")


def test_a_method_that_follows_a_publication_keeps_its_augmentation():
    usual = plan(method="nnlandmark").decisions["augmentation"]
    assert plan(method="nnlandmark", few_labels=True).decisions["augmentation"] == usual
    assert "deformation" in plan(method="nnlandmark", deformation=True).value("augmentation")


def test_train_json_has_the_deformation():
    few = plan(few_labels=True)
    config = train_config(few, 5, "/data", 0)["augmentation"]
    assert config["deformation"] == [0.5, AMPLITUDE, 4.533]
    assert "deformation" not in train_config(plan(), 5, "/data", 0)["augmentation"]


def test_points_in_one_place_have_some_distance_between_control_points():
    assert deformation_of([[0.0, 0.0]])["control_mm"] > 0
    flat = replace(SKULLS, extents_mm=[[16.0, 0.0, 8.0]] * 3)
    assert deformation_of(flat.extents_mm)["control_mm"] == 3.0


@pytest.mark.parametrize(("count", "option"), [(7, " --fold all"), (1, " --fold none"), (0, "")])
def test_what_to_type_next_trains_every_fold(count, option):
    out = io.StringIO()
    folds = SPLIT["folds"] if not count else Decision({"from": "leave_one_out", "count": count}, "few")
    made = make_plan(SKULLS, PlanOptions(), {**SPLIT, "folds": folds})
    print_plan(Path("skulls"), made, Console(file=out, width=40))
    assert out.getvalue().endswith(f"Next: auto_config train skulls{option}\n")
