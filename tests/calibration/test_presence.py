"""Presence: probabilities, thresholds and their own test, on simulated heatmaps."""

import numpy as np
import pytest
from scipy import integrate, stats
from scipy.special import expit, logit

from auto_config.calibration.matched import Rows
from auto_config.calibration.presence import (
    all_are_judged_by_others,
    best_detection_threshold,
    best_threshold,
    cost_threshold,
    cross_fitted,
    cross_fitted_decisions,
    fit_presence,
    thresholds,
)
from auto_config.calibration.reliability import (
    auroc,
    expected_calibration_error,
    f1_score,
    mean_f1,
    reliability,
    roc_curve,
)


def simulated_heatmaps(random, cases, landmarks=6, share=0.7):
    """Evidence of heatmaps: peaks are high and narrow where a landmark is, low and wide where not; they overlap.

    Returns evidence (N, L, 2), presence (N, L) and the true probability (N, L) of presence given the evidence.
    """
    present = random.random((cases, landmarks)) < share
    mean = np.where(present[..., None], [1.5, -0.5], [-1.0, 0.5])
    evidence = random.normal(mean, [1.2, 1.0])
    likelihood = [
        stats.norm.logpdf(evidence, m, [1.2, 1.0]).sum(-1) for m in (np.array([1.5, -0.5]), np.array([-1.0, 0.5]))
    ]
    return evidence, present.astype(float), expit(likelihood[0] - likelihood[1] + logit(share))


def test_probabilities_are_those_of_the_simulation():
    random = np.random.default_rng(0)
    evidence, present, _ = simulated_heatmaps(random, 400)
    fresh, truth, exact = simulated_heatmaps(random, 400)
    found = fit_presence(evidence, present).probability(fresh)
    assert np.abs(found - exact).mean() < 0.02
    assert expected_calibration_error(found.ravel(), truth.ravel() == 1) < 0.03
    # No ranking is better than that of the true probability.
    best = auroc(exact.ravel(), truth.ravel() == 1)
    assert best - 0.01 < auroc(found.ravel(), truth.ravel() == 1) <= best + 0.005


def test_calibration_and_ranking_over_many_small_data_sets():
    """30 cases of which some lack landmarks, as often in practice: cross-fitted probabilities stay honest."""
    errors, areas, exact_areas = [], [], []
    for seed in range(60):
        evidence, present, exact = simulated_heatmaps(np.random.default_rng(seed), 30, share=0.85)
        found = cross_fitted(evidence, present)
        truth = present.ravel() == 1
        errors.append(found.mean() - present.mean())
        areas.append(auroc(found.ravel(), truth))
        exact_areas.append(auroc(exact.ravel(), truth))
    assert abs(np.mean(errors)) < 0.01
    assert np.mean(areas) > np.mean(exact_areas) - 0.02


def test_a_landmark_that_is_often_absent_has_its_own_offset_and_one_without_examples_has_none():
    random = np.random.default_rng(1)
    evidence, present, _ = simulated_heatmaps(random, 200, landmarks=3)
    evidence[..., :] = random.normal(size=evidence.shape)  # says nothing, so that the offset must
    present[:, 0] = random.random(200) < 0.2
    present[:, 1] = random.random(200) < 0.9
    present[:, 2] = np.nan
    model = fit_presence(evidence, present)
    found = model.probability(evidence).mean(axis=0)
    assert found[:2] == pytest.approx([0.2, 0.9], abs=0.06)  # drawn a little to all
    assert model.offsets[2] == pytest.approx(0, abs=1e-6)


def test_without_an_absent_landmark_there_is_nothing_to_tell_apart():
    with pytest.raises(ValueError, match="both present and absent"):
        fit_presence(np.zeros((4, 2, 1)), np.ones((4, 2)))


def test_thresholds_of_costs():
    assert cost_threshold(1.0) == 0.5
    assert cost_threshold(9.0) == 0.9  # a false landmark is nine times worse than a lost one


def test_the_best_threshold_by_trying_all():
    random = np.random.default_rng(2)
    probability = random.random(60)
    present = random.random(60) < probability
    found = mean_f1(probability >= best_threshold(probability, present), present)
    assert found == max(mean_f1(probability >= t, present) for t in np.append(probability, 1.1))


def test_thresholds_are_shrunk_where_examples_are_few():
    random = np.random.default_rng(3)
    probability = random.random((300, 3))
    present = np.ones((300, 3))
    present[:, 0] = probability[:, 0] > 0.5
    present[:, 1] = probability[:, 1] > 0.9  # much stricter than the other
    present[3:, 2] = np.nan
    present[0, 2] = 0
    own = thresholds(probability, present)
    known = ~np.isnan(present)
    pooled = best_threshold(probability[known], present[known] == 1)
    assert own[1] > 0.8 > own[0]
    assert abs(own[2] - pooled) < abs(own[1] - pooled)


def test_auroc_against_scipy_and_by_counting():
    random = np.random.default_rng(4)
    score, positive = random.integers(0, 5, 40).astype(float), random.random(40) < 0.4
    pairs = [(a > b) + 0.5 * (a == b) for a in score[positive] for b in score[~positive]]
    assert auroc(score, positive) == pytest.approx(np.mean(pairs))
    u = stats.mannwhitneyu(score[positive], score[~positive]).statistic
    assert auroc(score, positive) == pytest.approx(u / len(pairs))
    false, true = roc_curve(score, positive)
    assert integrate.trapezoid(true, false) == pytest.approx(np.mean(pairs))
    assert np.isnan(auroc(score, np.ones(40, dtype=bool)))


def test_reliability_and_its_error_by_hand():
    probability = np.array([0.05, 0.05, 0.55, 0.95, 1.0])
    positive = np.array([False, True, True, True, True])
    rows = reliability(probability, positive)
    assert [row["count"] for row in rows] == [2, 1, 2]
    assert [row["share"] for row in rows] == [0.5, 1.0, 1.0]
    assert expected_calibration_error(probability, positive) == pytest.approx((2 * 0.45 + 0.45 + 2 * 0.025) / 5)


def test_f1_by_hand():
    said, true = np.array([True, True, False, False]), np.array([True, False, True, False])
    assert f1_score(said, true) == 0.5
    assert mean_f1(said, true) == 0.5
    assert mean_f1(np.ones(3, dtype=bool), np.ones(3, dtype=bool)) == 1.0


def test_decisions_do_not_depend_on_the_truth_of_their_own_case():
    random = np.random.default_rng(5)
    evidence, present, _ = simulated_heatmaps(random, 30, landmarks=2)
    present = present.astype(float)
    other, own = present.copy(), np.arange(30) % 5 == 0
    other[own] = 1 - present[own]
    for cost in (None, 3.0):
        decided = [cross_fitted_decisions(evidence, truth, cost) for truth in (present, other)]
        np.testing.assert_array_equal(decided[0][own], decided[1][own])
        assert (decided[0][~own] != decided[1][~own]).any()  # for these it counts
    np.testing.assert_array_equal(decided[0], cross_fitted(evidence, present) >= 0.75)


def test_a_single_case_without_a_landmark_cannot_be_judged_by_others():
    present = np.ones((12, 2))
    present[3, 0] = 0
    assert not all_are_judged_by_others(present)
    present[4, 0] = 0
    assert all_are_judged_by_others(present)
    evidence = np.random.default_rng(6).normal(size=(12, 2, 1))
    assert cross_fitted_decisions(evidence, present).shape == (12, 2)


def test_cases_of_one_patient_are_judged_by_other_patients():
    random = np.random.default_rng(7)
    evidence, present, _ = simulated_heatmaps(random, 40, landmarks=2)
    units = np.arange(40) // 4  # ten patients with four scans each
    other, own = present.copy(), (units == 3) | (units == 8)  # every fifth patient
    other[own] = 1 - present[own]
    for one in (cross_fitted, cross_fitted_decisions):
        judged = [one(evidence, truth, units=units) for truth in (present, other)]
        np.testing.assert_array_equal(judged[0][own], judged[1][own])
        assert (judged[0][~own] != judged[1][~own]).any()
        assert (one(evidence, present)[own] != one(evidence, other)[own]).any()  # divided by cases, they know


def test_one_patient_cannot_be_judged_by_others():
    present = np.ones((12, 2))
    present[[3, 4], 0] = 0
    assert all_are_judged_by_others(present)
    assert not all_are_judged_by_others(present, np.zeros(12, dtype=int))
    units = np.arange(12)
    units[4] = 3
    assert not all_are_judged_by_others(present, units)  # both absent ones are of one patient


BUDS = Rows(np.array([0, 1, 0, 0]), np.array([True, False]), np.zeros((3, 2), dtype=int))
"""Rows of a landmark with many (rows 0, 2, 3) and of one that is there once."""


def test_the_threshold_of_detection_by_hand():
    probability = np.array([0.9, 0.8, 0.6, 0.4, 0.2])
    true = np.array([True, False, True, True, False])
    # Kept 1, 2, ..., 5 of 3 + 2 true points: F1 = 2/6, 2/7, 4/8, 6/9, 6/10.
    assert best_detection_threshold(probability, true, missed=2) == pytest.approx(0.3)
    assert best_detection_threshold(probability[:1], true[:1], missed=0) == pytest.approx(0.45)  # 0 is below all
    # What no candidate is matched with makes no difference to the place, but candidates that are wrong do.
    assert best_detection_threshold(probability, np.arange(5) == 0, missed=0) == pytest.approx(0.85)
    assert best_detection_threshold(probability, np.zeros(5, dtype=bool), missed=3) is None


def test_missed_points_draw_the_threshold_down():
    probability = np.array([0.9, 0.7, 0.6, 0.5, 0.3])
    true = np.array([True, False, False, False, True])
    # F1 with m missed: 2/(1+2+m), 2/(2+2+m), 2/(3+2+m), 2/(4+2+m), 4/(5+2+m).
    assert best_detection_threshold(probability, true, missed=0) == pytest.approx(0.8)
    assert best_detection_threshold(probability, true, missed=4) == pytest.approx(0.15)


def test_rows_of_a_landmark_share_an_offset_and_a_threshold():
    random = np.random.default_rng(8)
    evidence = random.normal(size=(200, 4, 1))
    present = (random.random((200, 4)) < [0.2, 0.8, 0.2, 0.2]).astype(float)
    present[::3, 3] = np.nan
    evidence[::3, 3] = np.nan  # an empty row says nothing
    rows = Rows(BUDS.channels, BUDS.many, np.zeros((200, 2), dtype=int))
    model = fit_presence(evidence, present, rows)
    assert model.offsets.shape == (2,)
    found = np.nanmean(model.probability(evidence), axis=0)
    assert found == pytest.approx([0.2, 0.8, 0.2, 0.2], abs=0.06)
    known = ~np.isnan(present)
    np.testing.assert_array_equal(np.isfinite(model.probability(evidence)), known)
    limits = thresholds(cross_fitted(evidence, present, rows=rows), present, rows)
    assert limits.shape == (2,)
    assert cross_fitted_decisions(evidence, present, rows=rows).shape == present.shape


def test_the_threshold_of_many_is_that_of_detection():
    probability = np.array([[0.9, 0.6, 0.5, 0.2], [0.8, 0.7, 0.4, 0.1], [0.7, 0.2, 0.3, np.nan]])
    present = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, np.nan]], dtype=float)
    found = thresholds(probability, present, BUDS)
    many = [0, 2, 3]
    known = ~np.isnan(present[:, many])
    own = best_detection_threshold(probability[:, many][known], present[:, many][known] == 1, 0)
    assert found[0] == pytest.approx(own)  # one landmark is all of its kind
    assert found[1] == pytest.approx(best_threshold(probability[:, 1], present[:, 1] == 1))
    np.testing.assert_array_equal(thresholds(probability, present, BUDS, cost=3.0), [0.75, 0.75])


def test_invented_instances_make_no_other_landmark_absent():
    probability = np.array([[0.9, 0.6, 0.5, 0.2], [0.8, 0.7, 0.4, 0.1], [0.7, 0.2, 0.3, np.nan]])
    present = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [0, 1, 0, np.nan]], dtype=float)
    for cost in (None, 3.0):
        assert thresholds(probability, present, BUDS, cost)[1] == 0.0
    evidence = probability[..., None]
    assert cross_fitted_decisions(evidence, present, rows=BUDS)[:, 1].all()


def test_detections_that_cannot_be_judged_take_half():
    present = np.array([[0, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, np.nan]], dtype=float)
    assert thresholds(np.full((3, 4), 0.3), present, BUDS)[0] == 0.5  # no candidate was ever right
