"""Conformal regions: ranks, exact coverage, sizes; folds against their ensemble, in simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from auto_config.calibration.conformal import (
    LEVELS,
    ball_scores,
    ball_volume,
    conformal_quantile,
    conformal_rank,
    coverage,
    ellipsoid_scores,
    ellipsoid_volume,
    exact_coverage,
    quantiles,
    smallest_n,
)

SETS = 1000


def simulated(random, sets, cases, scale=1.0):
    """Errors in mm of a network that is off by an anisotropic Gaussian with heavy tails."""
    return scale * random.standard_t(4, size=(sets, cases, 3)) * np.array([0.3, 0.5, 1.0])


def test_ranks_are_those_of_the_finite_sample():
    assert conformal_rank(15, 0.9) == 15 and conformal_rank(15, 0.95) is None
    assert exact_coverage(15, 0.9) == 0.9375
    assert conformal_rank(9, 0.9) == 9  # 0.9 * 10 exactly, whatever floating point makes of it
    assert [smallest_n(level) for level in LEVELS] == [1, 4, 9, 19]
    with pytest.raises(ValueError, match="between 0 and 1"):
        conformal_rank(10, 95)


def test_a_quantile_is_a_score_of_the_data():
    scores = np.array([3.0, np.nan, 1.0, 2.0, 4.0])
    assert [conformal_quantile(scores, level) for level in (0.2, 0.5, 0.8)] == [1.0, 3.0, 4.0]
    assert conformal_quantile(scores, 0.81) == math.inf
    assert conformal_quantile(np.array([np.nan]), 0.5) == math.inf


@pytest.mark.parametrize("n", [15, 27, 60])
@pytest.mark.parametrize("level", LEVELS)
def test_coverage_is_exact_over_a_thousand_data_sets(n, level):
    random = np.random.default_rng([n, round(level * 100)])
    radius = np.linalg.norm(simulated(random, SETS, n + 50), axis=-1)
    # 50 new cases for each data set: the coverage given a data set varies, its mean over data sets is the promise.
    inside = [(row[n:] <= conformal_quantile(row[:n], level)).mean() for row in radius]
    assert np.mean(inside) == pytest.approx(exact_coverage(n, level), abs=0.02)


def test_fifteen_cases_promise_more_than_ninety_percent_and_cannot_promise_ninety_five():
    random = np.random.default_rng(15)
    radius = np.linalg.norm(simulated(random, SETS, 16), axis=-1)
    bounds = quantiles(radius[:, :15].T, (0.9, 0.95))
    assert (radius[:, 15] <= bounds[0]).mean() == pytest.approx(0.9375, abs=0.02)
    assert np.isinf(bounds[1]).all()


def test_ellipsoids_cover_as_often_and_are_smaller_where_the_spread_is_told():
    random = np.random.default_rng(3)
    n, cases = 40, 41
    truth = np.zeros((SETS, cases, 3))
    size = random.uniform(0.3, 3.0, size=(SETS, cases, 1))
    points = random.normal(size=(SETS, cases, 3)) * size * np.array([0.2, 0.4, 1.0])
    told = size[..., None] ** 2 * np.diag(np.array([0.2, 0.4, 1.0]) ** 2)
    balls, ellipsoids = ball_scores(points, truth), ellipsoid_scores(points, truth, told)
    sizes = {}
    for name, scores in (("ball", balls), ("ellipsoid", ellipsoids)):
        bound = quantiles(scores[:, :n].T, (0.9,))[0]
        assert (scores[:, n] <= bound).mean() == pytest.approx(exact_coverage(n, 0.9), abs=0.02)
        sizes[name] = ball_volume(bound, 3) if name == "ball" else ellipsoid_volume(bound, told[:, n])
    assert np.median(sizes["ellipsoid"]) < 0.2 * np.median(sizes["ball"])


def test_calibrating_single_folds_and_predicting_with_their_mean_is_on_the_safe_side():
    """Out-of-fold scores are those of one network; the mean of five with errors in common by half errs less."""
    random = np.random.default_rng(5)
    n, folds, common = 34, 5, 0.5
    shared = simulated(random, SETS, n + 1)
    own = np.stack([simulated(random, SETS, n + 1) for _ in range(folds)])
    members = math.sqrt(common) * shared + math.sqrt(1 - common) * own
    single = np.linalg.norm(members[0], axis=-1)
    mean = np.linalg.norm(members.mean(0), axis=-1)
    bound = quantiles(single[:, :n].T, (0.8, 0.9))
    covered = (mean[:, n] <= bound).mean(axis=1)
    assert (single[:, n] <= bound).mean(axis=1) == pytest.approx(
        [exact_coverage(n, 0.8), exact_coverage(n, 0.9)], abs=0.02
    )
    assert (covered > [0.85, 0.93]).all()


def test_scans_of_one_patient_are_fewer_cases_than_they_look():
    """The rank counts cases, so at high levels a region is too small for a new patient, and finite with too few."""
    random = np.random.default_rng(7)
    patients, scans = 10, 3
    own = random.exponential(size=(4 * SETS, patients + 1, 1))
    scores = own * np.exp(0.05 * random.normal(size=(4 * SETS, patients + 1, scans)))
    known, new = scores[:, :patients], scores[:, patients, 0]
    every = quantiles(known.reshape(len(known), -1).T, (0.8, 0.9, 0.95))
    covered = (new <= every).mean(axis=1)
    assert covered[:2] == pytest.approx([exact_coverage(30, level) for level in (0.8, 0.9)], abs=0.03)
    assert covered[2] == pytest.approx(0.92, abs=0.02) and exact_coverage(30, 0.95) > 0.965
    assert np.isinf(quantiles(known[..., 0].T, (0.95,))).all()  # one scan of each


def test_pooled_regions_are_one_for_all_and_finite_with_few_cases():
    scores = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, np.nan]])
    bounds = quantiles(scores, (0.5, 0.8), pooled=True)
    assert bounds.tolist() == [[3.0, 3.0], [20.0, 20.0]]
    assert np.isinf(quantiles(scores, (0.8,))).all()


def test_mahalanobis_distances_against_scipy():
    random = np.random.default_rng(0)
    points, truth = random.normal(size=(2, 4, 3, 3))
    root = random.normal(size=(4, 3, 3, 3))
    covariance = root @ root.swapaxes(-1, -2) + 0.1 * np.eye(3)
    scores = ellipsoid_scores(points, truth, covariance)
    density = stats.multivariate_normal(points[1, 2], covariance[1, 2])
    # The distance is what is missing to the highest density.
    assert scores[1, 2] ** 2 == pytest.approx(2 * (density.logpdf(points[1, 2]) - density.logpdf(truth[1, 2])))
    truth[0, 0] = np.nan
    assert np.isnan(ellipsoid_scores(points, truth, covariance)[0, 0])


def test_volumes_against_closed_forms():
    assert ball_volume(np.array(2.0), 3) == pytest.approx(4 / 3 * math.pi * 8)
    assert ball_volume(np.array(2.0), 2) == pytest.approx(math.pi * 4)
    assert ellipsoid_volume(np.array(2.0), np.diag([1.0, 4.0, 9.0])) == pytest.approx(4 / 3 * math.pi * 8 * 6)


def test_coverage_leaves_out_what_is_not_known():
    inside = np.array([1.0, 0.0, np.nan, 1.0])
    found = coverage(inside, np.array([2.0, 4.0, 100.0, np.inf]), 0.9)
    assert (found.share, found.count, found.median_size, found.infinite) == (2 / 3, 3, 3.0, 1 / 3)
