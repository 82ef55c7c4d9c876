"""The Gaussian over training shapes: its covariance, its holes, its file."""

import json

import numpy as np
import pytest

from auto_config.prediction.shape_gaussian import MODES, fit_gaussian, independent, read_gaussian, shrunk


def ledoit_wolf(rows):
    """The definition of the estimator, with the covariance written out."""
    count, size = rows.shape
    sample = rows.T @ rows / count
    mean = np.trace(sample) / size
    target = mean * np.eye(size)
    spread = ((sample - target) ** 2).sum() / size
    noise = sum(((np.outer(row, row) - sample) ** 2).sum() for row in rows) / size / count**2
    share = min(noise / spread, 1.0)
    return (1 - share) * sample + share * target


@pytest.mark.parametrize("count", [3, 8, 60])
def test_the_covariance_is_that_of_ledoit_and_wolf(count):
    rng = np.random.default_rng(count)
    rows = rng.normal(size=(count, 7)) * np.linspace(0.3, 2, 7)
    rows[:, 1] += rows[:, 0]
    rows -= rows.mean(axis=0)
    root, own = shrunk(rows)
    np.testing.assert_allclose(root.T @ root + own * np.eye(7), ledoit_wolf(rows), atol=1e-12)


def shapes_of(count=40, landmarks=9, seed=0):
    rng = np.random.default_rng(seed)
    mean = rng.normal(size=(landmarks, 3)) * 20
    modes = rng.normal(size=(2, landmarks, 3))
    z = rng.normal(size=(count, 2))
    return mean + np.tensordot(z, modes, 1) + rng.normal(size=(count, landmarks, 3)) * 0.05


def test_landmarks_that_move_together_are_found_together_and_the_total_is_kept():
    found = fit_gaussian(shapes_of())
    assert found.known.all()
    assert (found.noise < 0.2 * found.variance).all()
    # Shrinkage keeps the trace: the total variance is that of the aligned cases.
    from auto_config.bundle_scripts.points.procrustes import procrustes

    spread = procrustes(shapes_of())[1]
    np.testing.assert_allclose(found.variance.mean(), (spread**2).mean() / 3, rtol=0.1)


def test_fewer_cases_leave_more_to_each_landmark_alone():
    shares = [float((found.noise / found.variance).mean()) for n in (3, 6, 40) if (found := fit_gaussian(shapes_of(n)))]
    assert shares[0] > shares[1] > shares[2]


def test_a_missing_point_is_where_the_others_of_its_case_say():
    whole, holes = shapes_of(), shapes_of()
    holes[::4, 2] = np.nan
    full, found = fit_gaussian(whole), fit_gaussian(holes)
    assert found.known.all()
    # The mean of the column alone would lose a quarter of the variance.
    np.testing.assert_allclose(found.variance[2], full.variance[2], rtol=0.15)


def test_a_landmark_without_cases_is_unknown_and_more_modes_than_kept_become_noise():
    shapes = shapes_of(MODES + 30, landmarks=40)
    shapes[:, 3] = np.nan
    found = fit_gaussian(shapes)
    assert len(found.modes) == MODES
    assert list(np.flatnonzero(~found.known)) == [3]
    assert np.isfinite(found.modes).all()


def test_the_file_gives_the_same_and_refuses_another():
    found = fit_gaussian(shapes_of())
    text = json.dumps(found.document(), allow_nan=False)
    read = read_gaussian(json.loads(text))
    np.testing.assert_allclose(read.mean, found.mean, rtol=1e-5)
    np.testing.assert_allclose(read.modes, found.modes, atol=1e-4)
    np.testing.assert_allclose(read.noise, found.noise, rtol=1e-5)
    with pytest.raises(ValueError, match="belong together"):
        read_gaussian({**json.loads(text), "noise_mm2": [1.0]})


def test_nothing_is_learnt_of_one_case_or_of_too_few_points():
    assert fit_gaussian(shapes_of(1)) is None
    assert fit_gaussian(np.zeros((0, 9, 3))) is None
    assert independent(np.full((9, 3), np.nan), np.full(9, np.nan)) is None
    alone = independent(shapes_of(1)[0], np.full(9, 0.3))
    np.testing.assert_allclose(alone.variance, 0.03)
