"""How cases lie, measured on simulated cohorts, and what the plan makes of it."""

from dataclasses import replace

import numpy as np
import pytest
from analytic_blobs import plan_of
from scipy.spatial.transform import Rotation
from upright_networks import anatomy, any_turn

from auto_config.bundle import configs
from auto_config.errors import UserError
from auto_config.fingerprint.pose import grid_frame, how_cases_lie
from auto_config.fingerprint.symmetry import symmetry_from_geometry
from auto_config.methods.plan import Decision
from auto_config.planning.options import PlanOptions
from auto_config.planning.pose import any_lie, cubic, plan_pose, turned_crops, with_pose
from auto_config.planning.stages import Anatomy


def cohort(turns, dims=3, noise=0.3, seed=0):
    points, random = anatomy(dims)[0], np.random.default_rng(seed)
    return np.stack([(points + random.normal(size=points.shape) * noise) @ turn.T + 5.0 for turn in turns])


def about_z(degrees):
    return [Rotation.from_euler("z", angle, degrees=True).as_matrix() for angle in degrees]


class Numbers:
    """The part of a fingerprint that is asked."""

    def __init__(self, pose):
        self.pose = pose


def decided(turns, wanted="auto", dims=3, noise=0.3):
    return plan_pose(Numbers(how_cases_lie(cohort(turns, dims, noise), [None] * len(turns))), wanted)


def test_the_angles_are_those_about_the_mean_pose():
    lie = how_cases_lie(cohort(about_z([-20, -10, 0, 10, 20]), noise=0.0), [None] * 5)
    assert (lie["cases"], lie["beyond"]) == (5, 0)
    assert lie["median_deg"] == pytest.approx(10, abs=0.1)
    assert lie["largest_deg"] == pytest.approx(20, abs=0.1)
    assert lie["diameter_mm"] == pytest.approx(
        np.linalg.norm(anatomy(3)[0][:, None] - anatomy(3)[0], axis=-1).max(), abs=1e-3
    )


def test_cases_that_lie_alike_are_upright():
    plan = decided(about_z(np.linspace(-15, 15, 12)))
    assert plan.value == {"kind": "upright", "limit_deg": 45.0}
    assert "0 of 12 cases lie more than 40 degrees from the mean pose" in plan.reason


def test_one_case_on_its_head_does_not_make_poses_free():
    plan = decided([*about_z(np.linspace(-10, 10, 12)), about_z([180])[0]])
    assert plan.value["kind"] == "upright"
    # It is looked at in turned poses only where it lies farther than training showed.
    assert plan.value["limit_deg"] == 180


@pytest.mark.parametrize("dims", [2, 3])
def test_cases_in_any_pose_are_free(dims):
    plan = decided([any_turn(seed, dims) for seed in range(12)], dims=dims)
    assert plan.value == {"kind": "free", "limit_deg": 180.0}
    assert "of 12 cases lie more than 40 degrees" in plan.reason


def test_points_that_hardly_tell_a_pose_do_not_make_it_free():
    """Noise as large as the shape turns every fit, and says nothing of how cases lie."""
    plan = decided([np.eye(3)] * 12, noise=15.0)
    assert plan.value["kind"] == "upright"


def test_too_few_landmarks_or_cases_say_nothing():
    for points in (cohort([np.eye(3)] * 2), cohort([np.eye(3)] * 8)[:, :2], np.full((5, 4, 3), np.nan)):
        lie = how_cases_lie(points, [None] * len(points))
        assert "median_deg" not in lie
        assert plan_pose(Numbers(lie), "auto").value["kind"] == "upright"
    # A fingerprint of an earlier version.
    assert plan_pose(Numbers({}), "auto").value["kind"] == "upright"


def test_the_user_decides():
    alike, anyhow = about_z([0, 1, 2, 3]), [any_turn(seed, 3) for seed in range(8)]
    assert decided(alike, "free").value["kind"] == "free"
    assert decided(anyhow, "upright").value["kind"] == "upright"
    assert decided(alike, "free").reason.startswith("given by the user; 0 of 4 cases")
    with pytest.raises(UserError, match="--pose must be one of auto, upright, free, got 'lying'"):
        PlanOptions(pose="lying").check(3)


def test_what_counts_is_how_cases_lie_on_the_grid_and_not_in_the_world():
    """Files that are turned with their anatomy lie alike in the world and turned on their grids."""
    turns = about_z([0, 30, -30, 60, -40])
    affines = [np.block([[turn * 0.5, np.zeros((3, 1))], [np.zeros((1, 3)), np.ones((1, 1))]]) for turn in turns]
    frames = [grid_frame(affine) for affine in affines]
    for turn, frame, degrees in zip(turns, frames, (0, 30, -30, -30, -40), strict=True):
        # Axes nearest to RAS: 60 degrees about z are -30 on a grid whose first axis is the other one.
        expected = turn if degrees != -30 or np.allclose(turn, about_z([-30])[0]) else about_z([-30])[0]
        np.testing.assert_allclose(frame, expected, atol=1e-9)
    lie = how_cases_lie(cohort([np.eye(3)] * 5, noise=0.0), frames)
    assert lie["largest_deg"] > 25
    assert how_cases_lie(cohort([np.eye(3)] * 5, noise=0.0), [None] * 5)["largest_deg"] < 0.1


def test_left_axes_and_flips_are_no_turns():
    """LPS and thick slices are the same grid after reorientation."""
    np.testing.assert_array_equal(grid_frame(np.diag([-0.5, -0.5, 3.0, 1.0])), np.eye(3))
    np.testing.assert_array_equal(grid_frame(np.eye(4)[[2, 0, 1, 3]]), np.eye(3))


def test_free_poses_want_two_stages_unless_something_else_is_settled():
    free, upright = (Decision({"kind": kind, "limit_deg": 180.0}, "") for kind in ("free", "upright"))
    assert with_pose((None, ""), free, None)[0] == 2
    assert with_pose((None, ""), upright, None)[0] is None
    assert with_pose((1, "given by the user"), free, 1) == (1, "given by the user")
    assert with_pose((1, "many instances"), free, None) == (1, "many instances")
    assert turned_crops(free, 2).value["turned_crops"]
    assert not turned_crops(free, 1).value["turned_crops"]
    assert "one stage learns every pose" in turned_crops(free, 1).reason
    assert not turned_crops(upright, 2).value["turned_crops"]


def test_grid_and_coarse_patch_hold_the_anatomy_however_it_lies():
    free, upright = (Decision({"kind": kind, "limit_deg": 180.0}, "") for kind in ("free", "upright"))
    thick = Decision([0.5, 0.5, 4.0], "median")
    assert cubic(thick, free, None).value == [1.0, 1.0, 1.0]
    assert cubic(thick, free, (0.5, 0.5, 4.0)) is thick
    assert cubic(thick, upright, None) is thick
    long = Anatomy((1.0, 1.0, 1.0), (12, 22, 10), (12.0, 22.0, 10.0), 15, 9)
    assert any_lie(long, Numbers({})).extent_mm == (22.0, 22.0, 22.0)
    assert any_lie(long, Numbers({"diameter_mm": 24.0})).extent_mm == (24.0, 24.0, 24.0)


def test_configs_turn_only_where_poses_are_free():
    for kind, stages in (("upright", 2), ("free", 2), ("free", 1), ("upright", 1)):
        plan = plan_of(landmarks=6, stages=stages)
        value = {"kind": kind, "limit_deg": 50.0, "turned_crops": kind == "free" and stages == 2}
        plan = replace(plan, decisions={**plan.decisions, "pose": Decision(value, "")})
        train, predict = configs.train_config(plan, 6, "/data", 0), configs.inference_config(plan, 6)
        patches = train["train"]["preprocessing"]["transforms"]
        turned = [step for step in patches if isinstance(step, dict) and step.get("any_pose")]
        upright = [step for step in patches if isinstance(step, dict) and "upright" in step]
        assert (len(turned), len(upright)) == (int(kind == "free"), int(value["turned_crops"]))
        assert ("pose" in train["inferer"]) == value["turned_crops"]
        assert train["shape_fit"].get("upright", False) == value["turned_crops"]
        assert predict["inferer"]["pose"]["kind"] == kind
        assert predict["inferer"]["pose"].get("search", True)
        steps = [step["_target_"].rsplit(".", 1)[-1] for step in predict["postprocessing"]["transforms"]]
        assert ("TurnedCased" in steps) == (kind == "upright")
        # A plan of an earlier version.
        earlier = replace(plan, decisions={k: v for k, v in plan.decisions.items() if k != "pose"})
        assert "pose" not in configs.train_config(earlier, 6, "/data", 0)["inferer"]


def test_pairs_of_cases_that_lie_anyhow_are_found_about_any_plane():
    _, partner = anatomy(3)
    shapes = cohort([Rotation.from_euler("z", 70, degrees=True).as_matrix() @ any_turn(seed, 3) for seed in range(12)])
    found = symmetry_from_geometry(shapes, any_axis=True)
    assert set(found.pairs) == {(i, j) for i, j in enumerate(partner) if i < j}
