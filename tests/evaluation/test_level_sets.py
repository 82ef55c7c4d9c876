"""Level sets that `predict --regions` wrote, against closed forms."""

import csv
import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from auto_config import cli
from auto_config.bundle_scripts.points.landmark_files import write_markups
from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.commands.evaluate import evaluate
from auto_config.datasets.model.properties import Properties, write_properties
from auto_config.errors import UserError
from auto_config.prediction.level_set_files import LevelSets, read_level_sets, write_level_sets

NAMES = ("a", "b")
AFFINE = np.array([[-2.0, 0, 0, 10], [0, 0, 3, -5], [0, 1, 0, 0], [0, 0, 0, 1]])  # voxels of 2 x 1 x 3 mm, turned


def sets_of(voxels, finite=(True, True), affine=AFFINE, level=0.9):
    """Regions of both landmarks, voxel by voxel."""
    return LevelSets(
        names=NAMES,
        level=level,
        affine=affine,
        finite=np.array(finite),
        landmark=np.repeat([0, 1], [len(one) for one in voxels]),
        voxels=np.array([voxel for one in voxels for voxel in one], dtype=int).reshape(-1, len(affine) - 1),
    )


def world(voxel):
    return AFFINE[:3, :3] @ voxel + AFFINE[:3, 3]


def test_a_point_is_where_its_voxel_is():
    sets = sets_of([[(1, 2, 3), (-1, 2, 3)], [(1, 2, 3)]])
    assert sets.sizes.tolist() == pytest.approx([12.0, 6.0])
    for voxel, inside in (((1.4, 2, 3), True), ((1.6, 2, 3), False), ((-0.6, 2.4, 2.6), True), ((3, 2, 1), False)):
        assert sets.hold(0, world(voxel)) is inside, voxel
    # The same voxel belongs to both: neither loses it to the other.
    assert sets.hold(1, world((1, 2, 3))) and not sets.hold(1, world((-1, 2, 3)))


def test_an_infinite_region_holds_everything_and_an_empty_one_nothing():
    sets = sets_of([[], []], finite=(False, True))
    assert np.isposinf(sets.sizes[0]) and sets.sizes[1] == 0
    assert sets.hold(0, np.zeros(3)) and not sets.hold(1, np.zeros(3))


@pytest.mark.parametrize("dims", [2, 3])
def test_level_sets_are_read_as_they_were_written(tmp_path, dims):
    affine = np.diag([0.5, 2.0, 3.0, 1.0])[[*range(dims), 3]][:, [*range(dims), 3]]
    sets = sets_of([[(1, 2, 3)[:dims], (4, 5, 6)[:dims]], [(-7, 8, 9)[:dims]]], affine=affine)
    write_level_sets(tmp_path / "c.regions.npz", sets)
    again = read_level_sets(tmp_path / "c.regions.npz")
    assert (again.names, again.level) == (NAMES, 0.9)
    for name in ("affine", "finite", "landmark", "voxels"):
        np.testing.assert_array_equal(getattr(again, name), getattr(sets, name))
    assert again.sizes[0] == pytest.approx(2 * 0.5 * 2 * (3 if dims == 3 else 1))
    assert list(tmp_path.iterdir()) == [tmp_path / "c.regions.npz"]


@pytest.fixture
def predicted(tmp_path):
    """Two cases with two landmarks, predicted where they are, in a calibrated folder; truth and predictions."""
    truth, out = tmp_path / "truth", tmp_path / "out"
    for folder in (truth / "images", truth / "landmarks", out):
        folder.mkdir(parents=True)
    rows = []
    for case in ("c", "d"):
        nib.save(
            nib.Nifti1Image(np.random.default_rng(0).random((20, 20, 20)), np.eye(4)), truth / f"images/{case}.nii.gz"
        )
        points = np.array([world((1, 2, 3)), world((2, 2, 3))])
        status = np.array([1, case == "c"])
        write_markups(truth / f"landmarks/{case}.mrk.json", LandmarkSet(NAMES, points, status))
        rows += [[case, name, *point, 0.9, 1, 3.0] for name, point in zip(NAMES, points, strict=True)]
    heads = ["case", "landmark", "x_ras_mm", "y_ras_mm", "z_ras_mm", "confidence", "present", "radius_mm"]
    with (out / "predictions.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([heads, *rows])
    bounds = {name: [3.0] for name in NAMES}
    calibration = {"cases": 30, "notes": [], "levels": [0.9], "presence": True, "ball_mm": bounds, "ellipsoid": bounds}
    (out / "run.json").write_text(json.dumps({"calibration": calibration}))
    return truth, out


def test_coverage_and_sizes_by_hand(predicted, capsys):
    truth, out = predicted
    # Of three true points: a in c inside, b in c outside (the voxel is a's alone), a in d inside; b in d is absent.
    write_level_sets(out / "c.regions.npz", sets_of([[(1, 2, 3), (2, 2, 3)], [(1, 2, 3)]]))
    write_level_sets(out / "d.regions.npz", sets_of([[(1, 2, 3)], [(2, 2, 3)] * 1]))
    assert evaluate(out, truth) == 0
    found = json.loads((out / "metrics.json").read_text())["regions"]["level set"]
    assert list(found) == ["0.9"]
    row = found["0.9"]
    assert row["share"] == pytest.approx(2 / 3) and row["count"] == 3 and row["infinite"] == 0
    assert row["median_size"] == pytest.approx(6.0) and row["mean_size"] == pytest.approx((12 + 6 + 6) / 3)
    table = list(csv.DictReader((out / "regions.csv").read_text().splitlines()))
    assert [line["region"] for line in table] == ["ball", "ellipsoid", "level set"]
    assert table[2]["share_inside"] == "0.666667"
    assert "of level sets, 67 % at 0.9." in capsys.readouterr().out
    assert "level set 90%" in (out / "report.html").read_text()


def test_cases_without_level_sets_do_not_count_and_a_prediction_without_any_has_no_row(predicted):
    truth, out = predicted
    evaluate(out, truth)
    assert "level set" not in json.loads((out / "metrics.json").read_text())["regions"]
    write_level_sets(out / "d.regions.npz", sets_of([[(1, 2, 3)], []]))
    evaluate(out, truth)
    assert json.loads((out / "metrics.json").read_text())["regions"]["level set"]["0.9"]["count"] == 1


def test_files_that_cannot_be_used_are_one_line(predicted, capsys):
    truth, out = predicted
    sets = sets_of([[(1, 2, 3)], []])
    write_level_sets(out / "c.regions.npz", sets)
    write_level_sets(out / "d.regions.npz", replace(sets, level=0.5))
    with pytest.raises(UserError, match=r"has level sets of the levels 0.5 and 0.9; predict again into it"):
        evaluate(out, truth)
    (out / "d.regions.npz").write_bytes(b"PK damaged")
    assert cli.main(["evaluate", str(out), str(truth)]) == 2
    assert "d.regions.npz: cannot be read" in (said := capsys.readouterr().err) and said.count("\n") == 1


def test_ends_that_changed_places_have_the_region_of_the_end_that_they_were_taken_for(predicted):
    truth, out = predicted
    write_properties(truth / "landmarks.json", NAMES, Properties(exchangeable=(NAMES,)))
    for case in ("c", "d"):  # the truth calls each end by the name of the other
        points = np.array([world((2, 2, 3)), world((1, 2, 3))])
        write_markups(truth / f"landmarks/{case}.mrk.json", LandmarkSet(NAMES, points, np.ones(2)))
        write_level_sets(out / f"{case}.regions.npz", sets_of([[(1, 2, 3)], [(2, 2, 3)]]))
    evaluate(out, truth)
    row = json.loads((out / "metrics.json").read_text())["regions"]["level set"]["0.9"]
    assert (row["share"], row["count"]) == (1.0, 4)
