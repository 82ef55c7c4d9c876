"""The mean shape's error beside that of a training: the sentence, and the number against a closed form."""

import json

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor

from auto_config.bundle_scripts.points.peaks import make_peaks
from auto_config.bundle_scripts.training.run.mean_shape import MeanShapeError, verdict


@pytest.mark.parametrize(
    ("error", "baseline", "end"),
    [
        (2.0, 10.0, "is 2 px; always predicting the mean shape gives 10 px."),
        (8.0, 10.0, "the model has learned little; train it longer."),
        (
            208.0,
            26.6,
            "is useless so far, no better than not looking at the image; train it longer, or check the data with "
            "`auto_config inspect`.",
        ),
    ],
)
def test_the_sentence(error, baseline, end):
    said = verdict(12, error, baseline, "px")
    assert said.startswith("After 12 steps the error on the validation cases is ")
    assert said.endswith(end)


def test_the_median_stands_beside_the_mean():
    said = verdict(12, 2.0, 10.0, "mm", 1.25)
    assert "is 2 mm on average and 1.25 mm in the median; always" in said


def test_nothing_measured_nothing_said():
    assert verdict(12, None, 1.0, "mm") is None
    assert verdict(12, 1.0, None, "mm") is None


def test_the_error_is_that_of_offsets_from_the_middle_of_the_image(tmp_path):
    path = tmp_path / "landmarks.json"
    path.write_text(json.dumps({"landmarks": [{"mean_offset_mm": [1, 0, 0]}, {"mean_offset_mm": None}, {}]}))
    affine = torch.diag(torch.tensor([2.0, 2, 2, 1], dtype=torch.float64))
    image = MetaTensor(torch.zeros(1, 5, 5, 5), affine=affine)
    image.meta.update(original_affine=np.asarray(affine), spatial_shape=np.array([5, 5, 5]))
    evaluator = Engine(lambda *_: [{"image": image, "label": torch.tensor([[4.0, 7, 8], [0, 0, 0], [1, 1, 1]])}])
    found = MeanShapeError(evaluator, path)
    assert found.value is None
    evaluator.run([0, 1])
    # The middle is at (4, 4, 4): the mean shape says (5, 4, 4).
    assert found.value == pytest.approx(np.sqrt(1 + 9 + 16))
    assert found.median is None


def test_the_median_is_that_of_the_points_that_are_known(tmp_path):
    path = tmp_path / "landmarks.json"
    path.write_text(json.dumps({"landmarks": [{"mean_offset_mm": [0, 0, 0]}] * 4}))
    image = MetaTensor(torch.zeros(1, 5, 5, 5), affine=torch.eye(4, dtype=torch.float64))
    image.meta.update(original_affine=np.eye(4), spatial_shape=np.array([5, 5, 5]))
    truth = torch.tensor([[1.0, 1, 1], [2, 2, 2], [3, 3, 3], [float("nan")] * 3])
    points = truth.nan_to_num() + torch.tensor([[3.0, 4, 0], [0, 0, 1], [0, 2, 0], [9, 9, 9]])
    peaks = make_peaks(points, torch.ones(4), torch.eye(3).expand(4, 3, 3)).pack()
    evaluator = Engine(lambda *_: [{"image": image, "label": truth, "pred": peaks}])
    found = MeanShapeError(evaluator, path)
    evaluator.run([0])
    assert found.median == 2.0
