"""The target spacing."""

import pytest

from auto_config.planning.spacing import target_spacing


def test_median_of_each_axis():
    spacing, reason = target_spacing([(1, 1, 2), (0.5, 1, 2), (0.7, 3, 2)], [(100, 100, 80)] * 3)
    assert spacing == [0.7, 1, 2]
    assert "median" in reason


def test_thick_axis_with_few_slices_takes_the_10th_percentile():
    spacings = [(0.6, 0.6, z) for z in (2.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0)]
    spacing, reason = target_spacing(spacings, [(512, 512, 20)] * 11)
    assert spacing == [0.6, 0.6, 5.0]
    spacing, reason = target_spacing([(0.6, 0.6, 2.0), *spacings], [(512, 512, 20)] * 12)
    assert spacing[2] == pytest.approx(2.3)  # between 2 (index 1 of 12) and 5: 2 + 0.1 * 3
    assert "axis 2" in reason


def test_thick_axis_never_becomes_finer_than_the_others():
    spacings = [(0.6, 0.6, z) for z in (0.1, 0.1, 5, 5, 5)]
    assert target_spacing(spacings, [(512, 512, 20)] * 5)[0] == pytest.approx([0.6, 0.6, 0.60001])


@pytest.mark.parametrize("slices", [171, 400])
def test_many_thick_slices_stay_at_the_median(slices):
    spacings = [(0.6, 0.6, z) for z in (2.0, 5.0, 5.0)]
    assert target_spacing(spacings, [(512, 512, slices)] * 3)[0][2] == 5.0


def test_2d():
    assert target_spacing([(0.1, 0.1), (0.2, 0.1), (0.2, 0.1)], [(2000, 2400)] * 3)[0] == [0.2, 0.1]
