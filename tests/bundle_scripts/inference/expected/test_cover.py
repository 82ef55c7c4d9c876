"""Few windows show every box as well as the overlapping windows of the whole image do."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import SlidingWindowInferer

from auto_config.bundle_scripts.inference.expected.cover import Boxes, cover, inner_margins, inside
from auto_config.bundle_scripts.inference.streaming.window_grid import regular_windows
from auto_config.bundle_scripts.inference.streaming.windows import windows_of


def windows(size, edges, overlap=0.5):
    return windows_of(SlidingWindowInferer(list(edges), overlap=overlap), list(size))


def shown(low, high, corner, found, deep):
    """Whether a window shows voxels from `low` to `high`, `deep` voxels within it but where it ends with the image."""
    for axis, (edge, size, pad) in enumerate(zip(found.edges, found.size, found.low, strict=True)):
        first, stop = corner[axis], corner[axis] + edge
        begin = first if first <= -pad else first + deep[axis]
        end = stop if stop >= max(size, edge) - pad else stop - deep[axis]
        if low[axis] < begin or high[axis] >= end:
            return False
    return True


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_each_box_lies_in_a_window_within_the_image(data):
    """2D and 3D, flat windows, images smaller than a window along some axes, boxes that reach out of the image."""
    dims = data.draw(st.sampled_from([2, 3]))
    edges = data.draw(st.tuples(*[st.integers(8, 24)] * dims))
    size = data.draw(st.tuples(*[st.integers(5, 70)] * dims))
    found = windows(size, edges, data.draw(st.sampled_from([0.0, 0.25, 0.5, 0.7])))
    deep = inner_margins(found)
    count = data.draw(st.integers(1, 12))
    random = np.random.default_rng(data.draw(st.integers(0, 999)))
    middle = random.integers(-3, np.asarray(size) + 3, (count, dims))
    # The core fits into the inner part of a window, the whole box into a window.
    core = np.array(
        [random.integers(0, (edge - 2 * m - 1) // 2 + 1, count) for edge, m in zip(edges, deep, strict=True)]
    ).T
    whole = np.array([random.integers(c, (edge - 1) // 2 + 1) for c, edge in zip(core.T, edges, strict=True)]).T
    boxes = Boxes(middle - whole, middle + whole, middle - core, middle + core).clipped(size)
    corners = cover(boxes, found)
    if corners is None:
        # A core beside a side of a window, with the rest of the box beyond the other side of it.
        assert (whole > core).any()
        return
    assert 1 <= len(corners) <= count
    ends = np.asarray(found.padded) - np.asarray(found.low)
    assert (corners >= -np.asarray(found.low)).all() and (corners + edges <= ends).all()
    for mark in range(count):
        assert any(
            shown(boxes.low[mark], boxes.high[mark], corner, found, [0] * dims)
            and shown(boxes.core_low[mark], boxes.core_high[mark], corner, found, deep)
            for corner in corners
        )
    assert inside(boxes.core_low, corners, found).all() and inside(boxes.core_high, corners, found).all()


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_the_grid_itself_has_every_voxel_so_deep_in_a_window(data):
    """The margin is the largest one of which this is true."""
    edge, size = data.draw(st.integers(4, 20)), data.draw(st.integers(3, 60))
    found = windows([size, size], [edge, edge], data.draw(st.sampled_from([0.0, 0.25, 0.5, 0.7])))
    (deep, _), voxels = inner_margins(found), np.arange(size)
    starts = np.array(found.starts[0]) - found.low[0]
    corners = np.array([(a, b) for a in starts for b in starts])
    assert inside(np.stack([voxels, voxels], 1), corners, found).all()
    if len(starts) > 1:
        gap = int(np.argmax(np.diff(starts)))
        between = [v for v in voxels if starts[gap] + edge - 1 - v < deep + 1 and v - starts[gap + 1] < deep + 1]
        assert between


def test_near_landmarks_share_a_window_and_far_ones_do_not():
    found = windows((300, 300, 300), (96, 96, 96))
    assert found.count == 216 and inner_margins(found) == (24, 24, 24)

    def of(*middles):
        middle = np.array(middles)
        return Boxes(middle - 20, middle + 20, middle - 10, middle + 10)

    (corner,) = cover(of([150] * 3, [160, 150, 150]), found)
    assert corner.tolist() == [155 - 48, 150 - 48, 150 - 48] or corner.tolist() == [155 - 47, 150 - 48, 150 - 48]
    assert len(cover(of([100] * 3, [200] * 3), found)) == 2
    # At the border of the image nothing lies deep.
    assert cover(of([10, 150, 150]).clipped(found.size), found)[0].tolist() == [0, 102, 102]
    wide = Boxes(*np.array([[[100] * 3], [[196] * 3], [[140] * 3], [[150] * 3]]))
    assert cover(wide, found) is None


def test_32_landmarks_of_an_anatomy_of_180_mm_take_few_windows_of_300_cubed():
    """Spreads of 6 mm at 1 mm: boxes of four spreads and cores of two, as `ExpectedPlaces` has them."""
    found = windows((300, 300, 300), (96, 96, 96))
    for seed in range(5):
        random = np.random.default_rng(seed)
        directions = random.normal(size=(32, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        middle = np.round(149.5 + 90 * directions * random.uniform(size=(32, 1)) ** (1 / 3)).astype(int)
        boxes = Boxes(middle - 31, middle + 31, middle - 14, middle + 14).clipped(found.size)
        assert len(cover(boxes, found)) <= 30


@settings(max_examples=60, deadline=None)
@given(
    size=st.lists(st.integers(3, 300), min_size=2, max_size=2),
    edges=st.lists(st.integers(20, 96), min_size=2, max_size=2),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.7]),
)
def test_planning_counts_the_windows_that_monai_has(size, edges, overlap):
    assert regular_windows(size, edges, overlap) == windows(size, edges, overlap)
