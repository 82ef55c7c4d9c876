"""Where landmarks are expected few windows show what all of them show; where anything is unusual, all are looked at."""

import numpy as np
import pytest
import torch
from monai.inferers import SlidingWindowInferer
from stage_networks import Staged

from auto_config.bundle_scripts.inference.dense import DenseInferer
from auto_config.bundle_scripts.inference.expected import look
from auto_config.bundle_scripts.inference.expected.cover import cover, inside
from auto_config.bundle_scripts.inference.expected.doubts import EDGE, ELSEWHERE, FAINT, MANY, SHAPE, SIZE
from auto_config.bundle_scripts.inference.expected.places import ExpectedPlaces, few_windows
from auto_config.bundle_scripts.inference.streaming.windows import windows_of
from auto_config.bundle_scripts.methods.decoders import ArgmaxDecoder
from auto_config.bundle_scripts.methods.ensemble import EnsembleNetwork
from auto_config.bundle_scripts.points.peaks import unpack_peaks
from auto_config.bundle_scripts.points.shape import ShapeModel

SIZES, SPACINGS = {2: (72, 64), 3: (44, 40, 36)}, {2: (0.5, 0.8), 3: (1.0, 0.7, 1.2)}
EDGE_VOXELS = {2: 24, 3: 16}
SPREAD_VOXELS = {2: 1.2, 3: 0.6}
LANDMARKS = 6


def anatomy(dims):
    """Mean points (L, D) in voxels."""
    random = np.random.default_rng(dims)
    low, high = np.asarray(SIZES[dims]) * 0.25, np.asarray(SIZES[dims]) * 0.7
    return random.uniform(low, high, (LANDMARKS, dims))


def places(dims, absent=()):
    spacing, size = np.array(SPACINGS[dims]), np.array(SIZES[dims])
    mean = (anatomy(dims) - (size - 1) / 2) * spacing
    return ExpectedPlaces(
        mean_mm=mean,
        spread_mm=np.full(mean.shape, SPREAD_VOXELS[dims]) * spacing,
        extent_mm=[size * spacing] * 2,
        absent=list(absent),
        spacing=spacing,
    )


def coordinates(size):
    """An image whose channels are its own voxel coordinates, so that a window knows where it lies."""
    return torch.stack(torch.meshgrid(*[torch.arange(float(n)) for n in size], indexing="ij"))


class Knowing:
    """Cones about points: the logit of a landmark falls from `height` by the distance, to -8 at least."""

    def __init__(self, points, heights=6.0, further=()):
        self.points, self.heights = points, np.broadcast_to(heights, len(points))
        self.further, self.windows = dict(further), 0

    def __call__(self, image):
        self.windows += len(image)
        maps = [self._cone(image, point, height) for point, height in zip(self.points, self.heights, strict=True)]
        for mark, (point, height) in self.further.items():
            maps[mark] = torch.maximum(maps[mark], self._cone(image, point, height))
        return torch.stack(maps, 1)

    @staticmethod
    def _cone(image, point, height):
        away = sum((axis - x).square() for axis, x in zip(image.unbind(1), point, strict=True)).sqrt()
        return (height - away).clamp(min=-8.0)


def inferers(dims, absent=(), size=None, **arguments):
    """That of a bundle, and the same one without the places."""
    window = SlidingWindowInferer((EDGE_VOXELS[dims],) * dims, sw_batch_size=1, overlap=0.5, mode="gaussian")
    common = {"window": window, "decoder": ArgmaxDecoder("softmax", 1.0, radius=2), "spacing": SPACINGS[dims]}
    return (
        DenseInferer(**common, **arguments, expected=places(dims, absent)),
        DenseInferer(**common, **arguments),
        coordinates(SIZES[dims] if size is None else size),
    )


def moved(dims, seed=0, by=1.0):
    """The points of a case: the anatomy and what it strays."""
    random = np.random.default_rng(seed)
    return anatomy(dims) + random.normal(size=(LANDMARKS, dims)) * SPREAD_VOXELS[dims] * by


def compared(dims, network_of, absent=(), **arguments):
    """Rows with and without the places, why all windows were looked at, and how many windows each took."""
    few, every, image = inferers(dims, absent, **arguments)
    one, other = network_of(), network_of()
    with torch.inference_mode():
        found = few(image[None], Staged(one, arguments.get("known")))[0]
        truth = every(image[None], Staged(other))[0]
    return found, truth, few.why_all_windows, (one.windows, other.windows)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("seed", range(2))
def test_the_points_are_those_of_all_windows(dims, seed):
    found, truth, why, (few, every) = compared(dims, lambda: Knowing(moved(dims, seed)))
    assert why is None and few <= LANDMARKS + 2 < every / 2
    torch.testing.assert_close(found, truth, atol=2e-4, rtol=1e-4, equal_nan=True)
    np.testing.assert_allclose(unpack_peaks(found).points, moved(dims, seed), atol=0.35)


@pytest.mark.parametrize("dims", [2, 3])
def test_networks_and_their_mirror_images_agree_as_over_all_windows(dims):
    few, every, image = inferers(dims, flip_pairs=list(range(LANDMARKS)))
    members = [Staged(Knowing(moved(dims, seed))) for seed in (1, 2)]
    with torch.inference_mode():
        found, truth = (one(image[None], EnsembleNetwork(members))[0] for one in (few, every))
    assert few.why_all_windows is None and unpack_peaks(truth).disagreement.max() > 0
    torch.testing.assert_close(found, truth, atol=2e-3, rtol=1e-3, equal_nan=True)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("why", [FAINT, EDGE, ELSEWHERE])
def test_an_unusual_case_is_looked_at_everywhere_as_before(dims, why):
    """The whole anatomy elsewhere; a landmark at the edge of its box; a second place that shows one more clearly."""
    usual = anatomy(dims)

    def network():
        if why == FAINT:
            return Knowing(usual - np.asarray(SIZES[dims]) * 0.22)
        if why == EDGE:
            off = usual.copy()
            off[2, 0] += np.round(4 * SPREAD_VOXELS[dims] + 3)
            return Knowing(off)
        farthest = np.linalg.norm(usual - usual[0], axis=1).argmax()
        return Knowing(usual, further={0: (usual[farthest], 6.9)})

    found, truth, said, (few, every) = compared(dims, network)
    assert said == why and few > every
    torch.testing.assert_close(found, truth, atol=0, rtol=0, equal_nan=True)


def test_an_image_of_another_size_is_looked_at_everywhere_at_once():
    found, truth, said, (few, every) = compared(2, lambda: Knowing(anatomy(2)), size=(96, 64))
    assert said == SIZE and few == every
    torch.testing.assert_close(found, truth, atol=0, rtol=0, equal_nan=True)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_missing_landmark_needs_no_further_windows_where_training_cases_lack_it(dims):
    heights = np.array([6.0, 6.0, -3.0, 6.0, 6.0, 6.0])
    found, truth, said, (few, every) = compared(dims, lambda: Knowing(moved(dims), heights), absent=[2])
    assert said is None and few < every / 2
    there = np.arange(LANDMARKS) != 2
    torch.testing.assert_close(found[there], truth[there], atol=2e-4, rtol=1e-4, equal_nan=True)
    assert unpack_peaks(found).confidence[2] < 0.05
    # Each training case has it: then it must be looked for.
    found, truth, said, _ = compared(dims, lambda: Knowing(moved(dims), heights))
    assert said == FAINT
    torch.testing.assert_close(found, truth, atol=0, rtol=0, equal_nan=True)
    # It may be missing, and lies where the windows of the others show it.
    far = {2: (anatomy(dims)[0], 2.0)}
    found, truth, said, _ = compared(dims, lambda: Knowing(moved(dims), heights, far), absent=[2])
    assert said == ELSEWHERE
    torch.testing.assert_close(found, truth, atol=0, rtol=0, equal_nan=True)


def test_points_that_do_not_fit_the_shape_are_looked_for_everywhere():
    """All lie in their boxes, and one of them not where the others say."""
    dims, random = 3, np.random.default_rng(0)
    shape = ShapeModel(LANDMARKS, dims)
    spacing = np.array(SPACINGS[dims])
    shape.fit(np.stack([anatomy(dims) * spacing + random.normal(size=(LANDMARKS, dims)) * 0.02 for _ in range(10)]))
    few, _, image = inferers(dims)
    off = anatomy(dims)
    off[1] += [2.6, 0.0, 2.6]
    with torch.inference_mode():
        few(image[None], Staged(Knowing(anatomy(dims)), shape))
        assert few.why_all_windows is None
        few(image[None], Staged(Knowing(off), shape))
        assert few.why_all_windows == SHAPE


def badly_placed(dims):
    """Points of which one lies within its box, and too near to the border of each first window; and those windows."""
    windows, known = windows_of(inferers(dims)[0].window, SIZES[dims]), places(dims)
    corners, boxes = few_windows(known, windows, radius=2), known.boxes(SIZES[dims])
    for mark, axis in np.ndindex(LANDMARKS, dims):
        for side in (boxes.low[mark, axis] + 1, boxes.high[mark, axis] - 1):
            points = np.round(anatomy(dims))
            points[mark, axis] = side
            if not inside(points.astype(int), corners, windows).all():
                return points, mark, corners, windows
    raise AssertionError("every place of every box lies well")


def test_a_peak_that_lies_badly_in_its_window_gets_one_of_its_own(monkeypatch):
    """As deep in it as the overlapping windows of the whole image would have it."""
    again = []
    monkeypatch.setattr(look, "cover", lambda *given: again.append(cover(*given)) or again[-1])
    points, mark, corners, windows = badly_placed(2)
    found, truth, why, (few, _) = compared(2, lambda: Knowing(points))
    assert why is None
    torch.testing.assert_close(found, truth, atol=2e-4, rtol=1e-4, equal_nan=True)
    (more,) = again
    assert len(more) == 1 and inside(points[mark : mark + 1].astype(int), more, windows).all()
    assert few == len(corners) + 1


def test_too_many_further_windows_are_all_windows(monkeypatch):
    points, _, corners, windows = badly_placed(2)
    monkeypatch.setattr(look, "MOST_SHARE", len(corners) / windows.count)  # not one more
    found, truth, why, _ = compared(2, lambda: Knowing(points))
    assert why == MANY
    torch.testing.assert_close(found, truth, atol=0, rtol=0, equal_nan=True)
