"""Radial error and success rate against closed forms, and inside MONAI's engine."""

import csv
import math

import numpy as np
import pytest
import torch
from monai.engines import SupervisedEvaluator
from monai.handlers import IgniteMetricHandler, MetricsSaver, from_engine

from auto_config.bundle_scripts.training.metrics import RadialError, radial_errors

NAN = math.nan


def as_peaks(points):
    points = torch.as_tensor(points, dtype=torch.float32)
    return torch.cat([points, torch.zeros(len(points), 3)], dim=1)


PREDICTED = [as_peaks([[3.0, 4, 0], [0, 0, 2], [9, 9, 9]]), as_peaks([[0.0, 0, 1], [0, 0, 0], [0, 0, 0]])]
TRUTH = [
    torch.tensor([[0.0, 0, 0], [0, 0, 0], [NAN, NAN, NAN]]),
    torch.tensor([[0.0, 0, 0], [NAN] * 3, [0, 0, 2.5]]),
]  # errors 5, 2, -; 1, -, 2.5


def test_the_mean_runs_over_all_present_landmarks():
    metric = RadialError()
    metric(PREDICTED[:1], TRUTH[:1])
    metric(PREDICTED[1:], TRUTH[1:])
    np.testing.assert_allclose(metric.get_buffer(), [[5, 2, NAN], [1, NAN, 2.5]])
    assert metric.aggregate().item() == pytest.approx(10.5 / 4)
    metric.reset()
    assert math.isnan(metric.aggregate())


def test_success_counts_an_error_of_exactly_the_threshold():
    metric = RadialError(2.0)
    metric(PREDICTED, TRUTH)
    assert metric.aggregate().item() == 50.0
    wide = RadialError(5.0)
    wide(PREDICTED, TRUTH)
    assert wide.aggregate().item() == 100.0


def test_only_absent_landmarks_give_nan():
    for metric in (RadialError(), RadialError(2.0)):
        metric([as_peaks([[0.0, 0, 0]])], [torch.full((1, 3), NAN)])
        assert math.isnan(metric.aggregate())


def test_a_prediction_that_is_not_finite_never_looks_good():
    broken = [as_peaks([[NAN, 0, 0], [0.0, 0, 0]])]
    truth = [torch.zeros(2, 3)]
    error, success = RadialError(), RadialError(2.0)
    error(broken, truth)
    success(broken, truth)
    assert math.isinf(error.aggregate())
    assert success.aggregate() == 50.0


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        radial_errors(torch.zeros(2, 3), torch.zeros(3, 3))
    for metric in (RadialError(), RadialError(2.0)):
        with pytest.raises(ValueError, match="needs true points"):
            metric([torch.zeros(2, 6)], None)


def test_errors_far_from_the_origin_are_exact():
    errors = radial_errors(
        torch.tensor([[50000.0, 0.1]], dtype=torch.float64), torch.tensor([[50000.0, 0.0]], dtype=torch.float64)
    )
    assert errors.item() == pytest.approx(0.1, abs=1e-12)


class Peaks(torch.nn.Module):
    """Gives the peaks that the "image" holds."""

    def forward(self, x):
        return x


def test_inside_monais_engine_with_a_report_per_case(tmp_path):
    loader = [{"image": PREDICTED[i][None], "label": TRUTH[i][None], "filename_or_obj": [f"case{i}"]} for i in range(2)]
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=loader,
        network=Peaks(),
        key_val_metric={
            "val_mre_mm": IgniteMetricHandler(RadialError(), output_transform=from_engine(["pred", "label"]))
        },
        additional_metrics={
            "val_sdr_2mm": IgniteMetricHandler(RadialError(2.0), output_transform=from_engine(["pred", "label"]))
        },
        val_handlers=[
            MetricsSaver(
                save_dir=str(tmp_path),
                metrics=["val_mre_mm"],
                metric_details=["val_mre_mm"],
                summary_ops=["mean", "notnans"],
            )
        ],
        metric_cmp_fn=lambda new, best: new < best,
    )
    evaluator.run()
    assert evaluator.state.metrics["val_mre_mm"] == pytest.approx(2.625)
    assert evaluator.state.metrics["val_sdr_2mm"] == 50.0
    assert evaluator.state.best_metric in (-1, pytest.approx(2.625))
    rows = list(csv.reader((tmp_path / "val_mre_mm_raw.csv").open()))
    assert rows[1][1:] == ["5.0000", "2.0000", "nan", "3.5000"]
    assert rows[2][1:] == ["1.0000", "nan", "2.5000", "1.7500"]
    summary = {row[0]: row[1:] for row in csv.reader((tmp_path / "val_mre_mm_summary.csv").open())}
    assert summary["class0"] == ["3.0000", "2.0000"]
