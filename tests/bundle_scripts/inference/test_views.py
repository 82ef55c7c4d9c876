"""How far views are apart, against closed forms; also where a view has its points in another order."""

import numpy as np
import pytest
import torch

from auto_config.bundle_scripts.inference.views import agreement, aligned, disagreement, mirror_disagreement
from auto_config.bundle_scripts.points.instances import Instances

PAIR = Instances(("p", "q"), (1, 1), (False, False), ((0, 1),), (5.0, 5.0), (0.5, 0.5))
MANY = Instances(("one", "bud"), (1, 3), (False, True), (), (0.0, 4.0), (0.5, 0.5))  # rows: one, bud, bud, bud
NONE = [float("nan")] * 2


def test_disagreement_is_in_mm():
    points = torch.tensor([[[0.0, 0.0]], [[2.0, 0.0]], [[1.0, 3.0]], [[1.0, -3.0]]])
    # Means 1, 0; squared distances 1, 1, 9 and 9 voxels; in mm 0.25 * 1 and 4 * 9.
    assert disagreement(points, np.array([0.5, 2.0])).item() == pytest.approx(((0.25 + 0.25 + 36 + 36) / 4) ** 0.5)


def test_disagreement_is_the_root_mean_square_distance_from_the_mean():
    points = torch.randn(5, 7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = (points - points.mean(0)).square().sum(-1).mean(0).sqrt()
    torch.testing.assert_close(disagreement(points, np.ones(3)), expected)


def test_mirror_disagreement_is_each_networks_own():
    plain, mirrored = [torch.tensor([[0.0, 0.0]]), torch.tensor([[9.0, 9.0]])], [torch.tensor([[2.0, 0.0]])] * 2
    mirrored[1] = torch.tensor([[9.0, 5.0]])
    # The first network is 2 voxels along x from itself, the second 4 along y, both half of that from their mean.
    found = mirror_disagreement([*plain, *mirrored], np.array([1.0, 0.5]))
    assert found.tolist() == pytest.approx([(1.0 + 2.0 * 0.5) / 2])


def test_a_view_without_a_point_is_so_far_from_every_other():
    points = torch.tensor([[[1.0, 1.0]], [[1.0, 1.0]], [NONE]])
    missing = torch.tensor([6.0])
    # Of three pairs of views two are 6 mm apart, one 0: the sum of squares over the number of views squared.
    assert disagreement(points, np.ones(2), missing).item() == pytest.approx((2 * 36 / 9) ** 0.5)
    assert disagreement(points[1:], np.ones(2), missing).item() == pytest.approx(3.0)
    assert disagreement(points[2:].repeat(2, 1, 1), np.ones(2), missing).item() == pytest.approx(3.0)


def test_ends_of_a_pair_are_put_in_the_better_order():
    mean = torch.tensor([[0.0, 0.0], [10.0, 0.0]])
    view = torch.tensor([[9.0, 1.0], [1.0, 0.0]])
    assert aligned(view, mean, np.ones(2), PAIR).tolist() == [[1.0, 0.0], [9.0, 1.0]]
    assert aligned(view.flip(0), mean, np.ones(2), PAIR).tolist() == [[1.0, 0.0], [9.0, 1.0]]


def test_the_better_order_is_one_of_millimetres():
    mean, view = torch.tensor([[0.0, 0.0], [6.0, 3.0]]), torch.tensor([[5.0, 0.0], [1.0, 3.0]])
    assert aligned(view, mean, np.array([1.0, 1.0]), PAIR).tolist() == view.flip(0).tolist()
    assert aligned(view, mean, np.array([1.0, 9.0]), PAIR).tolist() == view.tolist()


def test_each_instance_finds_its_partner_and_not_the_nearest_of_all():
    mean = torch.tensor([[50.0, 0.0], [0.0, 0.0], [4.0, 0.0], NONE])
    view = torch.tensor([[51.0, 0.0], [7.0, 0.0], [30.0, 0.0], [3.0, 0.0]])
    # 3 is nearest to 4, but then 0 and 7 would have no partner.
    expected = torch.tensor([[51.0, 0.0], [3.0, 0.0], [7.0, 0.0], NONE])
    torch.testing.assert_close(aligned(view, mean, np.ones(2), MANY), expected, equal_nan=True)


def test_an_instance_that_a_view_does_not_have_counts_as_far_as_two_instances_are():
    mean = torch.tensor([[50.0, 0.0], [0.0, 0.0], [20.0, 0.0], NONE])
    first = torch.tensor([[50.0, 0.0], [20.0, 2.0], [0.0, 0.0], NONE])
    second = torch.tensor([[52.0, 0.0], [0.0, 1.0], [60.0, 0.0], NONE])
    found = agreement([first, second], mean, True, np.array([0.5, 1.0]), MANY)
    assert set(found) == {"disagreement", "mirror_disagreement"}
    for column in found.values():
        # 2 voxels of 0.5 mm, 1 mm, and the 4 mm of `MANY`, each from the mean of two; the mean has no third bud.
        assert column[:3].tolist() == pytest.approx([0.5, 0.5, 2.0])
        assert column[3].isnan()


def test_one_view_says_nothing_and_members_alone_nothing_of_the_mirror():
    mean = torch.zeros(2, 2)
    assert agreement([], mean, False, np.ones(2)) == {}
    assert set(agreement([mean, mean], mean, False, np.ones(2))) == {"disagreement"}
