"""Points that do not fit their image: the likely reason is named, and its remedy makes them right by grey values."""

import json

import nibabel as nib
import numpy as np
import pytest

from auto_config.bundle_scripts.points.landmark_files import write_markups
from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.commands.inspect import inspect
from auto_config.errors import UserError

SHAPE = np.array([40, 48, 36])
AFFINE = np.array([[2.0, 0, 0, 12], [0, 2.5, 0, 25], [0, 0, 1.5, 8], [0, 0, 0, 1]])
VOXELS = np.array(
    [[6, 9, 5], [30, 12, 8], [14, 40, 10], [33, 35, 6], [9, 22, 28], [25, 16, 30], [20, 42, 25], [35, 27, 18]]
)
CASES = "abcdefg"
NAMES = [f"L{number}" for number in range(len(VOXELS))]


def blobs(voxels, rng, shape=SHAPE):
    """A noisy image with a bright blob at each place."""
    array = rng.normal(100, 20, shape)
    for voxel in voxels:
        low, high = np.maximum(voxel - 2, 0), np.minimum(voxel + 3, shape)
        array[tuple(map(slice, low, high))] += 400
    return array.astype(np.float32)


def write(folder, case, array, affine, points):
    nib.save(nib.Nifti1Image(array, affine), folder / f"{case}.nii.gz")
    write_points(folder, case, points)


def write_points(folder, case, points):
    inline = {name: point if isinstance(point, str) else list(map(float, point)) for name, point in points.items()}
    write_markups(folder / f"{case}.mrk.json", LandmarkSet.from_inline(inline))


def world(affine, voxels):
    return dict(zip(NAMES, nib.affines.apply_affine(affine, voxels), strict=True))


@pytest.fixture
def cohort(tmp_path):
    """Seven cases with their points, which differ by up to a voxel from case to case."""
    folder = tmp_path / "set"
    folder.mkdir()
    cases = {}
    for number, case in enumerate(CASES):
        rng = np.random.default_rng(number)
        voxels = VOXELS + rng.integers(-1, 2, VOXELS.shape)
        cases[case] = voxels
        write(folder, case, blobs(voxels, rng), AFFINE, world(AFFINE, voxels))
    return folder, cases


def said(folder, capsys, **options):
    status = inspect(folder, workers=1, **options)
    return status, capsys.readouterr().out


def assert_right(folder, capsys, **options):
    """No error is left, and the points lie on the blobs."""
    status, text = said(folder, capsys, **options)
    assert status == 0, text
    for case in CASES:
        image = nib.load(folder / f"{case}.nii.gz")
        markups = json.loads((folder / f"{case}.mrk.json").read_text())["markups"][0]
        sign = [-1, -1, 1] if markups["coordinateSystem"] == "LPS" else [1, 1, 1]
        for point in markups["controlPoints"]:
            if point["positionStatus"] != "defined":
                continue
            voxel = np.linalg.inv(image.affine) @ [*(np.array(point["position"]) * sign), 1]
            assert np.asarray(image.dataobj)[tuple(np.rint(voxel[:3]).astype(int))] > 300


def without_axes(points, change):
    return {name: change(point) for name, point in points.items()}


CHANGES = {
    "read as the other system": (lambda p: p * [-1, -1, 1], "other coordinate system", lambda p: p * [-1, -1, 1]),
    "x mirrored": (lambda p: p * [-1, 1, 1], "mirrored: x has the wrong sign", lambda p: p * [-1, 1, 1]),
    "micrometres": (lambda p: p * 1000, "in micrometres; save them in mm", lambda p: p / 1000),
    "cm": (lambda p: p / 10, "in cm; save them in mm", lambda p: p * 10),
    "metres": (lambda p: p / 1000, "in metres; save them in mm", lambda p: p * 1000),
    "micrometres, LPS": (
        lambda p: p * [-1000, -1000, 1000],
        "in the other coordinate system and in micrometres",
        lambda p: p / [-1000, -1000, 1000],
    ),
    "x and y": (lambda p: p[[1, 0, 2]], "with x and y exchanged", lambda p: p[[1, 0, 2]]),
    "y and z": (lambda p: p[[0, 2, 1]], "with y and z exchanged", lambda p: p[[0, 2, 1]]),
    "index": (
        lambda p: nib.affines.apply_affine(np.linalg.inv(AFFINE), p),
        "voxel indices",
        lambda p: nib.affines.apply_affine(AFFINE, p),
    ),
    "origin": (lambda p: p - AFFINE[:3, 3], "the origin was ignored; add it", lambda p: p + AFFINE[:3, 3]),
    "spacing": (
        lambda p: (p - AFFINE[:3, 3]) / np.diag(AFFINE)[:3] + AFFINE[:3, 3],
        "the spacing was ignored",
        lambda p: (p - AFFINE[:3, 3]) * np.diag(AFFINE)[:3] + AFFINE[:3, 3],
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_another_frame_is_named_with_its_numbers_and_its_remedy_is_right(cohort, capsys, name):
    folder, cases = cohort
    change, words, remedy = CHANGES[name]
    wrong = without_axes(world(AFFINE, cases["d"]), change)
    write_points(folder, "d", wrong)
    status, text = said(folder, capsys)
    errors = [line for line in text.splitlines() if line.startswith("error")]
    assert status == 2
    assert len(errors) == 1, text
    assert words in errors[0]
    assert "then 8 of 8 inside" in errors[0]
    assert "grey values differ by" in errors[0]
    assert "--outside" not in errors[0]
    write_points(folder, "d", without_axes(wrong, remedy))
    assert_right(folder, capsys)


def test_outside_absent_does_not_hide_another_frame(cohort, capsys):
    folder, cases = cohort
    write_points(folder, "d", without_axes(world(AFFINE, cases["d"]), lambda p: p * [-1, -1, 1]))
    status, text = said(folder, capsys, outside="absent")
    assert status == 2
    assert "other coordinate system" in text


def test_boxes_alone_are_no_evidence_for_a_sign(cohort, capsys):
    folder, cases = cohort
    # Read as LPS all points lie inside, but on nothing.
    moved = nib.affines.apply_affine(AFFINE, cases["d"] * 0.9 + [4, 7, 4])
    write_points(folder, "d", {name: p * [-1, -1, 1] for name, p in zip(NAMES, moved, strict=True)})
    status, text = said(folder, capsys)
    assert status == 2
    assert "fit no known frame" in text
    assert "LPS" not in text
    assert "--outside" not in text
    # A file that was "corrected" for it is not silently taken.
    write_points(folder, "d", dict(zip(NAMES, moved, strict=True)))
    assert "d.nii.gz: grey values at its points are unlike those of the other cases" in said(folder, capsys)[1]


def test_without_voxels_grey_values_are_said_to_be_unseen(cohort, capsys):
    folder, cases = cohort
    write_points(folder, "d", without_axes(world(AFFINE, cases["d"]), lambda p: p * [-1, -1, 1]))
    status, text = said(folder, capsys, headers_only=True)
    assert status == 2
    assert "fit no known frame" in text
    assert "grey values were not looked at (--headers_only)" in text
    write_points(folder, "d", without_axes(world(AFFINE, cases["d"]), lambda p: p * 1000))
    assert "in micrometres; save them in mm" in said(folder, capsys, headers_only=True)[1]


def test_a_system_that_all_cases_share_is_seen_by_its_grey_values(cohort, capsys):
    folder, cases = cohort
    for case, voxels in cases.items():
        write_points(folder, case, without_axes(world(AFFINE, voxels), lambda p: p * [-1, -1, 1]))
    status, text = said(folder, capsys)
    assert status == 2
    assert "other coordinate system" in text
    for case in CASES:  # the remedy: the name of the system in the file
        path = folder / f"{case}.mrk.json"
        document = json.loads(path.read_text())
        markups = document["markups"][0]
        markups["coordinateSystem"] = "RAS" if markups["coordinateSystem"] == "LPS" else "LPS"
        path.write_text(json.dumps(document))
    assert_right(folder, capsys)


@pytest.mark.parametrize(
    "affine",
    [np.diag([-1.0, -1, 1, 1]), np.eye(4), np.diag([2.0, 2.5, 1.5, 1.0]), np.diag([-2.0, -2.5, 1.5, 1.0])],
    ids=["SimpleITK", "identity", "origin", "origin and axes"],
)
@pytest.mark.parametrize("outside", ["error", "absent"])
def test_a_lost_header_is_one_error_that_names_it_and_its_neighbours(cohort, capsys, affine, outside):
    folder, cases = cohort
    array = blobs(cases["d"], np.random.default_rng(9))
    array[:3] = array[-3:] = array[:, :3] = array[:, -3:] = array[..., :3] = array[..., -3:] = 0
    write(folder, "d", array, affine, world(AFFINE, cases["d"]))
    status, text = said(folder, capsys, outside=outside)
    errors = [line for line in text.splitlines() if line.startswith("error")]
    assert status == 2
    assert len(errors) == 1, text
    for words in ("header is likely lost", "origin is (0, 0, 0), the 6 other cases that fit have (12, 25, 8)"):
        assert words in errors[0]
    assert "--outside" not in text
    assert "constant background" not in text
    neighbour = nib.load(folder / "c.nii.gz")
    nib.save(nib.Nifti1Image(array, neighbour.affine), folder / "d.nii.gz")  # the remedy
    assert_right(folder, capsys)


@pytest.mark.parametrize(
    ("ending", "words"),
    [("nrrd", "neither space directions nor space origin"), ("mha", "neither TransformMatrix nor Offset")],
)
def test_the_header_without_a_place_is_named_in_the_words_of_its_format(cohort, capsys, ending, words):
    folder, cases = cohort
    array = blobs(cases["d"], np.random.default_rng(3))
    (folder / "d.nii.gz").unlink()
    if ending == "nrrd":
        fields = "type: float\ndimension: 3\nsizes: 40 48 36\nspacings: 2 2.5 1.5\nencoding: raw\nendian: little\n"
        place = (
            "space: right-anterior-superior\nspace directions: (2,0,0) (0,2.5,0) (0,0,1.5)\nspace origin: (12,25,8)\n"
        )
        bad, good = f"NRRD0004\n{fields}\n", f"NRRD0004\n{fields.replace('spacings: 2 2.5 1.5', place[:-1])}\n"
    else:
        fields = (
            "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nDimSize = 40 48 36\n"
        )
        end = "ElementSpacing = 2 2.5 1.5\nElementType = MET_FLOAT\nElementDataFile = LOCAL\n"
        place = "TransformMatrix = -1 0 0 0 -1 0 0 0 1\nOffset = -12 -25 8\n"
        bad, good = fields + end, fields + place + end
    voxels = array.tobytes(order="F")
    (folder / f"d.{ending}").write_bytes(bad.encode() + voxels)
    status, text = said(folder, capsys)
    errors = [line for line in text.splitlines() if line.startswith("error")]
    assert status == 2
    assert len(errors) == 1
    assert "header is likely lost, the points are not at fault" in errors[0]
    assert "it says no orientation" in errors[0]
    assert words in text
    assert "--outside" not in text
    (folder / f"d.{ending}").write_bytes(good.encode() + voxels)  # the remedy
    status, text = said(folder, capsys)
    assert status == 0, text
    assert "no problem found" in text


def test_images_that_were_exchanged_are_named(cohort, capsys):
    folder, cases = cohort
    far = AFFINE + [[0, 0, 0, 300], [0] * 4, [0, 0, 0, -200], [0] * 4]
    write(folder, "e", blobs(cases["e"], np.random.default_rng(4)), far, world(far, cases["e"]))
    paths = [folder / f"{case}.mrk.json" for case in "be"]
    texts = [path.read_text() for path in paths]
    for path, text in zip(paths, reversed(texts), strict=True):
        path.write_text(text)
    status, text = said(folder, capsys)
    assert status == 2
    assert "they are those of the image of case 'e', and the other way round: exchange the two files" in text
    assert "they are those of the image of case 'b'" in text
    for path, old in zip(paths, texts, strict=True):
        path.write_text(old)
    assert_right(folder, capsys)


def test_a_cut_field_of_view_is_absent_and_no_unit(cohort, capsys):
    folder, cases = cohort
    # World zero lies inside: shrinking would bring all points inside.
    for case, voxels in cases.items():
        middle = AFFINE.copy()
        middle[:3, 3] = -nib.affines.apply_affine(AFFINE, [20, 24, 18]) + AFFINE[:3, 3]
        array = blobs(voxels, np.random.default_rng(len(case)))
        array = array[:, :, :27] if case == "d" else array
        write(folder, case, array, middle, world(middle, voxels))
    status, text = said(folder, capsys)
    assert status == 2
    assert "field of view seems to be cut there: use --outside absent" in text
    assert "in cm" not in text
    assert "too large" not in text
    assert_right_absent = inspect(folder, outside="absent", workers=1)
    assert assert_right_absent == 0
    assert "2 absent" in capsys.readouterr().out


@pytest.mark.parametrize("system", ["lps", "voxel"])
def test_the_option_that_is_named_is_right_for_a_table(cohort, capsys, system):
    folder, cases = cohort
    rows = ["case,landmark,x,y,z"]
    for case, voxels in cases.items():
        (folder / f"{case}.mrk.json").unlink()
        points = world(AFFINE, voxels) if system == "lps" else dict(zip(NAMES, voxels, strict=True))
        sign = np.array([-1, -1, 1] if system == "lps" else [1, 1, 1])
        rows += [f"{case},{name},{','.join(map(str, point * sign))}" for name, point in points.items()]
    (folder / "points.csv").write_text("\n".join(rows) + "\n")
    status, text = said(folder / "points.csv", capsys, coordinates="ras")
    assert status == 2
    assert ("other coordinate system" if system == "lps" else "voxel indices") in text
    assert "--coordinates" in text
    assert said(folder / "points.csv", capsys, coordinates=system)[0] == 0


def test_one_point_far_away_keeps_its_plain_remedy(cohort, capsys):
    folder, cases = cohort
    write_points(folder, "d", {**world(AFFINE, cases["d"]), "L3": [900.0, 0, 0]})
    text = said(folder, capsys)[1]
    assert "correct the point, or use --outside absent" in text
    assert "fit no known frame" not in text


def test_a_case_alone_lists_what_a_box_allows_but_no_sign(tmp_path, capsys):
    voxels = VOXELS
    second = AFFINE + [[0, 0, 0, 400], [0] * 4, [0] * 4, [0] * 4]
    array = blobs(voxels, np.random.default_rng(0))
    for change, words in (
        (lambda p: p * 1000, "inside too if they are in micrometres, which alone proves nothing"),
        (lambda p: p[[0, 2, 1]], "given with y and z exchanged"),
        (lambda p: p * [-1, -1, 1], "fit no known frame (0 of 8 inside, too few other cases to compare grey values"),
    ):
        write(tmp_path, "a", array, AFFINE, without_axes(world(AFFINE, voxels), change))
        status, text = said(tmp_path, capsys)
        assert status == 2
        assert words in text
        assert "coordinate system" not in text
    image = nib.Nifti1Image(array, second)
    image.set_sform(second, 1)
    image.set_qform(AFFINE, 1)
    nib.save(image, tmp_path / "a.nii.gz")
    write_points(tmp_path, "a", world(AFFINE, voxels))
    assert "placed by the header's qform" in said(tmp_path, capsys)[1]


def test_create_refuses_with_the_same_words(cohort, tmp_path, capsys):
    from auto_config.commands.create import create

    folder, cases = cohort
    write_points(folder, "d", without_axes(world(AFFINE, cases["d"]), lambda p: p * [-1, -1, 1]))
    with pytest.raises(UserError, match="no bundle was written: 1 problem"):
        create(folder, tmp_path / "bundle", outside="absent", workers=1)
    assert "other coordinate system" in capsys.readouterr().err
