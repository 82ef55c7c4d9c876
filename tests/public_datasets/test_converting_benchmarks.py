"""Each benchmark converted, and read back as any other data set."""

import json

import benchmark_layouts as layouts
import nibabel as nib
import numpy as np
import pytest

from auto_config.bundle_scripts.points.landmarks import ABSENT
from auto_config.datasets import read_dataset
from auto_config.datasets.images import read_header, read_image
from auto_config.errors import UserError
from auto_config.public_datasets import BENCHMARKS, convert, read_benchmark

HAND = {str(number): layouts.hand_points(number) for number in (1, 2)}


def make_afids(root):
    layouts.afids_subject(root / "AFIDs-HCP", "sub-123925")
    layouts.afids_subject(root / "AFIDs-HCP", "sub-100307")


def make_mml(root):
    incomplete = layouts.mml_rows(3)
    incomplete[7] = -1000
    layouts.mml_case(root, "train", "1", layouts.mml_rows(1))
    layouts.mml_case(root, "val", "2", incomplete, seed=2)
    layouts.mml_case(root, "test", "3", layouts.mml_rows(2), seed=3)


def make_pddca(root):
    points = {name: (float(number), 20.0, 50.0) for number, name in enumerate(("chin", "mand_l", "mand_r"))}
    points |= {"odont_proc": (0.0, 5.0, 60.0), "occip_bone": (5.0, 10.0, 60.0)}
    layouts.pddca_case(root, "0522c0001", points)
    layouts.pddca_case(root, "0522c0014", points)


def make_feta(root):
    layouts.feta_case(root, "sub-001", layouts.FETA_VOXELS)
    layouts.feta_case(root, "sub-018", {**layouts.FETA_VOXELS, 2: []})


def make_lfc(root):
    for split, number in (("train", "1"), ("valid", "2"), ("test", "3")):
        layouts.lfc_case(root, split, number)
        # The image is large enough for the lines.
        affine = np.diag([1.0, 1.0, 1.0, 1.0])
        affine[:3, 3] = (-10, -12, -8)
        layouts.nifti(root / split / f"{number}.nii.gz", affine)


def make_fetal_pose(root):
    for number in range(3):
        layouts.fetal_pose_case(root, f"v{number}", 0.5, {"head": [3, 4, 5], "knee": [9, 8, 7]})


def make_isbi2015(root):
    layouts.isbi_case(root, "TrainingData", "001", layouts.isbi_pixels(1), layouts.isbi_pixels(2))
    layouts.isbi_case(root, "Test1Data", "151", layouts.isbi_pixels(1), layouts.isbi_pixels(2))


def make_hand_xray(root):
    layouts.hand_xray_set(root, HAND)


MAKERS = {
    "afids": make_afids,
    "mml": make_mml,
    "pddca": make_pddca,
    "feta": make_feta,
    "lfc": make_lfc,
    "fetal_pose": make_fetal_pose,
    "isbi2015": make_isbi2015,
    "hand_xray": make_hand_xray,
}


@pytest.fixture
def source(tmp_path):
    """Makes a benchmark."""

    def make(name):
        MAKERS[name](tmp_path / "source")
        return tmp_path / "source"

    return make


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_converted_benchmark_is_read_without_options(tmp_path, source, name):
    folder = source(name)
    assert convert(name, folder, tmp_path / "out", workers=1) == 0
    dataset, problems = read_dataset(tmp_path / "out")
    assert [problem.message for problem in problems if problem.severity == "error"] == []
    expected = read_benchmark(name, folder)
    assert dataset.names == expected.names
    assert dataset.spatial_dims == expected.spatial_dims
    assert dataset.unit == "mm"
    assert dataset.properties == expected.properties
    assert [case.name for case in dataset.cases] == [case.name for case in expected.cases]
    for case, original in zip(dataset.cases, expected.cases, strict=True):
        np.testing.assert_array_equal(case.landmarks.status, original.landmarks.status)
        np.testing.assert_allclose(case.landmarks.points, original.landmarks.points, atol=1e-9)
        assert case.split == ("test" if original.section == "test" else "training")
        assert case.fold == (0 if original.section == "validation" else original.fold)
        assert set(case.raters) == set(original.raters)
        assert case.image[0].is_file()
        # Every point lies in the image as the data set will read it.
        header = read_header(case.image)
        points = case.landmarks.points[case.landmarks.present]
        voxels = (points - header.affine[:-1, -1]) @ np.linalg.inv(header.affine[:-1, :-1]).T
        assert (voxels > -0.5).all()
        assert (voxels < np.array(header.shape) - 0.5).all()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"datalist.json", "images"}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_mml_images_are_written_with_the_right_size_of_voxels(tmp_path, source):
    folder = source("mml")
    convert("mml", folder, tmp_path / "out", workers=1)
    image = nib.load(tmp_path / "out" / "images" / "1.nii.gz")
    np.testing.assert_allclose(image.header.get_zooms(), (0.4, 0.5, 0.6), rtol=1e-6)
    array = layouts.nrrd(tmp_path / "again.nrrd")
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), array)
    assert image.get_data_dtype() == np.int16
    label = json.loads((tmp_path / "out" / "datalist.json").read_text())["training"][0]["label"]
    i, j, k = layouts.mml_rows(1)[5].astype(int)
    voxel = np.linalg.inv(image.affine) @ [*label["molar 6"], 1.0]
    np.testing.assert_allclose(voxel[:3], (i, j, k), atol=1e-4)
    convert("mml", folder, tmp_path / "complete", complete=True, workers=1)
    dataset, _ = read_dataset(tmp_path / "complete")
    assert [case.name for case in dataset.cases] == ["1", "3"]
    assert not any((case.landmarks.status == ABSENT).any() for case in dataset.cases)


def test_pictures_are_read_where_their_points_are(tmp_path, source):
    convert("hand_xray", source("hand_xray"), tmp_path / "out", workers=1)
    dataset, _ = read_dataset(tmp_path / "out")
    for case in dataset.cases:
        image = read_image(case.image)
        assert image.array.shape == (1, 48, 60)  # x, y
        # The wrist of each is 50 pixels, so a pixel is 1 mm.
        np.testing.assert_allclose(image.affine, np.eye(3), atol=1e-9)
        np.testing.assert_allclose(case.landmarks.points, HAND[case.name], atol=1e-9)


def test_a_pixel_size_of_all_pictures_is_declared(tmp_path, source):
    convert("isbi2015", source("isbi2015"), tmp_path / "out", workers=1)
    dataset, _ = read_dataset(tmp_path / "out")
    for case in dataset.cases:
        assert case.pixel_spacing == (0.1, 0.1)
        assert read_header(case.image, case.pixel_spacing).notes == ()  # nothing to be warned of


def test_links_and_copies(tmp_path, source):
    folder = source("pddca")
    convert("pddca", folder, tmp_path / "linked")
    convert("pddca", folder, tmp_path / "copied", images="copy", workers=1)
    linked, copied = (tmp_path / one / "images" / "0522c0001.nrrd" for one in ("linked", "copied"))
    assert linked.is_symlink()
    assert linked.resolve() == (folder / "0522c0001" / "img.nrrd").resolve()
    assert not copied.is_symlink()
    assert copied.read_bytes() == linked.read_bytes()


def test_the_summary_says_cases_split_counts_and_notes(tmp_path, source, capsys):
    convert("feta", source("feta"), tmp_path / "out")
    text = capsys.readouterr().err
    assert "feta: fetal brain MR, 5 measures: 2 cases (1 training, 1 test), 10 landmarks" in text
    assert "absent: HV_1 1, HV_2 1" in text
    assert "note: Split of nnLandmark" in text
    assert "Next: auto_config inspect" in text


def test_missing_files_are_named_with_the_command_that_gets_them(tmp_path, source):
    folder = source("afids")
    image = folder / "AFIDs-HCP" / "sub-100307" / "anat" / "sub-100307_T1w.nii.gz"
    layouts.annex_link(image)
    with pytest.raises(UserError) as error:
        convert("afids", folder, tmp_path / "out")
    message = str(error.value)
    assert "datalad get AFIDs-HCP/sub-100307/anat/sub-100307_T1w.nii.gz" in message
    assert "--allow_missing" in message
    assert "\n" not in message
    assert not (tmp_path / "out").exists()
    assert convert("afids", folder, tmp_path / "out", allow_missing=True) == 1
    assert [case.name for case in read_dataset(tmp_path / "out")[0].cases] == ["sub-123925"]
    layouts.lfs_pointer(folder / "AFIDs-HCP" / "sub-123925" / "anat" / "sub-123925_T1w.nii.gz")
    with pytest.raises(UserError, match="no case of afids is complete"):
        convert("afids", folder, tmp_path / "new", allow_missing=True)
    with pytest.raises(UserError, match="git lfs pull"):
        convert("afids", folder, tmp_path / "new")


def test_wrong_files_are_refused_or_left_out(tmp_path, source):
    folder = source("pddca")
    (folder / "0522c0014" / "img.nrrd").write_bytes(b"NRRD0004\nbroken")
    with pytest.raises(UserError, match="nothing was written"):
        convert("pddca", folder, tmp_path / "out")
    assert convert("pddca", folder, tmp_path / "out", allow_missing=True) == 1
    assert [case.name for case in read_dataset(tmp_path / "out")[0].cases] == ["0522c0001"]


def test_an_image_that_breaks_while_it_is_written(tmp_path, source):
    folder = source("mml")
    layouts.cut(folder / "train" / "1_volume.nrrd", 0.9)  # its header is whole
    with pytest.raises(UserError, match="1_volume"):
        convert("mml", folder, tmp_path / "out", workers=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]
    assert convert("mml", folder, tmp_path / "out", allow_missing=True, workers=1) == 1
    assert [case.name for case in read_dataset(tmp_path / "out")[0].cases] == ["2", "3"]


def test_where_it_may_be_written(tmp_path, source):
    folder = source("pddca")
    out = tmp_path / "out"
    convert("pddca", folder, out)
    with pytest.raises(UserError, match="--overwrite"):
        convert("pddca", folder, out)
    (folder / "0522c0014" / "Landmarks_0014.fcsv").unlink()
    convert("pddca", folder, out, overwrite=True)
    assert len(read_dataset(out)[0].cases) == 1
    (out / "thesis.docx").write_text("three years")
    with pytest.raises(UserError, match="no converted data set"):
        convert("pddca", folder, out, overwrite=True)
    with pytest.raises(UserError, match="holds the source"):
        convert("pddca", folder, tmp_path, overwrite=True)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_two_copies_of_a_case_are_refused(tmp_path, source):
    folder = source("afids")
    layouts.afids_subject(folder / "copy", "sub-100307")
    with pytest.raises(UserError, match="a second case 'sub-100307'"):
        convert("afids", folder, tmp_path / "out")


def test_wrong_options(tmp_path, source):
    folder = source("pddca")
    with pytest.raises(UserError, match="allowed are afids, mml"):
        convert("afid", folder, tmp_path / "out")
    with pytest.raises(UserError, match="leave it out for pddca"):
        convert("pddca", folder, tmp_path / "out", complete=True)
    with pytest.raises(UserError, match="allowed are link and copy"):
        convert("pddca", folder, tmp_path / "out", images="move")
    with pytest.raises(UserError, match="no such folder"):
        convert("pddca", tmp_path / "nothing", tmp_path / "out")
    for name in BENCHMARKS:
        if name != "pddca":
            with pytest.raises(UserError, match="give the folder with"):
                convert(name, folder, tmp_path / "out")
