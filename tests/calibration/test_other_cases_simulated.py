"""Calibrating on cases that a whole ensemble predicted: the promise is exact, and agreement is evidence."""

import numpy as np
import pytest

from auto_config.bundle_scripts.points.landmarks import ABSENT, PRESENT
from auto_config.calibration.conformal import LEVELS, exact_coverage
from auto_config.calibration.document import calibration_document, evidence_of, presence_features
from auto_config.calibration.out_of_fold import OutOfFold
from auto_config.calibration.presence import cross_fitted
from auto_config.calibration.reliability import auroc

SETS, FOLDS, COMMON = 1000, 5, 0.5


def made(errors, folds, **more):
    """Predictions of N cases that are off by errors (N, L, 3) mm, with a heatmap of 1 mm each."""
    shape = errors.shape[:2]
    numbers = {
        "confidence": np.full(shape, 0.5),
        "covariance": np.tile(np.eye(3), (*shape, 1, 1)),
        "disagreement": np.full(shape, np.nan),
        "mirror_disagreement": np.full(shape, np.nan),
        "shape_distance": np.full(shape, np.nan),
        "replaced": np.zeros(shape),
        "truth": np.zeros(errors.shape),
        "density": np.full(shape, 0.1),
        "status": np.full(shape, PRESENT),
    }
    return OutOfFold(tuple(map(str, range(len(errors)))), folds, errors, **{**numbers, **more})


def members(random, cases):
    """Errors (folds, cases, 1, 3) in mm of five networks, which have half of their variance in common."""

    def errors(*shape):
        return random.standard_t(4, size=(*shape, cases, 1, 3)) * np.array([0.3, 0.5, 1.0])

    return np.sqrt(COMMON) * errors() + np.sqrt(1 - COMMON) * errors(FOLDS)


def radii(found):
    document = calibration_document(found, ["a"], np.zeros((0, 1, 3)), ensemble=True)
    return np.array([np.inf if row[0] is None else row[0] for row in document["regions"]["ball_mm"]])


@pytest.mark.parametrize("cases", [15, 34])
def test_the_promise_is_exact_for_the_ensemble_over_a_thousand_data_sets(cases):
    random = np.random.default_rng(cases)
    inside = {"other cases": [], "out of fold": []}
    for _ in range(SETS):
        own, fresh = members(random, cases), members(random, 20).mean(axis=0)
        found = {
            "other cases": made(own.mean(axis=0), ()),
            "out of fold": made(own[np.arange(cases) % FOLDS, np.arange(cases)], tuple(np.arange(cases) % FOLDS)),
        }
        errors = np.linalg.norm(fresh[:, 0], axis=-1)
        for source, one in found.items():
            inside[source].append((errors[:, None] <= radii(one)).mean(axis=0))
    promised = [exact_coverage(cases, level) for level in LEVELS]
    assert np.mean(inside["other cases"], axis=0) == pytest.approx(promised, abs=0.02)
    # Single networks err more than their mean: regions that are calibrated on them hold more than they promise.
    more = np.mean(inside["out of fold"], axis=0) - promised
    assert (more[:2] > 0.05).all() and (more >= -0.005).all()


def presence_set(random, informative, cases=30, landmarks=4):
    """Heatmaps that tell presence roughly; where asked for, members are apart where a landmark is absent."""
    status = np.where(random.random((cases, landmarks)) < 0.8, PRESENT, ABSENT)
    there = status == PRESENT
    logit = random.normal(np.where(there, 1.0, -0.5), 1.2)
    apart = random.normal(np.where(there & informative, -1.0, 0.5), 1.0)
    return made(
        np.zeros((cases, landmarks, 3)),
        (),
        status=status,
        confidence=1 / (1 + np.exp(-logit)),
        disagreement=np.exp(apart),
    )


def area(found, features):
    probability = cross_fitted(evidence_of(found, features), found.present)
    return auroc(probability.ravel(), found.present.ravel() == 1)


@pytest.mark.parametrize(("informative", "least"), [(True, 0.05), (False, -0.03)])
def test_agreement_of_the_members_ranks_better_where_it_tells_something_and_costs_little_where_not(informative, least):
    gained = []
    for seed in range(25):
        found = presence_set(np.random.default_rng(seed), informative)
        features = presence_features(found)
        assert features == ("peak", "spread", "views")
        gained.append(area(found, features) - area(found, features[:2]))
    assert np.mean(gained) > least
