"""Intervals and tests of an evaluation, against scipy and in simulation."""

import numpy as np
import pytest
from scipy import stats

from auto_config.evaluation.statistics import holm, mean_interval, paired_difference, signed_rank


def test_the_interval_is_that_of_scipy_where_every_case_has_every_landmark():
    values = np.random.default_rng(0).gamma(2.0, size=(25, 4))
    found = mean_interval(values, resamples=20000)
    theirs = stats.bootstrap((values.mean(axis=1),), np.mean, n_resamples=20000, method="percentile", rng=1)
    assert found == pytest.approx(tuple(theirs.confidence_interval), abs=0.02)


def test_the_interval_holds_the_true_mean_as_often_as_it_says():
    random = np.random.default_rng(1)
    held = 0
    for seed in range(400):
        # Landmarks of one case err together, so intervals over points would be far too narrow.
        values = 2.0 + random.normal(size=(40, 1)) + 0.1 * random.normal(size=(40, 8))
        low, high = mean_interval(values, resamples=400, seed=seed)
        held += low <= 2.0 <= high
    assert held / 400 == pytest.approx(0.95, abs=0.035)


def test_intervals_leave_out_what_is_not_known_and_need_two_cases():
    values = np.array([[1.0, np.nan], [np.nan, np.nan], [3.0, 3.0]])
    low, high = mean_interval(values)
    assert (low, high) == (1.0, 3.0)
    assert mean_interval(values[:2]) is None


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    adjusted = holm([0.5, float("nan"), 0.4])
    assert adjusted[0] == adjusted[2] == 0.8 and np.isnan(adjusted[1])
    assert holm([]) == []


def test_signed_rank_is_scipys():
    random = np.random.default_rng(2)
    first, second = random.normal(size=(2, 20))
    assert signed_rank(first, second) == stats.wilcoxon(first, second).pvalue
    assert np.isnan(signed_rank(first, first))


def test_a_better_model_is_seen():
    random = np.random.default_rng(3)
    first = random.gamma(2.0, size=(20, 5))
    second = first * 0.8
    first[0, 0] = np.nan
    found = paired_difference(first, second)
    expected = np.nanmean(np.where(np.isfinite(first), first - second, np.nan))
    assert found["difference"] == pytest.approx(expected)
    assert found["interval"][0] > 0 and found["p_value"] < 1e-3 and found["cases"] == 20
    same = paired_difference(second, second)
    assert (same["difference"], same["p_value"]) == (0.0, None)
    assert paired_difference(np.full((2, 2), np.nan), second[:2, :2])["cases"] == 0
