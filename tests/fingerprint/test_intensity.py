"""Air, body and their statistics in one image."""

import numpy as np
import pytest

from auto_config.fingerprint.intensity import measure_channel, otsu

RNG = np.random.default_rng(0)


def _ct(air_sd=20.0, lung=False):
    image = RNG.normal(-1000, air_sd, (40, 40, 40)).round()
    image[8:32, 8:32, 8:32] = RNG.normal(50, 15, (24, 24, 24)).round()
    image[18:22, 18:22, 18:22] = 1200
    if lung:
        image[10:16, 10:30, 10:30] = -850
    return image.astype(np.float32)


def test_ct_body_is_what_is_not_air():
    found = measure_channel(_ct(), None)
    assert found.hounsfield and found.integer
    assert found.air == pytest.approx(-1000, abs=2)
    assert found.body.min() > -100  # nothing of air
    assert found.body.max() == 1200
    assert np.median(found.body) == pytest.approx(50, abs=2)


def test_ct_lung_is_body():
    found = measure_channel(_ct(lung=True), None)
    assert (found.body == -850).mean() == pytest.approx(6 * 20 * 20 / 24**3, abs=0.03)


def test_very_noisy_air_never_takes_tissue():
    assert measure_channel(_ct(air_sd=150.0), None).body.min() > -500.5


def test_other_images_are_split_by_otsu():
    image = np.abs(RNG.normal(0, 5, (30, 30, 30))).astype(np.float32)
    image[10:20, 10:20, 10:20] = RNG.normal(200, 20, (10, 10, 10))
    found = measure_channel(image, None)
    assert not found.hounsfield and not found.integer
    assert found.body.min() > 50
    assert found.body.mean() == pytest.approx(200, abs=3)
    assert found.air == pytest.approx(3.4, abs=0.5)  # median of a half normal of sd 5


def test_constant_background_is_air_and_its_zscore_is_of_the_rest():
    image = np.zeros((30, 30, 30), dtype=np.float32)
    image[5:25, 5:25, 5:25] = RNG.normal(100, 10, (20, 20, 20))
    found = measure_channel(image, 0.0)
    assert found.air == 0
    assert found.air_zscore == pytest.approx((0 - 100) / 10, rel=0.05)


def test_same_result_each_time():
    image = _ct()
    assert (measure_channel(image, None).body == measure_channel(image, None).body).all()


def test_otsu_lies_between_two_classes():
    values = np.concatenate([RNG.normal(10, 2, 500), RNG.normal(100, 10, 200)])
    assert 16 < otsu(values) < 75
    assert otsu(np.full(10, 7.0)) == 7
