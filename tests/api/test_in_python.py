"""The commands as functions: the same bundles and points, from files and from memory."""

import inspect
import json
import subprocess
import sys
import warnings

import nibabel as nib
import numpy as np
import pytest
import torch
from blobs import HEAD, write_blobs
from bundle_tools import shrink

import auto_config
from auto_config import (
    ArrayImage,
    DataWarning,
    PlanOptions,
    TrainingFailedError,
    UserError,
    evaluate,
    open_bundle,
    plan,
    predict,
    read_dataset,
    train,
    write_bundle,
    write_cases,
)
from auto_config.cli import main
from auto_config.datasets import read_dataset as read_with_problems

pytestmark = pytest.mark.usefixtures("warm_python")

OPTIONS = PlanOptions(network="tiny", stages=1)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("python") / "scans"
    write_blobs(folder)
    return folder


@pytest.fixture(scope="module")
def trained(scans):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        bundle = write_bundle(plan(read_dataset(scans), OPTIONS, workers=1), scans.parent / "bundle")
    shrink(bundle)
    done = train(bundle, max_epochs=1, calibrate=False)
    assert done.weights.is_file()
    assert list(done.errors) == [0]
    assert done.errors[0] > 0
    return bundle


def in_memory(path):
    image = nib.load(path)
    return ArrayImage(torch.from_numpy(image.get_fdata(dtype=np.float32)), affine=image.affine)


def test_importing_is_light(cold_python):
    code = "import sys, auto_config; auto_config.UserError; assert not {'torch', 'monai', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_name_is_there():
    assert set(auto_config.__all__) <= set(dir(auto_config))
    assert all(getattr(auto_config, name) is not None for name in auto_config.__all__)
    with pytest.raises(AttributeError, match="no attribute 'guess'"):
        _ = auto_config.guess


def test_options_of_reading_are_those_of_data_sets_and_typed():
    """A tool that knows types knows them all, and a word that is mistyped is no option."""
    ours = inspect.signature(read_dataset).parameters
    theirs = inspect.signature(read_with_problems).parameters
    assert {name: (one.default, one.annotation, one.kind) for name, one in ours.items()} == {
        name: (one.default, one.annotation, one.kind) for name, one in theirs.items()
    }
    for function in (read_dataset, plan, write_bundle, evaluate):  # `train` takes every id of train.json
        for one in inspect.signature(function).parameters.values():
            assert one.kind is not one.VAR_KEYWORD, f"{function.__name__} takes any word"
            assert one.annotation is not one.empty


def test_options_of_reading_reach_the_reader(scans):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        dataset = read_dataset(scans, landmarks=["top", "nose"], missing="absent")
    assert dataset.names == ("top", "nose")
    for options in ({"format": "no"}, {"missing": "perhaps"}, {"coordinates": "xyz"}, {"missing_value": "a"}):
        with pytest.raises(UserError):
            read_dataset(scans, **options)
    with pytest.raises(UserError):
        read_dataset(scans, pixel_spacing=-1)


CREDITS = {
    "authors": "A. Nn",
    "copyright": "A. Nn 2026",
    "data_source": "two clinics",
    "data_license": "CC0",
    "changes": "the first",
}


def test_a_bundle_is_that_of_the_command(scans, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        planned = plan(read_dataset(scans), OPTIONS, workers=1)
    write_bundle(planned, tmp_path / "one" / "bundle", **CREDITS)
    words = [word for name, said in CREDITS.items() for word in (f"--{name}", said)]
    target = str(tmp_path / "two" / "bundle")
    assert main(["create", str(scans), target, "--network", "tiny", "--stages", "1", *words]) == 0
    metadata = json.loads((tmp_path / "one" / "bundle" / "configs" / "metadata.json").read_text())
    assert [metadata[name] for name in ("authors", "copyright", "data_source")] == list(CREDITS.values())[:3]
    assert metadata["changelog"] == {"0.1.0": "the first"}
    assert (tmp_path / "one" / "bundle" / "docs" / "data_license.txt").read_text() == "CC0\n"
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert len(files) > 30
    for path in files:
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes(), path
    assert "spacing: " in str(planned)
    with pytest.raises(UserError, match="is a bundle already"):
        write_bundle(planned, tmp_path / "one" / "bundle")


def test_an_image_in_memory_gives_the_points_of_its_file(trained, scans, tmp_path):
    model = open_bundle(trained, device="cpu")
    paths = sorted((scans / "images").iterdir())[:3]
    from_files = predict(model, paths)
    from_memory = predict(model, {path.name.removesuffix(".nii.gz"): in_memory(path) for path in paths})
    assert list(from_memory) == list(from_files)
    for case, found in from_memory.items():
        np.testing.assert_array_equal(found.points, from_files[case].points)
        np.testing.assert_array_equal(found.center, from_files[case].center)
    assert main(["predict", str(trained), str(scans / "images"), str(tmp_path / "out"), "--device", "cpu"]) == 0
    from_memory.save(tmp_path / "saved")
    rows = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    assert set((tmp_path / "saved" / "predictions.csv").read_text().splitlines()) <= set(rows)
    assert found.names == HEAD == model.names
    assert found.present.shape == found.confidence.shape == found.radius.shape == (4,)


def test_tables_slicer_files_and_errors(trained, scans, tmp_path):
    found = predict(trained, scans / "images", device="cpu")
    table = found.to_pandas()
    assert len(table) == len(found) * len(HEAD)
    one = table[(table.case == "lps1") & (table.landmark == "nose")].iloc[0]
    np.testing.assert_allclose([one.x_ras_mm, one.y_ras_mm, one.z_ras_mm], found["lps1"].points[2], atol=1e-6)
    written = found.to_markups(tmp_path / "slicer")
    again = read_points(written[0])
    np.testing.assert_allclose(again, found[written[0].name.removesuffix(".mrk.json")].landmarks.points, atol=1e-6)
    done = evaluate(found, scans, thresholds=[5.0])
    truth = {case: read_points(scans / "landmarks" / f"{case}.mrk.json") for case in found}
    expected = [np.linalg.norm(found[case].points - truth[case], axis=1) for case in found]
    np.testing.assert_allclose(done.to_pandas().loc[list(found)].to_numpy(), expected, atol=1e-5)
    assert done.mean == pytest.approx(np.mean(expected), abs=1e-5)
    assert done.mean_shape > 0
    assert done.save(tmp_path / "report").is_file()
    found.save(tmp_path / "saved")
    assert evaluate(tmp_path / "saved", read_dataset(scans)).mean == done.mean


def read_points(path):
    from auto_config.bundle_scripts.points.landmark_files import read_markups

    return read_markups(path).ordered(HEAD).points


def test_cases_in_memory_become_a_data_set(tmp_path):
    affine = np.diag([0.5, 0.5, 2.0, 1.0])
    affine[:3, 3] = 1, 2, 3
    image = ArrayImage(np.arange(24.0).reshape(2, 3, 4), affine=affine)
    dataset = write_cases(
        tmp_path, {"one": (image, {"a": (1.0, 2.0, 3.0), "b": None}), "two": (image, {"a": (2, 2, 5)})}
    )
    assert dataset.names == ("a", "b")
    assert [list(case.landmarks.status) for case in dataset.cases] == [[1, 0], [1, -1]]
    np.testing.assert_array_equal(dataset.cases[1].landmarks.points[0], [2, 2, 5])
    written = nib.load(tmp_path / "images" / "one.nii.gz")
    np.testing.assert_array_equal(written.affine, affine)
    np.testing.assert_array_equal(written.get_fdata(), image.array)
    with pytest.raises(UserError, match="exists"):
        write_cases(tmp_path, {"one": (image, {"a": (1, 2, 3)})})


@pytest.mark.parametrize(
    ("case", "points", "message"),
    [
        ("../one", {"a": (1, 2, 3)}, "cannot be the name of a file"),
        (".one", {"a": (1, 2, 3)}, "cannot be the name of a file"),
        ("one", {"a": (1, 2)}, "'a' is .* give x, y, z in mm"),
        ("one", {"a": (1, 2, np.nan)}, "give x, y, z in mm"),
    ],
)
def test_cases_that_cannot_be_written(tmp_path, case, points, message):
    with pytest.raises(UserError, match=message):
        write_cases(tmp_path, {case: (ArrayImage(np.zeros((2, 2, 2)), 1.0), points)})
    assert not list(tmp_path.rglob("*.mrk.json"))


def test_affine_and_shape_of_an_image_in_memory():
    volume = ArrayImage(np.ones((2, 3, 4), dtype=np.uint8), (0.5, 1, 2)).image()
    np.testing.assert_array_equal(volume.affine, np.diag([0.5, 1, 2, 1]))
    assert volume.array.shape == (1, 2, 3, 4)
    assert volume.array.dtype == np.float32
    channels = ArrayImage(torch.ones(5, 2, 3, 4, dtype=torch.bfloat16), 2.0).image()
    assert channels.array.shape == (5, 2, 3, 4)
    picture = ArrayImage(np.ones((6, 7)), 0.1).image()
    np.testing.assert_array_equal(picture.affine, np.diag([0.1, 0.1, 1]))
    assert picture.header.shape == (6, 7)
    assert ArrayImage(np.ones((3, 6, 7)), (0.1, 0.2)).image().array.shape == (3, 6, 7)


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (np.ones((2, 2, 2)), {}, "either its spacing in mm or its affine"),
        (np.ones((2, 2, 2)), {"spacing": 1, "affine": np.eye(4)}, "either its spacing in mm or its affine"),
        (np.ones((2, 2, 2)), {"spacing": (1, 1, 0)}, "mm above 0"),
        (np.ones((2, 2, 2)), {"spacing": (1, 1, np.nan)}, "mm above 0"),
        (np.ones((2, 2, 2)), {"affine": np.zeros((4, 4))}, "maps voxels to no volume"),
        (np.ones((2, 2, 2)), {"affine": np.ones((3, 4))}, "finite numbers, voxel to world mm"),
        (np.ones((2, 2)), {"affine": np.eye(4)}, "does not fit"),
        (np.ones((0, 2, 2)), {"spacing": 1}, "does not fit"),
        (np.ones(5), {"spacing": 1}, "does not fit"),
        (np.array([["a"]]), {"spacing": 1}, "is no image"),
        (np.ones((2, 2), dtype=complex), {"spacing": 1}, "is no image"),
    ],
)
def test_arrays_that_are_no_image(array, options, message):
    with pytest.raises(UserError, match=message):
        ArrayImage(array, **options)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((9, 9, 9)), "same grey value everywhere"),
        (np.full((9, 9, 9), np.nan), "not numbers"),
        (np.random.default_rng(0).random((2, 9, 9, 9)), "has 2 channels"),
        (np.random.default_rng(0).random((9, 9)), "is a picture"),
    ],
)
def test_images_in_memory_that_do_not_fit_the_bundle(trained, array, message):
    with pytest.raises(UserError, match=message):
        predict(trained, ArrayImage(array, 1.0), device="cpu")


def test_what_is_wrong_with_data_is_raised_or_warned_of(scans, tmp_path):
    (tmp_path / "scans" / "images").mkdir(parents=True)
    with pytest.raises(UserError):
        read_dataset(tmp_path / "scans")
    broken = tmp_path / "broken"
    write_blobs(broken, cases=3)
    (broken / "landmarks" / "plain0.mrk.json").write_text("{")
    with pytest.raises(UserError, match="plain0"):
        read_dataset(broken)
    (broken / "landmarks" / "plain0.mrk.json").unlink()
    with pytest.warns(DataWarning, match="plain0"):
        read_dataset(broken)


def test_two_images_of_one_name_and_settings_of_an_open_bundle(trained, scans):
    model = open_bundle(trained, device="cpu")
    path = scans / "images" / "plain0.nii.gz"
    with pytest.raises(UserError, match="two images are called 'plain0'"):
        predict(model, [path, path])
    with pytest.raises(UserError, match="open already"):
        predict(model, path, device="cpu")
    with pytest.raises(UserError, match="has no 'guess'"):
        open_bundle(trained, guess=1)


def test_a_training_that_fails(trained):
    with pytest.raises(TrainingFailedError, match=r"train_error\.log"):
        train(trained, max_epochs=1, overwrite=True, calibrate=False, network_def="$1/0")
