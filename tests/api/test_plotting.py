"""Pictures in Python: what is drawn lies where the points are."""

import numpy as np
import pytest
from blobs import HEAD, TEMPLATE, draw, landmark_set

from auto_config import ArrayImage, UserError
from auto_config.api.evaluating import Evaluation
from auto_config.api.predicting import CasePrediction, Predictions
from auto_config.datasets import Case, Dataset
from auto_config.datasets.model.properties import Properties
from auto_config.evaluation.comparison import Comparison

pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra 'plot')")


def prediction(points, names=HEAD, radius=None):
    rows = [
        {"name": name, "world": list(point), "present": name != "top", "confidence": 0.5, "radius_mm": radius}
        for name, point in zip(names, points, strict=True)
    ]
    return CasePrediction("anna", {"landmarks": rows, "level": 0.9}, np.zeros(3), 0.1)


def test_tables_and_slicer_files_say_the_verdict_as_the_command_does(tmp_path):
    pandas = pytest.importorskip("pandas")
    one = prediction(TEMPLATE, radius=3.0)
    judged = {**one.result, "verdict": {"verdict": "failed", "reasons": ["no shape fits"]}}
    failed = CasePrediction("ben", judged, np.zeros(3), 0.1)
    assert (one.verdict, failed.verdict, failed.reasons) == ("", "failed", ("no shape fits",))
    table = Predictions(tmp_path, {"anna": one, "ben": failed}, {}).to_pandas()
    assert table[table.case == "ben"].verdict.tolist() == ["failed"] * 4
    assert table[table.case == "ben"].radius_mm.isna().all() and pandas.api.types.is_numeric_dtype(table.radius_mm)
    text = failed.to_markups(tmp_path / "ben.mrk.json").read_text()
    assert "CASE FAILED: no shape fits" in text and "with probability" not in text


def blob_image():
    image = draw(TEMPLATE, "pir", np.random.default_rng(0))
    return ArrayImage(image.get_fdata(), affine=image.affine)


def curves(axes, colour):
    return [line for line in axes.lines if line.get_color() == colour]


def test_slices_go_through_the_predicted_point_and_show_the_true_one():
    shift = np.array([3.0, -2.0, 4.0])
    figure = prediction(TEMPLATE, radius=5.0).plot(blob_image(), truth=landmark_set(HEAD, TEMPLATE + shift))
    assert len(figure.axes) == 4 * 3
    for number, axes in enumerate(figure.axes):
        picture = np.asarray(axes.images[0].get_array())
        middle = (np.array(picture.shape) - 1) / 2
        cross, ring = curves(axes, "#ea580c")[0], curves(axes, "#16a34a")[0]
        at = np.array([cross.get_xdata()[0], cross.get_ydata()[0]])
        np.testing.assert_allclose(at, middle[::-1])
        assert picture[tuple(np.round(middle).astype(int))] > 200  # the blob of the landmark
        right, up = [((-1, 0, 0), (0, 1, 0)), ((-1, 0, 0), (0, 0, 1)), ((0, 1, 0), (0, 0, 1))][number % 3]
        pixels_per_mm = picture.shape[0] / 96.0  # 48 voxels of 2 mm
        expected = at + pixels_per_mm * np.array([shift @ right, -(shift @ up)])
        np.testing.assert_allclose([ring.get_xdata()[0], ring.get_ydata()[0]], expected, atol=1e-6)
        (circle,) = axes.patches
        assert circle.radius == pytest.approx(5 * pixels_per_mm)
    error = np.linalg.norm(shift)
    assert figure.axes[0].get_ylabel() == f"eye_left\n{error:.1f} mm off\nregion of 5.0 mm"
    assert figure.axes[9].get_ylabel().endswith("called absent")


def test_a_width_shows_small_regions():
    figure = prediction(TEMPLATE, radius=2.0).plot(blob_image(), landmarks=["nose"], width=20)
    for axes in figure.axes:
        (circle,) = axes.patches
        assert circle.radius == pytest.approx(2 * np.asarray(axes.images[0].get_array()).shape[0] / 20)
    for width in (0, -1, float("nan")):
        with pytest.raises(UserError, match="must be above 0"):
            prediction(TEMPLATE).plot(blob_image(), width=width)


def test_landmarks_are_chosen_and_what_is_not_there_is_said():
    one = prediction(TEMPLATE)
    figure = one.plot(blob_image(), landmarks=["nose"])
    assert len(figure.axes) == 3 and figure.axes[0].get_ylabel() == "nose"
    assert not figure.axes[0].patches and not curves(figure.axes[0], "#16a34a")
    with pytest.raises(UserError, match="anna has no landmark 'ear'; it has eye_left"):
        one.plot(blob_image(), landmarks=["ear"])
    with pytest.raises(UserError, match="no landmark to show"):
        one.plot(blob_image(), landmarks=[])


def test_a_case_of_a_data_set_brings_image_and_points(tmp_path):
    import nibabel as nib

    nib.save(draw(TEMPLATE, "plain", np.random.default_rng(0)), tmp_path / "anna.nii.gz")
    cases = (Case("anna", (tmp_path / "anna.nii.gz",), landmark_set(HEAD, TEMPLATE)), Case("ben", (), None))
    dataset = Dataset(tmp_path, "markups", HEAD, cases, 3, "mm", Properties())
    found = Predictions(tmp_path, {"anna": prediction(TEMPLATE + 1)}, {})
    figure = found.plot("anna", dataset, landmarks=["nose", "top"])
    assert [axes.get_ylabel().split("\n")[:2] for axes in figure.axes[::3]] == [
        ["nose", "1.7 mm off"],
        ["top", "1.7 mm off"],
    ]
    figure.savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000
    with pytest.raises(UserError, match="case 'eve' is not in the data set; predicted are anna"):
        found.plot("eve", dataset)
    with pytest.raises(UserError, match="case 'ben' is not in the predictions"):
        found.plot("ben", dataset)


def test_a_picture_of_one_plane_has_y_down():
    array = np.zeros((60, 50))
    array[40, 10] = 100
    figure = prediction([[40.0, 10.0]], names=("tip",)).plot(
        ArrayImage(array, spacing=1.0), truth=landmark_set(("tip",), np.array([[40.0, 20.0]]))
    )
    (axes,) = figure.axes
    ring, cross = curves(axes, "#16a34a")[0], curves(axes, "#ea580c")[0]
    assert ring.get_ydata()[0] > cross.get_ydata()[0] and ring.get_xdata()[0] == pytest.approx(cross.get_xdata()[0])


def comparison(errors, radius=None, baseline=10.0):
    """Cases whose points are off along x by `errors` (N, L)."""
    errors = np.asarray(errors, dtype=float)
    truth = np.where(np.isfinite(errors)[..., None], np.zeros((*errors.shape, 3)), np.nan)
    shift = np.nan_to_num(errors)[..., None] * [1.0, 0, 0]
    count, landmarks = errors.shape
    return Comparison(
        names=tuple(f"point {index}" for index in range(landmarks)),
        cases=tuple(f"case {index}" for index in range(count)),
        images=((),) * count,
        truth=truth,
        status=np.isfinite(errors).astype(int),
        predicted=np.nan_to_num(truth) + shift,
        predicted_present=np.ones(errors.shape, dtype=bool),
        baseline=np.nan_to_num(truth) + [0.0, baseline, 0],
        without_prediction=(),
        failed={},
        training_cases=(),
        without_truth=(),
        names_without_prediction=(),
        names_without_truth=(),
        radius=np.zeros((0, 0)) if radius is None else np.asarray(radius, dtype=float),
    )


def test_errors_are_dots_with_the_worst_landmark_on_top():
    errors = [[5.0, 1.0, np.nan], [7.0, 2.0, np.nan], [9.0, np.nan, np.nan]]
    (axes,) = Evaluation(comparison(errors), {}).plot().axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["point 1", "point 0"]
    dots = [line.get_xdata().tolist() for line in axes.lines if line.get_marker() == "o" and len(line.get_xdata())]
    assert dots == [[1, 2], [5, 7, 9]]
    medians = [line.get_xdata()[0] for line in curves(axes, "#ea580c") if line.get_marker() != "o"]
    assert medians == [1.5, 7]
    assert [line.get_xdata()[0] for line in curves(axes, "#64748b") if len(line.get_xdata())] == [10, 10]
    with pytest.raises(UserError, match="no landmark has both"):
        Evaluation(comparison([[np.nan]]), {}).plot()


def test_regions_say_how_many_points_lie_in_them():
    radius = [[2.0, 2.0], [np.nan, 4.0]]
    (axes,) = Evaluation(comparison([[1.0, 3.0], [1.0, 4.0]], radius), {}).plot_regions().axes
    assert axes.get_title() == "67 % of 3 points lie in their region"
    inside, outside = axes.lines[:2]
    assert sorted(inside.get_ydata()) == [1, 4] and list(outside.get_ydata()) == [3]
    with pytest.raises(UserError, match="no point has a region; calibrate the bundle first"):
        Evaluation(comparison([[1.0]]), {}).plot_regions()
