"""How near two instances may be, and within what distance one is found: numbers of the cases, and the plan's rule."""

from types import SimpleNamespace

import numpy as np
import pytest

from auto_config.bundle_scripts.points.landmarks import LandmarkSet
from auto_config.datasets.model.dataset import Case
from auto_config.datasets.model.properties import Properties
from auto_config.fingerprint.instances import many_numbers, nearest_distances
from auto_config.planning.instances import plan_instances


def test_each_point_has_its_nearest_neighbour():
    assert nearest_distances(np.array([[0.0, 0], [3, 4], [3, 5]])) == pytest.approx([5, 1, 1])


def test_the_smallest_and_the_usual_distance_of_a_cohort():
    def case(name, points):
        label = LandmarkSet.from_inline({"bud": points}, ["bud"], spatial_dims=2)
        return Case(name=name, image=(), landmarks=label)

    cases = [
        case("a", [[0.0, 0.0], [0.0, 6.0], [0.0, 16.0]]),
        case("b", [[0.0, 0.0], [1.0, 0.0]]),
        case("c", [[5.0, 5.0]]),
    ]
    found = many_numbers(["bud"], Properties(many=("bud",)), cases)
    # Nearest neighbours: 6, 6, 10 in the first case, 1 and 1 in the second, nobody in the third.
    assert found == [{"landmark": 0, "most": 3, "nearest_mm": 1.0, "typical_mm": 6.0}]


@pytest.mark.parametrize(
    ("nearest", "typical", "apart", "found_within"),
    [
        (8.0, 20.0, 4.0, 10.0),  # half of each
        (0.1, 8.0, 2.0, 4.0),  # two voxels at least, also where two nearly met once
        (60.0, 90.0, 15.0, 15.0),  # a cone reaches no farther
        (None, None, 7.5, 7.5),  # no case has two
    ],
)
def test_found_within_half_of_the_usual_distance(nearest, typical, apart, found_within):
    one = {"landmark": 0, "most": 4, "nearest_mm": nearest, "typical_mm": typical}
    fingerprint = SimpleNamespace(many=[one], pairs=[], exchangeable=[])
    (planned,) = plan_instances(fingerprint, [1.0, 1.0, 1.0], 15.0).value["many"]
    assert (planned["min_distance_mm"], planned["match_mm"]) == (apart, found_within)
