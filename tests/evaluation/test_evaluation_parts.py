"""The pure parts of an evaluation: statistics, baseline, charts and pictures."""

import io
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from auto_config.datasets.images import Header, Image
from auto_config.evaluation.baseline import is_clearly_better, mean_shape_points, verdict
from auto_config.evaluation.metrics import success_rates, summary
from auto_config.evaluation.report.charts import landmark_chart, log_ticks, success_curve
from auto_config.evaluation.report.pictures import PANEL_PIXELS, error_picture
from auto_config.evaluation.tables import in_percent, with_unit


def test_summary_leaves_out_what_is_not_known():
    assert summary(np.array([[np.nan, 1.0], [3.0, np.nan]]))["mean"] == 2.0
    empty = summary(np.array([np.nan]))
    assert empty == {"mean": None, "std": None, "median": None, "iqr": None, "p95": None, "max": None, "n": 0}
    assert success_rates(np.array([np.nan]), [2.0]) == {"2": None}


def test_an_error_of_exactly_the_threshold_is_a_success():
    assert success_rates(np.array([2.0, 2.0001, 4.0]), [2, 2.5, 4]) == pytest.approx(
        {"2": 100 / 3, "2.5": 200 / 3, "4": 100}
    )


def test_the_mean_shape_moves_with_the_image():
    points = mean_shape_points(np.array([[1.0, 2], [3, 4]]), np.array([[10.0, 20], [-5, 0]]))
    np.testing.assert_array_equal(points, [[[11, 22], [13, 24]], [[-4, 2], [-2, 4]]])


def test_better_means_clearly_better():
    assert is_clearly_better(1.0, 1.5)
    assert not is_clearly_better(1.01, 1.5)
    assert not is_clearly_better(np.nan, 1.0)
    assert verdict(0.5, 1.5).startswith("3.0 times better")
    assert verdict(0.0, 1.5).startswith("inf times better")
    assert verdict(1.4, 1.5).startswith("NOT clearly better")
    assert "no present landmark" in verdict(None, None)


def test_numbers_as_text():
    assert [with_unit(x, "mm") for x in (None, 0.15649, 12.3, 1234.5)] == ["-", "0.156 mm", "12.3 mm", "1234 mm"]
    assert [in_percent(x) for x in (None, 50.0)] == ["-", "50.0 %"]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(low=st.floats(1e-3, 1e3), factor=st.floats(1, 1e4))
def test_ticks_enclose_the_values(low, factor):
    ticks = log_ticks(low, low * factor)
    assert len(ticks) >= 2 and ticks == sorted(ticks)
    assert ticks[0] <= low * (1 + 1e-9) and ticks[-1] >= low * factor * (1 - 1e-9)


@pytest.mark.parametrize("errors", [np.zeros((1, 2)), np.array([[0.1, np.nan], [300.0, 2.0]])])
def test_charts_are_well_formed(errors):
    for chart in (success_curve(errors, np.full_like(errors, np.nan)), success_curve(errors, errors + 1)):
        ElementTree.fromstring(chart)
        assert "nan" not in chart
    chart = landmark_chart(["a & <b>", "x" * 60], errors)
    ElementTree.fromstring(chart)
    assert chart.count("<circle") == np.isfinite(errors).sum()


def test_the_curve_ends_at_everything_found():
    chart = success_curve(np.array([1.0, 2.0, 4.0]), np.array([np.nan]))
    points = [
        tuple(map(float, p.split(",")))
        for p in ElementTree.fromstring(chart).find(".//{*}polyline").get("points").split()
    ]
    heights = [y for _, y in points]
    assert heights == sorted(heights, reverse=True)
    assert (heights[0], heights[-1]) == (264.0, 14.0)


def test_nothing_known_gives_no_chart():
    nothing = np.full((2, 2), np.nan)
    assert success_curve(nothing, nothing) == landmark_chart(["a", "b"], nothing) == ""


def image_of(array, affine):
    header = Header(array.shape[1:], affine, 1, "float32", Path("x.nii.gz"))
    return Image(array, affine, Path("x.nii.gz"), header)


@pytest.mark.parametrize("flip", [1.0, -1.0])
def test_pictures_show_the_points_where_they_are_in_the_image(flip):
    array = np.zeros((1, 40, 40, 40), dtype=np.float32)
    affine = np.diag([flip, 1.0, 1.0, 1.0])
    truth = affine[:3, :3] @ [10.0, 20, 20]
    # The bright half of the body is on the patient's left, which a picture shows on the right side.
    world_x = flip * np.arange(40)
    array[0, world_x < np.median(world_x)] = 1.0
    picture = np.asarray(
        PillowImage.open(io.BytesIO(error_picture(image_of(array, affine), truth, truth + [0, 0, 5.0]))).convert("RGB")
    )
    assert picture.shape == (2 * PANEL_PIXELS, 3 * PANEL_PIXELS, 3)
    edge = np.abs(np.median(world_x) - truth[0]) * PANEL_PIXELS / 48
    axial = picture[PANEL_PIXELS // 2 + 30, :PANEL_PIXELS].mean(-1)
    inside = axial[20 : PANEL_PIXELS - 20]
    step = 20 + int(np.argmax(np.diff((inside > 128).astype(int)) > 0))
    middle = PANEL_PIXELS / 2
    assert abs(step - (middle - edge if truth[0] < np.median(world_x) else middle + edge)) < 3
    # Ring of the truth in the middle of the upper row: green; cross of the prediction 5 mm above it in coronal: red.
    coronal = picture[:PANEL_PIXELS, PANEL_PIXELS : 2 * PANEL_PIXELS].astype(int)
    green = np.argwhere((coronal[..., 1] > 150) & (coronal[..., 0] < 120) & (coronal[..., 2] < 140)).mean(0)
    red = np.argwhere((coronal[..., 0] > 180) & (coronal[..., 1] < 120)).mean(0)
    np.testing.assert_allclose(green, [middle, middle], atol=3)
    np.testing.assert_allclose(red, [middle - 5 * PANEL_PIXELS / 48, middle], atol=3)


def test_a_flat_picture_has_one_panel_with_y_down():
    array = np.zeros((1, 60, 60), dtype=np.float32)
    array[0, :, 35:] = 1.0
    picture = PillowImage.open(
        io.BytesIO(error_picture(image_of(array, np.eye(3)), np.array([30.0, 30]), np.array([31.0, 30])))
    )
    grey = np.asarray(picture.convert("L"))
    assert grey.shape == (PANEL_PIXELS, PANEL_PIXELS)
    assert grey[-30, 20] > 200 and grey[30, 20] < 50
