"""Every form of label that clients send, as landmarks: sub-voxel where it can be, a clear answer where it cannot."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_tools import (
    AFFINE,
    BUNDLES,
    NAMES,
    POINTS,
    RADIUS,
    SHAPE,
    answer,
    balls,
    read_label,
    refused_label,
    save,
    world,
)

from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT, UNKNOWN

# ---------------------------------------------------------------- label maps


@pytest.mark.parametrize("ending", [".nrrd", ".nii.gz", ".nii", ".mha"])
def test_untouched_balls_keep_their_sub_voxel_points(tmp_path, ending):
    label = read_label(
        save(tmp_path / f"x{ending}", balls()), records=[answer(calibrated_radius_mm={"AC": 1.5}, verdict="check")]
    )
    assert label.landmarks.names == NAMES
    np.testing.assert_array_equal(label.landmarks.points, POINTS)
    assert label.kept == NAMES
    assert label.confidence == dict.fromkeys(NAMES, 0.9)
    assert label.radius_mm == {"AC": 1.5}
    assert label.verdict == dict.fromkeys(NAMES, "check")
    assert label.form == "label map"


def test_without_a_record_the_centre_of_mass_counts(tmp_path):
    label = read_label(save(tmp_path / "x.nrrd", balls()))
    for k in range(3):
        voxels = np.argwhere(balls() == k + 1)
        np.testing.assert_allclose(label.landmarks.points[k], world(*voxels.mean(axis=0)), atol=1e-6)
    assert label.kept == ()
    assert label.confidence == {}


@pytest.mark.parametrize("ending", [".nrrd", ".nii.gz"])
def test_a_label_map_cropped_to_one_slice_lies_where_it_lay(tmp_path, ending):
    """As a PACS gives back a segmentation without its empty frames; a file of one slice is no picture here."""
    near = world(9.0, 28.0, 8.0)
    labels = balls([near, *POINTS[1:]])[:, :, 8:9].copy()
    assert set(np.unique(labels)) == {0, 1}
    crop = np.eye(4)
    crop[2, 3] = 8
    label = read_label(save(tmp_path / f"x{ending}", labels, AFFINE @ crop))
    np.testing.assert_allclose(label.landmarks.points[0], near, atol=0.3)


def test_one_moved_ball_does_not_round_the_others(tmp_path):
    moved = POINTS.copy()
    moved[1] = world(15, 20, 12)
    label = read_label(save(tmp_path / "x.nrrd", balls(moved)), records=[answer()])
    np.testing.assert_array_equal(label.landmarks.points[[0, 2]], POINTS[[0, 2]])
    np.testing.assert_allclose(label.landmarks.points[1], world(15, 20, 12), atol=1e-6)
    assert label.kept == ("AC", "Left eye")


def test_balls_that_touch_keep_their_points(tmp_path):
    near = POINTS.copy()
    near[1] = POINTS[0] + [2.3, 1.7, 0.9]
    labels = balls(near)
    assert min((labels == k).sum() for k in (1, 2)) < 0.8 * (labels == 3).sum()  # split halfway
    label = read_label(save(tmp_path / "x.nrrd", labels), records=[answer(near)])
    np.testing.assert_array_equal(label.landmarks.points, near)


def test_a_ball_moved_over_its_neighbour_does_not_shift_it(tmp_path):
    new = POINTS[0] + [3.0, 1.0, 0.0]
    labels = balls()
    labels[labels == 2] = 0
    lost = (balls([np.full(3, np.nan), new]) == 2) & (labels == 1)
    assert 0 < lost.sum() < (labels == 1).sum()
    labels[balls([np.full(3, np.nan), new]) == 2] = 2
    label = read_label(save(tmp_path / "x.nrrd", labels), records=[answer()])
    np.testing.assert_array_equal(label.landmarks.points[0], POINTS[0])
    np.testing.assert_allclose(label.landmarks.points[1], new, atol=1.0)


def test_a_partly_erased_ball_was_meant(tmp_path):
    labels = balls()
    low = np.argwhere(labels == 1).min(axis=0)[2]
    labels[:, :, low : low + 2][labels[:, :, low : low + 2] == 1] = 0
    label = read_label(save(tmp_path / "x.nrrd", labels), records=[answer()])
    np.testing.assert_allclose(label.landmarks.points[0], world(*np.argwhere(labels == 1).mean(axis=0)), atol=1e-6)
    assert label.kept == NAMES[1:]


def test_older_answers_are_known_too(tmp_path):
    first, second = POINTS, POINTS + [5.0, 0.0, 0.0]
    mixed = np.stack([first[0], second[1], second[2]])
    label = read_label(
        save(tmp_path / "x.nrrd", balls(mixed)), records=[answer(second, model="brain_edit"), answer(first)]
    )
    np.testing.assert_array_equal(label.landmarks.points, mixed)


@pytest.mark.parametrize("flip", [False, True])
def test_a_cropped_or_flipped_grid_of_the_same_space(tmp_path, flip):
    labels = balls()
    used = np.argwhere(labels)
    low, high = used.min(axis=0) - 1, used.max(axis=0) + 2
    low = np.maximum(low, 0)
    part = labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    affine = AFFINE.copy()
    affine[:3, 3] = world(*low)
    if flip:
        part = part[:, :, ::-1]
        affine[:3, 3] += affine[:3, 2] * (part.shape[2] - 1)
        affine[:3, 2] *= -1
    label = read_label(save(tmp_path / "x.nrrd", part, affine), records=[answer()])
    np.testing.assert_array_equal(label.landmarks.points, POINTS)


def test_a_resampled_grid_gives_points_in_the_world(tmp_path):
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    corners = np.array([world(*c) for c in np.ndindex(2, 2, 2) for c in [np.array(c) * (np.array(SHAPE) - 1)]])
    affine[:3, 3] = np.floor(corners.min(axis=0))
    shape = tuple(np.ceil(np.ptp(corners, axis=0)).astype(int) + 2)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) + affine[:3, 3]
    labels = np.zeros(shape, np.uint8)
    for k, point in enumerate(POINTS + [1.0, 0.0, 0.0], start=1):
        labels[np.linalg.norm(grid - point, axis=-1) <= RADIUS] = k
    label = read_label(save(tmp_path / "x.nii.gz", labels, affine), records=[answer()])
    assert label.kept == ()
    assert np.linalg.norm(label.landmarks.points - (POINTS + [1.0, 0.0, 0.0]), axis=1).max() < 0.3


def test_deleted_ball_is_absent_and_one_never_served_unknown(tmp_path):
    labels = balls()
    labels[labels == 2] = 0
    only_two = answer(POINTS[:2], NAMES[:2])
    labels_two = np.where(labels == 1, 1, 0).astype(np.uint8)
    label = read_label(save(tmp_path / "x.nrrd", labels_two), records=[only_two], bundles={"brain": NAMES})
    assert label.landmarks.status.tolist() == [PRESENT, ABSENT]
    everything = read_label(save(tmp_path / "y.nrrd", labels_two))
    assert everything.landmarks.names == NAMES
    assert everything.landmarks.status.tolist() == [PRESENT, UNKNOWN, UNKNOWN]
    label = read_label(save(tmp_path / "z.nrrd", labels), records=[answer()])
    assert label.landmarks.status.tolist() == [PRESENT, ABSENT, PRESENT]
    assert any("'PC' was offered and not returned" in note for note in label.notes)


def test_served_as_absent_and_not_added_stays_absent_and_an_added_one_counts(tmp_path):
    record = answer(present=[True, False, True])
    label = read_label(save(tmp_path / "x.nrrd", balls(record.landmarks.points)), records=[record])
    assert label.landmarks.status.tolist() == [PRESENT, ABSENT, PRESENT]
    label = read_label(save(tmp_path / "y.nrrd", balls()), records=[record])
    assert label.landmarks.status.tolist() == [PRESENT, PRESENT, PRESENT]
    assert label.kept == ("AC", "Left eye")


def test_another_bundles_answer_deletes_nothing(tmp_path):
    bundles = {"brain": NAMES, "spine": ("C1", "C2")}
    spine = answer(POINTS[:2], ("C1", "C2"), model="spine")
    label = read_label(save(tmp_path / "x.nrrd", balls()), records=[spine, answer()], bundles=bundles)
    assert label.landmarks.names == NAMES
    # Nor does a bigger bundle of the same names that was asked earlier.
    more = (*NAMES, "X", "Y")
    bigger = answer(np.concatenate([POINTS, POINTS[:2] + 9]), more, model="full")
    label = read_label(
        save(tmp_path / "y.nrrd", balls()), records=[answer(), bigger], bundles={"brain": NAMES, "full": more}
    )
    assert label.landmarks.names == NAMES


def test_a_ball_that_is_wholly_covered_is_unknown(tmp_path):
    labels = balls()
    labels[labels == 2] = 0
    labels[labels == 1] = 2
    label = read_label(save(tmp_path / "x.nrrd", labels), records=[answer()])
    assert label.landmarks.status.tolist() == [UNKNOWN, PRESENT, PRESENT]
    assert any("lies over all of 'AC'" in note for note in label.notes)


def test_names_by_position_and_not_by_idx(tmp_path):
    info = {"label_info": [{"name": "PC", "idx": 7}, {"name": "AC", "idx": 2}, {"name": "Left eye", "idx": 1}]}
    label = read_label(save(tmp_path / "x.nrrd", balls(POINTS[[1, 0, 2]])), info=info, records=[answer()])
    np.testing.assert_array_equal(label.landmarks.points, POINTS)
    # A value beyond the list can only be an idx.
    labels = np.where(balls() == 2, 9, 0).astype(np.uint8)
    info = {"label_info": [{"name": "PC", "idx": 9}]}
    label = read_label(save(tmp_path / "y.nrrd", labels), info=info, records=[answer()])
    assert label.landmarks.status.tolist() == [ABSENT, PRESENT, ABSENT]


def test_values_without_label_info(tmp_path):
    other = {"other": ("Z", "Y", "X"), "brain": NAMES}
    path = save(tmp_path / "x.nrrd", balls())
    assert read_label(path, {}, records=[answer()], bundles=other).kept == NAMES
    assert read_label(path, {"model": "brain_edit"}, bundles=other).landmarks.names == NAMES
    assert read_label(path, {}, bundles=BUNDLES).landmarks.names == NAMES
    named = {"params": {"label_names": {"PC": 1, "AC": 2, "Left eye": 3}}}
    assert read_label(path, named, records=[answer(POINTS[[1, 0, 2]])]).kept == NAMES
    refused_label(path, "label_info", "'other', 'brain'", info={}, bundles=other)


def test_slicers_segmentation_file_with_its_own_names_and_layers(tmp_path):
    import nrrd

    layers = np.stack([np.where(balls() == 1, 4, 0), np.where(balls() == 2, 4, 0)]).astype(np.uint8)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ AFFINE
    header = {
        "kinds": ["list", "domain", "domain", "domain"],
        "space": "left-posterior-superior",
        "space directions": np.vstack([np.full(3, np.nan), lps[:3, :3].T]),
        "space origin": lps[:3, 3],
        "Segment0_Name": "PC", "Segment0_LabelValue": "4", "Segment0_Layer": "1",
        "Segment1_Name": "AC", "Segment1_LabelValue": "4", "Segment1_Layer": "0",
    }  # fmt: skip
    nrrd.write(str(tmp_path / "x.seg.nrrd"), layers, header)
    label = read_label(tmp_path / "x.seg.nrrd", records=[answer()])
    assert label.landmarks.status.tolist() == [PRESENT, PRESENT, ABSENT]
    np.testing.assert_array_equal(label.landmarks.points[:2], POINTS[:2])


def test_bare_voxels_lie_on_the_images_grid(tmp_path):
    balls().ravel(order="F").tofile(tmp_path / "x.bin")
    assert read_label(tmp_path / "x.bin", records=[answer()]).kept == NAMES
    balls()[:-1].ravel(order="F").tofile(tmp_path / "y.bin")
    refused_label(tmp_path / "y.bin", "27840 voxels", "28800")


def test_slugs_and_other_case_are_known(tmp_path):
    info = {"label_info": [{"name": "ac"}, {"name": "pc"}, {"name": "left_eye"}]}
    assert read_label(save(tmp_path / "x.nrrd", balls()), info=info).landmarks.present.all()
    bundles = {"b": ("Nose tip", "nose Tip")}
    info = {"label_info": [{"name": "nose_tip"}, {"name": "nose_tip_2"}]}
    labels = balls(POINTS[:2])
    assert read_label(save(tmp_path / "y.nrrd", labels), info=info, bundles=bundles).landmarks.present.all()
    refused_label(
        save(tmp_path / "z.nrrd", labels),
        "'NOSE TIP'",
        info={"label_info": [{"name": "NOSE TIP"}] * 2},
        bundles=bundles,
    )


def test_two_pieces_are_named_with_both_places(tmp_path):
    labels = balls()
    labels[25:27, 5:7, 20:22] = 3
    places = [re.escape(f"{x:.1f}") for x in world(25.5, 5.5, 20.5)]
    message = refused_label(save(tmp_path / "x.nrrd", labels), "'Left eye' is at two places", records=[answer()])
    assert re.search(", ".join(places), message)


def test_label_maps_that_cannot_be_used(tmp_path):
    refused_label(save(tmp_path / "empty.nrrd", np.zeros(SHAPE, np.uint8)), "empty", "missing")
    refused_label(save(tmp_path / "value.nrrd", (balls() * 2).astype(np.uint8)), "values 4, 6", "without a name")
    refused_label(save(tmp_path / "image.nii.gz", np.full(SHAPE, 0.5, np.float32)), "whole numbers")
    refused_label(save(tmp_path / "negative.nii.gz", np.full(SHAPE, -1, np.int16)), "whole numbers")
    refused_label(
        save(tmp_path / "name.nrrd", balls()),
        "'tumour'",
        *map(repr, NAMES),
        info={"label_info": [{"name": "tumour"}] * 3},
    )
    refused_label(
        save(tmp_path / "twice.nrrd", balls()),
        "two labels are landmark 'AC'",
        info={"label_info": [{"name": "AC"}] * 3},
    )
    refused_label(save(tmp_path / "info.nrrd", balls()), "label_info must be a list", info={"label_info": "AC"})
    (tmp_path / "broken.nrrd").write_bytes(b"NRRD0004\nnonsense")
    refused_label(tmp_path / "broken.nrrd", "cannot be read")
    far = AFFINE.copy()
    far[:3, 3] += 500
    refused_label(save(tmp_path / "far.nrrd", balls(), far), "no labelled voxel lies inside the image")


def test_background_has_no_landmark(tmp_path):
    info = {"label_info": [{"name": "Background"}, {"name": "PC"}, {"name": "Left eye"}]}
    label = read_label(save(tmp_path / "x.nrrd", balls()), info=info)
    assert label.landmarks.status.tolist() == [UNKNOWN, PRESENT, PRESENT]
    assert any("background" in note for note in label.notes)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.lists(st.tuples(*[st.floats(3.0, n - 4.0) for n in SHAPE]), min_size=3, max_size=3))
def test_whatever_is_served_comes_back_exactly(tmp_path_factory, voxels):
    points = np.array([world(*voxel) for voxel in voxels])
    labels = balls(points)
    shown = [k for k in range(3) if (labels == k + 1).any()]
    label = read_label(save(tmp_path_factory.mktemp("p") / "x.nrrd", labels), records=[answer(points)])
    np.testing.assert_array_equal(label.landmarks.points[shown], points[shown])
