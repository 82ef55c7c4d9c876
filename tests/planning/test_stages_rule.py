"""One stage or two, and what each sees."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from auto_config.errors import UserError
from auto_config.methods import BACKBONES, METHODS
from auto_config.methods.topology import Topology
from auto_config.planning.stages import Anatomy, _given, describe, jitter_mm, plan_stages

SKULL = Anatomy((0.17, 0.16, 0.16), (88, 153, 77), (16.0, 26.5, 15.5), 51, 34)
SMALL = Anatomy((1.0, 1.0, 1.0), (40, 40, 40), (40.0, 40.0, 40.0), 5, 20)
THICK = Anatomy((0.6, 0.6, 5.0), (512, 512, 20), (310.0, 310.0, 105.0), 6, 100)
LARGE = Anatomy((0.5, 0.5, 0.5), (512, 512, 400), (256.0, 256.0, 200.0), 14, 283)


def _voxels(stage):
    return int(np.prod(stage["patch_size"]))


def test_medians_and_percentiles_on_the_planned_grid():
    anatomy = describe(
        (1, 1, 2), [(1, 1, 1), (2, 1, 1), (1, 1, 1)], [(10, 20, 30)] * 3, [(10, 20, 30), (20, 20, 30)] * 2, 4
    )
    assert anatomy.median_shape == (10, 20, 15)
    assert anatomy.extent_mm == pytest.approx((20, 20, 30))
    assert (anatomy.cases, anatomy.landmarks) == (3, 4)


def test_small_anatomy_has_one_stage():
    stages, reason = plan_stages(BACKBONES["tiny"], METHODS["default"], SMALL)
    assert [stage["name"] for stage in stages] == ["fine"]
    assert stages[0]["factor"] == [1, 1, 1]
    assert stages[0]["patch_size"] == [40, 40, 40]
    assert "crops_per_image" not in stages[0]
    assert jitter_mm(stages) is None
    assert "100, 100, 100 %" in reason


@pytest.mark.parametrize("anatomy", [SKULL, THICK, LARGE])
@pytest.mark.parametrize("name", ["tiny", "plain"])
def test_coarse_patch_holds_the_whole_anatomy_with_margin(anatomy, name):
    coarse, fine = plan_stages(BACKBONES[name], METHODS["default"], anatomy, wanted=2)[0]
    for axis, edge in enumerate(coarse["patch_size"]):
        assert edge * coarse["spacing"][axis] >= 1.1 * anatomy.extent_mm[axis]
        assert coarse["spacing"][axis] == pytest.approx(coarse["factor"][axis] * anatomy.spacing[axis])
        assert edge % np.prod([stride[axis] for stride in coarse["strides"]]) == 0
    grid = np.array(coarse["spacing"])
    blocks = grid[np.array(coarse["factor"]) > 1]
    assert blocks.max() / blocks.min() <= 1.5
    assert coarse["batch_size"] == fine["batch_size"] == (1 if name == "tiny" else 2)
    assert fine["spacing"] == pytest.approx(anatomy.spacing)
    assert fine["factor"] == [1, 1, 1]


def test_skull_on_a_cpu():
    stages, reason = plan_stages(BACKBONES["tiny"], METHODS["default"], SKULL)
    coarse, fine = stages
    assert 32_000 < _voxels(coarse) <= 64_000
    assert coarse["filters"] == [12, 24, 48, 96]
    assert fine["patch_size"] == [32, 32, 32]
    assert fine["filters"] == [16, 32, 64, 128]
    assert len(fine["strides"]) == 4
    assert fine["crops_per_image"] == 4
    assert jitter_mm(stages) == pytest.approx(np.prod(coarse["spacing"]) ** (1 / 3) * 2 / 3, abs=1e-4)
    assert "neighbours" in reason


def test_skull_on_a_gpu_fits_one_patch():
    stages, _ = plan_stages(BACKBONES["plain"], METHODS["default"], SKULL)
    assert len(stages) == 1
    assert stages[0]["patch_size"] == [96, 160, 80]
    assert stages[0]["filters"] == [32, 64, 128, 256, 320]


def test_gpu_fine_crops_are_shorter_on_thick_axes():
    fine = plan_stages(BACKBONES["plain"], METHODS["default"], THICK, wanted=2)[0][1]
    # 64 voxels of 0.6 mm are 38.4 mm, 8 slices of 5 mm.
    assert fine["patch_size"] == [64, 64, 8]
    assert 1 <= fine["crops_per_image"] <= 16


def test_residual_network_says_its_blocks():
    stages, _ = plan_stages(BACKBONES["resenc_m"], METHODS["default"], LARGE)
    for stage in stages:
        assert stage["blocks"] == [1, 3, 4, 6, 6, 6][: len(stage["filters"])]


def test_the_published_method_has_one_stage_unless_told():
    assert len(plan_stages(BACKBONES["plain"], METHODS["nnlandmark"], LARGE)[0]) == 1
    assert len(plan_stages(BACKBONES["plain"], METHODS["default"], LARGE)[0]) == 2
    stages, reason = plan_stages(BACKBONES["plain"], METHODS["nnlandmark"], LARGE, wanted=2)
    assert len(stages) == 2
    assert reason.startswith("given by the user")


def test_given_patch():
    stages, reason = plan_stages(BACKBONES["plain"], METHODS["default"], LARGE, patch_size=(64, 64, 32), wanted=1)
    assert stages[0]["patch_size"] == [64, 64, 32]
    assert stages[0]["batch_size"] == 2
    assert "patch given by the user" in reason
    coarse, fine = plan_stages(BACKBONES["plain"], METHODS["default"], LARGE, patch_size=(48, 48, 48))[0]
    assert fine["patch_size"] == [48, 48, 48]
    assert coarse["patch_size"] != fine["patch_size"]


def test_patch_that_does_not_fit_names_the_next_that_does():
    with pytest.raises(UserError, match=r"--patch_size 60,64,64 .* multiple of 16,16,16, such as 64,64,64"):
        plan_stages(BACKBONES["plain"], METHODS["default"], LARGE, patch_size=(60, 64, 64))


def test_given_patch_of_two_stages_fits_the_fine_network_alone():
    # One stage of the tiny network halves this axis four times, a fine stage three times.
    with pytest.raises(UserError, match="multiple of"):
        plan_stages(BACKBONES["tiny"], METHODS["default"], LARGE, patch_size=(72, 72, 72), wanted=1)
    _, fine = plan_stages(BACKBONES["tiny"], METHODS["default"], LARGE, patch_size=(72, 72, 72), wanted=2)[0]
    assert fine["patch_size"] == [72, 72, 72]
    with pytest.raises(UserError, match=r"multiple of 8,8,8, such as 48,48,48"):
        plan_stages(BACKBONES["tiny"], METHODS["default"], LARGE, patch_size=(44, 44, 44), wanted=2)


def test_2d():
    picture = Anatomy((0.1, 0.1), (1935, 2400), (193.5, 240.0), 19, 150)
    coarse, fine = plan_stages(BACKBONES["tiny"], METHODS["default"], picture)[0]
    assert len(coarse["patch_size"]) == 2
    assert _voxels(coarse) <= 64_000
    assert fine["patch_size"] == [64, 64]


def test_planned_voxel_far_too_fine_for_any_coarse_grid():
    huge = Anatomy((0.01,) * 3, (9000,) * 3, (90.0,) * 3, 5, 5)
    with pytest.raises(UserError, match=r"coarser --spacing or --stages 1"):
        plan_stages(BACKBONES["tiny"], METHODS["default"], huge)


WHOLE = replace(METHODS["default"], name="whole", whole_anatomy=True, stages="one")


@pytest.mark.parametrize("name", ["tiny", "plain"])
def test_a_method_that_must_see_everything_has_one_patch_of_all(name):
    extended = replace(SMALL, median_shape=(30, 30, 30), extent_mm=(36.0, 40.0, 32.0))
    (stage,), reason = plan_stages(BACKBONES[name], WHOLE, extended)
    assert all(edge >= whole for edge, whole in zip(stage["patch_size"], extended.extent_mm, strict=True))
    assert "method whole has one stage" in reason
    # What the user says about the patch or the stages holds all the same.
    given = plan_stages(BACKBONES[name], WHOLE, LARGE, patch_size=(64, 64, 64), wanted=1)[0]
    assert given[0]["patch_size"] == [64, 64, 64]
    assert len(plan_stages(BACKBONES[name], WHOLE, LARGE, wanted=2)[0]) == 2


def test_a_grid_on_which_the_whole_does_not_fit_is_refused_with_one_on_which_it_does():
    with pytest.raises(UserError, match=r"^--spacing 0.5,0.5,0.5: method whole must see .*, such as ") as error:
        plan_stages(BACKBONES["tiny"], WHOLE, LARGE)
    coarser = tuple(float(step) for step in str(error.value).rsplit(" ", 1)[1].split(","))
    (stage,), _ = plan_stages(BACKBONES["tiny"], WHOLE, replace(LARGE, spacing=coarser))
    assert _voxels(stage) <= 64_000
    assert np.all(np.multiply(stage["patch_size"], coarser) >= LARGE.extent_mm)


def test_a_method_of_two_stages_has_two():
    two = replace(METHODS["default"], name="two", stages="two")
    stages, reason = plan_stages(BACKBONES["tiny"], two, SMALL)
    assert [stage["name"] for stage in stages] == ["coarse", "fine"]
    assert "method two has two stages" in reason


@pytest.mark.parametrize("anatomy", [SMALL, LARGE])
def test_crops_are_jittered_by_a_share_of_what_a_coarse_cell_is(anatomy):
    backbone = BACKBONES["grid"]
    stages, reason = plan_stages(backbone, METHODS["global_to_local"], anatomy)
    coarse, fine = stages
    assert "method global_to_local has two stages" in reason
    assert not any(edge % 8 for edge in coarse["patch_size"])
    # Small crops, as networks for CPUs have them.
    assert (fine["patch_size"], fine["crops_per_image"]) == ([32, 32, 32], 4)
    edge = np.prod(coarse["spacing"]) ** (1 / 3)
    assert jitter_mm(stages, backbone.stride) == pytest.approx(8 / 6 * edge, abs=1e-4)
    assert jitter_mm(stages, 2) == jitter_mm(stages) == pytest.approx(2 / 3 * edge, abs=1e-4)


def test_a_given_patch_of_a_method_of_two_stages_is_that_of_its_crops():
    method = METHODS["global_to_local"]
    coarse, fine = plan_stages(BACKBONES["grid"], method, SMALL, patch_size=(20, 18, 22))[0]
    assert fine["patch_size"] == [20, 18, 22]
    assert not any(edge % 8 for edge in coarse["patch_size"])
    with pytest.raises(UserError, match=r"--patch_size 20,18,21 .* must be a multiple of 2,2,2, such as 20,18,22"):
        plan_stages(BACKBONES["grid"], method, SMALL, patch_size=(20, 18, 21))


@pytest.mark.parametrize(
    ("edges", "words"), [([16, 16], "too small .* 2,2, from 32,32 on"), ([33, 33], "multiple of 2,2")]
)
def test_a_patch_is_refused_for_what_is_wrong_with_it(edges, words):
    """A network of one's own takes multiples of two, from 32 on: 16 is one, and too small."""
    fitting = [max(32, edge + edge % 2) for edge in edges]
    network = SimpleNamespace(topology=lambda spacing, patch: Topology(tuple(fitting), ((1, 1),), ((3, 3),), (2, 2)))
    with pytest.raises(UserError, match=words):
        _given((1.0, 1.0), edges, network)


@pytest.mark.parametrize("edges", [(16, 16, 16), (32, 32, 32), (32, 96, 128), (65, 16, 33)])
def test_a_patch_that_is_too_small_is_told_the_multiple_and_the_least_in_one_line(edges):
    """Whoever follows the line once has a patch that is taken."""
    network = BACKBONES["hourglass"]
    with pytest.raises(UserError, match=r"too small .* multiples of 32,32,32, from 64,64,64 on"):
        _given((1.0, 1.0, 1.0), edges, network)
    assert _given((1.0, 1.0, 1.0), (64, 96, 128), network).patch_size == (64, 96, 128)
