"""Records of what was served: exact, newest first, bounded, and safe against damage and odd ids."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from landmark_app.lib.core.served import FOLDER, KEPT, forget, record, served


def landmark(name, world, confidence=0.5, present=1, **more):
    return {"name": name, "world": world, "voxel": [0, 0, 0], "confidence": confidence, "present": present} | more


def test_points_come_back_exactly_and_newest_first(tmp_path):
    first = [landmark("AC", [0.1, 1 / 3, -2e-7]), landmark("pc", [1.0, 2.0, 3.0], present=0)]
    record(tmp_path, "a.b.nii", "brain", first, 3.0)
    record(tmp_path, "a.b.nii", "brain_edit", [landmark("AC", [9.0, 9.0, 9.0])], 2.5)
    new, old = served(tmp_path, "a.b.nii")
    assert (new.model, old.model) == ("brain_edit", "brain")
    assert (new.radius_mm, old.radius_mm) == (2.5, 3.0)
    assert new.time >= old.time
    assert old.landmarks.names == ("AC", "pc")
    assert old.landmarks.status.tolist() == [1, 0]
    np.testing.assert_array_equal(old.landmarks.points[0], [0.1, 1 / 3, -2e-7])
    assert served(tmp_path, "a.b") == []


def test_numbers_of_uncertainty(tmp_path):
    record(
        tmp_path,
        "x",
        "m",
        [
            landmark("A", [0.0, 0.0, 0.0], 0.25, radius_mm=1.5, spread_mm=4.0, disagreement_mm=2.0),
            landmark("B", [0.0, 0.0, 1.0], 0.75, radius_mm=None),
        ],
        3,
    )
    (one,) = served(tmp_path, "x")
    assert one.confidence == {"A": 0.25, "B": 0.75}
    assert one.uncertainty_mm == {"A": 4.0}
    assert one.calibrated_radius_mm == {"A": 1.5}


def test_a_case_that_has_failed_promises_no_radius(tmp_path):
    found = [landmark("A", [0.0, 0.0, 0.0], 0.25, radius_mm=1.5)]
    for verdict, promised in (("failed", {}), ("check", {"A": 1.5}), ("", {"A": 1.5})):
        record(tmp_path, "x", "m", found, 3, verdict=verdict)
        one = served(tmp_path, "x")[0]
        # The radius still says how unsure the model was, for who chooses the image to label next.
        assert (one.verdict, one.calibrated_radius_mm, one.uncertainty_mm) == (verdict, promised, {"A": 1.5})


def test_only_the_newest_are_kept_and_removal_is_complete(tmp_path):
    for number in range(KEPT + 3):
        record(tmp_path, "x", str(number), [landmark("A", [0.0, 0.0, 0.0])], 1)
    assert [one.model for one in served(tmp_path, "x")] == [str(n) for n in range(KEPT + 2, 2, -1)]
    forget(tmp_path, "x")
    assert served(tmp_path, "x") == []
    assert list((tmp_path / FOLDER).iterdir()) == []


def test_damaged_records_are_left_out(tmp_path):
    record(tmp_path, "x", "good", [landmark("A", [0.0, 0.0, 0.0])], 1)
    folder = tmp_path / FOLDER / "x"
    for number, text in enumerate(["", "{", "[]", "{}", '{"model": "m", "landmarks": [1], "radius_mm": 1, "time": 0}']):
        (folder / f"9{number}.json").write_text(text)
    assert [one.model for one in served(tmp_path, "x")] == ["good"]


@pytest.mark.parametrize("image_id", ["../x", "a/b", "", ".hidden", "a\nb", "a\0", "x" * 300])
def test_ids_never_leave_the_folder(tmp_path, image_id):
    with pytest.raises(ValueError, match="cannot be a file name"):
        record(tmp_path / "store", image_id, "m", [landmark("A", [0.0, 0.0, 0.0])], 1)
    assert served(tmp_path / "store", image_id) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("landmarks", "radius"),
    [([landmark("A", [float("nan"), 0.0, 0.0])], 1), ([landmark("A", [0.0, 0.0, 0.0])], 0), ([{"name": "A"}], 1)],
)
def test_what_cannot_be_read_again_is_not_written(tmp_path, landmarks, radius):
    with pytest.raises((ValueError, KeyError)):
        record(tmp_path, "x", "m", landmarks, radius)
    assert list(tmp_path.iterdir()) == []


def test_sixteen_at_once_lose_nothing(tmp_path):
    def one(number):
        record(tmp_path, "x", str(number), [landmark("A", [float(number), 0.0, 0.0])], 1)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one, range(KEPT)))
    found = served(tmp_path, "x")
    assert {one.model for one in found} == {str(n) for n in range(KEPT)}
    assert all(one.landmarks.points[0, 0] == float(one.model) for one in found)


def test_files_are_plain_json(tmp_path):
    record(tmp_path, "x", "m", [landmark("A", [1.0, 2.0, 3.0])], 1)
    (path,) = (tmp_path / FOLDER / "x").iterdir()
    assert json.loads(path.read_text())["landmarks"][0]["world"] == [1.0, 2.0, 3.0]
